package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// CPUSet says which processors and memory nodes a cgroup may use.
type CPUSet struct {
	// CPUs are the processors that were asked for, from cpuset.cpus; empty in v2 when all of the parent's.
	CPUs Fact[List] `json:"cpus"`
	// CPUsEffective are those it may use. From cpuset.cpus.effective; in v1 cpuset.effective_cpus.
	CPUsEffective Fact[List] `json:"cpusEffective"`
	// Mems are the memory nodes that were asked for, from cpuset.mems.
	Mems Fact[List] `json:"mems"`
	// MemsEffective are those it may use. From cpuset.mems.effective; in v1 cpuset.effective_mems.
	MemsEffective Fact[List] `json:"memsEffective"`
}

// List is a list of numbers as the kernel spells it, such as "0-3,7". The zero List is empty, and Lists compare with ==.
type List string

// ParseList returns the list that text spells: numbers and ranges, in rising order and not next to each other. The error wraps
// [ErrSyntax].
func ParseList(text string) (List, error) {
	if text == "" {
		return "", nil
	}
	next := 0 // the least number that may follow
	for part := range strings.SplitSeq(text, ",") {
		first, last, err := parseRange(part)
		if err != nil || first < next {
			return "", fmt.Errorf("%w: list %q: want rising numbers and ranges such as 0-3,7", ErrSyntax, clip(text))
		}
		next = last + 2
	}
	return List(text), nil
}

// ListOf returns the list that people and programs write, as the kernel spells it: "3,1,2" is "1-3". The error wraps [ErrSyntax]
// unless text has numbers and ranges with commas between.
func ListOf(text string) (List, error) {
	const most = 1 << 16 // of either end: the kernel knows fewer
	set := map[int]bool{}
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, err := parseRange(strings.TrimSpace(part))
		if err != nil || last > most {
			return "", fmt.Errorf("%w: list %q: want numbers and ranges such as 0-3,7", ErrSyntax, clip(text))
		}
		for n := first; n <= last; n++ {
			set[n] = true
		}
	}
	var parts []string
	for _, first := range slices.Sorted(maps.Keys(set)) {
		if set[first-1] {
			continue
		}
		last := first
		for set[last+1] {
			last++
		}
		part := strconv.Itoa(first)
		if last > first {
			part += "-" + strconv.Itoa(last)
		}
		parts = append(parts, part)
	}
	return List(strings.Join(parts, ",")), nil
}

func parseRange(part string) (first, last int, err error) {
	low, high, ranged := strings.Cut(part, "-")
	if first, err = parseIndex(low); err != nil || !ranged {
		return first, first, err
	}
	if last, err = parseIndex(high); err != nil || last <= first {
		return 0, 0, ErrSyntax
	}
	return first, last, nil
}

func parseIndex(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 30)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, ErrSyntax
	}
	return int(n), nil
}

// Len returns how many numbers are in l.
func (l List) Len() int {
	if l == "" {
		return 0
	}
	count := 0
	for part := range strings.SplitSeq(string(l), ",") {
		if first, last, err := parseRange(part); err == nil {
			count += last - first + 1
		}
	}
	return count
}

// readCPUSet reads the values of one cgroup.
func readCPUSet(f *folder, unified bool) CPUSet {
	cpus, mems := "cpuset.effective_cpus", "cpuset.effective_mems"
	if unified {
		cpus, mems = "cpuset.cpus.effective", "cpuset.mems.effective"
	}
	return CPUSet{
		CPUs:          read(f, "cpuset.cpus", line(ParseList)),
		CPUsEffective: read(f, cpus, line(ParseList)),
		Mems:          read(f, "cpuset.mems", line(ParseList)),
		MemsEffective: read(f, mems, line(ParseList)),
	}
}
