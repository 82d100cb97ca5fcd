package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// remove takes away all of a lab, in whatever state it is: half made, running,
// or left behind by a program that was killed. It relies on nothing but the
// lab's name, asks nothing of containerd, and goes on after a failure.
func remove(f folders) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	return errors.Join(
		killCgroups(f, hs),
		removeShimSockets(f),
		unmountBelow(f.state(), f.root()),
		removeBridge(f),
		removeCgroups(f, hs),
		os.RemoveAll(f.root()),
		os.RemoveAll(f.state()), // last: with it goes the knowledge of the lab
		removeBases(),
	)
}

// shimSockets16 is where containerd 1.6 has its shims make their sockets. The
// path is part of the program, so it is the one thing a lab shares with the
// machine's containerd; the names are hashes over the lab's own socket.
const shimSockets16 = "/run/containerd/s"

// removeShimSockets removes the sockets that shims of this lab have made in the
// folder all containerds 1.6 share, and the folder if that leaves it empty.
func removeShimSockets(f folders) error {
	files, err := filepath.Glob(filepath.Join(f.containerd(), "io.containerd.runtime.v2.task", "*", "*", "address"))
	if err != nil || len(files) == 0 {
		return err
	}
	var failed []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		socket := strings.TrimPrefix(strings.TrimSpace(string(text)), "unix://")
		if filepath.Dir(socket) != shimSockets16 {
			continue // below the lab's own folder
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	for _, dir := range []string{shimSockets16, filepath.Dir(shimSockets16)} {
		_ = unix.Rmdir(dir) // in use by another containerd if it fails
	}
	return errors.Join(failed...)
}

// unmountBelow unmounts everything below the folders, the last mount first.
func unmountBelow(dirs ...string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		mounts, err := mountsBelow(dirs...)
		if err != nil || len(mounts) == 0 {
			return err
		}
		var failed error
		for _, m := range slices.Backward(mounts) {
			if err := unix.Unmount(m, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				failed = fmt.Errorf("unmount %s: %w", m, err)
			}
		}
		if failed != nil && time.Now().After(deadline) {
			return failed
		}
		if failed != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// mountsBelow returns the mount points below the folders, in mount order.
func mountsBelow(dirs ...string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 5 {
			continue
		}
		point := f[4] // our paths have none of the characters that are escaped
		if slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(point, dir+"/") }) {
			out = append(out, point)
		}
	}
	return out, lines.Err()
}

// removeBases removes the folders of all labs after the last one.
func removeBases() error {
	for _, dir := range []string{stateBase, rootBase} {
		err := unix.Rmdir(dir)
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// sweep removes the labs whose program was killed before it could: nobody
// holds their lock, and they are not kept.
func sweep(log Log) error {
	names, err := labNames()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		f := folders{name}
		if allExist(f.kept()) {
			continue
		}
		lock, err := lockLab(f)
		if errors.Is(err, errBusy) {
			continue
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		log("removing lab %s, whose program is gone", name)
		failed = append(failed, remove(f), lock.Close())
	}
	return errors.Join(failed...)
}

// lockLab takes the lock that says a program owns the lab, making the lab's
// folder when it is gone and only the snapshots are left.
func lockLab(f folders) (*os.File, error) {
	if err := os.MkdirAll(f.state(), 0o711); err != nil {
		return nil, err
	}
	return lockFolder(f.state(), lockNow)
}
