package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// folder is a cgroup's folder, opened once, when something is asked of it that is not remembered. Every file is opened under
// the handle: once the cgroup is removed all of that fails, also when a new one got the same name.
type folder struct {
	fd   int // -1 while it is not open
	path string
	// fact is what every fact of this folder is, absent or unknown, when there is none; path is empty then.
	fact Fact[string]
	// read is what was read in it.
	read *remembered
}

// buffers are reused from one file to the next.
var buffers = sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}

// noFolder is a folder that could not be opened, or that does not exist here.
func noFolder(fact Fact[string]) *folder { return &folder{fd: -1, fact: fact} }

// folderAt is a folder that is not open yet.
func folderAt(path string) *folder { return &folder{fd: -1, path: path, read: &remembered{}} }

// found tells whether there is such a folder.
func (f *folder) found() bool { return f.path != "" }

// open opens it if it is not open. The error wraps [ErrRemoved] when there is none. The names in a mount of cgroups are those of
// cgroups and files: no link is among them.
func (f *folder) open() error {
	if f.fd >= 0 {
		return nil
	}
	fd, err := openat(unix.AT_FDCWD, f.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return vanished(&fs.PathError{Op: "open", Path: f.path, Err: err})
	}
	f.fd = fd
	return nil
}

// child is the folder of a cgroup directly below.
func (f *folder) child(name string) (*folder, error) {
	if name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: cgroup %q: want a plain name", ErrSyntax, clip(name))
	}
	return &folder{fd: -1, path: f.path + "/" + name}, nil
}

func (f *folder) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
}

// vanished adds [ErrRemoved] to the errors that the kernel gives for a removed cgroup.
func vanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", ErrRemoved, err)
	}
	return err
}

// file returns the path of a file in the folder.
func (f *folder) file(name string) string { return f.path + "/" + name }

// exists tells whether a file is in the folder.
func (f *folder) exists(name string) (bool, error) {
	if err := f.open(); err != nil {
		return false, err
	}
	var st unix.Stat_t
	err := unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT):
		return false, nil
	}
	return false, &fs.PathError{Op: "stat", Path: f.file(name), Err: err}
}

// readFile reads a whole file.
func (f *folder) readFile(name string) (string, error) {
	if err := f.open(); err != nil {
		return "", err
	}
	path := f.file(name)
	fd, err := openat(f.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // opened for reading: nothing can be lost
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf, n := *pooled, 0
	for {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if m == 0 {
			return string(buf[:n]), nil
		}
		if n += m; n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
			*pooled = buf
		}
	}
}

// read reads and parses one file, once. A file that is not there is absent, unless the whole cgroup is gone.
func read[T any](f *folder, name string, parse func(string) (T, error)) Fact[T] {
	return remember(f, name, func() Fact[T] { return readNow(f, name, parse) })
}

// readNow is read for a file that may have changed since.
func readNow[T any](f *folder, name string, parse func(string) (T, error)) Fact[T] {
	if !f.found() {
		return convert(f.fact, parse) // never calls parse: the fact is not known
	}
	path := f.file(name)
	data, err := f.readFile(name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return missing[T](f, path, err)
	case err != nil:
		return UnknownFact[T](vanished(err))
	}
	value, err := parse(data)
	if err != nil {
		return UnknownFact[T](fmt.Errorf("%s: %w", path, err))
	}
	return KnownFact(value, path)
}

// missing is absent when the cgroup exists, for only its file is missing then: every cgroup has cgroup.procs.
func missing[T any](f *folder, path string, cause error) Fact[T] {
	switch alive, err := f.exists("cgroup.procs"); {
	case err != nil:
		return UnknownFact[T](err)
	case !alive:
		return UnknownFact[T](vanished(cause))
	}
	return AbsentFact[T]("no file " + path)
}

// line makes a parser of one line of a parser of text: the kernel ends a line with a newline, and one without was cut short.
func line[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(data string) (T, error) {
		text, ended := strings.CutSuffix(data, "\n")
		if !ended || strings.Contains(text, "\n") {
			var zero T
			return zero, fmt.Errorf("%w: %q: want one line", ErrSyntax, clip(data))
		}
		return parse(text)
	}
}

// keyed reads a flat-keyed file.
func keyed(f *folder, name string) Fact[map[string]Count] { return read(f, name, ParseKeyed) }

// pick takes one number out of a flat-keyed file; it is absent when the file has no such key.
func pick(values Fact[map[string]Count], key string) Fact[Count] {
	all, ok := values.Value()
	if !ok {
		return convert(values, func(map[string]Count) (Count, error) { return 0, nil })
	}
	n, ok := all[key]
	if !ok {
		return AbsentFact[Count]("no line " + key + " in " + values.Source())
	}
	return KnownFact(n, values.Source())
}

// list returns the names in the folder, sorted.
func (f *folder) list() ([]string, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	fd, err := openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, vanished(&fs.PathError{Op: "open", Path: f.path, Err: err})
	}
	defer unix.Close(fd) //nolint:errcheck // opened for reading: nothing can be lost
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, vanished(&fs.PathError{Op: "readdir", Path: f.path, Err: err})
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
