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
	// namespace. Absent of a sandbox's process, which holds the guest's files open.
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
	// OriginSandbox is a process of the container's sandbox (gVisor, Kata) besides
	// the first. It is none of the guest's, which only the guest's kernel knows,
	// and is not compared.
	OriginSandbox Origin = "sandbox"
	// OriginUnknown has a parent outside of the container, whose first process
	// is not known to compare with.
	OriginUnknown Origin = "unknown"
)

// Processes returns the processes of the containers that refs name, see
// [Inspector.Containers]. It looks at every process of the node once; all facts
// of one are read under one handle. Processes of a container whose first process
// is unknown are told as well, without the comparison.
func (i *Inspector) Processes(ctx context.Context, refs ...string) ([]ContainerProcesses, error) {
	found, err := i.list(ctx, false)
	chosen, err := choose(found, refs, err)
	s := newScan(i, found)
	processes := make([]Fact[Processes], len(chosen))
	parallel(len(chosen), func(n int) {
		i.identify(chosen[n])
		processes[n] = s.processesOf(chosen[n])
	})
	values := make(map[*listed]Processes, len(chosen))
	list := make([]ContainerProcesses, len(chosen))
	for n, f := range chosen {
		list[n] = ContainerProcesses{Container: f.Container, Processes: processes[n]}
		values[f], _ = processes[n].Value()
	}
	s.nameNamespaces(values)
	return list, err
}

// scan is every process of a node at one time, by its containers.
type scan struct {
	*Inspector
	all   []listed
	leaks leakFinder
	// exists tells which paths the kernel has.
	exists pathExists
	err    error // why the processes are not known
	// owners are the containers of each process, pids the processes of each
	// container.
	groups groupIndex
	owners map[int][]*listed
	pids   map[*listed][]int
	// names are whose each namespace is, once that was asked.
	names map[string]string
	// missing says why processes may be missing, empty when none can.
	missing string
}

func newScan(i *Inspector, all []listed) *scan {
	s := &scan{
		Inspector: i, all: all, leaks: newLeakFinder(i, i.hostMounts()), exists: newPathExists(i.options.HostRoot), groups: newGroupIndex(all),
		owners: map[int][]*listed{}, pids: map[*listed][]int{},
	}
	pids, err := i.fs.Pids()
	if err != nil {
		s.err = err
		return s
	}
	owners, errs := make([][]*listed, len(pids)), make([]error, len(pids))
	parallel(len(pids), func(n int) { owners[n], errs[n] = s.ownersOf(pids[n]) })
	for n, pid := range pids {
		s.owners[pid] = owners[n]
		for _, f := range owners[n] {
			s.pids[f] = append(s.pids[f], pid)
		}
	}
	s.missing = s.whyMissing(pids, errs)
	return s
}

// ownersOf returns the containers of a process.
func (s *scan) ownersOf(pid int) ([]*listed, error) {
	p, err := s.fs.Open(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	return s.readOwners(p)
}

func (s *scan) readOwners(p *procfs.Process) ([]*listed, error) {
	cgroup, err := p.ReadFile("cgroup")
	if err != nil {
		return nil, err
	}
	return s.groups.owners(string(cgroup)), nil
}

// whyMissing says why processes may be missing, empty when none can.
func (s *scan) whyMissing(pids []int, errs []error) string {
	unread := slices.DeleteFunc(errs, hasEnded)
	switch {
	case len(unread) > 0:
		return fmt.Sprintf("%d processes could not be told to be of a container or not: %v", len(unread), unread[0])
	case len(pids) == 0:
		return s.noProcess().Error()
	case pids[0] != 1:
		return s.fs.Path("1") + " is not shown: other users' processes are hidden by hidepid"
	}
	return ""
}

// hasEnded tells whether nothing is wrong but that the process is gone.
func hasEnded(err error) bool {
	return err == nil || errors.Is(err, ErrNoProcess) || errors.Is(err, fs.ErrNotExist)
}

// processesOf returns the processes of a container.
func (s *scan) processesOf(f *listed) Fact[Processes] {
	p, _ := s.open(f) // without it they are told without the comparison
	if p == nil {
		return s.processes(f, nil)
	}
	defer p.Close() //nolint:errcheck // opened for reading
	return s.processes(f, s.hold(p))
}

// processes returns the processes of a container, whose first process is open, or
// nil.
func (s *scan) processes(f *listed, first *heldProcess) Fact[Processes] {
	if s.err != nil {
		return UnknownFact[Processes](s.err)
	}
	others := &heldMounts{Inspector: s.Inspector, held: map[mountView]*heldProcess{}}
	read, t := s.readAll(f, first, others)
	if ended := others.close(); ended || first != nil && first.Alive() != nil {
		// What was taken to be its mounts may be another namespace's, which got
		// the number of its own.
		read, t = s.readAll(f, nil, nil)
	}
	t.List = arrange(s.tree(f, read))
	return KnownFact(t, s.fs.Path("")+" and the cgroup of each process")
}

// scanned is what was read of one process.
type scanned struct {
	process Process
	session int
}

// readAll reads the processes of a container. The list is filled in later.
func (s *scan) readAll(f *listed, first *heldProcess, others *heldMounts) ([]scanned, Processes) {
	t := Processes{Missing: s.missing}
	var read []scanned
	var unread []error
	for _, pid := range s.pids[f] {
		r, err := s.read(pid, f, first, others)
		switch {
		case err == nil:
			read = append(read, r)
		case hasEnded(err):
			t.Ended++
		default:
			unread = append(unread, err)
		}
	}
	if len(unread) > 0 {
		t.Missing = cmp.Or(t.Missing, fmt.Sprintf("%d processes could not be read: %v", len(unread), unread[0]))
	}
	return read, t
}

// read reads one process. One that is not in the container any more has ended
// there.
func (s *scan) read(pid int, f *listed, first *heldProcess, others *heldMounts) (scanned, error) {
	if first != nil && first.PID() == pid {
		return s.readHeld(first, f, first, others) // processes makes sure that it still runs
	}
	p, err := s.fs.Open(pid)
	if err != nil {
		return scanned{}, err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	owners, err := s.readOwners(p)
	if err != nil {
		return scanned{}, err
	}
	if !slices.Contains(owners, f) {
		return scanned{}, fmt.Errorf("process %d has left the container: %w", pid, ErrNoProcess)
	}
	r, err := s.readHeld(s.hold(p), f, first, others)
	if err != nil || r.process.State == stateZombie {
		return r, err
	}
	return r, p.Alive()
}

// readHeld reads a process that is the container's.
func (s *scan) readHeld(p *heldProcess, f *listed, first *heldProcess, others *heldMounts) (r scanned, err error) {
	r.process, r.session, err = readProcess(p, s.options.RedactArgs)
	switch {
	case err != nil || r.process.State == stateZombie:
		return r, err
	case f.guest():
		r.process.Leaks = AbsentFact[[]Leak](notGuests)
	default:
		leaks := s.leaks
		leaks.others = others
		r.process.Leaks = leaks.find(p, &r.process, first)
	}
	return r, nil
}

// tree returns the processes of one container, compared with its first.
func (s *scan) tree(f *listed, read []scanned) []Process {
	list := []Process{}
	var first *scanned
	for n := range read {
		if s.isFirst(f, read[n].process.PID) {
			first = &read[n]
		}
	}
	for n := range read {
		r := &read[n]
		p := r.process
		p.Origin = s.origin(f, r, first)
		if p.Beyond = []Excess{}; first != nil && first != r && !f.guest() {
			p.Beyond = beyond(&p, &first.process)
		}
		list = append(list, p)
	}
	return list
}

// notGuests is why what a sandbox has is not told of its guest.
const notGuests = "the process is the sandbox's, not the guest's"

// guest tells that the runtime gives the container a kernel of its own.
func (f *listed) guest() bool { return f.gvisor || runtimeTier(f.Runtime).Guest() }

// isFirst tells whether a process in the container's cgroup is the one that the
// runtime names.
func (s *scan) isFirst(f *listed, pid int) bool {
	task := f.record.Task
	return task.Err == nil && task.PID == pid && s.distrust == nil
}

// origin tells where a process comes from. A session is what runc makes for each
// process that it starts.
func (s *scan) origin(f *listed, r, first *scanned) Origin {
	parent := r.process.Parent
	switch {
	case first != nil && r.process.PID == first.process.PID:
		return OriginFirst
	case f.guest():
		return OriginSandbox
	case slices.Contains(s.owners[parent], f):
		return OriginChild
	case first != nil && parent == first.process.Parent:
		if r.session == r.process.PID {
			return OriginExec
		}
		return OriginAdopted
	case len(s.owners[parent]) > 0 && s.isInit(parent):
		return OriginAdopted
	}
	if first == nil {
		return OriginUnknown
	}
	return OriginOutside
}

// isInit tells whether a process is the first of its pid namespace, which takes
// over those that lost their parent.
func (s *scan) isInit(pid int) bool {
	p, err := s.fs.Open(pid)
	if err != nil {
		return false
	}
	defer p.Close() //nolint:errcheck // opened for reading
	status, err := p.ReadFile("status")
	if err != nil {
		return false
	}
	inside, err := parseInside(status)
	return err == nil && inside == 1
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
func readProcess(p *heldProcess, redact bool) (Process, int, error) {
	r := Process{PID: p.PID(), Beyond: []Excess{}}
	stat, err := p.ReadFile("stat")
	if err != nil {
		return r, 0, err
	}
	var session int
	if r.Parent, session, err = parseStat(string(stat)); err != nil {
		return r, 0, fmt.Errorf("%s: %w", p.Path("stat"), err)
	}
	ns := p.userNamespace()
	status, err := p.readStatus()
	if err != nil {
		return r, 0, err
	}
	readProcessStatus(&r, p.Path("status"), status, ns)
	if r.State == stateZombie {
		if err := p.Alive(); err != nil && !errors.Is(err, ErrNoProcess) {
			return r, 0, err // threads of it run on
		}
		r.Args = AbsentFact[[]string](leftByZombie)
		r.AppArmor, r.SELinux = AbsentFact[string](leftByZombie), AbsentFact[string](leftByZombie)
		r.Namespaces = AbsentFact[nsdiff.Set](leftByZombie)
		r.Root = AbsentFact[string](leftByZombie)
		r.Leaks = AbsentFact[[]Leak](leftByZombie)
		return r, session, nil
	}
	r.Args = readArgs(p.Process, redact)
	r.AppArmor, r.SELinux = p.labels()
	if r.Namespaces = p.namespaces(); r.Namespaces.Known() == Unknown {
		return r, 0, r.Namespaces.Cause()
	}
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
