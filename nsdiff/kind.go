// Package nsdiff tells in which Linux namespaces processes are: which of them are the host's, who shares one with whom, and
// whether that is what a pod asked for. See namespaces(7).
//
// [Reader] reads a process from /proc, all of it under one handle: facts of two processes are never mixed, whatever becomes
// of their pids. [Host.Compare], [Groups] and [Node.Sharing] are pure functions over what was read. What could not be read is
// unknown, with the path and the errno: neither shared nor isolated.
//
// Do not use it to enter, make or keep a namespace: it opens none but to ask the kernel about it. Do not store what it
// returns for longer than the machine runs: a namespace has its number until the last process leaves it, then the number is
// given to another one. It looks at the first thread of a process, which is nearly always in the same namespaces as the
// others. For a container that does not run on the host's kernel, as with gVisor and Kata Containers, it describes the
// sandbox's process on the host, not what the container sees.
//
// All types are plain values and safe for concurrent use.
package nsdiff

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// ErrNoProcess says that there is no process with the pid, or that it ended while it was read.
var ErrNoProcess = procfs.ErrNoProcess

// ErrSyntax is wrapped by the error of every parser in this package.
var ErrSyntax = errors.New("invalid syntax")

// ErrAbsent is wrapped by an error that says that this kernel has no such namespace or fact. Any other error means unknown.
var ErrAbsent = errors.New("absent")

// Kind is one of the links in /proc/PID/ns. The zero Kind is none.
type Kind uint8

// The links in /proc/PID/ns, with the Linux version that has them first.
const (
	Cgroup          Kind = iota + 1 // 4.6: which control group is shown as the root
	IPC                             // 3.0: System V IPC and POSIX message queues
	Mnt                             // 3.8: the tree of mounts
	Net                             // 3.0: network devices, addresses, ports, abstract sockets
	PID                             // 3.8: the numbers of processes, and which processes are seen
	PIDForChildren                  // 4.12: the pid namespace of children to come
	Time                            // 5.6: the monotonic and boot-time clocks
	TimeForChildren                 // 5.6: the time namespace of children to come
	User                            // 3.8: user and group ids, capabilities
	UTS                             // 3.0: the host name
)

const kindCount = int(UTS)

var kindNames = [kindCount + 1]string{
	"none", "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts",
}

// Kinds returns all kinds, in the order of their names.
func Kinds() []Kind {
	kinds := make([]Kind, kindCount)
	for i := range kinds {
		kinds[i] = Kind(i + 1)
	}
	return kinds
}

// ParseKind returns the kind with a name as in /proc/PID/ns. The error wraps [ErrSyntax].
func ParseKind(name string) (Kind, error) {
	if i := slices.Index(kindNames[1:], name); i >= 0 {
		return Kind(i + 1), nil
	}
	return 0, fmt.Errorf("%w: namespace kind %q: want one of %v", ErrSyntax, clip(name), Kinds())
}

func (k Kind) valid() bool { return k >= Cgroup && k <= UTS }

// String returns the name in /proc/PID/ns, such as "net".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Type returns the kind of the namespace that the link leads to: [PID] for [PIDForChildren], [Time] for [TimeForChildren],
// and k itself for the others.
func (k Kind) Type() Kind {
	switch k {
	case PIDForChildren:
		return PID
	case TimeForChildren:
		return Time
	default:
		return k
	}
}

// MarshalText returns the name. The error wraps [ErrSyntax] when k is none of the constants.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.valid() {
		return nil, fmt.Errorf("%w: %s is no kind of namespace", ErrSyntax, k)
	}
	return []byte(k.String()), nil
}

// UnmarshalText is [ParseKind].
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, err := ParseKind(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// clip shortens text for an error message.
func clip(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}
