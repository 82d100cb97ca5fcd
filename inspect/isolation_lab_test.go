package inspect_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// isolation returns the report of a container of the lab.
func isolation(t *testing.T, i *inspect.Inspector, ref string) inspect.Report {
	t.Helper()
	r, err := i.Container(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kindsWhere returns the names of the kinds for which a namespace is so.
func kindsWhere(t *testing.T, r inspect.Report, so func(inspect.Namespace) bool) string {
	t.Helper()
	list, ok := r.Namespaces.InForce.Value()
	if !ok || len(list) != len(nsdiff.Kinds()) {
		t.Fatalf("%s: %d namespaces: %v", r.FullName(), len(list), r.Namespaces.InForce.Cause())
	}
	var kinds []string
	for _, n := range list {
		if so(n) {
			kinds = append(kinds, n.Kind.String())
		}
	}
	return strings.Join(kinds, " ")
}

func hosts(n inspect.Namespace) bool { return n.Host.Relation == nsdiff.Same }

func initial(n inspect.Namespace) bool { return n.Initial.Relation == nsdiff.Same }

func surprising(n inspect.Namespace) bool { return n.Verdict != nsdiff.AsExpected }

// sharedWith tells the namespaces that a container shares with another.
func sharedWith(name string) func(inspect.Namespace) bool {
	return func(n inspect.Namespace) bool {
		return slices.ContainsFunc(n.With, func(other inspect.Neighbor) bool {
			return other.Kind == inspect.KindContainer && other.Name == name
		})
	}
}

func TestLabNamespaces(t *testing.T) {
	i := lab(t)
	// What every container has in common with the host: on cgroup version 1, runtimes make no cgroup namespace.
	common := "cgroup time time_for_children user"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		common = "time time_for_children user"
	}
	r := isolation(t, i, "pod-host-ns/app")
	for _, so := range []func(inspect.Namespace) bool{hosts, initial} {
		if got, want := kindsWhere(t, r, so), "cgroup ipc net pid pid_for_children time time_for_children user uts"; got != want {
			t.Errorf("pod-host-ns has of the host's: %s, want %s", got, want)
		}
	}
	for ref, other := range map[string]string{
		"default/pod-default-ns/app":    "",
		"team-a/pod-two-containers/app": "team-a/pod-two-containers/sidecar",
		"default/pod-shared-pid/app":    "default/pod-shared-pid/sidecar",
	} {
		r := isolation(t, i, ref)
		if got := kindsWhere(t, r, hosts); got != common {
			t.Errorf("%s has of the host's: %s, want %s", ref, got, common)
		}
		want := map[string]string{
			"default/pod-default-ns/app": "", "team-a/pod-two-containers/app": "ipc net uts", "default/pod-shared-pid/app": "ipc net pid pid_for_children uts",
		}[ref]
		if got := kindsWhere(t, r, sharedWith(other)); got != want {
			t.Errorf("%s shares with %s: %s, want %s", ref, other, got, want)
		}
	}
}

// TestLabSurprises: in all of the lab, the only surprise is a user namespace that containerd 1.6 does not make. Ids are those
// of the links in /proc.
func TestLabSurprises(t *testing.T) {
	i := lab(t)
	reports, err := i.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if r.Pod == nil || !strings.HasPrefix(r.Pod.Name, "pod-") {
			continue
		}
		want := ""
		if r.Pod.Name == "pod-user-namespace" && os.Getenv("RTINSPECT_LAB_RUNTIME") == "1.6" {
			want = "user"
		}
		if got := kindsWhere(t, r, surprising); got != want {
			t.Errorf("%s surprises with %q, want %q", r.FullName(), got, want)
		}
		pid, _ := r.PID.Value()
		list, _ := r.Namespaces.InForce.Value()
		for _, n := range list {
			link, err := os.Readlink(filepath.Join("/proc", fmt.Sprint(pid), "ns", n.Kind.String()))
			id, ok := n.ID.Value()
			if err != nil || !ok || link != id.String() {
				t.Errorf("%s %s: %v, and the link is %s, %v", r.FullName(), n.Kind, id, link, err)
			}
		}
		for _, g := range r.Gaps() {
			if strings.HasPrefix(g.Fact, "namespaces.") || strings.HasPrefix(g.Fact, "cgroup.") {
				t.Errorf("%s: %s: %v", r.FullName(), g.Fact, g.Cause)
			}
		}
		for _, d := range r.Drift {
			if strings.HasPrefix(d.Setting, "namespaces.") || strings.HasPrefix(d.Setting, "cgroup.") {
				t.Errorf("%s: %+v", r.FullName(), d)
			}
		}
	}
}

func TestLabLimits(t *testing.T) {
	i := lab(t)
	for ref, want := range map[string]string{
		"default/pod-with-limits/app": "134217728 by container, 50000 100000 by container",
		"default/pod-no-limits/app":   "machine, machine",
	} {
		r := isolation(t, i, ref)
		p, ok := r.Cgroup.InForce.Value()
		if !ok {
			t.Fatal(r.Cgroup.InForce.Cause())
		}
		memory, _ := p.Effective.Memory.Value()
		cpu, _ := p.Effective.CPU.Value()
		if got := setBy(memory) + ", " + setBy(cpu); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
		if p.Place.Container != r.ID || !p.Place.Own() {
			t.Errorf("%s: %+v", ref, p.Place)
		}
		if memory.Kind == cgroup.KindMachine {
			continue
		}
		for level, fact := range map[string]inspect.Fact[cgroup.Resources]{"requested": r.Cgroup.Requested, "declared": r.Cgroup.Declared} {
			asked, ok := fact.Value()
			if bytes, _ := asked.Memory.Value(); !ok || bytes != 128<<20 || asked.CPU.String() != "50000 100000" || asked.Shares != 256 {
				t.Errorf("%s: %s: %+v, %v", ref, level, asked, fact.Cause())
			}
		}
	}
}

// setBy shows a level, with its limit unless that is the machine's.
func setBy[T fmt.Stringer](level cgroup.Level[T]) string {
	if level.Kind == cgroup.KindMachine {
		return string(level.Kind)
	}
	limit, _ := level.Limit.Value()
	return limit.String() + " by " + string(level.Kind)
}

// TestLabSandbox: a pod's sandbox has its pid namespace for itself, and shares the others with the pod.
func TestLabSandbox(t *testing.T) {
	i := lab(t)
	app := isolation(t, i, "team-a/pod-two-containers/app")
	r := isolation(t, i, app.Pod.SandboxID)
	for _, other := range []string{"team-a/pod-two-containers/app", "team-a/pod-two-containers/sidecar"} {
		if got := kindsWhere(t, r, sharedWith(other)); got != "ipc net uts" {
			t.Errorf("the sandbox shares with %s: %s", other, got)
		}
	}
	if got := kindsWhere(t, r, surprising); got != "" {
		t.Errorf("surprises: %s", got)
	}
}
