package lab

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
		killContainerd(f, hs),
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

// killContainerd kills containerd before anything else is: it would notice the
// end of its shims and start to remove their folders, which tell us the shims'
// sockets. A process of that id that is not in the lab's cgroup is another.
func killContainerd(f folders, hs []hierarchy) error {
	text, err := os.ReadFile(f.pid())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", f.pid(), err)
	}
	deadline := time.Now().Add(endTimeout)
	for slices.ContainsFunc(hs, func(h hierarchy) bool {
		return slices.Contains(cgroupProcs(runtimeCgroup(f, h)), pid)
	}) {
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd, process %d, does not end", pid)
		}
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// shimSockets16 is where containerd 1.6 has its shims make their sockets. The
// path is part of the program, so it is the one thing a lab shares with the
// machine's containerd.
const shimSockets16 = "/run/containerd/s"

// shimSocket16 is the socket of a task's shim. Its name is a hash over the
// socket of the shim's containerd, the namespace and the task, so it is the
// lab's own, and known even when the shim was killed before it wrote it down.
func shimSocket16(f folders, namespace, task string) string {
	sum := sha256.Sum256([]byte(filepath.Join(f.socket(), namespace, task)))
	return filepath.Join(shimSockets16, fmt.Sprintf("%x", sum))
}

// removeShimSockets removes the sockets that the lab's shims have made in the
// folder all containerds 1.6 share, and the folders if shims made them: with a
// mode of theirs, which no folder made by containerd or a person has.
func removeShimSockets(f folders) error {
	tasks, err := filepath.Glob(filepath.Join(f.containerd(), "io.containerd.runtime.v2.task", "*", "*"))
	if err != nil {
		return err
	}
	var failed []error
	for _, task := range tasks {
		socket := shimSocket16(f, filepath.Base(filepath.Dir(task)), filepath.Base(task))
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	failed = append(failed, removeDeadSockets(f))
	for _, dir := range []string{shimSockets16, filepath.Dir(shimSockets16)} {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm() == 0o600 {
			_ = unix.Rmdir(dir) // in use by another lab if it fails
		}
	}
	return errors.Join(failed...)
}

// removeDeadSockets removes what is left of shims whose folders containerd took
// away itself, as when a request is canceled while the shim starts: sockets made
// since the lab's containerd was started on which nobody listens any more.
func removeDeadSockets(f folders) error {
	started, err := os.Stat(f.pid())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(shimSockets16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := []error{err}
	for _, e := range entries {
		path := filepath.Join(shimSockets16, e.Name())
		info, err := e.Info()
		if err != nil || info.Mode().Type() != fs.ModeSocket || info.ModTime().Before(started.ModTime()) {
			continue
		}
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			continue
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// unmountBelow unmounts everything below the folders, the last mount first. A
// mount that stays busy, as when somebody's shell is in it, is detached: it is
// gone for all to see, and its last user frees it.
func unmountBelow(dirs ...string) error {
	patient := time.Now().Add(10 * time.Second)
	for {
		mounts, err := mountsBelow(dirs...)
		if err != nil || len(mounts) == 0 {
			return err
		}
		flags := unix.UMOUNT_NOFOLLOW
		last := time.Now().After(patient)
		if last {
			flags |= unix.MNT_DETACH
		}
		var failed []error
		for _, m := range slices.Backward(mounts) {
			if err := unix.Unmount(m, flags); err != nil {
				failed = append(failed, fmt.Errorf("unmount %s: %w", m, err))
			}
		}
		if last {
			return errors.Join(failed...)
		}
		if len(failed) > 0 {
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

// removeBases removes the folders of all labs after the last one. One that is a
// mount point stays.
func removeBases() error {
	for _, dir := range []string{stateBase, rootBase} {
		err := unix.Rmdir(dir)
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrNotExist) {
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
