package inspect

import (
	"fmt"
	"slices"
	"strings"
)

// judge works out who can connect to each socket and who controls it.
func (f *finder) judge() {
	known, err := readAccounts(f.options.HostRoot)
	who := func(ways ...way) (Who, error) { return who(ways, known, err) }
	for _, s := range f.sockets {
		switch {
		case s.Abstract:
			s.Connect = KnownFact(Who{Everyone: true}, "an abstract socket has no permissions")
			s.Control = KnownFact([]SocketControl{}, "an abstract socket has no folders")
		case len(s.trails) == 0:
			s.Connect = UnknownFact[Who](s.File.Cause())
			s.Control = UnknownFact[[]SocketControl](s.File.Cause())
			if s.partial != nil {
				s.partial.name(known)
				s.shut = s.partial.shutFolder(who)
			}
		default:
			for _, t := range s.trails {
				t.name(known)
			}
			s.describe()
			s.Connect = permitted(who(s.connectors()...))
			s.Control = permitted(s.controllers(who))
			s.shut = s.shutBy(who)
		}
	}
}

func permitted[T any](value T, err error) Fact[T] {
	if err != nil {
		return UnknownFact[T](err)
	}
	return KnownFact(value, "modes, owners and ACLs")
}

// decide tells who can go one of some ways, see who.
type decide func(...way) (Who, error)

// name gives all owners their names.
func (t *trail) name(known accounts) {
	for _, p := range t.places {
		p.Owner, p.Group = known.user(p.Owner.ID), known.group(p.Group.ID)
	}
}

// describe fills in the file.
func (s *foundSocket) describe() {
	first := s.trails[0].socket
	file := SocketFile{
		Permissions: first.Permissions,
		Device:      deviceText(s.id.device),
		Inode:       s.id.inode,
	}
	for _, t := range s.trails {
		n := slices.IndexFunc(file.Paths, func(p SocketPath) bool { return p.Path == t.path })
		if n < 0 {
			n = len(file.Paths)
			file.Paths = append(file.Paths, SocketPath{Path: t.path, Folders: folders(t)})
		}
		if t.named != t.path {
			file.Paths[n].Named = append(file.Paths[n].Named, t.named)
		}
	}
	s.File = KnownFact(file, s.Path)
}

func folders(t *trail) []SocketFolder {
	var list []SocketFolder
	for _, p := range t.folders {
		list = append(list, SocketFolder{Path: p.path, Permissions: p.Permissions})
	}
	return list
}

// connectors are the ways to connect: each path, with what it asks for.
func (s *foundSocket) connectors() []way {
	var ways []way
	for _, t := range s.trails {
		ways = append(ways, append(searched(t.folders), need{Permissions: &t.socket.Permissions, want: PermWrite}))
	}
	return ways
}

// searched asks for the right to look up a name in each folder.
func searched(folders []*place) way {
	var w way
	for _, p := range folders {
		w = append(w, need{Permissions: &p.Permissions, want: PermSearch})
	}
	return w
}

// controllers are those who own the socket, and those who can write to a folder
// on the way or own it.
func (s *foundSocket) controllers(who decide) ([]SocketControl, error) {
	list := []SocketControl{}
	add := func(p *place, w way) error {
		users, err := who(w)
		if err != nil || users.Nobody() {
			return err
		}
		if !slices.ContainsFunc(list, func(c SocketControl) bool { return c.Path == p.path && c.Who.String() == users.String() }) {
			list = append(list, SocketControl{Path: p.path, Permissions: p.Permissions, Who: users})
		}
		return nil
	}
	for _, t := range s.trails {
		owned := need{Permissions: &t.socket.Permissions, owner: true, sticky: &t.socket.Owner.ID}
		if err := add(t.socket, append(searched(t.folders), owned)); err != nil {
			return nil, err
		}
		for _, l := range t.lookups {
			last := len(l.above) - 1
			folder := l.above[last]
			written := need{Permissions: &folder.Permissions, want: PermWrite | PermSearch, owner: true}
			if folder.Mode&modeSticky != 0 {
				written.sticky = &l.owner
			}
			if err := add(folder, append(searched(l.above[:last]), written)); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// shutBy returns the folder that keeps out all but root, where the socket itself
// does not.
func (s *foundSocket) shutBy(who decide) *place {
	t := s.trails[0]
	if len(s.trails) != 1 || onlyRoot(who, need{Permissions: &t.socket.Permissions, want: PermWrite}) {
		return nil
	}
	return t.shutFolder(who)
}

// shutFolder returns the first folder that lets only root through.
func (t *trail) shutFolder(who decide) *place {
	for _, p := range t.folders {
		if onlyRoot(who, need{Permissions: &p.Permissions, want: PermSearch}) {
			return p
		}
	}
	return nil
}

func onlyRoot(who decide, n need) bool {
	w, err := who(way{n})
	return err == nil && w.Nobody()
}

// conclude sets the verdict and the reason.
func (s *foundSocket) conclude() {
	s.Verdict, s.Reason = s.verdict()
	if r, ok := s.Nobody.Value(); ok && s.Verdict != SocketOpen && r.Connected {
		s.Verdict = SocketOpen
		s.Reason += "; yet user nobody did connect"
	}
}

func (s *foundSocket) verdict() (SocketVerdict, string) {
	if s.Abstract {
		return SocketOpen, "an abstract socket has no mode: every process of its network namespace can connect, unless the program that listens refuses it"
	}
	file, ok := s.File.Value()
	if !ok {
		return SocketUnknown, s.unknownReason()
	}
	connect, connectKnown := s.Connect.Value()
	control, controlKnown := s.Control.Value()
	var reasons []string
	if connectKnown && (!connect.Nobody() || controlKnown && len(control) == 0) {
		reasons = append(reasons, s.connectReason(file, connect))
	}
	for _, c := range control {
		reasons = append(reasons, controlReason(c, file))
	}
	switch {
	case !connect.Nobody(), len(control) > 0:
		return SocketOpen, strings.Join(reasons, "; ")
	case !connectKnown:
		return SocketUnknown, fmt.Sprintf("%s: %v", modeText(file.Permissions), s.Connect.Cause())
	case !controlKnown:
		return SocketUnknown, fmt.Sprintf("%s: %v", modeText(file.Permissions), s.Control.Cause())
	}
	return SocketOK, strings.Join(reasons, "; ")
}

// modeText is "mode 0660 root:docker with an ACL".
func modeText(p Permissions) string {
	text := fmt.Sprintf("mode %s %s:%s", p.Mode, p.Owner, p.Group)
	if len(p.ACL) > 0 {
		text += " with an ACL"
	}
	return text
}

func (s *foundSocket) connectReason(file SocketFile, connect Who) string {
	text := modeText(file.Permissions)
	if !connect.Nobody() {
		return fmt.Sprintf("%s: %s can connect", text, connect)
	}
	if s.shut != nil {
		return text + ", but " + shutText(s.shut)
	}
	text += ": only root can connect"
	if file.Group.ID == 0 && file.class(1)&PermWrite != 0 {
		text += ", as nobody else is in its group"
	}
	return text
}

func shutText(p *place) string {
	return fmt.Sprintf("only root gets through the folder %s (%s)", p.path, modeText(p.Permissions))
}

// unknownReason is where it went no further. The verdict stays unknown where a
// folder above shows why: what is below it was not seen.
func (s *foundSocket) unknownReason() string {
	text := s.File.Cause().Error()
	if s.shut != nil {
		text += "; " + shutText(s.shut)
	}
	return text
}

func controlReason(c SocketControl, file SocketFile) string {
	for _, p := range file.Paths {
		if p.Path == c.Path {
			return fmt.Sprintf("%s owns it and can change its mode", c.Who)
		}
	}
	return fmt.Sprintf("%s can put another socket in its place: folder %s has %s", c.Who, c.Path, modeText(c.Permissions))
}
