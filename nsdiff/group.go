package nsdiff

import (
	"cmp"
	"errors"
	"maps"
	"slices"
)

// Group is a namespace with those who are in it.
type Group[ID cmp.Ordered] struct {
	Namespace Namespace `json:"namespace"`
	// Members are in ascending order, one or more.
	Members []ID `json:"members"`
}

// Groups tells who shares a namespace of a kind with whom. The groups are in the order of their inodes; one with a single
// member is that member's own, as far as sets goes. Those whose namespace is unknown are returned apart, in ascending order:
// any of them may be in any group. Those who have none, see [ErrAbsent], are left out.
func Groups[ID cmp.Ordered](k Kind, sets map[ID]Set) (groups []Group[ID], unknown []ID) {
	members := map[Namespace][]ID{}
	for _, id := range slices.Sorted(maps.Keys(sets)) {
		ns, err := sets[id].Namespace(k)
		switch {
		case err == nil:
			members[ns] = append(members[ns], id)
		case !errors.Is(err, ErrAbsent):
			unknown = append(unknown, id)
		}
	}
	for ns, ids := range members {
		groups = append(groups, Group[ID]{Namespace: ns, Members: ids})
	}
	slices.SortFunc(groups, func(a, b Group[ID]) int { return cmp.Compare(a.Namespace.Inode, b.Namespace.Inode) })
	return groups, unknown
}
