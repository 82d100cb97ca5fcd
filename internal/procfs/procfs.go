// Package procfs reads facts about processes from a proc file system without
// ever mixing two processes.
//
// A process is opened once: [FS.Open] returns a handle on its folder, and every
// file and link is read under that handle. The kernel ties the handle to the
// process, not to its number: once the process is gone every read fails with
// ESRCH, reported as [ErrNoProcess], even when the number was given to a new
// process meanwhile. Reading /proc/PID/… by path has no such protection.
//
// It parses nothing. It is internal because its interface follows what
// rtinspect needs; importers use packages caps, nsdiff, cgroup and inspect.
package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNoProcess says that a process does not exist, or ended while it was read.
// It stands for ESRCH, which is not [fs.ErrNotExist].
var ErrNoProcess = errors.New("no such process")

// FS is a proc file system. The zero FS is the one mounted on /proc.
type FS struct {
	// Proc is the folder where it is mounted, for example /host/proc.
	// Empty means /proc.
	Proc string
}

// Path returns the path of name, for use in messages.
func (f FS) Path(name string) string {
	return filepath.Join(f.root(), name)
}

// ReadFile reads a file that belongs to no process, such as
// sys/kernel/cap_last_cap. The error wraps [fs.ErrNotExist] or
// [fs.ErrPermission] as the kernel said.
func (f FS) ReadFile(name string) ([]byte, error) {
	return os.ReadFile(f.Path(name))
}

// Open opens the folder of a process (or of a thread, by its thread id).
//
// The error wraps [ErrNoProcess] when there is none, [fs.ErrPermission] when
// the process is hidden from us by the hidepid mount option (proc(5)), and
// [fs.ErrNotExist] when the proc file system itself is missing.
func (f FS) Open(pid int) (*Process, error) {
	if pid < 1 {
		return nil, fmt.Errorf("pid %d: want a number of 1 or more", pid)
	}
	dir := f.Path(strconv.Itoa(pid))
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err == unix.ENOENT { //nolint:errorlint // a bare errno from the call above
		return nil, f.missing(pid)
	}
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	return &Process{pid: pid, dir: dir, fd: fd}, nil
}

// missing tells why the folder of pid is not there.
func (f FS) missing(pid int) error {
	if _, err := os.Stat(f.root()); err != nil {
		return err
	}
	if f.root() == "/proc" && exists(pid) {
		return fmt.Errorf("process %d is hidden by the hidepid option of /proc: %w", pid, fs.ErrPermission)
	}
	if !f.looksLikeProc() {
		return fmt.Errorf("%s is not a proc file system: %w", f.root(), fs.ErrNotExist)
	}
	return fmt.Errorf("process %d: %w", pid, ErrNoProcess)
}

// exists asks the kernel for a pid without going through /proc.
func exists(pid int) bool {
	if pid > math.MaxInt32 {
		return false // the kernel would take the low 32 bits for another process
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// looksLikeProc accepts a mounted proc file system and a recorded one, which
// is a plain folder with some processes in it.
func (f FS) looksLikeProc() bool {
	var st unix.Statfs_t
	err := unix.Statfs(f.root(), &st)
	if err == nil && int64(st.Type) == unix.PROC_SUPER_MAGIC { //nolint:unconvert // 32 bits wide on some architectures
		return true
	}
	pids, err := f.Pids()
	return err == nil && len(pids) > 0
}

// Pids returns the process numbers in the proc file system, in ascending order.
// Processes come and go: one of them may be gone when it is opened.
func (f FS) Pids() ([]int, error) {
	entries, err := os.ReadDir(f.root())
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (f FS) root() string {
	if f.Proc == "" {
		return "/proc"
	}
	return f.Proc
}

// OpenSelf opens the folder of our own process, as this proc file system
// numbers it. The error wraps [fs.ErrNotExist] where it does not show us.
func (f FS) OpenSelf() (*Process, error) {
	link, err := os.Readlink(f.Path("self"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(link)
	if err != nil {
		return nil, fmt.Errorf("%s: link to %q: want a number", f.Path("self"), link)
	}
	return f.Open(pid)
}
