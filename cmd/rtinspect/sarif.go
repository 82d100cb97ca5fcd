package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chavacava/garif"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

// The notifications of an audit in SARIF.
const (
	noteMissing  = "missing-containers"
	noteSockets  = "missing-sockets"
	noteNotFound = "not-found"
	noteUnknown  = "unknown-verdicts"
)

const (
	sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	projectURL  = "https://github.com/rtinspect/rtinspect"
	rulesURL    = projectURL + "/blob/main/docs/rules.md#"
)

// sarifLog and sarifRun are garif's, but with the results of a run that has none: without the list, a run is one that did not look.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	*garif.Run
	Results []*garif.Result `json:"results"`
}

// writeSARIF writes the findings that are shown as SARIF 2.1.0. Of what passes there is no result: viewers show each as an alert.
func writeSARIF(w io.Writer, j judgment, b build) error {
	driver := garif.NewToolComponent("rtinspect")
	driver.InformationUri = projectURL
	driver.Version = strings.TrimPrefix(b.Version, "v")
	index := map[string]int{}
	for n, r := range j.rules {
		index[r.ID] = n
		driver.Rules = append(driver.Rules, sarifRule(r))
	}
	driver.Notifications = sarifNotes()
	run := garif.NewRun(garif.NewTool(driver))
	run.AutomationDetails = garif.NewRunAutomationDetails()
	run.AutomationDetails.Id = "rtinspect/audit/"
	run.ColumnKind = "unicodeCodePoints"
	run.Invocations = []*garif.Invocation{sarifInvocation(j)}
	results := []*garif.Result{}
	for _, f := range j.Findings {
		r := sarifResult(f, j.rules[index[f.Rule]])
		r.RuleIndex = index[f.Rule]
		results = append(results, r)
	}
	document, err := jsonDocument(sarifLog{sarifSchema, "2.1.0", []sarifRun{{run, results}}})
	say(w, escapeData(document, surrogates))
	return err
}

// sarifNotes describe what may be told of a run.
func sarifNotes() []*garif.ReportingDescriptor {
	var list []*garif.ReportingDescriptor
	for _, n := range []struct{ id, short, text string }{
		{noteMissing, "Containers may be missing", "A list of containers could not be had, or broke off: there may be more than were judged."},
		{noteSockets, "Sockets may be missing", "Where sockets of container runtimes may be could not be looked at: a container may reach more of them."},
		{noteNotFound, "A container was not found", "A container that was named on the command line is not there, or the name means several."},
		{noteUnknown, "Verdicts are unknown", "Facts that decide could not be read. Such results are of kind open: they neither failed nor passed."},
	} {
		d := garif.NewReportingDescriptor(n.id)
		d.ShortDescription = garif.NewMultiformatMessageString(n.short + ".")
		d.FullDescription = garif.NewMultiformatMessageString(n.text)
		d.Help = garif.NewMultiformatMessageString(n.text)
		list = append(list, d)
	}
	return list
}

// sarifRule describes a rule, with the properties that code scanning reads.
func sarifRule(r audit.Rule) *garif.ReportingDescriptor {
	d := garif.NewReportingDescriptor(r.ID)
	d.ShortDescription = garif.NewMultiformatMessageString(sentence(r.Title))
	d.FullDescription = garif.NewMultiformatMessageString(r.Meaning)
	d.HelpUri = rulesURL + r.ID
	var text, markdown []string
	for _, part := range []struct{ title, text string }{
		{"Meaning", r.Meaning}, {"Remedy", r.Remedy}, {"References", references(r)},
	} {
		text = append(text, part.title+": "+part.text)
		markdown = append(markdown, "**"+part.title+"**: "+part.text)
	}
	d.Help = garif.NewMultiformatMessageString(strings.Join(text, "\n\n"))
	d.Help.Markdown = strings.Join(markdown, "\n\n")
	d.DefaultConfiguration = garif.NewReportingConfiguration()
	d.DefaultConfiguration.Level = sarifLevel(r.Severity)
	d.Properties = &garif.PropertyBag{
		"tags":              []string{"security", strings.ReplaceAll(string(r.Area), " ", "-")},
		"precision":         "high",
		"problem.severity":  problemSeverity(r.Severity),
		"security-severity": securitySeverity(r.Severity),
		"severity":          r.Severity.String(),
		"references":        referenceList(r),
	}
	return d
}

// sentence makes a sentence of a title.
func sentence(title string) string { return strings.ToUpper(title[:1]) + title[1:] + "." }

func referenceList(r audit.Rule) []string {
	list := make([]string, 0, len(r.References))
	for _, reference := range r.References {
		list = append(list, reference.String())
	}
	return list
}

func sarifLevel(s audit.Severity) garif.ResultLevel {
	switch s {
	case audit.Critical, audit.High:
		return garif.ResultLevel_Error
	case audit.Medium:
		return garif.ResultLevel_Warning
	case audit.Low, audit.Info:
	}
	return garif.ResultLevel_Note
}

func problemSeverity(s audit.Severity) string {
	switch s {
	case audit.Critical, audit.High:
		return "error"
	case audit.Medium:
		return "warning"
	case audit.Low, audit.Info:
	}
	return "recommendation"
}

// securitySeverity is a number in the middle of what code scanning takes for the severity.
func securitySeverity(s audit.Severity) string {
	return map[audit.Severity]string{audit.Critical: "9.5", audit.High: "8.0", audit.Medium: "5.5", audit.Low: "2.0", audit.Info: "0.0"}[s]
}

// rank is from 0 to 100, by the severity.
func rank(s audit.Severity) float64 {
	return map[audit.Severity]float64{audit.Critical: 95, audit.High: 80, audit.Medium: 55, audit.Low: 20, audit.Info: 1}[s]
}

// sarifInvocation tells what was not done.
func sarifInvocation(j judgment) *garif.Invocation {
	whole := len(j.Missing) == 0 && len(j.MissingSockets) == 0 && j.unfound == nil
	i := garif.NewInvocation(whole)
	if !j.Time.IsZero() {
		i.StartTimeUtc = j.Time.UTC().Format(time.RFC3339Nano)
	}
	note := func(id string, level garif.ResultLevel, text string) {
		n := garif.NewNotification(garif.NewMessageFromText(sarifText(text)))
		n.Level = level
		n.Descriptor = garif.NewReportingDescriptorReference()
		n.Descriptor.Id = id
		i.ToolExecutionNotifications = append(i.ToolExecutionNotifications, n)
	}
	for _, text := range j.Missing {
		note(noteMissing, garif.ResultLevel_Error, "Containers may be missing: "+text)
	}
	for _, text := range j.MissingSockets {
		note(noteSockets, garif.ResultLevel_Error, "Sockets may be missing: "+text)
	}
	if j.unfound != nil {
		for _, part := range parts(j.unfound) {
			note(noteNotFound, garif.ResultLevel_Error, part.Error())
		}
	}
	if err := unknownVerdicts(notAccepted(j.Findings)); err != nil {
		note(noteUnknown, garif.ResultLevel_Warning, err.Error()+": the results of kind open")
	}
	return i
}

func sarifResult(f finding, rule audit.Rule) *garif.Result {
	r := garif.NewResult(garif.NewMessageFromText(sarifMessage(f, rule)))
	r.RuleId = f.Rule
	r.Rank = rank(f.Severity)
	r.Kind, r.Level = garif.ResultKind_Fail, sarifLevel(f.Severity)
	if f.Verdict == audit.Unknown {
		r.Kind, r.Level = garif.ResultKind_Open, garif.ResultLevel_None
	}
	r.Locations = []*garif.Location{sarifLocation(f.Subject, "")}
	r.PartialFingerprints = fingerprints(f)
	if f.Accepted != nil {
		accepted := garif.NewSuppression("external")
		accepted.Justification = escapeLine(acceptedText(*f.Accepted))
		r.Suppressions = []*garif.Suppression{accepted}
	}
	if len(f.Legs) > 0 {
		r.CodeFlows = []*garif.CodeFlow{sarifPath(f)}
	}
	p := garif.PropertyBag{"severity": f.Severity.String(), "verdict": f.Verdict.String()}
	if f.Possible {
		p["possible"] = true
	}
	if len(f.Evidence) > 0 {
		p["evidence"] = f.Evidence
	}
	if len(f.Causes) > 0 {
		p["causes"] = f.Causes
	}
	for key, verdict := range map[string]audit.Verdict{"contains": audit.Fail, "containsUnknown": audit.Unknown} {
		if names := partNames(f, verdict); len(names) > 0 {
			p[key] = names
		}
	}
	r.Properties = &p
	return r
}

// acceptedText says why a finding is accepted, and until when.
func acceptedText(a audit.Acceptance) string {
	if a.Expires.IsZero() {
		return a.Reason
	}
	return a.Reason + " (until " + a.Expires.String() + ")"
}

// sarifMessage tells a finding as text: its first sentence stands alone where a viewer has little room.
func sarifMessage(f finding, rule audit.Rule) string {
	text := f.Subject.String() + ": " + headline(f) + "."
	if f.Verdict == audit.Unknown {
		text += "\nIt would be " + f.Severity.String() + "."
	} else {
		text += "\nSeverity: " + f.Severity.String() + "."
	}
	for _, line := range details(f) {
		text += "\n" + line
	}
	for _, cause := range f.Causes {
		text += "\nbecause " + strings.ReplaceAll(cause, "\n", "; ")
	}
	return sarifText(text + "\nRemedy: " + rule.Remedy)
}

// headline tells a finding in a few words.
func headline(f finding) string {
	switch {
	case f.Verdict == audit.Unknown:
		return f.Title + ": unknown"
	case f.Possible:
		return "possible by the version: " + f.Title
	}
	return f.Title
}

// sarifText escapes what a container may say, line by line, and what messages in SARIF give a meaning: braces are placeholders, and
// a pair of brackets followed by one of parentheses is a link.
func sarifText(text string) string {
	lines := strings.Split(text, "\n")
	for n := range lines {
		lines[n] = escapeLine(lines[n])
	}
	return strings.NewReplacer("{", "{{", "}", "}}", "](", "] (").Replace(strings.Join(lines, "\n"))
}

// sarifLocation is where a subject is. A container is no file, but code scanning takes no result without one: the place is made of
// its name.
func sarifLocation(s audit.Subject, message string) *garif.Location {
	l := garif.NewLocation().WithURI(subjectURI(s))
	l.PhysicalLocation.Region = garif.NewRegion()
	l.PhysicalLocation.Region.StartLine = 1
	logical := garif.NewLogicalLocation()
	logical.FullyQualifiedName = escapeLine(strings.Join(subjectPath(s), "/"))
	logical.Name = escapeLine(subjectPath(s)[len(subjectPath(s))-1])
	logical.Kind = "node"
	if !s.Node {
		logical.Kind = string(s.Kind)
		p := garif.PropertyBag{"id": escapeLine(s.ID)}
		if tier, ok := s.Tier.Value(); ok {
			p["tier"] = string(tier)
		}
		logical.Properties = &p
	}
	l.LogicalLocations = []*garif.LogicalLocation{logical}
	if message != "" {
		l.Message = garif.NewMessageFromText(sarifText(message))
	}
	return l
}

// subjectPath names a subject in parts, the same after a restart of the container: without its id, unless there is no name.
func subjectPath(s audit.Subject) []string {
	if s.Node {
		return []string{"node"}
	}
	name := s.Name
	if name == "" {
		name = s.ID
	}
	kind := "containers"
	if s.Kind == inspect.KindSandbox {
		kind = "sandboxes"
	}
	path := []string{kind}
	if s.Namespace != "" {
		path = append(path, s.Namespace)
	}
	return append(path, strings.Split(name, "/")...)
}

// subjectURI is a relative reference that leads nowhere else, whatever the name is.
func subjectURI(s audit.Subject) string {
	path := subjectPath(s)
	for n, part := range path {
		if slices.Contains([]string{"", ".", ".."}, part) {
			part = "_"
		}
		path[n] = url.PathEscape(strings.ToValidUTF8(part, "\ufffd"))
	}
	return strings.Join(path, "/")
}

// fingerprints are the same for the same finding of the same container in every run. The second is the only one that code scanning
// reads.
func fingerprints(f finding) map[string]string {
	sum := sha256.Sum256([]byte(f.Rule + "\x00" + strings.Join(subjectPath(f.Subject), "\x00")))
	return map[string]string{
		"rtinspect/v1":            fmt.Sprintf("%x", sum[:16]),
		"primaryLocationLineHash": fmt.Sprintf("%x:1", sum[:8]),
	}
}

// sarifPath shows the conditions of an attack path as steps.
func sarifPath(f finding) *garif.CodeFlow {
	flow := garif.NewThreadFlow(nil)
	flow.Locations = nil
	for n, leg := range f.Legs {
		step := garif.NewThreadFlowLocation()
		step.Location = sarifLocation(f.Subject, legText(leg))
		step.ExecutionOrder = n + 1
		step.Importance = "important"
		if leg.Cheapest {
			step.Importance = "essential"
		}
		flow.Locations = append(flow.Locations, step)
	}
	return garif.NewCodeFlow(flow)
}

// legText tells a condition of a path, how to take it away, and by which facts it holds.
func legText(leg audit.Leg) string {
	text := leg.Title + "; to take it away: " + leg.Break
	if leg.Cheapest {
		text += " (the least trouble)"
	}
	for _, e := range leg.Evidence {
		text += "\n" + evidenceText(e)
	}
	return text
}

func evidenceText(e audit.Evidence) string {
	text := e.Fact + ": " + e.Value
	if e.Source != "" {
		text += fmt.Sprintf(" (%s)", e.Source)
	}
	return text
}
