package nsdiff

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestGroups(t *testing.T) {
	sets := map[string]Set{
		"a": set(t, map[Kind]any{Net: "net:[20]"}),
		"b": set(t, map[Kind]any{Net: "net:[10]"}),
		"c": set(t, map[Kind]any{Net: "net:[20]", Time: nil}),
		"d": set(t, map[Kind]any{Net: syscall.EACCES, Time: syscall.EACCES}),
		"e": {},
	}
	for k, want := range map[Kind]string{
		Net:  "[{net:[10] [b]} {net:[20] [a c]}] [d e]",
		Time: "[{time:[4026531834] [a b]}] [d e]",
		UTS:  "[{uts:[4026531838] [a b c d]}] [e]",
	} {
		groups, unknown := Groups(k, sets)
		if got := fmt.Sprint(groups, unknown); got != want {
			t.Errorf("%s: %s, want %s", k, got, want)
		}
	}
}

// labPods are the pods of the recorded lab.
func labPods(t *testing.T) Node {
	r := recorded(t, "lab")
	container := func(id string, pid int) Container {
		s, err := r.Namespaces(pid)
		if err != nil {
			t.Fatal(err)
		}
		return Container{ID: id, Sandbox: strings.HasPrefix(id, "pause"), Namespaces: s}
	}
	return Node{Host: r.Host(), Pods: []Pod{
		{Name: "pod-default-ns", Containers: []Container{container("pause1", 8013), container("app1", 8180)}},
		{Name: "pod-host-ns", HostNetwork: true, HostPID: true, HostIPC: true, Containers: []Container{container("pause2", 8011), container("app2", 8179)}},
		{Name: "pod-two-containers", Containers: []Container{container("pause3", 8003), container("app3", 8212), container("sidecar3", 8417)}},
		{Name: "pod-shared-pid", SharedPID: true, Containers: []Container{container("pause4", 8027), container("app4", 8216), container("sidecar4", 8378)}},
	}}
}

// find returns the sharing of a container at a kind.
func find(t *testing.T, n Node, id string, k Kind) Sharing {
	t.Helper()
	all := n.Sharing()
	i := slices.IndexFunc(all, func(s Sharing) bool { return s.Container == id && s.Kind == k })
	if i < 0 {
		t.Fatalf("no %s of %s", k, id)
	}
	return all[i]
}

func TestSharingOfLab(t *testing.T) {
	n := labPods(t)
	for _, s := range n.Sharing() {
		if s.Verdict != AsExpected || s.Reason != "" {
			t.Errorf("%s %s: %s %s", s.Container, s.Kind, s.Verdict, s.Reason)
		}
	}
	for id, want := range map[string]string{
		"app1":     "ipc:pause1 net:pause1 uts:pause1",
		"app3":     "ipc:pause3,sidecar3 net:pause3,sidecar3 uts:pause3,sidecar3",
		"sidecar4": "ipc:app4,pause4 net:app4,pause4 pid:app4,pause4 pid_for_children:app4,pause4 uts:app4,pause4",
	} {
		var got []string
		for _, s := range n.Sharing() {
			if s.Container == id && s.Host.Relation != Same && len(s.With) > 0 {
				got = append(got, s.Kind.String()+":"+strings.Join(s.With, ","))
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s shares %s, want %s", id, text, want)
		}
	}
	for _, k := range []Kind{Net, IPC, UTS, PID} {
		if s := find(t, n, "app2", k); s.Host.Relation != Same || s.Expected != ExpectHost || len(s.With) != 0 {
			t.Errorf("host pod: %+v", s)
		}
	}
}

func inode(t *testing.T, c Container, k Kind) string {
	t.Helper()
	ns, err := c.Namespaces.Namespace(k)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatUint(ns.Inode, 10)
}

// TestSurprises changes one thing at a time in the recorded lab.
func TestSurprises(t *testing.T) {
	type change func(*Node)
	put := func(pod, c int, k Kind, v any) change {
		return func(n *Node) {
			s := n.Pods[pod].Containers[c].Namespaces
			ns, err := readLink(folder{"ns/" + k.String(): v}, k)
			s.put(k, ns, err)
			n.Pods[pod].Containers[c].Namespaces = s
		}
	}
	for _, tc := range []struct {
		name   string
		change change
		want   []string
	}{
		{"host network that nobody asked for", put(0, 1, Net, "net:[4026531833]"), []string{"app1 net surprise: the host's"}},
		{"a network of another pod", put(0, 1, Net, "net:[4026532370]"), []string{
			"app1 net surprise: shared with app3, pause3, sidecar3", "pause3 net surprise: shared with app1",
			"app3 net surprise: shared with app1", "sidecar3 net surprise: shared with app1",
		}},
		{"a network of its own in a pod", put(2, 2, Net, "net:[77]"), []string{"sidecar3 net surprise: not that of pause3"}},
		{"the mounts of a neighbor", put(2, 2, Mnt, "mnt:[4026532461]"), []string{
			"app3 mnt surprise: shared with sidecar3", "sidecar3 mnt surprise: shared with app3",
		}},
		{"shared pid that nobody asked for", func(n *Node) { n.Pods[3].SharedPID = false }, []string{
			"pause4 pid surprise: shared with app4, sidecar4", "pause4 pid_for_children surprise: shared with app4, sidecar4",
			"app4 pid surprise: shared with pause4, sidecar4", "app4 pid_for_children surprise: shared with pause4, sidecar4",
			"sidecar4 pid surprise: shared with app4, pause4", "sidecar4 pid_for_children surprise: shared with app4, pause4",
		}},
		{"host pid asked for and not given", func(n *Node) { n.Pods[0].HostPID = true }, []string{
			"pause1 pid surprise: not the host's", "pause1 pid_for_children surprise: not the host's",
			"app1 pid surprise: not the host's", "app1 pid_for_children surprise: not the host's",
		}},
		{"user namespace asked for and not given", func(n *Node) { n.Pods[0].UserNamespace = true }, []string{
			"pause1 user surprise: the host's", "app1 user surprise: the host's",
		}},
		{"a user namespace that nobody asked for", put(0, 1, User, "user:[77]"), []string{"app1 user surprise: not the host's"}},
		{"version 2, and no cgroup namespace", func(n *Node) {
			n.CgroupV2 = true
			n.Pods = n.Pods[1:2]
		}, []string{"app2 cgroup surprise: the host's"}},
		{"version 2, privileged", func(n *Node) {
			n.CgroupV2 = true
			n.Pods = n.Pods[1:2]
			n.Pods[0].Containers[1].Privileged = true
		}, nil},
		{"a time namespace", put(0, 1, TimeForChildren, "time:[77]"), []string{"app1 time_for_children surprise: not the host's"}},
		{"a container of the pod in the pid namespace of another, as asked", func(n *Node) {
			put(2, 2, PID, "pid:["+inode(t, n.Pods[2].Containers[1], PID)+"]")(n)
			put(2, 2, PIDForChildren, "pid:["+inode(t, n.Pods[2].Containers[1], PID)+"]")(n)
			n.Pods[2].Containers[2].PIDTarget = "app3"
		}, nil},
		{"the pid namespace of another asked for and not given", func(n *Node) { n.Pods[2].Containers[2].PIDTarget = "app3" }, []string{
			"sidecar3 pid surprise: not that of app3", "sidecar3 pid_for_children surprise: not that of app3",
		}},
		{"other rules than a pod's", func(n *Node) {
			n.Pods[0].Containers[1].Expected = map[Kind]Expectation{Net: ExpectHost, PID: ExpectOwn}
		}, []string{"app1 net surprise: not the host's"}},
		{"the host's network, as declared", func(n *Node) {
			put(0, 1, Net, "net:[4026531833]")(n)
			n.Pods[0].Containers[1].Expected = map[Kind]Expectation{Net: ExpectJoined}
		}, nil},
		{"the network of another container, as declared", func(n *Node) {
			put(0, 1, Net, "net:["+inode(t, n.Pods[2].Containers[1], Net)+"]")(n)
			n.Pods[0].Containers[1].Expected = map[Kind]Expectation{Net: ExpectJoined}
		}, nil},
		{"unreadable", put(0, 1, Net, syscall.EACCES), []string{"app1 net unknown: readlink /proc/7/ns/net: permission denied"}},
		{"unreadable sandbox", put(2, 0, IPC, syscall.EACCES), []string{"pause3 ipc unknown: readlink /proc/7/ns/ipc: permission denied"}},
		{"no child yet", put(0, 1, PIDForChildren, nil), []string{"app1 pid_for_children absent: " + absent(PIDForChildren).Error()}},
		{"a host that cannot be read", func(n *Node) {
			n.Host = Host{First: unknown(syscall.EACCES)}
			n.Pods = n.Pods[:1]
			n.Pods[0].Containers = n.Pods[0].Containers[1:]
		}, []string{
			"app1 ipc unknown: permission denied", "app1 mnt unknown: permission denied", "app1 net unknown: permission denied",
			"app1 pid unknown: permission denied", "app1 pid_for_children unknown: permission denied",
			"app1 uts unknown: permission denied",
		}},
	} {
		n := labPods(t)
		tc.change(&n)
		var got []string
		for _, s := range n.Sharing() {
			if s.Verdict != AsExpected {
				got = append(got, fmt.Sprintf("%s %s %s: %s", s.Container, s.Kind, s.Verdict, s.Reason))
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
}

func TestSharingJSON(t *testing.T) {
	s := find(t, labPods(t), "app1", Net)
	data, err := json.Marshal(s)
	want := `{"pod":"pod-default-ns","container":"app1","kind":"net",` +
		`"host":{"relation":"other","proof":"fixed inode"},"initial":{"relation":"other","proof":"fixed inode"},` +
		`"with":["pause1"],"expected":"pod","verdict":"expected"}`
	if err != nil || string(data) != want {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
	var back Sharing
	if err := json.Unmarshal(data, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(s) {
		t.Errorf("%v comes back as %v, %v", s, back, err)
	}
	for _, text := range []string{`{"verdict":"safe"}`, `{"expected":""}`, `{"host":{"relation":"yes"}}`, `{"kind":"none"}`} {
		if err := json.Unmarshal([]byte(text), &back); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	if got := fmt.Sprint(Relation(9), Expectation(9), Verdict(9)); got != "Relation(9) Expectation(9) Verdict(9)" {
		t.Error(got)
	}
}
