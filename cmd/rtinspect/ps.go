package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) psCommand() *cli.Command {
	return &cli.Command{
		Name:  "ps",
		Usage: "list the containers of the node",
		Description: "Lists the containers in every containerd namespace, with the state that the runtime tells, the first " +
			"process, and the trust tier: how far the container is from the host's kernel. Pods' sandboxes are left out; see " +
			"rtinspect pods. Wide adds the cause of what is unknown. Without a runtime, NAME is the command of the first process in " +
			"parentheses, and POD the pod's uid.",
		UsageText: "rtinspect ps\nrtinspect ps --all -o wide\nrtinspect ps -q\n" +
			"rtinspect ps -o go-template='{{.id}} {{.pid.value}}'\nrtinspect ps -o json | jq '.[] | select(.tier.value == \"host-kernel\")'",
		Flags: append(listFlags(),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "list containers that have exited, too"}),
		Action: v.ps,
	}
}

func (v *invocation) ps(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	if err := noArguments(c); err != nil {
		return err
	}
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		listed, err := s.List(ctx)
		shown := containersOf(listed, c.Bool("all"))
		if c.Bool("all") {
			err = errors.Join(err, needsRuntime(s, "containers that have exited"))
		}
		return errors.Join(o.write(&v.answer, psAnswer(shown)), err, listGaps(shown))
	})
}

// containersOf leaves out sandboxes and, unless all are wanted, what is known to have exited. It is never nil.
func containersOf(listed []inspect.Container, all bool) []inspect.Container {
	shown := []inspect.Container{}
	for _, container := range listed {
		state, _ := container.State.Value()
		if container.Kind != inspect.KindSandbox && (all || state != inspect.StateExited) {
			shown = append(shown, container)
		}
	}
	return shown
}

func psAnswer(containers []inspect.Container) answer {
	return answer{
		data: containers,
		ids:  ids(containers),
		text: func(w io.Writer, o output) { o.table(w, psTable(containers, o)) },
	}
}

func ids(containers []inspect.Container) []string {
	var list []string
	for _, container := range containers {
		list = append(list, container.ID)
	}
	return list
}

func psTable(containers []inspect.Container, o output) table {
	t := table{header: []string{"CONTAINER", "NAME", "POD", "NAMESPACE", "CONTAINERD", "STATE", "PID", "TIER"}}
	if o.wide() {
		t.header = append(t.header, "RUNTIME", "CREATED", "IMAGE")
	}
	for _, container := range containers {
		pod, namespace := podCells(container)
		row := []cell{
			plain(o.id(container.ID)), nameCell(container), pod, namespace, toldBy(container, container.Namespace),
			factCell(container.State, o.wide()), factCell(container.PID, o.wide()), factCell(container.Tier, o.wide()),
		}
		if o.wide() {
			row = append(row, toldBy(container, container.Runtime), toldBy(container, timeText(container.CreatedAt)), toldBy(container, container.Image))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// orDash returns a cell with text, or "-" when there is none.
func orDash(text string) cell {
	if text == "" {
		return plain("-")
	}
	return plain(text)
}

// timeText returns a time, "" when there is none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// factCell returns a cell with a fact: its value, "-" when it is absent, or "unknown", with the cause if that is wanted.
func factCell[T any](fact inspect.Fact[T], cause bool) cell {
	return showFact(fact, cause, func(value T) string { return fmt.Sprint(value) })
}

// showFact is factCell for values with a text of their own.
func showFact[T any](fact inspect.Fact[T], cause bool, show func(T) string) cell {
	value, known := fact.Value()
	switch {
	case known:
		return orDash(show(value))
	case fact.Known() == inspect.Absent:
		return plain("-")
	case cause:
		return styled("unknown ("+fact.Cause().Error()+")", styleUnknown)
	}
	return styled("unknown", styleUnknown)
}

// whyNot tells why a fact has no value.
func whyNot[T any](fact inspect.Fact[T]) cell {
	if fact.Known() == inspect.Absent {
		return plain("absent: " + fact.Source())
	}
	return factCell(fact, true)
}

// listGaps returns an error for each fact of a list that is unknown.
func listGaps(containers []inspect.Container) error {
	var all gapLines
	for _, container := range containers {
		all.add(container, container.Gaps())
	}
	return all.err()
}

// gapLines tells which facts of containers are unknown, a line each. What is unknown of several for one and the same reason is one
// line: on a node that is a container itself, something is of every container. The zero gapLines has none.
type gapLines struct {
	list []gapLine
	at   map[string]int // in list, by fact and cause
}

type gapLine struct {
	names []string // of the containers
	fact  string
	cause error
}

// String names two containers, and of more the first.
func (l gapLine) String() string {
	names := strings.Join(l.names, ", ")
	if len(l.names) > 2 {
		names = fmt.Sprintf("%s and %d more", l.names[0], len(l.names)-1)
	}
	return names + ": " + l.fact
}

// add adds what is unknown of a container. Of more than three facts that follow each other, belong together and have one reason, one
// stands for all: whoever may not look into a process misses a dozen facts of it.
func (g *gapLines) add(container inspect.Container, gaps []inspect.Gap) {
	const most = 3
	gaps = slices.DeleteFunc(slices.Clone(gaps), kernelOnly)
	for len(gaps) > 0 {
		first, alike := gaps[0], 1
		for alike < len(gaps) && kindOfGap(gaps[alike]) == kindOfGap(first) {
			alike++
		}
		if alike <= most {
			alike = 1
		} else {
			first.Fact += fmt.Sprintf(" and %d more", alike-1)
		}
		gaps = gaps[alike:]
		g.addLine(container.FullName(), first)
	}
}

func (g *gapLines) addLine(name string, gap inspect.Gap) {
	key := gap.Fact + "\x00" + gap.Cause.Error()
	n, ok := g.at[key]
	if !ok {
		if g.at == nil {
			g.at = map[string]int{}
		}
		n = len(g.list)
		g.at[key] = n
		g.list = append(g.list, gapLine{fact: gap.Fact, cause: gap.Cause})
	}
	g.list[n].names = append(g.list[n].names, name)
}

// err joins the lines, and is nil without any.
func (g *gapLines) err() error {
	var all []error
	for _, line := range g.list {
		all = append(all, fmt.Errorf("%s: %w", line, line.cause))
	}
	return errors.Join(all...)
}

// kindOfGap is what a fact is part of, such as namespaces.inForce or processes.4012, and the reason without the file that it was
// met at: the last part of a cause.
func kindOfGap(g inspect.Gap) [2]string {
	parts := strings.SplitN(g.Fact, ".", 3)
	reason := g.Cause.Error()
	return [2]string{strings.Join(parts[:min(2, len(parts))], "."), reason[strings.LastIndex(reason, ": ")+1:]}
}
