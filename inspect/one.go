package inspect

import (
	"context"
	"errors"
	"fmt"

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
	found := []listed{i.listed(record)}
	if p := found[0].Pod; p != nil && p.Name == "" && p.SandboxID != "" && p.SandboxID != id {
		if sandbox, err := i.record(ctx, namespace, p.SandboxID); err == nil {
			found = append(found, i.listed(sandbox))
			takePods(found)
		}
	}
	return i.collector(nil).report(&found[0]), nil
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
type Member struct{ process *procfs.Process }

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
	return &Member{p}, nil
}

// Alive tells whether the process still runs. The error wraps [ErrNoProcess] when
// it has ended.
func (m *Member) Alive() error { return m.process.Alive() }

// Args are its arguments, from /proc/PID/cmdline. A process may write anything
// there.
func (m *Member) Args() Fact[[]string] { return readArgs(m.process, false) }

// Close releases the handle.
func (m *Member) Close() error { return m.process.Close() }
