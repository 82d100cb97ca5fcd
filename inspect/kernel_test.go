package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// kernelTrees writes the nodes of testdata/kernel.txtar and returns the folder of each, and what is wanted of it.
func kernelTrees(t *testing.T) (roots, want map[string]string) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/kernel.txtar")
	if err != nil {
		t.Fatal(err)
	}
	roots, want = map[string]string{}, map[string]string{}
	dir := t.TempDir()
	for _, f := range archive.Files {
		layout, name, _ := strings.Cut(f.Name, "/")
		if name == "want" {
			roots[layout], want[layout] = filepath.Join(dir, layout), string(f.Data)
			continue
		}
		path := filepath.Join(dir, layout, "proc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return roots, want
}

// TestKernelList: which containers a node has, and the first process of each.
func TestKernelList(t *testing.T) {
	roots, want := kernelTrees(t)
	for layout, root := range roots {
		i := OpenKernel(Options{HostRoot: root}, nil)
		list, err := i.List(t.Context())
		var got strings.Builder
		for _, c := range list {
			uid := "-"
			if c.Pod != nil {
				uid = c.Pod.UID
			}
			pid, _ := c.PID.Value()
			fmt.Fprintln(&got, c.ID, pid, uid)
			if c.Name != c.ID[:13] || c.Kind != KindContainer || !errors.Is(c.State.Cause(), ErrKernelOnly) || !errors.Is(c.Tier.Cause(), ErrKernelOnly) {
				t.Errorf("%s: %+v", layout, c)
			}
		}
		wanted, wantErr, _ := strings.Cut(want[layout], "error: ")
		if got.String() != wanted {
			t.Errorf("%s: got\n%swant\n%s", layout, &got, wanted)
		}
		if wantErr = strings.TrimSuffix(wantErr, "\n"); (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: error %v, want %q", layout, err, wantErr)
		}
		if err := i.Close(); err != nil {
			t.Errorf("%s: close: %v", layout, err)
		}
	}
}

// TestKernelProcesses: processes in cgroups below a container's are its own, and those of its monitor are not.
func TestKernelProcesses(t *testing.T) {
	roots, _ := kernelTrees(t)
	for _, tt := range []struct{ layout, id, want string }{
		{"systemd-v2", "bbb", "850 901 902 905"},
		{"cgroupfs-v1", "bbb", "870 950 5000 5001"},
		{"docker", "bbb", "718 720 721"},
		{"docker", "ccc", "730"},
		{"conmon", "aaa", "710"},
		{"conmon", "bbb", "730"},
		{"conmon", "ccc", "750"},
		{"conmon", "ddd", "716"},
	} {
		i := OpenKernel(Options{HostRoot: roots[tt.layout]}, nil)
		found, _ := i.list(t.Context(), false)
		groups := newGroupIndex(found)
		all, err := i.fs.Pids()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, pid := range all {
			cgroup, err := os.ReadFile(i.fs.Path(fmt.Sprint(pid, "/cgroup")))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range groups.owners(string(cgroup)) {
				if strings.HasPrefix(f.ID, tt.id) {
					got = append(got, fmt.Sprint(pid))
				}
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s: got %s, want %s", tt.layout, tt.id, text, tt.want)
		}
	}
}

// TestKernelReport: what is in force is as with a runtime; all that only a runtime tells is unknown with one cause, also in JSON, and
// nothing of it is absent.
func TestKernelReport(t *testing.T) {
	h := newHost(t)
	pid, _ := pids()
	h.copy("selective", pid)
	h.write("proc/1/status", h.files["runtime/status"])
	h.write("proc/1/stat", "1 (init) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n")
	for _, p := range []int{pid, os.Getpid()} {
		h.write(filepath.Join("proc", fmt.Sprint(p), "stat"), fmt.Sprintf("%d (x) S 1 %d %d 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0\n", p, p, p))
	}
	why := fmt.Errorf("%w: unix:///x (given): no such socket", ErrNoRuntime)
	reports, err := OpenKernel(Options{HostRoot: h.root}, why).Containers(t.Context())
	if len(reports) != 1 || !errors.Is(err, ErrNoRuntime) ||
		!strings.Contains(fmt.Sprint(err), "no container runtime answered (unix:///x (given): no such socket): containers are taken from the kernel") {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	r := reports[0]
	for what, cause := range map[string]error{
		"capabilities.requested": r.Capabilities.Requested.Cause(), "capabilities.declared": r.Capabilities.Declared.Cause(),
		"default": r.Capabilities.Default.Cause(), "user.requested": r.User.Requested.Cause(), "seccomp.declared": r.Seccomp.Declared.Cause(),
		"privileged.requested": r.Privileged.Requested.Cause(), "cgroup.requested": r.Cgroup.Requested.Cause(),
		"namespaces.declared": r.Namespaces.Declared.Cause(), "process": r.Process.Cause(), "tier": r.Tier.Cause(), "state": r.State.Cause(),
	} {
		if !errors.Is(cause, ErrKernelOnly) {
			t.Errorf("%s: %v", what, cause)
		}
	}
	wantValue(t, "pid", r.PID, pid)
	state, _ := r.Capabilities.InForce.Value()
	if got := state.Bounding.String(); !strings.Contains(got, "CAP_NET_BIND_SERVICE") {
		t.Errorf("bounding set %s", got)
	}
	wantValue(t, "privileged", r.Privileged.InForce, false)
	data, err := json.Marshal(r)
	if err != nil || strings.Contains(string(data), "not made through the CRI") || !strings.Contains(string(data), `"command":{"state":`) {
		t.Errorf("%v\n%s", err, data)
	}
}
