package procfs

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenFile follows a namespace's link under the handle, and no more of it once the process is gone.
func TestOpenFile(t *testing.T) {
	cmd := sleeper(t)
	p, err := FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	file, err := p.OpenFile("ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(p.Path("ns/net"))
	if err != nil || !os.SameFile(got, want) {
		t.Errorf("opened %v, want %v, %v", got, want, err)
	}
	if flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
		t.Errorf("opened with the flags %#x, %v", flags, err)
	}
	if _, err := p.OpenFile("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := p.OpenFile("ns/net"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("gone: %v", err)
	}
}
