package audit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// ordinaryInNamespace is what is found of a container in a user namespace of its own, also of pod-user-namespace-admin: its
// capabilities hold over nothing of the node's.
var ordinaryInNamespace = ordinary.minus("root-user", "cap-net-raw")

// gvisorFindings are exactly the findings of every container of the lab with gVisor, by pod and name.
var gvisorFindings = map[string]findings{
	"pod-gvisor/app":               gvisorOrdinary,
	"pod-gvisor/sidecar":           {"low no-memory-limit", "low no-pids-limit", "info no-cpu-limit"}, // its own limits are not in force
	"pod-gvisor-privileged/app":    gvisorOrdinary.minus("root-user", "no-new-privileges", "cap-net-raw", "default-capabilities").plus("low privileged", "critical host-system"),
	"pod-user-namespace/app":       ordinaryInNamespace,
	"pod-user-namespace-admin/app": ordinaryInNamespace,
	"pod-cgroup-writable/app":      ordinary.minus("no-memory-limit").plus("low writable-cgroup"),
}

// gvisorOrdinary is what is found of a container in gVisor that asks for nothing.
var gvisorOrdinary = ordinary.minus("root-user", "seccomp-off").plus("low root-user")

// guestRules are rules about what the node's kernel has in force, or about its processes: none of a guest.
var guestRules = []string{
	"process-beyond", "leaked-file", "lxcfs", "wider-than-declared", "seccomp-off", "seccomp-weak", "lsm-off", "limit-changed", "unexpected-sharing",
	"mask-missing", "user-namespace-missing", "uid-overflow", "inheritable-capabilities", "path-mount", "path-core-pattern",
	"path-kernel-module", "path-host-process", "path-host-disk",
}

func TestGVisorFindings(t *testing.T) { compareGVisor(t, load(t, "gvisor")) }

// TestLabGVisorFindings compares what is found on a live node with gVisor and user-namespaced pods with the table. With
// -update it records the node.
func TestLabGVisorFindings(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB_GVISOR") == "" {
		t.Skip("needs the lab with gVisor: hack/vmtest.sh")
	}
	s := snapshotOfLab(t)
	compareGVisor(t, s)
	for _, r := range s.Containers {
		for _, gap := range r.Gaps() {
			t.Errorf("%s: %s: %v", r.FullName(), gap.Fact, gap.Cause)
		}
	}
	if *update {
		record(t, "gvisor", s)
	}
}

func snapshotOfLab(t *testing.T) inspect.Snapshot {
	t.Helper()
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// compareGVisor wants the findings of the table and no others.
func compareGVisor(t *testing.T, s inspect.Snapshot) {
	t.Helper()
	report := Judge(s, Options{})
	var seen []string
	for n, r := range s.Containers {
		subject := report.Subjects[n+1]
		name := r.Pod.Name + "/" + r.Name
		got, paths := findingsOf(subject)
		var want findings
		if r.Kind == inspect.KindContainer {
			want = gvisorFindings[name]
			seen = append(seen, name)
		}
		if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("%s %s:\n got %q\nwant %q", r.Kind, name, got, want)
		}
		if len(paths) > 0 {
			t.Errorf("%s: open paths %q", name, paths)
		}
		if strings.HasPrefix(r.Pod.Name, "pod-gvisor") {
			judgedAsGuest(t, name, subject)
		}
	}
	slices.Sort(seen)
	if want := sortedKeysOf(gvisorFindings); !slices.Equal(seen, want) {
		t.Errorf("containers %q, want %q", seen, want)
	}
}

func sortedKeysOf(table map[string]findings) []string {
	var names []string
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// judgedAsGuest wants that no verdict on a guest, good or bad, stands on what the node's kernel has in force of the guest: its
// sandbox's control group and network, which are the guest's as well, are all that counts.
func judgedAsGuest(t *testing.T, name string, s Subject) {
	t.Helper()
	if tier, _ := s.Tier.Value(); tier != inspect.TierSandbox {
		t.Errorf("%s: tier %v", name, s.Tier)
	}
	for _, r := range s.Results {
		if slices.Contains(guestRules, r.Rule) && r.Verdict != NotApplicable {
			t.Errorf("%s: %s %s %v", name, r.Rule, r.Verdict, r.Evidence)
		}
		for _, e := range r.Evidence {
			if strings.Contains(e.Fact, "nForce") && !strings.HasPrefix(e.Fact, "cgroup.inForce") && e.Fact != "namespaces.inForce.net" {
				t.Errorf("%s: %s %s by %s: %s", name, r.Rule, r.Verdict, e.Fact, e.Value)
			}
		}
	}
}

// TestLabUserNamespaceAdmin: capabilities that open a node are judged in their user namespace. Where the runtime makes none,
// and says nothing, both that and what they open is found.
func TestLabUserNamespaceAdmin(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	const name = "pod-user-namespace-admin"
	if _, err := os.Stat(os.Getenv("RTINSPECT_LAB_PODS") + "/" + name + ".yaml"); err != nil {
		t.Skip("needs the lab's " + name + ": bin/lab run --pods " + name)
	}
	s := snapshotOfLab(t)
	r := pod(t, &s, name)
	n := slices.IndexFunc(s.Containers, func(c inspect.Report) bool { return c.ID == r.ID })
	got, paths := findingsOf(Judge(s, Options{}).Subjects[n+1])
	want := ordinaryInNamespace
	var open []string
	if os.Getenv("RTINSPECT_LAB_RUNTIME") == "1.6" {
		// What is part of the two paths and of user-namespace-missing is not told again.
		want = ordinary.minus("root-user", "seccomp-off").plus("critical path-file-handle", "critical path-mount", "high user-namespace-missing", "low cap-sys-ptrace")
		open = []string{"path-file-handle", "path-mount"}
	}
	if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if !slices.Equal(paths, open) {
		t.Errorf("paths %q, want %q", paths, open)
	}
}
