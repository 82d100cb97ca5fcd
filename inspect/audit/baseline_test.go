package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

var (
	today     = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	yesterday = DateOf(today.AddDate(0, 0, -1))
)

// privilegedPods is a recorded node with two privileged pods and a hardened one.
func privilegedPods(t testing.TB) inspect.Snapshot {
	t.Helper()
	return loadPods(t, "2.4", "pod-privileged", "pod-host-ns", "pod-hardened")
}

// split returns the findings that are not accepted, with their subject, and those
// that are.
func split(r Report) (open, accepted []string) {
	for _, f := range r.Findings() {
		text := f.Subject.String() + " " + f.Severity.String() + " " + f.Rule
		if f.Verdict == Unknown {
			text += " unknown"
		}
		if f.Accepted != nil {
			accepted = append(accepted, text)
		} else {
			open = append(open, text)
		}
	}
	return open, accepted
}

// about is an entry about one pod of the lab.
func about(pod, rule string, s Severity) Entry {
	return Entry{Rule: rule, Pattern: Pattern{Namespace: "default", Pod: pod}, Verdict: Fail, Severity: s, Reason: "a test"}
}

func TestApply(t *testing.T) {
	s := privilegedPods(t)
	plain := Judge(s, Options{})
	before, _ := split(plain)
	const found = "default/pod-privileged/app critical privileged"
	for _, tt := range []struct {
		name  string
		entry Entry
		want  []string // accepted
		state EntryState
		note  string
	}{
		{"the finding", about("pod-privileged", "privileged", Critical), []string{found}, EntryUsed, ""},
		{"by a pattern", about("pod-priv*", "privileged", Critical), []string{found}, EntryUsed, ""},
		{"of several", about("pod-*", "privileged", Critical), []string{found, "default/pod-host-ns/app critical privileged"}, EntryUsed, ""},
		{"grown worse", about("pod-privileged", "privileged", High), nil, EntryUnused, "what was found is critical, it accepts up to high"},
		{"gone", about("pod-hardened", "privileged", Critical), nil, EntryUnused, "it was not found"},
		{"another pod", about("pod-other", "privileged", Critical), nil, EntryUnused, "no container matches"},
		{"a leg is not the path", about("pod-host-ns", "host-pid", Critical), nil, EntryUsed, ""},
		{"the path", about("pod-host-ns", "path-host-process", Critical), []string{"default/pod-host-ns/app critical path-host-process"}, EntryUsed, ""},
		{"an empty pattern", Entry{Rule: "privileged", Verdict: Fail, Severity: Critical}, nil, EntryUnused, "no container matches"},
		{"a pattern of anything", Entry{Rule: "privileged", Pattern: Pattern{Pod: "*?"}, Verdict: Fail, Severity: Critical}, nil, EntryUnused, "no container matches"},
		{"what is unknown", Entry{Rule: "no-lsm", Verdict: Unknown, Severity: Critical}, []string{"the node low no-lsm unknown"}, EntryUsed, ""},
		{"unknown is not failed", Entry{Rule: "no-lsm", Verdict: Fail, Severity: Critical}, nil, EntryUnused, "that is unknown now, and it accepts what is known"},
		{
			"failed is not unknown", func() Entry { e := about("pod-privileged", "privileged", Critical); e.Verdict = Unknown; return e }(),
			nil, EntryUnused, "that is known and has failed, and it accepts what is unknown",
		},
		{
			"expired", func() Entry { e := about("pod-privileged", "privileged", Critical); e.Expires = yesterday; return e }(),
			nil, EntryExpired, "it expired on 2026-11-29",
		},
		{
			"on its last day", func() Entry {
				e := about("pod-privileged", "privileged", Critical)
				e.Expires = DateOf(today)
				return e
			}(),
			[]string{found},
			EntryUsed, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := Accepted{Entries: []Entry{tt.entry}}.Apply(plain, s, today)
			open, accepted := split(report)
			slices.Sort(accepted)
			slices.Sort(tt.want)
			if !slices.Equal(accepted, tt.want) {
				t.Errorf("accepted %q, want %q", accepted, tt.want)
			}
			if all := slices.Sorted(slices.Values(slices.Concat(open, accepted))); !slices.Equal(all, slices.Sorted(slices.Values(before))) {
				t.Errorf("open %q\nand accepted %q are not what was found, %q", open, accepted, before)
			}
			if use := report.Baseline[0]; use.State != tt.state || use.Note != tt.note {
				t.Errorf("%s, %q; want %s, %q", use.State, use.Note, tt.state, tt.note)
			}
			if after, _ := split(plain); !slices.Equal(after, before) {
				t.Error("the report that was given is changed")
			}
		})
	}
}

// TestApplyParts: with a finding its parts are accepted, but for one that is
// worse than what was accepted.
func TestApplyParts(t *testing.T) {
	report := func() Report {
		return Report{Subjects: []Subject{{ID: "1", Results: []Result{
			{Rule: "path-mount", Verdict: Fail, Severity: Critical, PartOf: []string{"privileged"}},
			{Rule: "privileged", Verdict: Fail, Severity: High},
			{Rule: "cap-sys-admin", Verdict: Fail, Severity: High, PartOf: []string{"path-mount", "privileged"}},
			{Rule: "root-user", Verdict: Unknown, Severity: Medium, PartOf: []string{"privileged"}},
		}}}}
	}
	s := inspect.Snapshot{Containers: []inspect.Report{{Container: inspect.Container{ID: "1", Name: "app"}}}}
	entry := func(rule string, s Severity) Entry {
		return Entry{Rule: rule, Pattern: Pattern{Container: "app"}, Verdict: Fail, Severity: s}
	}
	for _, tt := range []struct {
		name    string
		entries []Entry
		open    string
	}{
		{"nothing", nil, "high privileged"},
		{"only a part", []Entry{entry("cap-sys-admin", Critical)}, "high privileged"},
		{"the whole, up to its severity", []Entry{entry("privileged", High)}, "critical path-mount"},
		{"the whole, up to any", []Entry{entry("privileged", Critical)}, ""},
		{"the whole and the worse part", []Entry{entry("privileged", High), entry("path-mount", Critical)}, ""},
		{"the worse part alone", []Entry{entry("path-mount", Critical)}, "high privileged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open, _ := split(Accepted{Entries: tt.entries}.Apply(report(), s, today))
			got := strings.TrimSpace(strings.ReplaceAll(strings.Join(open, ","), "  ", " "))
			if got != tt.open {
				t.Errorf("open are %q, want %q", got, tt.open)
			}
		})
	}
	if n := len(Accepted{Entries: []Entry{entry("privileged", High)}}.Apply(report(), s, today).Findings()[0].Parts); n != 1 {
		t.Errorf("%d parts of the path that is left, want 1", n)
	}
}

func TestPattern(t *testing.T) {
	node := []inspect.Report{
		{Container: inspect.Container{ID: "s1", Name: "web-1", Kind: inspect.KindSandbox, Pod: &inspect.Pod{Name: "web-1", Namespace: "shop", SandboxID: "s1"}, Labels: map[string]string{"app": "web"}, Image: "registry.k8s.io/pause:3.10"}},
		{Container: inspect.Container{ID: "c1", Name: "app", Kind: inspect.KindContainer, Pod: &inspect.Pod{Name: "web-1", Namespace: "shop", SandboxID: "s1"}, Labels: map[string]string{"app": "forged"}, Image: "docker.io/library/nginx:1"}},
		{Container: inspect.Container{ID: "alone", Name: "alone", Kind: inspect.KindContainer, Labels: map[string]string{"app": "tool"}}},
		{Container: inspect.Container{ID: "abcdef0123", Name: "abcdef", Kind: inspect.KindContainer}},
	}
	for _, tt := range []struct {
		name string
		p    Pattern
		want string
	}{
		{"the pod and its sandbox", Pattern{Pod: "web-?"}, "s1 c1"},
		{"one of them", Pattern{Pod: "web-*", Kind: inspect.KindContainer}, "c1"},
		{"sandboxes", Pattern{Kind: inspect.KindSandbox}, "s1"},
		{"a sandbox has no name", Pattern{Container: "web-1"}, ""},
		{"by name", Pattern{Container: "a*", Namespace: "shop"}, "c1"},
		{"without a pod", Pattern{Container: "al*"}, "alone"},
		{"an id is no name", Pattern{Container: "abc*"}, ""},
		{"a slash is a character", Pattern{Image: "docker.io/*:1"}, "c1"},
		{"the pod's labels", Pattern{Labels: map[string]string{"app": "web"}}, "s1 c1"},
		{"not the image's", Pattern{Labels: map[string]string{"app": "forged"}}, ""},
		{"a label without a pod", Pattern{Labels: map[string]string{"app": "to*"}}, "alone"},
		{"a label that is not there", Pattern{Labels: map[string]string{"app": "*", "tier": "*"}, Pod: "web-1"}, ""},
		{"all must fit", Pattern{Namespace: "shop", Pod: "db-*"}, ""},
		{"no pod is not any pod", Pattern{Pod: "*", Container: "alone"}, ""},
		{"nothing", Pattern{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMatcher(inspect.Snapshot{Containers: node})
			var got []string
			for _, c := range node {
				if m.matches(tt.p, Subject{ID: c.ID}) {
					got = append(got, c.ID)
				}
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("matches %q, want %q", text, tt.want)
			}
			if m.matches(tt.p, Subject{ID: "other"}) || m.matches(tt.p, Subject{Node: true}) != tt.p.isEmpty() {
				t.Error("matches a container that there is not, or the node")
			}
		})
	}
}

func TestMatchGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true},
		{"a", "A", false},
		{"*", "", false},
		{"", "", false},
		{"*", "a/b", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b", "a-b-c", false},
		{"?", "é", true},
		{"??", "é", false},
		{"*a", "aaab", false},
		{"*ab", "aaab", true},
		{"a**", "a", true},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"a?", "a", false},
	} {
		if got := matchGlob(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q matches %q: %t", tt.pattern, tt.text, got)
		}
	}
}
