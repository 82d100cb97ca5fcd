package inspect

import (
	"fmt"
	"slices"
)

// Permissions are what the kernel looks at before it lets a process through a
// folder or connect to a socket.
type Permissions struct {
	// Mode are the twelve bits of chmod(2), in octal in the JSON form.
	Mode  Mode    `json:"mode"`
	Owner Account `json:"owner"`
	Group Account `json:"group"`
	// ACL is the POSIX ACL, empty where there is none.
	ACL []ACLEntry `json:"acl,omitempty"`
}

// Mode are the permission bits of a file with set-user-ID, set-group-ID and
// sticky: see inode(7).
type Mode uint16

const modeSticky Mode = 0o1000

// String returns four octal digits: 0660.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint16(m)) }

// MarshalText returns the form of String.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the form of String.
func (m *Mode) UnmarshalText(text []byte) error {
	var bits uint16
	for _, c := range text {
		if c < '0' || c > '7' {
			return fmt.Errorf("mode %q: want four octal digits", text)
		}
		bits = bits<<3 | uint16(c-'0')
	}
	if len(text) != 4 {
		return fmt.Errorf("mode %q: want four octal digits", text)
	}
	*m = Mode(bits)
	return nil
}

// credentials are those by which the kernel decides over files: the file system
// ids of credentials(7). A stranger has a uid that is named nowhere.
type credentials struct {
	uid      uint32
	stranger bool
	gids     []uint32
}

func (c credentials) is(uid uint32) bool  { return !c.stranger && c.uid == uid }
func (c credentials) in(gid uint32) bool  { return slices.Contains(c.gids, gid) }
func (p Permissions) class(n uint16) Perm { return Perm(uint16(p.Mode)>>(3*n)) & 7 }

// hasACL tells whether the kernel looks at the ACL: when the group's bits of the
// mode, which are its mask, are not all zero. See acl_permission_check in
// fs/namei.c.
func (p Permissions) hasACL() bool { return len(p.ACL) > 0 && p.class(1) != 0 }

// lets tells whether c has the wanted permissions, as far as the mode and the
// ACL decide: root passes anyway. See acl(5).
func (p Permissions) lets(c credentials, want Perm) bool {
	switch {
	case c.is(p.Owner.ID):
		return p.class(2)&want == want
	case p.hasACL():
		return p.aclLets(c, want)
	case c.in(p.Group.ID):
		return p.class(1)&want == want
	}
	return p.class(0)&want == want
}

// aclLets: an entry for the user decides alone; of the groups it is enough that
// one grants all that is wanted; the mask cuts both; others come last.
func (p Permissions) aclLets(c credentials, want Perm) bool {
	mask := p.mask()
	for _, e := range p.ACL {
		if e.Tag == ACLUser && c.is(e.ID) {
			return e.Perm&mask&want == want
		}
	}
	member := false
	for _, e := range p.ACL {
		gid, ok := p.groupOf(e)
		if !ok || !c.in(gid) {
			continue
		}
		member = true
		if e.Perm&mask&want == want {
			return true
		}
	}
	return !member && p.class(0)&want == want
}

func (p Permissions) mask() Perm {
	for _, e := range p.ACL {
		if e.Tag == ACLMask {
			return e.Perm
		}
	}
	return 7
}

// groupOf returns the group that an entry is for.
func (p Permissions) groupOf(e ACLEntry) (gid uint32, ok bool) {
	switch e.Tag {
	case ACLGroup:
		return e.ID, true
	case ACLOwningGroup:
		return p.Group.ID, true
	case ACLOwner, ACLUser, ACLMask, ACLOther:
	}
	return 0, false
}

// grantingGroups are the groups of which each member but those named has the
// wanted permissions.
func (p Permissions) grantingGroups(want Perm) []uint32 {
	if !p.hasACL() {
		if p.class(1)&want == want {
			return []uint32{p.Group.ID}
		}
		return nil
	}
	var gids []uint32
	mask := p.mask()
	for _, e := range p.ACL {
		if gid, ok := p.groupOf(e); ok && e.Perm&mask&want == want {
			gids = append(gids, gid)
		}
	}
	return gids
}

// users are the uids that the mode and the ACL tell from strangers.
func (p Permissions) users() []uint32 {
	uids := []uint32{p.Owner.ID}
	for _, e := range p.ACL {
		if e.Tag == ACLUser {
			uids = append(uids, e.ID)
		}
	}
	return uids
}
