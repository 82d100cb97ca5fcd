package procfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// MountID returns the number of the mount that a link of the process leads to,
// such as cwd or root: the one in mountinfo. The link is followed and what it
// leads to is opened without being looked at (O_PATH): only a network file
// system that checks even that, NFS or 9P, can keep us waiting. Needs
// PTRACE_MODE_READ_FSCREDS. The error is as for [Process.ReadFile].
func (p *Process) MountID(name string) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(p.fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return 0, p.error("open", name, err)
	}
	defer unix.Close(fd) //nolint:errcheck // opened with O_PATH: nothing can be lost
	return p.mountOf(fd)
}

// mountOf returns the mount of a file that we have open. statx(2) tells it from
// Linux 5.8 on, our own fdinfo before.
func (p *Process) mountOf(fd int) (int, error) {
	var st unix.Statx_t
	_, err := retry(func() (int, error) { return 0, unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) })
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return int(st.Mnt_id), nil
	}
	return p.mountInFdinfo(fd)
}

func (p *Process) mountInFdinfo(fd int) (int, error) {
	path := filepath.Join(filepath.Dir(p.dir), "self", "fdinfo", strconv.Itoa(fd))
	info, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(info) {
		if value, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, fmt.Errorf("%s: no line mnt_id: Linux shows it since 3.15", path)
}
