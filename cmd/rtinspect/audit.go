package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

// auditName is the name of the command, which has formats of its own.
const auditName = "audit"

func (v *invocation) auditCommand() *cli.Command {
	return &cli.Command{
		Name:      auditName,
		Usage:     "tell what could break out of containers, by which way, and what is unknown",
		ArgsUsage: "[CONTAINER…]",
		Description: "Judges every container, pods' sandboxes included, and the node by the rules that rtinspect explain lists: the " +
			"findings, the worst first, grouped by container, each with what it follows from. A finding that contains others counts " +
			"for all of them. \"?\" behind a severity marks what could not be determined, and the severity that it would have; with the " +
			"same cause, rules share a line. Wide adds the evidence, the conditions of attack paths with how to take each away, and " +
			"what a finding contains. With CONTAINER, only findings of these are shown, and none of the node. JSON and YAML are an " +
			"object. SARIF is what code scanning and editors read: what is unknown is of kind open there. JUnit is what continuous " +
			"integration reads, a suite for each container and a test for each rule, or control of a standard: what is unknown is an error. HTML is one page for people, which loads nothing. The exit status is 0 when all is determined, whatever was found; 1 when containers or sockets may be missing, or " +
			"something shown is unknown; 3 with --exit-code when the findings reach the level of --fail-on. With --standard the controls of a standard are summed up " +
			"instead, and for the Pod Security Standards the level of every pod told; --exit-code then asks whether a control fails. " +
			"With --baseline, findings that the file accepts count for nothing but the summary; entries that have expired or that " +
			"nothing was found for are told on standard error.",
		UsageText: "rtinspect audit\nrtinspect audit web --severity info -o wide\n" +
			"rtinspect audit --exit-code --fail-on high --fail-on-unknown\n" +
			"rtinspect audit --write-baseline accepted.yaml && rtinspect audit --baseline accepted.yaml --exit-code\n" +
			"rtinspect audit --standard pss-restricted --pss-version v1.30 -o junit >node.xml\n" +
			"rtinspect audit --snapshot node.json -o html >node.html",
		Flags: append(append(standardFlags(), baselineFlags()...),
			formatFlagOf(auditName),
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids and values; tables show 13 and 80 characters of them otherwise"},
			&cli.StringFlag{Name: "severity", Value: audit.Low.String(), Usage: "show findings of at least `LEVEL`: " + severityNames()},
			&cli.StringSliceFlag{Name: "rule", Usage: "judge by the rule `ID` only; may be given again"},
			&cli.StringSliceFlag{Name: "skip-rule", Usage: "leave out the rule `ID`; may be given again"},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with status 3 when findings, shown or not, reach the level of --fail-on"},
			&cli.StringFlag{Name: "fail-on", Value: audit.High.String(), Usage: "the least `LEVEL` for --exit-code: " + severityNames()},
			&cli.BoolFlag{Name: "fail-on-unknown", Usage: "count what is unknown, and could be of that level, as a finding for --exit-code"},
		),
		Action: v.audit,
	}
}

// auditFlags are what the flags of audit say.
type auditFlags struct {
	options audit.Options
	least   audit.Severity
	gate    gate
	files   baselineFiles
}

// gate decides on the exit status.
type gate struct {
	on      bool
	level   audit.Severity
	unknown bool
}

func (v *invocation) audit(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	by, wanted, err := assessment(c)
	switch {
	case err != nil:
		return err
	case wanted && slices.Contains(notForStandard, o.format):
		return misuse(c, "flags --standard and --output "+o.format+" exclude each other: want another format")
	case wanted:
		return v.assess(c, o, node, by)
	}
	flags, err := readAuditFlags(c)
	if err != nil {
		return err
	}
	refs := c.Args().Slice()
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		snapshot, err := s.Snapshot(ctx)
		judged, refsErr := judge(snapshot, refs, flags)
		v.tellBaseline(flags.files.read, judged.Baseline)
		all := notAccepted(judged.Findings)
		judged.show(flags.least)
		written := o.write(&v.answer, answer{
			data: judged,
			text: func(w io.Writer, o output) { auditPages(w, judged, o) },
			documents: map[string]func(io.Writer) error{
				formatSARIF: func(w io.Writer) error { return writeSARIF(w, judged, thisBuild()) },
				formatJUnit: func(w io.Writer) error { return writeJUnit(w, judged) },
				formatHTML:  func(w io.Writer) error { return writeHTML(w, judged, thisBuild()) },
			},
		})
		saved := v.writeBaseline(flags.files.write, judged.report, snapshot, flags.least)
		return errors.Join(written, err, refsErr, saved, unknownVerdicts(notAccepted(judged.Findings)), flags.gate.check(all))
	})
}

func readAuditFlags(c *cli.Context) (auditFlags, error) {
	f := auditFlags{
		options: audit.Options{Rules: c.StringSlice("rule"), Skip: c.StringSlice("skip-rule")},
		gate:    gate{on: c.Bool("exit-code"), unknown: c.Bool("fail-on-unknown")},
	}
	for _, err := range []error{
		checkRules(c, f.options.Rules, " in --rule"),
		checkRules(c, f.options.Skip, " in --skip-rule"),
		severityFlag(c, "severity", &f.least),
		severityFlag(c, "fail-on", &f.gate.level),
	} {
		if err != nil {
			return f, err
		}
	}
	switch {
	case len(rulesUnder(f.options)) == 0:
		return f, misuse(c, "flag --skip-rule leaves no rule")
	case !f.gate.on && c.IsSet("fail-on"):
		return f, misuse(c, "flag --fail-on needs --exit-code")
	case f.gate.unknown && !f.gate.on:
		return f, misuse(c, "flag --fail-on-unknown needs --exit-code")
	}
	var err error
	f.files, err = readBaselineFlags(c)
	return f, err
}

// rulesUnder returns the rules that options leave.
func rulesUnder(o audit.Options) []audit.Rule {
	return slices.DeleteFunc(audit.Rules(), func(r audit.Rule) bool {
		return len(o.Rules) > 0 && !slices.Contains(o.Rules, r.ID) || slices.Contains(o.Skip, r.ID)
	})
}

// severityFlag reads a flag that is a severity.
func severityFlag(c *cli.Context, name string, level *audit.Severity) error {
	if level.UnmarshalText([]byte(c.String(name))) != nil {
		return misuse(c, "flag --"+name+" is "+quote(c.String(name))+": want "+severityNames())
	}
	return nil
}

// severityNames returns "info, low, medium, high or critical".
func severityNames() string {
	names := severities()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func severities() []string {
	var names []string
	for _, s := range audit.Severities() {
		names = append(names, s.String())
	}
	return names
}

// judgment is what an audit answers with.
type judgment struct {
	// Time is when the facts were collected.
	Time    time.Time      `json:"time"`
	Summary auditSummary   `json:"summary"`
	Least   audit.Severity `json:"leastShown"`
	// Findings are those of at least that severity, the worst first.
	Findings []finding `json:"findings"`
	// Missing says why containers may be missing, MissingSockets why sockets may be.
	Missing        []string `json:"missing"`
	MissingSockets []string `json:"missingSockets"`
	// Baseline tells what became of the baseline's entries.
	Baseline []audit.EntryUse `json:"baseline,omitempty"`

	// report is of the subjects that were asked for, with what every rule says of them, and rules are those that were asked.
	report     audit.Report
	rules      []audit.Rule
	containers map[subjectKey]inspect.Container
	// details are of the containers, and node is where they run.
	details map[subjectKey]inspect.Report
	node    inspect.Node
	// unfound says why containers that were named are not among them.
	unfound error
}

// subjectKey is that of a container: two namespaces of containerd may have one id. The node's is empty.
type subjectKey struct{ namespace, id string }

func keyOf(s audit.Subject) subjectKey { return subjectKey{s.Namespace, s.ID} }

// auditSummary counts what was judged, and all findings: those that are not shown, too.
type auditSummary struct {
	Node       bool `json:"node"`
	Containers int  `json:"containers"`
	Sandboxes  int  `json:"sandboxes"`
	// Ended are the containers and sandboxes that no process of runs: there is nothing to judge.
	Ended   int                    `json:"ended"`
	Failed  map[audit.Severity]int `json:"failed"`
	Unknown map[audit.Severity]int `json:"unknown"`
	// Accepted are counted in neither of these. It is nil without a baseline.
	Accepted map[audit.Severity]int `json:"accepted,omitempty"`
}

type finding struct {
	Title string `json:"title"`
	audit.Finding
}

// judge judges the whole snapshot, as containers may reach each other, and keeps what is about the named containers. Without
// names it keeps all.
func judge(s inspect.Snapshot, refs []string, flags auditFlags) (judgment, error) {
	report := flags.files.apply(audit.Judge(s, flags.options), s)
	s.Missing = nil // what could not be listed is told already
	chosen, err := s.Details(refs...)
	if len(refs) == 0 {
		chosen = s.Containers // with sandboxes and ended ones
	}
	containers, details := map[subjectKey]inspect.Container{}, map[subjectKey]inspect.Report{}
	for _, r := range chosen {
		details[subjectKey{r.Namespace, r.ID}] = r
		containers[subjectKey{r.Namespace, r.ID}] = r.Container
	}
	report.Subjects = slices.DeleteFunc(report.Subjects, func(s audit.Subject) bool {
		_, isChosen := containers[keyOf(s)]
		return s.Node && len(refs) > 0 || !s.Node && !isChosen
	})
	j := judgment{
		Time: report.Time, Findings: []finding{}, containers: containers, rules: rulesUnder(flags.options), unfound: err,
		details: details, node: s.Node,
		Missing: append([]string{}, report.Missing...), MissingSockets: append([]string{}, report.MissingSockets...),
		Baseline: report.Baseline, report: report,
	}
	for _, f := range report.Findings() {
		rule, _ := audit.Lookup(f.Rule)
		j.Findings = append(j.Findings, finding{rule.Title, f})
	}
	j.Summary = summarize(chosen, j.Findings)
	j.Summary.Node = len(refs) == 0
	return j, err
}

func summarize(reports []inspect.Report, findings []finding) auditSummary {
	s := auditSummary{Failed: map[audit.Severity]int{}, Unknown: map[audit.Severity]int{}}
	for _, r := range reports {
		if r.Kind == inspect.KindSandbox {
			s.Sandboxes++
		} else {
			s.Containers++
		}
		if r.PID.Known() == inspect.Absent {
			s.Ended++
		}
	}
	for _, level := range audit.Severities() {
		s.Failed[level], s.Unknown[level] = 0, 0
	}
	for _, f := range findings {
		switch {
		case f.Accepted != nil:
			if s.Accepted == nil {
				s.Accepted = map[audit.Severity]int{}
			}
			s.Accepted[f.Severity]++
		case f.Verdict == audit.Unknown:
			s.Unknown[f.Severity]++
		default:
			s.Failed[f.Severity]++
		}
	}
	return s
}

// show leaves out findings of a lower severity.
func (j *judgment) show(least audit.Severity) {
	j.Least = least
	shown := []finding{}
	for _, f := range j.Findings {
		if f.Severity >= least {
			shown = append(shown, f)
		}
	}
	j.Findings = shown
}

// unknownVerdicts returns an error when a verdict is unknown: the answer tells which and why.
func unknownVerdicts(findings []finding) error {
	n := 0
	for _, f := range findings {
		if f.Verdict == audit.Unknown {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return errors.New(count(n, "verdict is unknown", "verdicts are unknown"))
}

// findingsError ends an audit whose findings are too bad.
type findingsError struct{ problem string }

func (e *findingsError) Error() string { return e.problem }

// check returns a findingsError when the findings reach the level.
func (g gate) check(findings []finding) error {
	failed, unknown := 0, 0
	for _, f := range findings {
		switch {
		case !g.on || f.Severity < g.level:
		case f.Verdict == audit.Fail:
			failed++
		case g.unknown:
			unknown++
		}
	}
	if failed+unknown == 0 {
		return nil
	}
	text := count(failed, "finding reaches ", "findings reach ") + g.level.String()
	if unknown > 0 {
		text += ", and " + strconv.Itoa(unknown) + " unknown could"
	}
	return &findingsError{text}
}

// auditPages writes the findings of each subject, and a summary.
func auditPages(w io.Writer, j judgment, o output) {
	shown := j.Findings
	if !o.wide() {
		shown = notAccepted(shown)
	}
	groups := bySubject(shown)
	lines := make([][]auditLine, len(groups))
	width := 0 // of the rules
	for n, group := range groups {
		lines[n] = linesOf(group, o)
		for _, l := range lines[n] {
			width = max(width, len(l.rule))
		}
	}
	for n, group := range groups {
		say(w, j.title(group[0].Subject, o), "\n")
		for _, l := range lines[n] {
			l.write(w, width, o)
		}
		say(w, "\n")
	}
	say(w, wrap(j.summary(), o.terminal.width, ""), "\n")
}

// bySubject groups findings, in the order of each subject's worst.
func bySubject(findings []finding) [][]finding {
	var groups [][]finding
	place := map[subjectKey]int{}
	for _, f := range findings {
		n, known := place[keyOf(f.Subject)]
		if !known {
			n = len(groups)
			place[keyOf(f.Subject)] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], f)
	}
	return groups
}

// title names a subject. Where no runtime tells the name, the pod and the command take its place.
func (j judgment) title(s audit.Subject, o output) string {
	if s.Node {
		return s.String()
	}
	name := plain(s.String())
	if c := j.containers[keyOf(s)]; fromKernel(c) {
		name.text = topTitle(c).text + "  " + nameCell(c).text
	}
	return name.text + "  " + plain(o.id(s.ID)).text + "  " + factCell(s.Tier, o.wide()).paint(o.color)
}

// auditLine is a finding, or some that are unknown for one reason.
type auditLine struct {
	severity cell
	rule     string
	text     string
	details  []string
}

// linesOf returns the findings of a subject. What is unknown for one reason stands in one line but where all is wanted: of a
// process that may not be looked into, most is unknown.
func linesOf(group []finding, o output) []auditLine {
	var lines []auditLine
	var alike [][]finding
	place := map[string]int{}
	for _, f := range group {
		if f.Accepted != nil {
			lines = append(lines, acceptedFinding(f, o))
			continue
		}
		if f.Verdict != audit.Unknown {
			lines = append(lines, failedLine(f, o))
			continue
		}
		why := reason(f)
		if o.wide() {
			why = f.Rule
		}
		n, known := place[why]
		if !known {
			n = len(alike)
			place[why] = n
			alike = append(alike, nil)
		}
		alike[n] = append(alike[n], f)
	}
	for _, list := range alike {
		lines = append(lines, unknownLine(list, o))
	}
	return lines
}

// acceptedFinding is the line of one that is accepted, which stands in a wide answer only.
func acceptedFinding(f finding, o output) auditLine {
	l := failedLine(f, o)
	if f.Verdict == audit.Unknown {
		l = unknownLine([]finding{f}, o)
	}
	l.severity = plain(l.severity.text)
	l.text += "; " + acceptedLine(*f.Accepted)
	return l
}

// reason is the last part of a cause, without the fact and the file that it was met at.
func reason(f finding) string {
	cause := firstCause(f)
	return cause[strings.LastIndex(cause, ": ")+1:]
}

// firstCause is the first line of the first cause: more lines are more causes.
func firstCause(f finding) string {
	cause, _, _ := strings.Cut(f.Causes[0], "\n")
	return cause
}

func failedLine(f finding, o output) auditLine {
	l := auditLine{severity: severityCell(f.Severity), rule: f.Rule, text: f.Title}
	if why := because(f, o); why != "" {
		l.text += ": " + why
	}
	if f.Possible {
		l.text = "possible by the version: " + l.text
	}
	if what := containedText(f); what != "" {
		l.text += "; contains " + what
	}
	if o.wide() {
		l.details = details(f)
	}
	return l
}

// containedText counts what a finding contains, what failed apart from what is unknown.
func containedText(f finding) string {
	failed, unknown := len(partNames(f, audit.Fail)), len(partNames(f, audit.Unknown))
	switch {
	case failed == 0 && unknown == 0:
		return ""
	case failed == 0:
		return count(unknown, "unknown verdict", "unknown verdicts")
	case unknown == 0:
		return count(failed, "other finding", "other findings")
	}
	return count(failed, "other finding", "other findings") + " and " + count(unknown, "unknown verdict", "unknown verdicts")
}

// partNames are the rules of what a finding contains, of one verdict.
func partNames(f finding, verdict audit.Verdict) []string {
	var names []string
	for _, part := range f.Parts {
		if part.Verdict == verdict {
			names = append(names, part.Rule)
		}
	}
	return names
}

// because tells in short what a finding follows from: the conditions of a path, or else the first fact that says more than true,
// false or max, as the title does.
func because(f finding, o output) string {
	const most = 80
	if len(f.Legs) > 0 {
		titles := make([]string, len(f.Legs))
		for n, leg := range f.Legs {
			titles[n] = leg.Title
		}
		return strings.Join(titles, " + ")
	}
	for _, e := range f.Evidence {
		switch {
		case !strings.Contains(e.Value, " "):
		case o.wide():
			return "" // all evidence follows
		case o.whole:
			return e.Value
		default:
			return cut(e.Value, most)
		}
	}
	return ""
}

// unknownLine tells what is unknown for one reason, the worst first.
func unknownLine(list []finding, o output) auditLine {
	const most = 3
	f := list[0]
	l := auditLine{severity: styled(f.Severity.String()+"?", styleUnknown), rule: f.Rule, text: f.Title + ": unknown: " + firstCause(f)}
	if o.wide() {
		l.text = f.Title + ": unknown"
		for _, cause := range f.Causes {
			l.details = append(l.details, "because "+strings.ReplaceAll(cause, "\n", "; "))
		}
		l.details = append(l.details, details(f)...)
		return l
	}
	if len(list) == 1 {
		return l
	}
	var names []string
	for _, other := range list {
		names = append(names, other.Rule)
	}
	if more := len(names) - most; more > 0 && !o.whole {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	l.rule = strconv.Itoa(len(list)) + " rules"
	l.text = "unknown: " + firstCause(f) + ": " + strings.Join(names, ", ")
	return l
}

// details tells the evidence of a finding, the conditions of a path, and what it contains.
func details(f finding) []string {
	var list []string
	evidence := func(mark string, all []audit.Evidence) {
		for _, e := range all {
			text := mark + e.Fact + ": " + e.Value
			if e.Source != "" {
				text += " (" + e.Source + ")"
			}
			list = append(list, text)
		}
	}
	if len(f.Legs) == 0 {
		evidence("", f.Evidence)
	}
	for n, leg := range f.Legs {
		text := fmt.Sprintf("%d. %s; to take it away: %s", n+1, leg.Title, leg.Break)
		if leg.Cheapest {
			text += " (the least trouble)"
		}
		list = append(list, text)
		evidence("- ", leg.Evidence)
	}
	for _, of := range []struct {
		what    string
		verdict audit.Verdict
	}{{"contains ", audit.Fail}, {"contains, unknown: ", audit.Unknown}} {
		if names := partNames(f, of.verdict); len(names) > 0 {
			list = append(list, of.what+strings.Join(names, ", "))
		}
	}
	return list
}

// write writes the line, with the texts under each other.
func (l auditLine) write(w io.Writer, rules int, o output) {
	const severities = len("critical?")
	indent := 2 + severities + 2 + rules + 2
	space := strings.Repeat(" ", indent)
	gap := strings.Repeat(" ", severities-len(l.severity.text)+2)
	say(w, "  ", l.severity.paint(o.color), gap, fmt.Sprintf("%-*s  ", rules, l.rule),
		wrap(escapeLine(l.text), o.terminal.width-indent, space), "\n")
	for _, text := range l.details {
		say(w, space, "  ", wrap(escapeLine(text), o.terminal.width-indent-4, space+"    "), "\n")
	}
}

func severityCell(s audit.Severity) cell {
	switch s {
	case audit.Critical, audit.High:
		return styled(s.String(), styleBad)
	case audit.Medium:
		return styled(s.String(), styleWarning)
	case audit.Low, audit.Info:
	}
	return plain(s.String())
}

// summary counts the findings: "20 containers and the node: 2 critical, 1 low; 1 unknown."
func (j judgment) summary() string {
	var words []string
	hidden, unknown := 0, 0
	levels := audit.Severities()
	slices.Reverse(levels)
	for _, level := range levels {
		if n := j.Summary.Failed[level]; n > 0 {
			words = append(words, strconv.Itoa(n)+" "+level.String())
		}
		unknown += j.Summary.Unknown[level]
		if level < j.Least {
			hidden += j.Summary.Failed[level] + j.Summary.Unknown[level]
		}
	}
	found := strings.Join(words, ", ")
	switch {
	case len(words) > 0:
	case j.Summary.judged():
		found = "nothing found"
	default:
		found = "nothing judged"
	}
	if unknown > 0 {
		found += "; " + strconv.Itoa(unknown) + " unknown"
	}
	if n := j.Summary.accepted(); n > 0 {
		found += "; " + strconv.Itoa(n) + " accepted"
	}
	text := j.Summary.subjects() + ": " + found + "."
	if hidden > 0 {
		text += fmt.Sprintf(" %d below %s not shown, see --severity.", hidden, j.Least)
	}
	return text
}

func (s auditSummary) accepted() int {
	n := 0
	for _, some := range s.Accepted {
		n += some
	}
	return n
}

// judged tells whether there was anything to judge.
func (s auditSummary) judged() bool { return s.Node || s.Containers+s.Sandboxes > s.Ended }

// subjects tells what was judged.
func (s auditSummary) subjects() string {
	text := count(s.Containers, "container", "containers")
	if s.Sandboxes > 0 {
		text += ", " + count(s.Sandboxes, "sandbox", "sandboxes")
	}
	if s.Node {
		text += " and the node"
	}
	if s.Ended > 0 {
		text += " (" + strconv.Itoa(s.Ended) + " without a process: not judged)"
	}
	return text
}
