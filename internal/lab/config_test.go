package lab

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A configuration leaves no placeholder and names no folder of the machine's
// own containerd.
func TestConfiguration(t *testing.T) {
	for _, runtime := range []string{Runtime16, Runtime24} {
		tools := toolset{runc: "/bin/runc", cni: "/cni"}
		text := configuration(runtime, folders{"x"}, tools)
		if runtime == Runtime24 {
			if strings.Contains(text, "runsc") {
				t.Errorf("gVisor was not asked for:\n%s", text)
			}
			tools.runsc = "/bin/runsc"
			text = configuration(runtime, folders{"x"}, tools) + runscConfiguration(folders{"x"}, tools)
			for _, want := range []string{"runtimes.runsc]", `"io.containerd.runsc.v1"`, `"/run/rtinspect-lab/x/runsc.toml"`, `binary_name = "/bin/runsc"`} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		}
		for _, bad := range []string{"{", "}", "/run/containerd", "/var/lib/containerd", "/etc/cni", "/opt/"} {
			if strings.Contains(text, bad) {
				t.Errorf("runtime %s: %q in\n%s", runtime, bad, text)
			}
		}
		for _, want := range []string{`BinaryName = "/bin/runc"`, `"/run/rtinspect-lab/x/c/containerd.sock"`, pauseImage} {
			if !strings.Contains(text, want) {
				t.Errorf("runtime %s: no %q in\n%s", runtime, want, text)
			}
		}
	}
}

// The longest name still leaves room for a shim's socket.
func TestNames(t *testing.T) {
	longest := strings.Repeat("a", 20)
	socket := filepath.Join(folders{longest}.state(), "s", strings.Repeat("0", 64))
	if len(socket) > 107 {
		t.Errorf("%s has %d bytes", socket, len(socket))
	}
	for name, want := range map[string]bool{longest: true, longest + "a": false, "": false, "a": true, "-a": false, "a-": false, "A": false, "a/b": false, "..": false} {
		if validName.MatchString(name) != want {
			t.Errorf("%q: want it valid: %v", name, want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for n, want := range map[network]string{0: "198.18.0.0/24", 255: "198.18.255.0/24", 256: "198.19.0.0/24", subnets - 1: "198.19.255.0/24"} {
		if n.cidr() != want {
			t.Errorf("network %d is %s, want %s", n, n.cidr(), want)
		}
		if len(n.bridge()) > 15 {
			t.Errorf("%s is too long for a link", n.bridge())
		}
	}
}

func TestHierarchyLimits(t *testing.T) {
	unified := t.TempDir()
	if err := os.WriteFile(filepath.Join(unified, "cgroup.controllers"), []byte("cpu memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &cri.LinuxContainerResources{CpuShares: 1024, CpuQuota: 50000, CpuPeriod: 100000, MemoryLimitInBytes: 9}
	for _, test := range []struct {
		h    hierarchy
		r    *cri.LinuxContainerResources
		want string
	}{
		{hierarchy{path: unified, unified: true}, r, "map[cpu.max:50000 100000 cpu.weight:39 memory.max:9]"},
		{hierarchy{path: "/nowhere", unified: true}, r, "map[]"},
		{hierarchy{options: []string{"rw", "cpu", "cpuacct"}}, r, "map[cpu.cfs_quota_us:50000 cpu.shares:1024]"},
		{hierarchy{options: []string{"memory"}}, r, "map[memory.limit_in_bytes:9]"},
		{hierarchy{options: []string{"memory"}}, &cri.LinuxContainerResources{}, "map[]"},
		{hierarchy{options: []string{"cpu"}}, &cri.LinuxContainerResources{CpuShares: 2}, "map[cpu.shares:2]"},
	} {
		if got := fmt.Sprint(podLimits(test.h, test.r)); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.h, got, test.want)
		}
	}
}

// The layout names every image, and each of its blobs is there once.
func TestImages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.tar")
	if err := writeImages(path, []byte("pause"), []byte("busybox"), []string{"sh", "busybox"}); err != nil {
		t.Fatal(err)
	}
	files := readTar(t, path)
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range index.Manifests {
		names = append(names, m.Annotations["io.containerd.image.name"])
		blob, ok := files["blobs/sha256/"+strings.TrimPrefix(m.Digest, "sha256:")]
		if !ok || len(blob) != m.Size {
			t.Errorf("%s: no blob %s of %d bytes", names, m.Digest, m.Size)
		}
	}
	if want := append([]string{pauseImage}, imageNames...); !slices.Equal(names, want) {
		t.Errorf("images %q, want %q", names, want)
	}
}

func readTar(t *testing.T, path string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrepare(t *testing.T) {
	n := testNode
	n.KubeletRoot, n.LogRoot = t.TempDir(), t.TempDir()
	p := pod(t, "containers: [{name: app, image: busybox}]\nvolumes: [{name: v, emptyDir: {}}]")
	if err := n.prepare(p); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{
		n.hostsFile(p):                         0o644,
		n.messageFile(p, p.Spec.Containers[0]): 0o666,
		n.emptyDir(p, "v"):                     os.ModeDir | 0o777,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, want mode %v: %v", path, err, mode, info)
		}
	}
}

// A path of the host is checked and never made.
func TestHostPath(t *testing.T) {
	n := testNode
	n.KubeletRoot, n.LogRoot = t.TempDir(), t.TempDir()
	missing := filepath.Join(t.TempDir(), "missing")
	for _, test := range []struct{ path, kind, want string }{
		{"/etc", "Directory", ""},
		{"/etc", "File", "no File"},
		{"/etc/passwd", "File", ""},
		{"/etc/passwd", "Socket", "no Socket"},
		{missing, "DirectoryOrCreate", "no such file"},
	} {
		p := pod(t, "containers: [{name: app, image: busybox}]\nvolumes: [{name: v, hostPath: {path: "+test.path+", type: "+test.kind+"}}]")
		checkError(t, test.path+" "+test.kind, n.prepare(p), test.want)
	}
	if allExist(missing) {
		t.Errorf("%s was made", missing)
	}
}

func TestSettled(t *testing.T) {
	running := &cri.ContainerStatus{State: cri.ContainerState_CONTAINER_RUNNING}
	killed := &cri.ContainerStatus{State: cri.ContainerState_CONTAINER_EXITED, ExitCode: 137}
	ended := &cri.ContainerStatus{State: cri.ContainerState_CONTAINER_EXITED, ExitCode: 1}
	for _, test := range []struct {
		pod     string
		status  *cri.ContainerStatus
		want    bool
		wantErr string
	}{
		{"p", running, true, ""},
		{"p", killed, false, "status 137"},
		{"p", &cri.ContainerStatus{}, false, ""},
		{oomPod, running, false, ""},
		{oomPod, killed, true, ""},
		{oomPod, ended, false, "status 1"},
	} {
		got, err := settled(test.pod, test.status)
		if got != test.want {
			t.Errorf("%s %v: got %v", test.pod, test.status.State, got)
		}
		checkError(t, test.pod, err, test.wantErr)
	}
}
