package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// One returns the report of the container with an id in one of containerd's
// namespaces, without a look at the others: who shares its namespaces, and what
// [Inspector.Details] adds, are left out. The error wraps [ErrNotFound] when
// containerd has no such container.
func (i *Inspector) One(ctx context.Context, namespace, id string) (Report, error) {
	record, err := i.record(ctx, namespace, id)
	if err != nil {
		return Report{}, err
	}
	return i.OneOf(ctx, *record), nil
}

// OneOf returns what [Inspector.One] does from a record with a task that was read
// already. It is for the packages of this module.
func (i *Inspector) OneOf(ctx context.Context, record runtimeapi.Container) Report {
	found := []listed{i.listed(&record)}
	if p := found[0].Pod; p != nil && p.Name == "" && p.SandboxID != "" && p.SandboxID != record.ID {
		if sandbox, err := i.record(ctx, record.Namespace, p.SandboxID); err == nil {
			found = append(found, i.listed(sandbox))
			takePods(found)
		}
	}
	return i.collector(nil).report(&found[0])
}

func (i *Inspector) record(ctx context.Context, namespace, id string) (*runtimeapi.Container, error) {
	if i.conn == nil {
		return nil, errors.Join(i.noRuntime, ErrKernelOnly)
	}
	record, err := i.conn.Container(ctx, namespace, id)
	if errors.Is(err, runtimeapi.ErrNoContainer) {
		err = fmt.Errorf("%s/%s: %w", namespace, id, ErrNotFound)
	}
	return record, err
}

// listed names what the runtime recorded.
func (i *Inspector) listed(record *runtimeapi.Container) listed {
	f := i.decoded(record)
	f.State = stateOf(record.Task)
	return f
}

// Member is a process of a container that is kept open: what it tells is of that
// process, also after its number was given to another. Close it after use. It must
// not be used by several goroutines at once.
type Member struct {
	process *procfs.Process
	fs      procfs.FS
}

// Member opens a process, in the runtime's numbering, that is in a cgroup named
// after a container's id. It is for the first process, and for those that a runtime
// starts in a container later. The error wraps [ErrNoProcess] when there is none
// any more, and [ErrNotTheContainer] when it is elsewhere or cannot be told.
func (i *Inspector) Member(id string, pid int) (*Member, error) {
	if i.distrust != nil {
		return nil, i.distrust
	}
	p, err := i.fs.Open(pid)
	if err != nil {
		return nil, err
	}
	cgroup, err := p.ReadFile("cgroup")
	if err == nil && !cgroupFits(cgroup, "", id) {
		err = fmt.Errorf("process %d is in cgroup %s: %w", pid, lastCgroup(cgroup), ErrNotTheContainer)
	}
	if err != nil {
		_ = p.Close()
		return nil, err
	}
	return &Member{p, i.fs}, nil
}

// Alive tells whether the process still runs. The error wraps [ErrNoProcess] when
// it has ended.
func (m *Member) Alive() error { return m.process.Alive() }

// First tells whether it began the container's pid namespace, from the line NSpid of
// /proc/PID/status (Linux 4.1): then the runtime started it as the container's first
// process. It is false where the container has no such namespace of its own, and of
// a process in a namespace that one of the container's made.
func (m *Member) First() bool {
	status, err := m.process.ReadFile("status")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(status) {
		if list, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			pids := bytes.Fields(list)
			return len(pids) == 2 && string(pids[1]) == "1"
		}
	}
	return false
}

// Siblings are the processes that its parent has started or taken over, and itself, in
// the runtime's numbering, from /proc/PID/task/TID/children (Linux 3.5). The parent of
// what a runtime starts in a container is the runtime's shim. The error wraps
// [fs.ErrNotExist] where the kernel does not tell.
func (m *Member) Siblings() ([]int, error) {
	stat, err := m.process.ReadFile("stat")
	if err != nil {
		return nil, err
	}
	// The name in parentheses is the process's own choice.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return nil, fmt.Errorf("%s: no parent", m.process.Path("stat"))
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.process.Path("stat"), err)
	}
	parent, err := m.fs.Open(ppid)
	if err != nil {
		return nil, err
	}
	defer parent.Close() //nolint:errcheck // opened for reading
	threads, err := parent.ReadDir("task")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, thread := range threads {
		children, err := parent.ReadFile("task/" + thread + "/children")
		if errors.Is(err, ErrNoProcess) {
			continue // the thread has ended: another has its children
		}
		if err != nil {
			return nil, err
		}
		for field := range bytes.FieldsSeq(children) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", parent.Path("task/"+thread+"/children"), err)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Program is the path of the file that it runs, from /proc/PID/exe: it changes as the
// process executes another. It needs PTRACE_MODE_READ_FSCREDS. The error wraps
// [ErrNoProcess] when the process has ended.
func (m *Member) Program() (string, error) { return m.process.Readlink("exe") }

// Args are its arguments, from /proc/PID/cmdline. A process may write anything
// there.
func (m *Member) Args() Fact[[]string] { return readArgs(m.process, false) }

// Close releases the handle.
func (m *Member) Close() error { return m.process.Close() }
