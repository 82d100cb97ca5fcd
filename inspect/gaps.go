package inspect

import (
	"errors"
	"strconv"

	"github.com/rtinspect/rtinspect/nsdiff"
)

// Gap is a fact that is unknown.
type Gap struct {
	// Fact is the JSON name, with dots: capabilities.inForce.
	Fact string `json:"fact"`
	// Cause says why.
	Cause error `json:"-"`
}

// Gaps returns the container's facts that are unknown, in the order of its
// fields.
func (c Container) Gaps() []Gap {
	var g gaps
	add(&g, "state", c.State)
	add(&g, "pid", c.PID)
	add(&g, "tier", c.Tier)
	if collected(c.Command) {
		add(&g, "command", c.Command)
	}
	return g
}

// Gaps returns the report's facts that are unknown, in the order of its fields.
// A report without any is whole.
func (r Report) Gaps() []Gap {
	g := gaps(r.Container.Gaps())
	addSetting(&g, "capabilities", r.Capabilities.Setting)
	if q, ok := r.Capabilities.Requested.Value(); ok {
		add(&g, "capabilities.requested.result", q.Result)
	}
	add(&g, "capabilities.reach", r.Capabilities.Reach)
	if reach, ok := r.Capabilities.Reach.Value(); ok && reach.UserNSError != "" {
		add(&g, "capabilities.reach.userNamespace", r.UserNamespace.InForce)
	}
	addSetting(&g, "user", r.User)
	if u, ok := r.User.InForce.Value(); ok {
		add(&g, "user.inForce.inside", u.Inside)
	}
	addSetting(&g, "noNewPrivs", r.NoNewPrivs)
	addSetting(&g, "seccomp", r.Seccomp)
	addSetting(&g, "apparmor", r.AppArmor)
	addSetting(&g, "selinux", r.SELinux)
	addSetting(&g, "readonlyRootfs", r.ReadonlyRootfs)
	addSetting(&g, "privileged", r.Privileged)
	addSetting(&g, "userNamespace", r.UserNamespace)
	addSetting(&g, "namespaces", r.Namespaces.Setting)
	g = append(g, r.Namespaces.gaps()...)
	addSetting(&g, "cgroup", r.Cgroup)
	if p, ok := r.Cgroup.InForce.Value(); ok {
		for _, gap := range p.Gaps() {
			g = append(g, Gap{Fact: "cgroup.inForce." + gap.Fact, Cause: gap.Cause})
		}
	}
	add(&g, "process", r.Process)
	if collected(r.Request) {
		add(&g, "request", r.Request)
	}
	if collected(r.Specification) {
		add(&g, "specification", r.Specification)
	}
	addMounts(&g, r.Mounts)
	addProcesses(&g, r.Processes)
	return g
}

// Gaps returns the facts that are unknown, in the order of the fields.
func (c ContainerProcesses) Gaps() []Gap {
	g := gaps(c.Container.Gaps())
	addProcesses(&g, c.Processes)
	return g
}

// collected tells a fact that was asked for.
func collected[T any](f Fact[T]) bool { return !errors.Is(f.Cause(), errNotCollected) }

func addMounts(g *gaps, f Fact[Mounts]) {
	if !collected(f) {
		return
	}
	add(g, "mounts", f)
	m, ok := f.Value()
	if !ok {
		return
	}
	add(g, "mounts.declared", m.Declared)
	for _, c := range m.InForce {
		add(g, "mounts.inForce."+c.Point+".host", c.Host)
	}
	for _, c := range m.Masked {
		addPath(g, "mounts.masked."+c.Path, c)
	}
	for _, c := range m.ReadonlyPaths {
		addPath(g, "mounts.readonlyPaths."+c.Path, c)
	}
	add(g, "mounts.devices.declared", m.Devices.Declared)
	add(g, "mounts.devices.inForce", m.Devices.InForce)
}

func addPath(g *gaps, name string, c PathCheck) {
	add(g, name+".declared", c.Declared)
	add(g, name+".inForce", c.InForce)
}

func addProcesses(g *gaps, f Fact[Processes]) {
	if !collected(f) {
		return
	}
	add(g, "processes", f)
	processes, _ := f.Value()
	if processes.Missing != "" {
		*g = append(*g, Gap{Fact: "processes.missing", Cause: errors.New(processes.Missing)})
	}
	for n := range processes.List {
		addProcess(g, &processes.List[n])
	}
}

func addProcess(g *gaps, p *Process) {
	name := "processes." + strconv.Itoa(p.PID)
	add(g, name+".inside", p.Inside)
	add(g, name+".args", p.Args)
	add(g, name+".user", p.User)
	add(g, name+".capabilities", p.Capabilities)
	add(g, name+".seccomp", p.Seccomp)
	add(g, name+".apparmor", p.AppArmor)
	add(g, name+".selinux", p.SELinux)
	add(g, name+".namespaces", p.Namespaces)
	if set, ok := p.Namespaces.Value(); ok {
		for _, k := range nsdiff.Kinds() {
			if _, err := set.Namespace(k); err != nil && !errors.Is(err, nsdiff.ErrAbsent) {
				*g = append(*g, Gap{Fact: name + ".namespaces." + k.String(), Cause: err})
			}
		}
	}
	add(g, name+".root", p.Root)
	add(g, name+".leaks", p.Leaks)
	leaks, _ := p.Leaks.Value()
	for _, l := range leaks {
		if l.Unknown != "" {
			*g = append(*g, Gap{Fact: name + ".leaks." + l.What, Cause: errors.New(l.Unknown)})
		}
	}
}

type gaps []Gap

func add[T any](g *gaps, name string, f Fact[T]) {
	if cause := f.Cause(); cause != nil {
		*g = append(*g, Gap{Fact: name, Cause: cause})
	}
}

func addSetting[R, D, E any](g *gaps, name string, s Setting[R, D, E]) {
	add(g, name+".requested", s.Requested)
	add(g, name+".declared", s.Declared)
	add(g, name+".inForce", s.InForce)
}
