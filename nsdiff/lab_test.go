package nsdiff_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// labNode reads the containers of the lab. The keys of their pods are the pods' names; the containers' IDs are pod/name, and
// pod/pause for a sandbox.
func labNode(t *testing.T) nsdiff.Node {
	t.Helper()
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs a lab: bin/lab run -- go test -run '^TestLab' ./nsdiff")
	}
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	list, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var r nsdiff.Reader
	pods := map[string]*nsdiff.Pod{}
	var names []string
	for _, c := range list {
		pid, running := c.PID.Value()
		if c.Pod == nil || !running {
			continue
		}
		p := pods[c.Pod.Name]
		if p == nil {
			p = asked(c.Pod.Name)
			pods[c.Pod.Name] = p
			names = append(names, c.Pod.Name)
		}
		s, err := r.Namespaces(pid)
		if err != nil {
			t.Fatal(err)
		}
		name := c.Name
		if c.Kind == inspect.KindSandbox {
			name = "pause"
		}
		p.Containers = append(p.Containers, nsdiff.Container{
			ID: c.Pod.Name + "/" + name, Sandbox: name == "pause", Namespaces: s,
			Privileged: c.Pod.Name == "pod-host-ns" || c.Pod.Name == "pod-privileged",
		})
	}
	_, err = os.Stat("/sys/fs/cgroup/cgroup.controllers")
	node := nsdiff.Node{Host: r.Host(), CgroupV2: err == nil}
	for _, name := range names {
		node.Pods = append(node.Pods, *pods[name])
	}
	return node
}

// asked returns what a pod of the lab asked for.
func asked(name string) *nsdiff.Pod {
	p := &nsdiff.Pod{Name: name}
	switch name {
	case "pod-host-ns":
		p.HostNetwork, p.HostPID, p.HostIPC = true, true, true
	case "pod-shared-pid":
		p.SharedPID = true
	case "pod-user-namespace":
		p.UserNamespace = true
	}
	return p
}

// at returns the sharing of a container at a kind.
func at(t *testing.T, all []nsdiff.Sharing, id string, k nsdiff.Kind) nsdiff.Sharing {
	t.Helper()
	i := slices.IndexFunc(all, func(s nsdiff.Sharing) bool { return s.Container == id && s.Kind == k })
	if i < 0 {
		t.Fatalf("the lab has no %s", id)
	}
	return all[i]
}

// TestLabSharing: nothing in the lab is a surprise, but a user namespace that the runtime did not make.
func TestLabSharing(t *testing.T) {
	node := labNode(t)
	all := node.Sharing()
	userNamespaces := os.Getenv("RTINSPECT_LAB_RUNTIME") != "1.6"
	for _, s := range all {
		want := nsdiff.AsExpected
		if !userNamespaces && s.Kind == nsdiff.User && s.Pod == "pod-user-namespace" {
			want = nsdiff.Surprise
		}
		if s.Verdict != want {
			t.Errorf("%s %s: %s %s, want %s", s.Container, s.Kind, s.Verdict, s.Reason, want)
		}
	}

	cgroup := nsdiff.Same
	if node.CgroupV2 {
		cgroup = nsdiff.Other
	}
	isolated := map[nsdiff.Kind]nsdiff.Relation{
		nsdiff.Net: nsdiff.Other, nsdiff.IPC: nsdiff.Other, nsdiff.UTS: nsdiff.Other, nsdiff.PID: nsdiff.Other,
		nsdiff.PIDForChildren: nsdiff.Other, nsdiff.Mnt: nsdiff.Other, nsdiff.Cgroup: cgroup,
		nsdiff.User: nsdiff.Same, nsdiff.Time: nsdiff.Same, nsdiff.TimeForChildren: nsdiff.Same,
	}
	for _, id := range []string{"pod-default-ns/app", "pod-two-containers/app", "pod-shared-pid/app"} {
		for k, want := range isolated {
			if s := at(t, all, id, k); s.Host.Relation != want {
				t.Errorf("%s %s: %+v, want %s", id, k, s.Host, want)
			}
		}
	}
	for _, k := range []nsdiff.Kind{nsdiff.PID, nsdiff.Net, nsdiff.IPC, nsdiff.UTS} {
		if s := at(t, all, "pod-host-ns/app", k); s.Host.Relation != nsdiff.Same || s.Host.Proof == "" {
			t.Errorf("pod-host-ns %s: %+v", k, s.Host)
		}
	}
	if s := at(t, all, "pod-host-ns/app", nsdiff.Mnt); s.Host.Relation != nsdiff.Other || len(s.With) != 0 {
		t.Errorf("pod-host-ns mnt: %+v", s)
	}
}

// TestLabGroups: the containers of a pod share what they should and nothing else.
func TestLabGroups(t *testing.T) {
	node := labNode(t)
	all := node.Sharing()
	for pod, shared := range map[string][]nsdiff.Kind{
		"pod-two-containers": {nsdiff.Net, nsdiff.IPC, nsdiff.UTS},
		"pod-shared-pid":     {nsdiff.Net, nsdiff.IPC, nsdiff.UTS, nsdiff.PID, nsdiff.PIDForChildren},
	} {
		for _, k := range []nsdiff.Kind{nsdiff.Net, nsdiff.IPC, nsdiff.UTS, nsdiff.PID, nsdiff.PIDForChildren, nsdiff.Mnt} {
			var want []string
			if slices.Contains(shared, k) {
				want = []string{pod + "/pause", pod + "/sidecar"}
			}
			if s := at(t, all, pod+"/app", k); !slices.Equal(s.With, want) {
				t.Errorf("%s %s is shared with %v, want %v", pod, k, s.With, want)
			}
		}
	}

	// What Groups says is what the comparison with the host says.
	sets := map[string]nsdiff.Set{}
	for _, p := range node.Pods {
		for _, c := range p.Containers {
			sets[c.ID] = c.Namespaces
		}
	}
	for _, k := range nsdiff.Kinds() {
		groups, unknown := nsdiff.Groups(k, sets)
		if len(unknown) > 0 {
			t.Errorf("%s is unknown of %v", k, unknown)
		}
		for _, g := range groups {
			for _, id := range g.Members {
				s := at(t, all, id, k)
				if s.Host.Relation == nsdiff.Same {
					continue
				}
				if with := slices.DeleteFunc(slices.Clone(g.Members), func(m string) bool { return m == id }); !slices.Equal(with, s.With) {
					t.Errorf("%s %s: with %v, and in a group with %v", id, k, s.With, with)
				}
			}
		}
	}
}

// TestLabUserNamespace looks at the ids and the owner of a pod's user namespace, where the runtime makes one.
func TestLabUserNamespace(t *testing.T) {
	node := labNode(t)
	s := at(t, node.Sharing(), "pod-user-namespace/app", nsdiff.User)
	p, err := nsdiff.Reader{}.Process(labPID(t, "pod-user-namespace", "app"))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := p.IDMaps()
	if err != nil {
		t.Fatal(err)
	}
	user, err := p.Namespaces.Namespace(nsdiff.User)
	if err != nil {
		t.Fatal(err)
	}
	netOwner, err := p.Lineage.Owner(nsdiff.Net)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("RTINSPECT_LAB_RUNTIME") == "1.6" {
		if s.Host.Relation != nsdiff.Same || !maps.UID.Identity() {
			t.Errorf("containerd 1.6 knows no user namespaces: %+v, %v", s, maps.UID)
		}
		return
	}
	root, ok := maps.UID.Outside(0)
	if s.Host.Relation != nsdiff.Other || !ok || root%65536 != 0 || root == 0 {
		t.Errorf("%+v, root is %d, %v in %v", s, root, ok, maps.UID)
	}
	if netOwner != user {
		t.Errorf("the pod's network belongs to %s, want %s", netOwner, user)
	}
	if parents, err := p.Lineage.Parents(nsdiff.User); err != nil || !slices.Equal(parents, []nsdiff.Namespace{nsdiff.Initial(nsdiff.User)}) {
		t.Errorf("above %s are %v, %v", user, parents, err)
	}
}

func labPID(t *testing.T, pod, name string) int {
	t.Helper()
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	c, err := i.Resolve(t.Context(), strings.Join([]string{pod, name}, "/"))
	if err != nil {
		t.Fatal(err)
	}
	pid, ok := c.PID.Value()
	if !ok {
		t.Fatalf("%s/%s: no process: %v", pod, name, c.PID.Cause())
	}
	return pid
}
