package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// namespaceSet makes a set of namespaces: the initial ones but for those in own.
func namespaceSet(t *testing.T, own map[nsdiff.Kind]uint64) nsdiff.Set {
	t.Helper()
	var parts []string
	for _, k := range nsdiff.Kinds() {
		inode, ok := own[k]
		if !ok {
			inode = nsdiff.Initial(k).Inode
		}
		parts = append(parts, fmt.Sprintf(`%q:{"state":"known","value":{"kind":%q,"inode":%d}}`, k, k.Type(), inode))
	}
	var s nsdiff.Set
	if err := json.Unmarshal([]byte("{"+strings.Join(parts, ",")+"}"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// isolated is a set with nothing of the host's that a container has of its own.
func isolated(t *testing.T, n uint64) nsdiff.Set {
	return namespaceSet(t, map[nsdiff.Kind]uint64{
		nsdiff.IPC: 100, nsdiff.Net: 101, nsdiff.UTS: 102, nsdiff.Mnt: n, nsdiff.PID: n + 1, nsdiff.PIDForChildren: n + 1,
	})
}

// nodeOf is an inspector of a machine with these cgroup mounts.
func nodeOf(t *testing.T, mountinfo string) *Inspector {
	t.Helper()
	root := t.TempDir()
	proc := filepath.Join(root, "proc")
	if err := os.MkdirAll(filepath.Join(proc, "7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("7", filepath.Join(proc, "self")); err != nil {
		t.Fatal(err)
	}
	mountinfo = strings.ReplaceAll(mountinfo, "/sys", root+"/sys")
	if err := os.WriteFile(filepath.Join(proc, "7", "mountinfo"), []byte(mountinfo), 0o644); err != nil {
		t.Fatal(err)
	}
	host := nsdiff.Host{First: namespaceSet(t, nil), Machine: true, KernelThread: namespaceSet(t, nil), Release: "6.18.0"}
	return &Inspector{
		options: Options{HostRoot: root}, fs: procfs.FS{Proc: proc}, host: func() nsdiff.Host { return host },
	}
}

const (
	mountinfoV1 = "30 20 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	mountinfoV2 = "30 20 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
)

// testListed is a container of a pod that asked for something.
func testListed(t *testing.T, id, pod string, kind Kind, options string, set nsdiff.Set) listed {
	t.Helper()
	f := listed{Container: Container{ID: id, Name: id, Kind: kind}, record: &runtimeapi.Container{Spec: []byte(`{"process":{}}`)}, namespaces: set}
	if pod == "" {
		return f
	}
	f.Pod = &Pod{Name: pod, Namespace: "default", SandboxID: "pause-" + pod}
	if kind == KindSandbox {
		f.ID = f.Pod.SandboxID
	}
	if options == "" {
		return f
	}
	data := `{"Version":"v1","Metadata":{"Config":{"linux":{"security_context":{"namespace_options":` + options + `}}}}}`
	request, err := parseRequest([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	f.request = request
	return f
}

// shared returns what share says, in lines: container kind verdict reason, for
// all that is not as expected.
func shared(t *testing.T, i *Inspector, all []listed) string {
	t.Helper()
	var chosen []*listed
	reports := make([]Report, len(all))
	for n := range all {
		chosen = append(chosen, &all[n])
		reports[n].Container = all[n].Container
		var p *procfs.Process
		if _, err := all[n].declared(); err != nil {
			t.Logf("%s: %v", all[n].ID, err)
		}
		p, err := procfs.FS{}.Open(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		reports[n].Namespaces.InForce = KnownFact(namespacesOf(all[n].namespaces, i.host(), p), "test")
		_ = p.Close()
	}
	i.collector(nil).share(reports, chosen, all)
	var lines []string
	for _, r := range reports {
		list, _ := r.Namespaces.InForce.Value()
		for _, n := range list {
			if n.Verdict != nsdiff.AsExpected {
				lines = append(lines, fmt.Sprintf("%s %s %s: %s", r.ID, n.Kind, n.Verdict, n.Reason))
			}
		}
	}
	return strings.Join(lines, "\n")
}

const (
	askedNormal = `{"pid":1}`
	askedHost   = `{"network":2,"pid":2,"ipc":2}`
)

func TestShare(t *testing.T) {
	sandbox := isolated(t, 200)
	pod := func(options string, set nsdiff.Set) []listed {
		return []listed{
			testListed(t, "", "web", KindSandbox, options, sandbox),
			testListed(t, "app", "web", KindContainer, options, set),
		}
	}
	target := append(pod(askedNormal, isolated(t, 300)),
		testListed(t, "debug", "web", KindContainer, `{"pid":3,"target_id":"app"}`, namespaceSet(t, map[nsdiff.Kind]uint64{
			nsdiff.IPC: 100, nsdiff.Net: 101, nsdiff.UTS: 102, nsdiff.Mnt: 400, nsdiff.PID: 301, nsdiff.PIDForChildren: 301,
		})))
	docker := testListed(t, "docker", "", KindContainer, "", isolated(t, 500))
	docker.record.Spec = []byte(`{"process":{},"linux":{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"ipc"},{"type":"uts"}]}}`)
	broken := testListed(t, "broken", "", KindContainer, "", isolated(t, 600))
	broken.record.Spec = []byte(`{"process":`)
	for name, tc := range map[string]struct {
		mountinfo string
		all       []listed
		want      string
	}{
		"as asked":                         {mountinfoV1, pod(askedNormal, isolated(t, 300)), ""},
		"the host's, as asked":             {mountinfoV1, pod(askedHost, namespaceSet(t, map[nsdiff.Kind]uint64{nsdiff.Mnt: 9}))[1:], ""},
		"the pid namespace of a container": {mountinfoV1, target, ""},
		"the host's network that nobody asked for": {mountinfoV1, pod(askedNormal, namespaceSet(t, map[nsdiff.Kind]uint64{
			nsdiff.IPC: 100, nsdiff.UTS: 102, nsdiff.Mnt: 300, nsdiff.PID: 301, nsdiff.PIDForChildren: 301,
		})), "app net surprise: the host's"},
		"one of its own on version 2 is missing": {mountinfoV2, pod(askedNormal, isolated(t, 300)), "app cgroup surprise: the host's"},
		"an unknown version of cgroups": {
			"", pod(askedNormal, isolated(t, 300))[1:],
			"app cgroup unknown: what was asked for is unknown: ROOT/proc/self/mountinfo: no cgroups are mounted on ROOT/sys/fs/cgroup",
		},
		"not through the CRI":               {mountinfoV1, []listed{docker}, "docker net surprise: not the host's"},
		"with a specification that is none": {mountinfoV1, []listed{broken}, "unknown x 10"},
	} {
		t.Run(name, func(t *testing.T) {
			i := nodeOf(t, tc.mountinfo)
			got := strings.ReplaceAll(shared(t, i, tc.all), i.options.HostRoot, "ROOT")
			if tc.want == "unknown x 10" {
				if n := strings.Count(got, " unknown: what was asked for is unknown: OCI runtime"); n != 10 {
					t.Errorf("%d unknown in\n%s", n, got)
				}
				return
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// TestShareOfGuest: a sandbox's process says nothing of its guest.
func TestShareOfGuest(t *testing.T) {
	i := nodeOf(t, mountinfoV1)
	f := testListed(t, "app", "web", KindContainer, askedNormal, namespaceSet(t, nil))
	reports := []Report{{Container: f.Container}}
	reports[0].Tier = KnownFact(TierVM, "runtime")
	reports[0].Namespaces.InForce = KnownFact([]Namespace{{Kind: nsdiff.Cgroup, With: []Neighbor{}}}, "test")
	all := []listed{f}
	list, _ := reports[0].Namespaces.InForce.Value()
	for range nsdiff.Kinds()[1:] {
		list = append(list, Namespace{})
	}
	reports[0].Namespaces.InForce = KnownFact(list, "test")
	i.collector(nil).share(reports, []*listed{&all[0]}, all)
	for _, n := range list {
		if n.Verdict != nsdiff.NotApplicable || n.Expected.Known() != Absent || !strings.Contains(n.Reason, "sandbox's") {
			t.Errorf("%+v", n)
		}
	}
}

// TestNeighbors: names tell containers apart that have the same ones.
func TestNeighbors(t *testing.T) {
	all := []listed{
		testListed(t, "app", "web", KindContainer, askedNormal, nsdiff.Set{}),
		testListed(t, "", "web", KindSandbox, askedNormal, nsdiff.Set{}),
		testListed(t, "", "web", KindSandbox, askedNormal, nsdiff.Set{}),
	}
	n := nodeOf(t, mountinfoV1).neighborhood(all)
	var names []string
	for name := range n.names {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"default/web (sandbox)", "default/web (sandbox) (/pause-web)", "default/web/app"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestDeclaredNamespaces(t *testing.T) {
	s, err := parseSpec([]byte(`{"process":{},"linux":{"namespaces":[{"type":"network","path":"/n"},{"type":"mount"},{"type":"cgroup"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	list, ok := declaredNamespaces(s).Value()
	if got := fmt.Sprint(list, ok); got != "[{cgroup } {mnt } {net /n}] true" {
		t.Error(got)
	}
	s.Linux.Namespaces[0].Type = "quantum"
	if f := declaredNamespaces(s); f.Known() != Unknown || !strings.Contains(f.Cause().Error(), `"quantum"`) {
		t.Errorf("%v", f)
	}
}

func TestNamespaceDrift(t *testing.T) {
	i := nodeOf(t, mountinfoV1)
	p, err := procfs.FS{}.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, tc := range map[string]struct {
		kind     Kind
		asked    NamespaceRequest
		declared []NamespaceDeclared
		inForce  nsdiff.Set
		want     string
	}{
		"as asked": {
			KindContainer,
			NamespaceRequest{NamespacePod, NamespaceContainer, NamespacePod, ""},
			[]NamespaceDeclared{{nsdiff.IPC, "/i"}, {nsdiff.Mnt, ""}, {nsdiff.Net, "/n"}, {nsdiff.PID, ""}, {nsdiff.UTS, "/u"}},
			isolated(t, 300), "",
		},
		"the host's": {
			KindContainer,
			NamespaceRequest{NamespaceNode, NamespaceNode, NamespaceNode, ""},
			[]NamespaceDeclared{{nsdiff.IPC, "/i"}, {nsdiff.Mnt, ""}, {nsdiff.Net, "/n"}, {nsdiff.PID, "/p"}, {nsdiff.UTS, "/u"}},
			namespaceSet(t, map[nsdiff.Kind]uint64{nsdiff.Mnt: 5}), "",
		},
		"a sandbox": {
			KindSandbox,
			NamespaceRequest{NamespacePod, NamespaceContainer, NamespaceNode, ""},
			[]NamespaceDeclared{{nsdiff.Mnt, ""}, {nsdiff.Net, "/n"}, {nsdiff.PID, ""}, {nsdiff.UTS, ""}},
			namespaceSet(t, map[nsdiff.Kind]uint64{nsdiff.Net: 1, nsdiff.Mnt: 5, nsdiff.PID: 6, nsdiff.UTS: 7}), "",
		},
		"nothing as asked": {
			KindContainer,
			NamespaceRequest{NamespacePod, NamespaceContainer, NamespaceNode, ""},
			[]NamespaceDeclared{{nsdiff.IPC, ""}, {nsdiff.Mnt, ""}},
			namespaceSet(t, map[nsdiff.Kind]uint64{nsdiff.Net: 1}),
			"ipc requested>declared node: a new one, net requested>declared pod: the runtime's, " +
				"pid requested>declared container: the runtime's, ipc declared>in force a new one: the host's, " +
				"mnt declared>in force a new one: the host's, net declared>in force the runtime's: another than the host's",
		},
	} {
		r := Report{Container: Container{Kind: tc.kind}}
		r.Namespaces.Requested = requested(tc.asked)
		r.Namespaces.Declared = declared(tc.declared)
		r.Namespaces.InForce = KnownFact(namespacesOf(tc.inForce, i.host(), p), "test")
		var got []string
		for _, d := range drift(&r) {
			got = append(got, fmt.Sprintf("%s %s>%s %s: %s", strings.TrimPrefix(d.Setting, "namespaces."), d.From, d.To, d.Want, d.Have))
		}
		if text := strings.Join(got, ", "); text != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, text, tc.want)
		}
	}
}

// TestNamespaceGaps: whatever is unknown of a namespace is a gap.
func TestNamespaceGaps(t *testing.T) {
	known := KnownFact(nsdiff.Initial(nsdiff.Net), "link")
	same := nsdiff.Match{Relation: nsdiff.Same, Proof: nsdiff.ByInode}
	unknown := nsdiff.Match{Cause: "denied"}
	for want, n := range map[string]Namespace{
		"": {ID: known, Comparison: nsdiff.Comparison{Host: same, Initial: same}, Verdict: nsdiff.AsExpected},
		"net.id": {
			ID: UnknownFact[nsdiff.Namespace](errors.New("denied")), Comparison: nsdiff.Comparison{Host: unknown, Initial: unknown},
		},
		"net.host net.initial": {ID: known, Comparison: nsdiff.Comparison{Host: unknown, Initial: unknown}, Verdict: nsdiff.Surprise},
		"net.verdict":          {ID: known, Comparison: nsdiff.Comparison{Host: same, Initial: same}},
	} {
		n.Kind = nsdiff.Net
		r := Namespaces{Lineage: AbsentFact[nsdiff.Lineage]("-")}
		r.InForce = KnownFact([]Namespace{n}, "test")
		var got []string
		for _, g := range r.gaps() {
			got = append(got, strings.TrimPrefix(g.Fact, "namespaces.inForce."))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("gaps %q, want %q", text, want)
		}
	}
	r := Namespaces{Lineage: KnownFact(nsdiff.Lineage{}, "test")}
	r.InForce = KnownFact([]Namespace{{Kind: nsdiff.Net, ID: known, Comparison: nsdiff.Comparison{Host: same, Initial: same}, Verdict: nsdiff.AsExpected}}, "test")
	if g := r.gaps(); len(g) != 1 || g[0].Fact != "namespaces.lineage.owners.net" {
		t.Errorf("%+v", g)
	}
}
