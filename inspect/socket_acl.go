package inspect

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Perm are the three permissions of a class: read 4, write 2, execute 1.
type Perm uint8

// The permissions that decide over a socket.
const (
	// PermSearch is needed on every folder above, see path_resolution(7).
	PermSearch Perm = 1
	// PermWrite is needed to connect to a socket, see unix(7), and to put
	// another entry into a folder.
	PermWrite Perm = 2
)

// String returns the form of ls(1): rw-.
func (p Perm) String() string {
	text := []byte("rwx")
	for i := range text {
		if p&(4>>i) == 0 {
			text[i] = '-'
		}
	}
	return string(text)
}

// MarshalText returns the form of String.
func (p Perm) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of String.
func (p *Perm) UnmarshalText(text []byte) error {
	for v := range Perm(8) {
		if v.String() == string(text) {
			*p = v
			return nil
		}
	}
	return fmt.Errorf("permissions %q: want the form rwx, with - for each that is missing", text)
}

// ACLTag says whom an entry of an ACL is for.
type ACLTag uint16

// The tags, numbered as in the extended attribute: see linux/posix_acl.h.
const (
	ACLOwner       ACLTag = 0x01
	ACLUser        ACLTag = 0x02
	ACLOwningGroup ACLTag = 0x04
	ACLGroup       ACLTag = 0x08
	ACLMask        ACLTag = 0x10
	ACLOther       ACLTag = 0x20
)

// aclTags are the tags with their names, in the order of an ACL.
var aclTags = []struct {
	tag  ACLTag
	name string
}{
	{ACLOwner, "owner"},
	{ACLUser, "user"},
	{ACLOwningGroup, "owning-group"},
	{ACLGroup, "group"},
	{ACLMask, "mask"},
	{ACLOther, "other"},
}

func (t ACLTag) name() (name string, ok bool) {
	for _, known := range aclTags {
		if known.tag == t {
			return known.name, true
		}
	}
	return strconv.Itoa(int(t)), false
}

// String returns owner, user, owning-group, group, mask or other.
func (t ACLTag) String() string {
	name, _ := t.name()
	return name
}

// MarshalText returns the form of String.
func (t ACLTag) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the form of String.
func (t *ACLTag) UnmarshalText(text []byte) error {
	for _, known := range aclTags {
		if known.name == string(text) {
			*t = known.tag
			return nil
		}
	}
	return fmt.Errorf("tag %q of an ACL: want owner, user, owning-group, group, mask or other", text)
}

// named tells whether entries of the tag carry an id.
func (t ACLTag) named() bool { return t == ACLUser || t == ACLGroup }

// ACLEntry is one entry of a POSIX ACL, see acl(5).
type ACLEntry struct {
	Tag ACLTag `json:"tag"`
	// ID is the user or group of the tags user and group, and 0 for the others.
	ID   uint32 `json:"-"`
	Perm Perm   `json:"perm"`
}

// aclEntryJSON has the id only where there is one: 0 is root's.
type aclEntryJSON struct {
	Tag  ACLTag  `json:"tag"`
	ID   *uint32 `json:"id,omitempty"`
	Perm Perm    `json:"perm"`
}

// MarshalJSON writes {"tag":"user","id":1000,"perm":"rw-"}, with an id for the
// tags user and group only.
func (e ACLEntry) MarshalJSON() ([]byte, error) {
	out := aclEntryJSON{Tag: e.Tag, Perm: e.Perm}
	if e.Tag.named() {
		out.ID = &e.ID
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads the form that MarshalJSON writes.
func (e *ACLEntry) UnmarshalJSON(data []byte) error {
	var in aclEntryJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.Tag.named() != (in.ID != nil) {
		return fmt.Errorf("entry %s of an ACL: want an id for a user or a group, and for no other", in.Tag)
	}
	*e = ACLEntry{Tag: in.Tag, Perm: in.Perm}
	if in.ID != nil {
		e.ID = *in.ID
	}
	return nil
}

const (
	// accessACL is the extended attribute with the ACL, see xattr(7).
	accessACL = "system.posix_acl_access"

	aclVersion   = 2
	aclHeader    = 4
	aclEntrySize = 8
	aclNoID      = 1<<32 - 1
)

// parseACL reads the value of the extended attribute: a version, then entries in
// the order of their tags. It refuses what the kernel would.
func parseACL(value []byte) ([]ACLEntry, error) {
	if len(value) < aclHeader || (len(value)-aclHeader)%aclEntrySize != 0 {
		return nil, fmt.Errorf("an ACL of %d bytes", len(value))
	}
	if v := binary.LittleEndian.Uint32(value); v != aclVersion {
		return nil, fmt.Errorf("an ACL of version %d: want %d", v, aclVersion)
	}
	var acl []ACLEntry
	for raw := range slices.Chunk(value[aclHeader:], aclEntrySize) {
		e, err := parseACLEntry(raw)
		if err != nil {
			return nil, err
		}
		if n := len(acl); n > 0 && (e.Tag < acl[n-1].Tag || e.Tag == acl[n-1].Tag && !e.Tag.named()) {
			return nil, fmt.Errorf("an ACL with entry %s after %s", e.Tag, acl[n-1].Tag)
		}
		acl = append(acl, e)
	}
	return acl, checkACL(acl)
}

func parseACLEntry(raw []byte) (ACLEntry, error) {
	e := ACLEntry{Tag: ACLTag(binary.LittleEndian.Uint16(raw)), ID: binary.LittleEndian.Uint32(raw[4:])}
	perm := binary.LittleEndian.Uint16(raw[2:])
	if _, ok := e.Tag.name(); !ok {
		return e, fmt.Errorf("an ACL with an entry of tag %#x", uint16(e.Tag))
	}
	if perm > 7 {
		return e, fmt.Errorf("an ACL with permissions %#o", perm)
	}
	e.Perm = Perm(perm)
	if e.Tag.named() {
		return e, nil
	}
	if e.ID != aclNoID {
		return e, fmt.Errorf("an ACL with an id in entry %s", e.Tag)
	}
	e.ID = 0
	return e, nil
}

// checkACL wants the three classes of the mode, and a mask where a user or a
// group is named.
func checkACL(acl []ACLEntry) error {
	var named bool
	seen := map[ACLTag]bool{}
	for _, e := range acl {
		seen[e.Tag] = true
		named = named || e.Tag.named()
	}
	if !seen[ACLOwner] || !seen[ACLOwningGroup] || !seen[ACLOther] {
		return errors.New("an ACL without entries for owner, owning group and others")
	}
	if named && !seen[ACLMask] {
		return errors.New("an ACL that names users or groups without a mask")
	}
	return nil
}
