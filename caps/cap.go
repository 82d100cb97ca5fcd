// Package caps decodes Linux capabilities: single masks, the five sets of a process, what each capability lets a
// container do, and which ones a process can still reach. See capabilities(7).
//
// It answers from /proc alone: it needs no container runtime, changes nothing, and its parsers do no I/O.
//
// Do not use it to change the capabilities of a process, for which there is kernel.org/pub/linux/libs/security/libcap/cap,
// or to ask what the calling thread may do, for which a permission check by the kernel is the only answer: seccomp filters,
// security modules and user namespaces all decide beside the capabilities. Capabilities belong to threads, and
// /proc/PID/status shows those of a process's first thread.
//
// All types are plain values and safe for concurrent use.
package caps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
)

// ErrSyntax is wrapped by the error of every parser in this package.
var ErrSyntax = errors.New("invalid syntax")

// Cap is the number of a capability, as in include/uapi/linux/capability.h. Kernels support numbers from 0 to 63.
type Cap uint8

// The capabilities that this package knows by name. [Info] says what each one allows and since which Linux version.
const (
	Chown Cap = iota
	DACOverride
	DACReadSearch
	Fowner
	Fsetid
	Kill
	Setgid
	Setuid
	Setpcap
	LinuxImmutable
	NetBindService
	NetBroadcast
	NetAdmin
	NetRaw
	IPCLock
	IPCOwner
	SysModule
	SysRawio
	SysChroot
	SysPtrace
	SysPacct
	SysAdmin
	SysBoot
	SysNice
	SysResource
	SysTime
	SysTTYConfig
	Mknod
	Lease
	AuditWrite
	AuditControl
	Setfcap
	MACOverride
	MACAdmin
	Syslog
	WakeAlarm
	BlockSuspend
	AuditRead
	Perfmon
	BPF
	CheckpointRestore
)

// maxCap is the highest capability that the kernel's 64-bit sets have room for.
const maxCap Cap = 63

// names holds the known names by number, with the prefix: names[Chown] is "CAP_CHOWN".
var names = func() []string {
	known := capability.ListKnown()
	names := make([]string, len(known))
	for _, c := range known {
		names[c] = "CAP_" + strings.ToUpper(c.String())
	}
	return names
}()

// String returns the name of c as the kernel and OCI spell it, such as "CAP_CHOWN". A capability without a known name keeps
// its number: "CAP_63".
func (c Cap) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return "CAP_" + strconv.Itoa(int(c))
}

// ParseCap returns the capability called name: in any case, with or without the prefix CAP_, or as the number that
// [Cap.String] gives to an unknown one, such as CAP_63. The error wraps [ErrSyntax].
func ParseCap(name string) (Cap, error) {
	bare := strings.TrimPrefix(upper(name), "CAP_")
	for i, known := range names {
		if bare == known[len("CAP_"):] {
			return Cap(i), nil
		}
	}
	number, err := strconv.ParseUint(bare, 10, 8)
	if err == nil && number <= uint64(maxCap) && strconv.FormatUint(number, 10) == bare {
		return Cap(number), nil
	}
	return 0, fmt.Errorf("%w: capability %q: want a name such as CAP_NET_ADMIN or CAP_0 to CAP_63", ErrSyntax, clip(name))
}

// upper returns name in upper case. It changes ASCII letters only: in Unicode, "ſ" is a small "S".
func upper(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, name)
}

// clip shortens text that came from outside, so that an error stays one readable line.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
