package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// ErrKernelOnly is the cause of each fact that only a container runtime tells,
// where an inspector has none: see [OpenKernel].
var ErrKernelOnly = errors.New("not known without a container runtime")

// OpenKernel returns an inspector that asks no container runtime: it takes the
// containers from the kernel, for when no runtime answers. A container is all
// processes in a cgroup that is named after an id of 64 hexadecimal digits, as
// containerd's CRI, CRI-O, Docker and Podman name theirs, and in the cgroups
// below it. Its first process is, of those whose parent is outside of it, number
// 1 of a pid namespace, or else the oldest.
//
// From /proc/PID/cgroup, stat and status, see cgroups(7). What is in force is
// known as with a runtime. Names, images, states, tiers, and what was requested
// and declared are unknown, with the cause [ErrKernelOnly]; but gVisor is known by
// its program. The kernel does not tell the sandbox of a pod from its containers
// either. The name of a container is the beginning
// of its id. Containers that have no process are not found, and none whose cgroup
// is called otherwise, as those of ctr: the error of [Inspector.List] and its
// like tells of processes in other pid namespaces that are in no container.
//
// Why is why no runtime is asked, an error of [Open]; it is then part of these
// errors. It is nil when none is wanted.
func OpenKernel(o Options, why error) *Inspector {
	i := newInspector(o)
	if why != nil {
		i.noRuntime = &noRuntimeError{why}
	}
	i.all = firstBounding(i.fs)
	return i
}

// noRuntimeError tells that what follows comes from the kernel alone, and why.
type noRuntimeError struct{ cause error }

func (e *noRuntimeError) Error() string {
	return fmt.Sprintf("no container runtime answered (%s): containers are taken from the kernel, without their names",
		strings.TrimPrefix(e.cause.Error(), ErrNoRuntime.Error()+": "))
}

func (e *noRuntimeError) Unwrap() error { return e.cause }

// firstBounding stands for what a privileged container can have at most: every
// runtime is started, in the end, by the first process.
func firstBounding(fs procfs.FS) Fact[caps.Set] {
	state, err := caps.Reader{Proc: fs.Proc}.Process(1)
	if err != nil {
		return UnknownFact[caps.Set](err)
	}
	return KnownFact(state.Bounding, fs.Path("1/status"))
}

// member is a process as far as it tells of which container it is.
type member struct {
	pid, parent int
	start       uint64 // clock ticks, from the boot
	levels      int    // of pid namespaces, from that of our proc file system
	leads       bool   // it is number 1 of its pid namespace
	zombie      bool
	// places are the containers' cgroups that it is in: on version 1 it may be
	// in several containers'.
	places []cgroup.Place
}

// kernelList finds the containers among the processes.
func (i *Inspector) kernelList() ([]listed, error) {
	pids, err := i.fs.Pids()
	if err != nil {
		return nil, errors.Join(i.noRuntime, err)
	}
	members, errs := make([]member, len(pids)), make([]error, len(pids))
	parallel(len(pids), func(n int) { members[n], errs[n] = i.member(pids[n]) })
	groups := map[string][]*member{}
	var strays []*member
	for n := range members {
		m := &members[n]
		for _, place := range m.places {
			groups[place.Container] = append(groups[place.Container], m)
		}
		if len(m.places) == 0 && m.levels > 1 && !m.zombie {
			strays = append(strays, m)
		}
	}
	var found []listed
	host := sync.OnceValue(i.hostMounts)
	for id, group := range groups {
		f := kernelContainer(id, group)
		i.markGuest(&f, group, host)
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b listed) int { return compare(a.Container, b.Container) })
	return found, errors.Join(i.noRuntime, i.unseen(pids), unread(errs), leftOut(strays))
}

// member reads a process. It has no places when it ended meanwhile.
func (i *Inspector) member(pid int) (member, error) {
	p, err := i.fs.Open(pid)
	if err != nil {
		return member{}, err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	m := member{pid: pid}
	data, err := p.ReadFile("cgroup")
	if err != nil {
		return member{}, err
	}
	cgroups, err := cgroup.ParseMemberships(data)
	if err != nil {
		return member{}, fmt.Errorf("%s: %w", p.Path("cgroup"), err)
	}
	data, err = p.ReadFile("status")
	if err != nil {
		return member{}, err
	}
	if m.leads, m.levels, err = parseLevels(data); err != nil {
		return member{}, fmt.Errorf("%s: %w", p.Path("status"), err)
	}
	m.zombie = stateWord(data) == stateZombie
	data, err = p.ReadFile("stat")
	if err != nil {
		return member{}, err
	}
	if m.parent, m.start, err = parseStart(string(data)); err != nil {
		return member{}, fmt.Errorf("%s: %w", p.Path("stat"), err)
	}
	m.places = placesOf(cgroups)
	return m, nil
}

// placesOf returns the containers' cgroups, one for each container.
func placesOf(cgroups []cgroup.Membership) []cgroup.Place {
	var places []cgroup.Place
	for _, c := range cgroups {
		place := cgroup.Locate(c.Path, "")
		known := slices.ContainsFunc(places, func(p cgroup.Place) bool { return p.Container == place.Container })
		if place.Container != "" && !known {
			places = append(places, place)
		}
	}
	return places
}

// parseLevels tells from the line NSpid whether a process is number 1 of its pid
// namespace, and counts the namespaces.
func parseLevels(status []byte) (leads bool, levels int, err error) {
	number, err := parseInside(status)
	if err != nil {
		return false, 0, err
	}
	line, _ := statusLine(status, "NSpid")
	return number == 1, len(strings.Fields(line)), nil
}

// parseStart returns the parent and the time of the start in /proc/PID/stat, in
// clock ticks, see proc_pid_stat(5).
func parseStart(stat string) (parent int, start uint64, err error) {
	parent, _, err = parseStat(stat)
	if err != nil {
		return 0, 0, err
	}
	const place = 19 // after the name
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= place {
		return 0, 0, fmt.Errorf("%q: want %d fields after the name", stat, place+1)
	}
	start, err = strconv.ParseUint(fields[place], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("start %q: want a number", fields[place])
	}
	return parent, start, nil
}

// kernelContainer is the container of a group of processes.
func kernelContainer(id string, group []*member) listed {
	record := &runtimeapi.Container{ID: id, SpecErr: ErrKernelOnly}
	if first := firstOf(group); first != nil {
		record.Task.PID = first.pid
	} else {
		record.Task.Err = errors.New("no first process: the parents of all its processes are in it")
	}
	f := listed{record: record, requestErr: ErrKernelOnly}
	f.Container = Container{ID: id, Name: shortID(id), Kind: KindContainer, State: UnknownFact[State](ErrKernelOnly)}
	for _, m := range group {
		for _, place := range m.places {
			if place.Container == id && place.Pod != "" {
				f.Pod = &Pod{UID: place.Pod}
			}
		}
	}
	return f
}

// nameFromKernel fills in what the first process tells of its container without a
// runtime. Only a runtime's type tells a virtual machine.
func (i *Inspector) nameFromKernel(f *listed, p *procfs.Process) {
	f.PID = KnownFact(p.PID(), p.Path("cgroup"))
	f.Tier = UnknownFact[Tier](ErrKernelOnly)
	if f.gvisor {
		f.Tier = KnownFact(TierSandbox, p.Path("exe"))
	}
	f.Command = readArgs(p, i.options.RedactArgs)
}

// shortID is an id as crictl shows it.
func shortID(id string) string { return id[:min(13, len(id))] }

// firstOf returns the first process of a container: of those whose parent is
// outside, as the processes have that a runtime starts, number 1 of a pid
// namespace, and the outermost of these. In the host's pid namespace or in that
// of another container it is the oldest, as a process that is run in a container
// later is younger. One that put itself into a second container's cgroup counts
// there only when no other does.
func firstOf(group []*member) *member {
	candidates := started(group)
	if len(candidates) == 0 {
		return nil
	}
	rank := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	return slices.MinFunc(candidates, func(a, b *member) int {
		return cmp.Or(
			rank(len(a.places) == 1)-rank(len(b.places) == 1),
			rank(a.leads)-rank(b.leads),
			cmp.Compare(a.levels, b.levels),
			cmp.Compare(a.start, b.start),
			cmp.Compare(a.pid, b.pid),
		)
	})
}

// started are the processes of a container whose parent is outside of it.
func started(group []*member) []*member {
	inside := map[int]bool{}
	for _, m := range group {
		inside[m.pid] = true
	}
	return slices.DeleteFunc(slices.Clone(group), func(m *member) bool { return inside[m.parent] })
}

// unseen tells why processes of other containers may not be shown at all.
func (i *Inspector) unseen(pids []int) error {
	switch {
	case len(pids) == 0:
		return i.noProcess()
	case pids[0] != 1:
		return fmt.Errorf("%s is not shown: other users' processes are hidden by hidepid", i.fs.Path("1"))
	case !i.host().Machine:
		return fmt.Errorf("%s shows no threads of the kernel: containers outside of its pid namespace are not seen", i.fs.Path(""))
	}
	return nil
}

// noProcess is for a folder that is no proc file system.
func (i *Inspector) noProcess() error {
	return fmt.Errorf("%s shows no process: proc may not be mounted there", i.fs.Path(""))
}

// unread tells of processes that may be of a container, and why that is unknown.
func unread(errs []error) error {
	failed := slices.DeleteFunc(errs, func(err error) bool {
		return err == nil || errors.Is(err, ErrNoProcess) || errors.Is(err, fs.ErrNotExist)
	})
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d processes could not be told to be of a container or not: %w", len(failed), failed[0])
}

// leftOut tells of processes that are in other pid namespaces and in no
// container: containers, perhaps, whose cgroup does not tell.
func leftOut(strays []*member) error {
	const most = 5
	if len(strays) == 0 {
		return nil
	}
	var pids []string
	for _, m := range strays[:min(most, len(strays))] {
		pids = append(pids, strconv.Itoa(m.pid))
	}
	if len(strays) > most {
		pids = append(pids, "…")
	}
	return fmt.Errorf("%d processes in other pid namespaces are left out, as no container's id is in the names of their cgroups: %s",
		len(strays), strings.Join(pids, ", "))
}
