package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// machine is what there is on the machine: the bounds that hold without any limit.
type machine struct {
	memory Fact[Limit]  // MemTotal, bytes
	swap   Fact[Limit]  // SwapTotal, bytes
	pids   Fact[Limit]  // the lower of pid_max and threads-max
	cpus   Fact[CPUMax] // processors that are online
}

// readMachine reads /proc/meminfo, /proc/stat, /proc/sys/kernel/pid_max and threads-max. Everyone may.
func readMachine(proc procfs.FS) machine {
	pidMax := readHost(proc, "sys/kernel/pid_max", line(ParseLimit))
	threads := readHost(proc, "sys/kernel/threads-max", line(ParseLimit))
	return machine{
		memory: readHost(proc, "meminfo", meminfo("MemTotal")),
		swap:   readHost(proc, "meminfo", meminfo("SwapTotal")),
		pids:   lower(pidMax, threads),
		cpus:   readHost(proc, "stat", onlineCPUs),
	}
}

func readHost[T any](proc procfs.FS, file string, parse func(string) (T, error)) Fact[T] {
	data, err := proc.ReadFile(file)
	if err != nil {
		return UnknownFact[T](err)
	}
	value, err := parse(string(data))
	if err != nil {
		return UnknownFact[T](fmt.Errorf("%s: %w", proc.Path(file), err))
	}
	return KnownFact(value, proc.Path(file))
}

// lower returns the lower of two known limits, and is unknown when one of them is.
func lower(a, b Fact[Limit]) Fact[Limit] {
	if err := errors.Join(a.Cause(), b.Cause()); err != nil {
		return UnknownFact[Limit](err)
	}
	if b.value.Less(a.value) {
		return b
	}
	return a
}

// meminfo makes a parser of one amount in /proc/meminfo, see proc_meminfo(5): kibibytes there, bytes here.
func meminfo(key string) func(string) (Limit, error) {
	return func(data string) (Limit, error) {
		for line := range strings.Lines(data) {
			rest, ok := strings.CutPrefix(line, key+":")
			if !ok {
				continue
			}
			number, unit := strings.CutSuffix(rest, " kB\n")
			n, err := ParseCount(strings.TrimLeft(number, " "))
			if !unit || err != nil || n > 1<<53 {
				return Limit{}, fmt.Errorf("%w: line %q: want an amount in kB", ErrSyntax, clip(line))
			}
			return LimitOf(uint64(n) * 1024), nil
		}
		return Limit{}, fmt.Errorf("%w: no line %s", ErrSyntax, key)
	}
}

// onlineCPUs counts the lines cpu0, cpu1 and so on of /proc/stat, see proc_stat(5): those that are offline have none.
func onlineCPUs(data string) (CPUMax, error) {
	n := 0
	for line := range strings.Lines(data) {
		rest, ok := strings.CutPrefix(line, "cpu")
		if ok && strings.IndexAny(rest, "0123456789") == 0 {
			n++
		}
	}
	if n == 0 {
		return CPUMax{}, fmt.Errorf("%w: no line cpu0", ErrSyntax)
	}
	return CoresOf(n), nil
}
