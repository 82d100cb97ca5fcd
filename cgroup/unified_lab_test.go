package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

// unified returns the containers of a lab on cgroup v2, by the name of their pod.
func unified(t *testing.T) map[string]inspect.Container {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skip("needs cgroup v2 alone: hack/vmtest.sh")
	}
	return labContainers(t)
}

// folderOf is a container's own cgroup, as the kernel names it.
func folderOf(t *testing.T, c inspect.Container) string {
	t.Helper()
	pid, _ := c.PID.Value()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	path, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "0::")
	if err != nil || !ok {
		t.Fatalf("%s: %q, %v", c.Name, data, err)
	}
	return filepath.Join("/sys/fs/cgroup", path)
}

func readSetting(t *testing.T, dir, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// set writes a setting of a cgroup and takes it back after the test.
func set(t *testing.T, dir, file, text string) {
	t.Helper()
	before := readSetting(t, dir, file)
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	t.Cleanup(func() { write(before) })
}

// runIn runs a shell script in a cgroup until it ends.
func runIn(t *testing.T, dir, script string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo 0 >"+dir+"/cgroup.procs; "+script)
	return cmd.Run()
}

// show is a fact's value as text, or that there is none.
func show[T any](f cgroup.Fact[T]) string {
	if v, ok := f.Value(); ok {
		return fmt.Sprint(v)
	}
	return f.Known().String()
}

func count(t *testing.T, name string, f cgroup.Fact[cgroup.Count]) uint64 {
	t.Helper()
	n, ok := f.Value()
	if !ok {
		t.Fatalf("%s: %s, %v", name, f.Known(), f.Cause())
	}
	return uint64(n)
}

// TestLabUnifiedLimits: the kernel's files say what the manifest asks for, and so do we.
func TestLabUnifiedLimits(t *testing.T) {
	c := unified(t)["pod-with-limits"]
	dir := folderOf(t, c)
	p := labProcess(t, c)
	if mode := show(p.Mode); mode != string(cgroup.Unified) {
		t.Errorf("mode %s", mode)
	}
	if got := show(p.Folder); got != dir {
		t.Errorf("folder %s, want %s", got, dir)
	}
	weight, older := cgroup.WeightFromShares(256)
	if os.Getenv("RTINSPECT_LAB_RUNTIME") == "1.6" {
		weight = older
	}
	for file, test := range map[string]struct{ want, got string }{
		"memory.max":      {"134217728", show(p.Memory.Max)},
		"memory.high":     {"max", show(p.Memory.High)},
		"memory.swap.max": {readSetting(t, dir, "memory.swap.max"), show(p.Memory.SwapMax)},
		"cpu.max":         {"50000 100000", show(p.CPU.Max)},
		"cpu.weight":      {strconv.FormatUint(weight, 10), show(p.CPU.Weight)},
		"pids.max":        {"max", show(p.Pids.Max)},
	} {
		if has := readSetting(t, dir, file); has != test.want || test.got != test.want {
			t.Errorf("%s has %q, we say %q, want %q", file, has, test.got, test.want)
		}
	}
	for name, known := range map[string]cgroup.Known{
		"v1's shares": p.CPU.Shares.Known(), "v1's memory and swap": p.Memory.MemorySwapMax.Known(), "v1's soft limit": p.Memory.SoftLimit.Known(),
	} {
		if known != cgroup.Absent {
			t.Errorf("%s: %s, want absent", name, known)
		}
	}
	if len(p.Release) > 0 {
		t.Errorf("release agents: %+v", p.Release)
	}
}

// since reports whether this kernel is that release of Linux or a later one.
func since(t *testing.T, major, minor int) bool {
	t.Helper()
	release := readSetting(t, "/proc/sys/kernel", "osrelease")
	var have [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); err != nil {
		t.Fatalf("release %q: %v", release, err)
	}
	return slices.Compare(have[:], []int{major, minor}) >= 0
}

// TestLabSince: what a kernel lacks is absent, neither unknown nor nothing; what it has is known.
func TestLabSince(t *testing.T) {
	p := labProcess(t, unified(t)["pod-with-limits"])
	for name, test := range map[string]struct {
		major, minor int
		known        cgroup.Known
	}{
		"memory.peak":   {5, 19, p.Memory.Peak.Known()},
		"pids.peak":     {6, 1, p.Pids.Peak.Known()},
		"cpu.max.burst": {5, 14, p.CPU.Burst.Known()},
		"cpu.idle":      {5, 15, p.CPU.Idle.Known()},
		"memory.min":    {4, 18, p.Memory.Min.Known()},
		"cpu.pressure":  {4, 20, p.CPU.Pressure.Known()},
	} {
		want := cgroup.Absent
		if since(t, test.major, test.minor) {
			want = cgroup.Present
		}
		if test.known != want {
			t.Errorf("%s, since Linux %d.%d: %s, want %s", name, test.major, test.minor, test.known, want)
		}
	}
}

// TestLabWeight: runtimes make a weight of shares by two formulas, and both are what was asked for; others are not.
func TestLabWeight(t *testing.T) {
	c := unified(t)["pod-with-limits"]
	dir := folderOf(t, c)
	want := wanted(t, "pod-with-limits")
	for weight, drifts := range map[string]int{"35": 0, "10": 0, "100": 1} { // of 256 shares
		set(t, dir, "cpu.weight", weight)
		if got := want.Drift(labProcess(t, c)); len(got) != drifts {
			t.Errorf("weight %s: %+v", weight, got)
		}
	}
}

// TestLabTighterPod: what holds is the least of all levels: here the pod's. A setting that was changed behind the runtime's
// back is a difference from what was asked for.
func TestLabTighterPod(t *testing.T) {
	c := unified(t)["pod-with-limits"]
	dir := folderOf(t, c)
	pod := filepath.Dir(dir)
	set(t, pod, "memory.max", strconv.Itoa(64<<20))
	set(t, pod, "cpu.max", "20000 100000")
	set(t, pod, "pids.max", "77")
	p := labProcess(t, c)
	if got, want := leasts(t, p), "67108864 pod, 20000 100000 pod"; got != want {
		t.Errorf("in force: %s, want %s", got, want)
	}
	pids, ok := p.Effective.Pids.Value()
	if limit := show(pids.Limit); !ok || limit != "77" || pids.Kind != cgroup.KindPod {
		t.Errorf("processes: %s by %s, %v", limit, pids.Kind, p.Effective.Pids.Cause())
	}
	if path := strings.TrimPrefix(pod, "/sys/fs/cgroup"); pids.Path != path {
		t.Errorf("the pod is %s, want %s", pids.Path, path)
	}
	if drift := wanted(t, "pod-with-limits").Drift(p); len(drift) > 0 {
		t.Errorf("the container's own limits are as they were: %+v", drift)
	}
	set(t, dir, "memory.max", "max")
	if drift := wanted(t, "pod-with-limits").Drift(labProcess(t, c)); len(drift) != 1 || drift[0].Setting != "memory" || drift[0].Have != "max" {
		t.Errorf("without the limit: %+v", drift)
	}
}

// TestLabOutOfMemory: the kernel kills what takes more than the limit, and counts it. The count stays, so that a cgroup of its
// own stands for a container's.
func TestLabOutOfMemory(t *testing.T) {
	unified(t)
	dir, pid := newGroup(t, "rtinspect-oom", groupID)
	set(t, dir, "memory.max", "134217728")
	memory := func() cgroup.Memory {
		p, err := cgroup.Reader{}.Process(pid)
		if err != nil {
			t.Fatal(err)
		}
		return p.Memory
	}
	if n := count(t, "killed before", memory().OOMKill); n != 0 {
		t.Errorf("killed before: %d", n)
	}
	set(t, dir, "memory.oom.group", "1") // as the kubelet does: all would be killed
	if m := memory(); show(m.OOMGroup) != "true" {
		t.Errorf("killed together: %s, %v", show(m.OOMGroup), m.OOMGroup.Cause())
	}
	set(t, dir, "memory.oom.group", "0")
	err := runIn(t, dir, "exec tail /dev/zero")
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("what takes all memory ended with %v", err)
	}
	m := memory()
	if n := count(t, "killed", m.OOMKill); n != 1 {
		t.Errorf("killed: %d", n)
	}
	if n := count(t, "at the limit", m.MaxEvents); n == 0 {
		t.Error("it was never at its limit")
	}
	if n := count(t, "out of memory", m.OOM); n == 0 {
		t.Error("it was never out of memory")
	}
	if n, ok := m.Peak.Value(); since(t, 5, 19) && (!ok || n < 120<<20 || n > 128<<20) {
		t.Errorf("peak: %d, %v, want just below 128 MiB", n, m.Peak.Cause())
	}
	if show(m.OOMGroup) != "false" {
		t.Errorf("killed together: %s, %v", show(m.OOMGroup), m.OOMGroup.Cause())
	}
	if got := killed(t, dir); got != "oom_kill 1" {
		t.Errorf("memory.events: %s", got)
	}
}

// killed is the line of memory.events with the number of processes that were killed.
func killed(t *testing.T, dir string) string {
	t.Helper()
	lines := strings.Split(readSetting(t, dir, "memory.events"), "\n")
	n := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "oom_kill ") })
	if n < 0 {
		t.Fatalf("memory.events of %s: %q", dir, lines)
	}
	return lines[n]
}

// TestLabKilledPod: the pod whose container was killed for its memory has the number, though the container's cgroup is gone.
func TestLabKilledPod(t *testing.T) {
	unified(t)
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	list, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := slices.IndexFunc(list, func(c inspect.Container) bool {
		return c.Kind == inspect.KindSandbox && c.Pod != nil && c.Pod.Name == "pod-oom"
	})
	if n < 0 {
		t.Fatal("no sandbox of pod-oom")
	}
	pod := filepath.Dir(folderOf(t, list[n]))
	if got := killed(t, pod); got == "oom_kill 0" {
		t.Errorf("memory.events of %s: %s", pod, got)
	}
}

// TestLabThrottled: a container that wants more than its processor time is stopped, which is counted; that it waits is its
// pressure.
func TestLabThrottled(t *testing.T) {
	c := unified(t)["pod-with-limits"]
	dir := folderOf(t, c)
	before := labProcess(t, c).CPU
	deadline := time.Now().Add(time.Minute)
	for cpu := before; count(t, "throttled", cpu.Throttled) == count(t, "throttled", before.Throttled); cpu = labProcess(t, c).CPU {
		if time.Now().After(deadline) {
			t.Fatal("never throttled")
		}
		if err := runIn(t, dir, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"); err != nil {
			t.Fatal(err)
		}
	}
	p := labProcess(t, c)
	for name, grew := range map[string]bool{
		"usage":          count(t, "usage", p.CPU.Usage) > count(t, "usage", before.Usage),
		"periods":        count(t, "periods", p.CPU.Periods) > count(t, "periods", before.Periods),
		"throttled time": count(t, "throttled time", p.CPU.ThrottledTime) > count(t, "throttled time", before.ThrottledTime),
	} {
		if !grew {
			t.Errorf("%s did not grow: %+v", name, p.CPU)
		}
	}
	pressure, ok := p.CPU.Pressure.Value()
	if !ok || pressure.Some.Total == 0 || pressure.FullAbsent == since(t, 5, 13) || (pressure.Full.Total == 0) != pressure.FullAbsent {
		t.Errorf("pressure: %+v, %v", pressure, p.CPU.Pressure.Cause())
	}
	for name, f := range map[string]cgroup.Fact[cgroup.Pressure]{"memory": p.Memory.Pressure, "io": p.IO.Pressure} {
		if !strings.HasPrefix(readSetting(t, dir, name+".pressure"), "some ") || f.Known() != cgroup.Present {
			t.Errorf("%s.pressure: %s, %v", name, f.Known(), f.Cause())
		}
	}
}

// TestLabSystemdNames: a process is found in the cgroups that systemd would make, as it is in the runtime's.
func TestLabSystemdNames(t *testing.T) {
	c := unified(t)["pod-with-limits"]
	if p := labProcess(t, c).Place; p.Driver != cgroup.Cgroupfs || p.QoS != "burstable" || p.Container != c.ID || p.Pod != c.Pod.UID {
		t.Errorf("the runtime's: %+v", p)
	}
	const uid = "0b3f2f5c-3a1e-4c4e-9d57-8a3c2f7a6b10"
	names := []string{
		"kubepods.slice", "kubepods-burstable.slice", "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice", "cri-containerd-" + groupID + ".scope",
	}
	dir, pid := newGroup(t, names...)
	set(t, dir, "memory.max", "8388608")
	p, err := cgroup.Reader{}.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	want := cgroup.Place{
		Path: "/" + strings.Join(names, "/"), Container: groupID, Runtime: "containerd", Driver: cgroup.Systemd, Pod: uid, QoS: "burstable",
	}
	if p.Place != want {
		t.Errorf("%+v\nwant %+v", p.Place, want)
	}
	var kinds []string
	for _, level := range p.Effective.Memory.Levels() {
		kinds = append(kinds, string(level.Kind))
	}
	if got := strings.Join(kinds, " "); got != "container pod qos slice machine" {
		t.Errorf("levels: %s", got)
	}
	if least, ok := p.Effective.Memory.Value(); !ok || show(least.Limit) != "8388608" {
		t.Errorf("memory: %+v, %v", least, p.Effective.Memory.Cause())
	}
}

// groupID is a container's, of a cgroup that is made here.
const groupID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// newGroup makes cgroups of these names in each other, with a process in the last.
func newGroup(t *testing.T, names ...string) (dir string, pid int) {
	t.Helper()
	dir = "/sys/fs/cgroup"
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids"), 0); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		made := dir
		t.Cleanup(func() { removeGroup(t, made) })
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo 0 >"+dir+"/cgroup.procs; echo; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return dir, cmd.Process.Pid
}

// removeGroup removes a cgroup; it stays busy for a moment after its last process.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 200 {
		if err = os.Remove(dir); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(err)
}

// TestLabCgroupNamespaces: an ordinary container sees its own cgroup as the root, a privileged one the machine's.
func TestLabCgroupNamespaces(t *testing.T) {
	containers := unified(t)
	for pod, own := range map[string]bool{"pod-no-limits": true, "pod-privileged": false} {
		c := containers[pod]
		p := labProcess(t, c)
		if p.Place.Container != c.ID || !p.Place.Own() {
			t.Errorf("%s: %+v", pod, p.Place)
		}
		mounts, ok := p.Mounts.Value()
		if !ok || len(mounts) != 1 || !mounts[0].Unified || mounts[0].Point != "/sys/fs/cgroup" {
			t.Fatalf("%s: %+v, %v", pod, mounts, p.Mounts.Cause())
		}
		want := "/"
		if own {
			want = p.Place.Path
		}
		if mounts[0].Root != want || mounts[0].Writable == own {
			t.Errorf("%s: %+v, want the root %s", pod, mounts[0], want)
		}
	}
}

// TestLabCgroupWritable: a container that containerd lets write its cgroup, with cgroup_writable. It can divide what it has, and,
// where the hierarchy is mounted with nsdelegate, not lift its own limits.
func TestLabCgroupWritable(t *testing.T) {
	containers := unified(t)
	c, ok := containers["pod-cgroup-writable"]
	if !ok {
		t.Skip("needs the lab's pod-cgroup-writable: hack/vmtest.sh")
	}
	p := labProcess(t, c)
	mounts, _ := p.Mounts.Value()
	if len(mounts) != 1 || !mounts[0].Writable || !mounts[0].Delegates || mounts[0].Root != p.Place.Path {
		t.Errorf("%+v of %s", mounts, p.Place.Path)
	}
	pid, _ := c.PID.Value()
	inside := func(script string) string {
		out, err := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--mount", "--pid", "--cgroup", "sh", "-c", script).CombinedOutput()
		return fmt.Sprintf("%s, %v", strings.TrimSpace(string(out)), err)
	}
	if said := inside("cd /sys/fs/cgroup && mkdir part && rmdir part"); said != ", <nil>" {
		t.Errorf("a group below: %s", said)
	}
	if said := inside("echo max >/sys/fs/cgroup/memory.max"); !strings.Contains(said, "not permitted") {
		t.Errorf("its own limit: %s", said)
	}
}
