package cgroup

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mount is a mount of a cgroup hierarchy, from a line of /proc/PID/mountinfo. See proc_pid_mountinfo(5).
type Mount struct {
	// Point is the folder it is mounted on, from the root of the process whose file was read.
	Point string `json:"point"`
	// Root is the cgroup that is seen there, from the root of the reader's cgroup namespace; it starts with "/.." when the mount
	// shows more than the namespace does.
	Root string `json:"root"`
	// Unified says that it is cgroup v2.
	Unified bool `json:"unified"`
	// Controllers are those of a cgroup v1 hierarchy, "name=systemd" for one without.
	Controllers []string `json:"controllers,omitempty"`
	// Writable says that neither the mount nor the file system is read-only. What may then be written is still up to the owner
	// and mode of each file.
	Writable bool `json:"writable"`
	// Delegates says that the hierarchy is mounted with nsdelegate: from a cgroup namespace, the limits of the cgroup at its root
	// cannot be written, only those below. cgroup v2 from Linux 4.13 on, see "Cgroups delegation: mounting (v2) with the nsdelegate
	// mount option" in cgroups(7).
	Delegates bool `json:"nsdelegate,omitempty"`
}

// legacyOptions are the options of a cgroup v1 file system that are no controllers.
var legacyOptions = []string{
	"rw", "ro", "all", "none", "noprefix", "clone_children", "cpuset_v2_mode", "xattr", "favordynmods", "nofavordynmods",
}

// ParseMounts returns the mounts of cgroup hierarchies in a mountinfo file, in their order. A line that is cut short or
// malformed is an error that wraps [ErrSyntax].
func ParseMounts(mountinfo []byte) ([]Mount, error) {
	mounts := []Mount{}
	for line := range bytes.Lines(mountinfo) {
		text, ended := bytes.CutSuffix(line, []byte("\n"))
		front, back, found := bytes.Cut(text, []byte(" - "))
		if !ended || !found || bytes.Count(front, []byte(" ")) < 5 || bytes.Count(back, []byte(" ")) != 2 {
			return nil, fmt.Errorf("%w: mountinfo: line %q", ErrSyntax, clip(string(line)))
		}
		if !bytes.HasPrefix(back, []byte("cgroup ")) && !bytes.HasPrefix(back, []byte("cgroup2 ")) {
			continue
		}
		m, err := parseMount(strings.Split(string(front), " "), strings.Split(string(back), " "))
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func parseMount(fields, tail []string) (Mount, error) {
	options := strings.Split(tail[2], ",")
	m := Mount{
		Point:    unescape(fields[4]),
		Root:     unescape(fields[3]),
		Unified:  tail[0] == "cgroup2",
		Writable: !slices.Contains(strings.Split(fields[5], ","), "ro") && !slices.Contains(options, "ro"),
	}
	if !strings.HasPrefix(m.Point, "/") || !strings.HasPrefix(m.Root, "/") {
		return Mount{}, fmt.Errorf("%w: mountinfo: cgroup mount %q of %q: want absolute paths", ErrSyntax, clip(m.Point), clip(m.Root))
	}
	if m.Unified {
		m.Delegates = slices.Contains(options, "nsdelegate")
		return m, nil
	}
	for _, option := range options {
		if !slices.Contains(legacyOptions, option) && !strings.HasPrefix(option, "release_agent=") {
			m.Controllers = append(m.Controllers, option)
		}
	}
	return m, nil
}

// unescape undoes what the kernel does to spaces, tabs, newlines and backslashes in mountinfo: \040 and so on.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+4 <= len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				plain.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}

// Mode says which versions of cgroups a machine has in use. The zero Mode is none.
type Mode string

// The modes.
const (
	// Legacy has cgroup v1 alone.
	Legacy Mode = "v1"
	// Hybrid has controllers on cgroup v1, and cgroup v2 beside it.
	Hybrid Mode = "hybrid"
	// Unified has cgroup v2 alone. A v1 hierarchy without controllers, systemd's own, does not count.
	Unified Mode = "v2"
)

// ModeOf returns the mode that the mounts show.
func ModeOf(mounts []Mount) Mode {
	var legacy, unified bool
	for _, m := range mounts {
		unified = unified || m.Unified
		legacy = legacy || slices.ContainsFunc(m.Controllers, func(c string) bool { return !strings.HasPrefix(c, "name=") })
	}
	switch {
	case legacy && unified:
		return Hybrid
	case legacy:
		return Legacy
	case unified:
		return Unified
	}
	return ""
}
