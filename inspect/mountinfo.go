package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5). Paths are
// as the process sees them, with the kernel's escapes undone.
type Mount struct {
	// ID is the mount's number. The kernel gives it to another one once this one
	// is gone.
	ID int `json:"id"`
	// Parent is the number of the mount that this one is on.
	Parent int `json:"parent"`
	// Device is the file system's number, major:minor.
	Device string `json:"device"`
	// Root is the folder or file of the file system that is seen at Point.
	Root string `json:"root"`
	// Point is the place it is mounted on.
	Point string `json:"point"`
	// Options are those of this mount alone: rw,nosuid,nodev.
	Options string `json:"options"`
	// Shared is the peer group of a mount that passes on what is mounted below
	// it, Master that from which it receives; 0 is none. PropagateFrom is the
	// nearest group above Master in the process's namespace. See
	// mount_namespaces(7).
	Shared        int `json:"shared,omitempty"`
	Master        int `json:"master,omitempty"`
	PropagateFrom int `json:"propagateFrom,omitempty"`
	// Unbindable tells that it cannot be bound elsewhere.
	Unbindable bool `json:"unbindable,omitempty"`
	// Type is the file system's, Source what was mounted, as its file system
	// tells it.
	Type   string `json:"type"`
	Source string `json:"source"`
	// SuperOptions are those of the file system, for all of its mounts.
	SuperOptions string `json:"superOptions"`
}

// Readonly tells whether nothing can be written through the mount: it is
// read-only, or its file system is.
func (m Mount) Readonly() bool {
	return hasOption(m.Options, "ro") || hasOption(m.SuperOptions, "ro")
}

func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
	}
	return false
}

// mountTable is a mount namespace, as far as it is below a process's root.
type mountTable struct {
	list []Mount
	on   map[mountPlace]int // indices of list
	root int                // the index of the lowest mount on /, -1 without one
}

// mountPlace is where a mount is: on another one, at a path.
type mountPlace struct {
	parent int // the other's ID
	point  string
}

func readMounts(p *procfs.Process) (mountTable, error) {
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		return mountTable{root: -1}, err
	}
	table, err := parseMounts(string(data))
	if err != nil {
		return mountTable{root: -1}, fmt.Errorf("%s: %w", p.Path("mountinfo"), err)
	}
	return table, nil
}

// parseMounts reads mountinfo, of any size.
func parseMounts(text string) (mountTable, error) {
	lines := strings.Count(text, "\n") + 1
	t := mountTable{list: make([]Mount, 0, lines), on: make(map[mountPlace]int, lines)}
	for line := range strings.Lines(text) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return mountTable{root: -1}, fmt.Errorf("line %q: %w", line, err)
		}
		if _, taken := t.on[mountPlace{m.Parent, m.Point}]; !taken {
			t.on[mountPlace{m.Parent, m.Point}] = len(t.list)
		}
		t.list = append(t.list, m)
	}
	t.root = lowestRoot(t.list)
	return t, nil
}

// lowestRoot returns the index of the mount on / whose parent is not in the
// table, or -1.
func lowestRoot(list []Mount) int {
	ids := make(map[int]bool, len(list))
	for _, m := range list {
		ids[m.ID] = true
	}
	return slices.IndexFunc(list, func(m Mount) bool {
		return m.Point == "/" && (m.Parent == m.ID || !ids[m.Parent])
	})
}

// parseMount reads a line. Fields are parted by one space; the source may be
// empty.
func parseMount(line string) (Mount, error) {
	fields := strings.Split(line, " ")
	dash := 6
	for dash < len(fields) && fields[dash] != "-" {
		dash++
	}
	if len(fields) != dash+4 {
		return Mount{}, errors.New("want at least six fields, a dash and three more")
	}
	id, idErr := strconv.ParseUint(fields[0], 10, 31)
	parent, parentErr := strconv.ParseUint(fields[1], 10, 31)
	if idErr != nil || parentErr != nil {
		return Mount{}, fmt.Errorf("mount %q on %q: want numbers", fields[0], fields[1])
	}
	if !isDevice(fields[2]) {
		return Mount{}, fmt.Errorf("device %q: want major:minor", fields[2])
	}
	m := Mount{
		ID: int(id), Parent: int(parent), Device: fields[2],
		Root: unescapeOctal(fields[3]), Point: unescapeOctal(fields[4]), Options: fields[5],
		Type: unescapeOctal(fields[dash+1]), Source: unescapeOctal(fields[dash+2]), SuperOptions: fields[dash+3],
	}
	if !strings.HasPrefix(m.Point, "/") || m.Root == "" {
		return Mount{}, fmt.Errorf("%q on %q: want paths", m.Root, m.Point)
	}
	return m, m.propagation(fields[6:dash])
}

func isDevice(text string) bool {
	major, minor, _ := strings.Cut(text, ":")
	_, majorErr := strconv.ParseUint(major, 10, 32)
	_, minorErr := strconv.ParseUint(minor, 10, 32)
	return majorErr == nil && minorErr == nil
}

// propagation reads the optional fields. Those that a newer kernel may add are
// skipped, as proc_pid_mountinfo(5) asks for.
func (m *Mount) propagation(fields []string) error {
	for _, field := range fields {
		tag, value, _ := strings.Cut(field, ":")
		var group *int
		switch tag {
		case "shared":
			group = &m.Shared
		case "master":
			group = &m.Master
		case "propagate_from":
			group = &m.PropagateFrom
		case "unbindable":
			m.Unbindable = true
			continue
		default:
			continue
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return fmt.Errorf("%q: want the number of a peer group", field)
		}
		*group = int(n)
	}
	return nil
}

// unescapeOctal undoes the kernel's \040 for a space and the like. A backslash
// of a name is \134.
func unescapeOctal(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// at returns the mount that is seen at a path: from the root down, each mount
// that is on the way leads on, so that what was mounted over is not seen.
func (t mountTable) at(path string) (Mount, bool) {
	if len(t.list) == 0 || t.root < 0 {
		return Mount{}, false
	}
	current := t.root
	// No mount is met twice: a broken table must not keep us here.
	for range t.list {
		next := t.next(current, path)
		if next < 0 {
			break
		}
		current = next
	}
	return t.list[current], true
}

// next returns the mount on another one that is on the way to a path, -1 when
// none is. Of two on the way the upper is met first.
func (t mountTable) next(current int, path string) int {
	if !strings.HasPrefix(path, "/") {
		return -1
	}
	for end := range len(path) + 1 {
		if end < len(path) && path[end] != '/' {
			continue
		}
		if n, ok := t.on[mountPlace{t.list[current].ID, path[:max(end, 1)]}]; ok && n != current {
			return n
		}
	}
	return -1
}

// visible tells whether a mount is seen at its own place.
func (t mountTable) visible(m Mount) bool {
	top, ok := t.at(m.Point)
	return ok && top.ID == m.ID
}

// isBelow tells whether path is folder or in it.
func isBelow(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(folder, "/"))
}

// readonlyRoot tells whether the root file system is read-only: the mount that
// is on top at /, or its file system.
func readonlyRoot(p *heldProcess) Fact[bool] {
	mounts, err := p.table()
	if err != nil {
		return UnknownFact[bool](err)
	}
	root, ok := mounts.at("/")
	if !ok {
		return UnknownFact[bool](fmt.Errorf("%s: no mount on /", p.Path("mountinfo")))
	}
	return KnownFact(root.Readonly(), p.Path("mountinfo"))
}
