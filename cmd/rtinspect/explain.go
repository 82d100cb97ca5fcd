package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect/audit"
)

func (v *invocation) explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "explain the rules of audit: what they mean and what to change",
		ArgsUsage: "[RULE…]",
		Description: "For a rule: what it means and what the verdict stands on, what to change, and which benchmarks, techniques, " +
			"vulnerabilities and manual pages it goes by. Without arguments: all rules, a line each, the attack paths first. SEVERITY " +
			"is the highest that a finding of the rule can have. Nothing is contacted. JSON and YAML are an array, of one rule too.",
		UsageText: "rtinspect explain\nrtinspect explain privileged host-pid\nrtinspect explain -o wide\n" +
			"rtinspect explain -o json | jq '.[] | select(.severity == \"critical\")'",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the ids of rules only, a line each"},
			&cli.BoolFlag{Name: "no-headers", Usage: "print no header line above a table"},
		},
		Action: v.explain,
	}
}

func (v *invocation) explain(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	named := c.Args().Slice()
	if err := checkRules(c, named, ""); err != nil {
		return err
	}
	rules := audit.Rules()
	if len(named) > 0 {
		rules = rulesOf(named)
	}
	return o.write(&v.answer, answer{
		data: rules,
		ids:  ruleIDs(rules),
		text: func(w io.Writer, o output) {
			if len(named) == 0 {
				o.table(w, ruleTable(rules, o))
				return
			}
			for n, r := range rules {
				if n > 0 {
					say(w, "\n")
				}
				rulePage(w, r, o)
			}
		},
	})
}

// rulesOf returns the rules with these ids.
func rulesOf(ids []string) []audit.Rule {
	rules := []audit.Rule{}
	for _, id := range ids {
		if r, ok := audit.Lookup(id); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func ruleIDs(rules []audit.Rule) []string {
	var list []string
	for _, r := range rules {
		list = append(list, r.ID)
	}
	return list
}

// checkRules refuses the id of a rule that there is not. Where tells where it was given, such as " in --rule".
func checkRules(c *cli.Context, ids []string, where string) error {
	for _, id := range ids {
		if _, ok := audit.Lookup(id); ok {
			continue
		}
		more := didYouMean(id, ruleIDs(audit.Rules()))
		if more == "" {
			more = ": rtinspect explain lists all"
		}
		return misuse(c, "unknown rule "+quote(id)+where+more)
	}
	return nil
}

func ruleTable(rules []audit.Rule, o output) table {
	t := table{header: []string{"RULE", "SEVERITY", "ABOUT", "TITLE"}}
	if o.wide() {
		t.header = append(t.header, "REFERENCES")
	}
	for _, r := range rules {
		row := []cell{plain(r.ID), severityCell(r.Severity), plain(about(r)), plain(r.Title)}
		if o.wide() {
			row = append(row, orDash(references(r)))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// about tells what a rule judges.
func about(r audit.Rule) string {
	if r.Node {
		return "node"
	}
	return "container"
}

func references(r audit.Rule) string {
	words := make([]string, len(r.References))
	for n, reference := range r.References {
		words[n] = reference.String()
	}
	return strings.Join(words, ", ")
}

// rulePage writes everything about a rule.
func rulePage(w io.Writer, r audit.Rule, o output) {
	const indent = 12 // up to the texts: "references  "
	severity := severityCell(r.Severity)
	for _, part := range []struct {
		title string
		text  cell
	}{
		{"rule", plain(r.ID)},
		{"title", plain(r.Title)},
		{"severity", cell{"up to " + severity.text, severity.style}},
		{"about", plain(about(r))},
		{"meaning", plain(r.Meaning)},
		{"remedy", plain(r.Remedy)},
		{"references", orDash(references(r))},
		{"covers", orDash(strings.Join(r.Covers, ", "))},
	} {
		part.text.text = wrap(part.text.text, min(o.terminal.width, helpWidth)-indent, strings.Repeat(" ", indent))
		say(w, fmt.Sprintf("%-*s", indent, part.title), part.text.paint(o.color), "\n")
	}
}
