package cgroup

import (
	"fmt"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Reader reads cgroups as they are mounted on this machine.
//
// The paths in /proc/PID/cgroup start at the root of the reader's cgroup namespace. A reader with a namespace of its own, as
// most containers have, sees the machine's cgroups when the host's mount is shown to it, for example below /host.
type Reader struct {
	// Proc is where the proc file system is mounted; empty means /proc.
	Proc string
	// Sys is the folder that cgroups are mounted on or below; empty means /sys/fs/cgroup. What is mounted there is read from
	// Proc/self/mountinfo.
	Sys string
}

// Folder is the folder of a process that the caller opened, such as /proc/PID. Its reads must fail once the process is gone:
// they must not give the files of another process that got the same number.
type Folder interface {
	// Path returns the path of a file in the folder, for use in messages.
	Path(name string) string
	// ReadFile reads a file in the folder. The bytes need to be valid until the next call only.
	ReadFile(name string) ([]byte, error)
}

// Process is where a process is in the hierarchies of cgroups, and what holds for it there.
//
// The values are those of the container's own cgroup when the process is below it, as with systemd in a container: see
// Place.Inner. Otherwise they are those of the process's own cgroup.
type Process struct {
	// Mode is which versions of cgroups are in use.
	Mode Fact[Mode] `json:"mode"`
	// Memberships are the process's cgroups, from /proc/PID/cgroup.
	Memberships []Membership `json:"memberships"`
	// Place is what the names in the path say, in the hierarchy of the memory controller. It is told from the path in
	// /proc/PID/cgroup when the cgroup itself cannot be found.
	Place Place `json:"place"`
	// Folder is where that cgroup is mounted; unknown when it cannot be found.
	Folder Fact[string] `json:"folder"`

	Memory  Memory          `json:"memory"`
	CPU     CPU             `json:"cpu"`
	Pids    Pids            `json:"pids"`
	IO      IO              `json:"io"`
	CPUSet  CPUSet          `json:"cpuset"`
	HugeTLB Fact[[]HugeTLB] `json:"hugetlb"`

	Effective Limits `json:"effective"`

	// Release has an entry for each v1 hierarchy, in the order of Memberships.
	Release []Release `json:"release"`
	// Mounts are the cgroup hierarchies mounted in the process's mount namespace, from /proc/PID/mountinfo. It needs
	// PTRACE_MODE_READ_FSCREDS, see ptrace(2).
	Mounts Fact[[]Mount] `json:"mounts"`
}

// Limits are the limits that hold for a process: each the least over its cgroup, all above it and what the machine has.
type Limits struct {
	// Memory is in bytes.
	Memory Effective[Limit] `json:"memory"`
	// Swap is in bytes: in v1, memory and swap together.
	Swap Effective[Limit] `json:"swap"`
	// CPU is the processor time. Cpusets with fewer processors than the machine count as limits.
	CPU Effective[CPUMax] `json:"cpu"`
	// Pids is the number of processes and threads.
	Pids Effective[Limit] `json:"pids"`
}

// Process reads the cgroups of a process. Everyone may read them, except Mounts.
//
// It takes some hundred small reads, a fact each: a limit that changes meanwhile is given as it was at one time, but two facts
// may be from different times. The error wraps [ErrNoProcess] when the process is gone, [ErrMoved] when it was moved to another
// cgroup meanwhile, and [ErrSyntax] when /proc/PID/cgroup is malformed. What cannot be read beyond that is unknown.
func (r Reader) Process(pid int) (Process, error) {
	p, err := procfs.FS{Proc: r.Proc}.Open(pid)
	if err != nil {
		return Process{}, err
	}
	defer p.Close() //nolint:errcheck // opened for reading: nothing can be lost
	return r.View().Read(p, "")
}

func memberships(p Folder) ([]Membership, error) {
	data, err := p.ReadFile("cgroup")
	if err != nil {
		return nil, err
	}
	list, err := ParseMemberships(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("cgroup"), err)
	}
	return list, nil
}

func mountsOf(p Folder) Fact[[]Mount] {
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		return UnknownFact[[]Mount](err)
	}
	mounts, err := ParseMounts(data)
	if err != nil {
		return UnknownFact[[]Mount](fmt.Errorf("%s: %w", p.Path("mountinfo"), err))
	}
	return KnownFact(mounts, p.Path("mountinfo"))
}

// lineages are the cgroups of one process by controller. Those of one hierarchy are opened once.
type lineages struct {
	view      *View
	members   []Membership
	container string
	opened    map[int]*lineage
}

func (ls *lineages) of(controller string) *lineage {
	m, ok := memberOf(ls.members, controller)
	if !ok {
		return ls.view.lineage(ls.members, controller, ls.container)
	}
	if ls.opened[m.Hierarchy] == nil {
		ls.opened[m.Hierarchy] = ls.view.lineage(ls.members, controller, ls.container)
	}
	return ls.opened[m.Hierarchy]
}

func (ls *lineages) close() {
	for _, l := range ls.opened {
		l.close()
	}
}

// read reads all that is asked of the kernel's cgroup file systems.
func (v *View) read(list []Membership, container string) Process {
	ls := &lineages{view: v, members: list, container: container, opened: map[int]*lineage{}}
	defer ls.close()
	memory, cpu, pids, blkio := ls.of("memory"), ls.of("cpu"), ls.of("pids"), ls.of("blkio")
	accounting, cpuset, hugetlb := ls.of("cpuacct"), ls.of("cpuset"), ls.of("hugetlb")
	p := Process{
		Mode:        v.mode(),
		Memberships: list,
		Memory:      readMemory(memory.leaf(), memory.unified),
		CPU:         readCPU(cpu.leaf(), cpu.unified, cpu.counts(accounting)),
		Pids:        readPids(pids.leaf()),
		IO:          readIO(blkio.leaf(), blkio.unified),
		CPUSet:      readCPUSet(cpuset.leaf(), cpuset.unified),
		HugeTLB:     readHugeTLB(hugetlb.leaf(), hugetlb.unified),
		Release:     []Release{},
	}
	p.Place, p.Folder = v.where(memory, list, container)
	p.Memory.Pressure, p.CPU.Pressure, p.IO.Pressure = pressures(ls.of(""), memory)
	p.Effective = limits(v.machine, memory, cpu, cpuset, pids)
	for _, m := range list {
		if m.Hierarchy != 0 {
			p.Release = append(p.Release, readRelease(ls.of(m.Controllers[0]), m.Controllers))
		}
	}
	return p
}

func (v *View) mode() Fact[Mode] {
	if v.err != nil {
		return UnknownFact[Mode](v.err)
	}
	mode := ModeOf(v.mounts)
	if mode == "" {
		return UnknownFact[Mode](fmt.Errorf("%w: no mount of any hierarchy", ErrHidden))
	}
	return KnownFact(mode, v.source)
}

// where tells the place of the process in the hierarchy of the memory controller.
func (v *View) where(l *lineage, list []Membership, container string) (Place, Fact[string]) {
	if l.leaf().found() {
		return l.place, KnownFact(l.leaf().path, v.source)
	}
	m, _ := memberOf(list, "memory")
	return Locate(m.Path, container), l.leaf().fact
}

// pressures reads the pressure files, which are in cgroup v2 also where the controllers are in v1. A process that is in the
// root there, as runtimes leave them, has no pressure of its own: the root's is the machine's.
func pressures(l, of *lineage) (memory, cpu, io Fact[Pressure]) {
	if !of.unified && l.kinds[l.own] == KindMachine {
		none := AbsentFact[Pressure]("the process is in the root of cgroup v2, whose pressure is the machine's")
		return none, none, none
	}
	f := of.counts(l)
	return readPressure(f, "memory.pressure"), readPressure(f, "cpu.pressure"), readPressure(f, "io.pressure")
}
