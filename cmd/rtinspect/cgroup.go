package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) cgroupCommand() *cli.Command {
	return &cli.Command{
		Name:      "cgroup",
		Usage:     "tell which limits hold, which level sets them, and what is used",
		ArgsUsage: "[CONTAINER…]",
		Description: "For one container or process: its control groups; each limit as requested, declared, set on its own group, and " +
			"in force, which is the least of all groups above and of what the machine has, with the level that sets it; usage, " +
			"processes killed for lack of memory, throttling and pressure. For several, or without arguments for every running " +
			"container: a line each. Wide adds every level. In a node that is a container itself, as with kind, nobody sees what " +
			"limits the node from outside: a limit is \"at most\" then. A process needs no runtime. Tables have units, JSON and YAML " +
			"have bytes and microseconds; both are an array, of one item too.",
		UsageText: "rtinspect cgroup\nrtinspect cgroup web\nrtinspect cgroup --pid 4012\nrtinspect cgroup web -o wide\n" +
			"rtinspect cgroup -o json | jq '.[] | {name, memory: .cgroup.inForce.value.effective.memory.least.limit.value}'",
		Flags:  append(listFlags(), pidFlag()),
		Action: v.cgroup,
	}
}

func (v *invocation) cgroup(c *cli.Context) error {
	o, node, err := v.listOptions(c)
	if err != nil {
		return err
	}
	pid, isSet, err := pidOf(c)
	switch {
	case err != nil:
		return err
	case isSet:
		return v.cgroupOfPID(pid, o, node)
	}
	return v.cgroupOfContainers(c, o, node)
}

// containerCgroup is what is known of a container's control groups.
type containerCgroup struct {
	inspect.Container
	Cgroup inspect.Cgroup       `json:"cgroup"`
	Drift  []inspect.Difference `json:"drift"`
}

func (v *invocation) cgroupOfContainers(c *cli.Context, o output, node inspect.Options) error {
	refs := c.Args().Slice()
	node.Parts = inspect.PartCgroup
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		reports, err := s.Containers(ctx, refs...)
		written := o.write(&v.answer, cgroupAnswer(reports, len(refs) == 1))
		return errors.Join(written, err, reportGaps(reports, cgroupGap))
	})
}

func cgroupAnswer(reports []inspect.Report, one bool) answer {
	list := []containerCgroup{}
	for _, r := range reports {
		list = append(list, containerCgroup{r.Container, r.Cgroup, driftOf(r, cgroupGap)})
	}
	return answer{data: list, ids: reportIDs(reports), text: func(w io.Writer, o output) {
		if one && len(list) == 1 {
			list[0].page(w, o)
		} else {
			o.table(w, cgroupTable(list, o))
		}
		sayGuests(w, o, inReports(reports)...)
	}}
}

// cgroupGap tells the facts that this command answers with.
func cgroupGap(g inspect.Gap) bool {
	setting, _, _ := strings.Cut(g.Fact, ".")
	return slices.Contains([]string{"state", "pid", "cgroup"}, setting)
}

func cgroupTable(list []containerCgroup, o output) table {
	t := table{header: []string{
		"CONTAINER", "NAME", "POD", "MEMORY", "SET BY", "USED", "CPU", "SET BY", "PIDS", "SET BY", "USED", "KILLS", "THROTTLED",
	}}
	if o.wide() {
		t.header = append(t.header, "SWAP", "SET BY", "MEMORY PRESSURE", "CPU PRESSURE", "IO PRESSURE", "PATH")
	}
	for _, c := range list {
		pod, _ := podCells(c.Container)
		row := []cell{plain(o.id(c.ID)), nameCell(c.Container), pod}
		p, ok := c.Cgroup.InForce.Value()
		if !ok {
			t.rows = append(t.rows, append(row, slices.Repeat([]cell{factCell(c.Cgroup.InForce, false)}, len(t.header)-len(row))...))
			continue
		}
		e := p.Effective
		row = append(row,
			limitCell(e.Memory, bytesText), levelCell(e.Memory), memoryUsed(p),
			limitCell(e.CPU, cpuText), levelCell(e.CPU),
			limitCell(e.Pids, countText), levelCell(e.Pids), pidsUsed(p),
			kernelFact(p.Memory.OOMKill, cgroup.Count.String), throttled(p.CPU))
		if o.wide() {
			row = append(row,
				limitCell(e.Swap, bytesText), levelCell(e.Swap),
				kernelFact(p.Memory.Pressure, pressureText), kernelFact(p.CPU.Pressure, pressureText),
				kernelFact(p.IO.Pressure, pressureText), orDash(p.Place.Path))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// page writes everything about a container's control groups.
func (c containerCgroup) page(w io.Writer, o output) {
	rows := nameRows(c.Container, o)
	p, ok := c.Cgroup.InForce.Value()
	if ok {
		rows = append(rows, placeRows(p, o)...)
	}
	table{rows: rows}.write(w, o.color)
	say(w, "\n")
	if !ok {
		say(w, "limits in force: ", whyNot(c.Cgroup.InForce).paint(o.color), "\n\n")
	}
	t := table{header: []string{"LIMIT", "REQUESTED", "DECLARED", "OWN", "IN FORCE", "SET BY", "USED"}}
	for _, l := range limitLines(p) {
		row := []cell{plain(l.name), showFact(c.Cgroup.Requested, false, l.asked), showFact(c.Cgroup.Declared, false, l.asked)}
		if ok {
			row = append(row, l.own, l.inForce, l.setBy, l.used)
		}
		t.rows = append(t.rows, row)
	}
	o.table(w, t)
	if ok {
		writeUsage(w, p, o)
	}
	if len(c.Drift) > 0 {
		say(w, "\nDrift:\n")
		writeDrift(w, c.Drift, o)
	}
}

// placeRows tells where a process is in the hierarchy of control groups.
func placeRows(p cgroup.Process, o output) [][]cell {
	return [][]cell{
		{plain("version"), kernelFact(p.Mode, func(m cgroup.Mode) string { return string(m) })},
		{plain("path"), orDash(p.Place.Path)},
		{plain("folder"), cgroupFact(p.Folder, o.wide(), func(folder string) string { return folder })},
		{plain("names tell"), orDash(placeText(p.Place))},
	}
}

// placeText says what the names in the path tell.
func placeText(p cgroup.Place) string {
	var words []string
	for _, word := range []string{p.Runtime, string(p.Driver)} {
		if word != "" {
			words = append(words, word)
		}
	}
	if p.Pod != "" {
		words = append(words, p.QoS+" pod "+p.Pod)
	}
	if p.Inner != "" {
		words = append(words, "the process is below the container's, in "+p.Inner)
	}
	return strings.Join(words, ", ")
}

// limitLine is a limit in a page.
type limitLine struct {
	name                      string
	asked                     func(cgroup.Resources) string
	own, inForce, setBy, used cell
}

func limitLines(p cgroup.Process) []limitLine {
	e := p.Effective
	none := plain("-")
	swap := limitLine{
		"memory+swap", func(r cgroup.Resources) string { return bytesText(r.MemorySwap) }, kernelFact(p.Memory.MemorySwapMax, bytesText),
		limitCell(e.Swap, bytesText), levelCell(e.Swap), kernelFact(p.Memory.MemorySwapCurrent, amountText),
	}
	if p.Memory.MemorySwapMax.Known() == cgroup.Absent { // version 2 limits swap alone
		swap.name, swap.asked = "swap", swapAsked
		swap.own, swap.used = kernelFact(p.Memory.SwapMax, bytesText), kernelFact(p.Memory.SwapCurrent, amountText)
	}
	return []limitLine{
		{
			"memory", func(r cgroup.Resources) string { return bytesText(r.Memory) }, kernelFact(p.Memory.Max, bytesText),
			limitCell(e.Memory, bytesText), levelCell(e.Memory), memoryUsed(p),
		},
		swap,
		{
			"cpu", func(r cgroup.Resources) string { return cpuText(r.CPU) }, kernelFact(p.CPU.Max, cpuText),
			limitCell(e.CPU, cpuText), levelCell(e.CPU), kernelFact(p.CPU.Usage, microsecondsText),
		},
		{"cpu weight", sharesText, weightCell(p.CPU), none, none, none},
		{
			"pids", func(r cgroup.Resources) string { return countText(r.Pids) }, kernelFact(p.Pids.Max, countText),
			limitCell(e.Pids, countText), levelCell(e.Pids), pidsUsed(p),
		},
		{
			"cpus", func(r cgroup.Resources) string { return string(r.CPUs) }, kernelFact(p.CPUSet.CPUs, cgroup.List.String),
			kernelFact(p.CPUSet.CPUsEffective, cgroup.List.String), none, none,
		},
		{
			"memory nodes", func(r cgroup.Resources) string { return string(r.Mems) }, kernelFact(p.CPUSet.Mems, cgroup.List.String),
			kernelFact(p.CPUSet.MemsEffective, cgroup.List.String), none, none,
		},
	}
}

// swapAsked is what is asked for of swap alone.
func swapAsked(r cgroup.Resources) string {
	both, ok := r.MemorySwap.Value()
	memory, okMemory := r.Memory.Value()
	if !ok || !okMemory || both < memory {
		return bytesText(r.MemorySwap)
	}
	return bytesText(cgroup.LimitOf(both - memory))
}

func sharesText(r cgroup.Resources) string {
	if r.Shares == 0 {
		return ""
	}
	return "shares " + strconv.FormatUint(r.Shares, 10)
}

// weightCell shows the weight of the version of cgroups that is in use.
func weightCell(c cgroup.CPU) cell {
	if c.Weight.Known() == cgroup.Absent {
		return kernelFact(c.Shares, func(n cgroup.Count) string { return "shares " + n.String() })
	}
	return kernelFact(c.Weight, func(n cgroup.Count) string { return "weight " + n.String() })
}

// limitRows shows the limits at the three levels. The one in force is shown with the level that sets it.
func limitRows(c inspect.Cgroup) [][]cell {
	p, ok := c.InForce.Value()
	var rows [][]cell
	for _, l := range limitLines(p) {
		inForce := factCell(c.InForce, false)
		switch {
		case ok && l.setBy.text != "-":
			inForce = cell{l.inForce.text + " (" + l.setBy.text + ")", l.inForce.style}
		case ok && l.inForce.text != "-":
			inForce = l.inForce
		case ok:
			inForce = l.own
		}
		rows = append(rows, []cell{plain(l.name), showFact(c.Requested, false, l.asked), showFact(c.Declared, false, l.asked), inForce})
	}
	return rows
}

// kernelFact returns a cell with a fact of package cgroup: its value, "-" when it is absent, or "unknown".
func kernelFact[T any](fact cgroup.Fact[T], show func(T) string) cell {
	return cgroupFact(fact, false, show)
}

// cgroupFact is kernelFact, with the cause of what is unknown if that is wanted.
func cgroupFact[T any](fact cgroup.Fact[T], cause bool, show func(T) string) cell {
	value, known := fact.Value()
	switch {
	case known:
		return orDash(show(value))
	case fact.Known() == cgroup.Absent:
		return plain("-")
	}
	return showFact(inspect.UnknownFact[T](fact.Cause()), cause, show)
}

// limitCell shows the limit in force. One that is unknown has an upper bound.
func limitCell[T cgroup.Bound[T]](e cgroup.Effective[T], show func(T) string) cell {
	level, ok := e.AtMost()
	limit, _ := level.Limit.Value()
	switch {
	case ok && e.Cause() == nil:
		return plain(show(limit))
	case ok:
		return styled("unknown, at most "+show(limit), styleUnknown)
	}
	return styled("unknown", styleUnknown)
}

// levelCell shows the level that sets the limit in force, with its name where that tells more.
func levelCell[T cgroup.Bound[T]](e cgroup.Effective[T]) cell {
	level, ok := e.Value()
	if !ok {
		return styled("unknown", styleUnknown)
	}
	switch level.Kind {
	case cgroup.KindGroup, cgroup.KindSlice, cgroup.KindQoS:
		return plain(string(level.Kind) + " " + path.Base(level.Path))
	case cgroup.KindOuter:
		return plain("outer container")
	case cgroup.KindContainer, cgroup.KindPod, cgroup.KindRoot, cgroup.KindHidden, cgroup.KindMachine:
	}
	return plain(string(level.Kind))
}

// memoryUsed shows the memory in use, and the part of the limit in force.
func memoryUsed(p cgroup.Process) cell {
	return used(p.Memory.Current, p.Effective.Memory, amountText)
}

func pidsUsed(p cgroup.Process) cell {
	return used(p.Pids.Current, p.Effective.Pids, cgroup.Count.String)
}

// used shows a usage. The percentage is that of the level that sets the limit, whose usage the kernel compares; it is shown by
// itself where that is another level than the container's.
func used(own cgroup.Fact[cgroup.Count], e cgroup.Effective[cgroup.Limit], show func(cgroup.Count) string) cell {
	c := kernelFact(own, show)
	level, ok := e.Value()
	n, known := own.Value()
	if !ok || !known {
		return c
	}
	limit, _ := level.Limit.Value()
	of, _ := limit.Value()
	if all, ok := level.Usage.Value(); ok && all != n {
		return plain(c.text + ", " + string(level.Kind) + " " + show(all) + percent(uint64(all), of))
	}
	return plain(c.text + percent(uint64(n), of))
}

// percent returns the part of a limit in parentheses.
func percent(n, of uint64) string {
	if of == 0 {
		return ""
	}
	part := 100 * float64(n) / float64(of)
	if n > 0 && part < 1 {
		return " (<1%)"
	}
	return fmt.Sprintf(" (%.0f%%)", part)
}

// throttled shows how often the container was stopped at its limit, of the periods in which it ran.
func throttled(c cgroup.CPU) cell {
	n, ok := c.Throttled.Value()
	periods, okPeriods := c.Periods.Value()
	if !ok || !okPeriods {
		return kernelFact(c.Throttled, cgroup.Count.String)
	}
	return plain(n.String() + percent(uint64(n), uint64(periods)))
}

// writeUsage writes what happened at the limits, and in a wide page every level.
func writeUsage(w io.Writer, p cgroup.Process, o output) {
	rows := [][]cell{
		{plain("peak memory"), kernelFact(p.Memory.Peak, amountText)},
		{plain("at the memory limit"), kernelFact(p.Memory.MaxEvents, timesText)},
		{plain("out of memory"), kernelFact(p.Memory.OOM, timesText)},
		{plain("killed for memory"), kernelFact(p.Memory.OOMKill, cgroup.Count.String)},
		{plain("throttled"), throttledText(p.CPU)},
		{plain("forks refused"), kernelFact(p.Pids.MaxEvents, cgroup.Count.String)},
		{plain("memory pressure"), kernelFact(p.Memory.Pressure, pressureText)},
		{plain("cpu pressure"), kernelFact(p.CPU.Pressure, pressureText)},
		{plain("io pressure"), kernelFact(p.IO.Pressure, pressureText)},
	}
	say(w, "\n")
	table{rows: append(rows, releaseRows(p)...)}.write(w, o.color)
	if !o.wide() {
		return
	}
	say(w, "\n")
	t := table{header: []string{"LIMIT", "LEVEL", "PATH", "SET TO", "USED"}}
	t.rows = append(t.rows, levelRows("memory", p.Effective.Memory, bytesText, amountText)...)
	t.rows = append(t.rows, levelRows("swap", p.Effective.Swap, bytesText, amountText)...)
	t.rows = append(t.rows, levelRows("cpu", p.Effective.CPU, cpuText, cgroup.Count.String)...)
	t.rows = append(t.rows, levelRows("pids", p.Effective.Pids, countText, cgroup.Count.String)...)
	o.table(w, t)
}

// throttledText shows throttling with the time it took.
func throttledText(c cgroup.CPU) cell {
	text := throttled(c)
	periods, ok := c.Periods.Value()
	spent, okSpent := c.ThrottledTime.Value()
	if !ok || !okSpent {
		return text
	}
	return plain(fmt.Sprintf("%s of %d periods, for %s", text.text, periods, microsecondsText(spent)))
}

// releaseRows tells of programs that the kernel runs as root on the host when a group becomes empty.
func releaseRows(p cgroup.Process) [][]cell {
	var rows [][]cell
	for _, r := range p.Release {
		if agent, ok := r.Agent.Value(); ok && agent != "" {
			rows = append(rows, []cell{plain("release agent"), plain(agent + " of " + strings.Join(r.Controllers, ","))})
		}
	}
	mounts, _ := p.Mounts.Value()
	for _, m := range mounts {
		if m.Writable {
			rows = append(rows, []cell{plain("mounted writable"), plain(m.Point)})
		}
	}
	return rows
}

// levelRows is a line for each level that was looked at.
func levelRows[T cgroup.Bound[T]](name string, e cgroup.Effective[T], show func(T) string, amount func(cgroup.Count) string) [][]cell {
	var rows [][]cell
	for _, l := range e.Levels() {
		rows = append(rows, []cell{
			plain(name), plain(string(l.Kind)), orDash(l.Path), cgroupFact(l.Limit, true, show), cgroupFact(l.Usage, true, amount),
		})
	}
	return rows
}

// bytesText shows a limit of bytes; nothing when none was set.
func bytesText(l cgroup.Limit) string {
	n, ok := l.Value()
	switch {
	case ok:
		return amountText(cgroup.Count(n))
	case l.IsMax():
		return "max"
	}
	return ""
}

// amountText shows bytes as Kubernetes writes them: 128Mi. What is no whole number of the unit is rounded to a tenth.
func amountText(n cgroup.Count) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	unit := 0
	for unit < len(units)-1 && n>>(10*(unit+1)) > 0 {
		unit++
	}
	text := strconv.FormatFloat(float64(n)/float64(uint64(1)<<(10*unit)), 'f', 1, 64)
	return strings.TrimSuffix(text, ".0") + units[unit]
}

// countText shows a limit of things that are counted; nothing when none was set.
func countText(l cgroup.Limit) string {
	if l == (cgroup.Limit{}) {
		return ""
	}
	return l.String()
}

// cpuText shows processor time as a number of processors: 0.5 cpu.
func cpuText(m cgroup.CPUMax) string {
	cores, ok := m.Cores()
	switch {
	case ok:
		return strconv.FormatFloat(cores, 'g', 4, 64) + " cpu"
	case m.Quota.IsMax():
		return "max"
	}
	return ""
}

func microsecondsText(n cgroup.Count) string {
	return (time.Duration(n) * time.Microsecond).Round(time.Millisecond).String()
}

func timesText(n cgroup.Count) string {
	if n == 1 {
		return "once"
	}
	return n.String() + " times"
}

// pressureText shows the part of the last 10 seconds that was lost.
func pressureText(p cgroup.Pressure) string {
	text := fmt.Sprintf("some %.2f%%", p.Some.Avg10)
	if !p.FullAbsent {
		text += fmt.Sprintf(" full %.2f%%", p.Full.Avg10)
	}
	return text
}

// processCgroup is what is known of a process's control groups.
type processCgroup struct {
	PID    int            `json:"pid"`
	Cgroup cgroup.Process `json:"cgroup"`
}

func (v *invocation) cgroupOfPID(pid int, o output, node inspect.Options) error {
	r := cgroup.Reader{Proc: filepath.Join(node.HostRoot, "proc"), Sys: filepath.Join(node.HostRoot, "sys/fs/cgroup")}
	p, err := r.Process(pid)
	if err != nil {
		return err
	}
	result := processCgroup{pid, p}
	written := o.write(&v.answer, answer{data: []processCgroup{result}, ids: []string{strconv.Itoa(pid)}, text: result.page})
	all := []error{written}
	for _, g := range p.Gaps() {
		all = append(all, fmt.Errorf("process %d: %s: %w", pid, g.Fact, g.Cause))
	}
	return errors.Join(all...)
}

func (p processCgroup) page(w io.Writer, o output) {
	table{rows: append([][]cell{{plain("pid"), plain(strconv.Itoa(p.PID))}}, placeRows(p.Cgroup, o)...)}.write(w, o.color)
	say(w, "\n")
	t := table{header: []string{"LIMIT", "OWN", "IN FORCE", "SET BY", "USED"}}
	for _, l := range limitLines(p.Cgroup) {
		t.rows = append(t.rows, []cell{plain(l.name), l.own, l.inForce, l.setBy, l.used})
	}
	o.table(w, t)
	writeUsage(w, p.Cgroup, o)
}
