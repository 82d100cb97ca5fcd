package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ReadDir returns the names in a folder of the process, such as fd, sorted. The
// error is as for [Process.ReadFile]; fd and map_files need
// PTRACE_MODE_READ_FSCREDS.
func (p *Process) ReadDir(name string) ([]string, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, p.error("open", name, err)
	}
	dir := os.NewFile(uintptr(fd), p.Path(name))
	defer dir.Close() //nolint:errcheck // opened for reading: nothing can be lost
	list, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, p.dirError(name, err)
	}
	slices.Sort(list)
	return list, nil
}

// dirError: of a process that ended, the list says ENOENT and the rest ESRCH.
func (p *Process) dirError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("read %s: %w", p.Path(name), ErrNoProcess)
	}
	return err
}
