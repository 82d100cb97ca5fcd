package inspect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// ContainerProcesses is a container with its processes.
type ContainerProcesses struct {
	Container
	Processes Fact[Processes] `json:"processes"`
}

// Processes are the processes in a container's cgroups and those below, at one
// time: one that was started meanwhile may be missing.
type Processes struct {
	// List is the tree from the top down, the container's first process before
	// all: children follow their parent, in the order of their numbers. See
	// Process.Depth.
	List []Process `json:"list"`
	// Ended counts the processes that ended while they were read, which are left
	// out.
	Ended int `json:"ended"`
	// Missing says why the list may lack processes: empty when it does not.
	Missing string `json:"missing,omitempty"`
}

// Process is a process of a container.
type Process struct {
	// PID and Parent are numbers of our proc file system. A Parent of 0 is not
	// shown there.
	PID    int `json:"pid"`
	Parent int `json:"parent"`
	// Inside is the number in its own pid namespace, the last of NSpid, since
	// Linux 4.1.
	Inside Fact[int] `json:"inside"`
	// Depth is how far below the top of the tree it is.
	Depth  int    `json:"depth"`
	Origin Origin `json:"origin"`
	// State is the line State of /proc/PID/status in a word: running, sleeping,
	// disk sleep, stopped, zombie.
	State string `json:"state"`
	// Name is the program's, cut to 15 bytes. A process may change it.
	Name string `json:"name"`
	// Args are the arguments, from /proc/PID/cmdline. A process may write
	// anything there. Absent when there are none, as of a zombie. With
	// Options.RedactArgs all but the program are hidden.
	Args Fact[[]string] `json:"args"`

	User         Fact[UserInForce]    `json:"user"`
	Capabilities Fact[caps.State]     `json:"capabilities"`
	Seccomp      Fact[SeccompInForce] `json:"seccomp"`
	// AppArmor is the profile with its mode, SELinux the label.
	AppArmor Fact[string] `json:"apparmor"`
	SELinux  Fact[string] `json:"selinux"`
	// Namespaces are absent of a zombie, which has left them.
	Namespaces Fact[nsdiff.Set] `json:"namespaces"`
	// Root is the root folder as seen from the process's mount namespace.
	Root Fact[string] `json:"root"`

	// Beyond is what it holds and the container's first process does not. Facts
	// that are unknown of one of the two are not compared: see Report.Gaps.
	Beyond []Excess `json:"beyond"`
	// Leaks are its working folder, root and open files outside of its mount
	// namespace.
	Leaks Fact[[]Leak] `json:"leaks"`
}

// Origin is where a process comes from.
type Origin string

// The origins of a process.
const (
	// OriginFirst is the container's first process.
	OriginFirst Origin = "first"
	// OriginChild has a parent in the container.
	OriginChild Origin = "child"
	// OriginExec was started by the runtime besides the first: crictl exec,
	// kubectl exec, a probe. It leads a session, below the shim.
	OriginExec Origin = "exec"
	// OriginAdopted lost its parent, and the reaper that took it over is outside
	// of the container: the shim, or process 1 of a shared pid namespace.
	OriginAdopted Origin = "adopted"
	// OriginOutside was started by something else outside of the container.
	OriginOutside Origin = "outside"
)

// Processes returns the processes of the containers that refs name, see
// [Inspector.Containers]. It looks at every process of the node once; all facts
// of one are read under one handle. Processes of a container whose first process
// is unknown are told as well, without the comparison.
func (i *Inspector) Processes(ctx context.Context, refs ...string) ([]ContainerProcesses, error) {
	found, err := i.list(ctx, false)
	chosen, err := choose(found, refs, err)
	processes := i.processesOf(found, chosen, i.hostMounts())
	list := make([]ContainerProcesses, len(chosen))
	parallel(len(chosen), func(n int) {
		i.identify(chosen[n])
		list[n] = ContainerProcesses{Container: chosen[n].Container, Processes: processes[chosen[n]]}
	})
	return list, err
}

// processesOf reads the processes of the chosen ones among all containers.
func (i *Inspector) processesOf(all []listed, chosen []*listed, host hostMounts) map[*listed]Fact[Processes] {
	facts := make(map[*listed]Fact[Processes], len(chosen))
	pids, err := i.fs.Pids()
	if err != nil {
		for _, f := range chosen {
			facts[f] = UnknownFact[Processes](err)
		}
		return facts
	}
	s := newScan(i, all, chosen, host)
	read := make([]scanned, len(pids))
	parallel(len(pids), func(n int) { read[n] = s.process(pids[n]) })
	trees := s.collect(read)
	for _, f := range chosen {
		t := trees[f]
		t.List, t.Missing = arrange(t.List), s.whyMissing(pids)
		facts[f] = KnownFact(*t, i.fs.Path("")+" and the cgroup of each process")
	}
	s.nameNamespaces(facts)
	return facts
}

// scan reads the processes of a node.
type scan struct {
	*Inspector
	all    []listed
	wanted map[*listed]bool
	groups groupIndex
	leaks  leakFinder
	// unread counts the processes that could not be told to be of a container or
	// not, missing is why the first of them could not.
	unread  int
	missing error
}

func newScan(i *Inspector, all []listed, chosen []*listed, host hostMounts) *scan {
	s := &scan{Inspector: i, all: all, wanted: map[*listed]bool{}, groups: newGroupIndex(all)}
	for _, f := range chosen {
		s.wanted[f] = true
	}
	// Several workers may ask for it.
	parallel(len(chosen), func(n int) { _, _ = chosen[n].declared() })
	s.leaks = newLeakFinder(i, host)
	return s
}

// scanned is what came of one process.
type scanned struct {
	owners  []*listed
	process Process
	session int
	err     error
}

// process reads one process, all of it only when it is of a wanted container.
func (s *scan) process(pid int) scanned {
	p, err := s.fs.Open(pid)
	if err != nil {
		return scanned{err: err}
	}
	defer p.Close() //nolint:errcheck // opened for reading
	cgroup, err := p.ReadFile("cgroup")
	if err != nil {
		return scanned{err: err}
	}
	r := scanned{owners: s.groups.owners(string(cgroup))}
	owner := slices.IndexFunc(r.owners, func(f *listed) bool { return s.wanted[f] })
	if owner < 0 {
		return r
	}
	r.process, r.session, r.err = readProcess(p, s.options.RedactArgs)
	if r.err == nil && r.process.State != stateZombie {
		r.process.Leaks = s.leaks.find(p, func() (*procfs.Process, error) { return s.open(r.owners[owner]) })
		r.err = p.Alive()
	}
	return r
}

// collect gives each container its processes and compares them with the first.
func (s *scan) collect(read []scanned) map[*listed]*Processes {
	trees := make(map[*listed]*Processes, len(s.wanted))
	for f := range s.wanted {
		trees[f] = &Processes{List: []Process{}}
	}
	owners := map[int]scanned{}
	for _, r := range read {
		switch {
		case r.err == nil:
			owners[r.process.PID] = r
		case errors.Is(r.err, ErrNoProcess) || errors.Is(r.err, fs.ErrNotExist):
			for _, f := range r.owners {
				if t := trees[f]; t != nil {
					t.Ended++
				}
			}
		case r.err != nil:
			s.unread++
			s.missing = cmp.Or(s.missing, r.err)
		}
	}
	for f, t := range trees {
		t.List = s.tree(f, read, owners)
	}
	return trees
}

// tree returns the processes of one container, compared with its first.
func (s *scan) tree(f *listed, read []scanned, owners map[int]scanned) []Process {
	list := []Process{}
	var mine []*scanned
	var first *scanned
	for n := range read {
		r := &read[n]
		if r.err != nil || !slices.Contains(r.owners, f) {
			continue
		}
		mine = append(mine, r)
		if s.isFirst(f, r.process.PID) {
			first = r
		}
	}
	for _, r := range mine {
		p := r.process
		p.Origin = origin(f, *r, first, owners)
		if p.Beyond = []Excess{}; first != nil && first != r {
			p.Beyond = beyond(&p, &first.process)
		}
		list = append(list, p)
	}
	return list
}

// whyMissing says why processes may be missing, empty when none can.
func (s *scan) whyMissing(pids []int) string {
	switch {
	case s.unread > 0:
		return fmt.Sprintf("%d processes could not be told to be of a container or not: %v", s.unread, s.missing)
	case len(pids) == 0 || pids[0] != 1:
		return s.fs.Path("1") + " is not shown: other users' processes are hidden by hidepid"
	}
	return ""
}

// isFirst tells whether a process in the container's cgroup is the one that the
// runtime names.
func (s *scan) isFirst(f *listed, pid int) bool {
	task := f.record.Task
	return task.Err == nil && task.PID == pid && s.distrust == nil
}

// origin tells where a process comes from. A session is what runc makes for each
// process that it starts.
func origin(f *listed, r scanned, first *scanned, owners map[int]scanned) Origin {
	parent, known := owners[r.process.Parent]
	switch {
	case first != nil && r.process.PID == first.process.PID:
		return OriginFirst
	case known && slices.Contains(parent.owners, f):
		return OriginChild
	case first != nil && r.process.Parent == first.process.Parent:
		if r.session == r.process.PID {
			return OriginExec
		}
		return OriginAdopted
	}
	if inside, ok := parent.process.Inside.Value(); known && ok && inside == 1 {
		return OriginAdopted
	}
	return OriginOutside
}

// rank puts the first process before others: pids are given out in circles.
func (p *Process) rank() int {
	if p.Origin == OriginFirst {
		return 0
	}
	return 1
}

// arrange puts the processes in the order of their tree.
func arrange(list []Process) []Process {
	slices.SortFunc(list, func(a, b Process) int { return cmp.Or(a.rank()-b.rank(), cmp.Compare(a.PID, b.PID)) })
	here, children := map[int]bool{}, map[int][]Process{}
	for _, p := range list {
		here[p.PID] = true
		children[p.Parent] = append(children[p.Parent], p)
	}
	tree, placed := make([]Process, 0, len(list)), map[int]bool{}
	var place func(p Process, depth int)
	place = func(p Process, depth int) {
		if placed[p.PID] {
			return
		}
		placed[p.PID] = true
		p.Depth = depth
		tree = append(tree, p)
		for _, child := range children[p.PID] {
			place(child, depth+1)
		}
	}
	for _, p := range list {
		if !here[p.Parent] {
			place(p, 0)
		}
	}
	// They were read one after the other: where pids were given out again
	// meanwhile, parents may seem to be in a circle. None is lost.
	for _, p := range list {
		place(p, 0)
	}
	return tree
}

const stateZombie = "zombie"

// leftByZombie is why a zombie has nothing any more.
const leftByZombie = "the process has ended and waits to be reaped"

// readProcess reads a process and the number of its session. The error wraps
// ErrNoProcess when it ended meanwhile.
func readProcess(p *procfs.Process, redact bool) (Process, int, error) {
	r := Process{PID: p.PID(), Beyond: []Excess{}}
	stat, err := p.ReadFile("stat")
	if err != nil {
		return r, 0, err
	}
	var session int
	if r.Parent, session, err = parseStat(string(stat)); err != nil {
		return r, 0, fmt.Errorf("%s: %w", p.Path("stat"), err)
	}
	ns := userNamespace(p)
	status, err := p.ReadFile("status")
	if err != nil {
		return r, 0, err
	}
	readProcessStatus(&r, p.Path("status"), status, ns)
	if r.State == stateZombie {
		r.Args = AbsentFact[[]string](leftByZombie)
		r.AppArmor, r.SELinux = AbsentFact[string](leftByZombie), AbsentFact[string](leftByZombie)
		r.Namespaces = AbsentFact[nsdiff.Set](leftByZombie)
		r.Root = AbsentFact[string](leftByZombie)
		r.Leaks = AbsentFact[[]Leak](leftByZombie)
		return r, session, nil
	}
	r.Args = readArgs(p, redact)
	r.AppArmor, r.SELinux = labels(p)
	set, err := nsdiff.Read(p)
	if err != nil {
		return r, 0, err
	}
	r.Namespaces = KnownFact(set, p.Path("ns"))
	r.Root = UnknownFact[string](errNotCollected)
	if link, err := p.Readlink("root"); err != nil {
		r.Root = UnknownFact[string](err)
	} else {
		r.Root = KnownFact(link, p.Path("root"))
	}
	return r, session, nil
}

// readProcessStatus takes what /proc/PID/status tells.
func readProcessStatus(r *Process, source string, status []byte, ns Fact[UserNamespace]) {
	r.Name, _ = statusLine(status, "Name")
	r.State = stateWord(status)
	r.Inside = parsed(source, status, parseInside)
	r.User = parsed(source, status, parseUser)
	if u, ok := r.User.Value(); ok {
		u.Inside = inside(u, ns)
		r.User = KnownFact(u, source)
	}
	r.Capabilities = parsed(source, status, caps.ParseStatus)
	r.Seccomp = parsed(source, status, parseSeccomp)
}

// stateWord returns what stands in parentheses in the line State.
func stateWord(status []byte) string {
	line, _ := statusLine(status, "State")
	_, word, _ := strings.Cut(line, "(")
	return strings.TrimSuffix(word, ")")
}

func parseInside(status []byte) (int, error) {
	line, ok := statusLine(status, "NSpid")
	if !ok {
		return 0, errors.New("no line NSpid: Linux shows it since 4.1")
	}
	numbers, err := parseUint32s(line)
	if err != nil || len(numbers) == 0 {
		return 0, fmt.Errorf("line NSpid: %q: want numbers", line)
	}
	return int(numbers[len(numbers)-1]), nil
}

// parseStat returns the parent and the session in /proc/PID/stat, see
// proc_pid_stat(5). The program's name before them may hold anything.
func parseStat(stat string) (parent, session int, err error) {
	after := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[after+1:])
	if after < 0 || len(fields) < 4 {
		return 0, 0, fmt.Errorf("%q: want a name in parentheses and four fields", stat)
	}
	parent, parentErr := strconv.Atoi(fields[1])
	session, sessionErr := strconv.Atoi(fields[3])
	if parentErr != nil || sessionErr != nil || parent < 0 {
		return 0, 0, fmt.Errorf("parent %q, session %q: want numbers", fields[1], fields[3])
	}
	return parent, session, nil
}

func readArgs(p *procfs.Process, redact bool) Fact[[]string] {
	data, err := p.ReadFile("cmdline")
	if err != nil {
		return UnknownFact[[]string](err)
	}
	args := parseArgs(data)
	if len(args) == 0 {
		return AbsentFact[[]string]("it has none")
	}
	if redact {
		redactArgs(args)
	}
	return KnownFact(args, p.Path("cmdline"))
}

// parseArgs splits /proc/PID/cmdline, where each argument ends with a zero byte;
// the last need not in what a process wrote itself.
func parseArgs(cmdline []byte) []string {
	if len(cmdline) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(cmdline, []byte{0})), "\x00")
}

// redactArgs keeps the program. A process that wrote its arguments itself may
// have put all of them in the place of the first.
func redactArgs(args []string) {
	if len(args) == 0 {
		return
	}
	if program, _, more := strings.Cut(args[0], " "); more {
		args[0] = program + " " + redacted
	}
	for n := range args[1:] {
		args[n+1] = redacted
	}
}
