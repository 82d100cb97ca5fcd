package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

func readPID(t *testing.T, r Reader, pid int) Process {
	t.Helper()
	p, err := r.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wants compares what was read with what the recording has.
func wants(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for key, text := range want {
		if _, ok := got[key]; !ok {
			t.Errorf("no %s", key)
		}
		if got[key] != text {
			t.Errorf("%s is %q, want %q", key, got[key], text)
		}
	}
}

// summary shows what most tests look at.
func summary(p Process) map[string]string {
	mode, _ := p.Mode.Value()
	huge, _ := p.HugeTLB.Value()
	io, _ := p.IO.Max.Value()
	stat, _ := p.IO.Stat.Value()
	return map[string]string{
		"mode":      string(mode),
		"container": p.Place.Container, "inner": p.Place.Inner, "runtime": p.Place.Runtime, "driver": string(p.Place.Driver),
		"pod": p.Place.Pod, "qos": p.Place.QoS,
		"memory.max": show(p.Memory.Max), "memory.high": show(p.Memory.High), "memory.low": show(p.Memory.Low),
		"memory.min": show(p.Memory.Min), "memory.swap.max": show(p.Memory.SwapMax), "memory.memsw": show(p.Memory.MemorySwapMax),
		"memory.soft": show(p.Memory.SoftLimit), "memory.current": show(p.Memory.Current), "memory.peak": show(p.Memory.Peak),
		"memory.events": fmt.Sprint(show(p.Memory.HighEvents), " ", show(p.Memory.MaxEvents), " ", show(p.Memory.OOM), " ", show(p.Memory.OOMKill)),
		"oom.group":     fmt.Sprint(p.Memory.OOMGroup.Value()), "oom.disable": fmt.Sprint(p.Memory.OOMKillDisable.Value()),
		"cpu.max": show(p.CPU.Max), "cpu.burst": show(p.CPU.Burst), "cpu.weight": show(p.CPU.Weight), "cpu.shares": show(p.CPU.Shares),
		"cpu.usage": show(p.CPU.Usage), "cpu.throttled": fmt.Sprint(show(p.CPU.Periods), " ", show(p.CPU.Throttled), " ", show(p.CPU.ThrottledTime)),
		"cpu.pressure": show(p.CPU.Pressure), "memory.pressure": show(p.Memory.Pressure), "io.pressure": show(p.IO.Pressure),
		"pids.max": show(p.Pids.Max), "pids.current": show(p.Pids.Current), "pids.peak": show(p.Pids.Peak), "pids.events": show(p.Pids.MaxEvents),
		"cpuset": fmt.Sprint(show(p.CPUSet.CPUs), " ", show(p.CPUSet.CPUsEffective), " ", show(p.CPUSet.Mems), " ", show(p.CPUSet.MemsEffective)),
		"io.max": fmt.Sprint(io), "io.stat": fmt.Sprint(stat), "io.weight": show(p.IO.Weight),
		"hugetlb": fmt.Sprint(len(huge)), "hugetlb.known": p.HugeTLB.Known().String(),
		"effective.memory": showLeast(p.Effective.Memory), "effective.swap": showLeast(p.Effective.Swap),
		"effective.cpu": showLeast(p.Effective.CPU), "effective.pids": showLeast(p.Effective.Pids),
	}
}

func TestUnifiedCgroupfs(t *testing.T) {
	dir := recorded(t, "v2-cgroupfs")
	p := readPID(t, readerOf(dir), 149)
	wants(t, summary(p), map[string]string{
		"mode": "v2", "container": "531ce6689df66453c8fd69745ea0c1c8de810cbe0cbb723bfa2bd4d6ea12918b", "inner": "", "runtime": "",
		"driver": "cgroupfs", "pod": "0c4a1d6e-8d5f-4c0b-9a63-1f2e3d4c5b6a", "qos": "burstable",
		"memory.max": "134217728", "memory.high": "121634816", "memory.low": "67108864", "memory.min": "16777216",
		"memory.swap.max": "0", "memory.memsw": "absent", "memory.soft": "absent", "memory.current": "2547712",
		"memory.peak": "134221824", "memory.events": "0 24 1 1", "oom.group": "true true", "oom.disable": "false false",
		"cpu.max": "50000 100000", "cpu.burst": "10000", "cpu.weight": "35", "cpu.shares": "absent", "cpu.usage": "2136447",
		"cpu.throttled": "49 41 1973915",
		"cpu.pressure":  "some avg10=15.35 avg60=3.49 avg300=0.75 total=2282836\nfull avg10=13.57 avg60=3.06 avg300=0.66 total=1995081\n",
		"io.pressure":   "some avg10=1.99 avg60=0.35 avg300=0.07 total=241430\nfull avg10=1.99 avg60=0.35 avg300=0.07 total=241430\n",
		"pids.max":      "100", "pids.current": "4", "pids.peak": "4", "pids.events": "0", "cpuset": "0 0  0",
		"io.max": "[7:0 rbps=1048576 wbps=max riops=max wiops=100]", "io.stat": "[{7:0 262144 0 4 0}]", "io.weight": "100", "hugetlb": "1",
		"effective.memory": "134217728 container", "effective.swap": "0 container", "effective.cpu": "50000 100000 container",
		"effective.pids": "64 pod",
	})
	if !p.Place.Own() {
		t.Error("the container's own cgroup is not told to be its own")
	}
	folder := filepath.Join(dir, "sys/fs/cgroup", p.Memberships[0].Path)
	if got, _ := p.Folder.Value(); got != folder {
		t.Errorf("folder %s, want %s", got, folder)
	}
	if p.Memory.Max.Source() != folder+"/memory.max" {
		t.Errorf("memory.max is from %s", p.Memory.Max.Source())
	}
	level, _ := p.Effective.Pids.Value()
	if want := filepath.Dir(folder) + "/pids.max"; level.Limit.Source() != want || show(level.Usage) != "4" {
		t.Errorf("effective pids: %+v, want it from %s with usage 4", level, want)
	}
	if got := len(p.Effective.Memory.Levels()); got != 5 {
		t.Errorf("%d levels, want container, pod, QoS class, kubepods and machine", got)
	}
	if len(p.Release) != 0 {
		t.Errorf("release %+v in cgroup v2", p.Release)
	}
}

// TestSystemd: the pod has the tighter processor time, and Docker's container has no pod.
func TestSystemd(t *testing.T) {
	r := readerOf(recorded(t, "v2-systemd"))
	wants(t, summary(readPID(t, r, 153)), map[string]string{
		"runtime": "containerd", "driver": "systemd", "pod": "2b9f7c31-55aa-4e6d-8c1b-6d5e4f3a2b1c", "qos": "burstable",
		"memory.max": "134217728", "cpu.max": "50000 100000", "effective.cpu": "20000 100000 pod",
		"effective.memory": "134217728 container", "effective.pids": "23170 machine",
	})
	wants(t, summary(readPID(t, r, 158)), map[string]string{
		"runtime": "docker", "driver": "systemd", "pod": "", "qos": "", "memory.max": "4294967296",
		// More than the machine has is no limit.
		"effective.memory": "3048542208 machine", "effective.cpu": "200000 100000 machine",
	})
}

// TestKind: a node that is a container. Its own limit is the tightest, and what is above it cannot be seen.
func TestKind(t *testing.T) {
	p := readPID(t, readerOf(recorded(t, "v2-kind")), 174)
	wants(t, summary(p), map[string]string{
		"runtime": "containerd", "driver": "systemd", "pod": "7e1c64a5-2f35-4b1d-9d0e-0a3f5b6c7d8e", "qos": "besteffort",
		"memory.max": "max", "effective.memory": "at most 1073741824 slice", "effective.pids": "at most 100 pod",
	})
	if err := p.Effective.Memory.Cause(); !errors.Is(err, ErrHidden) {
		t.Errorf("cause %v, want what is above the node to be hidden", err)
	}
	if _, ok := p.Effective.Memory.Value(); ok {
		t.Error("an effective limit is known where a tighter one may hide")
	}
	levels := p.Effective.Memory.Levels()
	var got []string
	for _, level := range levels {
		got = append(got, string(level.Kind)+" "+show(level.Limit))
	}
	want := "container max, pod max, qos max, slice max, slice 1073741824, root 1610612736, hidden unknown, machine 3048542208"
	if strings.Join(got, ", ") != want {
		t.Errorf("levels:\n got %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// TestReaderInPod: the reader has a cgroup namespace of its own, and the host's mount.
func TestReaderInPod(t *testing.T) {
	dir := recorded(t, "v2-cgroupfs")
	r := readerOf(dir)
	r.Proc = filepath.Join(dir, "proc-in-pod")
	// The names of the cgroups above us are in no file; in a recording we are not found either.
	p := readPID(t, r, 149)
	if err := p.Memory.Max.Cause(); !errors.Is(err, ErrHidden) {
		t.Errorf("memory.max: %v, want that the cgroup is hidden", err)
	}
	wants(t, summary(p), map[string]string{
		"memory.max": "unknown", "memory.high": "unknown", "cpu.max": "unknown", "cpu.weight": "unknown", "hugetlb.known": "unknown",
		"memory.events": "unknown unknown unknown unknown", "effective.memory": "at most 3048542208 machine",
		"container": "531ce6689df66453c8fd69745ea0c1c8de810cbe0cbb723bfa2bd4d6ea12918b",
	})
	// Where our own process is in that cgroup, they follow from the mount.
	folder := filepath.Join(dir, "sys/fs/cgroup/kubepods/burstable/pod4d3c2b1a-0f1e-4d2c-8b3a-9e8d7c6b5a49/us")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder+"/cgroup.procs", fmt.Appendf(nil, "1\n%d\n", os.Getpid()), 0o644); err != nil {
		t.Fatal(err)
	}
	wants(t, summary(readPID(t, r, 149)), map[string]string{
		"memory.max": "134217728", "effective.pids": "64 pod", "pod": "0c4a1d6e-8d5f-4c0b-9a63-1f2e3d4c5b6a", "qos": "burstable",
	})
}

func TestHybrid(t *testing.T) {
	dir := recorded(t, "v1-hybrid")
	p := readPID(t, readerOf(dir), 31664)
	wants(t, summary(p), map[string]string{
		"mode": "hybrid", "container": "c7b3f05ce0a94d1f8b26de7034f1a95b2c48e6d7f0913a5b8c6d2e4f70a1b3c5", "qos": "burstable",
		"memory.max": "134217728", "memory.memsw": "134217728", "memory.soft": "max", "memory.high": "absent",
		"memory.swap.max": "absent", "oom.group": "false false", "oom.disable": "false true",
		"memory.events": "absent 0 absent 1",
		"cpu.max":       "50000 100000", "cpu.shares": "256", "cpu.weight": "absent", "cpu.burst": "0",
		"cpu.throttled": "20 12 503785", "cpu.usage": "612550", "memory.current": "323584", "memory.peak": "134217728",
		"pids.current": "1", "pids.peak": "2", "pids.events": "0", "io.stat": "[]",
		"pids.max": "max", "cpuset": "1 1 0 0", "io.max": "[]", "io.weight": "absent", "hugetlb.known": "absent",
		"effective.memory": "134217728 container", "effective.swap": "134217728 container",
		"effective.cpu": "50000 100000 container", "effective.pids": "64 pod",
	})
	if got := p.CPU.Pressure.Source(); !strings.HasSuffix(got, "/cpu.pressure") || !strings.Contains(got, "/unified/") {
		t.Errorf("pressure %v from %s, want it from cgroup v2", p.CPU.Pressure, got)
	}
	if len(p.Release) != 9 {
		t.Fatalf("%d release entries, want one for each v1 hierarchy", len(p.Release))
	}
	for _, r := range p.Release {
		notify, ok := r.Notify.Value()
		agent, known := r.Agent.Value()
		if r.Controllers[0] == "name=systemd" { // not in the recording
			if ok || known || r.Agent.Cause() == nil {
				t.Errorf("unrecorded hierarchy: %+v", r)
			}
			continue
		}
		if !ok || notify || !known || agent != "" {
			t.Errorf("%v: %+v", r.Controllers, r)
		}
	}
	mounts, ok := p.Mounts.Value()
	if !ok || len(mounts) != 10 || !mounts[0].Writable {
		t.Errorf("mounts %+v, %v; want 10 writable ones", mounts, ok)
	}
}

// machineFiles are what every tree needs.
func machineFiles(more map[string]string) map[string]string {
	files := map[string]string{
		"proc/self":                      "-> 7",
		"proc/7/cgroup":                  "0::/\n",
		"proc/7/mountinfo":               "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"proc/8/cgroup":                  "0::/a/b\n",
		"proc/8/mountinfo":               "41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
		"proc/meminfo":                   "MemTotal:       1000 kB\nSwapTotal:         0 kB\n",
		"proc/stat":                      "cpu  1\ncpu0 1\ncpu1 1\n",
		"proc/sys/kernel/pid_max":        "4194304\n",
		"proc/sys/kernel/threads-max":    "1000\n",
		"sys/fs/cgroup/cgroup.procs":     "",
		"sys/fs/cgroup/a/cgroup.procs":   "",
		"sys/fs/cgroup/a/cgroup.events":  "populated 1\n",
		"sys/fs/cgroup/a/b/cgroup.procs": "8\n",
	}
	for name, text := range more {
		files[name] = text
	}
	return files
}

// TestGarbage: whatever is wrong with a file makes its fact unknown with the path, never 0 and never max.
func TestGarbage(t *testing.T) {
	for _, text := range []string{
		"", "\n", "134217728", "max", "mox\n", "-1\n", "+1\n", " 1\n", "1 \n", "1\n2\n", "0x10\n", "18446744073709551616\n", "1e3\n",
		"\x00", strings.Repeat("9", 5000) + "\n", "max max\n", "max max max\n",
	} {
		files := map[string]string{}
		for _, name := range []string{
			"memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "memory.current", "memory.peak",
			"memory.swap.current", "memory.events", "memory.oom.group", "memory.pressure", "cpu.max", "cpu.max.burst", "cpu.weight",
			"cpu.idle", "cpu.stat", "cpu.pressure", "pids.max", "pids.current", "pids.peak", "pids.events", "io.weight", "io.pressure",
		} {
			files["sys/fs/cgroup/a/b/"+name] = text
		}
		dir := tree(t, machineFiles(files))
		p := readPID(t, readerOf(dir), 8)
		checkUnknown(t, fmt.Sprintf("%.20q", text), p.Memory, "SoftLimit", "MemorySwapMax", "MemorySwapCurrent", "OOMKillDisable")
		checkUnknown(t, fmt.Sprintf("%.20q", text), p.CPU, "Shares")
		checkUnknown(t, fmt.Sprintf("%.20q", text), p.Pids)
		for kind, err := range map[string]error{
			"memory": p.Effective.Memory.Cause(), "swap": p.Effective.Swap.Cause(), "cpu": p.Effective.CPU.Cause(), "pids": p.Effective.Pids.Cause(),
		} {
			if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%.20q: effective %s: %v, want unknown with the path", text, kind, err)
			}
		}
	}
}

// checkUnknown fails unless every fact of a struct is unknown with a path, but those named.
func checkUnknown(t *testing.T, text string, values any, but ...string) {
	t.Helper()
	v := reflect.ValueOf(values)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		fact := v.Field(i).Interface().(interface {
			Known() Known
			Cause() error
		})
		skip := false
		for _, b := range but {
			skip = skip || b == name
		}
		if skip {
			continue
		}
		if fact.Known() != Unknown || !strings.Contains(fact.Cause().Error(), "/sys/fs/cgroup/a/b/") || strings.Contains(fact.Cause().Error(), "\n") {
			t.Errorf("%s: %s is %s: %v", text, name, fact.Known(), fact.Cause())
		}
	}
}

// TestUnreadable: a file that the kernel refuses to read is unknown with its errno, and so is every limit that depends on it.
func TestUnreadable(t *testing.T) {
	dir := tree(t, machineFiles(map[string]string{
		"sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/pids.max": "3\n", "sys/fs/cgroup/a/b/pids.max": "5\n",
	}))
	// A folder in place of a file: reading it is EISDIR, for root too.
	if err := os.MkdirAll(dir+"/sys/fs/cgroup/a/memory.max", 0o755); err != nil {
		t.Fatal(err)
	}
	p := readPID(t, readerOf(dir), 8)
	err := p.Effective.Memory.Cause()
	if !errors.Is(err, syscall.EISDIR) || !strings.Contains(err.Error(), "/a/memory.max: is a directory") {
		t.Errorf("effective memory: %v", err)
	}
	wants(t, summary(p), map[string]string{
		"memory.max": "1000", "effective.memory": "at most 1000 group", "effective.pids": "3 group", "effective.cpu": "200000 100000 machine",
	})
}

func TestWhereErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		is    error
		text  string
	}{
		{"no such cgroup", map[string]string{"proc/8/cgroup": "0::/a/gone\n"}, ErrRemoved, "/a/gone"},
		{"deleted", map[string]string{"proc/8/cgroup": "0::/a/b (deleted)\n"}, ErrRemoved, "/a/b"},
		{"outside of the namespace", map[string]string{"proc/8/cgroup": "0::/../x\n"}, ErrHidden, "/../x"},
		{"no mount", map[string]string{"proc/7/mountinfo": "41 31 0:38 / /mnt rw - cgroup2 cgroup2 rw\n"}, ErrHidden, "no mount"},
		{"mounted elsewhere", map[string]string{"proc/7/mountinfo": "41 31 0:38 / /sys/fs/cgroupx rw - cgroup2 cgroup2 rw\n"}, ErrHidden, "no mount"},
		{"other part mounted", map[string]string{"proc/7/mountinfo": "41 31 0:38 /c /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"}, ErrHidden, "shows /c only"},
		{"other part of the parent mounted", map[string]string{
			"proc/7/mountinfo":              "41 31 0:38 /../x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			"proc/8/cgroup":                 "0::/../b\n",
			"sys/fs/cgroup/us/cgroup.procs": fmt.Sprintln(os.Getpid()), "sys/fs/cgroup/b/cgroup.procs": "8\n",
		}, ErrHidden, "shows /../x only"},
		{"covered by another", map[string]string{
			"proc/7/mountinfo": "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n42 41 0:39 / /sys/fs/cgroup rw - cgroup c rw,cpu\n",
		}, ErrHidden, "no mount"},
		{"bad mountinfo", map[string]string{"proc/7/mountinfo": "41 31 0:38\n"}, ErrSyntax, "7/mountinfo"},
		{"climbs inside", map[string]string{"proc/8/cgroup": "0::/a/../b\n"}, ErrSyntax, `".."`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := readPID(t, readerOf(tree(t, machineFiles(tt.files))), 8)
			for _, err := range []error{p.Memory.Max.Cause(), p.Folder.Cause(), p.Effective.Memory.Cause(), p.IO.Max.Cause(), p.HugeTLB.Cause()} {
				if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%v, want %v with %q", err, tt.is, tt.text)
				}
			}
		})
	}
}

// TestPartialMount: a node without a cgroup namespace, whose mount shows its own part only.
func TestPartialMount(t *testing.T) {
	const node = "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const pod = "/kubelet/kubepods/pod00000000-1111-2222-3333-444444444444"
	const own = pod + "/fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	p := readPID(t, readerOf(tree(t, machineFiles(map[string]string{
		"proc/7/mountinfo":                                      "35 31 0:32 " + node + " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		"proc/8/cgroup":                                         "4:memory:" + node + own + "\n",
		"sys/fs/cgroup/memory/cgroup.procs":                     "",
		"sys/fs/cgroup/memory" + own + "/cgroup.procs":          "8\n",
		"sys/fs/cgroup/memory" + own + "/memory.limit_in_bytes": "9223372036854771712\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes":            "500000\n",
	}))), 8)
	wants(t, summary(p), map[string]string{
		"mode": "v1", "memory.max": "max", "effective.memory": "at most 500000 outer", "qos": "guaranteed", "driver": "cgroupfs",
		"container": "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210", "cpu.max": "absent",
	})
	if agent := p.Release[0].Agent; !errors.Is(agent.Cause(), ErrHidden) {
		t.Errorf("release_agent is %s, %v; want it unknown: it is in the root that cannot be seen", agent.Known(), agent.Cause())
	}
	if _, ok := p.Effective.CPU.Value(); !ok {
		t.Errorf("no cpu controller at all: %v, want the machine's processors", p.Effective.CPU.Cause())
	}
}

// TestInner: the process is below the container's own cgroup, whose values count; limits below still bind the process.
func TestInner(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	files := machineFiles(map[string]string{
		"proc/8/cgroup":                                    "0::/" + id + "/init.scope\n",
		"sys/fs/cgroup/" + id + "/cgroup.procs":            "",
		"sys/fs/cgroup/" + id + "/cgroup.events":           "populated 1\n",
		"sys/fs/cgroup/" + id + "/memory.max":              "500000\n",
		"sys/fs/cgroup/" + id + "/init.scope/cgroup.procs": "8\n",
		"sys/fs/cgroup/" + id + "/init.scope/memory.max":   "400000\n",
	})
	r := readerOf(tree(t, files))
	wants(t, summary(readPID(t, r, 8)), map[string]string{
		"container": id, "inner": "/init.scope", "memory.max": "500000", "effective.memory": "400000 group",
	})
	for container, want := range map[string]string{id: id, "web": ""} {
		p, err := procfs.FS{Proc: r.Proc}.Open(8)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.View().Read(p, container)
		_ = p.Close()
		if err != nil || got.Place.Container != want {
			t.Errorf("as container %s: %+v, %v", container, got.Place, err)
		}
	}
}

// TestCountedElsewhere: the usage and the pressure of another cgroup, in which the process is in their hierarchies, are not told as
// those of its own.
func TestCountedElsewhere(t *testing.T) {
	dir := recorded(t, "v1-hybrid")
	name := filepath.Join(dir, "proc/31664/cgroup")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const pod = "/kubepods/burstable/pod91d2e0f4-7c3b-4a58-b6f9-0e1d2c3b4a59"
	text := regexp.MustCompile(`(2:cpuacct:|0::).*`).ReplaceAllString(string(data), "${1}"+pod)
	for _, group := range []string{"cpuacct", "unified"} {
		write(t, filepath.Join(dir, "sys/fs/cgroup", group+pod), "cgroup.procs", "")
	}
	write(t, filepath.Join(dir, "sys/fs/cgroup/cpuacct"+pod), "cpuacct.usage", "999000\n")
	write(t, filepath.Join(dir, "sys/fs/cgroup/unified"+pod), "memory.pressure", "some avg10=1.00 avg60=1.00 avg300=1.00 total=1\nfull avg10=1.00 avg60=1.00 avg300=1.00 total=1\n")
	write(t, filepath.Dir(name), "cgroup", text)
	p := readPID(t, readerOf(dir), 31664)
	for what, f := range map[string]interface {
		Known() Known
		Source() string
	}{"usage": p.CPU.Usage, "memory": p.Memory.Pressure, "cpu": p.CPU.Pressure, "io": p.IO.Pressure} {
		if f.Known() != Absent || f.Source() != "it is counted in another cgroup: "+pod {
			t.Errorf("%s: %s, %s", what, f.Known(), f.Source())
		}
	}
	if most, ok := p.CPU.Max.Value(); !ok || most.String() != "50000 100000" {
		t.Errorf("its limit is %s", most)
	}
}

// TestUseHierarchy: a v1 limit does not hold below a cgroup with memory.use_hierarchy 0.
func TestUseHierarchy(t *testing.T) {
	for text, want := range map[string]string{"0\n": "1024000 machine", "1\n": "1000 group", "": "at most 1024000 machine"} {
		p := readPID(t, readerOf(tree(t, machineFiles(map[string]string{
			"proc/7/mountinfo":                               "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"proc/8/cgroup":                                  "4:memory:/a/b\n",
			"sys/fs/cgroup/memory/release_agent":             "\n",
			"sys/fs/cgroup/memory/cgroup.procs":              "",
			"sys/fs/cgroup/memory/a/cgroup.procs":            "",
			"sys/fs/cgroup/memory/a/memory.use_hierarchy":    text,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   "1000\n",
			"sys/fs/cgroup/memory/a/b/cgroup.procs":          "",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n",
		}))), 8)
		if got := showLeast(p.Effective.Memory); got != want {
			t.Errorf("use_hierarchy %q: %s, want %s", text, got, want)
		}
	}
}

// TestLegacySwap: v1 limits memory and swap together, also the machine's.
func TestLegacySwap(t *testing.T) {
	p := readPID(t, readerOf(tree(t, machineFiles(map[string]string{
		"proc/meminfo":                                       "MemTotal: 1000 kB\nSwapTotal: 24 kB\n",
		"proc/7/mountinfo":                                   "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		"proc/8/cgroup":                                      "4:memory:/a\n",
		"sys/fs/cgroup/memory/release_agent":                 "/bin/agent\n",
		"sys/fs/cgroup/memory/cgroup.procs":                  "",
		"sys/fs/cgroup/memory/a/cgroup.procs":                "",
		"sys/fs/cgroup/memory/a/notify_on_release":           "1\n",
		"sys/fs/cgroup/memory/a/memory.usage_in_bytes":       "5\n",
		"sys/fs/cgroup/memory/a/memory.memsw.usage_in_bytes": "7\n",
		"sys/fs/cgroup/memory/a/memory.memsw.limit_in_bytes": "9223372036854771712\n",
		"sys/fs/cgroup/memory/a/memory.oom_control":          "oom_kill_disable 1\nunder_oom 0\n",
	}))), 8)
	wants(t, summary(p), map[string]string{
		"effective.swap": "1048576 machine", "memory.memsw": "max", "memory.current": "5", "oom.disable": "true true",
		"memory.events": "absent absent absent absent", // oom_kill is there since Linux 4.13
	})
	if got := show(p.Memory.MemorySwapCurrent); got != "7" {
		t.Errorf("memory and swap in use: %s, want 7", got)
	}
	notify, _ := p.Release[0].Notify.Value()
	if agent, _ := p.Release[0].Agent.Value(); !notify || agent != "/bin/agent" {
		t.Errorf("release %+v", p.Release)
	}
}

// TestLegacyIO: v1's four files of limits and two of counters in one list.
func TestLegacyIO(t *testing.T) {
	files := machineFiles(map[string]string{
		"proc/7/mountinfo":                                                "35 31 0:32 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n",
		"proc/8/cgroup":                                                   "4:blkio:/a\n",
		"sys/fs/cgroup/blkio/cgroup.procs":                                "",
		"sys/fs/cgroup/blkio/a/cgroup.procs":                              "",
		"sys/fs/cgroup/blkio/a/blkio.weight":                              "500\n",
		"sys/fs/cgroup/blkio/a/blkio.throttle.read_bps_device":            "8:16 1048576\n",
		"sys/fs/cgroup/blkio/a/blkio.throttle.write_bps_device":           "8:0 5\n8:16 6\n",
		"sys/fs/cgroup/blkio/a/blkio.throttle.read_iops_device":           "",
		"sys/fs/cgroup/blkio/a/blkio.throttle.write_iops_device":          "8:16 7\n",
		"sys/fs/cgroup/blkio/a/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
		"sys/fs/cgroup/blkio/a/blkio.throttle.io_serviced_recursive":      "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
	})
	const limits = "[8:0 rbps=max wbps=5 riops=max wiops=max 8:16 rbps=1048576 wbps=6 riops=max wiops=7]"
	wants(t, summary(readPID(t, readerOf(tree(t, files)), 8)), map[string]string{
		"io.max": limits, "io.stat": "[{8:0 10 20 1 2}]", "io.weight": "500",
	})
	files["sys/fs/cgroup/blkio/a/blkio.throttle.write_iops_device"] = "8:16 x\n"
	files["sys/fs/cgroup/blkio/a/blkio.throttle.io_serviced_recursive"] = ""
	p := readPID(t, readerOf(tree(t, files)), 8)
	for _, err := range []error{p.IO.Max.Cause(), p.IO.Stat.Cause()} {
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "/a/blkio.throttle.") {
			t.Errorf("one bad file of several: %v", err)
		}
	}
}

// TestCpusetBound: fewer processors than the machine has are a limit, all of them are none, and an unreadable cpuset may hide one.
func TestCpusetBound(t *testing.T) {
	for _, tt := range []struct{ asked, effective, want string }{
		{"\n", "0-1\n", "200000 100000 machine"},
		{"0-1\n", "0-1\n", "200000 100000 machine"},
		{"1\n", "1\n", "100000 100000 group"},
		{"x\n", "1\n", "at most 200000 100000 machine"},
		{"1\n", "", "at most 200000 100000 machine"},
	} {
		p := readPID(t, readerOf(tree(t, machineFiles(map[string]string{
			"sys/fs/cgroup/a/cpuset.cpus": tt.asked, "sys/fs/cgroup/a/cpuset.cpus.effective": tt.effective,
		}))), 8)
		if got := showLeast(p.Effective.CPU); got != tt.want {
			t.Errorf("cpuset %q: %s, want %s", tt.asked, got, tt.want)
		}
	}
}

// TestEmptyFolder: while a cgroup is being removed its folder can still be opened, and is empty. No file of it is absent then.
func TestEmptyFolder(t *testing.T) {
	files := machineFiles(nil)
	delete(files, "sys/fs/cgroup/a/b/cgroup.procs")
	files["sys/fs/cgroup/a/b/other"] = ""
	p := readPID(t, readerOf(tree(t, files)), 8)
	checkUnknown(t, "empty folder", p.Pids)
	for _, err := range []error{p.Memory.Max.Cause(), p.HugeTLB.Cause(), p.IO.Stat.Cause(), p.Effective.CPU.Cause()} {
		if !errors.Is(err, ErrRemoved) {
			t.Errorf("%v, want ErrRemoved", err)
		}
	}
}

// moving is a process that is in another cgroup at the second look.
type moving struct{ paths []string }

func (m *moving) Path(name string) string { return "/proc/8/" + name }

func (m *moving) ReadFile(name string) ([]byte, error) {
	if name != "cgroup" {
		return nil, &fs.PathError{Op: "open", Path: m.Path(name), Err: fs.ErrPermission}
	}
	if len(m.paths) == 0 {
		return nil, fmt.Errorf("read: %w", ErrNoProcess)
	}
	path := m.paths[0]
	m.paths = m.paths[1:]
	return []byte("0::" + path + "\n"), nil
}

func TestMovedOrGone(t *testing.T) {
	r := readerOf(tree(t, machineFiles(nil)))
	if p, err := r.View().Read(&moving{[]string{"/a/b", "/a"}}, ""); !errors.Is(err, ErrMoved) || len(p.Memberships) != 0 {
		t.Errorf("moved: %v, %v", p, err)
	}
	if _, err := r.View().Read(&moving{[]string{"/a/b"}}, ""); !errors.Is(err, ErrNoProcess) {
		t.Errorf("gone: %v", err)
	}
	p, err := r.View().Read(&moving{[]string{"/a/b", "/a/b"}}, "")
	if err != nil || !errors.Is(p.Mounts.Cause(), fs.ErrPermission) {
		t.Errorf("staying: %v, %v", p.Mounts, err)
	}
	for pid, want := range map[int]error{9: ErrNoProcess, 7: nil} {
		if _, err := r.Process(pid); !errors.Is(err, want) {
			t.Errorf("process %d: %v, want %v", pid, err, want)
		}
	}
}

// TestProcessJSON: what was written reads back as the same.
func TestProcessJSON(t *testing.T) {
	for name, pid := range map[string]int{"v2-cgroupfs": 149, "v2-kind": 174, "v1-hybrid": 31664} {
		p := readPID(t, readerOf(recorded(t, name)), pid)
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Process
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(data) {
			t.Errorf("%s: %v\n%s\n%s", name, err, data, again)
		}
	}
}
