package procfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestReadDir(t *testing.T) {
	p, err := FS{}.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	names, err := p.ReadDir("fd")
	if err != nil || !slices.Contains(names, "0") || !slices.Contains(names, "2") || !slices.IsSorted(names) {
		t.Errorf("%q, %v; want our open files", names, err)
	}
	if _, err := p.ReadDir("none"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoProcess) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestReadDirOfTheDead: nothing is listed of a process that has ended.
func TestReadDirOfTheDead(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if names, err := p.ReadDir("fd"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("%q, %v; want %v", names, err, ErrNoProcess)
	}
}
