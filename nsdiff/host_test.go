package nsdiff

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// TestCompare goes through what can be known of the host.
func TestCompare(t *testing.T) {
	initial := set(t, nil)
	node := set(t, map[Kind]any{Net: "net:[4026532300]", PID: "pid:[4026532300]"})
	other := set(t, map[Kind]any{Net: "net:[4026532999]", PID: "pid:[4026532999]"})
	unreadable := set(t, map[Kind]any{Net: syscall.EACCES, PID: syscall.EACCES})
	absent := set(t, map[Kind]any{Net: nil, PID: nil})
	const denied = "readlink /proc/7/ns/"
	for _, tc := range []struct {
		name string
		host Host
		s    Set
		k    Kind
		want Comparison
	}{
		{"first process", Host{First: initial}, initial, PID, Comparison{Match{Same, ByFirstProcess, ""}, Match{Same, ByInode, ""}}},
		{"other", Host{First: initial}, other, PID, Comparison{Match{Other, ByFirstProcess, ""}, Match{Other, ByInode, ""}}},
		{"node in a container", Host{First: node}, node, PID, Comparison{Match{Same, ByFirstProcess, ""}, Match{Other, ByInode, ""}}},
		{"machine's from a node in a container", Host{First: node}, initial, PID, Comparison{Match{Other, ByFirstProcess, ""}, Match{Same, ByInode, ""}}},

		{"no first process, initial", Host{First: unreadable}, initial, PID, Comparison{Match{Same, ByInode, ""}, Match{Same, ByInode, ""}}},
		{"no first process, other", Host{First: unreadable}, other, PID, Comparison{Match{Unknown, "", denied}, Match{Other, ByInode, ""}}},
		{"no first process, but the machine's", Host{First: unreadable, Machine: true}, other, PID, Comparison{Match{Other, ByInode, ""}, Match{Other, ByInode, ""}}},

		{"old kernel, kernel thread", Host{First: unreadable, Machine: true, KernelThread: node}, node, Net, Comparison{Match{Same, ByKernelThread, ""}, Match{Same, ByKernelThread, ""}}},
		{"old kernel, not the thread's", Host{First: unreadable, Machine: true, KernelThread: node}, other, Net, Comparison{Match{Other, ByKernelThread, ""}, Match{Other, ByKernelThread, ""}}},
		{"old kernel, nothing to compare with", Host{First: unreadable, KernelThread: unreadable, Release: "6.16.9"}, other, Net, Comparison{Match{Unknown, "", denied}, Match{Unknown, "", "fixed since Linux 6.17"}}},
		{"old kernel, first process only", Host{First: node, KernelThread: unreadable, Release: "6.16.9"}, node, Net, Comparison{Match{Same, ByFirstProcess, ""}, Match{Unknown, "", "fixed since Linux 6.17"}}},
		{"new kernel, nothing to compare with", Host{First: unreadable, KernelThread: unreadable, Release: "6.17.0-rc1"}, other, Net, Comparison{Match{Unknown, "", denied}, Match{Other, ByInode, ""}}},
		{"unknown kernel, the fixed number", Host{}, initial, Net, Comparison{Match{Same, ByInode, ""}, Match{Same, ByInode, ""}}},

		{"unreadable", Host{First: initial, Machine: true, KernelThread: initial}, unreadable, Net, Comparison{Match{Unknown, "", denied}, Match{Unknown, "", denied}}},
		{"unreadable both", Host{First: unreadable}, unreadable, PID, Comparison{Match{Unknown, "", denied}, Match{Unknown, "", denied}}},
		{"absent", Host{First: absent}, absent, PID, Comparison{Match{Absent, "", "no pid namespaces"}, Match{Absent, "", "no pid namespaces"}}},
		{"zero", Host{}, Set{}, PID, Comparison{Match{Unknown, "", "not read"}, Match{Unknown, "", "not read"}}},
	} {
		got := tc.host.Compare(tc.s, tc.k)
		if !like(got.Host, tc.want.Host) || !like(got.Initial, tc.want.Initial) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// like compares two matches; of the cause, a part is enough.
func like(got, want Match) bool {
	return got.Relation == want.Relation && got.Proof == want.Proof && (got.Cause == "") == (want.Cause == "") &&
		strings.Contains(got.Cause, want.Cause)
}

func TestFixed(t *testing.T) {
	for release, want := range map[string]bool{
		"": false, "6": false, "x.y": false, "3.10.0-1160.el7": false, "6.16.12": false, "6.17": true, "6.18.44-1": true, "7.0.0": true,
	} {
		h := Host{Release: release}
		if h.fixed(Net) != want || h.fixed(Mnt) != want || !h.fixed(Time) {
			t.Errorf("%q: net %v, mnt %v, time %v", release, h.fixed(Net), h.fixed(Mnt), h.fixed(Time))
		}
	}
}

func TestIsKernelThread(t *testing.T) {
	for stat, want := range map[string]bool{
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0\n":       true,
		"2 (kthreadd) S 0 0 0 0 -1 4194560 0 0\n":       false, // no PF_KTHREAD: a program of that name
		"9 (kworker/0) S 2 0 0 0 -1 69238880 0 0\n":     false,
		"2 (a) S 0 0 0 0 -1 2129984 (b) S 1 0 0 0 -1 0": false, // a name that forges the fields
		"2 (kthreadd) S 0 0":                            false,
		"2":                                             false,
		"":                                              false,
	} {
		if got := isKernelThread([]byte(stat)); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

// TestHostRecorded compares processes of recorded nodes.
func TestHostRecorded(t *testing.T) {
	for _, tc := range []struct {
		tree    string
		pid     int
		machine bool
		host    map[Relation][]Kind // all others are Same
		initial map[Relation][]Kind
	}{
		{"lab", 8179, true, map[Relation][]Kind{Other: {Mnt}}, map[Relation][]Kind{Other: {Mnt}}},
		{
			"lab", 8180, true,
			map[Relation][]Kind{Other: {IPC, Mnt, Net, PID, PIDForChildren, UTS}},
			map[Relation][]Kind{Other: {IPC, Mnt, Net, PID, PIDForChildren, UTS}},
		},
		{
			"kind", 40, false,
			map[Relation][]Kind{Other: {Cgroup, Mnt, PID, PIDForChildren}},
			map[Relation][]Kind{Other: {Cgroup, IPC, PID, PIDForChildren, UTS}, Unknown: {Mnt, Net}},
		},
		{
			"kind", 41, false,
			map[Relation][]Kind{Other: {Mnt, Net, PID, PIDForChildren}},
			map[Relation][]Kind{Other: {Cgroup, IPC, UTS}, Unknown: {Mnt, Net}},
		},
		{
			"old", 300, true,
			map[Relation][]Kind{Other: {IPC, Mnt, Net, PID, UTS}, Absent: {Cgroup, PIDForChildren, Time, TimeForChildren}},
			map[Relation][]Kind{Other: {IPC, Mnt, Net, PID, UTS}, Absent: {Cgroup, PIDForChildren, Time, TimeForChildren}},
		},
	} {
		r := recorded(t, tc.tree)
		h := r.Host()
		if h.Machine != tc.machine || h.Release == "" {
			t.Errorf("%s: machine %v, release %q", tc.tree, h.Machine, h.Release)
		}
		s, err := r.Namespaces(tc.pid)
		if err != nil {
			t.Fatal(err)
		}
		host, initial := map[Relation][]Kind{}, map[Relation][]Kind{}
		for _, k := range Kinds() {
			c := h.Compare(s, k)
			if c.Host.Relation != Same {
				host[c.Host.Relation] = append(host[c.Host.Relation], k)
			}
			if c.Initial.Relation != Same {
				initial[c.Initial.Relation] = append(initial[c.Initial.Relation], k)
			}
		}
		if !reflect.DeepEqual(host, tc.host) || !reflect.DeepEqual(initial, tc.initial) {
			t.Errorf("%s %d:\nhost    %v, want %v\ninitial %v, want %v", tc.tree, tc.pid, host, tc.host, initial, tc.initial)
		}
	}
}

// TestHostHere compares our own process with this machine, whatever may be read on it.
func TestHostHere(t *testing.T) {
	h := Reader{}.Host()
	s, err := Reader{}.Namespaces(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		c := h.Compare(s, k)
		own, err := os.Readlink("/proc/self/ns/" + k.String())
		if err != nil {
			t.Fatal(err)
		}
		first, err := os.Readlink("/proc/1/ns/" + k.String())
		switch {
		case err == nil && (c.Host.Relation == Same) != (own == first), err == nil && c.Host.Proof != ByFirstProcess:
			t.Errorf("%s: we are in %s, the first process in %s: %+v", k, own, first, c)
		case errors.Is(err, fs.ErrPermission):
			_, err := h.First.Namespace(k)
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "/proc/1/ns/"+k.String()) {
				t.Errorf("%s: the first process's is %v", k, err)
			}
			if own == Initial(k).String() && c.Host != (Match{Same, ByInode, ""}) {
				t.Errorf("%s: we are in %s: %+v", k, own, c)
			}
		}
	}
}

func TestHostJSON(t *testing.T) {
	h := recorded(t, "kind").Host()
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Host
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	s := set(t, nil)
	for _, k := range Kinds() {
		if h.Compare(s, k) != back.Compare(s, k) {
			t.Errorf("%s: %+v and %+v", k, h.Compare(s, k), back.Compare(s, k))
		}
	}
	form, err := json.Marshal(h.Compare(s, Net))
	want := `{"host":{"relation":"other","proof":"first process"},"initial":{"relation":"same","proof":"fixed inode"}}`
	if err != nil || string(form) != want {
		t.Errorf("%s, %v; want %s", form, err, want)
	}
}
