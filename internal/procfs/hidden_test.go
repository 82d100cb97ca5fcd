package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const hiddenVariable = "RTINSPECT_TEST_HIDDEN"

// TestHidden: with hidepid=2 and 4 another user's process is hidden, and did not end. The test runs itself again as nobody, in a
// mount namespace of its own.
func TestHidden(t *testing.T) {
	if proc := os.Getenv(hiddenVariable); proc != "" {
		hidden(t, FS{Proc: proc})
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a proc file system and to be someone else")
	}
	dir := t.TempDir()
	for open := dir; open != os.TempDir(); open = filepath.Dir(open) {
		if err := os.Chmod(open, 0o755); err != nil { //nolint:gosec // for everyone to enter
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	program := filepath.Join(dir, "test")
	if err := errors.Join(err, os.WriteFile(program, self, 0o755)); err != nil { //nolint:gosec // for everyone to run
		t.Fatal(err)
	}
	for _, option := range []string{"hidepid=2", "hidepid=4"} {
		const script = `mount -t proc -o "$0" proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`
		cmd := exec.Command("unshare", "-m", "sh", "-c", script, option, program, "-test.run=^TestHidden$", "-test.v")
		cmd.Env = append(os.Environ(), hiddenVariable+"=/proc")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestHidden") {
			t.Errorf("%s: %v\n%s", option, err, out)
		}
	}
}

// hidden reads the parent, which is root's, in every way.
func hidden(t *testing.T, f FS) {
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNoProcess) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it is hidden", what, err)
		}
	}
	p, err := f.Open(1)
	if err != nil {
		want("open", err)
		return
	}
	defer p.Close()
	_, err = p.ReadFile("stat")
	want("file", err)
	_, err = p.Readlink("ns/mnt")
	want("link", err)
	_, err = p.ReadDir("fd")
	want("folder", err)
	_, err = p.OpenFile("ns/mnt")
	want("open file", err)
	_, err = p.MountID("root")
	want("mount", err)
	want("alive", p.Alive())
}
