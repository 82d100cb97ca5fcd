package procfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Process is a handle on the folder of one process. Close it after use. It must
// not be used by several goroutines at once.
type Process struct {
	pid int
	dir string
	fd  int
	buf *[]byte // from buffers, at the first read
}

// buffers are reused from one process to the next: reading a node's processes
// then allocates next to nothing.
var buffers = sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}

// links are for those that are read; what ReadFile returned is not touched.
var links = sync.Pool{New: func() any { b := make([]byte, 256); return &b }}

// PID returns the number by which the process was opened.
func (p *Process) PID() int { return p.pid }

// Path returns the path of a file in the folder, for use in messages.
func (p *Process) Path(name string) string { return filepath.Join(p.dir, name) }

// Close releases the handle, and the bytes that ReadFile returned.
func (p *Process) Close() error {
	if p.fd < 0 {
		return nil
	}
	fd := p.fd
	p.fd = -1
	if p.buf != nil {
		buffers.Put(p.buf)
		p.buf = nil
	}
	return unix.Close(fd)
}

// ReadFile reads a file in the folder, of any size. The bytes are valid until
// the next call on p, Close included. The error wraps [ErrNoProcess] when the process is gone
// and is a [*fs.PathError] with the kernel's errno otherwise.
func (p *Process) ReadFile(name string) ([]byte, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, p.error("open", name, err)
	}
	defer unix.Close(fd) //nolint:errcheck // opened for reading: nothing can be lost
	if p.buf == nil {
		p.buf = buffers.Get().(*[]byte)
	}
	buf := *p.buf
	defer func() { *p.buf = buf }()
	n := 0
	for {
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		m, err := retry(func() (int, error) { return unix.Read(fd, buf[n:]) })
		if err != nil {
			return nil, pathError("read", p.Path(name), err)
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
}

// Readlink reads a symbolic link in the folder, such as ns/pid. The error is as
// for [Process.ReadFile].
func (p *Process) Readlink(name string) (string, error) {
	pooled := links.Get().(*[]byte)
	defer links.Put(pooled)
	for {
		buf := *pooled
		n, err := retry(func() (int, error) { return unix.Readlinkat(p.fd, name, buf) })
		if err != nil {
			return "", p.error("readlink", name, err)
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		*pooled = make([]byte, 2*len(buf))
	}
}

// Alive tells whether the process that was opened still runs. Call it after the
// reads: facts belong to a live process only when it returns nil. The error wraps
// [ErrNoProcess] when the process ended, as a zombie has, and one that is on its
// way there: it gave back its namespaces, mounts and files, or is about to. A
// process whose first thread ended while others run has not ended, but what they
// have cannot be read here: that is another error.
func (p *Process) Alive() error {
	stat, err := p.ReadFile("stat")
	if err != nil {
		return err
	}
	state, flags, threads := parseStat(stat)
	switch {
	case state == 0:
		return fmt.Errorf("%s: no state in %q", p.Path("stat"), stat)
	case !isEnding(state, flags):
		return nil
	}
	if threads > 1 {
		if tid, err := p.runningThread(); err != nil || tid != "" {
			return cmp.Or(err, fmt.Errorf("process %d: its first thread has ended, but not thread %s", p.pid, tid))
		}
	}
	return fmt.Errorf("process %d has ended: %w", p.pid, ErrNoProcess)
}

// exiting is PF_EXITING of the kernel's sched.h: the thread is in do_exit.
const exiting = 0x4

// isEnding tells whether a thread has ended, or is doing nothing else any more.
func isEnding(state byte, flags uint64) bool {
	return state == 'Z' || state == 'X' || state == 'x' || flags&exiting != 0
}

// parseStat reads the state, the flags and the number of threads in
// /proc/PID/stat. The state is 0 when there is none.
func parseStat(stat []byte) (state byte, flags, threads uint64) {
	// The name of the program stands in parentheses and may hold any byte,
	// also ") Z": the state follows the last parenthesis (proc_pid_stat(5)).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	number := func(n int) uint64 { // counted from 1, as the manual does
		if n-3 >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseUint(string(fields[n-3]), 10, 64)
		return v
	}
	if len(fields) == 0 || bytes.IndexByte(stat, ')') < 0 {
		return 0, 0, 0
	}
	return fields[0][0], number(9), number(20)
}

// runningThread returns a thread that has not ended and is not about to, or "".
func (p *Process) runningThread() (string, error) {
	threads, err := p.ReadDir("task")
	if err != nil {
		return "", err
	}
	for _, tid := range threads {
		stat, err := p.ReadFile("task/" + tid + "/stat")
		if err != nil {
			continue // it ended
		}
		if state, flags, _ := parseStat(stat); isEnding(state, flags) {
			continue
		}
		status, err := p.ReadFile("task/" + tid + "/status")
		if err == nil && !isKilled(status) {
			return tid, nil
		}
	}
	return "", nil
}

// isKilled tells whether SIGKILL waits for a thread, which the kernel sends to
// the threads of a process that ends: it runs no program any more.
func isKilled(status []byte) bool {
	_, after, _ := bytes.Cut(status, []byte("\nSigPnd:\t"))
	mask, _, _ := bytes.Cut(after, []byte("\n"))
	pending, err := strconv.ParseUint(string(mask), 16, 64)
	return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}

// error is pathError for a file in the folder. With hidepid=2 the folder of a
// process can be opened, but nothing in it is there.
func (p *Process) error(op, name string, err error) error {
	if err == unix.ENOENT && p.isHidden() { //nolint:errorlint // a bare errno
		err = errHidden
	}
	return pathError(op, p.Path(name), err)
}

// isHidden tells whether the folder itself is said not to be there. Of a process
// that ended it still is.
func (p *Process) isHidden() bool {
	var st unix.Stat_t
	return unix.Fstat(p.fd, &st) == unix.ENOENT
}

// errHidden is what hidepid makes of a process of somebody else's.
var errHidden = fmt.Errorf("hidden by the hidepid option of /proc: %w", fs.ErrPermission)

// pathError adds what was done to what, and turns ESRCH into ErrNoProcess.
func pathError(op, path string, err error) error {
	if err == unix.ESRCH { //nolint:errorlint // a bare errno
		return fmt.Errorf("%s %s: %w", op, path, ErrNoProcess)
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
