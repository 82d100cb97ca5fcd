package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// lineage is the cgroup of a process in one hierarchy with all visible ones above it.
type lineage struct {
	unified bool
	groups  []*folder // the process's own first
	kinds   []Kind    // of each
	paths   []string  // of each, in the hierarchy
	place   Place
	own     int // the index of the container's own cgroup; 0 when no name tells
	// above is what is above the last group: unknown with why it cannot be seen, absent when that is the machine's root.
	above Fact[string]
}

// leaf is the cgroup whose values are reported: the container's own, or else the process's.
func (l *lineage) leaf() *folder { return l.groups[l.own] }

// counts is the leaf of another hierarchy, which counts what this one limits. It is absent where the process is in another cgroup
// there: what that one counts is of other processes too.
func (l *lineage) counts(other *lineage) *folder {
	if path := other.paths[other.own]; l.leaf().found() && other.leaf().found() && path != l.paths[l.own] {
		return noFolder(AbsentFact[string]("it is counted in another cgroup: " + path))
	}
	return other.leaf()
}

// root is the topmost visible cgroup.
func (l *lineage) root() *folder { return l.groups[len(l.groups)-1] }

func (l *lineage) close() {
	for _, f := range l.groups {
		f.close()
	}
}

// none is a lineage of which nothing could be opened, or that does not exist.
func none(unified bool, fact Fact[string]) *lineage {
	return &lineage{
		unified: unified, groups: []*folder{noFolder(fact)}, kinds: []Kind{KindHidden}, paths: []string{""},
		above: AbsentFact[string]("nothing is known"),
	}
}

// lineage opens the cgroup of a process in the hierarchy that has a controller; the empty controller is cgroup v2.
func (v *View) lineage(list []Membership, controller, container string) *lineage {
	m, ok := memberOf(list, controller)
	switch {
	case !ok:
		return none(true, AbsentFact[string]("no hierarchy has the controller "+controller))
	case m.Removed:
		return none(m.Hierarchy == 0, UnknownFact[string](fmt.Errorf("%w: %s", ErrRemoved, m.Path)))
	}
	l, err := v.open(m, container)
	if err != nil {
		return none(m.Hierarchy == 0, UnknownFact[string](err))
	}
	return l
}

// open tries the mounts of a hierarchy, until one shows the cgroup.
func (v *View) open(m Membership, container string) (*lineage, error) {
	if v.err != nil {
		return nil, v.err
	}
	var err error
	for _, mount := range v.mountsOf(m) {
		var l *lineage
		if l, err = v.openUnder(mount, m, container); err == nil {
			return l, nil
		}
		if !errors.Is(err, ErrHidden) {
			return nil, err
		}
	}
	if err == nil {
		err = fmt.Errorf("%w: %s: no mount of hierarchy %q on or below %s", ErrHidden, m.Path, strings.Join(m.Controllers, ","), v.sys)
	}
	return nil, err
}

// mountsOf returns the mounts of the hierarchy of m on or below v.sys. Of several on one folder only the last one is seen.
func (v *View) mountsOf(m Membership) []Mount {
	var list []Mount
	for _, mount := range v.mounts {
		same := mount.Unified == (m.Hierarchy == 0) && (mount.Unified || sharesController(mount.Controllers, m.Controllers))
		list = slices.DeleteFunc(list, func(hidden Mount) bool { return hidden.Point == mount.Point })
		if same && (mount.Point == v.sys || strings.HasPrefix(mount.Point, v.sys+"/")) {
			list = append(list, mount)
		}
	}
	return list
}

func sharesController(a, b []string) bool {
	return slices.ContainsFunc(a, func(c string) bool { return slices.Contains(b, c) })
}

// openUnder opens the cgroup of m. Those above it are opened when something is asked of them.
func (v *View) openUnder(mount Mount, m Membership, container string) (*lineage, error) {
	groups := []*folder{folderAt(mount.Point)}
	names, err := v.below(groups[0], mount, m)
	for i := 0; err == nil && i < len(names); i++ {
		var next *folder
		next, err = groups[i].child(names[i])
		groups = append(groups, next)
	}
	if err == nil {
		err = groups[len(groups)-1].open()
	}
	if err != nil {
		groups[0].close() // below may have opened it
		return nil, err
	}
	slices.Reverse(groups)
	l := &lineage{unified: mount.Unified, groups: groups}
	l.describe(mount, names, container)
	for i, f := range groups {
		f.read = &remembered{}
		if i > l.own {
			f.read = v.above(f.path)
		}
	}
	l.above = l.aboveTop()
	if l.above.Known() == Absent {
		l.kinds[len(l.kinds)-1] = KindMachine
	}
	return l, nil
}

// describe fills in what the names tell.
func (l *lineage) describe(mount Mount, names []string, container string) {
	prefix := split(mount.Root) // the names that are above the mount, unless they are not known
	if len(prefix) > 0 && prefix[0] == ".." {
		prefix = nil
	}
	full := slices.Concat(prefix, names)
	path := "/" + strings.Join(full, "/")
	l.place = Locate(path, container)
	l.own = len(split(l.place.Inner))
	if l.place.Container == "" || l.own >= len(l.groups) {
		l.own = 0
	}
	list := kinds(full)
	for i := len(full); i >= len(prefix); i-- {
		kind := KindRoot
		if i > 0 {
			kind = list[i-1]
		}
		l.kinds = append(l.kinds, kind)
		l.paths = append(l.paths, path)
		path = path[:max(strings.LastIndexByte(path, '/'), 1)]
	}
	if l.place.Container == "" {
		return
	}
	for i := l.own + 1; i < len(l.kinds); i++ {
		if l.kinds[i] == KindContainer {
			l.kinds[i] = KindOuter
		}
	}
}

// aboveTop is absent when the top is the root of the hierarchy. Only there cgroup v2 has no cgroup.events, and v1 a
// release_agent.
func (l *lineage) aboveTop() Fact[string] {
	file, atRoot := "release_agent", true
	if l.unified {
		file, atRoot = "cgroup.events", false
	}
	return remember(l.root(), "", func() Fact[string] {
		there, err := l.root().exists(file)
		switch {
		case err != nil:
			return UnknownFact[string](err)
		case there != atRoot:
			return UnknownFact[string](fmt.Errorf("%w: what is above %s: the mount starts below the machine's root", ErrHidden, l.root().path))
		}
		return AbsentFact[string](l.root().path + " is the machine's root")
	})
}

// below returns the names that lead from the mount's folder to the cgroup of m. Both paths start at the root of our cgroup
// namespace, and with "/.." for each step above it.
func (v *View) below(top *folder, mount Mount, m Membership) ([]string, error) {
	rootUps, root := climb(mount.Root)
	ups, names := climb(m.Path)
	hidden := fmt.Errorf("%w: %s: the mount on %s shows %s only", ErrHidden, m.Path, mount.Point, mount.Root)
	switch {
	case ups == rootUps && len(names) >= len(root) && slices.Equal(names[:len(root)], root):
		return names[len(root):], nil
	case ups >= rootUps || len(root) > 0:
		return nil, hidden
	}
	// The mount shows more than our namespace: the names between are those of the cgroups above our own.
	ours, err := v.namespaceRoot(top, m, rootUps)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hidden, err)
	}
	return slices.Concat(ours[:rootUps-ups], names), nil
}

// climb splits a path into the number of leading ".." and the names that follow.
func climb(p string) (ups int, names []string) {
	names = split(p)
	for ups < len(names) && names[ups] == ".." {
		ups++
	}
	return ups, names[ups:]
}

// namespaceRoot finds the root of our cgroup namespace in the hierarchy of m, depth levels below top: it is the one from which
// our own path leads to a cgroup that has us in it.
func (v *View) namespaceRoot(top *folder, m Membership, depth int) ([]string, error) {
	i := slices.IndexFunc(v.self, func(self Membership) bool { return self.Hierarchy == m.Hierarchy })
	if i < 0 {
		return nil, fmt.Errorf("our own cgroup is not known")
	}
	ups, own := climb(v.self[i].Path)
	if ups > 0 {
		return nil, fmt.Errorf("our own cgroup %s is outside of our namespace", v.self[i].Path)
	}
	found, err := search(top, depth, own)
	if err == nil && found == nil {
		err = fmt.Errorf("our own cgroup is not found %d levels below %s", depth, top.path)
	}
	return found, err
}

// search returns the names of the cgroup, depth levels below f, from which own leads to one with our process in it.
func search(f *folder, depth int, own []string) ([]string, error) {
	if depth == 0 {
		return nil, nil
	}
	names, err := f.list()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		next, err := f.child(n)
		if err != nil {
			continue // a file, or a cgroup that was removed meanwhile
		}
		var rest []string
		found := depth == 1 && holdsUs(next, own)
		if depth > 1 {
			rest, _ = search(next, depth-1, own) // one that cannot be listed is not ours
			found = rest != nil
		}
		next.close()
		if found {
			return slices.Concat([]string{n}, rest), nil
		}
	}
	return nil, nil
}

// holdsUs tells whether our own process is in the cgroup that own leads to.
func holdsUs(f *folder, own []string) bool {
	data, err := f.readFile(path.Join(append(slices.Clone(own), "cgroup.procs")...))
	return err == nil && slices.Contains(strings.Split(data, "\n"), strconv.Itoa(os.Getpid()))
}

// within cleans the folder that cgroups are mounted on.
func within(sys string) string {
	if sys == "" {
		return "/sys/fs/cgroup"
	}
	return filepath.Clean(sys)
}
