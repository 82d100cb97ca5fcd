package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Resources are limits as a container runtime was told them: requested through the CRI, or declared in linux.resources of an
// OCI runtime specification. A zero field was not asked for and is not compared.
type Resources struct {
	// Memory is the hard limit in bytes; a limit of -1 in OCI is [Max].
	Memory Limit `json:"memory"`
	// MemorySwap is memory and swap together, in bytes, as OCI has it.
	MemorySwap Limit `json:"memorySwap"`
	// CPU is the processor time; a quota of -1 in OCI is [Max].
	CPU CPUMax `json:"cpu"`
	// Shares is the weight as OCI has it, 2 to 262144.
	Shares uint64 `json:"shares,omitempty"`
	// Pids is the number of processes and threads.
	Pids Limit `json:"pids"`
	// CPUs and Mems are the cpuset.
	CPUs List `json:"cpus,omitempty"`
	Mems List `json:"mems,omitempty"`
}

// Difference is a limit that is not in force as it was asked for.
type Difference struct {
	// Setting is the limit's name: memory, memorySwap, cpu, cpuWeight, pids, cpus, mems.
	Setting string `json:"setting"`
	// Want is what was asked for, in the form of Source.
	Want string `json:"want"`
	// Have is what is in force: a value, "absent" or "unknown".
	Have string `json:"have"`
	// Source is the file that Have was read from, or why it is absent or unknown.
	Source string `json:"source"`
}

// Drift compares what was asked for with what the container's own cgroup has. A limit that is unknown is a difference: nobody
// can tell that it is in force. What the kernel and the runtime round is none: memory down to whole pages, processor time up to
// whole hundredths of a processor (systemd), and shares to a weight by either formula of [WeightFromShares].
func (r Resources) Drift(p Process) []Difference {
	var list []Difference
	list = append(list, r.memoryDrift(p.Memory)...)
	if r.CPU != (CPUMax{}) {
		list = append(list, compare("cpu", r.CPU.String(), p.CPU.Max, r.CPU.fits)...)
	}
	if r.Shares != 0 {
		list = append(list, r.weightDrift(p.CPU)...)
	}
	if r.Pids != (Limit{}) {
		list = append(list, compare("pids", r.Pids.String(), p.Pids.Max, func(have Limit) bool { return have == r.Pids })...)
	}
	if r.CPUs != "" {
		list = append(list, compare("cpus", string(r.CPUs), p.CPUSet.CPUs, func(have List) bool { return have == r.CPUs })...)
	}
	if r.Mems != "" {
		list = append(list, compare("mems", string(r.Mems), p.CPUSet.Mems, func(have List) bool { return have == r.Mems })...)
	}
	return list
}

// compare returns the difference of one limit, none when it fits.
func compare[T fmt.Stringer](setting, want string, have Fact[T], fits func(T) bool) []Difference {
	d := Difference{Setting: setting, Want: want, Have: have.Known().String(), Source: have.Source()}
	value, ok := have.Value()
	switch {
	case ok && fits(value):
		return nil
	case ok:
		d.Have = value.String()
	case have.Known() == Unknown:
		d.Source = have.Cause().Error()
	}
	return []Difference{d}
}

// String returns l as the kernel spells it.
func (l List) String() string { return string(l) }

func (r Resources) memoryDrift(m Memory) []Difference {
	var list []Difference
	if r.Memory != (Limit{}) {
		list = append(list, compare("memory", r.Memory.String(), m.Max, r.Memory.fitsPages)...)
	}
	if r.MemorySwap == (Limit{}) {
		return list
	}
	if m.SwapMax.Known() == Absent { // v1, or no swap to be limited
		return append(list, compare("memorySwap", r.MemorySwap.String(), m.MemorySwapMax, r.MemorySwap.fitsPages)...)
	}
	swap := r.MemorySwap // v2 limits swap alone
	if swap.Bounds() {
		if !r.Memory.Bounds() || r.MemorySwap.Less(r.Memory) {
			return list // not a thing that a runtime takes
		}
		swap = LimitOf(r.MemorySwap.n - r.Memory.n)
	}
	return append(list, compare("memorySwap", swap.String(), m.SwapMax, swap.fitsPages)...)
}

// fitsPages tells whether have is l, or l rounded down to pages of 4, 16 or 64 KiB.
func (l Limit) fitsPages(have Limit) bool {
	return have == l || l.Bounds() && have.Bounds() &&
		slices.Contains([]uint64{l.n &^ (1<<12 - 1), l.n &^ (1<<14 - 1), l.n &^ (1<<16 - 1)}, have.n)
}

// fits tells whether have gives the same time as m, or what systemd makes of it: whole hundredths of a processor, rounded up.
func (m CPUMax) fits(have CPUMax) bool {
	if !m.Bounds() || !have.Bounds() {
		return m.Bounds() == have.Bounds()
	}
	hundredths := CPUMax{Quota: LimitOf((m.Quota.n*100 + m.Period - 1) / m.Period), Period: 100}
	same := !m.Less(have) && !have.Less(m)
	return same || !hundredths.Less(have) && !have.Less(hundredths)
}

func (r Resources) weightDrift(c CPU) []Difference {
	if c.Weight.Known() == Absent { // v1
		return compare("cpuWeight", strconv.FormatUint(r.Shares, 10), c.Shares, func(have Count) bool {
			return uint64(have) == min(max(r.Shares, 2), 262144) // as the kernel does
		})
	}
	now, before := WeightFromShares(r.Shares)
	want := slices.Compact([]string{strconv.FormatUint(now, 10), strconv.FormatUint(before, 10)})
	return compare("cpuWeight", strings.Join(want, " or "), c.Weight, func(have Count) bool {
		return uint64(have) == now || uint64(have) == before
	})
}
