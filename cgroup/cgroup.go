// Package cgroup tells what limits hold for a process: where it is in the hierarchy of control groups, what its cgroup is
// limited to and uses, and which of all the cgroups above sets the limit that binds. See cgroups(7) and the kernel's
// Documentation/admin-guide/cgroup-v2.rst.
//
// Cgroup v1, v2 and both side by side give the same types. Every value is a [Fact]: known with the file it came from, absent
// because this kernel or this cgroup has none, or unknown with the cause. A file that is empty, malformed, unreadable or gone
// makes its fact unknown, never 0 and never "max".
//
// Do not use it to change limits or to make cgroups: it only reads. For the metrics of many containers every few seconds, use
// github.com/containerd/cgroups or the kubelet's, which read less per container. Paths below a container's own cgroup are
// chosen by the container: a name there is no proof of anything.
//
// It does not read by github.com/containerd/cgroups itself: that returns zeros and no error for a cgroup which does not exist, takes
// "max" for a number, follows paths rather than a handle, and would bring protobuf into every importer. The tests compare with it,
// value by value.
//
// The package needs no container runtime. Its parsers and [EffectiveOf] do no I/O. All types are plain values and safe for
// concurrent use.
package cgroup

import (
	"errors"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// The classes of error a caller acts on.
var (
	// ErrSyntax is wrapped by the error of every parser in this package.
	ErrSyntax = errors.New("invalid syntax")
	// ErrNoProcess says that there is no process with the pid, or that it ended while it was read.
	ErrNoProcess = procfs.ErrNoProcess
	// ErrRemoved says that a cgroup does not exist any more.
	ErrRemoved = errors.New("cgroup was removed")
	// ErrMoved says that the process was moved to another cgroup while it was read.
	ErrMoved = errors.New("process was moved to another cgroup")
	// ErrHidden says that a cgroup is outside of what the reader's mounts and cgroup namespace show.
	ErrHidden = errors.New("cgroup is not visible from here")
)

// clip shortens text that came from outside, so that an error stays one readable line.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
