package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnMounts starts a shell in a mount namespace of its own, lets it run a script and waits until it sleeps.
func inOwnMounts(t *testing.T, script string) *Process {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a mount namespace")
	}
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec", script+"\necho ready\nexec sleep 1000")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 6)); err != nil || n == 0 {
		t.Fatalf("the shell did not get ready: %v", err)
	}
	p, err := FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// mountOn returns the number of the mount that was put last on a place.
func mountOn(t *testing.T, p *Process, place string) int {
	t.Helper()
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[4] == place {
			id, _ = strconv.Atoi(f[0])
		}
	}
	if id == 0 {
		t.Fatalf("no mount on %s", place)
	}
	return id
}

func TestDevices(t *testing.T) {
	dir := t.TempDir()
	p := inOwnMounts(t, `cd `+dir+`
mount -t tmpfs tmpfs . && cd `+dir+`
mknod zz c 1 3; mkdir -p a/b mounted; mknod a/b/disk b 7 200; touch file over hidden
ln -s /dev link; ln -s /dev/zero linked
mount --bind /dev/full over
mount --bind /dev/zero hidden
mount -t tmpfs other mounted; mknod mounted/secret c 1 8`)
	own := mountOn(t, p, dir)
	mounts := map[string]int{dir: own, dir + "/over": mountOn(t, p, dir+"/over")}
	got, err := p.Devices(dir, mounts)
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{{dir + "/a/b/disk", true, 7, 200}, {dir + "/over", false, 1, 7}, {dir + "/zz", false, 1, 3}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%+v, want %+v", got, want)
	}

	// The folder is not on the mount that the caller knows: nothing of it is read.
	if got, err := p.Devices(dir, map[string]int{dir: own + 100_000}); !errors.Is(err, errOtherMount) {
		t.Errorf("another mount: %+v, %v", got, err)
	}
	if got, err := p.Devices(dir+"/link", map[string]int{dir + "/link": own}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a link: %+v, %v", got, err)
	}
	if got, err := p.Devices(dir+"/none", map[string]int{dir + "/none": own}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such folder: %+v, %v", got, err)
	}
}

func TestMountID(t *testing.T) {
	dir := t.TempDir()
	p := inOwnMounts(t, "mount -t tmpfs tmpfs "+dir+"; cd "+dir)
	if got, err := p.MountID("cwd"); err != nil || got != mountOn(t, p, dir) {
		t.Errorf("cwd: mount %d, %v; want %d", got, err, mountOn(t, p, dir))
	}
	if got, err := p.MountID("root"); err != nil || got != mountOn(t, p, "/") {
		t.Errorf("root: mount %d, %v; want %d", got, err, mountOn(t, p, "/"))
	}
	if _, err := p.MountID("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such link: %v", err)
	}
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for p.Alive() == nil {
		continue
	}
	if id, err := p.MountID("cwd"); err == nil {
		t.Errorf("a process that ended has a cwd on mount %d", id)
	}
	if _, err := p.Devices("/dev", map[string]int{"/dev": 1}); err == nil {
		t.Error("a process that ended has devices")
	}
}
