package inspect

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/fakeruntime"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// recordedRuntimes are the files of testdata/runtimes.txtar.
func recordedRuntimes(t *testing.T) map[string]string {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/runtimes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

func labelsOf(t *testing.T, text string) map[string]string {
	t.Helper()
	var labels map[string]string
	if err := json.Unmarshal([]byte(text), &labels); err != nil {
		t.Fatal(err)
	}
	return labels
}

// TestDockerNames: Docker tells containerd neither names nor images; they are in its own file. Where that is not to be had, or is
// of another container, the id is the name.
func TestDockerNames(t *testing.T) {
	files := recordedRuntimes(t)
	for _, tc := range []struct {
		name        string
		change      func(file string) // of the container's config.v2.json
		want, image string            // of web
	}{
		{"recorded", func(string) {}, "web", "lab:1"},
		{"missing", func(file string) { _ = os.Remove(file) }, "", ""},
		{"garbage", func(file string) { _ = os.WriteFile(file, []byte("{"), 0o600) }, "", ""},
		{"of another container", func(file string) {
			_ = os.WriteFile(file, []byte(files["docker/side/config.v2.json"]), 0o600)
		}, "", ""},
		{"a link", func(file string) { _ = errors.Join(os.Rename(file, file+".x"), os.Symlink(file+".x", file)) }, "", ""},
		{"a pipe, which nobody writes to", func(file string) { _ = errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) }, "", ""},
	} {
		root := t.TempDir()
		found := map[string]Container{}
		for _, name := range []string{"side", "web"} {
			var c dockerContainer
			if err := json.Unmarshal([]byte(files["docker/"+name+"/config.v2.json"]), &c); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(root, "var/lib/docker/containers", c.ID, "config.v2.json")
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(files["docker/"+name+"/config.v2.json"]), 0o600)); err != nil {
				t.Fatal(err)
			}
			if name == "web" {
				tc.change(file)
			}
			record := &runtimeapi.Container{
				ID: c.ID, Namespace: "moby", Labels: labelsOf(t, files["docker/"+name+"/labels.json"]), Spec: []byte(files["docker/"+name+"/spec.json"]),
			}
			f := (&Inspector{options: Options{HostRoot: root}}).decoded(record)
			found[name] = f.Container
			if tc.want == "" && name == "web" {
				tc.want = c.ID
			}
		}
		if c := found["web"]; c.Name != tc.want || c.Image != tc.image {
			t.Errorf("%s: web is %q of %q, want %q of %q", tc.name, c.Name, c.Image, tc.want, tc.image)
		}
		if c := found["side"]; c.Name != "side" || c.Image != "lab:1" {
			t.Errorf("%s: side is %q of %q", tc.name, c.Name, c.Image)
		}
	}
}

// TestDockerFolder: only files of a folder with all containers lead there.
func TestDockerFolder(t *testing.T) {
	for mount, want := range map[string]string{
		"/etc/hosts /var/lib/docker/containers/x/hosts":          "/var/lib/docker/containers/id",
		"/etc/hostname /data/containers/x/hostname":              "/data/containers/id",
		"/etc/hosts /etc/hosts":                                  "",
		"/etc/hosts /var/lib/docker/containers/x/resolv.conf":    "",
		"/etc/hosts containers/x/hosts":                          "",
		"/mnt/hosts /var/lib/docker/containers/x/hosts":          "",
		"/etc/hosts /var/lib/docker/containers/x/../../../hosts": "",
	} {
		destination, source, _ := strings.Cut(mount, " ")
		s, err := parseSpec([]byte(`{"process":{"args":["x"]},"mounts":[{"destination":"` + destination + `","type":"bind","source":"` + source + `"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.dockerFolder("id"); got != want {
			t.Errorf("%s: %q, want %q", mount, got, want)
		}
	}
}

func TestNerdctlName(t *testing.T) {
	f := decode(&runtimeapi.Container{ID: "id", Namespace: "default", Image: "busybox", Labels: labelsOf(t, recordedRuntimes(t)["nerdctl/labels.json"])})
	if f.Name != "npriv" || f.Image != "busybox" {
		t.Errorf("%q of %q", f.Name, f.Image)
	}
}

// TestRecordedCRIO: what CRI-O answers is understood, and nothing of it differs from itself.
func TestRecordedCRIO(t *testing.T) {
	files := recordedRuntimes(t)
	fake := &fakeruntime.CRI{}
	for _, pod := range []string{"plain", "privileged"} {
		fake.Add(pod, files["crio/"+pod+"/info.json"])
		fake.AddSandbox(pod+"-sandbox", files["crio/"+pod+"/sandbox.json"])
	}
	i := newHost(t).open(nil, fake)
	all := reports(t, i)
	for pod, want := range map[string]struct {
		bounding   caps.Set
		privileged bool
		namespaces string
		limit      string
	}{
		"plain":      {0x5fb, false, "cgroup:new ipc net pid uts mnt:new", "67108864"},
		"privileged": {0x1ffffffffff, true, "ipc uts mnt:new", "none"},
	} {
		r := all[pod]
		sets, _ := r.Capabilities.Declared.Value()
		if sets.Bounding != want.bounding {
			t.Errorf("%s: bounding set %s", pod, sets.Bounding)
		}
		wantValue(t, pod+": privileged, requested", r.Privileged.Requested, want.privileged)
		wantValue(t, pod+": privileged, declared", r.Privileged.Declared, want.privileged)
		joined, _ := r.Namespaces.Declared.Value()
		for _, n := range joined {
			text := n.Kind.String()
			if n.Path == "" {
				text += ":new"
			}
			if !strings.Contains(" "+want.namespaces+" ", " "+text+" ") {
				t.Errorf("%s: namespace %s, want %s", pod, text, want.namespaces)
			}
		}
		if len(joined) != len(strings.Fields(want.namespaces)) {
			t.Errorf("%s: %d namespaces, want %s", pod, len(joined), want.namespaces)
		}
		resources, _ := r.Cgroup.Declared.Value()
		limit := "none"
		if _, ok := resources.Memory.Value(); ok {
			limit = resources.Memory.String()
		}
		if limit != want.limit {
			t.Errorf("%s: memory %s, want %s", pod, limit, want.limit)
		}
		if len(r.Drift) > 0 {
			t.Errorf("%s: drift %+v", pod, r.Drift)
		}
		wantCause(t, pod+": pid", r.PID.Cause(), ErrNoProcess, "no such process")
	}
}

// TestPrivilegedByAnOlderRuntime: docker run --privileged of a Docker that has no names for the newest capabilities.
func TestPrivilegedByAnOlderRuntime(t *testing.T) {
	all := caps.UpTo(caps.CheckpointRestore)
	for set, want := range map[caps.Set]bool{
		caps.UpTo(caps.AuditRead): true, all: true, all.Minus(caps.Of(caps.BPF)): true,
		caps.UpTo(caps.BlockSuspend): false, all.Minus(caps.Of(caps.SysAdmin)): false, 0: false,
	} {
		if got := isEvery(set, all); got != want {
			t.Errorf("%s: %v", set.Mask(), got)
		}
	}
}

// TestIsNamespace: a path is a namespace's only where nsfs says so.
func TestIsNamespace(t *testing.T) {
	own, err := nsdiff.Reader{}.Namespaces(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	network, err := own.Namespace(nsdiff.Net)
	if err != nil {
		t.Fatal(err)
	}
	other, err := own.Namespace(nsdiff.UTS)
	if err != nil {
		t.Fatal(err)
	}
	h := hostAt("/")
	for path, want := range map[string]bool{"/proc/self/ns/net": true, "/proc/self/ns/none": false, "/proc/self/status": false, "/etc": false, "": false} {
		if got := h.isNamespace(path, network); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
	if h.isNamespace("/proc/self/ns/net", other) {
		t.Error("the network namespace is taken for the uts namespace")
	}
	root := t.TempDir() // a folder with the number of a namespace is none
	if hostAt(root).isNamespace("/x", network) {
		t.Error("a missing file is taken for a namespace")
	}
}
