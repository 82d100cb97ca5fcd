package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// PathCheck tells how a path of /proc or /sys is protected.
type PathCheck struct {
	// Path is the path in the container.
	Path     string          `json:"path"`
	Declared Fact[bool]      `json:"declared"` // the specification names it
	InForce  Fact[PathGuard] `json:"inForce"`  // absent where there is no such path
	// WritableBelow are the places below a read-only path that can be written
	// all the same.
	WritableBelow []string `json:"writableBelow,omitempty"`
}

// PathGuard is how a path is protected.
type PathGuard string

// The guards of a path.
const (
	// GuardMasked: an empty read-only folder, or /dev/null, is in its place.
	GuardMasked PathGuard = "masked"
	// GuardReadonly: it can be read only.
	GuardReadonly PathGuard = "read-only"
	// GuardNone: it is as the kernel made it.
	GuardNone PathGuard = "none"
	// GuardReplaced: something else is mounted there. See CVE-2025-31133, where
	// that was another file of /proc.
	GuardReplaced PathGuard = "replaced"
)

// defaultMasked are the paths that containerd, Docker and the kubelet hide.
var defaultMasked = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

// defaultReadonly are the paths that they make read-only.
var defaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// pathExists are the host's proc and sysfs: those of a container are of the same
// kernel, and looking into them needs no container's file system.
type pathExists struct {
	proc, sys string
	known     *sync.Map // of paths that were looked for: all containers have the same
}

func newPathExists(hostRoot string) pathExists {
	return pathExists{proc: procRoot(hostRoot), sys: filepath.Join("/", hostRoot, "sys"), known: &sync.Map{}}
}

// check tells whether the kernel has a path.
func (e pathExists) check(path string) (bool, error) {
	type answer struct {
		there bool
		err   error
	}
	if known, ok := e.known.Load(path); ok {
		a := known.(answer)
		return a.there, a.err
	}
	there, err := e.look(path)
	e.known.Store(path, answer{there, err})
	return there, err
}

func (e pathExists) look(path string) (bool, error) {
	host := ""
	if rest, ok := strings.CutPrefix(path, "/proc/"); ok {
		host = filepath.Join(e.proc, rest)
	} else if rest, ok := strings.CutPrefix(path, "/sys/"); ok {
		host = filepath.Join(e.sys, rest)
	} else {
		return false, errors.New("it is looked for in /proc and /sys only")
	}
	_, err := os.Lstat(host)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// checkPaths checks the default paths and those of the specification.
func checkPaths(table mountTable, defaults, declaredPaths []string, specErr error, exists pathExists) []PathCheck {
	paths := slices.Concat(defaults, declaredPaths)
	slices.Sort(paths)
	paths = slices.Compact(paths)
	list := make([]PathCheck, 0, len(paths))
	for _, p := range paths {
		c := PathCheck{Path: p, InForce: guardOf(table, p, exists)}
		c.Declared = UnknownFact[bool](specErr)
		if specErr == nil {
			c.Declared = declared(slices.Contains(declaredPaths, p))
		}
		if guard, _ := c.InForce.Value(); guard == GuardReadonly {
			c.WritableBelow = table.writableBelow(p)
		}
		list = append(list, c)
	}
	return list
}

// guardOf tells how a path is protected by the mount that is seen there.
func guardOf(table mountTable, path string, exists pathExists) Fact[PathGuard] {
	const source = "mountinfo"
	m, ok := table.at(path)
	switch {
	case !ok:
		return UnknownFact[PathGuard](errors.New("no mount on / in mountinfo"))
	case m.Point != "/" && isMask(m):
		return KnownFact(GuardMasked, source)
	case m.Point == path && m.Root != m.kernelPath(path):
		return KnownFact(GuardReplaced, source)
	}
	there, err := exists.check(path)
	switch {
	case err != nil:
		return UnknownFact[PathGuard](fmt.Errorf("%s: %w", path, err))
	case !there:
		return AbsentFact[PathGuard]("this kernel has no such path")
	case m.Point == "/":
		return AbsentFact[PathGuard]("no file system of the kernel's is mounted there")
	case !m.isKernels():
		return KnownFact(GuardReplaced, source)
	case hasOption(m.SuperOptions, "subset=pid"):
		return AbsentFact[PathGuard]("this proc has processes only")
	case m.Readonly():
		return KnownFact(GuardReadonly, source)
	}
	return KnownFact(GuardNone, source)
}

// isMask takes what runc mounts over a folder and over a file: an empty
// read-only tmpfs, and /dev/null, from the container's /dev or the host's.
func isMask(m Mount) bool {
	switch {
	case m.Type == "tmpfs" && m.Root == "/":
		return m.Readonly()
	case m.Type == "tmpfs", m.Type == "devtmpfs":
		return m.Root == "/null"
	}
	return false
}

// kernelPath is the root that a mount on path has when it shows that very path.
func (m Mount) kernelPath(path string) string {
	folder := map[string]string{"proc": "/proc", "sysfs": "/sys"}[m.Type]
	if rest, ok := strings.CutPrefix(path, folder); ok && folder != "" {
		return rest
	}
	return "/"
}

// isKernels tells whether a file system shows the kernel.
func (m Mount) isKernels() bool {
	switch m.Type {
	case "proc", "sysfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "efivarfs", "configfs",
		"fusectl", "binfmt_misc", "selinuxfs", "mqueue":
		return true
	}
	return false
}

// guardPoints are the places of the mounts that protect paths.
func guardPoints(m Mounts) map[string]MountKind {
	points := map[string]MountKind{}
	for _, c := range m.ReadonlyPaths {
		if guard, _ := c.InForce.Value(); guard == GuardReadonly {
			points[c.Path] = MountProtected
		}
	}
	for _, c := range slices.Concat(m.Masked, m.ReadonlyPaths) {
		if guard, _ := c.InForce.Value(); guard == GuardMasked {
			points[c.Path] = MountMask
		}
	}
	return points
}
