package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

// Accepted is a baseline: a list of findings that are accepted. [ParseAccepted]
// reads one from a file, [AcceptAll] makes one of what was found, and
// [Accepted.Apply] marks what it accepts. docs/baseline.md describes the file.
type Accepted struct {
	// Entries are in the order of the file.
	Entries []Entry `json:"entries"`
}

// Entry accepts findings of one rule. It says what is accepted and no more: a
// finding that is worse, or unknown where a known one was accepted, is not.
type Entry struct {
	// Line is where it begins in its file; 0 when it has none.
	Line int `json:"line,omitempty"`
	// Rule is the id of the rule. Only an entry of an attack path's own accepts
	// that path: one for a part of it does not.
	Rule string `json:"rule"`
	// Pattern says of which containers. It is empty for a rule about the node; an
	// empty one, or one of nothing but * and ?, is about no container.
	Pattern
	// Verdict is Fail, or Unknown to accept what could not be determined: an
	// entry accepts one of these.
	Verdict Verdict `json:"verdict"`
	// Severity is the highest that is accepted.
	Severity Severity `json:"severity"`
	// Reason says why it is accepted.
	Reason string `json:"reason"`
	// Expires is the last day on which it is; zero for no end.
	Expires Date `json:"expires,omitzero"`
}

// Pattern says which containers an entry is about: those that fit all that is
// set. In each text * stands for any characters, / included, and ? for one. What
// is not known of a container fits nothing.
type Pattern struct {
	// Kind is empty for containers and sandboxes.
	Kind inspect.Kind `json:"kind,omitempty"`
	// Namespace and Pod are those of Kubernetes.
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	// Container is the name, see [inspect.Container]; a sandbox has none.
	Container string `json:"container,omitempty"`
	// Image is the image as the runtime tells it.
	Image string `json:"image,omitempty"`
	// Labels are patterns by label. Labels are those of the pod, which its
	// sandbox has; those of the container where it is in no pod. The labels of
	// an image, which some runtimes add to a container's, say nothing in a pod.
	Labels map[string]string `json:"labels,omitempty"`
}

// Acceptance says why a result is accepted.
type Acceptance struct {
	// Line is that of the entry in its file; 0 when it has none.
	Line int `json:"line,omitempty"`
	// Reason, Severity and Expires are the entry's.
	Reason   string   `json:"reason"`
	Severity Severity `json:"severity"`
	Expires  Date     `json:"expires,omitzero"`
}

// EntryState says what became of an entry.
type EntryState string

// The states of an entry.
const (
	// EntryUsed accepts something.
	EntryUsed EntryState = "used"
	// EntryUnused accepts nothing that was found.
	EntryUnused EntryState = "unused"
	// EntryExpired accepts nothing any more.
	EntryExpired EntryState = "expired"
	// EntryNotJudged is about a rule that was not judged, or about containers
	// that may be missing.
	EntryNotJudged EntryState = "not judged"
)

// EntryUse is what became of an entry.
type EntryUse struct {
	Entry
	State EntryState `json:"state"`
	// Results counts those that it accepts, or would if it had not expired.
	Results int `json:"results"`
	// Note says why it is not used; empty where it is.
	Note string `json:"note,omitempty"`
}

// Date is a day, in UTC. The zero Date is none.
type Date struct{ day time.Time }

// DateOf returns the day of a time, in UTC.
func DateOf(t time.Time) Date { return Date{t.UTC().Truncate(24 * time.Hour)} }

// IsZero tells whether it is none.
func (d Date) IsZero() bool { return d.day.IsZero() }

// Ended tells whether the day is over at a time. None never ends.
func (d Date) Ended(now time.Time) bool { return !d.IsZero() && !now.Before(d.day.AddDate(0, 0, 1)) }

// String returns the day as 2006-01-02, and "" for none.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.day.Format(time.DateOnly)
}

// MarshalText returns the text of [Date.String].
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes a text of [Date.String].
func (d *Date) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Date{}
		return nil
	}
	day, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("date %q: want year-month-day, such as 2006-01-31", text)
	}
	*d = Date{day}
	return nil
}

// Apply returns a report that is r with the accepted results marked, and tells
// what became of each entry. S is the snapshot that r is of; r has all of its
// subjects, or an entry about one that is left out is told as unused. Now says
// which entries have expired.
//
// A finding that is accepted is accepted with all that it contains, but for parts
// of a higher severity: these become findings of their own.
func (a Accepted) Apply(r Report, s inspect.Snapshot, now time.Time) Report {
	m := newMatcher(s)
	uses := make([]entryUse, len(a.Entries))
	byRule, judged := map[string][]*entryUse{}, map[string]bool{}
	for n, e := range a.Entries {
		uses[n] = entryUse{Entry: e, expired: e.Expires.Ended(now)}
		byRule[e.Rule] = append(byRule[e.Rule], &uses[n])
	}
	r.Subjects = slices.Clone(r.Subjects)
	for n := range r.Subjects {
		subject := &r.Subjects[n]
		subject.Results = slices.Clone(subject.Results)
		for i := range subject.Results {
			result := &subject.Results[i]
			judged[result.Rule] = true
			for _, use := range byRule[result.Rule] {
				if m.matches(use.Pattern, *subject) {
					use.see(result)
				}
			}
		}
		subject.surface()
	}
	r.Baseline = make([]EntryUse, len(uses))
	for n := range uses {
		r.Baseline[n] = uses[n].conclude(judged[uses[n].Rule], len(r.Missing) > 0)
	}
	return r
}

// entryUse is an entry with what was seen of it.
type entryUse struct {
	Entry
	expired  bool
	seen     int // results that it is about, whatever their verdict
	accepted int
	// worse is the highest severity of a result that is too bad for it, other a
	// verdict that it does not accept; each if it has any.
	worse    Severity
	hasWorse bool
	other    Verdict
	hasOther bool
}

// see looks at a result that the entry is about.
func (u *entryUse) see(r *Result) {
	u.seen++
	switch {
	case r.Verdict != Fail && r.Verdict != Unknown:
	case r.Verdict != u.Verdict:
		u.other, u.hasOther = r.Verdict, true
	case r.Severity > u.Severity:
		u.worse, u.hasWorse = max(u.worse, r.Severity), true
	default:
		u.accepted++
		if !u.expired && r.Accepted == nil {
			r.Accepted = &Acceptance{Line: u.Line, Reason: u.Reason, Severity: u.Severity, Expires: u.Expires}
		}
	}
}

func (u *entryUse) conclude(judged, missing bool) EntryUse {
	use := EntryUse{Entry: u.Entry, State: EntryUsed, Results: u.accepted}
	switch {
	case u.expired:
		use.State, use.Note = EntryExpired, "it expired on "+u.Expires.String()
	case u.accepted > 0:
	case !judged:
		use.State, use.Note = EntryNotJudged, "the rule was not applied"
	case u.hasWorse:
		use.State, use.Note = EntryUnused, fmt.Sprintf("what was found is %s, it accepts up to %s", u.worse, u.Severity)
	case u.hasOther && u.other == Unknown:
		use.State, use.Note = EntryUnused, "that is unknown now, and it accepts what is known"
	case u.hasOther:
		use.State, use.Note = EntryUnused, "that is known and has failed, and it accepts what is unknown"
	case u.seen > 0:
		use.State, use.Note = EntryUnused, "it was not found"
	case missing:
		use.State, use.Note = EntryNotJudged, "containers may be missing"
	default:
		use.State, use.Note = EntryUnused, "no container matches"
	}
	return use
}

// matcher tells which subjects a pattern is about.
type matcher struct {
	containers map[containerKey]*inspect.Report
}

// containerKey is that of a container: two of containerd's namespaces may have
// one id.
type containerKey struct{ namespace, id string }

func newMatcher(s inspect.Snapshot) matcher {
	m := matcher{map[containerKey]*inspect.Report{}}
	for n := range s.Containers {
		r := &s.Containers[n]
		m.containers[containerKey{r.Namespace, r.ID}] = r
	}
	return m
}

func (m matcher) matches(p Pattern, s Subject) bool {
	if s.Node {
		return p.isEmpty()
	}
	c := m.containers[containerKey{s.Namespace, s.ID}]
	if c == nil || !p.narrows() || p.Kind != "" && p.Kind != c.Kind {
		return false
	}
	var pod inspect.Pod
	if c.Pod != nil {
		pod = *c.Pod
	}
	for _, part := range []struct{ pattern, text string }{
		{p.Namespace, pod.Namespace}, {p.Pod, pod.Name}, {p.Container, containerName(c)}, {p.Image, c.Image},
	} {
		if part.pattern != "" && !matchGlob(part.pattern, part.text) {
			return false
		}
	}
	return m.labeled(p.Labels, c)
}

func (m matcher) labeled(patterns map[string]string, c *inspect.Report) bool {
	if len(patterns) == 0 {
		return true
	}
	if c.Pod != nil {
		c = m.containers[containerKey{c.Namespace, c.Pod.SandboxID}]
	}
	for label, pattern := range patterns {
		if c == nil || !matchGlob(pattern, c.Labels[label]) {
			return false
		}
	}
	return true
}

// containerName returns the name that somebody gave the container, "" where there
// is none: a sandbox has its pod's, and without a runtime the beginning of the id
// stands in its place.
func containerName(c *inspect.Report) string {
	named := c.Pod != nil && c.Pod.Name != ""
	if c.Kind == inspect.KindSandbox || !named && c.Name != c.ID && strings.HasPrefix(c.ID, c.Name) {
		return ""
	}
	return c.Name
}

func (p Pattern) isEmpty() bool {
	return p.Kind == "" && p.Namespace == "" && p.Pod == "" && p.Container == "" && p.Image == "" && len(p.Labels) == 0
}

// narrows tells whether there are containers that it leaves out, by something
// other than being no sandbox.
func (p Pattern) narrows() bool {
	texts := []string{p.Namespace, p.Pod, p.Container, p.Image}
	for _, pattern := range p.Labels {
		texts = append(texts, pattern)
	}
	return p.Kind == inspect.KindSandbox || slices.ContainsFunc(texts, func(t string) bool { return strings.Trim(t, "*?") != "" })
}

// matchGlob matches a text that is not empty: what is empty is not known.
func matchGlob(pattern, text string) bool {
	if text == "" {
		return false
	}
	p, t := []rune(pattern), []rune(text)
	star, tried := -1, 0 // the last star, and the text up to which it was tried
	i, n := 0, 0
	for n < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, tried = i, n
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[n]):
			i++
			n++
		case star >= 0:
			tried++
			i, n = star+1, tried
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}

// surface makes findings of their own of the parts that are worse than what was
// accepted with what contains them.
func (s *Subject) surface() {
	for n := range s.Results {
		r := &s.Results[n]
		if len(r.PartOf) > 0 && r.Accepted == nil && !s.contained(*r, r.Severity) {
			r.PartOf = nil
		}
	}
}

// contained tells whether a result is part of a finding that is open, or that was
// accepted for this severity.
func (s Subject) contained(r Result, severity Severity) bool {
	return slices.ContainsFunc(s.Results, func(whole Result) bool {
		switch {
		case !slices.Contains(r.PartOf, whole.Rule):
			return false
		case whole.Accepted != nil:
			return whole.Accepted.Severity >= severity
		case len(whole.PartOf) == 0:
			return true
		}
		return !s.contained(whole, whole.Severity) || s.contained(whole, severity)
	})
}
