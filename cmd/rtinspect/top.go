package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func (v *invocation) topCommand() *cli.Command {
	return &cli.Command{
		Name:      "top",
		Usage:     "show the processes of containers, and what each holds beyond the first",
		ArgsUsage: "[CONTAINER…]",
		Description: "Shows every process in the cgroups of a container, or of each running container, as a tree: its number on the " +
			"node and inside, its user, its state, and where it comes from: first (the container's first process), child, exec " +
			"(started by the runtime besides, as by crictl exec), adopted (it lost its parent), outside (started by something " +
			"else outside of the container) or unknown (the first process is). BEYOND names what it holds and the first process does not: capabilities, another " +
			"namespace, less seccomp, another label or root, the user root; below, each is told in full. Then follow leaks: " +
			"working folders, roots and open files outside of the process's own mounts, as runc left one before 1.1.12 " +
			"(CVE-2024-21626). \"!\" marks a process that comes from outside, holds more, or has a leak that nothing explains; " +
			"\"?\" one of which that is unknown. Wide adds the parent, capabilities, seccomp and labels, and whole arguments.",
		UsageText: "rtinspect top\nrtinspect top web\nrtinspect top web -o wide --redact-args\nrtinspect top -q web | xargs ps -fp\n" +
			"rtinspect top -o json | jq '.[] | .processes.value.list[] | select(.beyond != [])'",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the processes' numbers on the node only, a line each"},
			&cli.BoolFlag{Name: "no-headers", Usage: "print no header line above the processes"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids and arguments; tables show 13 and 80 characters of them otherwise"},
			&cli.BoolFlag{Name: "redact-args", Usage: "hide the arguments of processes but for the program"},
		},
		Action: v.top,
	}
}

func (v *invocation) top(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	node.RedactArgs = c.Bool("redact-args")
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		list, err := s.Processes(ctx, c.Args().Slice()...)
		return errors.Join(o.write(&v.answer, topAnswer(list)), err, topGaps(list))
	})
}

func topAnswer(list []inspect.ContainerProcesses) answer {
	return answer{
		data: append([]inspect.ContainerProcesses{}, list...), // never null
		ids:  pids(list),
		text: func(w io.Writer, o output) {
			for n, c := range list {
				if n > 0 {
					say(w, "\n")
				}
				topPage(w, c, o)
				sayGuests(w, o, c.Container)
			}
		},
	}
}

func pids(list []inspect.ContainerProcesses) []string {
	var numbers []string
	for _, c := range list {
		found, _ := c.Processes.Value()
		for _, p := range found.List {
			numbers = append(numbers, strconv.Itoa(p.PID))
		}
	}
	return numbers
}

// topGaps returns an error for each fact that is unknown. What concerns the node as a whole is told once, not for each container.
func topGaps(list []inspect.ContainerProcesses) error {
	var all, without []error
	var lines gapLines
	told := map[string]bool{}
	for _, c := range list {
		var own []inspect.Gap
		for _, g := range c.Gaps() {
			err := fmt.Errorf("%s: %w", g.Fact, g.Cause)
			switch ofNode := g.Fact == "processes" || g.Fact == "processes.missing"; {
			case kernelOnly(g):
			case !ofNode:
				own = append(own, g)
			case !told[err.Error()]:
				told[err.Error()] = true
				all = append(all, err)
			}
		}
		lines.add(c.Container, own)
		if found, _ := c.Processes.Value(); len(found.List) > 0 && first(found) == nil && c.PID.Known() != inspect.Unknown {
			without = append(without, fmt.Errorf("%s: processes.beyond: %w", c.FullName(), errNoFirst))
		}
	}
	return errors.Join(errors.Join(all...), lines.err(), errors.Join(without...))
}

// errNoFirst is why processes are not compared.
var errNoFirst = errors.New("the container's first process is not among its processes: not compared")

// first returns the container's first process, nil when it is not known.
func first(found inspect.Processes) *inspect.Process {
	for n := range found.List {
		if found.List[n].Origin == inspect.OriginFirst {
			return &found.List[n]
		}
	}
	return nil
}

// topPage writes the processes of one container.
func topPage(w io.Writer, c inspect.ContainerProcesses, o output) {
	found, ok := c.Processes.Value()
	say(w, topTitle(c.Container).text, "  ", plain(o.id(c.ID)).text, "  ", factCell(c.State, o.wide()).paint(o.color))
	if !ok {
		say(w, "  processes: ", whyNot(c.Processes).paint(o.color), "\n")
		return
	}
	say(w, "  ", count(len(found.List), "process", "processes"), "\n")
	if len(found.List) > 0 {
		o.table(w, processTable(found, o))
	}
	writeExcess(w, found, o)
	writeLeaks(w, found, o)
	if found.Ended > 0 {
		say(w, count(found.Ended, "process", "processes"), " ended while they were read, and are left out.\n")
	}
	if found.Missing != "" {
		say(w, styled("Processes may be missing: "+found.Missing, styleUnknown).paint(o.color), "\n")
	}
}

// topTitle names a container, or its pod where no runtime tells the name.
func topTitle(c inspect.Container) cell {
	if fromKernel(c) {
		pod, _ := podCells(c)
		return plain("pod " + pod.text)
	}
	return plain(c.FullName())
}

func count(n int, one, many string) string { return strconv.Itoa(n) + " " + plural(n, one, many) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func processTable(found inspect.Processes, o output) table {
	t := table{header: []string{"", "PID", "INSIDE", "USER", "STATE", "ORIGIN", "BEYOND", "COMMAND"}}
	if o.wide() {
		t.header = []string{
			"", "PID", "PPID", "INSIDE", "USER", "STATE", "ORIGIN", "EFFECTIVE", "PERMITTED", "BOUNDING", "NO_NEW_PRIVS", "SECCOMP",
			"APPARMOR", "SELINUX", "BEYOND", "COMMAND",
		}
	}
	branches := branches(found.List)
	base := first(found)
	for n, p := range found.List {
		row := []cell{mark(p, base), plain(strconv.Itoa(p.PID))}
		if o.wide() {
			row = append(row, plain(strconv.Itoa(p.Parent)))
		}
		row = append(row, factCell(p.Inside, false), showFact(p.User, false, userInForce), plain(p.State), originCell(p.Origin))
		if o.wide() {
			row = append(row, rights(p)...)
		}
		line := commandCell(p, o)
		line.text = branches[n] + line.text
		t.rows = append(t.rows, append(row, beyondCell(p, base), line))
	}
	return t
}

func originCell(o inspect.Origin) cell {
	if o == inspect.OriginUnknown {
		return styled(string(o), styleUnknown)
	}
	return plain(string(o))
}

// rights shows what a process may do.
func rights(p inspect.Process) []cell {
	var row []cell
	for _, set := range fiveSets[:3] {
		row = append(row, showFact(p.Capabilities, false, set.mask))
	}
	return append(row,
		showFact(p.Capabilities, false, func(s caps.State) string { return s.NoNewPrivs.String() }),
		showFact(p.Seccomp, false, seccompInForce),
		showFact(p.AppArmor, false, quoteEmpty), showFact(p.SELinux, false, quoteEmpty))
}

// deepest is how far a tree is drawn. A container can make one of any depth.
const deepest = 16

// branches draws the tree: what stands before each process, in the order of a tree from the top down.
func branches(list []inspect.Process) []string {
	drawn := make([]string, len(list))
	var follows []bool // whether another process follows below the same parent, at each depth
	for n := len(list) - 1; n >= 0; n-- {
		depth := list[n].Depth
		for len(follows) <= depth {
			follows = append(follows, false)
		}
		drawn[n] = branch(follows[:depth+1])
		follows[depth] = true
		follows = follows[:depth+1]
	}
	return drawn
}

func branch(follows []bool) string {
	depth := len(follows) - 1
	if depth == 0 {
		return ""
	}
	if depth > deepest {
		return fmt.Sprintf("(%d deep) ", depth)
	}
	var b strings.Builder
	for _, more := range follows[1:depth] {
		b.WriteString(map[bool]string{true: "│  ", false: "   "}[more])
	}
	b.WriteString(map[bool]string{true: "├─ ", false: "└─ "}[follows[depth]])
	return b.String()
}

// commandCell shows the arguments, or the program's name in brackets when there are none, as ps does.
func commandCell(p inspect.Process, o output) cell {
	const most = 80
	args, ok := p.Args.Value()
	line := command(args)
	if !ok {
		line = "[" + p.Name + "]"
	}
	if !o.wide() && !o.whole {
		line = cut(line, most)
	}
	if p.Args.Known() == inspect.Unknown {
		return styled(line+" (arguments unknown)", styleUnknown)
	}
	return plain(line)
}

// cut returns at most so many characters of text.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// mark flags a process that needs a look.
func mark(p inspect.Process, base *inspect.Process) cell {
	leaks, known := p.Leaks.Value()
	unknown := !known && p.Leaks.Known() == inspect.Unknown || !compared(p, base)
	bad := len(p.Beyond) > 0 || p.Origin == inspect.OriginOutside
	for _, l := range leaks {
		unknown = unknown || l.Unknown != ""
		bad = bad || l.Unknown == "" && l.Reason == ""
	}
	switch {
	case bad:
		return styled("!", styleBad)
	case unknown:
		return styled("?", styleUnknown)
	}
	return plain("")
}

// beyondCell names what a process holds beyond the first.
func beyondCell(p inspect.Process, base *inspect.Process) cell {
	others, namespaces := withoutNamespaces(distinct(p.Beyond))
	var words, kinds []string
	for _, e := range others {
		if !slices.Contains(words, string(e.Kind)) {
			words = append(words, string(e.Kind))
		}
	}
	for _, e := range namespaces {
		kinds = append(kinds, e.What)
	}
	if len(kinds) > 0 {
		words = append(words, strings.Join(kinds, ",")+" "+plural(len(kinds), "namespace", "namespaces"))
	}
	c := orDash(strings.Join(words, ", "))
	c.style = styleBad
	switch {
	case compared(p, base) && len(words) == 0:
		c.style = styleNone
	case !compared(p, base) && len(words) == 0:
		return styled("unknown", styleUnknown)
	case !compared(p, base):
		c.text += ", rest unknown"
	}
	return c
}

// distinct leaves out the namespace of children to come where that of the process says the same.
func distinct(list []inspect.Excess) []inspect.Excess {
	var shown []inspect.Excess
	for _, e := range list {
		process, ofChildren := strings.CutSuffix(e.What, "_for_children")
		said := slices.ContainsFunc(list, func(other inspect.Excess) bool {
			return other.Kind == inspect.ExcessNamespace && other.What == process && other.Has == e.Has
		})
		if e.Kind != inspect.ExcessNamespace || !ofChildren || !said {
			shown = append(shown, e)
		}
	}
	return shown
}

// compared tells whether all that a process holds was compared with the first.
func compared(p inspect.Process, base *inspect.Process) bool {
	return base != nil && readable(p) && readable(*base)
}

func readable(p inspect.Process) bool {
	for _, cause := range []error{
		p.Capabilities.Cause(), p.User.Cause(), p.Namespaces.Cause(), p.Seccomp.Cause(), p.AppArmor.Cause(), p.SELinux.Cause(), p.Root.Cause(),
	} {
		if cause != nil {
			return false
		}
	}
	set, known := p.Namespaces.Value()
	return !known || !slices.ContainsFunc(nsdiff.Kinds(), func(k nsdiff.Kind) bool {
		_, err := set.Namespace(k)
		return err != nil && !errors.Is(err, nsdiff.ErrAbsent)
	})
}

// writeExcess tells in full what processes hold beyond the first. What several hold is told once; of each process only a wide answer
// tells every namespace by itself.
func writeExcess(w io.Writer, found inspect.Processes, o output) {
	var texts []string
	owners := map[string][]string{}
	add := func(p inspect.Process, text string) {
		if owners[text] == nil {
			texts = append(texts, text)
		}
		owners[text] = append(owners[text], fmt.Sprintf("%d %s", p.PID, p.Name))
	}
	for _, p := range found.List {
		excess := distinct(p.Beyond)
		if !o.wide() {
			var namespaces []inspect.Excess
			if excess, namespaces = withoutNamespaces(excess); len(namespaces) == 1 {
				excess = append(excess, namespaces...)
			} else if len(namespaces) > 1 {
				add(p, namespacesText(namespaces))
			}
		}
		for _, e := range excess {
			add(p, excessText(e, o))
		}
		if p.Origin == inspect.OriginOutside {
			add(p, fmt.Sprintf("started from outside of the container, by process %d", p.Parent))
		}
	}
	notes := make([]note, 0, len(texts))
	for _, text := range texts {
		notes = append(notes, note{mark: styled("!", styleBad), text: fewOf(owners[text], o) + ": " + text})
	}
	writeNotes(w, "Beyond the first process:", notes, o)
}

// withoutNamespaces takes the namespaces out of a list.
func withoutNamespaces(list []inspect.Excess) (others, namespaces []inspect.Excess) {
	for _, e := range list {
		if e.Kind == inspect.ExcessNamespace {
			namespaces = append(namespaces, e)
			continue
		}
		others = append(others, e)
	}
	return others, namespaces
}

// namespacesText tells several namespaces in short: mnt:[1], net:[2] (the host's).
func namespacesText(list []inspect.Excess) string {
	names := make([]string, len(list))
	for n, e := range list {
		names[n] = e.Has
		if prefix := e.What + ":"; !strings.HasPrefix(e.Has, prefix) {
			names[n] = prefix + " " + e.Has // pid_for_children
		}
		if e.Whose != "" {
			names[n] += " (" + e.Whose + ")"
		}
	}
	return "namespaces " + strings.Join(names, ", ") + "; the first process has others"
}

// fewOf are the first of many processes, all of them in a wide answer.
func fewOf(owners []string, o output) string {
	const most = 4
	if more := len(owners) - most; more > 0 && !o.wide() && !o.whole {
		owners = append(slices.Clone(owners[:most]), fmt.Sprintf("%d more", more))
		return strings.Join(owners[:most], ", ") + " and " + owners[most]
	}
	return strings.Join(owners, ", ")
}

func excessText(e inspect.Excess, o output) string {
	has := e.Has
	if names := strings.Split(has, ","); e.Kind == inspect.ExcessCapabilities && len(names) > 3 && !o.wide() {
		has = fmt.Sprintf("%s and %d more", strings.Join(names[:3], ","), len(names)-3)
	}
	if e.Whose != "" {
		has += " (" + e.Whose + ")"
	}
	subject := strings.TrimSpace(string(e.Kind) + " " + e.What)
	if e.Kind == inspect.ExcessCapabilities && !o.wide() {
		return subject + ": " + has
	}
	return fmt.Sprintf("%s: %s; the first process has %s", subject, quoteEmpty(has), quoteEmpty(e.First))
}

// writeLeaks tells what is open outside of the processes' mounts: first what nothing explains, then what is unknown.
func writeLeaks(w io.Writer, found inspect.Processes, o output) {
	var bad, unknown, harmless []note
	for _, s := range sharedLeaks(found.List) {
		switch {
		case s.leak.Unknown != "":
			unknown = append(unknown, s.note(o))
		case s.leak.Reason != "":
			harmless = append(harmless, s.note(o))
		default:
			bad = append(bad, s.note(o))
		}
	}
	writeNotes(w, "Leaks:", append(append(bad, unknown...), harmless...), o)
}

// sharedLeak is a leak with the processes that have it: children inherit open files.
type sharedLeak struct {
	leak   inspect.Leak
	owners []string
}

func sharedLeaks(list []inspect.Process) []sharedLeak {
	var shared []sharedLeak
	place := map[inspect.Leak]int{}
	for _, p := range list {
		leaks, _ := p.Leaks.Value()
		if cause := p.Leaks.Cause(); cause != nil {
			leaks = []inspect.Leak{{Unknown: cause.Error()}}
		}
		for _, l := range leaks {
			n, known := place[l]
			if !known {
				n = len(shared)
				place[l] = n
				shared = append(shared, sharedLeak{leak: l})
			}
			shared[n].owners = append(shared[n].owners, fmt.Sprintf("%d %s", p.PID, p.Name))
		}
	}
	return shared
}

func (s sharedLeak) note(o output) note {
	owners := fewOf(s.owners, o)
	n := note{text: fmt.Sprintf("%s of %s is %s", s.leak.What, owners, s.leak.Path)}
	switch {
	case s.leak.What == "":
		n.text = "open files of " + owners
	case s.leak.Path == "":
		n.text = fmt.Sprintf("%s of %s", s.leak.What, owners)
	}
	if s.leak.Unknown != "" {
		n.mark, n.why = styled("?", styleUnknown), "unknown: "+s.leak.Unknown
		return n
	}
	switch {
	case s.leak.Whose != "":
		n.text += " (" + s.leak.Whose + ")"
	case !s.leak.IsNamespace():
		n.text += fmt.Sprintf(", on mount %d", s.leak.Mount)
	}
	if s.leak.Host != "" {
		n.text += ", which the host has at " + s.leak.Host
	}
	if s.leak.Reason != "" {
		n.mark, n.why = plain(" "), "harmless: "+s.leak.Reason
		return n
	}
	n.mark = styled("!", styleBad)
	n.why = "that mount is not in the process's mount namespace: it leads out of the container, as in CVE-2024-21626"
	if s.leak.IsNamespace() {
		n.why = "a namespace that neither the process nor the container's first one is in: with CAP_SYS_ADMIN over it, it is entered by this file"
	}
	return n
}

// note is a line below a table, with a mark before it and an explanation below.
type note struct {
	mark cell
	text string
	why  string
}

func writeNotes(w io.Writer, title string, notes []note, o output) {
	if len(notes) == 0 {
		return
	}
	say(w, title, "\n")
	const indent = "      "
	for _, n := range notes {
		say(w, "  ", n.mark.paint(o.color), " ", wrap(escapeLine(n.text), o.terminal.width-4, indent), "\n")
		if n.why != "" {
			say(w, indent, wrap(escapeLine(n.why), o.terminal.width-len(indent), indent), "\n")
		}
	}
}
