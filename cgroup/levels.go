package cgroup

import "fmt"

// limits finds the limits that hold for a process.
func limits(m machine, memory, cpu, cpuset, pids *lineage) Limits {
	processors := levels(cpu, func(f *folder, unified bool) (Fact[CPUMax], Fact[Count]) {
		return cpuMax(f, unified), AbsentFact[Count]("processor time is limited by period")
	})
	swap := m.swap
	if !memory.unified && memory.leaf().found() {
		swap = sum(m.memory, m.swap) // v1 limits both together
	}
	return Limits{
		Memory: EffectiveOf(append(inherited(memory, levels(memory, memoryLevel)), machineLevel(m.memory))),
		Swap:   EffectiveOf(append(inherited(memory, levels(memory, swapLevel)), machineLevel(swap))),
		CPU:    EffectiveOf(append(append(processors, cpusetLevels(cpuset, m.cpus)...), machineLevel(m.cpus))),
		Pids:   EffectiveOf(append(levels(pids, pidsLevel), machineLevel(m.pids))),
	}
}

func machineLevel[T any](limit Fact[T]) Level[T] {
	return Level[T]{Kind: KindMachine, Path: "/", Limit: limit, Usage: AbsentFact[Count]("not counted for the machine")}
}

// sum adds two amounts, and is unknown when one is.
func sum(a, b Fact[Limit]) Fact[Limit] {
	if b.Known() != Present {
		return b
	}
	return convert(a, func(l Limit) (Limit, error) { return LimitOf(l.n + b.value.n), nil })
}

// levels reads the limit of each cgroup from the process's own up, without the machine's root, which has none. What cannot be
// seen above is one level more, an unknown one.
func levels[T any](l *lineage, read func(*folder, bool) (Fact[T], Fact[Count])) []Level[T] {
	var list []Level[T]
	for i, f := range l.groups {
		if l.kinds[i] == KindMachine || f.fact.Known() == Absent {
			break
		}
		limit, usage := read(f, l.unified)
		list = append(list, Level[T]{Kind: l.kinds[i], Path: l.paths[i], Limit: limit, Usage: usage})
	}
	if err := l.above.Cause(); err != nil {
		list = append(list, Level[T]{Kind: KindHidden, Limit: UnknownFact[T](err), Usage: UnknownFact[Count](err)})
	}
	return list
}

// inherited leaves out the levels of v1 memory whose limits do not hold for those below: where memory.use_hierarchy is 0.
func inherited(l *lineage, list []Level[Limit]) []Level[Limit] {
	if l.unified {
		return list
	}
	for i := 1; i < len(list) && i < len(l.groups); i++ {
		fact := inherits(l.groups[i])
		if on, ok := fact.Value(); ok && !on {
			return list[:i]
		}
		if err := fact.Cause(); err != nil {
			list[i].Limit = UnknownFact[Limit](fmt.Errorf("whether it holds for those below: %w", err))
		}
	}
	return list
}

// cpusetLevels reads the cpusets that were asked for, as limits of so many processors. One with all of the machine's is no limit.
func cpusetLevels(l *lineage, online Fact[CPUMax]) []Level[CPUMax] {
	all := levels(l, func(f *folder, unified bool) (Fact[CPUMax], Fact[Count]) {
		return cpusetLimit(f, unified, online), AbsentFact[Count]("a cpuset has no usage")
	})
	var list []Level[CPUMax]
	for _, level := range all {
		if limit, ok := level.Limit.Value(); level.Limit.Known() == Unknown || ok && limit.Bounds() {
			list = append(list, level)
		}
	}
	return list
}

func cpusetLimit(f *folder, unified bool, online Fact[CPUMax]) Fact[CPUMax] {
	set := readCPUSet(f, unified)
	if asked, ok := set.CPUs.Value(); ok && asked == "" {
		return AbsentFact[CPUMax]("no processors asked for in " + set.CPUs.Source())
	} else if !ok {
		return convert(set.CPUs, func(List) (CPUMax, error) { return CPUMax{}, nil })
	}
	return convert(set.CPUsEffective, func(l List) (CPUMax, error) {
		limit := CoresOf(l.Len())
		if all, ok := online.Value(); ok && !limit.Less(all) {
			return CPUMax{Quota: Max, Period: defaultPeriod}, nil
		}
		return limit, nil
	})
}
