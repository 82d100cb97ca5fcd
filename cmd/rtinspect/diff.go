package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

func (v *invocation) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two snapshots of a node: containers come and gone, facts changed, findings new and fixed",
		ArgsUsage: "OLD NEW",
		Description: "OLD and NEW are files of rtinspect snapshot, packed with gzip or not; one of them may be - for stdin. Tells which " +
			"containers are new, gone, or replaced by another with the same name in the same pod; what changed of those in both, of " +
			"the node and of the runtimes' sockets, with the level; and how the findings of audit differ. Usage, counters, times, pids " +
			"and numbers of namespaces and mounts are not compared: two snapshots of an unchanged node have no difference. What could " +
			"be read and cannot any more is unknown, and a finding that is unknown is not fixed. JSON and YAML are an object. The exit " +
			"status is 1 when one of the snapshots is not whole or they should not be compared, and with --exit-code 3 when something is worse: a finding " +
			"is new or has a higher severity, or what was not a finding is unknown. docs/diff.md tells more.",
		UsageText: "rtinspect diff before.json after.json\nrtinspect snapshot | rtinspect diff before.json.gz - --exit-code\n" +
			"rtinspect diff before.json after.json -o json | jq '.findings[] | select(.worse)'",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids and values; tables show 13 and 60 characters of them otherwise"},
			&cli.StringFlag{Name: "severity", Value: audit.Low.String(), Usage: "show, and count for --exit-code, findings of at least `LEVEL`: " + severityNames()},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with status 3 when something is worse"},
		},
		Action: v.diff,
	}
}

// diffAnswer is what diff answers with.
type diffAnswer struct {
	inspect.Changes
	Least    audit.Severity  `json:"leastShown"`
	Findings []findingChange `json:"findings"`
}

type findingChange struct {
	Title string `json:"title"`
	audit.FindingChange
}

func (v *invocation) diff(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	if err := checkDiff(c); err != nil {
		return err
	}
	d := diffAnswer{Findings: []findingChange{}}
	if err := severityFlag(c, "severity", &d.Least); err != nil {
		return err
	}
	older, err := readSnapshot(c.Args().Get(0), v.stdin)
	if err != nil {
		return err
	}
	newer, err := readSnapshot(c.Args().Get(1), v.stdin)
	if err != nil {
		return err
	}
	d.Changes = inspect.Compare(older, newer)
	worse := 0
	for _, f := range audit.Compare(older, newer, audit.Options{}) {
		if f.Severity < d.Least {
			continue
		}
		rule, _ := audit.Lookup(f.Rule)
		d.Findings = append(d.Findings, findingChange{rule.Title, f})
		if f.Worse {
			worse++
		}
	}
	errs := []error{o.write(&v.answer, answer{data: d, text: func(w io.Writer, o output) { diffPages(w, d, o) }})}
	for _, doubt := range d.Doubts {
		errs = append(errs, errors.New(doubt))
	}
	if c.Bool("exit-code") && worse > 0 {
		errs = append(errs, &findingsError{count(worse, "finding is", "findings are") + " worse, of at least " + d.Least.String()})
	}
	return errors.Join(errs...)
}

func checkDiff(c *cli.Context) error {
	files := c.Args().Slice()
	switch {
	case len(files) != 2:
		return misuse(c, "diff compares two files: want OLD NEW, not "+count(len(files), "argument", "arguments"))
	case files[0] == "-" && files[1] == "-":
		return misuse(c, "only one of OLD and NEW can be -, which is stdin")
	}
	return nil
}

// checkDiff refuses the flags that say where the node is. The environment may name a runtime.
func (l commandLine) checkDiff() error {
	for _, f := range l.flags {
		if l.command == "diff" && slices.Contains([]string{"snapshot", "runtime-endpoint", "host-root"}, f.name) {
			return &usageError{command: l.command, problem: "diff compares two files and asks no node: flag --" + f.name + " has no meaning"}
		}
	}
	return nil
}

// diffPages writes what changed, by node, containers and sockets.
func diffPages(w io.Writer, d diffAnswer, o output) {
	findings := map[subjectKey][]findingChange{}
	for _, f := range d.Findings {
		findings[keyOf(f.Subject)] = append(findings[keyOf(f.Subject)], f)
	}
	if d.Rebooted {
		say(w, "The node was started again in between.\n\n")
	}
	if node := findings[subjectKey{}]; len(d.Node) > 0 || len(node) > 0 {
		say(w, "changed   the node\n")
		factChanges(w, d.Node, o)
		findingChanges(w, node, o)
	}
	told := map[subjectKey]bool{{}: true}
	for _, c := range d.Containers {
		key := subjectKey{c.Namespace, c.ID}
		told[key] = true
		name := c.Name
		if c.Kind == inspect.KindSandbox {
			name += " (sandbox)"
		}
		title := fmt.Sprintf("%-9s ", c.Change) + plain(name).text + "  " + plain(o.id(c.ID)).text
		if c.OldID != "" {
			title += ", was " + plain(o.id(c.OldID)).text
		}
		say(w, title, "\n")
		factChanges(w, c.Facts, o)
		findingChanges(w, findings[key], o)
	}
	for _, f := range d.Findings { // of containers of which no fact changed: the node's facts may decide
		key := keyOf(f.Subject)
		if !told[key] {
			told[key] = true
			say(w, "changed   ", plain(f.Subject.String()).text, "  ", plain(o.id(f.Subject.ID)).text, "\n")
			findingChanges(w, findings[key], o)
		}
	}
	for _, k := range d.Sockets {
		say(w, fmt.Sprintf("%-9s ", k.Change), "socket ", plain(k.Path).text, "  ", plain(string(k.Kind)).text, "\n")
		factChanges(w, k.Facts, o)
		say(w, "\n")
	}
	say(w, wrap(d.summary(), o.terminal.width, ""), "\n")
}

func factChanges(w io.Writer, list []inspect.FactChange, o output) {
	t := table{}
	for _, f := range list {
		t.rows = append(t.rows, []cell{plain("  " + f.Fact), plain(f.Level), changeCell(f, o)})
	}
	t.write(w, o.color)
}

// changeCell tells what came and went of a list, and otherwise both values.
func changeCell(f inspect.FactChange, o output) cell {
	if len(f.Added)+len(f.Removed) > 0 && f.New.State == f.Old.State {
		var words []string
		for _, item := range f.Removed {
			words = append(words, "-"+shorten(item, o))
		}
		for _, item := range f.Added {
			words = append(words, "+"+shorten(item, o))
		}
		return plain(strings.Join(words, " "))
	}
	text := changedText(f.Old, o) + " → " + changedText(f.New, o)
	if f.New.State == inspect.Unknown.String() {
		return styled(text, styleUnknown)
	}
	return plain(text)
}

func changedText(f inspect.ChangedFact, o output) string {
	switch {
	case f.State == inspect.Absent.String():
		return "none"
	case f.State != inspect.Unknown.String():
		return shorten(quoteEmpty(f.Value), o)
	case f.Value == "" || !o.wide() && !o.whole:
		return f.State
	}
	return f.State + " (" + f.Value + ")"
}

func shorten(text string, o output) string {
	const most = 60
	if o.whole || o.wide() {
		return text
	}
	return cut(text, most)
}

func findingChanges(w io.Writer, list []findingChange, o output) {
	t := table{}
	for _, f := range list {
		what := cell{text: "  " + string(f.Change)}
		if f.Worse {
			what.style = styleBad
		}
		t.rows = append(t.rows, []cell{what, severityCell(f.Severity), plain(f.Rule), plain(f.Title + findingBefore(f))})
	}
	t.write(w, o.color)
	say(w, "\n")
}

// findingBefore tells what a finding was, where the kind of the change does not.
func findingBefore(f findingChange) string {
	switch {
	case f.Old == nil || f.New == nil:
		return ""
	case f.Change == audit.FindingWorse, f.Change == audit.FindingBetter:
		return ": " + f.Old.Severity.String() + " → " + f.New.Severity.String()
	case f.Change == audit.FindingUnknown:
		return ": was " + f.Old.Verdict.String() + ", unknown: " + firstCause(finding{Finding: audit.Finding{Result: *f.New}})
	case f.Change == audit.FindingKnown:
		return ": was unknown, " + f.New.Verdict.String()
	case f.Change == audit.FindingNew && f.Old.Verdict == audit.Unknown:
		return ": was unknown"
	}
	return ""
}

// summary counts what changed: "2 containers new, 1 gone; 3 findings new, 1 fixed."
func (d diffAnswer) summary() string {
	containers, findings := map[string]int{}, map[string]int{}
	for _, c := range d.Containers {
		containers[string(c.Change)]++
	}
	for _, f := range d.Findings {
		findings[string(f.Change)]++
	}
	var parts []string
	if len(d.Node) > 0 {
		parts = append(parts, count(len(d.Node), "fact", "facts")+" of the node changed")
	}
	kinds := []inspect.ChangeKind{inspect.ChangeNew, inspect.ChangeGone, inspect.ChangeNotSeen, inspect.ChangeReplaced, inspect.ChangeChanged}
	parts = append(parts, countKinds("containers", kinds, containers)...)
	if len(d.Sockets) > 0 {
		parts = append(parts, count(len(d.Sockets), "socket", "sockets")+" changed")
	}
	parts = append(parts, countKinds("findings", []audit.FindingChangeKind{
		audit.FindingNew, audit.FindingWorse, audit.FindingUnknown, audit.FindingKnown, audit.FindingBetter, audit.FindingFixed,
		audit.FindingGone, audit.FindingNotSeen,
	}, findings)...)
	if len(parts) == 0 {
		return "Nothing changed."
	}
	return strings.Join(parts, "; ") + "."
}

func countKinds[K ~string](what string, kinds []K, n map[string]int) []string {
	var words []string
	for _, k := range kinds {
		if n[string(k)] > 0 {
			words = append(words, strconv.Itoa(n[string(k)])+" "+string(k))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return []string{what + ": " + strings.Join(words, ", ")}
}
