package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Membership is one line of /proc/PID/cgroup: the cgroup of a process in one hierarchy.
type Membership struct {
	// Hierarchy is the hierarchy's number; that of cgroup v2 is 0.
	Hierarchy int `json:"hierarchy"`
	// Controllers are those of the hierarchy, with "name=systemd" for one that has a name and no controller. It is empty for
	// cgroup v2, whose controllers are those that no other hierarchy has.
	Controllers []string `json:"controllers,omitempty"`
	// Path is the cgroup's path from the root of the reader's cgroup namespace. One outside of it starts with "/..".
	Path string `json:"path"`
	// Removed says that the kernel called the cgroup deleted: only a process that has ended is left in such a one.
	Removed bool `json:"removed,omitempty"`
}

// deleted is what the kernel appends to the path of a removed cgroup.
const deleted = " (deleted)"

// ParseMemberships returns the lines of a /proc/PID/cgroup file, see cgroups(7), in their order. An empty file, a line cut
// short, two lines for one hierarchy and a path that is not absolute are errors that wrap [ErrSyntax].
func ParseMemberships(data []byte) ([]Membership, error) {
	var list []Membership
	for line := range strings.Lines(string(data)) {
		m, err := parseMembership(line)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(n Membership) bool { return n.Hierarchy == m.Hierarchy }) {
			return nil, fmt.Errorf("%w: cgroup: a second line for hierarchy %d", ErrSyntax, m.Hierarchy)
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: cgroup: an empty file: want lines of hierarchy:controllers:path", ErrSyntax)
	}
	return list, nil
}

func parseMembership(line string) (Membership, error) {
	text, ended := strings.CutSuffix(line, "\n")
	fields := strings.SplitN(text, ":", 3) // the path may have colons
	if !ended || len(fields) != 3 || !strings.HasPrefix(fields[2], "/") {
		return Membership{}, fmt.Errorf("%w: cgroup: line %q: want hierarchy:controllers:path", ErrSyntax, clip(line))
	}
	n, err := strconv.ParseUint(fields[0], 10, 31)
	unified := fields[0] == "0"
	if err != nil || strconv.FormatUint(n, 10) != fields[0] || unified != (fields[1] == "") {
		return Membership{}, fmt.Errorf("%w: cgroup: line %q: want a number, and controllers unless it is 0", ErrSyntax, clip(line))
	}
	m := Membership{Hierarchy: int(n)}
	m.Path, m.Removed = strings.CutSuffix(fields[2], deleted)
	if !unified {
		m.Controllers = strings.Split(fields[1], ",")
	}
	return m, nil
}

// String returns m as a line of /proc/PID/cgroup, without the newline.
func (m Membership) String() string {
	text := strconv.Itoa(m.Hierarchy) + ":" + strings.Join(m.Controllers, ",") + ":" + m.Path
	if m.Removed {
		text += deleted
	}
	return text
}

// memberOf returns the line of the hierarchy that has a controller: of cgroup v1 when one lists it, else of cgroup v2. The
// empty controller asks for cgroup v2.
func memberOf(list []Membership, controller string) (m Membership, ok bool) {
	for _, m := range list {
		if slices.Contains(m.Controllers, controller) {
			return m, true
		}
	}
	i := slices.IndexFunc(list, func(m Membership) bool { return m.Hierarchy == 0 })
	if i < 0 {
		return Membership{}, false
	}
	return list[i], true
}
