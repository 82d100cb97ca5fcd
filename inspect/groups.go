package inspect

import (
	"path"
	"slices"
	"strings"
)

// groupIndex finds the containers that a process is in by its cgroups, for many
// processes.
type groupIndex struct {
	byID map[string][]*listed
	// byPath are the containers made without the CRI, whose cgroup may have any
	// name: the specification has its path.
	byPath map[string]*listed
}

func newGroupIndex(all []listed) groupIndex {
	g := groupIndex{byID: map[string][]*listed{}, byPath: map[string]*listed{}}
	for n := range all {
		f := &all[n]
		for _, id := range f.cgroupIDs() {
			if id != "" {
				g.byID[id] = append(g.byID[id], f)
			}
		}
		if f.record.CRI || f.ended() {
			continue
		}
		s, _ := f.declared()
		if p := s.cgroupsPath(); p != "" && !strings.Contains(p, ":") {
			g.byPath[path.Clean("/"+p)] = f
		}
	}
	return g
}

// owners returns the containers that /proc/PID/cgroup names: on each line the
// innermost. On version 1 a process may be in another container's group of one
// hierarchy.
func (g groupIndex) owners(cgroup string) []*listed {
	var owners []*listed
	for line := range strings.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for _, f := range g.innermost(parts[2]) {
			if !slices.Contains(owners, f) {
				owners = append(owners, f)
			}
		}
	}
	return owners
}

// innermost goes up from the group itself.
func (g groupIndex) innermost(group string) []*listed {
	for group != "/" && group != "." && group != "" {
		if found := g.named(path.Base(group)); len(found) > 0 {
			return found
		}
		if f := g.byPath[group]; f != nil {
			return []*listed{f}
		}
		group = path.Dir(group)
	}
	return nil
}

// named returns the containers with a group's name, see isGroupOf.
func (g groupIndex) named(name string) []*listed {
	if found := g.byID[name]; found != nil {
		return found
	}
	const digits = 64
	if len(name) > digits {
		if found := g.byID[groupID(name)]; found != nil {
			return found
		}
	}
	scope, ok := strings.CutSuffix(name, ".scope")
	if isMonitor(scope) {
		return nil
	}
	for ok {
		var id string
		if _, id, ok = strings.Cut(scope, "-"); ok && g.byID[id] != nil {
			return g.byID[id]
		}
		scope = id
	}
	return nil
}
