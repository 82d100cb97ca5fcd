package main

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/inspect/audit"
)

// JUnit's elements, as the programs that read them agree on.
type junitSuites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Suites   []junitSuite
}

type junitSuite struct {
	XMLName    xml.Name         `xml:"testsuite"`
	Name       string           `xml:"name,attr"`
	Tests      int              `xml:"tests,attr"`
	Failures   int              `xml:"failures,attr"`
	Errors     int              `xml:"errors,attr"`
	Skipped    int              `xml:"skipped,attr"`
	Timestamp  string           `xml:"timestamp,attr"`
	Properties *junitProperties `xml:"properties"` // nil for none
	Cases      []junitCase
}

type junitProperties struct {
	List []junitProperty `xml:"property"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	XMLName xml.Name      `xml:"testcase"`
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitOutcome `xml:"failure"`
	Error   *junitOutcome `xml:"error"`
	Skipped *junitOutcome `xml:"skipped"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",cdata"`
}

// writeJUnit writes a test suite for each subject and a test for each rule. What is unknown is an error and never passes; so are
// containers that may be missing.
func writeJUnit(w io.Writer, j judgment) error {
	rules := map[string]audit.Rule{}
	for _, r := range j.rules {
		rules[r.ID] = r
	}
	suites := []junitSuite{completeness(j.Missing, j.MissingSockets, j.unfound)}
	for _, s := range j.report.Subjects {
		suite := newSuite(s)
		for _, r := range s.Results {
			suite.Cases = append(suite.Cases, junitResult(suite.Name, rules[r.Rule], r, acceptance(s, r), j.Least))
		}
		suites = append(suites, suite)
	}
	return writeSuites(w, "rtinspect audit", j.Time, suites)
}

// writeJUnitStandard writes a test suite for each subject and a test for each control of a standard.
func writeJUnitStandard(w io.Writer, a audit.Assessment, unfound error) error {
	suites := []junitSuite{completeness(a.Missing, a.MissingSockets, unfound)}
	place := map[subjectKey]int{}
	for _, control := range a.Controls {
		for _, judged := range control.Judgments {
			n, known := place[keyOf(judged.Subject)]
			if !known {
				n = len(suites)
				place[keyOf(judged.Subject)] = n
				suites = append(suites, newSuite(judged.Subject))
			}
			suites[n].Cases = append(suites[n].Cases, junitControl(suites[n].Name, control, judged))
		}
	}
	name := "rtinspect audit, " + string(a.Standard)
	if a.Version != "" {
		name += " " + a.Version
	}
	return writeSuites(w, name, a.Time, suites)
}

// newSuite is the suite of a subject.
func newSuite(s audit.Subject) junitSuite {
	if s.Node {
		return junitSuite{Name: s.String()}
	}
	suite := junitSuite{Name: escapeLine(s.String()), Properties: &junitProperties{}}
	if s.Name == "" {
		suite.Name = escapeLine(s.ID)
	}
	tier, _ := s.Tier.Value()
	for _, p := range []junitProperty{{"id", s.ID}, {"containerd namespace", s.Namespace}, {"kind", string(s.Kind)}, {"tier", string(tier)}} {
		if p.Value != "" {
			suite.Properties.List = append(suite.Properties.List, junitProperty{p.Name, escapeLine(p.Value)})
		}
	}
	return suite
}

// completeness is the suite of what should have been looked at.
func completeness(missing, sockets []string, unfound error) junitSuite {
	suite := junitSuite{Name: "rtinspect"}
	check := func(name string, problems []string) {
		c := junitCase{Name: name, Class: suite.Name}
		if len(problems) > 0 {
			c.Error = &junitOutcome{Message: escapeLine(problems[0]), Type: "missing", Text: lines(problems)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	check("every container was listed", missing)
	check("every socket was looked at", sockets)
	if unfound != nil {
		var problems []string
		for _, part := range parts(unfound) {
			problems = append(problems, part.Error())
		}
		check("every container that was named was found", problems)
	}
	return suite
}

// junitResult is the test of a rule. A failure that is accepted or below the least severity does not fail it, and is not passed
// either.
func junitResult(suite string, rule audit.Rule, r audit.Result, accepted *audit.Acceptance, least audit.Severity) junitCase {
	c := junitCase{Name: r.Rule, Class: suite}
	f := finding{Title: rule.Title, Finding: audit.Finding{Result: r}}
	below := "; below --severity " + least.String()
	switch {
	case r.Verdict == audit.NotApplicable:
		c.Skipped = &junitOutcome{Message: "not applicable: " + escapeLine(r.Reason)}
	case r.Verdict == audit.Pass:
	case accepted != nil:
		c.Skipped = &junitOutcome{Message: escapeLine("accepted: " + acceptedText(*accepted) + ": " + r.Severity.String() + ": " + headline(f))}
	case r.Verdict == audit.Unknown && r.Severity < least:
		c.Skipped = &junitOutcome{Message: escapeLine(r.Severity.String() + "?: unknown: " + firstCause(f) + below)}
	case r.Verdict == audit.Unknown:
		c.Error = &junitOutcome{Message: escapeLine("unknown: " + firstCause(f)), Type: r.Severity.String() + "?", Text: junitText(f, rule)}
	case r.Severity < least:
		c.Skipped = &junitOutcome{Message: escapeLine(r.Severity.String() + ": " + headline(f) + below)}
	default:
		c.Failure = &junitOutcome{Message: escapeLine(headline(f)), Type: r.Severity.String(), Text: junitText(f, rule)}
	}
	return c
}

// acceptance says why a result is accepted: by itself, or with every finding that it is part of. It is nil where it is not.
func acceptance(s audit.Subject, r audit.Result) *audit.Acceptance {
	accepted := r.Accepted
	if accepted != nil {
		return accepted
	}
	for _, whole := range s.Results {
		if !slices.Contains(r.PartOf, whole.Rule) {
			continue
		}
		if accepted = acceptance(s, whole); accepted == nil {
			return nil
		}
	}
	return accepted
}

// junitControl is the test of a control. What no node shows is neither passed nor an error.
func junitControl(suite string, control audit.ControlResult, j audit.Judgment) junitCase {
	c := junitCase{Name: control.ID + " " + control.Title, Class: suite}
	var list []string
	if len(j.Rules) > 0 {
		list = append(list, "by "+strings.Join(j.Rules, ", "))
	}
	for _, cause := range j.Causes {
		list = append(list, "because "+strings.ReplaceAll(cause, "\n", "; "))
	}
	for _, e := range j.Evidence {
		list = append(list, evidenceText(e))
	}
	if control.Limits != "" {
		list = append(list, "note: "+control.Limits)
	}
	switch {
	case j.Unseen != "":
		c.Skipped = &junitOutcome{Message: escapeLine("not seen: " + j.Unseen)}
	case j.Verdict == audit.NotApplicable:
		c.Skipped = &junitOutcome{Message: escapeLine("not applicable: " + j.Reason)}
	case j.Verdict == audit.Fail:
		c.Failure = &junitOutcome{Message: escapeLine("fails: want " + control.Title), Type: "fail", Text: lines(list)}
	case j.Verdict == audit.Unknown:
		c.Error = &junitOutcome{Message: escapeLine("unknown: want " + control.Title), Type: "unknown", Text: lines(list)}
	}
	return c
}

// junitText tells the evidence and the remedy, a line each.
func junitText(f finding, rule audit.Rule) string {
	list := details(f)
	for _, cause := range f.Causes {
		list = append(list, "because "+strings.ReplaceAll(cause, "\n", "; "))
	}
	if len(f.PartOf) > 0 {
		list = append(list, "part of "+strings.Join(f.PartOf, ", "))
	}
	return lines(append(list, "remedy: "+rule.Remedy, "references: "+references(rule)))
}

// lines puts each text in a line of its own, escaped.
func lines(list []string) string {
	escaped := make([]string, len(list))
	for n, text := range list {
		escaped[n] = escapeLine(text)
	}
	return "\n" + strings.Join(escaped, "\n") + "\n"
}

// writeSuites counts the tests and writes them.
func writeSuites(w io.Writer, name string, seen time.Time, list []junitSuite) error {
	all := junitSuites{Name: name, Suites: list}
	for n := range all.Suites {
		s := &all.Suites[n]
		s.Timestamp = seen.UTC().Format("2006-01-02T15:04:05") // in UTC, without saying so: as the format has it
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				s.Failures++
			case c.Error != nil:
				s.Errors++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	document, err := xml.MarshalIndent(all, "", "  ")
	say(w, xml.Header, string(document), "\n")
	return err
}
