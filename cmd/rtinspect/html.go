package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

//go:embed html
var htmlFiles embed.FS

// Every text in these is escaped for lines: what turns the direction of writing or cannot be seen is spelled. The template escapes it
// for HTML.

// htmlPage is what the template shows.
type htmlPage struct {
	Policy   string // the content security policy: nothing is loaded, and no script but the page's own runs
	Style    template.CSS
	Script   template.JS
	Headline string
	Summary  string
	Version  string
	Least    string
	Hidden   bool // something is below that
	Facts    []htmlFact
	Tiles    []htmlCount
	Notices  []htmlNotice
	Unknown  []htmlUnknown
	Decided  bool // no verdict at all is unknown
	Areas    []audit.Area
	Rows     []htmlRow
	Rules    []htmlRule
	Subjects []htmlSubject
	// Quiet are those without findings, Ended those that have ended.
	Quiet, Ended []string
	Severities   string
}

type htmlFact struct{ Name, Value string }

// htmlCount is a number of findings of a kind: a severity, unknown or accepted.
type htmlCount struct {
	Kind  string
	Count int
}

// htmlNotice says that something is missing.
type htmlNotice struct {
	Kind, Title, Text string
	Lines             []string
}

// htmlUnknown is what is unknown for one reason.
type htmlUnknown struct {
	Kind, Severity, Cause string
	RuleCount, Rules      string
	Subjects              []htmlLink
}

type htmlLink struct{ Anchor, Name string }

// htmlRow is a line of the matrix.
type htmlRow struct {
	htmlLink
	Linked bool // there are findings to link to
	Cells  []htmlCell
}

type htmlCell struct{ Class, Mark, Words string }

// htmlRule sums up the findings of a rule of one severity.
type htmlRule struct {
	Kind, Severity, Rule, Title, Remedy string
	Count                               int

	level audit.Severity
}

// htmlSubject is a container, or the node, with its findings.
type htmlSubject struct {
	htmlLink
	About    []string
	Counts   []htmlCount
	Findings []htmlFinding
	Settings []htmlSetting
}

type htmlFinding struct {
	Kind, Severity, Rule, Title, Why string
	Accepted                         string
	Possible                         bool
	Meaning, Remedy, References      string
	Causes                           []string
	Evidence                         []htmlEvidence
	Legs                             []htmlLeg
	Parts                            []htmlFinding
	// Rest are the rules that are unknown for the same reason.
	Rest []htmlFinding
}

type htmlLeg struct {
	Title, Break string
	Cheapest     bool
	Evidence     []htmlEvidence
}

// htmlEvidence is a fact, with its level apart: requested, declared or in force.
type htmlEvidence struct{ Setting, Level, Value, Source string }

type htmlSetting struct {
	Name   string
	Inner  bool
	Levels []htmlLevel
}

type htmlLevel struct{ Class, Text string }

// kindUnknown and kindAccepted stand in place of a severity.
const (
	kindUnknown  = "unknown"
	kindAccepted = "accepted"
)

// writeHTML writes the findings as one page that needs nothing else.
func writeHTML(w io.Writer, j judgment, b build) error {
	t, err := template.ParseFS(htmlFiles, "html/page.tmpl")
	if err != nil {
		return err
	}
	style, err := htmlFiles.ReadFile("html/page.css")
	if err != nil {
		return err
	}
	script, err := htmlFiles.ReadFile("html/page.js")
	if err != nil {
		return err
	}
	p := newPage(j, b)
	p.Style, p.Script = template.CSS(style), template.JS(script) //nolint:gosec // both are our own
	p.Policy = "default-src 'none'; style-src " + contentHash(style) + "; script-src " + contentHash(script) +
		"; img-src data:; base-uri 'none'; form-action 'none'"
	var page bytes.Buffer
	if err := t.ExecuteTemplate(&page, "page.tmpl", p); err != nil {
		return err
	}
	_, err = w.Write(page.Bytes())
	return err
}

// contentHash names a text in a content security policy.
func contentHash(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func newPage(j judgment, b build) htmlPage {
	rules := map[string]audit.Rule{}
	for _, r := range audit.Rules() {
		rules[r.ID] = r
	}
	anchors := map[subjectKey]string{}
	for n, s := range j.report.Subjects {
		anchors[keyOf(s)] = "s" + strconv.Itoa(n)
	}
	p := htmlPage{
		Headline: j.headline(), Summary: escapeLine(j.summary()), Version: escapeLine(b.Version), Least: j.Least.String(),
		Facts: j.pageFacts(), Tiles: j.tiles(), Notices: j.notices(), Rules: byRule(j.Findings, rules), Areas: areasOf(j.rules),
	}
	for level, n := range j.Summary.Failed {
		p.Hidden = p.Hidden || level < j.Least && n+j.Summary.Unknown[level] > 0
	}
	for _, group := range bySubject(j.Findings) {
		p.Subjects = append(p.Subjects, j.htmlSubject(group, anchors, rules))
	}
	p.Unknown = j.unknowns(anchors)
	p.Decided = !slices.ContainsFunc(j.report.Subjects, func(s audit.Subject) bool {
		return slices.ContainsFunc(s.Results, func(r audit.Result) bool { return r.Verdict == audit.Unknown })
	})
	p.rows(j, anchors, rules)
	var means []string
	for _, level := range slices.Backward(audit.Severities()) {
		means = append(means, level.String()+", "+severityMeaning(level))
	}
	p.Severities = strings.Join(means, "; ")
	return p
}

// severityMeaning says what a severity stands for.
func severityMeaning(s audit.Severity) string {
	switch s {
	case audit.Critical:
		return "whoever runs code in the container can take over the node"
	case audit.High:
		return "it takes one more thing, or secrets of the node lie open"
	case audit.Medium:
		return "with one flaw elsewhere it leads out or harms others"
	case audit.Low:
		return "a measure is missing"
	case audit.Info:
	}
	return "worth to know"
}

// kindOf is the kind that a finding counts under.
func kindOf(r audit.Result) string {
	switch {
	case r.Accepted != nil:
		return kindAccepted
	case r.Verdict == audit.Unknown:
		return kindUnknown
	}
	return r.Severity.String()
}

// kinds are all kinds, the worst first.
func kinds() []string {
	list := severities()
	slices.Reverse(list)
	return append(list, kindUnknown, kindAccepted)
}

// counts counts findings by their kind.
func counts(findings []finding) map[string]int {
	n := map[string]int{}
	for _, f := range findings {
		n[kindOf(f.Result)]++
	}
	return n
}

// headline tells the worst in a few words.
func (j judgment) headline() string {
	n := counts(j.Findings)
	for _, level := range slices.Backward(audit.Severities()) {
		name := level.String()
		if n[name] == 0 {
			continue
		}
		subjects := map[subjectKey]bool{}
		for _, f := range j.Findings {
			if kindOf(f.Result) == name {
				subjects[keyOf(f.Subject)] = true
			}
		}
		node := subjects[subjectKey{}]
		delete(subjects, subjectKey{})
		where := "on the node"
		if len(subjects) > 0 {
			where = "in " + count(len(subjects), "container", "containers")
			if node {
				where += " and on the node"
			}
		}
		return count(n[name], name+" finding ", name+" findings ") + where
	}
	text := "Nothing found"
	if n[kindAccepted] > 0 {
		text = "Nothing found but what is accepted"
	}
	if n[kindUnknown] > 0 {
		text += ", and " + count(n[kindUnknown], "verdict", "verdicts") + " unknown"
	}
	if len(j.Missing) > 0 || j.unfound != nil {
		text += "; containers may be missing"
	}
	return text
}

// pageFacts tell when and where it was seen, and what was asked.
func (j judgment) pageFacts() []htmlFact {
	facts := []htmlFact{{"Seen", j.Time.UTC().Format(time.DateTime) + " UTC"}}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, htmlFact{name, escapeLine(value)})
		}
	}
	if r := j.node.Runtime; r != nil {
		add("Runtime", r.Name+" "+r.Version)
	} else {
		add("Runtime", "none asked: from the kernel alone")
	}
	add("Kernel", showFact(j.node.Kernel, false, func(v string) string { return "Linux " + v }).text)
	add("Judged by", count(len(j.rules), "rule", "rules")+" of "+strconv.Itoa(len(audit.Rules())))
	add("Shown", "from "+j.Least.String())
	return facts
}

// tiles count what is shown, by kind.
func (j judgment) tiles() []htmlCount {
	n := counts(j.Findings)
	var tiles []htmlCount
	for _, kind := range kinds() {
		var level audit.Severity
		isSeverity := level.UnmarshalText([]byte(kind)) == nil
		if isSeverity && level < j.Least || kind == kindAccepted && n[kind] == 0 {
			continue
		}
		tiles = append(tiles, htmlCount{kind, n[kind]})
	}
	return tiles
}

// notices say what may be missing.
func (j judgment) notices() []htmlNotice {
	var list []htmlNotice
	add := func(title, text string, problems []string) {
		if len(problems) == 0 {
			return
		}
		escaped := make([]string, len(problems))
		for n, problem := range problems {
			escaped[n] = escapeLine(problem)
		}
		list = append(list, htmlNotice{kindUnknown, title, text, escaped})
	}
	var entries []string
	for _, e := range j.Baseline {
		if e.State == audit.EntryExpired || e.State == audit.EntryUnused {
			entries = append(entries, fmt.Sprintf("line %d, %s: %s: %s", e.Line, e.Rule, e.State, e.Note))
		}
	}
	add("Containers may be missing", "What is not listed is not judged.", j.Missing)
	add("Sockets may be missing", "A container may reach more sockets of container runtimes than were found.", j.MissingSockets)
	if j.unfound != nil {
		var problems []string
		for _, part := range parts(j.unfound) {
			problems = append(problems, part.Error())
		}
		add("Not every container was found", "These were named on the command line.", problems)
	}
	add("Entries of the baseline accept nothing", "They have expired, or nothing was found for them.", entries)
	return list
}

// unknowns groups what is unknown by its reason.
func (j judgment) unknowns(anchors map[subjectKey]string) []htmlUnknown {
	var list []htmlUnknown
	var named [][]string
	place := map[string]int{}
	for _, f := range j.Findings {
		if kindOf(f.Result) != kindUnknown {
			continue
		}
		why := factName(f) + reason(f)
		n, known := place[why]
		if !known {
			n = len(list)
			place[why] = n
			list = append(list, htmlUnknown{Kind: kindUnknown, Severity: f.Severity.String(), Cause: escapeLine(factName(f) + reason(f))})
			named = append(named, nil)
		}
		if !slices.Contains(named[n], f.Rule) {
			named[n] = append(named[n], f.Rule)
		}
		link := htmlLink{anchors[keyOf(f.Subject)], j.name(f.Subject)}
		if !slices.Contains(list[n].Subjects, link) {
			list[n].Subjects = append(list[n].Subjects, link)
		}
	}
	for n := range list {
		list[n].RuleCount = count(len(named[n]), "rule", "rules")
		list[n].Rules = strings.Join(named[n], ", ")
	}
	return list
}

// factName is the name of the fact that a first cause is about, with a colon.
func factName(f finding) string {
	name, _, ok := strings.Cut(firstCause(f), ": ")
	if !ok {
		return ""
	}
	return name + ": "
}

// name names a subject, by its id where it has no name.
func (j judgment) name(s audit.Subject) string {
	if !s.Node && s.Name == "" {
		return escapeLine(s.ID)
	}
	return escapeLine(s.String())
}

// areasOf are the areas of rules, in their order.
func areasOf(rules []audit.Rule) []audit.Area {
	return slices.DeleteFunc(audit.Areas(), func(a audit.Area) bool {
		return !slices.ContainsFunc(rules, func(r audit.Rule) bool { return r.Area == a })
	})
}

// rows makes the matrix: those with findings first, in their order, then the others; and tells who has none.
func (p *htmlPage) rows(j judgment, anchors map[subjectKey]string, rules map[string]audit.Rule) {
	subjects := map[subjectKey]audit.Subject{}
	var order []subjectKey
	for _, group := range bySubject(j.Findings) {
		order = append(order, keyOf(group[0].Subject))
	}
	found := len(order)
	for _, s := range j.report.Subjects {
		subjects[keyOf(s)] = s
		if !slices.Contains(order[:found], keyOf(s)) {
			order = append(order, keyOf(s))
		}
	}
	for n, key := range order {
		s := subjects[key]
		if !s.Node && j.details[key].PID.Known() == inspect.Absent {
			p.Ended = append(p.Ended, j.name(s))
			continue
		}
		row := htmlRow{htmlLink{anchors[key], j.name(s)}, n < found, nil}
		for _, area := range p.Areas {
			row.Cells = append(row.Cells, cellOf(s, area, rules, j.Least))
		}
		p.Rows = append(p.Rows, row)
		if n >= found {
			p.Quiet = append(p.Quiet, j.name(s))
		}
	}
}

// cellOf sums up what the rules of an area say of a subject.
func cellOf(s audit.Subject, area audit.Area, rules map[string]audit.Rule, least audit.Severity) htmlCell {
	worst, failed, unknown := audit.Info, 0, 0
	below, accepted, passed := false, false, false
	for _, r := range s.Results {
		if rules[r.Rule].Area != area {
			continue
		}
		switch {
		case r.Verdict == audit.Pass:
			passed = true
		case r.Verdict == audit.NotApplicable:
		case acceptance(s, r) != nil:
			accepted = true
		case r.Severity < least:
			below = true
		case r.Verdict == audit.Unknown:
			unknown++
		default:
			failed++
			worst = max(worst, r.Severity)
		}
	}
	also := ""
	if unknown > 0 {
		also = ", " + strconv.Itoa(unknown) + " unknown"
	}
	switch {
	case failed > 0:
		c := htmlCell{worst.String(), map[audit.Severity]string{
			audit.Critical: "C", audit.High: "H", audit.Medium: "M", audit.Low: "L", audit.Info: "i",
		}[worst], worst.String() + also}
		if unknown > 0 {
			c.Class += " both"
		}
		return c
	case unknown > 0:
		return htmlCell{kindUnknown, "?", strconv.Itoa(unknown) + " unknown"}
	case accepted:
		return htmlCell{kindAccepted, "A", kindAccepted}
	case below:
		return htmlCell{"", "·", "only below " + least.String()}
	case passed:
		return htmlCell{"", "✓", "passed"}
	}
	return htmlCell{"", "–", "no rule applies"}
}

// byRule sums up what failed by rule and severity, the worst and the most frequent first.
func byRule(findings []finding, rules map[string]audit.Rule) []htmlRule {
	var list []htmlRule
	for _, f := range findings {
		if kindOf(f.Result) != f.Severity.String() {
			continue
		}
		n := slices.IndexFunc(list, func(r htmlRule) bool { return r.Rule == f.Rule && r.level == f.Severity })
		if n < 0 {
			n = len(list)
			list = append(list, htmlRule{
				Kind: f.Severity.String(), Severity: f.Severity.String(), Rule: f.Rule, Title: f.Title, Remedy: rules[f.Rule].Remedy, level: f.Severity,
			})
		}
		list[n].Count++
	}
	slices.SortStableFunc(list, func(a, b htmlRule) int { return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(b.Count, a.Count)) })
	return list
}

func (j judgment) htmlSubject(group []finding, anchors map[subjectKey]string, rules map[string]audit.Rule) htmlSubject {
	s := group[0].Subject
	shown := htmlSubject{htmlLink: htmlLink{anchors[keyOf(s)], j.name(s)}}
	n := counts(group)
	for _, kind := range kinds() {
		if n[kind] > 0 {
			shown.Counts = append(shown.Counts, htmlCount{kind, n[kind]})
		}
	}
	var alike [][]finding
	place := map[string]int{}
	for _, f := range group {
		if kindOf(f.Result) != kindUnknown {
			shown.Findings = append(shown.Findings, htmlFindingOf(f, rules))
			continue
		}
		n, known := place[reason(f)]
		if !known {
			n = len(alike)
			place[reason(f)] = n
			alike = append(alike, nil)
		}
		alike[n] = append(alike[n], f)
	}
	for _, list := range alike {
		shown.Findings = append(shown.Findings, htmlUnknownOf(list, rules))
	}
	if s.Node {
		return shown
	}
	r := j.details[keyOf(s)]
	for _, text := range []string{
		r.Image, factCell(r.Tier, true).text, labeled("pid ", showFact(r.PID, false, strconv.Itoa).text), r.Runtime, labeled("containerd namespace ", r.Namespace), s.ID,
	} {
		if text != "" {
			shown.About = append(shown.About, escapeLine(text))
		}
	}
	shown.Settings = htmlSettings(r)
	return shown
}

// labeled puts a label before a text that is not empty.
func labeled(label, text string) string {
	if text == "" {
		return ""
	}
	return label + text
}

func htmlFindingOf(f finding, rules map[string]audit.Rule) htmlFinding {
	rule := rules[f.Rule]
	h := htmlResult(f.Title, f.Result)
	h.Why = escapeLine(because(f, output{}))
	h.Meaning, h.Remedy, h.References = rule.Meaning, rule.Remedy, references(rule)
	if f.Accepted != nil {
		h.Accepted = escapeLine(acceptedText(*f.Accepted))
	}
	if rule.Path && len(f.Legs) > 0 {
		h.Remedy = "" // each leg has its own
	}
	for _, leg := range f.Legs {
		h.Legs = append(h.Legs, htmlLeg{leg.Title, leg.Break, leg.Cheapest, htmlEvidenceOf(leg.Evidence)})
	}
	for _, part := range f.Parts {
		h.Parts = append(h.Parts, htmlResult(rules[part.Rule].Title, part))
	}
	return h
}

// htmlResult shows what all results have.
func htmlResult(title string, r audit.Result) htmlFinding {
	h := htmlFinding{
		Kind: kindOf(r), Severity: r.Severity.String(), Rule: r.Rule, Title: title, Possible: r.Possible, Evidence: htmlEvidenceOf(r.Evidence),
	}
	if r.Verdict != audit.Unknown {
		return h
	}
	for _, cause := range r.Causes {
		h.Causes = append(h.Causes, escapeLine(strings.ReplaceAll(cause, "\n", "; ")))
	}
	return h
}

// htmlUnknownOf shows what is unknown for one reason as one.
func htmlUnknownOf(list []finding, rules map[string]audit.Rule) htmlFinding {
	if len(list) == 1 {
		h := htmlFindingOf(list[0], rules)
		h.Why = "unknown: " + escapeLine(firstCause(list[0]))
		return h
	}
	f := list[0]
	h := htmlFinding{Kind: kindUnknown, Severity: f.Severity.String(), Rule: count(len(list), "rule", "rules"), Title: "unknown", Why: escapeLine(firstCause(f))}
	for _, other := range list {
		h.Rest = append(h.Rest, htmlResult(other.Title, other.Result))
		for _, cause := range other.Causes {
			line := escapeLine(strings.ReplaceAll(cause, "\n", "; "))
			if !slices.Contains(h.Causes, line) {
				h.Causes = append(h.Causes, line)
			}
		}
	}
	return h
}

func htmlEvidenceOf(list []audit.Evidence) []htmlEvidence {
	shown := make([]htmlEvidence, 0, len(list))
	for _, e := range list {
		setting, level := levelOfFact(e.Fact)
		shown = append(shown, htmlEvidence{escapeLine(setting), level, escapeLine(e.Value), escapeLine(e.Source)})
	}
	return shown
}

// levelOfFact takes the level out of the name of a fact: cgroup.inForce.effective is cgroup.effective, in force.
func levelOfFact(name string) (setting, level string) {
	words := strings.Split(name, ".")
	for n, word := range words {
		level, ok := map[string]string{"requested": "requested", "declared": "declared", "inForce": "in force"}[word]
		if ok {
			return strings.Join(slices.Delete(words, n, n+1), "."), level
		}
	}
	return name, ""
}

// htmlSettings is the table of settings of inspect.
func htmlSettings(r inspect.Report) []htmlSetting {
	var list []htmlSetting
	for _, row := range settingsTable(r).rows {
		name := strings.TrimLeft(row[0].text, " ")
		s := htmlSetting{Name: name, Inner: name != row[0].text}
		for _, c := range row[1:] {
			level := htmlLevel{"", c.text}
			if c.style == styleUnknown {
				level.Class = kindUnknown
			}
			s.Levels = append(s.Levels, level)
		}
		list = append(list, s)
	}
	return list
}
