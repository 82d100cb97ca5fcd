package audit

import (
	"cmp"
	"slices"
)

// Standard is a source of references.
type Standard string

// The standards. A control of one is named as the standard numbers it.
const (
	// CISDocker is the CIS Docker Benchmark 1.6.
	CISDocker Standard = "CIS Docker"
	// CISKubernetes is the CIS Kubernetes Benchmark 1.11.
	CISKubernetes Standard = "CIS Kubernetes"
	// PSSBaseline and PSSRestricted are levels of the Pod Security Standards,
	// with the names of the checks in k8s.io/pod-security-admission.
	PSSBaseline   Standard = "PSS baseline"
	PSSRestricted Standard = "PSS restricted"
	// NSA is the Kubernetes Hardening Guidance of NSA and CISA, with the numbers
	// that Kubescape gives its controls.
	NSA Standard = "NSA"
	// ATTACK is MITRE ATT&CK.
	ATTACK Standard = "ATT&CK"
	// CVE is a published vulnerability.
	CVE Standard = "CVE"
	// Manual is a manual page of Linux.
	Manual Standard = "manual"
)

// Reference names a control, a technique, a vulnerability or a manual page.
type Reference struct {
	Standard Standard `json:"standard"`
	ID       string   `json:"id"`
}

// String is "CIS Docker 5.5", "CVE-2022-0492" or "mount(2)".
func (r Reference) String() string {
	if r.Standard == Manual || r.Standard == CVE {
		return r.ID
	}
	return string(r.Standard) + " " + r.ID
}

// Rule is one thing that should not be so.
type Rule struct {
	// ID is the same in all releases.
	ID string `json:"id"`
	// Title says in a few words what is wrong where it fails.
	Title string `json:"title"`
	// Severity is the highest that a finding can have: that of one follows from
	// the facts.
	Severity Severity `json:"severity"`
	// Area is what it looks at.
	Area Area `json:"area"`
	// Node tells that it is about the node, not about a container.
	Node bool `json:"node,omitempty"`
	// Path tells that it is an attack path: several conditions that together
	// open the node.
	Path bool `json:"path,omitempty"`
	// Meaning says why it matters and what the verdict stands on.
	Meaning string `json:"meaning"`
	// Remedy says what to change.
	Remedy string `json:"remedy"`
	// References are ordered by their standards.
	References []Reference `json:"references"`
	// Covers are the rules whose findings are part of this one's, when both fail
	// for a container.
	Covers []string `json:"covers,omitempty"`

	// pause says why the rule is not applied to a pod's sandbox container; empty
	// where it is.
	pause string
	judge func(*container) outcome
	// judgeNode is set in place of judge for a rule about the node.
	judgeNode func(*node) outcome
}

// outcome is what a rule found: the claim that it is so.
type outcome struct {
	claim
	severity Severity
	// possible: only a version speaks for it.
	possible bool
	// reason is why the rule does not apply; empty where it does.
	reason string
	legs   []Leg
}

// found is the outcome of a claim, with its severity.
func found(c claim, s Severity) outcome { return outcome{claim: c, severity: s} }

// notHere is the outcome where a rule does not apply.
func notHere(reason string) outcome { return outcome{reason: reason} }

func (o outcome) verdict() Verdict {
	switch {
	case o.reason != "":
		return NotApplicable
	case o.truth == yes:
		return Fail
	case o.truth == no:
		return Pass
	}
	return Unknown
}

// pauseRunsNothing is why many rules are not applied to a sandbox.
const pauseRunsNothing = "the pod's sandbox container runs the runtime's pause program and nothing of the pod's; its containers are judged"

// Area groups the rules that look at one thing, to sum up many: "attack paths",
// "mounts".
type Area string

// areas are all areas with their rules, in the order of the rules.
func areas() []areaRules {
	return []areaRules{
		{"attack paths", pathRules()},
		{"privilege", privilegeRules()},
		{"capabilities", capabilityRules()},
		{"system calls", seccompRules()},
		{"namespaces", namespaceRules()},
		{"kernel files", kernelRules()},
		{"mounts", mountRules()},
		{"sockets", socketRules()},
		{"devices", deviceRules()},
		{"limits", limitRules()},
		{"specification", specificationRules()},
		{"drift", driftRules()},
		{"processes", processRules()},
		{"node", nodeRules()},
	}
}

type areaRules struct {
	area  Area
	rules []Rule
}

// Areas returns all areas, in the order of their rules.
func Areas() []Area {
	var list []Area
	for _, a := range areas() {
		list = append(list, a.area)
	}
	return list
}

// Rules returns all rules, in the order of docs/rules.md: the attack paths first.
func Rules() []Rule {
	var list []Rule
	for _, a := range areas() {
		for _, r := range a.rules {
			r.Area = a.area
			list = append(list, r)
		}
	}
	for n := range list {
		slices.SortStableFunc(list[n].References, func(a, b Reference) int {
			return cmp.Compare(standardOrder(a.Standard), standardOrder(b.Standard))
		})
	}
	return list
}

func standardOrder(s Standard) int {
	return slices.Index([]Standard{PSSBaseline, PSSRestricted, CISKubernetes, CISDocker, NSA, ATTACK, CVE, Manual}, s)
}

// Lookup returns the rule with an id; ok is false when there is none.
func Lookup(id string) (r Rule, ok bool) {
	list := Rules()
	n := slices.IndexFunc(list, func(r Rule) bool { return r.ID == id })
	if n < 0 {
		return Rule{}, false
	}
	return list[n], true
}

// refs makes references of one standard.
func refs(s Standard, ids ...string) []Reference {
	list := make([]Reference, 0, len(ids))
	for _, id := range ids {
		list = append(list, Reference{Standard: s, ID: id})
	}
	return list
}

func baseline(checks ...string) []Reference   { return refs(PSSBaseline, checks...) }
func restricted(checks ...string) []Reference { return refs(PSSRestricted, checks...) }
func k8s(ids ...string) []Reference           { return refs(CISKubernetes, ids...) }
func docker(ids ...string) []Reference        { return refs(CISDocker, ids...) }
func nsa(ids ...string) []Reference           { return refs(NSA, ids...) }
func attack(ids ...string) []Reference        { return refs(ATTACK, ids...) }
func cve(ids ...string) []Reference           { return refs(CVE, ids...) }
func man(pages ...string) []Reference         { return refs(Manual, pages...) }
