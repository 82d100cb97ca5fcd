package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "tell everything known of a container: requested, declared, in force",
		ArgsUsage: "[CONTAINER…]",
		Description: "Shows each setting at three levels: what was requested through the CRI, what the runtime declared in the " +
			"OCI runtime specification, and what the kernel has in force; then where these differ, and what is unknown and why. " +
			"\"-\" is absent: there is no such thing here. Wide adds why, and labels, annotations, environment and sources. " +
			"JSON and YAML are an array, of one report too.",
		UsageText: "rtinspect inspect web\nrtinspect inspect team-a/shop/web -o wide\nrtinspect inspect 3f1c2a --show-secrets -o wide\n" +
			"rtinspect inspect -o json | jq '.[] | {name, drift}'\nrtinspect inspect web -o go-template='{{.seccomp.inForce.value.mode}}'",
		Flags: []cli.Flag{
			formatFlag(),
			quietFlag(),
			&cli.BoolFlag{Name: "show-secrets", Usage: "print the values of environment variables, and of labels and annotations that may hold secrets"},
		},
		Action: v.inspect,
	}
}

func (v *invocation) inspect(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	node.ShowSecrets = c.Bool("show-secrets")
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		reports, err := s.Containers(ctx, c.Args().Slice()...)
		return errors.Join(o.write(&v.answer, inspectAnswer(reports)), err, reportGaps(reports, everyGap))
	})
}

func inspectAnswer(reports []inspect.Report) answer {
	return answer{
		data: append([]inspect.Report{}, reports...), // never null
		ids:  reportIDs(reports),
		text: func(w io.Writer, o output) {
			for n, r := range reports {
				if n > 0 {
					say(w, "\n")
				}
				inspectPage(w, r, o)
				sayGuests(w, o, r.Container)
			}
		},
	}
}

func reportIDs(reports []inspect.Report) []string {
	var list []string
	for _, r := range reports {
		list = append(list, r.ID)
	}
	return list
}

// reportGaps returns an error for each fact that is unknown, of those that matter.
func reportGaps(reports []inspect.Report, matters func(inspect.Gap) bool) error {
	var all gapLines
	for _, r := range reports {
		all.add(r.Container, slices.DeleteFunc(r.Gaps(), func(g inspect.Gap) bool { return !matters(g) }))
	}
	return all.err()
}

func everyGap(inspect.Gap) bool { return true }

// inspectPage writes everything that is known of a container.
func inspectPage(w io.Writer, r inspect.Report, o output) {
	table{rows: identityRows(r, o)}.write(w, o.color)
	say(w, "\n")
	settingsTable(r).write(w, o.color)
	if len(r.Drift) > 0 {
		say(w, "\nDrift:\n")
		writeDrift(w, r.Drift, o)
	}
	if gaps := r.Gaps(); len(gaps) > 0 {
		say(w, "\nUnknown:\n")
		gapTable(gaps).write(w, o.color)
	}
	if o.wide() {
		writeOrigins(w, r)
		writeMap(w, "Labels", r.Labels)
		writeMap(w, "Annotations", r.Annotations)
		writeEnv(w, r.Process)
	}
}

// gapTable shows facts that are unknown with their causes. All that is because no runtime was asked stands in one line.
func gapTable(gaps []inspect.Gap) table {
	t := table{}
	if slices.ContainsFunc(gaps, kernelOnly) {
		t.rows = append(t.rows, []cell{styled("  what a runtime tells", styleUnknown), plain(inspect.ErrKernelOnly.Error())})
	}
	for _, g := range gaps {
		if !kernelOnly(g) {
			t.rows = append(t.rows, []cell{styled("  "+g.Fact, styleUnknown), plain(g.Cause.Error())})
		}
	}
	return t
}

// identityRows tells which container it is.
func identityRows(r inspect.Report, o output) [][]cell {
	pod, namespace := podCells(r.Container)
	rows := [][]cell{
		{plain("container"), plain(r.ID)},
		{plain("name"), nameCell(r.Container)},
		{plain("pod"), pod},
		{plain("namespace"), namespace},
		{plain("containerd namespace"), toldBy(r.Container, r.Namespace)},
		{plain("image"), toldBy(r.Container, r.Image)},
		{plain("runtime"), toldBy(r.Container, r.Runtime)},
		{plain("created"), toldBy(r.Container, timeText(r.CreatedAt))},
		{plain("state"), factCell(r.State, o.wide())},
		{plain("pid"), factCell(r.PID, o.wide())},
		{plain("tier"), factCell(r.Tier, o.wide())},
		{plain("command"), showFact(r.Process, o.wide(), func(p inspect.Program) string { return command(p.Args) })},
		{plain("working folder"), showFact(r.Process, o.wide(), func(p inspect.Program) string { return p.Cwd })},
	}
	if r.Kind == inspect.KindSandbox {
		rows[1] = []cell{plain("name"), plain(r.Name + " (the pod's sandbox)")}
	}
	return rows
}

// command returns arguments as a line, those with spaces or nothing in quotes.
func command(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \"'") {
			words[i] = strconv.Quote(arg)
		}
	}
	return strings.Join(words, " ")
}

// writeDrift writes the differences: first those that nothing explains, marked.
func writeDrift(w io.Writer, drift []inspect.Difference, o output) {
	for _, explained := range []bool{false, true} {
		for _, d := range drift {
			if (d.Reason != "") == explained {
				writeDifference(w, d, o)
			}
		}
	}
}

func writeDifference(w io.Writer, d inspect.Difference, o output) {
	mark := styled("!", styleBad)
	if d.Reason != "" {
		mark = plain(" ")
	}
	text := fmt.Sprintf("%s: %s %s, %s %s", d.Setting, d.From, d.Want, d.To, d.Have)
	say(w, "  ", mark.paint(o.color), " ", wrap(escapeLine(text), o.terminal.width-4, "      "), "\n")
	for _, part := range []struct {
		title string
		set   caps.Set
	}{{"more ", d.More}, {"less ", d.Less}} {
		if !part.set.IsEmpty() {
			writeNames(w, "      "+part.title, part.set, o)
		}
	}
	if d.Reason != "" {
		say(w, "      ", wrap("because "+escapeLine(d.Reason), o.terminal.width-6, "      "), "\n")
	}
}

// writeMap writes names with their values.
func writeMap(w io.Writer, title string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	say(w, "\n", title, ":\n")
	for _, key := range slices.Sorted(maps.Keys(values)) {
		say(w, "  ", escapeLine(key), "=", escapeLine(values[key]), "\n")
	}
}

func writeEnv(w io.Writer, process inspect.Fact[inspect.Program]) {
	p, _ := process.Value()
	if len(p.Env) == 0 {
		return
	}
	say(w, "\nEnvironment:\n")
	for _, entry := range p.Env {
		say(w, "  ", escapeLine(entry), "\n")
	}
}
