package audit

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/rtinspect/rtinspect/inspect"
)

func TestParseAccepted(t *testing.T) {
	const file = `# Node agents.
accepted:
- rule: privileged
  namespace: kube-system
  pod: kube-proxy-*
  container: kube-proxy
  image: registry.k8s.io/kube-proxy:*
  labels: {k8s-app: kube-proxy, version: 1.10}
  severity: critical
  reason: it sets up the node's network
  expires: 2027-01-31
- {rule: no-lsm, verdict: unknown, severity: low, reason: "yes"}
- {rule: writable-rootfs, kind: sandbox, severity: low, reason: pause}
`
	var day Date
	if err := day.UnmarshalText([]byte("2027-01-31")); err != nil {
		t.Fatal(err)
	}
	want := Accepted{[]Entry{
		{
			Line: 3, Rule: "privileged", Verdict: Fail, Severity: Critical, Reason: "it sets up the node's network", Expires: day,
			Pattern: Pattern{
				Namespace: "kube-system", Pod: "kube-proxy-*", Container: "kube-proxy", Image: "registry.k8s.io/kube-proxy:*",
				Labels: map[string]string{"k8s-app": "kube-proxy", "version": "1.10"},
			},
		},
		{Line: 12, Rule: "no-lsm", Verdict: Unknown, Severity: Low, Reason: "yes"},
		{Line: 13, Rule: "writable-rootfs", Verdict: Fail, Severity: Low, Reason: "pause", Pattern: Pattern{Kind: inspect.KindSandbox}},
	}}
	got, err := ParseAccepted([]byte(file))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := ParseAccepted([]byte("accepted: []")); err != nil || len(got.Entries) > 0 {
		t.Errorf("an empty list: %+v, %v", got, err)
	}
}

// TestBaselineDocument: the example in the documentation is a baseline.
func TestBaselineDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/baseline.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file, _ := strings.Cut(string(document), "```yaml\n")
	file, _, _ = strings.Cut(file, "```")
	a, err := ParseAccepted([]byte(file))
	if err != nil || len(a.Entries) != 4 {
		t.Errorf("%d entries, %v in\n%s", len(a.Entries), err, file)
	}
	for _, key := range entryKeys {
		if !bytes.Contains(document, []byte("`"+key+"`")) {
			t.Errorf("the key %s is not described", key)
		}
	}
}

func TestParseAcceptedRefuses(t *testing.T) {
	entry := func(lines ...string) string {
		return "accepted:\n- " + strings.Join(append([]string{"rule: privileged", "severity: high", "reason: x"}, lines...), "\n  ") + "\n"
	}
	for _, tt := range []struct{ name, file, want string }{
		{"empty", "", "the file is empty: want accepted, a list of entries"},
		{"a comment", "# nothing\n", "the file is empty: want accepted, a list of entries"},
		{"nothing", "---\n", "line 2: the file is nothing: want a mapping with accepted"},
		{"no YAML", "accepted:\n- {", "line 2: no YAML: did not find expected node content"},
		{"no text", "\x01", "no YAML: control characters are not allowed"},
		{"a list", "- rule: privileged\n", "line 1: the file is a list: want a mapping with accepted"},
		{"another file", "a: 1\n", "line 1: the file has the unknown key \"a\": want accepted\nline 1: the file has no accepted: want a list of entries, or [] for none"},
		{"two documents", "accepted: []\n---\naccepted: []\n", "line 2: a second document: want one"},
		{"no list", "accepted:\n", "line 1: accepted is nothing: want a list of entries"},
		{"no entry", "accepted: [privileged]", `line 1: the entry is "privileged": want a mapping with rule, kind, namespace, pod, container, image, labels, verdict, severity, reason or expires`},
		{"missing", "accepted:\n- pod: x\n", "line 2: the entry has no rule: want the id of one, see rtinspect explain\n" +
			"line 2: the entry has no severity: want the highest that is accepted: info, low, medium, high or critical\n" +
			"line 2: the entry has no reason: want why it is accepted"},
		{"unknown key", entry("pod: a", "nmespace: b"), `line 6: the entry has the unknown key "nmespace": want rule, kind, namespace, pod, container, image, labels, verdict, severity, reason or expires`},
		{"twice a key", entry("pod: a", "pod: b"), "line 6: the entry has pod twice: it is in line 5 already"},
		{"twice a label", entry("labels: {a: b, a: c}"), "line 5: labels has a twice: it is in line 5 already"},
		{"a merge", entry("pod: x", "<<: {pod: a}"), `line 6: a key of the entry is "<<": want text`},
		{"an alias", "accepted:\n- &a {rule: privileged, severity: high, reason: x, pod: a}\n- *a\n", "line 3: the entry is an alias: want a mapping with rule, kind, namespace, pod, container, image, labels, verdict, severity, reason or expires"},
		{"no text", entry("pod: [a]"), "line 5: pod is a list: want text"},
		{"empty text", entry("pod: ''"), `line 5: pod is "": want text`},
		{"null", entry("pod: a", "image: ~"), "line 6: image is nothing: want text"},
		{"a null label", entry("labels: {app: }"), "line 5: app is nothing: want text"},
		{"labels in a list", entry("labels: [app]"), "line 5: labels is a list: want a mapping"},
		{"verdict", entry("pod: a", "verdict: pass"), `line 6: verdict is "pass": want fail or unknown`},
		{"severity", "accepted:\n- {rule: privileged, pod: a, reason: x, severity: hihg}\n", `line 2: severity is "hihg": want info, low, medium, high or critical`},
		{"kind", entry("kind: pause"), `line 5: kind is "pause": want container or sandbox`},
		{"a date", entry("pod: a", "expires: 2026-02-30"), `line 6: expires is "2026-02-30": want the last day as year-month-day, such as 2006-01-31`},
		{"a time", entry("pod: a", "expires: 2026-02-03T00:00:00Z"), `line 6: expires is "2026-02-03T00:00:00Z": want the last day as year-month-day, such as 2006-01-31`},
		{"unknown rule", "accepted:\n- {rule: privilegd, pod: a, reason: x, severity: high}\n", `line 2: unknown rule "privilegd"`},
		{"everything", entry(), "line 2: the entry accepts privileged of every container: want a namespace, pod, container, image or label that is not just *, or kind: sandbox"},
		{"everything else", entry(`pod: "*"`, `namespace: "??*"`, "labels: {app: '*'}", "kind: container"), "line 2: the entry accepts privileged of every container: want a namespace, pod, container, image or label that is not just *, or kind: sandbox"},
		{"a sandbox's name", entry("kind: sandbox", "container: a"), "line 2: a sandbox has no container's name: want kind: sandbox or container, not both"},
		{"the node's pod", "accepted:\n- {rule: no-lsm, severity: low, reason: x, pod: a}\n", "line 2: the rule no-lsm is about the node: want none of kind, namespace, pod, container, image and labels"},
		{"twice", entry("pod: a", "labels: {a: b, c: d}") + "- {rule: privileged, severity: low, reason: y, labels: {c: d, a: b}, pod: a}\n", "line 7: the entry is about the same findings as the one in line 2"},
		{"several, in order", entry("pod: a", "kind: pause") + "- {rule: no, severity: low, reason: y, pod: a}\n- x: y\n", `line 6: kind is "pause": want container or sandbox` + "\n" +
			`line 7: unknown rule "no"` + "\n" + `line 8: the entry has the unknown key "x": want rule, kind, namespace, pod, container, image, labels, verdict, severity, reason or expires` + "\n" +
			"line 8: the entry has no rule: want the id of one, see rtinspect explain\n" +
			"line 8: the entry has no severity: want the highest that is accepted: info, low, medium, high or critical\nline 8: the entry has no reason: want why it is accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAccepted([]byte(tt.file))
			if err == nil || err.Error() != tt.want || got.Entries != nil {
				t.Errorf("%+v\n got %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

// TestAcceptAll: what was found, written and read back, is accepted whole, and
// nothing else is.
func TestAcceptAll(t *testing.T) {
	for _, version := range versions {
		s := load(t, version)
		report := Judge(s, Options{})
		a, left := AcceptAll(report, s, Info)
		var file, again bytes.Buffer
		if err := a.WriteYAML(&file); err != nil || len(left) > 0 {
			t.Fatalf("%v, %d findings left", err, len(left))
		}
		read, err := ParseAccepted(file.Bytes())
		if err != nil {
			t.Fatalf("%v in\n%s", err, &file)
		}
		applied := read.Apply(report, s, today)
		if open, accepted := split(applied); len(open) > 0 || len(accepted) < 50 {
			t.Errorf("%s: %d accepted, and left is %q", version, len(accepted), open)
		}
		for _, use := range applied.Baseline {
			if use.State != EntryUsed {
				t.Errorf("%s: the entry for %s in line %d is %s: %s", version, use.Rule, use.Line, use.State, use.Note)
			}
		}
		if err := read.WriteYAML(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
			t.Errorf("%s: written again it is another file", version)
		}
		if more, _ := AcceptAll(applied, s, Info); len(more.Entries) > 0 {
			t.Errorf("%s: what is accepted is to be accepted again: %+v", version, more)
		}
		if worst, _ := AcceptAll(report, s, Critical); len(worst.Entries) == 0 || slices.ContainsFunc(worst.Entries, func(e Entry) bool { return e.Severity < Critical }) {
			t.Errorf("%s: %+v, want what is critical only", version, worst)
		}
		// The worst container is not covered by what was accepted of the others.
		a.Entries = slices.DeleteFunc(a.Entries, func(e Entry) bool { return e.Pod == "pod-privileged" })
		open, _ := split(a.Apply(report, s, today))
		if want, _ := findingsOf(report.Subjects[slices.IndexFunc(report.Subjects, func(s Subject) bool { return strings.HasSuffix(s.Name, "pod-privileged/app") })]); len(open) != len(want) {
			t.Errorf("%s: open are %q, want those of pod-privileged, %q", version, open, want)
		}
	}
}

// TestAcceptAllNamesPods: a pattern fits the pods that will take a pod's place.
func TestAcceptAllNamesPods(t *testing.T) {
	for _, tt := range []struct {
		name, pod string
		labels    map[string]string
		want      string
	}{
		{"a Deployment", "web-7d9f8b6c5-x2x4z", map[string]string{"pod-template-hash": "7d9f8b6c5"}, "web-*-?????"},
		{"a DaemonSet", "kube-proxy-x2x4z", map[string]string{"controller-revision-hash": "5b8", "pod-template-generation": "1"}, "kube-proxy-?????"},
		{"a StatefulSet", "db-0", map[string]string{"controller-revision-hash": "5b8"}, "db-0"},
		{"no label", "web-7d9f8b6c5-x2x4z", nil, "web-7d9f8b6c5-x2x4z"},
		{"another's label", "web-7d9f8b6c5-x2x4z", map[string]string{"pod-template-hash": "other"}, "web-7d9f8b6c5-x2x4z"},
		{"nothing before", "7d9-x2x4z", map[string]string{"pod-template-hash": "7d9"}, "7d9-x2x4z"},
		{"short", "abc", map[string]string{"pod-template-generation": "1"}, "abc"},
		{"wild", "a*b\x1b?\u202e", nil, "a?b???"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := &inspect.Pod{Name: tt.pod, Namespace: "shop", SandboxID: "s"}
			s := inspect.Snapshot{Containers: []inspect.Report{
				{Container: inspect.Container{ID: "s", Kind: inspect.KindSandbox, Pod: pod, Labels: tt.labels}},
				{Container: inspect.Container{ID: "c", Name: "app", Kind: inspect.KindContainer, Pod: pod}},
			}}
			m := newMatcher(s)
			p, ok := m.patternOf(Subject{ID: "c"})
			if want := (Pattern{Namespace: "shop", Pod: tt.want, Container: "app"}); !ok || !reflect.DeepEqual(p, want) {
				t.Errorf("%+v, want %+v", p, want)
			}
			if !m.matches(p, Subject{ID: "c"}) {
				t.Error("it does not match the pod itself")
			}
			if p, ok := m.patternOf(Subject{ID: "s"}); !ok || p.Pod != tt.want || p.Kind != inspect.KindSandbox || p.Container != "" {
				t.Errorf("the sandbox's is %+v", p)
			}
		})
	}
}

// TestAcceptAllWithoutNames: what has no name cannot be accepted.
func TestAcceptAllWithoutNames(t *testing.T) {
	s := inspect.Snapshot{Containers: []inspect.Report{
		{Container: inspect.Container{ID: "0123456789abcdef", Name: "0123456789abc", Kind: inspect.KindContainer}},
		{Container: inspect.Container{ID: "**", Name: "**", Kind: inspect.KindContainer}},
	}}
	result := []Result{{Rule: "privileged", Verdict: Fail, Severity: Critical}}
	a, left := AcceptAll(Report{Subjects: []Subject{{ID: "0123456789abcdef", Results: result}, {ID: "**", Results: result}}}, s, Info)
	if len(a.Entries) > 0 || len(left) != 2 {
		t.Errorf("%+v, %d left", a, len(left))
	}
}

// TestAcceptedKeepsItself: whatever texts an entry has, it is read as it was
// written.
func TestAcceptedKeepsItself(t *testing.T) {
	keep := func(pod, image, label, value, reason string) bool {
		valid := func(s string) string { return "x" + strings.Map(printable, s) }
		want := Accepted{[]Entry{{
			Rule: "privileged", Verdict: Unknown, Severity: Medium, Reason: valid(reason), Expires: yesterday,
			Pattern: Pattern{Pod: valid(pod), Image: valid(image), Labels: map[string]string{valid(label): valid(value)}},
		}}}
		var file bytes.Buffer
		if err := want.WriteYAML(&file); err != nil {
			t.Fatal(err)
		}
		got, err := ParseAccepted(file.Bytes())
		if err != nil {
			t.Fatalf("%v in\n%s", err, &file)
		}
		got.Entries[0].Line = 0
		return reflect.DeepEqual(got, want)
	}
	if err := quick.Check(keep, nil); err != nil {
		t.Error(err)
	}
	for _, text := range []string{": #", "null", "2026-01-01", "- a", "'\"", " a ", "a\nb", "<<", "!x", "%", "@", "\u0085"} {
		if !keep(text, text, text, text, text) {
			t.Errorf("%q is read as another text", text)
		}
	}
}

func printable(r rune) rune {
	if r == 0xfffd || r < ' ' && r != '\n' || r == 0x7f {
		return -1
	}
	return r
}

func FuzzParseAccepted(f *testing.F) {
	f.Add([]byte("accepted:\n- {rule: privileged, pod: a-*, severity: high, reason: x, expires: 2027-01-31, labels: {a: b}}\n"))
	f.Add([]byte("accepted:\n- rule: no-lsm\n  verdict: unknown\n  severity: low\n  reason: |\n    two\n    lines\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAccepted(data)
		if err != nil {
			return
		}
		var file bytes.Buffer
		if err := a.WriteYAML(&file); err != nil {
			t.Fatal(err)
		}
		again, err := ParseAccepted(file.Bytes())
		if err != nil {
			t.Fatalf("%v in\n%s", err, &file)
		}
		for n := range a.Entries {
			a.Entries[n].Line = 0
		}
		for n := range again.Entries {
			again.Entries[n].Line = 0
		}
		if !reflect.DeepEqual(a, again) {
			t.Errorf("%+v was written as\n%s", a, &file)
		}
	})
}
