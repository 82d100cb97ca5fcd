package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

// assessed are the standards that a node can be assessed by, with their names on
// a command line.
var assessed = []struct {
	name     string
	standard Standard
}{
	{"pss-baseline", PSSBaseline}, {"pss-restricted", PSSRestricted}, {"cis-docker", CISDocker}, {"nsa", NSA},
}

// StandardNames returns the names that [ParseStandard] takes.
func StandardNames() []string {
	names := make([]string, 0, len(assessed))
	for _, a := range assessed {
		names = append(names, a.name)
	}
	return names
}

// ParseStandard takes pss-baseline, pss-restricted, cis-docker or nsa.
func ParseStandard(name string) (Standard, error) {
	for _, a := range assessed {
		if a.name == name {
			return a.standard, nil
		}
	}
	return "", fmt.Errorf("standard %q: want one of %q", name, StandardNames())
}

// Control is one demand of a standard that a node shows something of.
type Control struct {
	// ID is the standard's: 5.10, C-0041, hostNamespaces.
	ID string `json:"id"`
	// Title says in a few words what it demands.
	Title string `json:"title"`
	// Rules are those that decide on it. Those of the Pod Security Standards have
	// none: they ask what a pod was meant to be.
	Rules []string `json:"rules,omitempty"`
	// Limits says what of it a node does not show.
	Limits string `json:"limits,omitempty"`
}

// Assessment is what a standard says of a node.
type Assessment struct {
	// Time is when the facts were collected.
	Time     time.Time `json:"time"`
	Standard Standard  `json:"standard"`
	// Version is that of the Pod Security Standards, v1.N; of others it is empty.
	Version string `json:"version,omitempty"`
	// Controls are in the order of the standard.
	Controls []ControlResult `json:"controls"`
	// Pods are the levels of all pods, of the Pod Security Standards only.
	Pods []PodLevel `json:"pods,omitempty"`
	// Missing says why containers may be missing, and MissingSockets why sockets
	// may be.
	Missing        []string `json:"missing"`
	MissingSockets []string `json:"missingSockets"`
}

// ControlResult is what came of a control.
type ControlResult struct {
	Control
	// Verdict is the worst of the judgments: failed, then unknown, then passed.
	// One that no node shows does not count.
	Verdict Verdict `json:"verdict"`
	// Judgments are of each container or pod, or of the node.
	Judgments []Judgment `json:"judgments"`
}

// Judgment is what a control says of a subject.
type Judgment struct {
	// Subject is a container or the node, without its results, or a pod, with the
	// id of its sandbox and without a kind.
	Subject Subject `json:"subject"`
	Verdict Verdict `json:"verdict"`
	// Rules are those that failed or are unknown.
	Rules []string `json:"rules,omitempty"`
	// Evidence are the facts that the verdict stands on. In a pod, the name of
	// the container stands in front.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Causes say why the verdict is unknown.
	Causes []string `json:"causes,omitempty"`
	// Reason says why the control does not apply.
	Reason string `json:"reason,omitempty"`
	// Unseen says why no node could show it: the verdict is Unknown then.
	Unseen string `json:"unseen,omitempty"`
}

// AssessOptions say by what to assess a node.
type AssessOptions struct {
	Standard Standard
	// Version is that of the Pod Security Standards: the zero value is the
	// latest.
	Version PSSVersion
	// Among says which containers, or containers of pods, to assess; nil means
	// all, and the node.
	Among func(inspect.Container) bool
}

// Assess says what a standard says of everything in a snapshot: PSSBaseline,
// PSSRestricted, CISDocker or NSA. Of another one there are no controls.
func Assess(s inspect.Snapshot, o AssessOptions) Assessment {
	a := Assessment{
		Time: s.Time, Standard: o.Standard, Controls: []ControlResult{},
		Missing: append([]string{}, s.Missing...), MissingSockets: append([]string{}, s.MissingSockets...),
	}
	switch o.Standard {
	case PSSBaseline, PSSRestricted:
		a.assessPods(&s, o)
	default:
		a.assessContainers(s, o)
	}
	for n := range a.Controls {
		a.Controls[n].Verdict = worst(a.Controls[n].Judgments)
	}
	return a
}

// assessContainers takes the verdicts of the controls' rules.
func (a *Assessment) assessContainers(s inspect.Snapshot, o AssessOptions) {
	controls := Controls(o.Standard, o.Version)
	var rules []string
	for _, c := range controls {
		rules = merge(rules, c.Rules)
	}
	if len(rules) == 0 {
		return
	}
	report := Judge(s, Options{Rules: rules})
	for _, c := range controls {
		result := ControlResult{Control: c, Judgments: []Judgment{}}
		for n, subject := range report.Subjects {
			if subject.Node && o.Among != nil || !subject.Node && o.Among != nil && !o.Among(s.Containers[n-1].Container) {
				continue
			}
			if j, ok := c.judge(subject); ok {
				result.Judgments = append(result.Judgments, j)
			}
		}
		a.Controls = append(a.Controls, result)
	}
}

// judge sums up the results of the control's rules; ok is false when none is about
// the subject. One failed rule fails the control, one unknown rule leaves it
// unknown.
func (c Control) judge(s Subject) (j Judgment, ok bool) {
	j = Judgment{Subject: s.without(), Verdict: NotApplicable}
	for _, r := range s.Results {
		if !slices.Contains(c.Rules, r.Rule) {
			continue
		}
		ok = true
		switch {
		case graver(r.Verdict, j.Verdict):
			j.Verdict, j.Rules = r.Verdict, nil
			j.Evidence, j.Causes, j.Reason = nil, nil, ""
		case r.Verdict != j.Verdict:
			continue
		}
		if r.Verdict == Fail || r.Verdict == Unknown {
			j.Rules = append(j.Rules, r.Rule)
		}
		j.Evidence, j.Causes = merge(j.Evidence, r.Evidence), merge(j.Causes, r.Causes)
		j.Reason = r.Reason
	}
	return j, ok
}

// graver tells whether a verdict outweighs another.
func graver(a, b Verdict) bool {
	order := []Verdict{NotApplicable, Pass, Unknown, Fail}
	return slices.Index(order, a) > slices.Index(order, b)
}

// worst is the gravest verdict; of nothing it is NotApplicable.
func worst(list []Judgment) Verdict {
	verdict := NotApplicable
	for _, j := range list {
		if j.Unseen == "" && graver(j.Verdict, verdict) {
			verdict = j.Verdict
		}
	}
	return verdict
}

// Controls returns the controls of a standard that a node shows something of; for
// the Pod Security Standards those of a version.
func Controls(s Standard, v PSSVersion) []Control {
	switch s {
	case PSSBaseline:
		return podControls(Baseline, v)
	case PSSRestricted:
		return podControls(Restricted, v)
	case CISDocker:
		return dockerControls()
	case NSA:
		return nsaControls()
	case CISKubernetes, ATTACK, CVE, Manual:
	}
	return nil
}

// strongCapabilities are the rules about capabilities beyond what runtimes give
// unless asked.
func strongCapabilities() []string {
	ids := []string{"added-capabilities"}
	for _, r := range dangerousCapabilities() {
		if r.id != "cap-net-raw" {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// dockerControls are of chapters 4 and 5 of the CIS Docker Benchmark 1.6, in words
// of our own.
func dockerControls() []Control {
	const confined = "where AppArmor or SELinux runs, either one that confines the container is enough"
	return []Control{
		{ID: "4.1", Title: "a user other than root", Rules: []string{"root-user"}},
		{ID: "5.2", Title: "an AppArmor profile", Rules: []string{"lsm-off"}, Limits: confined},
		{ID: "5.3", Title: "SELinux options", Rules: []string{"lsm-off"}, Limits: confined},
		{ID: "5.4", Title: "few capabilities", Rules: strongCapabilities(), Limits: "capabilities of the runtime's default set do not count"},
		{ID: "5.5", Title: "not privileged", Rules: []string{"privileged"}},
		{
			ID: "5.6", Title: "no sensitive folders of the host",
			Rules: []string{"host-root", "host-runtime", "host-kubernetes", "host-system", "host-programs", "host-kernel"},
		},
		{ID: "5.10", Title: "not the host's network", Rules: []string{"host-network"}},
		{ID: "5.11", Title: "a limit of memory", Rules: []string{"no-memory-limit"}},
		{ID: "5.13", Title: "a read-only root file system", Rules: []string{"writable-rootfs"}},
		{ID: "5.16", Title: "not the host's processes", Rules: []string{"host-pid"}},
		{ID: "5.17", Title: "not the host's IPC", Rules: []string{"host-ipc"}},
		{ID: "5.18", Title: "no devices of the host", Rules: []string{"block-device", "device-node"}},
		{ID: "5.20", Title: "no shared mount propagation", Rules: []string{"mount-propagation"}},
		{ID: "5.21", Title: "not the host's UTS namespace", Rules: []string{"host-uts"}, Limits: "that which comes with the host's network is 5.10's"},
		{ID: "5.22", Title: "a seccomp profile", Rules: []string{"seccomp-off"}},
		{ID: "5.26", Title: "no new privileges", Rules: []string{"no-new-privileges"}},
		{ID: "5.29", Title: "a limit of processes", Rules: []string{"no-pids-limit"}},
		{ID: "5.31", Title: "the user namespace that was asked for", Rules: []string{"user-namespace-missing"}},
		{ID: "5.32", Title: "no socket of the runtime", Rules: []string{"runtime-socket"}},
	}
}

// nsaControls are those of Kubescape's framework NSA that are about containers.
func nsaControls() []Control {
	return []Control{
		{ID: "C-0013", Title: "a user other than root", Rules: []string{"root-user"}, Limits: "groups are not looked at"},
		{ID: "C-0016", Title: "no privilege escalation", Rules: []string{"no-new-privileges"}},
		{ID: "C-0017", Title: "an immutable file system", Rules: []string{"writable-rootfs"}},
		{ID: "C-0038", Title: "not the host's processes and IPC", Rules: []string{"host-pid", "host-ipc"}},
		{ID: "C-0041", Title: "not the host's network", Rules: []string{"host-network"}},
		{ID: "C-0046", Title: "no insecure capabilities", Rules: strongCapabilities(), Limits: "capabilities of the runtime's default set do not count"},
		{
			ID: "C-0055", Title: "hardened by seccomp, and AppArmor or SELinux", Rules: []string{"lsm-off", "seccomp-off"},
			Limits: "Kubescape is content with any one of these, or with capabilities that are named",
		},
		{ID: "C-0057", Title: "not privileged", Rules: []string{"privileged"}},
		{ID: "C-0270", Title: "a limit of processor time", Rules: []string{"no-cpu-limit"}},
		{ID: "C-0271", Title: "a limit of memory", Rules: []string{"no-memory-limit"}},
	}
}

// named puts a container's name in front of its evidence.
func named(name string, list []Evidence) []Evidence {
	out := make([]Evidence, 0, len(list))
	for _, e := range list {
		e.Fact = strings.TrimPrefix(name+".", ".") + e.Fact
		out = append(out, e)
	}
	return out
}
