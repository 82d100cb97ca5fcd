package nsdiff

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Host is what the namespaces of processes are compared with. It is plain data: [Reader.Host] reads it. With the zero Host,
// only the fixed numbers of the initial namespaces are known.
type Host struct {
	// First are the namespaces of the first process that proc shows, from /proc/1/ns: the node's. Even root may be refused
	// to read them, when that process has a capability that we lack.
	First Set `json:"first"`
	// Machine tells that proc shows the kernel's threads: then its first process is the machine's. Otherwise it may be that
	// of a container which is the node, as in kind, or of the container that we run in.
	Machine bool `json:"machine"`
	// KernelThread are the namespaces of the kernel's thread kthreadd, from /proc/2/ns: the initial ones. All are unknown
	// unless Machine.
	KernelThread Set `json:"kernelThread"`
	// Release is the kernel's, as uname -r prints it, or empty when it could not be read.
	Release string `json:"release,omitempty"`
}

// Host reads what processes are compared with, from /proc/1/ns, /proc/2 and /proc/sys/kernel/osrelease. It needs
// PTRACE_MODE_READ_FSCREDS over these processes, see ptrace(2). What cannot be read is unknown in the Host, with its cause.
func (r Reader) Host() Host {
	fs := procfs.FS{Proc: r.Proc}
	var h Host
	first, err := r.Namespaces(1)
	if err != nil {
		first = unknown(err)
	}
	h.First = first
	h.KernelThread, h.Machine, err = kernelThread(fs)
	if err != nil {
		h.KernelThread = unknown(err)
	}
	if release, err := fs.ReadFile("sys/kernel/osrelease"); err == nil {
		h.Release = strings.TrimSpace(string(release))
	}
	return h
}

// kernelThread reads the namespaces of process 2 if that is kthreadd, which the kernel starts next to the first process and
// which never leaves the initial namespaces. Its other threads may: kdevtmpfs has mounts of its own.
func kernelThread(fs procfs.FS) (s Set, found bool, err error) {
	elsewhere := errors.New("process 2 is not a thread of the kernel: proc shows another pid namespace than the initial one")
	p, err := fs.Open(2)
	if errors.Is(err, procfs.ErrNoProcess) {
		return Set{}, false, elsewhere // the kernel's threads never end
	}
	if err != nil {
		return Set{}, false, err
	}
	defer p.Close() //nolint:errcheck // opened for reading: nothing can be lost
	stat, err := p.ReadFile("stat")
	if err != nil {
		return Set{}, false, err
	}
	if !isKernelThread(stat) {
		return Set{}, false, elsewhere
	}
	s, err = Read(p)
	return s, true, err
}

// isKernelThread tells from a /proc/PID/stat file whether it is of a thread of the kernel that has no parent. The name in
// parentheses may hold any byte; the parent's pid and the flags follow as the fields 4 and 9, see proc_pid_stat(5).
func isKernelThread(stat []byte) bool {
	const flagKthread = 0x00200000 // PF_KTHREAD of include/linux/sched.h
	_, rest, ok := cutLast(stat, ") ")
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 32)
	return err == nil && flags&flagKthread != 0 && fields[1] == "0"
}

func cutLast(b []byte, sep string) (before, after []byte, found bool) {
	i := bytes.LastIndex(b, []byte(sep))
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+len(sep):], true
}

// Relation says whether a process is in a certain namespace.
type Relation uint8

// The zero value is unknown.
const (
	Unknown Relation = iota
	// Absent: this kernel has no such namespaces, or the process has none yet.
	Absent
	// Same: it is in this namespace.
	Same
	// Other: it is in another namespace of the kind.
	Other
)

var relationNames = []string{"unknown", "absent", "same", "other"}

// String returns "unknown", "absent", "same" or "other".
func (r Relation) String() string { return enumName("Relation", relationNames, uint8(r)) }

// MarshalText returns the text of [Relation.String].
func (r Relation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes a text of [Relation.String]. The error wraps [ErrSyntax].
func (r *Relation) UnmarshalText(text []byte) error {
	return parseEnum("relation", relationNames, text, (*uint8)(r))
}

// Proof says what a comparison stands on.
type Proof string

// The proofs.
const (
	// ByFirstProcess: the namespace of the node's first process was read.
	ByFirstProcess Proof = "first process"
	// ByKernelThread: the namespace of a thread of the kernel was read, which is the initial one.
	ByKernelThread Proof = "kernel thread"
	// ByInode: the inode is, or is not, the fixed one of the initial namespace.
	ByInode Proof = "fixed inode"
)

// Match is the result of one comparison.
type Match struct {
	Relation Relation `json:"relation"`
	// Proof is what Same and Other stand on.
	Proof Proof `json:"proof,omitempty"`
	// Cause is why the relation is unknown or absent.
	Cause string `json:"cause,omitempty"`
}

// Comparison is one namespace of a process compared with the host's. The two differ where the node is a container itself, as
// in kind: a pod in the "host's" network is then in that of the node's container, and not in the machine's.
type Comparison struct {
	// Host compares with the namespace of the node's first process. Where that cannot be read, the initial namespace counts
	// as the host's; another one is unknown, unless the first process is the machine's.
	Host Match `json:"host"`
	// Initial compares with the initial namespace of the machine.
	Initial Match `json:"initial"`
}

// Compare compares the namespace of a kind in s with the host's.
func (h Host) Compare(s Set, k Kind) Comparison {
	ns, err := s.Namespace(k)
	if err != nil {
		m := unmatched(err)
		return Comparison{Host: m, Initial: m}
	}
	initial := h.initial(ns, k)
	return Comparison{Host: h.first(ns, k, initial), Initial: initial}
}

func (h Host) initial(ns Namespace, k Kind) Match {
	if ns == Initial(k) || h.fixed(k) {
		return matched(ns, Initial(k), ByInode)
	}
	thread, err := h.KernelThread.Namespace(k)
	if err != nil {
		return unmatched(fmt.Errorf("the number of the initial %s namespace is fixed since Linux 6.17 only, and: %w", k, err))
	}
	return matched(ns, thread, ByKernelThread)
}

func (h Host) first(ns Namespace, k Kind, initial Match) Match {
	first, err := h.First.Namespace(k)
	switch {
	case err == nil:
		return matched(ns, first, ByFirstProcess)
	case initial.Relation == Same, initial.Relation == Other && h.Machine:
		return initial
	}
	return Match{Relation: Unknown, Cause: err.Error()}
}

// fixed tells whether this kernel gives the initial namespace of a kind its fixed number.
func (h Host) fixed(k Kind) bool {
	return k != Net && k != Mnt || atLeast(h.Release, 6, 17)
}

func atLeast(release string, major, minor int) bool {
	var x, y int
	if n, _ := fmt.Sscanf(release, "%d.%d", &x, &y); n != 2 {
		return false
	}
	return x > major || x == major && y >= minor
}

func matched(ns, with Namespace, proof Proof) Match {
	if ns == with {
		return Match{Relation: Same, Proof: proof}
	}
	return Match{Relation: Other, Proof: proof}
}

func unmatched(err error) Match {
	if errors.Is(err, ErrAbsent) {
		return Match{Relation: Absent, Cause: err.Error()}
	}
	return Match{Relation: Unknown, Cause: err.Error()}
}
