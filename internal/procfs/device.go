package procfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a device node in a process's file system.
type Device struct {
	// Path is where it is, from the process's root.
	Path string
	// Block tells a block device from a character device.
	Block        bool
	Major, Minor uint32
}

// maxDepth bounds the folders below each other that are looked into.
const maxDepth = 16

// Devices returns the device nodes in a folder of the process's file system,
// such as /dev, and in those below, in the order of their paths.
//
// The process may have put anything there, so no link is followed, and only the
// mounts in mounts are entered, a number for each place: a folder or file that
// turns out to be on another mount is left out before it is touched. With file
// systems in memory nothing can keep us waiting. The folder itself must be one
// of the places.
//
// Available from Linux 5.6. Needs PTRACE_MODE_READ_FSCREDS. The error is as for
// [Process.ReadFile].
func (p *Process) Devices(folder string, mounts map[string]int) ([]Device, error) {
	root, err := retry(func() (int, error) {
		return unix.Openat(p.fd, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, pathError("open", p.Path("root"), err)
	}
	defer unix.Close(root) //nolint:errcheck // opened with O_PATH: nothing can be lost
	w := deviceWalk{p: p, mounts: mounts}
	fd, err := w.open(root, folder[1:], folder, mounts[folder])
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // opened with O_PATH: nothing can be lost
	if err := w.folder(fd, folder, mounts[folder], maxDepth); err != nil {
		return nil, err
	}
	slices.SortFunc(w.found, func(a, b Device) int { return strings.Compare(a.Path, b.Path) })
	return w.found, nil
}

type deviceWalk struct {
	p      *Process
	mounts map[string]int
	found  []Device
}

// errOtherMount says that something else is mounted there.
var errOtherMount = errors.New("another mount is there now")

// open opens what is at name in a folder without touching it.
func (w *deviceWalk) open(dir int, name, at string, mount int) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(dir, name, &how) })
	if err != nil {
		return 0, pathError("open", w.p.Path("root"+at), err)
	}
	got, err := w.p.mountOf(fd)
	if err == nil && got != mount {
		err = &fs.PathError{Op: "open", Path: w.p.Path("root" + at), Err: errOtherMount}
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// folder looks through a folder that was opened with open.
func (w *deviceWalk) folder(dir int, at string, mount, depth int) error {
	// Reading needs another handle; "." is the folder itself, whatever was
	// mounted over it meanwhile.
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return pathError("open", w.p.Path("root"+at), err)
	}
	list := os.NewFile(uintptr(fd), w.p.Path("root"+at))
	defer list.Close() //nolint:errcheck // opened for reading: nothing can be lost
	entries, err := list.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.entry(dir, e, path.Join(at, e.Name()), mount, depth); err != nil {
			return err
		}
	}
	return nil
}

// entry looks at one name in a folder. The type that the folder gives is not
// that of a mount on it.
func (w *deviceWalk) entry(dir int, e os.DirEntry, at string, mount, depth int) error {
	over, mounted := w.mounts[at]
	if mounted {
		mount = over
	}
	if !mounted && !e.IsDir() && e.Type()&fs.ModeDevice == 0 {
		return nil
	}
	fd, err := w.open(dir, e.Name(), at, mount)
	if errors.Is(err, errOtherMount) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // opened with O_PATH: nothing can be lost
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", w.p.Path("root"+at), err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		rdev := uint64(st.Rdev) //nolint:unconvert // 32 bits wide on some architectures
		w.found = append(w.found, Device{
			Path: at, Block: st.Mode&unix.S_IFMT == unix.S_IFBLK, Major: unix.Major(rdev), Minor: unix.Minor(rdev),
		})
	case unix.S_IFDIR:
		if depth == 0 {
			return &fs.PathError{Op: "read", Path: w.p.Path("root" + at), Err: unix.ELOOP}
		}
		return w.folder(fd, at, mount, depth-1)
	}
	return nil
}
