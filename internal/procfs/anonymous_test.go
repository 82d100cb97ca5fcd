package procfs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemoryMounts: memory files are on them, and no file with a path is.
func TestMemoryMounts(t *testing.T) {
	mounts, err := FS{}.MemoryMounts()
	if err != nil {
		t.Fatal(err)
	}
	self, err := FS{}.OpenSelf()
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if id, err := self.mountOf(fd); err != nil || !mounts[id] {
		t.Errorf("a memory file is on mount %d, %v; want one of %v", id, err, mounts)
	}
	if id, err := self.mountInFdinfo(fd); err != nil || !mounts[id] {
		t.Errorf("a memory file is on mount %d by fdinfo, %v; want one of %v", id, err, mounts)
	}
	for _, folder := range []string{"/", "/proc", "/dev/shm", t.TempDir()} {
		f, err := os.Open(folder)
		if err != nil {
			continue
		}
		defer f.Close()
		if id, err := self.mountOf(int(f.Fd())); err != nil || mounts[id] {
			t.Errorf("%s is on mount %d, %v, which is one of %v", folder, id, err, mounts)
		}
	}
	if _, err := (FS{Proc: t.TempDir()}).MemoryMounts(); err == nil {
		t.Error("no error without a proc file system")
	}
}
