package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Who are the users other than root that have a right. The zero Who is nobody.
type Who struct {
	// Everyone: any user has it, but for those in Except.
	Everyone bool `json:"everyone"`
	// Except are users that the mode or the ACL keeps out all the same: those
	// of group docker from a socket 0606 root:docker.
	Except []Account `json:"except,omitempty"`
	// Users have it by their number, or by groups in a way that not all members
	// have it.
	Users []Account `json:"users,omitempty"`
	// Groups have it as such, whoever is in them.
	Groups []WhoGroups `json:"groups,omitempty"`
}

// WhoGroups are groups that together give a right: mostly one; several where a
// folder above lets one group pass and the socket another.
type WhoGroups struct {
	Groups []Account `json:"groups"`
	// Members are the users that are in all of them, by /etc/passwd and
	// /etc/group.
	Members []Account `json:"members"`
}

// Nobody tells whether only root has the right.
func (w Who) Nobody() bool { return !w.Everyone && len(w.Users) == 0 && len(w.Groups) == 0 }

// String is a phrase: "every user", "user alice, members of group docker (bob)".
func (w Who) String() string {
	switch {
	case w.Everyone && len(w.Except) > 0:
		return "every user but " + names(w.Except)
	case w.Everyone:
		return "every user"
	case w.Nobody():
		return "only root"
	}
	var parts []string
	if len(w.Users) > 0 {
		parts = append(parts, plural(len(w.Users), "user")+" "+names(w.Users))
	}
	for _, g := range w.Groups {
		text := "members of " + plural(len(g.Groups), "group") + " " + strings.ReplaceAll(names(g.Groups), ", ", " and ")
		if len(g.Members) > 0 {
			text += " (" + names(g.Members) + ")"
		} else {
			text += " (no local ones)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func names(list []Account) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// need is what one file on the way asks of a process.
type need struct {
	*Permissions
	want Perm
	// owner: the owner has it whatever the mode, as he can change the mode.
	owner bool
	// sticky: only the owner and this user have it, see unlink(2).
	sticky *uint32
}

func (n need) met(c credentials) bool {
	if n.owner && c.is(n.Owner.ID) {
		return true
	}
	if n.sticky != nil && !c.is(n.Owner.ID) && !c.is(*n.sticky) {
		return false
	}
	return n.lets(c, n.want)
}

func (n need) groups() []uint32 {
	if n.sticky != nil {
		return nil
	}
	return n.grantingGroups(n.want)
}

// users are the uids that it tells from strangers.
func (n need) users() []uint32 {
	uids := n.Permissions.users()
	if n.sticky != nil {
		uids = append(uids, *n.sticky)
	}
	return uids
}

// way is all that is asked on one path.
type way []need

func (w way) open(c credentials) bool {
	return !slices.ContainsFunc(w, func(n need) bool { return !n.met(c) })
}

// rootOnly tells whether some file on the way stops all but root, whoever is in
// which group.
func (w way) rootOnly() bool {
	return slices.ContainsFunc(w, func(n need) bool {
		if n.met(credentials{stranger: true}) || len(n.groups()) > 0 {
			return false
		}
		return !slices.ContainsFunc(n.users(), func(uid uint32) bool {
			return uid != 0 && n.met(credentials{uid: uid})
		})
	})
}

// errManyGroups is for ACLs made to keep us busy.
var errManyGroups = errors.New("the ACLs on the path combine too many groups")

// who returns the users that can go one of the ways. The error is that the
// accounts, which would decide, could not be read.
func who(ways []way, known accounts, accountsErr error) (Who, error) {
	ways = slices.DeleteFunc(slices.Clone(ways), way.rootOnly)
	open := func(c credentials) bool {
		return slices.ContainsFunc(ways, func(w way) bool { return w.open(c) })
	}
	everyone := open(credentials{stranger: true})
	if accountsErr != nil && len(ways) > 0 && !everyone {
		return Who{}, fmt.Errorf("who is in which group: %w", accountsErr)
	}
	out := Who{Everyone: everyone}
	differ := slices.DeleteFunc(candidates(ways, known), func(u user) bool {
		return open(credentials{uid: u.ID, gids: u.gids}) == everyone
	})
	if everyone {
		out.Except = accountsOf(differ)
		return out, nil
	}
	sets, err := groupSets(ways)
	if err != nil {
		return Who{}, err
	}
	single := slices.Clone(differ)
	for _, set := range sets {
		g := WhoGroups{Members: []Account{}}
		for _, gid := range set {
			g.Groups = append(g.Groups, known.group(gid))
		}
		var members []user
		for _, u := range differ {
			if subset(set, u.gids) {
				members = append(members, u)
			}
		}
		g.Members = accountsOf(members)
		if slices.Equal(set, []uint32{0}) && len(g.Members) == 0 {
			continue // root's own group
		}
		single = slices.DeleteFunc(single, func(u user) bool { return subset(set, u.gids) })
		out.Groups = append(out.Groups, g)
	}
	out.Users = accountsOf(single)
	return out, nil
}

// candidates are the users of the node, and those that only a mode or an ACL
// names. Root is none.
func candidates(ways []way, known accounts) []user {
	users := slices.Clone(known.users)
	for _, w := range ways {
		for _, n := range w {
			for _, uid := range n.users() {
				if !slices.ContainsFunc(users, func(u user) bool { return u.ID == uid }) {
					users = append(users, user{Account: Account{ID: uid}})
				}
			}
		}
	}
	users = slices.DeleteFunc(users, func(u user) bool { return u.ID == 0 })
	slices.SortStableFunc(users, func(a, b user) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name)) })
	return users
}

func accountsOf(users []user) []Account {
	list := make([]Account, len(users))
	for i, u := range users {
		list[i] = u.Account
	}
	return list
}

// groupSets returns the smallest sets of groups that let a stranger go one of
// the ways.
func groupSets(ways []way) ([][]uint32, error) {
	s := search{budget: 10000}
	for _, w := range ways {
		s.extend(w, nil)
	}
	if s.budget < 0 {
		return nil, errManyGroups
	}
	slices.SortFunc(s.found, func(a, b []uint32) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), slices.Compare(a, b))
	})
	var least [][]uint32
	for _, set := range s.found {
		if !slices.ContainsFunc(least, func(smaller []uint32) bool { return subset(smaller, set) }) {
			least = append(least, set)
		}
	}
	return least, nil
}

type search struct {
	budget int
	found  [][]uint32
}

// extend adds to set, in every possible way, a group that opens the first file
// that is still shut: any set that opens all must have one.
func (s *search) extend(w way, set []uint32) {
	if s.budget--; s.budget < 0 {
		return
	}
	for _, n := range w {
		if n.met(credentials{stranger: true, gids: set}) {
			continue
		}
		for _, gid := range n.groups() {
			more := append(slices.Clone(set), gid)
			slices.Sort(more)
			s.extend(w, slices.Compact(more))
		}
		return
	}
	s.found = append(s.found, set)
}

func subset(part, whole []uint32) bool {
	return !slices.ContainsFunc(part, func(n uint32) bool { return !slices.Contains(whole, n) })
}
