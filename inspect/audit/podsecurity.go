package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

// Level is a level of the Pod Security Standards.
type Level uint8

// The levels, in rising order.
const (
	// Privileged forbids nothing.
	Privileged Level = iota
	// Baseline forbids the known ways to gain privileges.
	Baseline
	// Restricted asks for what is known to harden a pod as well.
	Restricted
)

var levelNames = []string{"privileged", "baseline", "restricted"}

// String returns the name in lower case.
func (l Level) String() string { return enumName("Level", levelNames, uint8(l)) }

// MarshalText returns the text of [Level.String].
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes a text of [Level.String].
func (l *Level) UnmarshalText(text []byte) error {
	return parseEnum("level", levelNames, text, (*uint8)(l))
}

// latestPSS is the minor version of Kubernetes up to which the checks were
// compared with k8s.io/pod-security-admission.
const latestPSS = 37

// PSSVersion is a version of the Pod Security Standards: that of a release of
// Kubernetes. The zero value stands for the latest.
type PSSVersion struct {
	// older is by how many minor versions it is older than the latest.
	older int
}

// ParsePSSVersion takes "latest", or v1.0 up to the latest, with or without the v.
func ParsePSSVersion(text string) (PSSVersion, error) {
	if text == "latest" {
		return PSSVersion{}, nil
	}
	digits, ok := strings.CutPrefix(strings.TrimPrefix(text, "v"), "1.")
	minor, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || minor > latestPSS || strconv.FormatUint(minor, 10) != digits {
		return PSSVersion{}, fmt.Errorf("version %q: want latest, or v1.0 to v1.%d", text, latestPSS)
	}
	return PSSVersion{older: latestPSS - int(minor)}, nil
}

func (v PSSVersion) minor() int { return latestPSS - v.older }

// String returns v1.N, also for the latest.
func (v PSSVersion) String() string { return "v1." + strconv.Itoa(v.minor()) }

// MarshalText returns the text of [PSSVersion.String].
func (v PSSVersion) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText takes what [ParsePSSVersion] takes.
func (v *PSSVersion) UnmarshalText(text []byte) error {
	parsed, err := ParsePSSVersion(string(text))
	*v = parsed
	return err
}

// PodLevel is how a pod stands to the Pod Security Standards.
type PodLevel struct {
	// Subject is the pod: the id is that of its sandbox, or its uid where that is
	// not known.
	Subject Subject `json:"subject"`
	// Level is the highest that the pod is known to meet, AtMost the highest that
	// it may meet: they differ where something is unknown. What no node shows
	// (Unseen) counts for neither.
	Level  Level `json:"level"`
	AtMost Level `json:"atMost"`
	// Unseen are the checks that no fact of a node decides for this pod.
	Unseen []string `json:"unseen"`
	// Checks are those of the version, in the order of their names, first those
	// of the baseline level.
	Checks []PodCheck `json:"checks"`
}

// PodCheck is what came of a check of the Pod Security Standards.
type PodCheck struct {
	// ID is that in k8s.io/pod-security-admission.
	ID string `json:"id"`
	// Level is the lowest that asks for it.
	Level Level `json:"level"`
	Judgment
}

// PodLevels says how every pod in a snapshot stands to the Pod Security Standards.
// They are about what a pod asks for: the CRI request is judged, and where the
// kernel has less isolation in force than that, this too. A container that has
// ended is judged by its request. Containers that are in no pod are left out.
func PodLevels(s inspect.Snapshot, v PSSVersion) []PodLevel {
	list := []PodLevel{}
	for _, p := range podsOf(&s) {
		list = append(list, p.level(v))
	}
	return list
}

// podFacts are the containers of a pod.
type podFacts struct {
	sandbox    *container // nil when it is not known
	containers []*container
	missing    []string // why there may be more
	id, name   string
	namespace  string // containerd's
}

// podsOf groups the containers, in the order in which their pods appear.
func podsOf(s *inspect.Snapshot) []*podFacts {
	type key struct{ namespace, id string }
	var list []*podFacts
	pods := map[key]*podFacts{}
	seen := newNode(s)
	for n := range s.Containers {
		r := &s.Containers[n]
		if r.Pod == nil {
			continue
		}
		k := key{r.Namespace, cmp.Or(r.Pod.SandboxID, r.Pod.UID)}
		p := pods[k]
		if p == nil {
			p = &podFacts{id: k.id, name: podName(r.Pod), namespace: k.namespace, missing: s.Missing}
			pods[k] = p
			list = append(list, p)
		}
		c := seen.container(n)
		if r.Kind == inspect.KindSandbox {
			p.sandbox = c
			continue
		}
		p.containers = append(p.containers, c)
	}
	return list
}

// podName is namespace/pod, or the uid where no runtime tells it.
func podName(p *inspect.Pod) string {
	if p.Name == "" {
		return p.UID
	}
	return p.Namespace + "/" + p.Name
}

func (p *podFacts) level(v PSSVersion) PodLevel {
	l := PodLevel{Subject: Subject{ID: p.id, Namespace: p.namespace, Name: p.name}, Unseen: []string{}, Checks: []PodCheck{}}
	for _, check := range podChecks() {
		if v.minor() < check.since {
			continue
		}
		j := check.judgment(p, v.minor())
		j.Subject = l.Subject
		if j.Unseen != "" {
			l.Unseen = append(l.Unseen, check.id)
		}
		l.Checks = append(l.Checks, PodCheck{ID: check.id, Level: check.level, Judgment: j})
	}
	for _, level := range []Level{Baseline, Restricted} {
		verdict := l.verdict(level, v)
		if verdict != Fail && l.AtMost == level-1 {
			l.AtMost = level
		}
		if verdict != Fail && verdict != Unknown && l.Level == level-1 {
			l.Level = level
		}
	}
	return l
}

// verdict is the gravest of the checks of a level.
func (l PodLevel) verdict(level Level, v PSSVersion) Verdict {
	var list []Judgment
	ids := checksOf(level, v)
	for _, c := range l.Checks {
		if slices.Contains(ids, c.ID) {
			list = append(list, c.Judgment)
		}
	}
	return worst(list)
}

// checksOf returns the checks of a level. Those of the restricted level take the
// place of some of the baseline level's.
func checksOf(level Level, v PSSVersion) []string {
	var ids, replaced []string
	for _, c := range podChecks() {
		if v.minor() < c.since || c.level > level {
			continue
		}
		ids = append(ids, c.id)
		if c.replaces != "" {
			replaced = append(replaced, c.replaces)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(replaced, id) })
}

func podControls(level Level, v PSSVersion) []Control {
	ids := checksOf(level, v)
	controls := make([]Control, 0, len(ids))
	for _, c := range podChecks() {
		if slices.Contains(ids, c.id) {
			controls = append(controls, Control{ID: c.id, Title: c.title, Limits: c.limits})
		}
	}
	return controls
}

// assessPods sums up the levels of pods by control.
func (a *Assessment) assessPods(s *inspect.Snapshot, o AssessOptions) {
	level := Baseline
	if o.Standard == PSSRestricted {
		level = Restricted
	}
	a.Version = o.Version.String()
	a.Pods = []PodLevel{}
	for _, p := range podsOf(s) {
		if p.among(o.Among) {
			a.Pods = append(a.Pods, p.level(o.Version))
		}
	}
	for _, control := range podControls(level, o.Version) {
		result := ControlResult{Control: control, Judgments: []Judgment{}}
		for _, p := range a.Pods {
			n := slices.IndexFunc(p.Checks, func(c PodCheck) bool { return c.ID == control.ID })
			result.Judgments = append(result.Judgments, p.Checks[n].Judgment)
		}
		a.Controls = append(a.Controls, result)
	}
}

func (p *podFacts) among(chosen func(inspect.Container) bool) bool {
	return chosen == nil || p.sandbox != nil && chosen(p.sandbox.Container) ||
		slices.ContainsFunc(p.containers, func(c *container) bool { return chosen(c.Container) })
}

// breach is what a check finds in a container: the claim that it breaks the check,
// or why no node shows it.
type breach struct {
	claim
	unseen string
	// not says why the check does not apply.
	not string
}

// judgment sums up what a check finds in a pod's containers.
func (check podCheck) judgment(p *podFacts, version int) Judgment {
	var parts []breach
	if check.pod != nil {
		parts = append(parts, check.pod(p, version))
	}
	if check.container != nil {
		for _, c := range p.containers {
			part := check.container(c, version)
			part.evidence = named(c.Name, part.evidence)
			parts = append(parts, part)
		}
		parts = append(parts, p.whole())
	}
	var claims []claim
	j := Judgment{}
	for _, part := range parts {
		j.Unseen = cmp.Or(j.Unseen, part.unseen)
		j.Reason = cmp.Or(j.Reason, part.not)
		if part.unseen == "" && part.not == "" {
			claims = append(claims, part.claim)
		}
	}
	broken := either(claims...)
	j.Evidence, j.Causes = broken.evidence, broken.causes
	switch {
	case broken.truth == yes:
		j.Verdict, j.Unseen, j.Reason = Fail, "", ""
	case broken.truth == unsure:
		j.Verdict, j.Unseen, j.Reason = Unknown, "", ""
	case j.Unseen != "":
		j.Verdict, j.Reason = Unknown, ""
	case j.Reason != "":
		j.Verdict = NotApplicable
	default:
		j.Verdict = Pass
	}
	return j
}

// whole claims nothing where all containers of the pod are known.
func (p *podFacts) whole() breach {
	switch {
	case len(p.missing) > 0:
		return breach{claim: unsureOf("containers", errors.New(strings.Join(p.missing, "; ")))}
	case len(p.containers) == 0:
		return breach{claim: unsureOf("containers", errors.New("no container of the pod is known"))}
	}
	return breach{claim: claim{truth: no}}
}
