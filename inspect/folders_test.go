package inspect

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRuntimeFolders(t *testing.T) {
	h := hostTree(t, map[string]string{"var/lib/containerd/x": "x", "run/c/containerd.sock": "x", "run/containerd": "no folder"})
	root := filepath.Dir(h.Proc)
	for folder, mode := range map[string]os.FileMode{"var/lib/containerd": 0o711, "run/c": 0o750} {
		if err := os.Chmod(filepath.Join(root, folder), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		runtime *RuntimeInfo
		want    map[string]Mode
	}{
		"no runtime":     {nil, map[string]Mode{"/var/lib/containerd": 0o711}},
		"another":        {&RuntimeInfo{Name: "cri-o", Endpoint: "unix://" + root + "/run/c/crio.sock"}, map[string]Mode{"/var/lib/containerd": 0o711}},
		"by its socket":  {&RuntimeInfo{Name: "containerd", Endpoint: "unix://" + root + "/run/c/containerd.sock"}, map[string]Mode{"/var/lib/containerd": 0o711, "/run/c": 0o750}},
		"somewhere else": {&RuntimeInfo{Name: "containerd", Endpoint: "unix:///elsewhere/containerd.sock"}, map[string]Mode{"/var/lib/containerd": 0o711}},
	} {
		list, ok := readRuntimeFolders(h, tc.runtime).Value()
		if !ok || len(list) != len(tc.want) {
			t.Errorf("%s: %v", name, list)
		}
		for _, f := range list {
			if tc.want[f.Path] != f.Mode || f.Owner != uint32(os.Getuid()) {
				t.Errorf("%s: %+v, want %v", name, f, tc.want[f.Path])
			}
		}
	}
}
