package inspect

import (
	"fmt"

	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// heldProcess is a process that is kept open while all that is told of it is
// read. What is asked for by several is read once, so that a container's first
// process is the same in its report and in the list of its processes.
type heldProcess struct {
	*procfs.Process
	ours      ourselves
	status    once[result[[]byte]]
	user      once[Fact[UserNamespace]]
	modules   once[securityLabels]
	set       once[Fact[nsdiff.Set]]
	mountinfo once[result[[]byte]]
	mounts    once[result[mountTable]]
}

// securityLabels are those of the security modules.
type securityLabels struct{ apparmor, selinux Fact[string] }

// once is a value that is made when it is first asked for.
type once[T any] struct {
	made  bool
	value T
}

func (o *once[T]) get(read func() T) T {
	if !o.made {
		o.made, o.value = true, read()
	}
	return o.value
}

type result[T any] struct {
	value T
	err   error
}

func (i *Inspector) hold(p *procfs.Process) *heldProcess {
	return &heldProcess{Process: p, ours: i.ourselves}
}

// keep reads a file, whose bytes stay as they are.
func (p *heldProcess) keep(name string) result[[]byte] {
	data, err := p.Process.ReadFile(name)
	return result[[]byte]{append([]byte(nil), data...), err}
}

// readStatus returns the file status.
func (p *heldProcess) readStatus() ([]byte, error) {
	r := p.status.get(func() result[[]byte] { return p.keep("status") })
	return r.value, r.err
}

func (p *heldProcess) userNamespace() Fact[UserNamespace] {
	return p.user.get(func() Fact[UserNamespace] { return p.ours.userNamespace(p.Process) })
}

func (p *heldProcess) labels() (apparmor, selinux Fact[string]) {
	l := p.modules.get(func() (l securityLabels) {
		l.apparmor, l.selinux = p.ours.labels(p.Process)
		return l
	})
	return l.apparmor, l.selinux
}

// namespaces returns its namespaces; they are unknown only when it has ended.
func (p *heldProcess) namespaces() Fact[nsdiff.Set] {
	return p.set.get(func() Fact[nsdiff.Set] {
		set, err := nsdiff.Read(p.Process)
		if err != nil {
			return UnknownFact[nsdiff.Set](err)
		}
		return KnownFact(set, p.Path("ns"))
	})
}

// ReadFile reads a file in its folder. mountinfo takes the kernel long, so it is
// read once.
func (p *heldProcess) ReadFile(name string) ([]byte, error) {
	if name != "mountinfo" {
		return p.Process.ReadFile(name)
	}
	r := p.mountinfo.get(func() result[[]byte] { return p.keep("mountinfo") })
	return r.value, r.err
}

// table returns its mounts.
func (p *heldProcess) table() (mountTable, error) {
	r := p.mounts.get(func() result[mountTable] {
		data, err := p.ReadFile("mountinfo")
		if err != nil {
			return result[mountTable]{mountTable{root: -1}, err}
		}
		table, err := parseMounts(string(data))
		if err != nil {
			err = fmt.Errorf("%s: %w", p.Path("mountinfo"), err)
		}
		return result[mountTable]{table, err}
	})
	return r.value, r.err
}
