package cgroup

// Memory is what the memory controller limits and counts. Amounts are bytes; usage and events are of the cgroup and all below
// it.
type Memory struct {
	// Max is the hard limit: above it the kernel kills. From memory.max; in v1 memory.limit_in_bytes.
	Max Fact[Limit] `json:"max"`
	// High is where the kernel slows processes down and reclaims. From memory.high; v1 has none.
	High Fact[Limit] `json:"high"`
	// Low is protected from reclaim as far as possible. From memory.low; v1 has none.
	Low Fact[Limit] `json:"low"`
	// Min is never reclaimed. From memory.min, available from Linux 4.18; v1 has none.
	Min Fact[Limit] `json:"min"`
	// SoftLimit is what reclaim goes back to when the machine is short of memory. From v1's memory.soft_limit_in_bytes; v2 has
	// none.
	SoftLimit Fact[Limit] `json:"softLimit"`
	// SwapMax limits swap alone, from memory.swap.max; v1 has none.
	SwapMax Fact[Limit] `json:"swapMax"`
	// MemorySwapMax limits memory and swap together, from v1's memory.memsw.limit_in_bytes; v2 has none.
	MemorySwapMax Fact[Limit] `json:"memorySwapMax"`

	// Current is the usage, file cache included. From memory.current; in v1 memory.usage_in_bytes.
	Current Fact[Count] `json:"current"`
	// Peak is the highest usage so far. From memory.peak, available from Linux 5.19; in v1 memory.max_usage_in_bytes.
	Peak Fact[Count] `json:"peak"`
	// SwapCurrent is the swap in use, from memory.swap.current; v1 has none.
	SwapCurrent Fact[Count] `json:"swapCurrent"`
	// MemorySwapCurrent is memory and swap in use, from v1's memory.memsw.usage_in_bytes; v2 has none.
	MemorySwapCurrent Fact[Count] `json:"memorySwapCurrent"`

	// HighEvents counts how often usage went over High, from memory.events; v1 has none.
	HighEvents Fact[Count] `json:"highEvents"`
	// MaxEvents counts how often usage was about to go over Max, from memory.events; in v1 memory.failcnt.
	MaxEvents Fact[Count] `json:"maxEvents"`
	// OOM counts how often the cgroup was out of memory, whether something was killed or not. From memory.events; v1 has none.
	OOM Fact[Count] `json:"oom"`
	// OOMKill counts processes that were killed by any out-of-memory killer, from memory.events. In v1, from Linux 4.13 on, it
	// is from memory.oom_control, without the cgroups below.
	OOMKill Fact[Count] `json:"oomKill"`
	// OOMGroup says that all processes of the cgroup are killed together. From memory.oom.group, available from Linux 4.19; v1
	// has none.
	OOMGroup Fact[bool] `json:"oomGroup"`
	// OOMKillDisable says that processes wait for memory rather than being killed, from v1's memory.oom_control; v2 has none.
	OOMKillDisable Fact[bool] `json:"oomKillDisable"`

	// Pressure is how long processes waited for memory. See [Pressure].
	Pressure Fact[Pressure] `json:"pressure"`
}

// readMemory reads the values of one cgroup.
func readMemory(f *folder, unified bool) Memory {
	if !unified {
		return readLegacyMemory(f)
	}
	events := keyed(f, "memory.events")
	return Memory{
		Max:               read(f, "memory.max", line(ParseLimit)),
		High:              read(f, "memory.high", line(ParseLimit)),
		Low:               read(f, "memory.low", line(ParseLimit)),
		Min:               read(f, "memory.min", line(ParseLimit)),
		SoftLimit:         onlyLegacy[Limit]("memory.soft_limit_in_bytes"),
		SwapMax:           read(f, "memory.swap.max", line(ParseLimit)),
		MemorySwapMax:     onlyLegacy[Limit]("memory.memsw.limit_in_bytes"),
		Current:           read(f, "memory.current", line(ParseCount)),
		Peak:              read(f, "memory.peak", line(ParseCount)),
		SwapCurrent:       read(f, "memory.swap.current", line(ParseCount)),
		MemorySwapCurrent: onlyLegacy[Count]("memory.memsw.usage_in_bytes"),
		HighEvents:        pick(events, "high"),
		MaxEvents:         pick(events, "max"),
		OOM:               pick(events, "oom"),
		OOMKill:           pick(events, "oom_kill"),
		OOMGroup:          read(f, "memory.oom.group", line(parseSwitch)),
		OOMKillDisable:    onlyLegacy[bool]("memory.oom_control"),
	}
}

func readLegacyMemory(f *folder) Memory {
	control := keyed(f, "memory.oom_control")
	return Memory{
		Max:               read(f, "memory.limit_in_bytes", line(ParseLegacyLimit)),
		High:              onlyUnified[Limit]("memory.high"),
		Low:               onlyUnified[Limit]("memory.low"),
		Min:               onlyUnified[Limit]("memory.min"),
		SoftLimit:         read(f, "memory.soft_limit_in_bytes", line(ParseLegacyLimit)),
		SwapMax:           onlyUnified[Limit]("memory.swap.max"),
		MemorySwapMax:     read(f, "memory.memsw.limit_in_bytes", line(ParseLegacyLimit)),
		Current:           read(f, "memory.usage_in_bytes", line(ParseCount)),
		Peak:              read(f, "memory.max_usage_in_bytes", line(ParseCount)),
		SwapCurrent:       onlyUnified[Count]("memory.swap.current"),
		MemorySwapCurrent: read(f, "memory.memsw.usage_in_bytes", line(ParseCount)),
		HighEvents:        onlyUnified[Count]("memory.events"),
		MaxEvents:         read(f, "memory.failcnt", line(ParseCount)),
		OOM:               onlyUnified[Count]("memory.events"),
		OOMKill:           pick(control, "oom_kill"),
		OOMGroup:          onlyUnified[bool]("memory.oom.group"),
		OOMKillDisable:    convert(pick(control, "oom_kill_disable"), isOne),
	}
}

func isOne(n Count) (bool, error) { return parseSwitch(n.String()) }

// onlyUnified is absent: cgroup v1 has no such file.
func onlyUnified[T any](file string) Fact[T] { return AbsentFact[T]("cgroup v1 has no " + file) }

// onlyLegacy is absent: cgroup v2 has no such file.
func onlyLegacy[T any](file string) Fact[T] { return AbsentFact[T]("cgroup v2 has no " + file) }

// memoryLevel reads what bounds the memory of a cgroup.
func memoryLevel(f *folder, unified bool) (limit Fact[Limit], usage Fact[Count]) {
	if unified {
		return read(f, "memory.max", line(ParseLimit)), read(f, "memory.current", line(ParseCount))
	}
	return read(f, "memory.limit_in_bytes", line(ParseLegacyLimit)), read(f, "memory.usage_in_bytes", line(ParseCount))
}

// swapLevel reads what bounds the swap of a cgroup: in v1 memory and swap together.
func swapLevel(f *folder, unified bool) (limit Fact[Limit], usage Fact[Count]) {
	if unified {
		return read(f, "memory.swap.max", line(ParseLimit)), read(f, "memory.swap.current", line(ParseCount))
	}
	return read(f, "memory.memsw.limit_in_bytes", line(ParseLegacyLimit)), read(f, "memory.memsw.usage_in_bytes", line(ParseCount))
}

// inherits tells whether the limits of a v1 memory cgroup hold for those below it: those with memory.use_hierarchy 1, and all
// from Linux 5.11 on.
func inherits(f *folder) Fact[bool] { return read(f, "memory.use_hierarchy", line(parseSwitch)) }
