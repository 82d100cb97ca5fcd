package inspect

import (
	"fmt"

	"github.com/rtinspect/rtinspect/cgroup"
)

// Cgroup is where a container is in the hierarchy of control groups, what it
// was to be limited to, and what holds for it there. Where the container runs
// in a sandbox (gVisor, Kata), what is in force are the sandbox's limits.
type Cgroup = Setting[cgroup.Resources, cgroup.Resources, cgroup.Process]

// readCgroup fills in what the kernel tells of a process's control groups.
func (c *collector) readCgroup(r *Report, f *listed, p cgroup.Folder) {
	if c.cgroups == nil {
		r.Cgroup.InForce = UnknownFact[cgroup.Process](errLeftOut)
		return
	}
	id := f.ID
	if f.guest() {
		id = "" // the process may be in the cgroup of its sandbox
	}
	process, err := c.cgroups.Read(p, id)
	if err != nil {
		r.Cgroup.InForce = UnknownFact[cgroup.Process](err)
		return
	}
	r.Cgroup.InForce = KnownFact(process, p.Path("cgroup"))
}

// requestedResources is the CRI's LinuxContainerResources. What is 0 or left out
// was not asked for.
type requestedResources struct {
	CPUPeriod  int64  `json:"cpu_period"`
	CPUQuota   int64  `json:"cpu_quota"`
	CPUShares  int64  `json:"cpu_shares"`
	Memory     int64  `json:"memory_limit_in_bytes"`
	MemorySwap int64  `json:"memory_swap_limit_in_bytes"`
	CPUSetCPUs string `json:"cpuset_cpus"`
	CPUSetMems string `json:"cpuset_mems"`
}

func (f *listed) askedResources() Fact[cgroup.Resources] {
	if f.Kind == KindSandbox {
		return notRequested[cgroup.Resources]("limit of a sandbox: those in it are the whole pod's")
	}
	if f.request.Config.Linux == nil || f.request.Config.Linux.Resources == nil {
		return notRequested[cgroup.Resources]("limit")
	}
	q := f.request.Config.Linux.Resources
	return resources(requestSource, cgroup.Resources{
		Memory:     limit(q.Memory),
		MemorySwap: limit(q.MemorySwap),
		CPU:        cpuTime(q.CPUQuota, uint64(max(q.CPUPeriod, 0))),
		Shares:     uint64(max(q.CPUShares, 0)),
	}, q.CPUSetCPUs, q.CPUSetMems)
}

// declaredLimits are the limits in linux.resources of an OCI runtime
// specification.
type declaredLimits struct {
	Memory *struct {
		Limit *int64 `json:"limit"`
		Swap  *int64 `json:"swap"`
	} `json:"memory"`
	CPU *struct {
		Shares *uint64 `json:"shares"`
		Quota  *int64  `json:"quota"`
		Period *uint64 `json:"period"`
		CPUs   string  `json:"cpus"`
		Mems   string  `json:"mems"`
	} `json:"cpu"`
	Pids *struct {
		Limit *int64 `json:"limit"`
	} `json:"pids"`
}

func declaredResources(s *spec) Fact[cgroup.Resources] {
	var r cgroup.Resources
	var cpus, mems string
	if s.Linux != nil && s.Linux.Resources != nil {
		d := s.Linux.Resources.declaredLimits
		if m := d.Memory; m != nil {
			r.Memory, r.MemorySwap = limit(value(m.Limit)), limit(value(m.Swap))
		}
		if c := d.CPU; c != nil {
			r.CPU, r.Shares = cpuTime(value(c.Quota), value(c.Period)), value(c.Shares)
			cpus, mems = c.CPUs, c.Mems
		}
		if p := d.Pids; p != nil {
			r.Pids = limit(value(p.Limit))
		}
	}
	return resources(specSource, r, cpus, mems)
}

// resources adds a cpuset to limits. Without any limit they are absent.
func resources(source string, r cgroup.Resources, cpus, mems string) Fact[cgroup.Resources] {
	var err error
	if cpus != "" {
		if r.CPUs, err = cgroup.ListOf(cpus); err != nil {
			return UnknownFact[cgroup.Resources](fmt.Errorf("%s: %w", source, err))
		}
	}
	if mems != "" {
		if r.Mems, err = cgroup.ListOf(mems); err != nil {
			return UnknownFact[cgroup.Resources](fmt.Errorf("%s: %w", source, err))
		}
	}
	if r == (cgroup.Resources{}) {
		return AbsentFact[cgroup.Resources]("the " + source + " names no limit")
	}
	return KnownFact(r, source)
}

// value returns what a pointer of an optional field leads to, else zero.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// limit takes 0 for nothing and less for "max", as OCI and the CRI do.
func limit(n int64) cgroup.Limit {
	switch {
	case n == 0:
		return cgroup.Limit{}
	case n < 0:
		return cgroup.Max
	}
	return cgroup.LimitOf(uint64(n))
}

// cpuTime is absent without a quota: a period alone limits nothing.
func cpuTime(quota int64, period uint64) cgroup.CPUMax {
	const defaultPeriod = 100_000 // the kernel's
	if quota == 0 {
		return cgroup.CPUMax{}
	}
	if period == 0 {
		period = defaultPeriod
	}
	return cgroup.CPUMax{Quota: limit(quota), Period: period}
}

// limitsAsRequested compares what was asked for with what was declared. What was
// not asked for the runtime may choose.
func limitsAsRequested(r *Report) []Difference {
	q, ok := r.Cgroup.Requested.Value()
	if !ok || r.Cgroup.Declared.Known() == Unknown {
		return nil
	}
	d, _ := r.Cgroup.Declared.Value()
	var list []Difference
	for _, l := range []struct {
		setting    string
		want, have fmt.Stringer
		asked      bool
	}{
		{"memory", q.Memory, d.Memory, q.Memory != cgroup.Limit{}},
		{"memorySwap", q.MemorySwap, d.MemorySwap, q.MemorySwap != cgroup.Limit{}},
		{"cpu", q.CPU, d.CPU, q.CPU != cgroup.CPUMax{}},
		{"cpuWeight", cgroup.Count(q.Shares), cgroup.Count(d.Shares), q.Shares != 0},
		{"cpus", q.CPUs, d.CPUs, q.CPUs != ""},
		{"mems", q.Mems, d.Mems, q.Mems != ""},
	} {
		if l.asked && l.want != l.have {
			list = append(list, Difference{
				Setting: "cgroup." + l.setting, From: levelRequested, To: levelDeclared, Want: l.want.String(), Have: l.have.String(),
			})
		}
	}
	return list
}

// limitsAsDeclared compares what was declared with what the container's own
// cgroup has. A limit that is unknown there is in Gaps.
func limitsAsDeclared(r *Report) []Difference {
	d, have, ok := both(r.Cgroup.Declared, r.Cgroup.InForce)
	if !ok {
		return nil
	}
	var list []Difference
	for _, l := range d.Drift(have) {
		if l.Have == cgroup.Unknown.String() {
			continue
		}
		list = append(list, Difference{Setting: "cgroup." + l.Setting, From: levelDeclared, To: levelInForce, Want: l.Want, Have: l.Have})
	}
	return list
}
