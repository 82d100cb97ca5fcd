package inspect

import (
	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// collector makes the reports of one answer. What they have in common is read
// once.
type collector struct {
	*Inspector
	cgroups *cgroup.View
	shared  *sharing
	sockets *socketSet // whose ways are looked for; nil for none
	scan    *scan      // nil when the rest of the specification, mounts and processes are left out
}

func (i *Inspector) collector(s *scan) *collector {
	c := &collector{Inspector: i, scan: s}
	if i.options.Parts.has(PartCgroup) {
		c.cgroups = i.cgroups.View()
	}
	return c
}

// reports makes the reports of the chosen ones among all containers.
func (i *Inspector) reports(chosen []*listed, all []listed) []Report {
	return i.collector(nil).reports(chosen, all)
}

// details makes reports with the rest of the specification, mounts and processes.
func (c *collector) details(chosen []*listed) []Report {
	reports := c.reports(chosen, c.scan.all)
	processes := make(map[*listed]Processes, len(chosen))
	for n, f := range chosen {
		processes[f], _ = reports[n].Processes.Value()
	}
	c.scan.nameNamespaces(processes)
	return reports
}

func (c *collector) reports(chosen []*listed, all []listed) []Report {
	reports := make([]Report, len(chosen))
	parallel(len(chosen), func(n int) { reports[n] = c.report(chosen[n]) })
	if c.options.Parts.has(PartNamespaces) {
		c.share(reports, chosen, all)
	}
	return reports
}

// report makes the report of one container. Whatever fails is in it, so that
// one bad container never spoils the rest.
func (c *collector) report(f *listed) Report {
	r := Report{Drift: []Difference{}}
	r.Capabilities.Default = defaultOf(c.conn)
	c.request(&r, f, c.all)
	c.declare(&r, f, c.all)
	p, err := c.open(f)
	var first *heldProcess
	if p != nil {
		defer p.Close() //nolint:errcheck // opened for reading
		first = c.hold(p)
		if err = c.enforce(&r, f, first, c.all); err != nil {
			first = nil
		}
	}
	if first == nil {
		c.notEnforced(&r, f, err)
	}
	if c.scan != nil {
		r.Request, r.Specification = f.requestRest(), f.specification()
		r.Processes = c.scan.processes(f, first)
	}
	r.Container = f.Container
	r.Drift = append(r.Drift, drift(&r)...)
	return r
}

// enforce fills in what the kernel has in force. The error is that the process
// ended meanwhile: then nothing of it counts.
func (c *collector) enforce(r *Report, f *listed, p *heldProcess, all Fact[caps.Set]) error {
	c.readNamespaces(r, f, p)
	c.readCgroup(r, f, p)
	c.read(r, p, all)
	if c.sockets != nil && f.Kind == KindContainer {
		f.reaches = c.reachedFrom(f, p, c.sockets, func() hostMounts { return c.scan.leaks.host })
	}
	if c.scan != nil {
		r.Mounts = c.scan.mountsOf(f, p)
	}
	c.name(f, p.Process, r.UserNamespace.InForce)
	return p.Alive()
}

// notEnforced fills in why nothing is known of what the kernel has in force, or
// without an error that no process runs.
func (c *collector) notEnforced(r *Report, f *listed, err error) {
	f.namespaces, f.reaches = nsdiff.Set{}, nil
	namespacesUnknown(r, err)
	r.Cgroup.InForce = withoutProcess[cgroup.Process](err)
	f.PID, f.Tier = withoutProcess[int](err), tierWithout(f, err)
	r.Capabilities.InForce = withoutProcess[caps.State](err)
	r.Capabilities.Reach = withoutProcess[caps.Reach](err)
	r.User.InForce = withoutProcess[UserInForce](err)
	r.NoNewPrivs.InForce = withoutProcess[bool](err)
	r.Seccomp.InForce = withoutProcess[SeccompInForce](err)
	r.AppArmor.InForce = withoutProcess[string](err)
	r.SELinux.InForce = withoutProcess[string](err)
	r.ReadonlyRootfs.InForce = withoutProcess[bool](err)
	r.Privileged.InForce = withoutProcess[bool](err)
	r.UserNamespace.InForce = withoutProcess[UserNamespace](err)
	if c.scan != nil {
		r.Mounts = withoutProcess[Mounts](err)
	}
}
