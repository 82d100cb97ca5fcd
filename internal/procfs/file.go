package procfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenFile opens a file in the folder for reading, such as ns/net, whose link
// it follows: for ioctl_nsfs(2). The file stays that of the namespace when the
// process ends. Close it after use. The error is as for [Process.ReadFile].
func (p *Process) OpenFile(name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, p.error("open", name, err)
	}
	return os.NewFile(uintptr(fd), p.Path(name)), nil
}
