package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Leak is a working folder, root or open file of a process whose mount is not in
// the process's mount namespace: it leads out of the container. runc before
// 1.1.12 could be made to leave one (CVE-2024-21626). So does an open file of
// /proc/PID/ns that is another namespace than the process's own and those of the
// container's first process: setns(2) enters it.
type Leak struct {
	// What is cwd, root or fd/N.
	What string `json:"what"`
	// Path is what the kernel shows for it, from the root of its mounts; of a
	// namespace net:[4026531833] and the like.
	Path string `json:"path"`
	// Mount is the number of its mount.
	Mount int `json:"mount"`
	// Host is where the host has that mount, empty when it has none: it may be
	// of another container, or unmounted.
	Host string `json:"host,omitempty"`
	// Whose tells of a namespace that it is the host's, or that of the first
	// process of another container.
	Whose string `json:"whose,omitempty"`
	// Reason says why it is harmless. Without one it is not known to be.
	Reason string `json:"reason,omitempty"`
	// Unknown says why its mount could not be told; then Mount is 0, and whether
	// it is a leak is not known.
	Unknown string `json:"unknown,omitempty"`
}

// IsNamespace tells whether it is an open file of another namespace, which is on
// no mount of anybody's.
func (l Leak) IsNamespace() bool { return isNamespace(l.Path) }

// AnonymousFile is a kind of open file on a mount of the kernel's own, which is
// in no mount namespace, and leads nowhere.
type AnonymousFile struct {
	// Link is how the links in /proc/PID/fd to such files start.
	Link string `json:"link"`
	// Reason says why it is harmless.
	Reason string `json:"reason"`
}

// AnonymousFiles returns the kinds of file that are no leaks, though no process
// has their mounts in its mountinfo. A file with a path may have such a name as
// well: it counts only on the kernel's own mount.
func AnonymousFiles() []AnonymousFile {
	return []AnonymousFile{
		{"pipe:[", "a pipe has no name in any file system"},
		{"socket:[", "a socket has no name in any file system; whom it is connected to is another question"},
		{"anon_inode:", "an object of the kernel's: eventfd, epoll, timerfd, signalfd, inotify, io_uring, bpf, pidfd, perf_event"},
		{"pidfd:[", "a process; opening its files needs the rights over it all the same"},
		{"net:[", "a namespace, as all kinds of them, but of those only the process's own and those of the container's first process"},
		{"/memfd:", "memory of memfd_create(2)"},
		{"/dmabuf:", "memory that is shared with a device; its fdinfo has exp_name"},
	}
}

// hostNull is why a common leak is harmless.
const hostNull = "the host's /dev/null, which the runtime opens as standard input: nothing can be reached from it"

// cannotEnter is why another namespace is harmless, unless it is a user
// namespace: who made that one, or has the same uid, may enter it without.
const cannotEnter = "to enter a namespace takes CAP_SYS_ADMIN, which is in none of the process's sets, the bounding one included"

// leakFinder finds leaks in the processes of a node.
type leakFinder struct {
	host   hostMounts
	memory map[int]bool       // the kernel's own mounts for memory
	own    func(string) error // see ownNamespaceFiles
	others *heldMounts
}

func newLeakFinder(i *Inspector, host hostMounts) leakFinder {
	memory, err := i.fs.MemoryMounts()
	if err != nil {
		memory = nil // then memory files are not known to be harmless
	}
	return leakFinder{host: host, memory: memory}
}

// find returns the leaks of a process, of which r has the rest. first is the
// container's first process, or nil: in the same mount namespace mountinfo need
// not be read again, and of a process with a root of its own it shows less than
// the namespace has.
func (l leakFinder) find(p *heldProcess, r *Process, first *heldProcess) Fact[[]Leak] {
	l.own = ownNamespaceFiles(r, first)
	namespace, shared, err := sharesMounts(p, first)
	if err != nil {
		return UnknownFact[[]Leak](err)
	}
	table, err := l.mountsFor(p, first, namespace, shared)
	if err != nil {
		return UnknownFact[[]Leak](err)
	}
	files, err := l.openFiles(p.Process, table)
	if err != nil {
		return UnknownFact[[]Leak](err)
	}
	leaks := []Leak{}
	files = slices.DeleteFunc(files, func(f Leak) bool { return f.Unknown == "" && table.has(f.Mount) })
	if len(files) == 0 {
		return KnownFact(leaks, p.Path("fdinfo"))
	}
	// It may have been mounted after the first look.
	again, err := readMounts(p.Process)
	var whole mountTable
	if shared && p != first && err == nil {
		whole, err = readMounts(first.Process)
	}
	if err != nil {
		return UnknownFact[[]Leak](err)
	}
	for _, f := range files {
		if f.Unknown != "" {
			leaks = append(leaks, f)
			continue
		}
		if again.has(f.Mount) || whole.has(f.Mount) {
			continue
		}
		// And it may have been closed, and its file system unmounted, between.
		if now, ok := l.look(p.Process, f.What, table); ok && now.Mount == f.Mount && (f.Path == now.Path || !f.IsNamespace()) {
			leaks = append(leaks, l.explain(f, r.Capabilities))
		}
	}
	return KnownFact(leaks, p.Path("fdinfo"))
}

// sharesMounts tells in which mount namespace a process is, and whether that is
// the one of the first.
func sharesMounts(p, first *heldProcess) (namespace string, shared bool, err error) {
	if p == first {
		return "", true, nil
	}
	namespace, err = p.Readlink("ns/mnt")
	if err != nil || first == nil {
		return namespace, false, err
	}
	link, err := first.Readlink("ns/mnt")
	return namespace, err == nil && link == namespace, nil
}

// mountsFor are the mounts that a process sees.
func (l leakFinder) mountsFor(p, first *heldProcess, namespace string, shared bool) (mountTable, error) {
	if p == first {
		return first.table()
	}
	own, err := p.Readlink("root")
	if err != nil {
		return mountTable{}, err
	}
	if shared {
		if root, err := first.Readlink("root"); err == nil && root == own {
			return first.table()
		}
	}
	return l.others.table(p.Process, mountView{namespace, own})
}

// mountView is what mountinfo shows: a mount namespace below a root.
type mountView struct{ namespace, root string }

func mountViewOf(p *procfs.Process) (mountView, error) {
	namespace, err := p.Readlink("ns/mnt")
	if err != nil {
		return mountView{}, err
	}
	root, err := p.Readlink("root")
	return mountView{namespace, root}, err
}

// heldMounts are processes of one container that see other mounts than its first,
// one for each view, kept open while the others of that view are read: mountinfo
// takes the kernel long, so it is read once for all of them. Nil reads it for each.
type heldMounts struct {
	*Inspector
	held map[mountView]*heldProcess
}

// maxHeld bounds the files that are kept open.
const maxHeld = 64

// table returns the mounts of a process with a view.
func (h *heldMounts) table(p *procfs.Process, view mountView) (mountTable, error) {
	if h == nil {
		return readMounts(p)
	}
	if known := h.held[view]; known != nil {
		return known.table()
	}
	if len(h.held) >= maxHeld {
		return readMounts(p)
	}
	own, err := h.fs.Open(p.PID())
	if err != nil {
		return readMounts(p)
	}
	// The number may have been given to another process since.
	if now, err := mountViewOf(own); err != nil || now != view {
		_ = own.Close()
		return readMounts(p)
	}
	h.held[view] = h.hold(own)
	return h.held[view].table()
}

// close releases the processes. It tells whether one has ended: then its view may
// be another's since, which got the number of its namespace.
func (h *heldMounts) close() (ended bool) {
	for _, p := range h.held {
		ended = p.Alive() != nil || ended
		_ = p.Close()
	}
	return ended
}

func (t mountTable) byID(id int) (Mount, bool) {
	n := slices.IndexFunc(t.list, func(m Mount) bool { return m.ID == id })
	if n < 0 {
		return Mount{}, false
	}
	return t.list[n], true
}

func (t mountTable) has(id int) bool {
	_, ok := t.byID(id)
	return ok
}

// openFiles returns the working folder, the root and the open files, without
// those that are anonymous.
func (l leakFinder) openFiles(p *procfs.Process, table mountTable) ([]Leak, error) {
	numbers, err := p.ReadDir("fd")
	if err != nil {
		return nil, err
	}
	list := make([]Leak, 0, len(numbers)+2)
	for _, what := range slices.Concat([]string{"cwd", "root"}, prefixed("fd/", numbers)) {
		if f, ok := l.look(p, what, table); ok {
			list = append(list, f)
		}
	}
	return list, nil
}

func prefixed(prefix string, names []string) []string {
	list := make([]string, 0, len(names))
	for _, name := range names {
		list = append(list, prefix+name)
	}
	return list
}

// look tells on which mount one of them is. It is not ok when it is anonymous,
// or was closed meanwhile.
func (l leakFinder) look(p *procfs.Process, what string, table mountTable) (Leak, bool) {
	f := Leak{What: what}
	var err error
	if f.Path, err = p.Readlink(what); err == nil && isAnonymous(f.Path) {
		return Leak{}, false
	}
	if err == nil && isNamespace(f.Path) {
		if err = l.own(f.Path); err == nil {
			return Leak{}, false
		} else if errors.Is(err, errOtherNamespace) {
			err = nil
		}
	}
	var info []byte
	if err == nil {
		f.Mount, info, err = l.mountOf(p, f, table)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrNoProcess):
		return Leak{}, false
	case err != nil:
		f.Unknown = err.Error()
		return f, true
	}
	return f, !l.isMemory(f, info)
}

// mountOf tells on which mount the working folder, the root or an open file is.
func (l leakFinder) mountOf(p *procfs.Process, f Leak, table mountTable) (mount int, info []byte, err error) {
	number, isFile := strings.CutPrefix(f.What, "fd/")
	if isFile {
		if info, err = p.ReadFile("fdinfo/" + number); err != nil {
			return 0, nil, err
		}
		mount, err = parseMountID(info)
		return mount, info, err
	}
	// The path may be one of the container's or of the host's.
	if l.host.err != nil {
		return 0, nil, l.host.err
	}
	for _, t := range []mountTable{table, l.host.mountTable} {
		if m, ok := t.at(f.Path); ok && mayWait(m) {
			return 0, nil, fmt.Errorf("%s: on %s, which could keep us waiting", p.Path(f.What), m.Type)
		}
	}
	mount, err = p.MountID(f.What)
	return mount, nil, err
}

// mayWait takes the file systems that ask their server even when a file is
// opened with O_PATH.
func mayWait(m Mount) bool {
	switch m.Type {
	case "nfs", "nfs4", "9p", "afs", "ceph", "cifs", "smb3", "gfs2", "ocfs2":
		return true
	}
	return false
}

// parseMountID reads the line mnt_id of /proc/PID/fdinfo/N, see
// proc_pid_fdinfo(5).
func parseMountID(info []byte) (int, error) {
	line, ok := statusLine(info, "mnt_id")
	if !ok {
		return 0, errors.New("no line mnt_id: Linux shows it since 3.15")
	}
	n, err := strconv.ParseUint(line, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("line mnt_id: %q: want a number", line)
	}
	return int(n), nil
}

// isAnonymous takes the names that no path can have, as they do not start with a
// slash.
func isAnonymous(link string) bool {
	if strings.HasPrefix(link, "/") || isNamespace(link) {
		return false
	}
	return slices.ContainsFunc(AnonymousFiles(), func(a AnonymousFile) bool { return strings.HasPrefix(link, a.Link) })
}

func isNamespace(link string) bool {
	_, err := nsdiff.Parse(link)
	return err == nil
}

var errOtherNamespace = errors.New("another namespace")

// ownNamespaceFiles returns what tells whether a link such as net:[4026531833] is
// one of a process's own namespaces or of those of the container's first process.
// The error is errOtherNamespace, or else why that is unknown.
func ownNamespaceFiles(r *Process, first *heldProcess) func(string) error {
	sets := []Fact[nsdiff.Set]{r.Namespaces}
	if first != nil {
		sets = append(sets, first.namespaces())
	}
	return func(link string) error {
		want, err := nsdiff.Parse(link)
		if err != nil {
			return err
		}
		var unknown error
		for _, f := range sets {
			set, ok := f.Value()
			if !ok {
				unknown = cmp.Or(unknown, f.Cause())
				continue
			}
			for _, k := range nsdiff.Kinds() {
				switch ns, err := set.Namespace(k); {
				case err == nil && ns == want:
					return nil
				case isUnknown(err) && k.Type() == want.Kind:
					unknown = cmp.Or(unknown, err)
				}
			}
		}
		return cmp.Or(unknown, errOtherNamespace)
	}
}

// isMemory takes memory files, whose names a path may have as well: they are on
// mounts of the kernel's own, or have a line that only they have.
func (l leakFinder) isMemory(f Leak, info []byte) bool {
	switch {
	case strings.HasPrefix(f.Path, "/memfd:"):
		return l.memory[f.Mount]
	case strings.HasPrefix(f.Path, "/dmabuf:"):
		_, ok := statusLine(info, "exp_name")
		return ok
	}
	return false
}

// explain adds what the host knows of a leak's mount, and why it is harmless if
// it is. state is what the process can do.
func (l leakFinder) explain(f Leak, state Fact[caps.State]) Leak {
	if ns, err := nsdiff.Parse(f.Path); err == nil {
		if s, ok := state.Value(); ok && ns.Kind != nsdiff.User && !mayEver(s, caps.SysAdmin) {
			f.Reason = cannotEnter
		}
		return f
	}
	m, ok := l.host.byID(f.Mount)
	if !ok {
		return f
	}
	f.Host = m.Point
	if f.Path == "/dev/null" && m.Point == "/dev" && m.Root == "/" && inMemory(m) {
		f.Reason = hostNull
	}
	return f
}

// mayEver tells whether a process has a capability in one of its sets: without, no
// program that it executes gets it.
func mayEver(s caps.State, c caps.Cap) bool {
	for _, set := range []caps.Set{s.Effective, s.Permitted, s.Bounding, s.Inheritable, s.Ambient} {
		if set.Has(c) {
			return true
		}
	}
	return false
}
