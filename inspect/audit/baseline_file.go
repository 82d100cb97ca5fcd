package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/rtinspect/rtinspect/inspect"
)

// LineError is a mistake in a baseline's file.
type LineError struct {
	// Line is where it is, from 1 on; 0 when it is the whole file's.
	Line int
	// Problem says what is wrong and what was wanted.
	Problem string
	// Word is one that is not known, and Known are those that could stand in its
	// place; empty for other mistakes.
	Word  string
	Known []string
}

// Error returns the problem, with the line in front.
func (e *LineError) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return "line " + strconv.Itoa(e.Line) + ": " + e.Problem
}

// The keys of an entry.
const (
	keyRule      = "rule"
	keyKind      = "kind"
	keyNamespace = "namespace"
	keyPod       = "pod"
	keyContainer = "container"
	keyImage     = "image"
	keyLabels    = "labels"
	keyVerdict   = "verdict"
	keySeverity  = "severity"
	keyReason    = "reason"
	keyExpires   = "expires"
	keyAccepted  = "accepted" // of the file
)

var entryKeys = []string{
	keyRule, keyKind, keyNamespace, keyPod, keyContainer, keyImage, keyLabels, keyVerdict, keySeverity, keyReason, keyExpires,
}

// ParseAccepted reads a baseline from YAML, see docs/baseline.md. It refuses what
// it does not understand, and an entry that would accept a rule's findings of any
// container. The error joins a [*LineError] for each mistake.
func ParseAccepted(data []byte) (Accepted, error) {
	root, err := parseYAML(data)
	if err != nil {
		return Accepted{}, err
	}
	p := fileParser{rules: Rules()}
	a := Accepted{Entries: []Entry{}}
	file := p.mapping(root, "the file", []string{keyAccepted})
	list := file[keyAccepted]
	switch {
	case file == nil:
	case list == nil:
		p.fail(root, "the file has no accepted: want a list of entries, or [] for none")
	case list.Kind != yaml.SequenceNode:
		p.fail(list, "accepted is %s: want a list of entries", describe(list))
	default:
		for _, item := range list.Content {
			a.Entries = append(a.Entries, p.entry(item))
		}
	}
	p.twice(a.Entries)
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *LineError) int { return cmp.Compare(a.Line, b.Line) })
		errs := make([]error, len(p.errs))
		for n, e := range p.errs {
			errs[n] = e
		}
		return Accepted{}, errors.Join(errs...)
	}
	return a, nil
}

// yamlLine is how the YAML library tells a line.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parseYAML returns the one document of a file.
func parseYAML(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, &LineError{Problem: "the file is empty: want accepted, a list of entries"}
	case err != nil:
		found := yamlLine.FindStringSubmatch(err.Error())
		e := &LineError{Problem: "no YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
		if found != nil {
			e.Line, _ = strconv.Atoi(found[1]) // digits, or nothing
			e.Problem = "no YAML: " + err.Error()[len(found[0]):]
		}
		return nil, e
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &LineError{Line: max(more.Line, 1), Problem: "a second document: want one"}
	}
	return document.Content[0], nil
}

// fileParser gathers the mistakes of a file.
type fileParser struct {
	rules []Rule
	errs  []*LineError
}

func (p *fileParser) fail(at *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, &LineError{Line: at.Line, Problem: fmt.Sprintf(format, args...)})
}

// unknown refuses a word that is none of those known.
func (p *fileParser) unknown(at *yaml.Node, known []string, problem string) {
	p.errs = append(p.errs, &LineError{Line: at.Line, Problem: problem, Word: at.Value, Known: known})
}

// describe says what stands somewhere.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

// mapping returns the values of a mapping by their keys; nil when it is none. All
// keys are allowed where none is named.
func (p *fileParser) mapping(n *yaml.Node, what string, allowed []string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s is %s: want a mapping%s", what, describe(n), oneOf(allowed, " with "))
		return nil
	}
	values, lines := map[string]*yaml.Node{}, map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first, twice := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			p.fail(key, "a key of %s is %s: want text", what, describe(key))
		case twice:
			p.fail(key, "%s has %s twice: it is in line %d already", what, key.Value, first)
		case allowed != nil && !slices.Contains(allowed, key.Value):
			p.unknown(key, allowed, fmt.Sprintf("%s has the unknown key %q%s", what, key.Value, oneOf(allowed, ": want ")))
		default:
			values[key.Value] = value
		}
		lines[key.Value] = key.Line
	}
	return values
}

// oneOf is a list in words, with something in front.
func oneOf(words []string, before string) string {
	switch last := len(words) - 1; last {
	case -1:
		return ""
	case 0:
		return before + words[0]
	default:
		return before + strings.Join(words[:last], ", ") + " or " + words[last]
	}
}

// text returns a value that is a text, and "" when there is none.
func (p *fileParser) text(values map[string]*yaml.Node, key string) string {
	n := values[key]
	switch {
	case n == nil:
		return ""
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "":
		p.fail(n, "%s is %s: want text", key, describe(n))
		return ""
	}
	return n.Value
}

func (p *fileParser) entry(n *yaml.Node) Entry {
	e := Entry{Line: n.Line, Verdict: Fail}
	values := p.mapping(n, "the entry", entryKeys)
	if values == nil {
		return e
	}
	before := len(p.errs)
	e.Rule, e.Reason = p.text(values, keyRule), p.text(values, keyReason)
	e.Pattern = p.pattern(values)
	p.word(values, keyVerdict, []string{Fail.String(), Unknown.String()}, &e.Verdict)
	p.word(values, keySeverity, severityNames, &e.Severity)
	if day := p.text(values, keyExpires); day != "" && e.Expires.UnmarshalText([]byte(day)) != nil {
		p.fail(values[keyExpires], "expires is %q: want the last day as year-month-day, such as 2006-01-31", day)
	}
	for _, needed := range []struct{ key, want string }{
		{keyRule, "the id of one, see rtinspect explain"},
		{keySeverity, oneOf(severityNames, "the highest that is accepted: ")},
		{keyReason, "why it is accepted"},
	} {
		if values[needed.key] == nil {
			p.fail(n, "the entry has no %s: want %s", needed.key, needed.want)
		}
	}
	if len(p.errs) == before {
		p.check(n, values, e)
	}
	return e
}

func (p *fileParser) pattern(values map[string]*yaml.Node) Pattern {
	t := Pattern{
		Namespace: p.text(values, keyNamespace), Pod: p.text(values, keyPod),
		Container: p.text(values, keyContainer), Image: p.text(values, keyImage),
	}
	kinds := []string{string(inspect.KindContainer), string(inspect.KindSandbox)}
	if kind := p.text(values, keyKind); kind != "" {
		t.Kind = inspect.Kind(kind)
		if !slices.Contains(kinds, kind) {
			p.unknown(values[keyKind], kinds, fmt.Sprintf("kind is %q%s", kind, oneOf(kinds, ": want ")))
		}
	}
	if values[keyLabels] == nil {
		return t
	}
	labels := p.mapping(values[keyLabels], keyLabels, nil)
	t.Labels = make(map[string]string, len(labels))
	for label := range labels {
		t.Labels[label] = p.text(labels, label)
	}
	return t
}

// word reads one of some names.
func (p *fileParser) word(values map[string]*yaml.Node, key string, names []string, to interface{ UnmarshalText([]byte) error }) {
	text := p.text(values, key)
	switch {
	case text == "":
	case !slices.Contains(names, text):
		p.unknown(values[key], names, fmt.Sprintf("%s is %q%s", key, text, oneOf(names, ": want ")))
	default:
		_ = to.UnmarshalText([]byte(text)) // it is one of the names
	}
}

// check looks at an entry as a whole.
func (p *fileParser) check(n *yaml.Node, values map[string]*yaml.Node, e Entry) {
	at := slices.IndexFunc(p.rules, func(r Rule) bool { return r.ID == e.Rule })
	switch {
	case at < 0:
		var ids []string
		for _, r := range p.rules {
			ids = append(ids, r.ID)
		}
		p.unknown(values[keyRule], ids, fmt.Sprintf("unknown rule %q", e.Rule))
	case p.rules[at].Node && !e.isEmpty():
		p.fail(n, "the rule %s is about the node: want none of kind, namespace, pod, container, image and labels", e.Rule)
	case p.rules[at].Node:
	case !e.narrows():
		p.fail(n, "the entry accepts %s of every container: want a namespace, pod, container, image or label that is not just *, or kind: sandbox", e.Rule)
	case e.Kind == inspect.KindSandbox && e.Container != "":
		p.fail(n, "a sandbox has no container's name: want kind: sandbox or container, not both")
	}
}

// twice refuses entries that accept the same.
func (p *fileParser) twice(entries []Entry) {
	lines := map[string]int{}
	for _, e := range entries {
		key := fmt.Sprintf("%q %q %q", e.Rule, e.Verdict, e.Pattern) // a map is printed in the order of its keys
		if first, ok := lines[key]; ok && e.Rule != "" {
			p.errs = append(p.errs, &LineError{Line: e.Line, Problem: fmt.Sprintf("the entry is about the same findings as the one in line %d", first)})
		}
		lines[key] = e.Line
	}
}

// NotReviewed is the reason that [AcceptAll] gives: somebody has yet to say why.
const NotReviewed = "not reviewed"

// AcceptAll makes a baseline of the findings of a report that have at least a
// severity and are not accepted yet. It accepts each as it is: known or unknown,
// and no more severe. The order is that of namespaces, pods,
// containers and rules, the node first. S is the snapshot that r is of. A pod of a
// Deployment or a DaemonSet is named by a pattern that fits the next one as well,
// when its labels tell that it is one.
//
// Findings of containers without a name, as without a runtime, are in no entry:
// they are returned.
func AcceptAll(r Report, s inspect.Snapshot, least Severity) (a Accepted, left []Finding) {
	m := newMatcher(s)
	a.Entries = []Entry{}
	for _, f := range r.Findings() {
		if f.Accepted != nil || f.Severity < least {
			continue
		}
		p, ok := m.patternOf(f.Subject)
		if !ok {
			left = append(left, f)
			continue
		}
		a.add(p, f.Result)
		for _, part := range f.Parts {
			if part.Severity > f.Severity {
				a.add(p, part)
			}
		}
	}
	a.sort()
	return a, left
}

// add adds an entry, or makes one that is there accept this as well.
func (a *Accepted) add(p Pattern, r Result) {
	for n := range a.Entries {
		if e := &a.Entries[n]; e.Rule == r.Rule && e.Verdict == r.Verdict && reflect.DeepEqual(e.Pattern, p) {
			e.Severity = max(e.Severity, r.Severity)
			return
		}
	}
	a.Entries = append(a.Entries, Entry{Rule: r.Rule, Pattern: p, Verdict: r.Verdict, Severity: r.Severity, Reason: NotReviewed})
}

func (a Accepted) sort() {
	place := map[string]int{}
	for n, r := range Rules() {
		place[r.ID] = n
	}
	slices.SortStableFunc(a.Entries, func(x, y Entry) int {
		return cmp.Or(
			cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Pod, y.Pod), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Container, y.Container),
			cmp.Compare(place[x.Rule], place[y.Rule]), cmp.Compare(y.Verdict, x.Verdict),
		)
	})
}

// patternOf returns a pattern for a subject. It has none when it has no name.
func (m matcher) patternOf(s Subject) (p Pattern, ok bool) {
	c := m.containers[containerKey{s.Namespace, s.ID}]
	switch {
	case s.Node:
		return p, true
	case c == nil:
		return p, false
	case c.Kind == inspect.KindSandbox:
		p.Kind = c.Kind
	default:
		p.Container = globOf(containerName(c))
	}
	if c.Pod != nil {
		p.Namespace, p.Pod = globOf(c.Pod.Namespace), globOf(c.Pod.Name)
		if sandbox := m.containers[containerKey{c.Namespace, c.Pod.SandboxID}]; sandbox != nil {
			p.Pod = nextOf(p.Pod, sandbox.Labels)
		}
	}
	named := p.Container != "" || p.Kind == inspect.KindSandbox && p.Pod != ""
	return p, named && p.narrows()
}

// globOf returns a pattern for a text. What means something in a pattern, and what
// cannot be seen in a file, is any character.
func globOf(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '*' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// nextOf returns a pattern for the pod's successors, whose names end in other
// characters: a Deployment's and a DaemonSet's labels tell that they are its.
func nextOf(pod string, labels map[string]string) string {
	const suffix = 5
	cut := len(pod) - suffix
	if cut < 1 || pod[cut-1] != '-' {
		return pod
	}
	owner, random := pod[:cut], strings.Repeat("?", suffix)
	if hash := labels["pod-template-hash"]; hash != "" {
		if deployment, ok := strings.CutSuffix(owner, "-"+hash+"-"); ok && deployment != "" {
			return deployment + "-*-" + random
		}
	}
	if labels["pod-template-generation"] != "" {
		return owner + random
	}
	return pod
}

const fileComment = `The accepted findings of rtinspect audit --baseline: docs/baseline.md describes this file.
Every entry accepts what its rule finds of the containers that it names, up to its severity.
An attack path, and what contains other findings, is accepted as a whole.
Give the reason of each, and the last day on which it is accepted: expires: 2006-01-31.
Take away what is not accepted.`

// WriteYAML writes the file that [ParseAccepted] reads, with a comment above each
// entry that says what its rule is about.
func (a Accepted) WriteYAML(w io.Writer) error {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range a.Entries {
		list.Content = append(list.Content, e.yaml())
	}
	key := yamlText(keyAccepted)
	key.HeadComment = fileComment
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	err := encoder.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, list}})
	return cmp.Or(err, encoder.Close())
}

func yamlText(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

func (e Entry) yaml() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	set := func(key string, value *yaml.Node) { n.Content = append(n.Content, yamlText(key), value) }
	text := func(key, text string) {
		if text != "" {
			set(key, yamlText(text))
		}
	}
	text(keyRule, e.Rule)
	text(keyKind, string(e.Kind))
	text(keyNamespace, e.Namespace)
	text(keyPod, e.Pod)
	text(keyContainer, e.Container)
	text(keyImage, e.Image)
	if len(e.Labels) > 0 {
		labels := &yaml.Node{Kind: yaml.MappingNode}
		for _, label := range slices.Sorted(maps.Keys(e.Labels)) {
			labels.Content = append(labels.Content, yamlText(label), yamlText(e.Labels[label]))
		}
		set(keyLabels, labels)
	}
	if e.Verdict == Unknown {
		text(keyVerdict, e.Verdict.String())
	}
	text(keySeverity, e.Severity.String())
	text(keyReason, e.Reason)
	if !e.Expires.IsZero() {
		set(keyExpires, &yaml.Node{Kind: yaml.ScalarNode, Value: e.Expires.String()})
	}
	if rule, ok := Lookup(e.Rule); ok {
		n.HeadComment = rule.Title
	}
	if e.Verdict == Unknown {
		n.HeadComment = "unknown whether " + n.HeadComment
	}
	return n
}
