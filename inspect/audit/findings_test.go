package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// versions are those of containerd on the recorded nodes; nodes are all of these, on other kernels too.
var (
	versions = []string{"1.6", "2.4"}
	nodes    = []string{"1.6", "2.4", "1.6-linux-5.10", "2.4-linux-6.1"}
)

// versionOf is the version of containerd on a recorded node.
func versionOf(node string) string {
	version, _, _ := strings.Cut(node, "-")
	return version
}

var recorded = map[string]func() []byte{
	"1.6": sync.OnceValue(func() []byte { return unpack("1.6") }),
	"2.4": sync.OnceValue(func() []byte { return unpack("2.4") }),
	// With cgroup v2, AppArmor and every capability.
	"1.6-linux-5.10": sync.OnceValue(func() []byte { return unpack("1.6-linux-5.10") }),
	"2.4-linux-6.1":  sync.OnceValue(func() []byte { return unpack("2.4-linux-6.1") }),
	// A node with gVisor, see guest_test.go.
	"gvisor": sync.OnceValue(func() []byte { return unpack("gvisor") }),
}

func unpack(version string) []byte {
	f, err := os.Open(fixture(version))
	if err != nil {
		panic(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	r, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	var data bytes.Buffer
	if _, err := data.ReadFrom(r); err != nil {
		panic(err)
	}
	return data.Bytes()
}

// load returns a recorded node of the caller's own.
func load(t testing.TB, version string) inspect.Snapshot {
	t.Helper()
	s, err := inspect.ReadSnapshot(bytes.NewReader(recorded[version]()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parts are a recorded node taken apart.
var parts = map[string]func() nodeParts{
	"1.6": sync.OnceValue(func() nodeParts { return takeApart("1.6") }),
	"2.4": sync.OnceValue(func() nodeParts { return takeApart("2.4") }),
}

type nodeParts struct {
	rest       map[string]json.RawMessage
	containers []json.RawMessage
}

func takeApart(version string) nodeParts {
	var p nodeParts
	err := json.Unmarshal(recorded[version](), &p.rest)
	if err == nil {
		err = json.Unmarshal(p.rest["containers"], &p.containers)
	}
	if err != nil {
		panic(err)
	}
	return p
}

// loadPods returns a recorded node with the containers of some pods only, which
// takes less time.
func loadPods(t testing.TB, version string, names ...string) inspect.Snapshot {
	t.Helper()
	s, containers := maps.Clone(parts[version]().rest), parts[version]().containers
	var chosen []json.RawMessage
	for _, c := range containers {
		for _, name := range names {
			if bytes.Contains(c[:1000], []byte(`"pod":{"name":"`+name+`"`)) {
				chosen = append(chosen, c)
			}
		}
	}
	s["containers"] = encode(t, chosen)
	read, err := inspect.ReadSnapshot(bytes.NewReader(encode(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// ordinary is what is found of a pod that asks for nothing: root with the default
// capabilities, no filter, no limits.
var ordinary = findings{
	"medium root-user", "medium seccomp-off", "low no-new-privileges", "low writable-rootfs", "low cap-net-raw", "low no-memory-limit",
	"low no-pids-limit", "info default-capabilities", "info no-cpu-limit",
}

type findings []string

func (f findings) plus(more ...string) findings { return slices.Concat(f, more) }

func (f findings) minus(less ...string) findings {
	return slices.DeleteFunc(slices.Clone(f), func(s string) bool {
		_, rule, _ := strings.Cut(s, " ")
		return slices.Contains(less, rule)
	})
}

// labFindings are exactly the findings of every container of the lab, by pod and
// name; with a version in front where they differ.
var labFindings = map[string]findings{
	"pod-default-caps/app": ordinary,
	"pod-default-ns/app":   ordinary,
	"pod-no-limits/app":    ordinary,
	"pod-suspicious/app":   ordinary,
	"pod-shared-pid/app":   ordinary, "pod-shared-pid/sidecar": ordinary,
	"pod-two-containers/app": ordinary,
	// Not root, but with a set-user-ID program it would be.
	"pod-two-containers/sidecar": ordinary.minus("root-user", "no-new-privileges").plus("medium no-new-privileges"),
	"pod-readonly/app":           ordinary.minus("writable-rootfs"),
	"pod-with-limits/app":        ordinary.minus("no-memory-limit", "no-cpu-limit"),
	"pod-no-caps/app":            ordinary.minus("cap-net-raw", "default-capabilities"),
	"pod-selective-caps/app":     ordinary.minus("cap-net-raw", "default-capabilities"),
	"pod-added-caps/app":         ordinary.plus("medium cap-net-admin", "low cap-sys-ptrace"),
	"pod-host-path/app":          ordinary.plus("high host-logs", "high host-system"),
	"pod-socket-mounted/app":     ordinary.plus("critical runtime-socket"),
	"pod-socket-folder/app":      ordinary.plus("critical runtime-socket"),
	"2.4 pod-user-namespace/app": ordinary.minus("root-user", "cap-net-raw"),
	"1.6 pod-user-namespace/app": ordinary.minus("root-user").plus("high user-namespace-missing"),
	"2.4 pod-hardened/app":       {"low no-pids-limit", "info seccomp-weak"},
	"1.6 pod-hardened/app":       {"low no-pids-limit", "low seccomp-weak"},
	"pod-privileged/app":         {"critical privileged", "low writable-rootfs", "low no-memory-limit", "low no-pids-limit", "info no-cpu-limit"},
	"pod-host-ns/app": {
		"critical privileged", "critical path-host-process", "high host-network", "medium host-ipc",
		"low writable-rootfs", "low no-memory-limit", "low no-pids-limit", "info no-cpu-limit",
	},
	"pod-oom/app": {}, // it has ended
}

// labPaths are the attack paths, by pod: what opens the node.
var labPaths = map[string][]string{
	"pod-privileged/app": {"path-mount", "path-core-pattern", "path-host-disk", "path-file-handle"},
	"pod-host-ns/app":    {"path-mount", "path-core-pattern", "path-host-disk", "path-host-process", "path-file-handle"},
}

// unlockedPaths are open to the same pods where the kernel is known not to be locked down. Where securityfs is not
// mounted, they stay unknown.
var unlockedPaths = []string{"path-kernel-module", "path-kernel-memory", "path-kernel-programs"}

// pathsOf returns the paths that are open to a container of the lab.
func pathsOf(s inspect.Snapshot, name string) []string {
	paths := labPaths[name]
	if lockdown, _ := s.Node.Lockdown.Value(); len(paths) > 0 && lockdown == inspect.LockdownNone {
		paths = slices.Concat(paths, unlockedPaths)
	}
	return slices.Sorted(slices.Values(paths))
}

func TestFindings(t *testing.T) {
	for _, node := range nodes {
		t.Run(node, func(t *testing.T) { compareFindings(t, versionOf(node), load(t, node)) })
	}
}

// compareFindings wants the findings of the table and no others.
func compareFindings(t *testing.T, version string, s inspect.Snapshot) {
	t.Helper()
	report := Judge(s, Options{})
	if len(report.Subjects) != len(s.Containers)+1 || !report.Subjects[0].Node {
		t.Fatalf("%d subjects of %d containers", len(report.Subjects), len(s.Containers))
	}
	seen := map[string]bool{}
	for n, r := range s.Containers {
		subject := report.Subjects[n+1]
		name := r.Pod.Name + "/" + r.Name
		got, paths := findingsOf(subject)
		if r.Kind == inspect.KindSandbox {
			if len(got) > 0 {
				t.Errorf("the sandbox of %s: %q", r.Pod.Name, got)
			}
			continue
		}
		seen[name] = true
		want, ok := labFindings[version+" "+name]
		if !ok {
			want, ok = labFindings[name]
		}
		if !ok {
			t.Errorf("%s is not in the table: %q", name, got)
		}
		want = slices.Sorted(slices.Values(want))
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
		if want := pathsOf(s, name); !slices.Equal(paths, want) {
			t.Errorf("%s: paths %q, want %q", name, paths, want)
		}
	}
	for name := range labFindings {
		if _, plain, ok := strings.Cut(name, " "); ok {
			name = plain
		}
		if !seen[name] {
			t.Errorf("no container %s", name)
		}
	}
}

// findingsOf returns the findings of one subject, sorted, and the failed paths.
func findingsOf(s Subject) (list, paths []string) {
	for _, f := range (Report{Subjects: []Subject{s}}).Findings() {
		text := f.Severity.String() + " " + f.Rule
		if f.Verdict != Fail {
			text += " " + f.Verdict.String()
		}
		list = append(list, text)
	}
	for _, r := range s.Results {
		if strings.HasPrefix(r.Rule, "path-") && r.Verdict == Fail {
			paths = append(paths, r.Rule)
		}
	}
	slices.Sort(list)
	slices.Sort(paths)
	return list, paths
}

// pod returns the report of a pod's first container.
func pod(t testing.TB, s *inspect.Snapshot, name string) *inspect.Report {
	t.Helper()
	n := slices.IndexFunc(s.Containers, func(r inspect.Report) bool { return r.Pod.Name == name && r.Kind == inspect.KindContainer })
	if n < 0 {
		t.Fatalf("no pod %s", name)
	}
	return &s.Containers[n]
}
