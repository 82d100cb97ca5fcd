package audit

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

func changeLines(list []FindingChange) []string {
	var lines []string
	for _, c := range list {
		line := string(c.Change) + " " + c.Severity.String() + " " + c.Rule
		if c.Worse {
			line = "worse: " + line
		}
		lines = append(lines, line)
	}
	return lines
}

func TestCompareResults(t *testing.T) {
	result := func(v Verdict, s Severity, partOf ...string) Result {
		return Result{Rule: "host-pid", Verdict: v, Severity: s, PartOf: partOf}
	}
	whole := func(v Verdict) Result { return Result{Rule: "privileged", Verdict: v, Severity: Critical} }
	for _, tt := range []struct {
		name     string
		old, new []Result // nil without the container
		want     string
	}{
		{"nothing", []Result{result(Fail, High)}, []Result{result(Fail, High)}, ""},
		{"new", []Result{result(Pass, High)}, []Result{result(Fail, High)}, "worse: new high host-pid"},
		{"fixed", []Result{result(Fail, High)}, []Result{result(Pass, High)}, "fixed high host-pid"},
		{"worse", []Result{result(Fail, Medium)}, []Result{result(Fail, High)}, "worse: worse high host-pid"},
		{"better", []Result{result(Fail, High)}, []Result{result(Fail, Low)}, "better high host-pid"},
		{"passed and is unknown", []Result{result(Pass, High)}, []Result{result(Unknown, High)}, "worse: unknown high host-pid"},
		{"failed and is unknown: not fixed", []Result{result(Fail, High)}, []Result{result(Unknown, High)}, "unknown high host-pid"},
		{"unknown and fails", []Result{result(Unknown, High)}, []Result{result(Fail, High)}, "worse: new high host-pid"},
		{"unknown and passes: not fixed", []Result{result(Unknown, High)}, []Result{result(Pass, High)}, "known high host-pid"},
		{"unknown, more severe", []Result{result(Unknown, Low)}, []Result{result(Unknown, High)}, "worse: worse high host-pid"},
		{"does not apply any more", []Result{result(Fail, High)}, []Result{result(NotApplicable, Info)}, "gone high host-pid"},
		{"applies now and passes", []Result{result(NotApplicable, Info)}, []Result{result(Pass, High)}, ""},
		{"a new container", nil, []Result{result(Fail, High)}, "worse: new high host-pid"},
		{"a new container, unknown", nil, []Result{result(Unknown, High)}, "worse: unknown high host-pid"},
		{"a container that has gone", []Result{result(Fail, High)}, nil, "gone high host-pid"},
		{"that was unknown", []Result{result(Unknown, High)}, nil, "gone high host-pid"},
		{"with the whole", []Result{result(Pass, High), whole(Pass)}, []Result{result(Fail, High, "privileged"), whole(Fail)}, "worse: new critical privileged"},
		{"unknown with the whole", []Result{result(Pass, High), whole(Pass)}, []Result{result(Unknown, High, "privileged"), whole(Fail)}, "worse: new critical privileged"},
		{"within the whole", []Result{result(Pass, High), whole(Fail)}, []Result{result(Fail, High, "privileged"), whole(Fail)}, "worse: new high host-pid"},
		{"fixed with the whole", []Result{result(Fail, High, "privileged"), whole(Fail)}, []Result{result(Pass, High), whole(Pass)}, "fixed critical privileged"},
		{"the whole alone is fixed", []Result{result(Fail, High, "privileged"), whole(Fail)}, []Result{result(Fail, High), whole(Pass)}, "fixed critical privileged"},
		{"unknown as the whole is fixed", []Result{result(Fail, High, "privileged"), whole(Fail)}, []Result{result(Unknown, High), whole(Pass)}, "fixed critical privileged,unknown high host-pid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subject := func(list []Result) *Subject {
				if list == nil {
					return nil
				}
				return &Subject{ID: "1", Results: list}
			}
			list := compareSubjects(subject(tt.old), subject(tt.new), FindingGone)
			lines := changeLines(list)
			slices.Sort(lines)
			if got := strings.Join(lines, ","); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	old := privilegedPods(t)
	if list := Compare(old, privilegedPods(t), Options{}); len(list) > 0 {
		t.Errorf("nothing was changed: %q", changeLines(list))
	}
	changed := privilegedPods(t)
	for n := range changed.Containers {
		if r := &changed.Containers[n]; r.FullName() == "default/pod-hardened/app" {
			r.ReadonlyRootfs.InForce = inspect.KnownFact(false, "")
			r.NoNewPrivs.InForce = inspect.UnknownFact[bool](errors.New("shut"))
		}
	}
	list := changeLines(Compare(old, changed, Options{}))
	for _, want := range []string{"worse: new low writable-rootfs", "worse: unknown medium no-new-privileges"} {
		if !slices.Contains(list, want) {
			t.Errorf("no %q in %q", want, list)
		}
	}
	if !strings.HasPrefix(list[0], "worse: unknown high") || len(Compare(old, changed, Options{Rules: []string{"writable-rootfs"}})) != 1 {
		t.Errorf("in another order, or the rules do not count: %q", list)
	}
	// Without the containers: gone, or not seen when they may be missing.
	empty := old
	empty.Containers = []inspect.Report{}
	gone := Compare(old, empty, Options{})
	empty.Missing = []string{"broke off"}
	unseen := Compare(old, empty, Options{})
	if len(gone) < 10 || len(unseen) != len(gone) {
		t.Fatalf("%d gone, %d not seen", len(gone), len(unseen))
	}
	for n := range gone {
		if gone[n].Change != FindingGone || unseen[n].Change != FindingNotSeen || gone[n].Worse || gone[n].Subject.Name == "" {
			t.Errorf("%+v, %+v", gone[n], unseen[n].Change)
		}
	}
	for _, c := range Compare(empty, old, Options{}) {
		if !c.Worse || c.Old != nil {
			t.Errorf("of a new container: %+v", c)
		}
	}
}
