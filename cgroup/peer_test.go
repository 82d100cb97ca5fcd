package cgroup_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	cgroups "github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	"github.com/containerd/cgroups/v3/cgroup2"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"

	"github.com/rtinspect/rtinspect/cgroup"
)

// peerValues are what containerd's package says of one cgroup, by the names of our facts. A file that is missing is 0 there.
type peerValues map[string]uint64

// peer asks containerd's package about the cgroup of a process.
func peer(pid int) (peerValues, error) {
	if cgroups.Mode() == cgroups.Unified {
		return peerUnified(pid)
	}
	return peerLegacy(pid)
}

func peerUnified(pid int) (peerValues, error) {
	group, err := cgroup2.PidGroupPath(pid)
	if err != nil {
		return nil, err
	}
	manager, err := cgroup2.Load(group)
	if err != nil {
		return nil, err
	}
	m, err := manager.Stat()
	if err != nil {
		return nil, err
	}
	values := peerValues{
		"pids.max": m.GetPids().GetLimit(), "pids.current": m.GetPids().GetCurrent(),
		"cpu.usage": m.GetCPU().GetUsageUsec(), "cpu.periods": m.GetCPU().GetNrPeriods(),
		"cpu.throttled": m.GetCPU().GetNrThrottled(), "cpu.throttledTime": m.GetCPU().GetThrottledUsec(),
		"memory.max": m.GetMemory().GetUsageLimit(), "memory.current": m.GetMemory().GetUsage(), "memory.peak": m.GetMemory().GetMaxUsage(),
		"memory.swapMax": m.GetMemory().GetSwapLimit(), "memory.swapCurrent": m.GetMemory().GetSwapUsage(),
		"memory.highEvents": m.GetMemoryEvents().GetHigh(), "memory.maxEvents": m.GetMemoryEvents().GetMax(),
		"memory.oom": m.GetMemoryEvents().GetOom(), "memory.oomKill": m.GetMemoryEvents().GetOomKill(),
	}
	for _, s := range m.GetIo().GetUsage() {
		values.add(s.GetMajor(), s.GetMinor(), s.GetRbytes(), s.GetWbytes(), s.GetRios(), s.GetWios())
	}
	for _, h := range m.GetHugetlb() {
		values["hugetlb."+h.GetPagesize()+".max"] = h.GetMax()
		values["hugetlb."+h.GetPagesize()+".current"] = h.GetCurrent()
		values["hugetlb."+h.GetPagesize()+".maxEvents"] = h.GetFailcnt()
	}
	for resource, psi := range map[string]*v2.PSIStats{"cpu": m.GetCPU().GetPSI(), "memory": m.GetMemory().GetPSI(), "io": m.GetIo().GetPSI()} {
		values[resource+".pressure.some"] = psi.GetSome().GetTotal()
		values[resource+".pressure.full"] = psi.GetFull().GetTotal()
	}
	return values, nil
}

func peerLegacy(pid int) (peerValues, error) {
	group, err := cgroup1.Load(cgroup1.PidPath(pid))
	if err != nil {
		return nil, err
	}
	m, err := group.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return nil, err
	}
	values := peerValues{
		"pids.max": m.GetPids().GetLimit(), "pids.current": m.GetPids().GetCurrent(),
		"cpu.usage": m.GetCPU().GetUsage().GetTotal() / 1000, "cpu.periods": m.GetCPU().GetThrottling().GetPeriods(),
		"cpu.throttled": m.GetCPU().GetThrottling().GetThrottledPeriods(), "cpu.throttledTime": m.GetCPU().GetThrottling().GetThrottledTime() / 1000,
		"memory.max": m.GetMemory().GetUsage().GetLimit(), "memory.current": m.GetMemory().GetUsage().GetUsage(),
		"memory.peak": m.GetMemory().GetUsage().GetMax(), "memory.maxEvents": m.GetMemory().GetUsage().GetFailcnt(),
		"memory.memorySwapMax": m.GetMemory().GetSwap().GetLimit(), "memory.memorySwapCurrent": m.GetMemory().GetSwap().GetUsage(),
		"memory.oomKill": m.GetMemoryOomControl().GetOomKill(), "memory.oomKillDisable": m.GetMemoryOomControl().GetOomKillDisable(),
		// The kernel's own least limit over all ancestors, from memory.stat.
		"effective.memory": m.GetMemory().GetHierarchicalMemoryLimit(),
	}
	for _, h := range m.GetHugetlb() {
		values["hugetlb."+h.GetPagesize()+".current"] = h.GetUsage()
		values["hugetlb."+h.GetPagesize()+".maxEvents"] = h.GetFailcnt()
	}
	for operation, entries := range map[string][]*v1.BlkIOEntry{
		"bytes": m.GetBlkio().GetIoServiceBytesRecursive(), "ios": m.GetBlkio().GetIoServicedRecursive(),
	} {
		for _, e := range entries {
			if e.GetOp() == "Read" || e.GetOp() == "Write" {
				values[fmt.Sprintf("io.%d:%d.%s%s", e.GetMajor(), e.GetMinor(), strings.ToLower(e.GetOp()[:1]), operation)] = e.GetValue()
			}
		}
	}
	return values, nil
}

func (v peerValues) add(major, minor, rbytes, wbytes, rios, wios uint64) {
	device := fmt.Sprintf("io.%d:%d.", major, minor)
	v[device+"rbytes"], v[device+"wbytes"], v[device+"rios"], v[device+"wios"] = rbytes, wbytes, rios, wios
}

// ourValues are our facts as numbers, and why those are unknown that have none. What is absent is in neither.
type ourValues struct {
	numbers map[string]uint64
	unknown map[string]error
}

func ours(p cgroup.Process) ourValues {
	v := ourValues{map[string]uint64{}, map[string]error{}}
	for name, f := range map[string]cgroup.Fact[cgroup.Limit]{
		"pids.max": p.Pids.Max, "memory.max": p.Memory.Max, "memory.swapMax": p.Memory.SwapMax, "memory.memorySwapMax": p.Memory.MemorySwapMax,
	} {
		put(v, name, f, limitNumber)
	}
	for name, f := range map[string]cgroup.Fact[cgroup.Count]{
		"pids.current": p.Pids.Current, "cpu.usage": p.CPU.Usage, "cpu.periods": p.CPU.Periods, "cpu.throttled": p.CPU.Throttled,
		"cpu.throttledTime": p.CPU.ThrottledTime, "memory.current": p.Memory.Current, "memory.peak": p.Memory.Peak,
		"memory.swapCurrent": p.Memory.SwapCurrent, "memory.memorySwapCurrent": p.Memory.MemorySwapCurrent,
		"memory.highEvents": p.Memory.HighEvents, "memory.maxEvents": p.Memory.MaxEvents, "memory.oom": p.Memory.OOM,
		"memory.oomKill": p.Memory.OOMKill,
	} {
		put(v, name, f, countNumber)
	}
	put(v, "memory.oomKillDisable", p.Memory.OOMKillDisable, func(on bool) uint64 {
		if on {
			return 1
		}
		return 0
	})
	for resource, f := range map[string]cgroup.Fact[cgroup.Pressure]{"cpu": p.CPU.Pressure, "memory": p.Memory.Pressure, "io": p.IO.Pressure} {
		put(v, resource+".pressure.some", f, func(p cgroup.Pressure) uint64 { return uint64(p.Some.Total) })
		put(v, resource+".pressure.full", f, func(p cgroup.Pressure) uint64 { return uint64(p.Full.Total) })
	}
	v.devices(p)
	if level, ok := p.Effective.Memory.Value(); ok {
		limit, _ := level.Limit.Value()
		if level.Kind == cgroup.KindMachine {
			limit = cgroup.Max // the kernel compares with no limit then
		}
		v.numbers["effective.memory"] = limitNumber(limit)
	} else {
		v.unknown["effective.memory"] = p.Effective.Memory.Cause()
	}
	return v
}

func (v ourValues) devices(p cgroup.Process) {
	io, _ := p.IO.Stat.Value()
	for _, s := range io {
		peerValues(v.numbers).add(uint64(s.Device.Major), uint64(s.Device.Minor),
			uint64(s.Rbytes), uint64(s.Wbytes), uint64(s.Rios), uint64(s.Wios))
	}
	pages, _ := p.HugeTLB.Value()
	for _, h := range pages {
		put(v, "hugetlb."+h.Size+".max", h.Max, limitNumber)
		put(v, "hugetlb."+h.Size+".current", h.Current, countNumber)
		put(v, "hugetlb."+h.Size+".maxEvents", h.MaxEvents, countNumber)
	}
}

func put[T any](v ourValues, name string, f cgroup.Fact[T], number func(T) uint64) {
	value, ok := f.Value()
	switch {
	case ok:
		v.numbers[name] = number(value)
	case f.Cause() != nil:
		v.unknown[name] = f.Cause()
	}
}

func countNumber(n cgroup.Count) uint64 { return uint64(n) }

func limitNumber(l cgroup.Limit) uint64 {
	if n, ok := l.Value(); ok {
		return n
	}
	return math.MaxUint64
}

// unlimited takes what the two packages say of no limit: MaxUint64, v1's highest number of pages, and of v1's pids.max 0.
func unlimited(name string, n uint64) bool {
	return n >= math.MaxInt64-1<<16 || n == 0 && name == "pids.max"
}

// comparison compares the values of one process with the peer's, until none is left that differed each time: usage goes up and
// down while it is read.
type comparison struct {
	pid  int
	left map[string]string // what was wrong the last time
	same map[string]bool
	last map[string]bool // every value of the peer's
}

const attempts = 20

func comparePeer(t *testing.T, pid int) comparison {
	t.Helper()
	c := comparison{pid: pid, same: map[string]bool{}}
	for range attempts {
		if err := c.attempt(); errors.Is(err, cgroup.ErrNoProcess) || errors.Is(err, cgroup.ErrMoved) || errors.Is(err, fs.ErrNotExist) {
			return comparison{}
		} else if err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
		if len(c.left) == 0 {
			break
		}
	}
	return c
}

func (c *comparison) attempt() error {
	before, err := peer(c.pid)
	if err != nil {
		return err
	}
	p, err := cgroup.Reader{}.Process(c.pid)
	if err != nil {
		return err
	}
	after, err := peer(c.pid)
	if err != nil {
		return err
	}
	c.left, c.last = map[string]string{}, map[string]bool{}
	if p.Place.Inner != "" {
		return nil // we tell of the container's own cgroup then, the peer of the process's
	}
	own := ours(p)
	for name, is := range after {
		if c.last[name] = true; c.same[name] {
			continue
		}
		if problem := own.differs(name, before[name], is); problem != "" {
			c.left[name] = problem
		} else {
			c.same[name] = true
		}
	}
	for name := range own.numbers {
		// Of pressure the peer knows on cgroup v2 alone.
		if _, ok := after[name]; !ok && strings.HasPrefix(name, "io.") && !strings.HasPrefix(name, "io.pressure.") {
			c.left[name] = "the peer has no such device"
		}
	}
	return nil
}

// differs tells what is wrong with our value, which was read between the peer's two.
func (v ourValues) differs(name string, before, after uint64) string {
	n, ok := v.numbers[name]
	cause := v.unknown[name]
	switch {
	case cause != nil:
		return fmt.Sprintf("unknown (%v), the peer has %d", cause, after)
	case !ok && (after == 0 || unlimited(name, after)):
		return "" // absent: a missing file is 0 there
	case !ok:
		return fmt.Sprintf("absent, the peer has %d", after)
	case unlimited("", n) && unlimited(name, after), n >= min(before, after) && n <= max(before, after):
		return ""
	}
	return fmt.Sprintf("%d, the peer has %d and then %d", n, before, after)
}

// report fails for what differed each time.
func (c comparison) report(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(c.left)) {
		t.Errorf("process %d: %s is %s", c.pid, name, c.left[name])
	}
}

// TestPeerMode: the mode is what containerd's package says.
func TestPeerMode(t *testing.T) {
	p, err := cgroup.Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	want := map[cgroups.CGMode]cgroup.Mode{cgroups.Legacy: cgroup.Legacy, cgroups.Hybrid: cgroup.Hybrid, cgroups.Unified: cgroup.Unified}[cgroups.Mode()]
	if mode, _ := p.Mode.Value(); mode != want {
		t.Errorf("mode %q (%v), the peer says %q", mode, p.Mode.Cause(), want)
	}
}

// TestPeerGroup compares the values of a cgroup with known limits, in which nothing changes but what a process that sleeps does.
func TestPeerGroup(t *testing.T) {
	memory, unified := cgroup.MakeGroup(t, "memory", "rtinspect-peer")
	file, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	if unified {
		file, swap = "memory.max", "memory.swap.max"
	}
	writeSetting(t, memory, file, "67108864")
	if _, err := os.Stat(filepath.Join(memory, swap)); err == nil {
		writeSetting(t, memory, swap, "134217728")
	}
	folders := []string{memory}
	if unified {
		writeSetting(t, memory, "cpu.max", "50000 100000")
		writeSetting(t, memory, "pids.max", "33")
	} else {
		cpu, _ := cgroup.MakeGroup(t, "cpu", "rtinspect-peer-cpu")
		writeSetting(t, cpu, "cpu.cfs_quota_us", "50000")
		folders = append(folders, cpu)
		// Where processor time is counted in another hierarchy, it is of this cgroup only in one of the same path.
		if accounting := strings.Replace(cpu, "/cpu/", "/cpuacct/", 1); os.Mkdir(accounting, 0o755) == nil {
			defer removeGroup(t, accounting)
			folders = append(folders, accounting)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for _, dir := range folders {
		writeSetting(t, dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid))
	}
	if !unified { // the limit that holds is that of the cgroup above
		memory = filepath.Join(memory, "inner")
		if err := os.Mkdir(memory, 0o755); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			removeGroup(t, memory)
		}()
		writeSetting(t, memory, file, "100663296")
		writeSetting(t, memory, "cgroup.procs", strconv.Itoa(cmd.Process.Pid))
	}
	c := comparePeer(t, cmd.Process.Pid)
	c.report(t)
	peers, err := peer(cmd.Process.Pid)
	if limit, effective := peers["memory.max"], peers["effective.memory"]; unified && limit != 67108864 || !unified && (limit != 100663296 || effective != 67108864) {
		t.Errorf("the test does not test what it should: the peer has memory.max %d, effective %d, %v", limit, effective, err)
	}
	if len(c.same) < 12 {
		t.Errorf("%d values were compared", len(c.same))
	}
}

func writeSetting(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// TestPeerMachine compares one process of each cgroup of the machine. Limits and counts have to be the same; of what a busy
// machine uses it is enough that it was once.
func TestPeerMachine(t *testing.T) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	seen, compared := map[string]bool{}, 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		where, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil || seen[string(where)] {
			continue
		}
		seen[string(where)] = true
		c := comparePeer(t, pid)
		for _, gauge := range []string{"memory.current", "memory.memorySwapCurrent", "memory.swapCurrent", "pids.current"} {
			delete(c.left, gauge)
		}
		c.report(t)
		if len(c.last) > 0 {
			compared++
		}
	}
	if compared == 0 {
		t.Errorf("none of %d cgroups could be compared", len(seen))
	}
}

// TestLabPeer compares the lab's containers, each in a cgroup of its own.
func TestLabPeer(t *testing.T) {
	for name, c := range labContainers(t) {
		pid, _ := c.PID.Value()
		t.Run(name, func(t *testing.T) {
			c := comparePeer(t, pid)
			c.report(t)
			if len(c.same) < 12 {
				t.Errorf("%d values were compared", len(c.same))
			}
		})
	}
}

// TestPeerMissing is why this package does not read by its peer: of a cgroup that does not exist it returns zeros and no error.
func TestPeerMissing(t *testing.T) {
	mount := "/sys/fs/cgroup"
	switch cgroups.Mode() {
	case cgroups.Unified:
	case cgroups.Hybrid:
		mount += "/unified"
	default:
		t.Skip("needs cgroup v2, alone or beside v1")
	}
	manager, err := cgroup2.Load("/rtinspect-never-made", cgroup2.WithMountpoint(mount))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := manager.Stat(); err != nil || m.GetMemory().GetUsageLimit() != 0 || m.GetPids().GetLimit() != 0 {
		t.Errorf("%v, %v: it tells a missing cgroup now; the package comment says that it does not", m, err)
	}
}
