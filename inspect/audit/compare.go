package audit

import (
	"cmp"
	"slices"

	"github.com/rtinspect/rtinspect/inspect"
)

// FindingChangeKind says what became of a finding.
type FindingChangeKind string

// The kinds of change.
const (
	// FindingNew fails and did not: it passed, was unknown, or the container is
	// new.
	FindingNew FindingChangeKind = "new"
	// FindingWorse and FindingBetter failed before, or were unknown, with
	// another severity.
	FindingWorse  FindingChangeKind = "worse"
	FindingBetter FindingChangeKind = "better"
	// FindingUnknown can not be told any more, or for a new container. Whether it
	// failed before or not: it is not fixed.
	FindingUnknown FindingChangeKind = "unknown"
	// FindingKnown was unknown, and passes or does not apply.
	FindingKnown FindingChangeKind = "known"
	// FindingFixed failed and passes.
	FindingFixed FindingChangeKind = "fixed"
	// FindingGone was of a container that has gone or ended, or does not apply any
	// more.
	FindingGone FindingChangeKind = "gone"
	// FindingNotSeen was of a container that is not in the new snapshot, which may
	// lack some.
	FindingNotSeen FindingChangeKind = "not seen"
)

// FindingChange is a finding that another snapshot has not, or has otherwise.
type FindingChange struct {
	Change FindingChangeKind `json:"change"`
	// Worse tells that the node may be less safe than it was: a finding is new, or
	// worse, or is unknown and did not fail before.
	Worse bool `json:"worse,omitempty"`
	// Subject is the new one, or one that has gone, without its results.
	Subject Subject `json:"subject"`
	Rule    string  `json:"rule"`
	// Severity is the higher of both.
	Severity Severity `json:"severity"`
	// Old and New are the results; nil where there is none.
	Old *Result `json:"old,omitempty"`
	New *Result `json:"new,omitempty"`
}

// Compare judges two snapshots of a node and returns how their findings differ:
// what is worse first, then by severity, the highest first. Which containers are
// the same, [inspect.Pairs] tells. A finding that came or went as part of another
// that did the same is left out.
func Compare(old, now inspect.Snapshot, o Options) []FindingChange {
	before, after := subjectsOf(Judge(old, o)), subjectsOf(Judge(now, o))
	list := compareSubjects(before[containerKey{}], after[containerKey{}], FindingGone)
	gone := FindingGone
	if len(now.Missing) > 0 {
		gone = FindingNotSeen
	}
	for _, p := range inspect.Pairs(old, now) {
		list = append(list, compareSubjects(before[keyOf(p.Old)], after[keyOf(p.New)], gone)...)
	}
	slices.SortStableFunc(list, func(a, b FindingChange) int {
		return cmp.Or(compareBool(b.Worse, a.Worse), cmp.Compare(b.Severity, a.Severity))
	})
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// subjectsOf returns the subjects by their containers; the node's key is empty.
func subjectsOf(r Report) map[containerKey]*Subject {
	m := make(map[containerKey]*Subject, len(r.Subjects))
	for n := range r.Subjects {
		s := &r.Subjects[n]
		m[containerKey{s.Namespace, s.ID}] = s
	}
	return m
}

// keyOf is that of a container; without one it is of no subject.
func keyOf(r *inspect.Report) containerKey {
	if r == nil {
		return containerKey{namespace: "none"}
	}
	return containerKey{r.Namespace, r.ID}
}

// compareSubjects compares the results of one subject, rule by rule. Gone is what
// became of the findings of one that is not there any more.
func compareSubjects(old, now *Subject, gone FindingChangeKind) []FindingChange {
	subject := cmp.Or(now, old)
	if subject == nil {
		return nil
	}
	changes := map[string]*FindingChange{}
	var rules []string
	for _, list := range []*Subject{now, old} {
		if list == nil {
			continue
		}
		for _, r := range list.Results {
			if _, ok := changes[r.Rule]; !ok {
				rules = append(rules, r.Rule)
				changes[r.Rule] = compareResults(old.result(r.Rule), now.result(r.Rule), now == nil, gone)
			}
		}
	}
	var found []FindingChange
	for _, rule := range rules {
		c := changes[rule]
		if c == nil || partOfChange(c, changes) {
			continue
		}
		c.Subject, c.Rule = subject.without(), rule
		found = append(found, *c)
	}
	return found
}

func (s *Subject) result(rule string) *Result {
	if s == nil {
		return nil
	}
	n := slices.IndexFunc(s.Results, func(r Result) bool { return r.Rule == rule })
	if n < 0 {
		return nil
	}
	return &s.Results[n]
}

// compareResults returns what became of a finding, nil when nothing did.
func compareResults(old, now *Result, hasGone bool, gone FindingChangeKind) *FindingChange {
	was, is := verdictOf(old), verdictOf(now)
	c := &FindingChange{Old: old, New: now, Severity: max(severityOf(old), severityOf(now))}
	open := func(v Verdict) bool { return v == Fail || v == Unknown }
	switch {
	case !open(was) && !open(is):
		return nil
	case hasGone:
		c.Change = gone
	case is == Fail && was != Fail:
		c.Change, c.Worse = FindingNew, true
	case is == Unknown && was != Unknown:
		c.Change, c.Worse = FindingUnknown, was != Fail
	case was == is && severityOf(now) > severityOf(old):
		c.Change, c.Worse = FindingWorse, true
	case was == is && severityOf(now) < severityOf(old):
		c.Change = FindingBetter
	case was == is:
		return nil
	case was == Unknown:
		c.Change = FindingKnown
	case is == NotApplicable:
		c.Change = FindingGone
	default:
		c.Change = FindingFixed
	}
	return c
}

// verdictOf is the verdict of a result; without one the rule does not apply.
func verdictOf(r *Result) Verdict {
	if r == nil {
		return NotApplicable
	}
	return r.Verdict
}

func severityOf(r *Result) Severity {
	if r == nil || r.Verdict != Fail && r.Verdict != Unknown {
		return Info
	}
	return r.Severity
}

// partOfChange tells whether a finding came or went with another that contains it.
// One that came or went alone, within a finding that stays, is told.
func partOfChange(c *FindingChange, all map[string]*FindingChange) bool {
	for _, r := range []*Result{c.New, c.Old} {
		if r == nil {
			continue
		}
		for _, whole := range r.PartOf {
			if other := all[whole]; other != nil && (other.Change == c.Change || c.Change == FindingUnknown && other.Worse) && other.Severity >= c.Severity {
				return true
			}
		}
	}
	return false
}
