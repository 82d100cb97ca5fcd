package inspect_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// kernelFacts are what is the same with a runtime and without: everything in force but usage, which changes.
type kernelFacts struct {
	PID          int
	Capabilities caps.State
	Reach        caps.Reach
	User         inspect.UserInForce
	NoNewPrivs   bool
	Seccomp      inspect.SeccompInForce
	AppArmor     string
	ReadonlyRoot bool
	Privileged   bool
	UserNS       inspect.UserNamespace
	Namespaces   map[nsdiff.Kind]string
	Place        cgroup.Place
	Folder       string
	Limits       []string
	Processes    []string
	Mounts       []string
}

func kernelFactsOf(r inspect.Report) kernelFacts {
	var k kernelFacts
	k.PID, _ = r.PID.Value()
	k.Capabilities, _ = r.Capabilities.InForce.Value()
	k.Reach, _ = r.Capabilities.Reach.Value()
	k.User, _ = r.User.InForce.Value()
	k.NoNewPrivs, _ = r.NoNewPrivs.InForce.Value()
	k.Seccomp, _ = r.Seccomp.InForce.Value()
	k.AppArmor, _ = r.AppArmor.InForce.Value()
	k.ReadonlyRoot, _ = r.ReadonlyRootfs.InForce.Value()
	k.Privileged, _ = r.Privileged.InForce.Value()
	k.UserNS, _ = r.UserNamespace.InForce.Value()
	k.Namespaces = map[nsdiff.Kind]string{}
	namespaces, _ := r.Namespaces.InForce.Value()
	for _, n := range namespaces {
		id, _ := n.ID.Value()
		var with []string
		for _, other := range n.With {
			with = append(with, other.ID)
		}
		slices.Sort(with)
		k.Namespaces[n.Kind] = fmt.Sprint(id, n.Comparison, with)
	}
	group, _ := r.Cgroup.InForce.Value()
	k.Place = group.Place
	e := group.Effective
	k.Limits = slices.Concat(levels(e.Memory), levels(e.Swap), levels(e.CPU), levels(e.Pids))
	k.Folder, _ = group.Folder.Value()
	processes, _ := r.Processes.Value()
	for _, p := range processes.List {
		k.Processes = append(k.Processes, fmt.Sprint(p.PID, p.Parent, p.Depth, p.Origin, p.Beyond))
	}
	mounts, _ := r.Mounts.Value()
	for _, m := range mounts.InForce {
		k.Mounts = append(k.Mounts, fmt.Sprint(m.Point, m.Type, m.Options))
	}
	return k
}

// levels are the limits of a process's cgroup and all above.
func levels[T cgroup.Bound[T]](e cgroup.Effective[T]) []string {
	var list []string
	for _, l := range e.Levels() {
		limit, ok := l.Limit.Value()
		list = append(list, fmt.Sprint(l.Kind, " ", l.Path, " ", limit, " ", ok))
	}
	return list
}

// TestLabKernel: without the runtime each of the lab's containers, sandboxes too, has in force what it has with it.
func TestLabKernel(t *testing.T) {
	i := lab(t)
	with, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kernel := inspect.OpenKernel(inspect.Options{}, nil)
	without, err := kernel.Snapshot(t.Context())
	if err != nil {
		t.Log(err) // of containers beside the lab's
	}
	if without.Node.Runtime != nil {
		t.Errorf("runtime %+v", without.Node.Runtime)
	}
	found := map[string]inspect.Report{}
	for _, r := range without.Containers {
		found[r.ID] = r
	}
	compared := 0
	for _, r := range with.Containers {
		if _, ok := r.PID.Value(); !ok {
			continue
		}
		compared++
		other, ok := found[r.ID]
		if !ok {
			t.Errorf("%s: %s is not found", r.FullName(), r.ID)
			continue
		}
		want, got := asJSON(t, kernelFactsOf(r)), asJSON(t, kernelFactsOf(other))
		if want != got {
			t.Errorf("%s: with the runtime\n%s\nwithout\n%s", r.FullName(), want, got)
		}
		if r.Pod != nil && r.Pod.UID != "" && (other.Pod == nil || other.Pod.UID != r.Pod.UID) {
			t.Errorf("%s: pod %+v, want the uid %s", r.FullName(), other.Pod, r.Pod.UID)
		}
		for _, g := range other.Gaps() {
			if g.Cause.Error() != inspect.ErrKernelOnly.Error() && !slices.ContainsFunc(r.Gaps(), func(o inspect.Gap) bool { return o.Fact == g.Fact }) {
				t.Errorf("%s: unknown without the runtime: %s: %v", r.FullName(), g.Fact, g.Cause)
			}
		}
	}
	if compared < 2*len(manifests(t)) {
		t.Errorf("only %d containers and sandboxes were compared", compared)
	}
}

// TestLabSince: what a kernel lacks is absent, neither unknown nor nothing; what it has is known.
func TestLabSince(t *testing.T) {
	i := lab(t)
	release := value(t, "kernel", i.Node().Kernel)
	var have [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); err != nil {
		t.Fatalf("release %q: %v", release, err)
	}
	r := isolation(t, i, "pod-default-caps")
	namespaces := map[nsdiff.Kind]inspect.Known{}
	for _, n := range value(t, "namespaces", r.Namespaces.InForce) {
		namespaces[n.Kind] = n.ID.Known()
	}
	for _, test := range []struct {
		name  string
		since []int
		known inspect.Known
	}{
		{"kernel.io_uring_disabled", []int{6, 6}, i.Node().Sysctls.IOUringDisabled.Known()},
		{"Seccomp_filters", []int{5, 9}, value(t, "seccomp", r.Seccomp.InForce).Filters.Known()},
		{"the time namespace", []int{5, 6}, namespaces[nsdiff.Time]},
	} {
		want := inspect.Absent
		if slices.Compare(have[:], test.since) >= 0 {
			want = inspect.Present
		}
		equal(t, test.name, test.known, want)
	}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
