package cgroup

import "strconv"

// Gap is a fact of a [Process] that is unknown.
type Gap struct {
	// Fact is the JSON name, with dots: memory.max.
	Fact string
	// Cause says why.
	Cause error
}

// Gaps returns the facts of p that are unknown, in the order of its fields. Facts that are unknown for one cause, such as a cgroup
// that cannot be found, are one gap, named after the first of them.
func (p Process) Gaps() []Gap {
	facts := []namedFact{
		{"mode", p.Mode},
		{"folder", p.Folder},
		{"memory.max", p.Memory.Max},
		{"memory.high", p.Memory.High},
		{"memory.low", p.Memory.Low},
		{"memory.min", p.Memory.Min},
		{"memory.softLimit", p.Memory.SoftLimit},
		{"memory.swapMax", p.Memory.SwapMax},
		{"memory.memorySwapMax", p.Memory.MemorySwapMax},
		{"memory.current", p.Memory.Current},
		{"memory.peak", p.Memory.Peak},
		{"memory.swapCurrent", p.Memory.SwapCurrent},
		{"memory.memorySwapCurrent", p.Memory.MemorySwapCurrent},
		{"memory.highEvents", p.Memory.HighEvents},
		{"memory.maxEvents", p.Memory.MaxEvents},
		{"memory.oom", p.Memory.OOM},
		{"memory.oomKill", p.Memory.OOMKill},
		{"memory.oomGroup", p.Memory.OOMGroup},
		{"memory.oomKillDisable", p.Memory.OOMKillDisable},
		{"memory.pressure", p.Memory.Pressure},
		{"cpu.max", p.CPU.Max},
		{"cpu.burstUsec", p.CPU.Burst},
		{"cpu.weight", p.CPU.Weight},
		{"cpu.shares", p.CPU.Shares},
		{"cpu.idle", p.CPU.Idle},
		{"cpu.usageUsec", p.CPU.Usage},
		{"cpu.periods", p.CPU.Periods},
		{"cpu.throttled", p.CPU.Throttled},
		{"cpu.throttledUsec", p.CPU.ThrottledTime},
		{"cpu.pressure", p.CPU.Pressure},
		{"pids.max", p.Pids.Max},
		{"pids.current", p.Pids.Current},
		{"pids.peak", p.Pids.Peak},
		{"pids.maxEvents", p.Pids.MaxEvents},
		{"io.max", p.IO.Max},
		{"io.stat", p.IO.Stat},
		{"io.weight", p.IO.Weight},
		{"io.pressure", p.IO.Pressure},
		{"cpuset.cpus", p.CPUSet.CPUs},
		{"cpuset.cpusEffective", p.CPUSet.CPUsEffective},
		{"cpuset.mems", p.CPUSet.Mems},
		{"cpuset.memsEffective", p.CPUSet.MemsEffective},
		{"hugetlb", p.HugeTLB},
	}
	pages, _ := p.HugeTLB.Value()
	for _, h := range pages {
		name := "hugetlb." + h.Size
		facts = append(facts,
			namedFact{name + ".max", h.Max}, namedFact{name + ".current", h.Current}, namedFact{name + ".maxEvents", h.MaxEvents})
	}
	facts = append(facts,
		namedFact{"effective.memory", p.Effective.Memory},
		namedFact{"effective.swap", p.Effective.Swap},
		namedFact{"effective.cpu", p.Effective.CPU},
		namedFact{"effective.pids", p.Effective.Pids},
	)
	for i, r := range p.Release {
		name := "release[" + strconv.Itoa(i) + "]"
		facts = append(facts, namedFact{name + ".notifyOnRelease", r.Notify}, namedFact{name + ".releaseAgent", r.Agent})
	}
	return gaps(append(facts, namedFact{"mounts", p.Mounts}))
}

type namedFact struct {
	name string
	fact interface{ Cause() error }
}

// gaps returns a gap for each cause.
func gaps(facts []namedFact) []Gap {
	list := []Gap{}
	seen := map[string]bool{}
	for _, f := range facts {
		cause := f.fact.Cause()
		if cause == nil || seen[cause.Error()] {
			continue
		}
		seen[cause.Error()] = true
		list = append(list, Gap{Fact: f.name, Cause: cause})
	}
	return list
}
