package nsdiff

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// IDRange maps ids of a user namespace, from Inside on, to ids outside of it, from Outside on.
type IDRange struct {
	// Inside and Outside are the first ids.
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	// Size is how many ids are mapped, 1 or more.
	Size uint32 `json:"size"`
}

// noID is what the kernel shows for ids that the reader's user namespace does not have.
const noID = 1<<32 - 1

// IDMap is the content of /proc/PID/uid_map or gid_map: the ids that exist in the process's user namespace. See
// user_namespaces(7). Outside are the ids as in the user namespace of who read the file; for a process in the reader's own
// user namespace, as in the parent of it. An empty IDMap has no ids: everyone is the overflow user there.
type IDMap []IDRange

// ParseIDMap returns the map in the content of a uid_map or gid_map file. The error wraps [ErrSyntax] unless each line has
// three numbers that can be a range of ids.
func ParseIDMap(data []byte) (IDMap, error) {
	m := IDMap{}
	for line := range strings.Lines(string(data)) {
		r, ok := parseIDRange(line)
		if !ok {
			return nil, fmt.Errorf("%w: id map %q: want an id inside, an id outside and how many", ErrSyntax, clip(line))
		}
		m = append(m, r)
	}
	return m, nil
}

func parseIDRange(line string) (IDRange, bool) {
	fields := strings.Fields(line)
	if len(fields) != 3 || !strings.HasSuffix(line, "\n") {
		return IDRange{}, false
	}
	var n [3]uint32
	for i, field := range fields {
		v, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return IDRange{}, false
		}
		n[i] = uint32(v)
	}
	r := IDRange{Inside: n[0], Outside: n[1], Size: n[2]}
	fits := uint64(r.Inside)+uint64(r.Size) <= noID && (r.Outside == noID || uint64(r.Outside)+uint64(r.Size) <= noID)
	return r, fits && r.Size > 0
}

// String returns the map as the kernel writes it, a line for each range.
func (m IDMap) String() string {
	var b strings.Builder
	for _, r := range m {
		fmt.Fprintf(&b, "%10d %10d %10d\n", r.Inside, r.Outside, r.Size)
	}
	return b.String()
}

// Outside returns the id outside for one inside; ok is false when there is none: id does not exist inside, or what it is
// outside has no number for who read the map.
func (m IDMap) Outside(id uint32) (outside uint32, ok bool) {
	for _, r := range m {
		if id >= r.Inside && id-r.Inside < r.Size {
			return r.Outside + (id - r.Inside), r.Outside != noID
		}
	}
	return 0, false
}

// Inside returns the id inside for one outside; ok is false when there is none, and a file of that id belongs to the overflow
// user as seen from inside.
func (m IDMap) Inside(id uint32) (inside uint32, ok bool) {
	for _, r := range m {
		if r.Outside != noID && id >= r.Outside && id-r.Outside < r.Size {
			return r.Inside + (id - r.Outside), true
		}
	}
	return 0, false
}

// Identity tells whether every id is the same inside and outside, as in the initial user namespace. It proves nothing: any
// user namespace that root makes may have such a map.
func (m IDMap) Identity() bool {
	return len(m) == 1 && m[0] == IDRange{Size: noID}
}

// Setgroups is the content of /proc/PID/setgroups: whether setgroups(2) is allowed in the user namespace. It is empty where
// there is no such file, before Linux 3.19, and setgroups(2) is then allowed.
type Setgroups string

// The values of Setgroups. Deny is a user namespace's that someone without privileges made.
const (
	SetgroupsAllow Setgroups = "allow"
	SetgroupsDeny  Setgroups = "deny"
)

// ParseSetgroups returns the value in the content of a setgroups file. The error wraps [ErrSyntax] unless it is allow or deny.
func ParseSetgroups(data []byte) (Setgroups, error) {
	switch s := Setgroups(strings.TrimSuffix(string(data), "\n")); s {
	case SetgroupsAllow, SetgroupsDeny:
		return s, nil
	}
	return "", fmt.Errorf("%w: setgroups %q: want allow or deny", ErrSyntax, clip(string(data)))
}

// IDMaps is what the user namespace of a process makes of ids.
type IDMaps struct {
	UID       IDMap     `json:"uidMap"`
	GID       IDMap     `json:"gidMap"`
	Setgroups Setgroups `json:"setgroups,omitempty"`
}

// ReadIDMaps returns the id maps of a process, from uid_map, gid_map and setgroups in its folder. Everyone may read them. The
// error wraps [ErrAbsent] where the kernel has no user namespaces, [ErrNoProcess] when the process is gone, and [ErrSyntax]
// when a file has anything else in it.
func ReadIDMaps(f Folder) (IDMaps, error) {
	var m IDMaps
	var err error
	if m.UID, err = readIDMap(f, "uid_map"); err != nil {
		return IDMaps{}, err
	}
	if m.GID, err = readIDMap(f, "gid_map"); err != nil {
		return IDMaps{}, err
	}
	data, err := f.ReadFile("setgroups")
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return IDMaps{}, err
	}
	if m.Setgroups, err = ParseSetgroups(data); err != nil {
		return IDMaps{}, err
	}
	return m, nil
}

func readIDMap(f Folder, name string) (IDMap, error) {
	data, err := f.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", absent(User), err)
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseIDMap(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(name), err)
	}
	return m, nil
}
