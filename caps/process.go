package caps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// ErrNoProcess says that there is no process with the pid, or that it ended while it was read.
var ErrNoProcess = procfs.ErrNoProcess

// Reader reads capabilities from a proc file system.
type Reader struct {
	// Proc is where the proc file system is mounted; empty means /proc.
	Proc string
}

// Process returns the state of a process, from /proc/PID/status. Everyone may read it, unless proc is mounted with hidepid.
//
// The error wraps [ErrNoProcess] when the process is gone, and [io/fs.ErrPermission] when it may not be read.
func (r Reader) Process(pid int) (State, error) {
	p, err := procfs.FS{Proc: r.Proc}.Open(pid)
	if err != nil {
		return State{}, err
	}
	defer p.Close()
	return state(p)
}

// Reach returns the state of a process and what it can reach, both of the same process even when pids are reused. It reads
// /proc/PID/status and the link /proc/PID/ns/user, for which it needs PTRACE_MODE_READ_FSCREDS, see ptrace(2). When only the
// link cannot be read, that is no error: Reach says [UserNSUnknown] and why.
//
// The errors are those of [Reader.Process].
func (r Reader) Reach(pid int) (State, Reach, error) {
	p, err := procfs.FS{Proc: r.Proc}.Open(pid)
	if err != nil {
		return State{}, Reach{}, err
	}
	defer p.Close()
	s, err := state(p)
	if err != nil {
		return State{}, Reach{}, err
	}
	ns, err := userNS(p)
	if errors.Is(err, ErrNoProcess) {
		return State{}, Reach{}, err
	}
	reach := s.Reach(ns)
	if err != nil {
		reach.UserNSError = err.Error()
	}
	return s, reach, nil
}

// LastCap returns the highest capability that the kernel supports, from /proc/sys/kernel/cap_last_cap. Available from Linux
// 3.2. The error wraps [ErrSyntax] when the file has anything else in it than a number from 0 to 63.
func (r Reader) LastCap() (Cap, error) {
	const name = "sys/kernel/cap_last_cap"
	data, err := procfs.FS{Proc: r.Proc}.ReadFile(name)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSuffix(string(data), "\n")
	last, err := strconv.ParseUint(text, 10, 8)
	if err != nil || Cap(last) > maxCap {
		return 0, fmt.Errorf("%w: %s %q: want 0 to 63", ErrSyntax, name, clip(text))
	}
	return Cap(last), nil
}

func state(p *procfs.Process) (State, error) {
	status, err := p.ReadFile("status")
	if err != nil {
		return State{}, err
	}
	return ParseStatus(status)
}

func userNS(p *procfs.Process) (UserNS, error) {
	link, err := p.Readlink("ns/user")
	if err != nil {
		return UserNSUnknown, err
	}
	return ParseUserNS(link)
}
