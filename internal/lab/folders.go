package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// Everything a lab makes is below one of these two folders, but for its
// cgroups, its bridge and, with containerd 1.6, its shims' sockets.
const (
	// stateBase holds sockets and mounts. It is short: a socket's path has at
	// most 107 bytes, and a shim's socket adds 67 to its lab's folder.
	stateBase = "/run/rtinspect-lab"
	// rootBase holds snapshots, which overlayfs wants on an ordinary file system.
	rootBase = "/var/lib/rtinspect-lab"
)

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// folders are where one lab keeps its things.
type folders struct{ name string }

func (f folders) state() string       { return filepath.Join(stateBase, f.name) }
func (f folders) root() string        { return filepath.Join(rootBase, f.name) }
func (f folders) bin() string         { return filepath.Join(f.state(), "bin") }
func (f folders) pods() string        { return filepath.Join(f.state(), "pods") }
func (f folders) description() string { return filepath.Join(f.state(), "lab.json") }
func (f folders) subnet() string      { return filepath.Join(f.state(), "subnet") }
func (f folders) containerd() string  { return filepath.Join(f.state(), "state") }
func (f folders) log() string         { return filepath.Join(f.state(), "containerd.log") }

// crictl is crictl's configuration.
func (f folders) crictl() string { return filepath.Join(f.state(), "crictl.yaml") }

// runsc is the configuration of gVisor.
func (f folders) runsc() string { return filepath.Join(f.state(), "runsc.toml") }

// pid holds the process id of containerd.
func (f folders) pid() string { return filepath.Join(f.state(), "containerd.pid") }

// socket is in a folder with nothing else but its ttrpc sibling, so that a
// pod that mounts the folder holds no mounts of other pods.
func (f folders) socket() string { return filepath.Join(f.state(), "c", "containerd.sock") }

// kept marks a lab that stays when the program that started it has ended.
func (f folders) kept() string { return filepath.Join(f.state(), "kept") }

// cgroup is the lab's folder in every cgroup hierarchy.
func (f folders) cgroup() string { return "/rtinspect-" + f.name }

// lockBase takes the lock under which labs are made and swept. The lock is on
// the folder itself: it ends with the process and leaves no file.
func lockBase() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(stateBase, 0o711); err != nil {
			return nil, err
		}
		dir, err := lockFolder(stateBase, unix.LOCK_EX)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// lockNow takes a lock at once or not at all.
const lockNow = unix.LOCK_EX | unix.LOCK_NB

// errBusy is returned for a lab that a running program owns.
var errBusy = errors.New("in use by a running lab program")

// lockFolder opens and locks a folder. The error wraps fs.ErrNotExist when the
// folder is gone, even if it went while we waited for the lock.
func lockFolder(path string, how int) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := flock(dir, how); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, errBusy)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err := dir.Stat()
	if err == nil {
		var now os.FileInfo
		if now, err = os.Stat(path); err == nil && !os.SameFile(held, now) {
			err = fmt.Errorf("%s was replaced: %w", path, fs.ErrNotExist)
		}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// labNames returns the names of all labs that have left a folder.
func labNames() ([]string, error) {
	seen := map[string]bool{}
	var names []string
	for _, base := range []string{stateBase, rootBase} {
		entries, err := os.ReadDir(base)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if !seen[e.Name()] && validName.MatchString(e.Name()) {
				seen[e.Name()] = true
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}
