package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

// Options say what to judge. The zero value is every rule.
type Options struct {
	// Rules are the ids of the rules to apply; none means all. A finding is part
	// of another's only where both are among them.
	Rules []string
	// Skip are the ids of rules to leave out.
	Skip []string
}

// Report is what was found on a node.
type Report struct {
	// Time is when the facts were collected.
	Time time.Time `json:"time"`
	// Subjects are the node and the containers, the node first, the others in
	// the order of the snapshot.
	Subjects []Subject `json:"subjects"`
	// Missing says why containers may be missing, and MissingSockets why sockets
	// may be.
	Missing        []string `json:"missing"`
	MissingSockets []string `json:"missingSockets"`
	// Baseline tells what became of the entries of a baseline, in their order,
	// where one was applied: see [Accepted.Apply].
	Baseline []EntryUse `json:"baseline,omitempty"`
}

// Subject is a container or the node, with what every rule says of it.
type Subject struct {
	// Node tells that it is the node; the other fields are then empty.
	Node bool `json:"node,omitempty"`
	// ID is the container's, and Namespace containerd's: two of them may have
	// one id. Namespace is empty for other runtimes.
	ID        string `json:"id,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Name is namespace/pod/name, see [inspect.Container.FullName].
	Name string       `json:"name,omitempty"`
	Kind inspect.Kind `json:"kind,omitempty"`
	// Tier is how far it is from the node's kernel.
	Tier inspect.Fact[inspect.Tier] `json:"tier,omitzero"`
	// Results are in the order of Rules.
	Results []Result `json:"results,omitempty"`
}

// Result is what a rule says of a subject.
type Result struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	// Severity is that of the finding; for an unknown one what it would be.
	Severity Severity `json:"severity"`
	// Possible tells that only a version speaks for it: distributions repair
	// without changing the version.
	Possible bool `json:"possible,omitempty"`
	// Evidence are the facts that the verdict stands on.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Causes say why the verdict is unknown.
	Causes []string `json:"causes,omitempty"`
	// Reason says why the rule does not apply.
	Reason string `json:"reason,omitempty"`
	// Legs are the conditions of an attack path, in the order of the attack.
	Legs []Leg `json:"legs,omitempty"`
	// PartOf are the rules whose findings contain this one.
	PartOf []string `json:"partOf,omitempty"`
	// Accepted says why it is accepted, with all its parts; nil where it is not.
	// See [Accepted.Apply]. The verdict stays what it is.
	Accepted *Acceptance `json:"accepted,omitempty"`
}

// Leg is one condition of an attack path.
type Leg struct {
	// Title says what it is.
	Title string `json:"title"`
	// Rule is the rule about it alone; empty when there is none.
	Rule     string     `json:"rule,omitempty"`
	Evidence []Evidence `json:"evidence"`
	// Break says how to take it away.
	Break string `json:"break"`
	// Cheapest tells that it is the leg which is taken away with the least
	// trouble.
	Cheapest bool `json:"cheapest,omitempty"`
}

// Finding is a result to act on.
type Finding struct {
	// Subject is the one that it is about, without its results.
	Subject Subject `json:"subject"`
	Result
	// Parts are the failed and unknown results that it contains, in the order of
	// Rules.
	Parts []Result `json:"parts,omitempty"`
}

// Judge applies the rules to everything in a snapshot.
func Judge(s inspect.Snapshot, o Options) Report {
	rules := slices.DeleteFunc(Rules(), func(r Rule) bool {
		return len(o.Rules) > 0 && !slices.Contains(o.Rules, r.ID) || slices.Contains(o.Skip, r.ID)
	})
	report := Report{
		Time:           s.Time,
		Subjects:       make([]Subject, 0, len(s.Containers)+1),
		Missing:        append([]string{}, s.Missing...),
		MissingSockets: append([]string{}, s.MissingSockets...),
	}
	seen := newNode(&s)
	report.Subjects = append(report.Subjects, judgeNode(rules, seen))
	for n := range s.Containers {
		report.Subjects = append(report.Subjects, judgeContainer(rules, seen.container(n)))
	}
	return report
}

func judgeNode(rules []Rule, seen *node) Subject {
	subject := Subject{Node: true, Results: []Result{}}
	for _, r := range rules {
		if r.Node {
			subject.Results = append(subject.Results, r.result(r.judgeNode(seen)))
		}
	}
	return subject
}

func judgeContainer(rules []Rule, c *container) Subject {
	subject := Subject{
		ID: c.ID, Namespace: c.Namespace, Name: c.FullName(), Kind: c.Kind, Tier: c.Tier, Results: make([]Result, 0, len(rules)),
	}
	for _, r := range rules {
		if !r.Node {
			subject.Results = append(subject.Results, r.result(r.judgeContainer(c)))
		}
	}
	subject.contain(rules)
	return subject
}

func (r Rule) judgeContainer(c *container) outcome {
	switch {
	case c.PID.Known() == inspect.Absent && c.outlived():
		return found(unsureOf("pid", errors.New("the first process has ended, and others of the container run")), r.Severity)
	case c.PID.Known() == inspect.Absent:
		return notHere("no process of it runs")
	case c.Kind == inspect.KindSandbox && r.pause != "":
		return notHere(r.pause)
	}
	return r.judge(c)
}

// outlived tells that processes of the container run whose first has ended, as in
// the node's pid namespace they may: what is in force for them is not collected.
func (c *container) outlived() bool {
	processes, _ := c.Processes.Value()
	return len(processes.List) > 0
}

func (r Rule) result(o outcome) Result {
	result := Result{Rule: r.ID, Verdict: o.verdict(), Severity: min(o.severity, r.Severity), Reason: o.reason}
	switch result.Verdict {
	case NotApplicable:
		result.Severity = Info
	case Unknown:
		result.Causes = o.causes
		result.Evidence = o.evidence
		if len(result.Causes) == 0 {
			result.Causes = []string{"not collected"}
		}
	case Pass:
		result.Evidence = o.evidence
	case Fail:
		result.Evidence, result.Legs, result.Possible = o.evidence, o.legs, o.possible
	}
	return result
}

// contain notes which results are part of others: those that a failed rule
// covers.
func (s *Subject) contain(rules []Rule) {
	failed := map[string]bool{}
	for _, r := range s.Results {
		failed[r.Rule] = r.Verdict == Fail
	}
	partOf := map[string][]string{}
	for _, rule := range rules {
		if failed[rule.ID] {
			for _, covered := range rule.Covers {
				partOf[covered] = append(partOf[covered], rule.ID)
			}
		}
	}
	for n := range s.Results {
		if r := &s.Results[n]; r.Verdict == Fail || r.Verdict == Unknown {
			r.PartOf = partOf[r.Rule]
		}
	}
}

// Findings returns what to act on: the failed and the unknown results that are
// part of no other, the accepted ones among them. The order is by severity, the highest first, failed before
// unknown, then by subject and rule as in the report.
func (r Report) Findings() []Finding {
	list := []Finding{}
	for _, s := range r.Subjects {
		for _, result := range s.Results {
			if (result.Verdict == Fail || result.Verdict == Unknown) && len(result.PartOf) == 0 {
				list = append(list, Finding{Subject: s.without(), Result: result, Parts: s.parts(result.Rule)})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Verdict, a.Verdict))
	})
	return list
}

func (s Subject) without() Subject {
	s.Results = nil
	return s
}

func (s Subject) parts(rule string) []Result {
	var parts []Result
	for _, r := range s.Results {
		if slices.Contains(r.PartOf, rule) {
			parts = append(parts, r)
		}
	}
	return parts
}

// String is "the node" or the container's name.
func (s Subject) String() string {
	if s.Node {
		return "the node"
	}
	if s.Kind == inspect.KindSandbox {
		return fmt.Sprintf("%s (sandbox)", s.Name)
	}
	return s.Name
}
