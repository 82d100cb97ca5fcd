package cgroup

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// group makes a cgroup next to our own in the hierarchy of a controller, and skips the test where that is not possible.
func group(t *testing.T, controller, name string) (dir string, unified bool) {
	t.Helper()
	v := Reader{}.View()
	if v.err != nil {
		t.Fatal(v.err)
	}
	l := v.lineage(v.self, controller, "")
	defer l.close()
	if err := l.root().fact.Cause(); !l.root().found() {
		t.Skipf("no %s controller here: %v", controller, err)
	}
	dir = filepath.Join(l.root().path, name+"-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no cgroup can be made here (needs root): %v", err)
	}
	t.Cleanup(func() { remove(t, dir) })
	for _, file := range map[string][]string{"memory": {"memory.max", "memory.limit_in_bytes"}, "cpu": {"cpu.max", "cpu.cfs_quota_us"}}[controller] {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return dir, l.unified
		}
	}
	t.Skipf("the %s controller is not enabled in %s", controller, l.root().path)
	return "", false
}

// remove removes a cgroup; it stays busy for a moment after its last process.
func remove(t *testing.T, dir string) {
	t.Helper()
	for range 200 {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s stays", dir)
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		t.Error(err)
	}
}

func limitFile(unified bool) string {
	if unified {
		return "memory.max"
	}
	return "memory.limit_in_bytes"
}

// TestRemovedWhileRead: a cgroup that is removed between two reads, or in the middle of one, is never absent and never has a
// limit that it had not. Nor does a new cgroup of the same name give its own.
func TestRemovedWhileRead(t *testing.T) {
	dir, unified := group(t, "memory", "rtinspect-removed")
	const limit = 64 << 20
	for i := range 200 {
		if i > 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(t, dir, limitFile(unified), strconv.Itoa(limit))
		f := folderAt(dir)
		if err := f.open(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- os.Remove(dir) }()
		for removed := false; !removed; {
			f.forget()
			m := readMemory(f, unified)
			huge := readHugeTLB(f, unified)
			value, ok := m.Max.Value()
			removed = errors.Is(m.Max.Cause(), ErrRemoved)
			if !removed && (!ok || value != LimitOf(limit)) {
				t.Fatalf("limit %s, %v; want %d or that the cgroup was removed", m.Max.Known(), m.Max.Cause(), limit)
			}
			if removed && (m.Current.Known() != Unknown || !errors.Is(huge.Cause(), ErrRemoved)) {
				t.Fatalf("removed, but usage is %s and huge pages are %s, %v", m.Current.Known(), huge.Known(), huge.Cause())
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f.forget()
		if m := readMemory(f, unified); !errors.Is(m.Max.Cause(), ErrRemoved) || !strings.Contains(m.Max.Cause().Error(), dir) {
			t.Fatalf("a new cgroup of the same name gave %s, %v", m.Max.Known(), m.Max.Cause())
		}
		f.close()
		remove(t, dir)
	}
}

// TestRemovedWhileOpen: the errno of a file that was opened before its cgroup was removed.
func TestRemovedWhileOpen(t *testing.T) {
	dir, unified := group(t, "memory", "rtinspect-open")
	file, err := os.Open(filepath.Join(dir, limitFile(unified)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	remove(t, dir)
	if _, err := file.Read(make([]byte, 10)); !errors.Is(err, unix.ENODEV) || !errors.Is(vanished(err), ErrRemoved) {
		t.Errorf("%v, want ENODEV, which is ErrRemoved", err)
	}
}

// changing writes new limits until the test ends: memory of 64 and of 128 MiB in turn, and a quota and a period that each grow by
// one, the quota first. So quota q holds with the periods q and q-1, and with no other.
func changing(t *testing.T, memory, memoryFile, cpu string, cpuUnified bool) {
	set := func(i int) {
		write(t, memory, memoryFile, strconv.Itoa((64+64*(i%2))<<20))
		n := strconv.Itoa(1000 + i)
		if cpuUnified {
			write(t, cpu, "cpu.max", n+" "+n)
			return
		}
		write(t, cpu, "cpu.cfs_quota_us", n)
		write(t, cpu, "cpu.cfs_period_us", n)
	}
	set(0)
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for i := 1; i < 900_000; i++ { // a period is a second at most
			select {
			case <-stop:
				return
			default:
				set(i)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// TestChangedWhileRead: a limit that changes is given as it was at one time, also the one that v1 has in two files.
func TestChangedWhileRead(t *testing.T) {
	memory, unified := group(t, "memory", "rtinspect-changed")
	cpu, cpuUnified := group(t, "cpu", "rtinspect-changed-cpu")
	changing(t, memory, limitFile(unified), cpu, cpuUnified)
	f := folderAt(memory)
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	c := folderAt(cpu)
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	bytes, times := map[string]int{}, map[CPUMax]int{}
	for begin := time.Now(); time.Since(begin) < time.Second; {
		f.forget()
		c.forget()
		limit, _ := memoryLevel(f, unified)
		bytes[show(limit)]++
		m, ok := cpuMax(c, cpuUnified).Value()
		if quota, _ := m.Quota.Value(); !ok || m.Period != quota && m.Period != quota-1 {
			t.Fatalf("read %q, %v: that never held", m, ok)
		}
		times[m]++
	}
	if len(bytes) != 2 || bytes["67108864"] == 0 || bytes["134217728"] == 0 || len(times) < 10 {
		t.Errorf("memory limits %v and %d different processor times, want 67108864 and 134217728, and many", bytes, len(times))
	}
}

// TestOwn reads the test's own process, with what the kernel's files say by path.
func TestOwn(t *testing.T) {
	p, err := Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	folder, ok := p.Folder.Value()
	if !ok {
		t.Skipf("our own memory cgroup: %v", p.Folder.Cause())
	}
	_, unified := p.Memory.High.Value()
	text, err := os.ReadFile(filepath.Join(folder, limitFile(unified)))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("we are in the root: %v", err)
	}
	limit := strings.TrimSpace(string(text))
	if got := show(p.Memory.Max); got != limit && (got != "max" || len(limit) != 19) {
		t.Errorf("memory limit %s, the file says %s", got, limit)
	}
	if _, ok := p.Effective.CPU.AtMost(); !ok {
		t.Error("no bound for processors")
	}
}

// TestNamespace reads a process in another cgroup from inside of a cgroup namespace, with the host's mounts: the path is
// relative, and the names above it are not told by any file.
func TestNamespace(t *testing.T) {
	const variable = "RTINSPECT_TEST_PID"
	if pid, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		p, err := Reader{}.Process(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(p); err != nil {
			t.Fatal(err)
		}
		return
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare is missing (Debian: util-linux)")
	}
	parent, unified := group(t, "memory", "rtinspect-namespace")
	if unified {
		write(t, parent, "cgroup.subtree_control", "+memory")
	}
	ours, theirs := filepath.Join(parent, "ours"), filepath.Join(parent, "theirs")
	for _, dir := range []string{ours, theirs} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer remove(t, dir)
	}
	write(t, theirs, limitFile(unified), "67108864")
	write(t, parent, limitFile(unified), "33554432")
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	write(t, theirs, "cgroup.procs", strconv.Itoa(sleeper.Process.Pid))
	cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, ours, unshare, "--cgroup", os.Args[0], "-test.run=^TestNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(sleeper.Process.Pid))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "{")
	var p Process
	if err := json.NewDecoder(strings.NewReader("{" + rest)).Decode(&p); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, _ := memberOf(p.Memberships, "memory")
	if m.Path != "/../theirs" {
		t.Errorf("path %s: the test does not test what it should", m.Path)
	}
	if show(p.Memory.Max) != "67108864" || !strings.HasPrefix(showLeast(p.Effective.Memory), "33554432 ") {
		t.Errorf("memory limit %s (%v), effective %s", show(p.Memory.Max), p.Memory.Max.Cause(), showLeast(p.Effective.Memory))
	}
	if folder, _ := p.Folder.Value(); folder != theirs {
		t.Errorf("folder %s, want %s", folder, theirs)
	}
}

// forget has everything read again.
func (f *folder) forget() { f.read = &remembered{} }
