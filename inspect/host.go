package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Sysctls are the kernel's settings that decide what a container may do to the
// node, from files below /proc/sys. One that the kernel lacks is absent. See
// Documentation/admin-guide/sysctl of the kernel.
type Sysctls struct {
	// MaxUserNamespaces is user.max_user_namespaces, how many user namespaces a
	// user may make. It is unknown in a user namespace that is not the node's,
	// which has its own. Since Linux 4.9.
	MaxUserNamespaces Fact[int] `json:"maxUserNamespaces"`
	// UnprivilegedUsernsClone is kernel.unprivileged_userns_clone of Debian's
	// kernels: 0 when only root may make user namespaces.
	UnprivilegedUsernsClone Fact[int] `json:"unprivilegedUsernsClone"`
	// AppArmorRestrictUnprivilegedUserns is
	// kernel.apparmor_restrict_unprivileged_userns of Ubuntu's kernels: 1 when
	// a program without a profile gets no capabilities in a user namespace that
	// it makes.
	AppArmorRestrictUnprivilegedUserns Fact[int] `json:"apparmorRestrictUnprivilegedUserns"`
	// UnprivilegedBPFDisabled is kernel.unprivileged_bpf_disabled: 0 allows
	// bpf(2) to everyone, 1 forbids it until reboot, 2 until it is changed.
	// Since Linux 4.4.
	UnprivilegedBPFDisabled Fact[int] `json:"unprivilegedBPFDisabled"`
	// IOUringDisabled is kernel.io_uring_disabled: 0 allows io_uring_setup(2) to
	// everyone, 1 to a group and CAP_SYS_ADMIN, 2 to nobody. Since Linux 6.6.
	IOUringDisabled Fact[int] `json:"ioUringDisabled"`
	// KptrRestrict is kernel.kptr_restrict: 0 shows the kernel's addresses to
	// everyone, 1 to CAP_SYSLOG, 2 to nobody. Since Linux 2.6.38.
	KptrRestrict Fact[int] `json:"kptrRestrict"`
	// DmesgRestrict is kernel.dmesg_restrict: 1 shows the kernel's log to
	// CAP_SYSLOG only. Since Linux 2.6.37.
	DmesgRestrict Fact[int] `json:"dmesgRestrict"`
	// PtraceScope is kernel.yama.ptrace_scope: 0 allows ptrace(2) of all
	// processes of the same user, 1 of children, 2 to CAP_SYS_PTRACE, 3 of none.
	// Since Linux 3.4.
	PtraceScope Fact[int] `json:"ptraceScope"`
	// KexecLoadDisabled is kernel.kexec_load_disabled: 1 when no kernel may be
	// loaded until reboot. Since Linux 3.14.
	KexecLoadDisabled Fact[int] `json:"kexecLoadDisabled"`
	// ModulesDisabled is kernel.modules_disabled: 1 when no module may be loaded
	// until reboot. Since Linux 2.6.31.
	ModulesDisabled Fact[int] `json:"modulesDisabled"`
	// IPUnprivilegedPortStart is net.ipv4.ip_unprivileged_port_start, the lowest
	// port that needs no CAP_NET_BIND_SERVICE. It is unknown in a network
	// namespace that is not the node's, which has its own. Since Linux 4.11.
	IPUnprivilegedPortStart Fact[int] `json:"ipUnprivilegedPortStart"`
	// CorePattern is kernel.core_pattern: where core dumps go. After | it is a
	// program that the kernel runs as root, outside of the container. See
	// core(5).
	CorePattern Fact[string] `json:"corePattern"`
}

// Lockdown is what the kernel keeps even from root. See kernel_lockdown(7).
type Lockdown string

// The levels of lockdown.
const (
	// LockdownNone keeps nothing.
	LockdownNone Lockdown = "none"
	// LockdownIntegrity keeps root from changing the running kernel.
	LockdownIntegrity Lockdown = "integrity"
	// LockdownConfidentiality also keeps root from reading its memory.
	LockdownConfidentiality Lockdown = "confidentiality"
)

// host is where the node's files that belong to no process are.
type host struct {
	procfs.FS
	// sys is where sysfs is mounted.
	sys string
}

func hostAt(root string) host {
	return host{FS: procfs.FS{Proc: procRoot(root)}, sys: filepath.Join("/", root, "sys")}
}

// readSysctls reads what everyone may read. Of a setting that each namespace has
// for itself the file shows our own namespace's.
func readSysctls(h host) Sysctls {
	var s Sysctls
	for _, row := range []struct {
		fact *Fact[int]
		name string
	}{
		{&s.MaxUserNamespaces, "user/max_user_namespaces"},
		{&s.UnprivilegedUsernsClone, "kernel/unprivileged_userns_clone"},
		{&s.AppArmorRestrictUnprivilegedUserns, "kernel/apparmor_restrict_unprivileged_userns"},
		{&s.UnprivilegedBPFDisabled, "kernel/unprivileged_bpf_disabled"},
		{&s.IOUringDisabled, "kernel/io_uring_disabled"},
		{&s.KptrRestrict, "kernel/kptr_restrict"},
		{&s.DmesgRestrict, "kernel/dmesg_restrict"},
		{&s.PtraceScope, "kernel/yama/ptrace_scope"},
		{&s.KexecLoadDisabled, "kernel/kexec_load_disabled"},
		{&s.ModulesDisabled, "kernel/modules_disabled"},
		{&s.IPUnprivilegedPortStart, "net/ipv4/ip_unprivileged_port_start"},
	} {
		*row.fact = readSysctl(h, row.name, parseSysctl)
	}
	s.CorePattern = readSysctl(h, "kernel/core_pattern", parseLine)
	own := ownNamespaces(h)
	s.MaxUserNamespaces = ifOwn(s.MaxUserNamespaces, own, nsdiff.User)
	s.IPUnprivilegedPortStart = ifOwn(s.IPUnprivilegedPortStart, own, nsdiff.Net)
	return s
}

// ownNamespaces compares our own namespaces with the node's.
func ownNamespaces(h host) func(nsdiff.Kind) error {
	p, err := h.OpenSelf()
	if err != nil {
		return func(nsdiff.Kind) error { return err }
	}
	defer p.Close() //nolint:errcheck // opened for reading
	own, err := nsdiff.Read(p)
	nodes := nsdiff.Reader{Proc: h.Proc}.Host()
	return func(k nsdiff.Kind) error {
		if err != nil {
			return err
		}
		switch m := nodes.Compare(own, k).Host; m.Relation {
		case nsdiff.Same, nsdiff.Absent:
			return nil
		case nsdiff.Other:
			return fmt.Errorf("it is that of our own %s namespace, which is not the node's", k)
		default:
			return fmt.Errorf("it is that of our own %s namespace, which may not be the node's: %s", k, m.Cause)
		}
	}
}

// ifOwn drops a value that is not the node's.
func ifOwn(f Fact[int], own func(nsdiff.Kind) error, k nsdiff.Kind) Fact[int] {
	if f.Known() != Present {
		return f
	}
	if err := own(k); err != nil {
		return UnknownFact[int](fmt.Errorf("%s: %w", f.Source(), err))
	}
	return f
}

// readSysctl reads a file below /proc/sys. When the whole folder is missing, as
// in a proc file system with subset=pid, nothing follows for one file.
func readSysctl[T any](h host, name string, parse func([]byte) (T, error)) Fact[T] {
	file := filepath.Join("sys", name)
	data, err := h.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, whole := os.Stat(h.Path("sys/kernel")); whole == nil {
			return AbsentFact[T]("this kernel has no " + h.Path(file))
		}
	}
	if err != nil {
		return UnknownFact[T](err)
	}
	return parsed(h.Path(file), data, parse)
}

func parseLine(data []byte) (string, error) {
	line, ended := strings.CutSuffix(string(data), "\n")
	if !ended || strings.Contains(line, "\n") {
		return "", fmt.Errorf("%q: want one line", data)
	}
	return line, nil
}

func parseSysctl(data []byte) (int, error) {
	line, err := parseLine(data)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(line, 10, 32)
	if err != nil || strconv.FormatInt(n, 10) != line {
		return 0, fmt.Errorf("%q: want a number of 32 bits", line)
	}
	return int(n), nil
}

var bootIDForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
})

func parseBootID(data []byte) (string, error) {
	id, err := parseLine(data)
	if err == nil && !bootIDForm().MatchString(id) {
		err = fmt.Errorf("%q: want a UUID", id)
	}
	return id, err
}

// readLSMs reads the list of the kernel's security modules.
func readLSMs(h host) Fact[[]string] {
	file := filepath.Join(h.sys, "kernel/security/lsm")
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return securityMissing[[]string](h, err)
	case err != nil:
		return UnknownFact[[]string](err)
	}
	return parsed(file, data, parseLSMs)
}

// parseLSMs takes capability,landlock,yama without a line's end.
func parseLSMs(data []byte) ([]string, error) {
	list := strings.Split(strings.TrimSuffix(string(data), "\n"), ",")
	if i := slices.IndexFunc(list, func(name string) bool { return name == "" || strings.ContainsAny(name, " \t\n") }); i >= 0 {
		return nil, fmt.Errorf("%q: want names with commas between", data)
	}
	return list, nil
}

// readLockdown reads the level that is marked in the file.
func readLockdown(h host) Fact[Lockdown] {
	file := filepath.Join(h.sys, "kernel/security/lockdown")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, mounted := os.Stat(filepath.Join(h.sys, "kernel/security/lsm")); mounted == nil {
			return AbsentFact[Lockdown]("this kernel has no " + file)
		}
		return securityMissing[Lockdown](h, err)
	}
	if err != nil {
		return UnknownFact[Lockdown](err)
	}
	return parsed(file, data, parseLockdown)
}

// parseLockdown takes "none [integrity] confidentiality".
func parseLockdown(data []byte) (Lockdown, error) {
	line, err := parseLine(data)
	if err != nil {
		return "", err
	}
	var marked []string
	for name := range strings.FieldsSeq(line) {
		if inner, ok := strings.CutPrefix(name, "["); ok {
			marked = append(marked, strings.TrimSuffix(inner, "]"))
		}
	}
	levels := []string{string(LockdownNone), string(LockdownIntegrity), string(LockdownConfidentiality)}
	if len(marked) != 1 || !slices.Contains(levels, marked[0]) {
		return "", fmt.Errorf("%q: want one level in brackets", line)
	}
	return Lockdown(marked[0]), nil
}

// securityMissing tells a kernel that has no security modules from a securityfs
// that is not mounted.
func securityMissing[T any](h host, missing error) Fact[T] {
	filesystems, err := h.ReadFile("filesystems")
	switch {
	case err != nil:
		return UnknownFact[T](err)
	case slices.Contains(strings.Fields(string(filesystems)), "securityfs"):
		return UnknownFact[T](fmt.Errorf("%w: securityfs may not be mounted", missing))
	}
	return AbsentFact[T]("this kernel has no securityfs")
}

// readCgroupMode tells which versions of cgroups are mounted.
func readCgroupMode(h host) Fact[cgroup.Mode] {
	p, err := h.OpenSelf()
	if err != nil {
		return UnknownFact[cgroup.Mode](err)
	}
	defer p.Close() //nolint:errcheck // opened for reading
	mountinfo, err := p.ReadFile("mountinfo")
	if err != nil {
		return UnknownFact[cgroup.Mode](err)
	}
	return parsed(h.Path("self/mountinfo"), mountinfo, func(data []byte) (cgroup.Mode, error) { return h.cgroupMode(data) })
}

func (h host) cgroupMode(mountinfo []byte) (cgroup.Mode, error) {
	mounts, err := cgroup.ParseMounts(mountinfo)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(h.sys, "fs/cgroup")
	mode := cgroup.ModeOf(slices.DeleteFunc(mounts, func(m cgroup.Mount) bool { return !isBelow(m.Point, folder) }))
	if mode == "" {
		return "", fmt.Errorf("no cgroups are mounted on %s", folder)
	}
	return mode, nil
}
