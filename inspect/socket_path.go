package inspect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// ErrNotSocket says that a path names something else than a socket.
var ErrNotSocket = errors.New("not a socket")

// place is a folder or a socket, held open: all that is told of it is of one
// file. Nothing is opened for reading or writing (O_PATH in open(2)).
type place struct {
	path string // on the node
	fd   int
	Permissions
	kind uint32 // S_IFMT
	id   fileID
}

// fileID tells files apart, whatever their paths.
type fileID struct{ device, inode uint64 }

// lookup is one name looked up in a folder, which whoever can write there could
// have made somebody else's.
type lookup struct {
	above []*place // the folder is the last
	owner uint32   // of what the name stands for
}

// trail is a path that was walked to its end.
type trail struct {
	named   string // as it was asked for
	path    string // without symbolic links
	socket  *place
	folders []*place // above it, from the root down
	lookups []lookup // also those of the symbolic links on the way
	places  []*place // all that were opened
}

func (t *trail) close() {
	for _, p := range t.places {
		_ = unix.Close(p.fd)
		p.fd = -1
	}
}

// maxLinks is the kernel's, see path_resolution(7).
const maxLinks = 40

// walk goes from the node's root to a socket, by way of every folder and
// symbolic link, none of which leads out of the node's root. Close the trail.
//
// The error is a [fs.PathError] with the path where it went no further, or wraps
// [ErrNotSocket]. The trail is then that far.
func walk(hostRoot, named string) (*trail, error) {
	t := &trail{named: named}
	return t, withRoot(hostRoot, t.walk(hostRoot))
}

func (t *trail) walk(hostRoot string) error {
	root, err := t.open(unix.AT_FDCWD, cmp.Or(hostRoot, "/"), "/", unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	t.folders = []*place{root}
	todo := elements(t.named)
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			t.folders = t.folders[:max(1, len(t.folders)-1)]
			continue
		}
		found, err := t.look(name)
		if err != nil {
			return err
		}
		switch found.kind {
		case unix.S_IFDIR:
			t.folders = append(t.folders, found)
		case unix.S_IFLNK:
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: found.path, Err: unix.ELOOP}
			}
			target, err := readlinkAt(found)
			if err != nil {
				return err
			}
			if path.IsAbs(target) {
				t.folders = t.folders[:1]
			}
			todo = append(elements(target), todo...)
		default:
			if len(todo) > 0 {
				return &fs.PathError{Op: "open", Path: path.Join(found.path, todo[0]), Err: unix.ENOTDIR}
			}
			t.path, t.socket = found.path, found
			return isSocket(found)
		}
	}
	return isSocket(t.folders[len(t.folders)-1])
}

// look looks a name up in the last of the folders.
func (t *trail) look(name string) (*place, error) {
	last := t.folders[len(t.folders)-1]
	found, err := t.open(last.fd, name, path.Join(last.path, name), unix.O_NOFOLLOW)
	if err == nil {
		t.lookups = append(t.lookups, lookup{above: slices.Clone(t.folders), owner: found.Owner.ID})
	}
	return found, err
}

// withRoot puts the node's root before the path of an error: there it happened.
func withRoot(hostRoot string, err error) error {
	var e *fs.PathError
	if hostRoot != "" && errors.As(err, &e) {
		e.Path = filepath.Join(hostRoot, e.Path)
	}
	return err
}

// elements are the names of a path, without those that lead nowhere.
func elements(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

func isSocket(p *place) error {
	switch p.kind {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFDIR:
		return fmt.Errorf("is a folder, %w", ErrNotSocket)
	case unix.S_IFREG:
		return fmt.Errorf("is a regular file, %w", ErrNotSocket)
	}
	return ErrNotSocket
}

// open opens one name in a folder and reads what decides over it.
func (t *trail) open(folder int, name, shown string, flags int) (*place, error) {
	fd, err := unix.Openat(folder, name, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: shown, Err: err}
	}
	p := &place{path: shown, fd: fd}
	t.places = append(t.places, p)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: shown, Err: err}
	}
	p.kind = st.Mode & unix.S_IFMT
	p.id = fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // 32 bits wide on some architectures
	p.Mode = Mode(st.Mode & 0o7777)
	p.Owner, p.Group = Account{ID: st.Uid}, Account{ID: st.Gid}
	if p.kind == unix.S_IFLNK {
		return p, nil // its mode decides nothing
	}
	p.ACL, err = readACL(fd, shown)
	return p, err
}

func readlinkAt(p *place) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(p.fd, "", buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: p.path, Err: err}
	}
	return string(buf[:n]), nil
}

// ownFile is the path of one of our own open files: calls that refuse a handle
// without reading rights take it, and reach the same file.
func ownFile(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// readACL reads the ACL of an open file; none where there is none, and where the
// file system has none.
func readACL(fd int, shown string) ([]ACLEntry, error) {
	for {
		size, err := unix.Getxattr(ownFile(fd), accessACL, nil)
		if err == nil {
			value := make([]byte, size)
			size, err = unix.Getxattr(ownFile(fd), accessACL, value)
			if err == nil {
				return parsedACL(value[:size], shown)
			}
		}
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case errors.Is(err, unix.ERANGE): // it grew meanwhile
			continue
		}
		return nil, &fs.PathError{Op: "getxattr " + accessACL, Path: shown, Err: err}
	}
}

func parsedACL(value []byte, shown string) ([]ACLEntry, error) {
	acl, err := parseACL(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return acl, nil
}

// location is where a file is in its file system: the same for every mount
// through which it is seen.
type location struct {
	device string // of mountinfo, which on some file systems is not that of stat(2)
	path   string // from the file system's root
}

// locate finds the place of an open file with the mounts of our own process.
func locate(p *place, own mountTable) (location, error) {
	id, err := mountID(p.fd)
	if err != nil {
		return location{}, err
	}
	shown, err := readOwnLink(p.fd)
	if err != nil {
		return location{}, err
	}
	for _, m := range own.list {
		if m.ID == id && isBelow(shown, m.Point) {
			return location{device: m.Device, path: path.Join(m.Root, strings.TrimPrefix(shown, m.Point))}, nil
		}
	}
	return location{}, fmt.Errorf("%s: its mount %d is not in /proc/self/mountinfo", p.path, id)
}

func readOwnLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(ownFile(fd), buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: ownFile(fd), Err: err}
	}
	return string(buf[:n]), nil
}

// mountID reads the line mnt_id of fdinfo, since Linux 3.15.
func mountID(fd int) (int, error) {
	name := "self/fdinfo/" + strconv.Itoa(fd)
	data, err := procfs.FS{}.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(rest)))
		}
	}
	return 0, fmt.Errorf("%s: no line mnt_id", procfs.FS{}.Path(name))
}

// ownMounts are the mounts that our own process sees.
func ownMounts() (mountTable, error) {
	const name = "self/mountinfo"
	data, err := procfs.FS{}.ReadFile(name)
	if err != nil {
		return mountTable{}, err
	}
	t, err := parseMounts(string(data))
	if err != nil {
		return mountTable{}, fmt.Errorf("%s: %w", procfs.FS{}.Path(name), err)
	}
	return t, nil
}
