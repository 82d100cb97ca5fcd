package main

import (
	"context"
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

func standardFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "standard", Usage: "sum up by the controls of `STANDARD`: " + strings.Join(audit.StandardNames(), ", ")},
		&cli.StringFlag{Name: "pss-version", Value: "latest", Usage: "the `VERSION` of the Pod Security Standards: latest or v1.N"},
	}
}

// notWithStandard are the flags of audit that are about findings: a control has no severity and no rule of its own.
var notWithStandard = []string{"severity", "rule", "skip-rule", "fail-on", "baseline", "write-baseline"}

// notForStandard are the formats of findings: a control has no severity.
var notForStandard = []string{formatSARIF, formatHTML}

// assessment reads the flags of a standard; ok is false without one.
func assessment(c *cli.Context) (o audit.AssessOptions, ok bool, err error) {
	name := c.String("standard")
	if !c.IsSet("standard") {
		if c.IsSet("pss-version") {
			return o, false, misuse(c, "flag --pss-version needs --standard pss-baseline or pss-restricted")
		}
		return o, false, nil
	}
	if o.Standard, err = audit.ParseStandard(name); err != nil {
		return o, false, misuse(c, "flag --standard is "+quote(name)+": want "+strings.Join(audit.StandardNames(), ", "))
	}
	if o.Version, err = audit.ParsePSSVersion(c.String("pss-version")); err != nil {
		return o, false, misuse(c, "flag --pss-version: "+err.Error())
	}
	if pods := o.Standard == audit.PSSBaseline || o.Standard == audit.PSSRestricted; c.IsSet("pss-version") && !pods {
		return o, false, misuse(c, "flag --pss-version needs --standard pss-baseline or pss-restricted")
	}
	for _, other := range notWithStandard {
		if c.IsSet(other) {
			return o, false, misuse(c, "flags --standard and --"+other+" exclude each other")
		}
	}
	if c.Bool("fail-on-unknown") && !c.Bool("exit-code") {
		return o, false, misuse(c, "flag --fail-on-unknown needs --exit-code")
	}
	return o, true, nil
}

// assess answers audit --standard.
func (v *invocation) assess(c *cli.Context, o output, node inspect.Options, by audit.AssessOptions) error {
	refs := c.Args().Slice()
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		snapshot, err := s.Snapshot(ctx)
		among, refsErr := amongst(snapshot, refs)
		by.Among = among
		a := audit.Assess(snapshot, by)
		written := o.write(&v.answer, answer{
			data: a,
			text: func(w io.Writer, o output) { assessmentPage(w, a, o) },
			documents: map[string]func(io.Writer) error{
				formatJUnit: func(w io.Writer) error { return writeJUnitStandard(w, a, refsErr) },
			},
		})
		return errors.Join(written, err, refsErr, unknownControls(a), gateOf(c, a))
	})
}

// amongst chooses the named containers; nil chooses all.
func amongst(s inspect.Snapshot, refs []string) (func(inspect.Container) bool, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	s.Missing = nil // what could not be listed is told already
	chosen, err := s.Details(refs...)
	return func(c inspect.Container) bool {
		return slices.ContainsFunc(chosen, func(r inspect.Report) bool { return r.Namespace == c.Namespace && r.ID == c.ID })
	}, err
}

// tally counts the judgments of a control.
type tally struct{ failed, unknown, passed, unseen int }

func tallyOf(list []audit.Judgment) tally {
	var t tally
	for _, j := range list {
		switch {
		case j.Unseen != "":
			t.unseen++
		case j.Verdict == audit.Fail:
			t.failed++
		case j.Verdict == audit.Unknown:
			t.unknown++
		case j.Verdict == audit.Pass:
			t.passed++
		}
	}
	return t
}

func unknownControls(a audit.Assessment) error {
	n := 0
	for _, c := range a.Controls {
		n += tallyOf(c.Judgments).unknown
	}
	if n == 0 {
		return nil
	}
	return errors.New(count(n, "verdict is unknown", "verdicts are unknown"))
}

// gateOf returns a findingsError when a control fails, with --exit-code.
func gateOf(c *cli.Context, a audit.Assessment) error {
	failed, unknown := 0, 0
	for _, control := range a.Controls {
		t := tallyOf(control.Judgments)
		switch {
		case t.failed > 0:
			failed++
		case t.unknown > 0 && c.Bool("fail-on-unknown"):
			unknown++
		}
	}
	if !c.Bool("exit-code") || failed+unknown == 0 {
		return nil
	}
	text := count(failed, "control fails", "controls fail")
	if unknown > 0 {
		text += ", and " + strconv.Itoa(unknown) + " unknown could"
	}
	return &findingsError{text}
}

// assessmentPage writes the levels of pods, the controls, and a summary.
func assessmentPage(w io.Writer, a audit.Assessment, o output) {
	if len(a.Pods) > 0 {
		o.table(w, podTable(a))
		say(w, "\n")
	}
	o.table(w, controlTable(a))
	if o.wide() {
		for _, c := range a.Controls {
			controlDetails(w, c, o)
		}
	}
	say(w, "\n", wrap(assessmentSummary(a), o.terminal.width, ""), "\n")
}

func podTable(a audit.Assessment) table {
	t := table{header: []string{"POD", "LEVEL", "FAILS"}}
	for _, p := range a.Pods {
		t.rows = append(t.rows, []cell{plain(p.Subject.Name), podLevelCell(p), orDash(strings.Join(failedChecks(a, p), ", "))})
	}
	return t
}

// podLevelCell tells a level, or the lowest and highest that it may be.
func podLevelCell(p audit.PodLevel) cell {
	switch {
	case p.Level != p.AtMost:
		return styled(p.Level.String()+" to "+p.AtMost.String()+": unknown", styleUnknown)
	case p.Level == audit.Privileged:
		return styled(p.Level.String(), styleBad)
	}
	return plain(p.Level.String())
}

// failedChecks are those of the standard's level and below.
func failedChecks(a audit.Assessment, p audit.PodLevel) []string {
	var list []string
	for _, c := range p.Checks {
		if c.Verdict == audit.Fail && c.Level <= levelOf(a) {
			list = append(list, c.ID)
		}
	}
	return list
}

// levelOf is the level of the Pod Security Standards that is asked for.
func levelOf(a audit.Assessment) audit.Level {
	if a.Standard == audit.PSSRestricted {
		return audit.Restricted
	}
	return audit.Baseline
}

func controlTable(a audit.Assessment) table {
	t := table{header: []string{"CONTROL", "VERDICT", "FAIL", "UNKNOWN", "PASS", "UNSEEN", "DEMANDS"}}
	for _, c := range a.Controls {
		n := tallyOf(c.Judgments)
		row := []cell{plain(c.ID), verdictCell(c)}
		for _, number := range []int{n.failed, n.unknown, n.passed, n.unseen} {
			row = append(row, plain(strconv.Itoa(number)))
		}
		t.rows = append(t.rows, append(row, plain(c.Title)))
	}
	return t
}

func verdictCell(c audit.ControlResult) cell {
	switch c.Verdict {
	case audit.Fail:
		return styled("fail", styleBad)
	case audit.Unknown:
		return styled("unknown", styleUnknown)
	case audit.Pass:
		return plain("pass")
	case audit.NotApplicable:
	}
	return plain("-")
}

// controlDetails tells who fails a control or may, by which facts, and what is not seen.
func controlDetails(w io.Writer, c audit.ControlResult, o output) {
	line := func(indent, text string) {
		say(w, indent, wrap(escapeLine(text), o.terminal.width-len(indent)-2, indent+"  "), "\n")
	}
	say(w, "\n", c.ID, ": ", c.Title, "\n")
	if c.Limits != "" {
		line("  ", "note: "+c.Limits)
	}
	for _, j := range c.Judgments {
		if j.Verdict != audit.Fail && j.Verdict != audit.Unknown {
			continue
		}
		text := j.Subject.String() + ": " + j.Verdict.String()
		if j.Unseen != "" {
			text = j.Subject.String() + ": not seen: " + j.Unseen
		}
		if len(j.Rules) > 0 {
			text += " by " + strings.Join(j.Rules, ", ")
		}
		line("  ", text)
		for _, cause := range j.Causes {
			line("    ", "because "+strings.ReplaceAll(cause, "\n", "; "))
		}
		if j.Unseen != "" {
			continue
		}
		for _, e := range j.Evidence {
			text := e.Fact + ": " + e.Value
			if e.Source != "" {
				text += " (" + e.Source + ")"
			}
			line("    ", text)
		}
	}
}

// assessmentSummary counts the controls: "PSS restricted v1.37: 9 of 15 controls fail, 2 are unknown; 1 of 4 pods meets it."
func assessmentSummary(a audit.Assessment) string {
	verdicts := map[audit.Verdict]int{}
	for _, c := range a.Controls {
		verdicts[c.Verdict]++
	}
	text := string(a.Standard)
	if a.Version != "" {
		text += " " + a.Version
	}
	text += fmt.Sprintf(": of %s %d failed, %d unknown", count(len(a.Controls), "control", "controls"), verdicts[audit.Fail], verdicts[audit.Unknown])
	if len(a.Pods) == 0 {
		return text + "."
	}
	meet := 0
	for _, p := range a.Pods {
		if p.Level >= levelOf(a) {
			meet++
		}
	}
	return fmt.Sprintf("%s; of %s %d at this level, as far as a node shows it.", text, count(len(a.Pods), "pod", "pods"), meet)
}
