package inspect

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// recordedHost is the file system of a node with the processes of testdata/runtime.txtar,
// in the numbers that a test gives them.
type recordedHost struct {
	t     *testing.T
	root  string
	files map[string]string // of the archive
}

// newHost has the runtime's process in place of ours: it listens on the socket
// of a fake runtime, and it is also the one that reads.
func newHost(t *testing.T) recordedHost {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/runtime.txtar")
	if err != nil {
		t.Fatal(err)
	}
	h := recordedHost{t, t.TempDir(), map[string]string{}}
	for _, f := range archive.Files {
		h.files[f.Name] = string(f.Data)
		if strings.HasPrefix(f.Name, "sys/") {
			h.write(filepath.Join("proc", f.Name), string(f.Data))
		}
	}
	h.copy("runtime", os.Getpid())
	h.link(strconv.Itoa(os.Getpid()), "proc/self")
	return h
}

// copy makes the recorded process name the process pid.
func (h recordedHost) copy(name string, pid int) {
	h.t.Helper()
	var found bool
	for file, text := range h.files {
		below, ok := strings.CutPrefix(file, name+"/")
		if !ok || below == "spec.json" || below == "id" {
			continue
		}
		found = true
		to := filepath.Join("proc", strconv.Itoa(pid), below)
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			h.link(strings.TrimSpace(target), to)
		} else {
			h.write(to, text)
		}
	}
	if !found {
		h.t.Fatalf("no process %s is recorded", name)
	}
}

func (h recordedHost) path(name string) string { return filepath.Join(h.root, name) }

// proc is the path of a file of a process.
func (h recordedHost) proc(pid int, name string) string {
	return h.path(filepath.Join("proc", strconv.Itoa(pid), name))
}

func (h recordedHost) folder(path string) {
	h.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h recordedHost) write(name, text string) {
	h.t.Helper()
	h.folder(filepath.Dir(h.path(name)))
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// link makes a link, over one that is there.
func (h recordedHost) link(target, name string) {
	h.t.Helper()
	h.folder(filepath.Dir(h.path(name)))
	_ = os.Remove(h.path(name)) // it need not be there
	if err := os.Symlink(target, h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

// edit changes a file of a process.
func (h recordedHost) edit(pid int, name string, change func(string) string) {
	h.t.Helper()
	file := h.proc(pid, name)
	text, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	changed := change(string(text))
	if changed == string(text) {
		h.t.Fatalf("%s is not changed", file)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// add adds the recorded container name to a fake runtime, as process pid.
func (h recordedHost) add(fake *fakeruntime.CRI, name string, pid int) {
	h.copy(name, pid)
	fake.Add(h.id(name), fakeruntime.CRIOInfo(pid, h.files[name+"/spec.json"]))
}

// id is the recorded id of a container.
func (h recordedHost) id(name string) string { return strings.TrimSpace(h.files[name+"/id"]) }

// open connects to a fake runtime, on this host.
func (h recordedHost) open(fault fakeruntime.Fault, services ...fakeruntime.Service) *Inspector {
	h.t.Helper()
	return openFake(h.t, Options{HostRoot: h.root}, fault, services...)
}

func openFake(t *testing.T, o Options, fault fakeruntime.Fault, services ...fakeruntime.Service) *Inspector {
	t.Helper()
	o.Endpoint = fakeruntime.Serve(t, fault, services...)
	o.Parts = PartStatus | PartMounts // the recorded node has nothing else
	i, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// reports returns the reports of all containers by id.
func reports(t *testing.T, i *Inspector) map[string]Report {
	t.Helper()
	all, err := i.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]Report{}
	for _, r := range all {
		byID[r.ID] = r
	}
	return byID
}

// facts returns the JSON of every fact of a report by its name.
func facts(t *testing.T, r Report) map[string]string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var walk func(name string, node any)
	walk = func(name string, node any) {
		fields, ok := node.(map[string]any)
		if !ok {
			return
		}
		if state, ok := fields["state"].(string); ok {
			text, err := json.Marshal(node)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = state + " " + string(text)
			return
		}
		for key, field := range fields {
			walk(strings.TrimPrefix(name+"."+key, "."), field)
		}
	}
	walk("", tree)
	if len(all) < 30 {
		t.Fatalf("only %d facts in %s", len(all), data)
	}
	return all
}

func gapNames(gaps []Gap) []string {
	var names []string
	for _, g := range gaps {
		names = append(names, g.Fact)
	}
	slices.Sort(names)
	return names
}

// gapsOf are a report's gaps, but for those of the parts that were left out and
// of the node's list of processes.
func gapsOf(r interface{ Gaps() []Gap }) []Gap {
	return slices.DeleteFunc(r.Gaps(), func(g Gap) bool {
		return errors.Is(g.Cause, errLeftOut) || g.Fact == "processes.missing"
	})
}

// nothingInForce are the gaps of a report whose process could not be read.
var nothingInForce = []string{
	"apparmor.inForce", "capabilities.inForce", "capabilities.reach", "cgroup.inForce", "namespaces.inForce", "namespaces.lineage",
	"noNewPrivs.inForce", "pid", "privileged.inForce",
	"readonlyRootfs.inForce", "seccomp.inForce", "selinux.inForce", "tier", "user.inForce", "userNamespace.inForce",
}

// wantNothingInForce checks that a report has no fact of any process, and why.
func wantNothingInForce(t *testing.T, r Report, is error, text string) {
	t.Helper()
	gaps := gapsOf(r)
	if got := gapNames(gaps); !slices.Equal(got, nothingInForce) {
		t.Errorf("%s: unknown\n got %q\nwant %q", r.ID, got, nothingInForce)
	}
	for _, g := range gaps {
		wantCause(t, r.ID+": "+g.Fact, g.Cause, is, text)
	}
	for name, fact := range facts(t, r) {
		if strings.HasSuffix(name, ".inForce") && !strings.HasPrefix(fact, "unknown ") {
			t.Errorf("%s: %s is %s", r.ID, name, fact)
		}
	}
	for _, d := range r.Drift {
		if d.To == "in force" {
			t.Errorf("%s: drift %+v from what is unknown", r.ID, d)
		}
	}
}

// withFilesOfNobody calls f on a thread that has nobody's rights in the file system. The
// thread ends with f. What f does in other goroutines has the usual rights. To
// a user other than root the mode of a file applies anyway.
func withFilesOfNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else gets this thread
		err := unix.Setfsuid(65534)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
