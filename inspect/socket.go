package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SocketOptions say which sockets to look at. The zero value finds those of this
// machine.
type SocketOptions struct {
	// Paths are the sockets to look at, and no others: absolute paths on the
	// node, or @ and an abstract name. Without any, those of the node's
	// container runtimes are found.
	Paths []string
	// HostRoot is where the node's file system is mounted, see
	// [Options.HostRoot]. [Inspector.Sockets] takes it from there.
	HostRoot string
	// Connect is the command, beginning with an absolute path, of a program that
	// does nothing but call [ConnectSockets] with the paths that are added to its
	// arguments, and end. When it is set, it is started once as user and group
	// 65534 (nobody), in no other group and without capabilities, to try for
	// real whether anybody can connect. It needs root. This package starts no
	// program of its own accord.
	Connect []string
}

// SocketVerdict sums up who can use a socket.
type SocketVerdict string

// The verdicts.
const (
	// SocketOK: only root can connect to it, change its mode or put another
	// socket in its place. That is what the mode 0660 and root:root give on
	// folders that are root's, as long as nobody else is in the group root.
	SocketOK SocketVerdict = "ok"
	// SocketOpen: somebody else can.
	SocketOpen SocketVerdict = "open"
	// SocketUnknown: something that decides could not be read.
	SocketUnknown SocketVerdict = "unknown"
)

// Socket is a listening socket of a container runtime, or one that the caller
// named: who can connect to it, and from which containers.
type Socket struct {
	// Path is the path on the node, without symbolic links, or @ and the name
	// of an abstract socket: see unix(7).
	Path string `json:"path"`
	// Abstract tells that it has a name and no file. Every process of its
	// network namespace can connect.
	Abstract bool          `json:"abstract,omitempty"`
	Kind     SocketKind    `json:"kind"`
	Verdict  SocketVerdict `json:"verdict"`
	// Reason says why, in a sentence.
	Reason string `json:"reason"`

	// Type is absent when no socket of this name was seen to listen, in the
	// network namespaces of the node and of the runtimes' processes.
	Type Fact[SocketType] `json:"type"`
	// Listeners are the runtimes' processes that have it open.
	Listeners []Listener `json:"listeners"`
	// File is the socket's file; absent for an abstract one.
	File Fact[SocketFile] `json:"file"`
	// Connect are the users that can connect, by the modes, owners and ACLs of
	// the socket and the folders above. Names and members are those of the
	// node's /etc/passwd and /etc/group: those of LDAP are not seen. Root's
	// group does not count for the system's accounts operator, halt, shutdown and
	// sync where they have no login shell.
	Connect Fact[Who] `json:"connect"`
	// Control are the users other than root that can change who connects.
	Control Fact[[]SocketControl] `json:"control"`
	// Nobody is what came of connecting as user nobody; absent when it was not
	// tried.
	Nobody Fact[ConnectResult] `json:"nobody"`
	// Containers are the running containers in which it can be reached, and
	// those of which that is unknown. It is absent when no runtime was asked.
	Containers Fact[[]SocketContainer] `json:"containers"`
}

// SocketFile is the file of a socket.
type SocketFile struct {
	Permissions
	// Device and Inode tell the file from all others, see stat(2).
	Device string `json:"device"`
	Inode  uint64 `json:"inode,string"`
	// Paths are those by which it was found: several only where a folder is
	// mounted twice, or the socket has a hard link.
	Paths []SocketPath `json:"paths"`
}

// SocketPath is a path of a socket, from the node's root on.
type SocketPath struct {
	// Path is without symbolic links.
	Path string `json:"path"`
	// Named are the paths that lead here by symbolic links.
	Named []string `json:"named,omitempty"`
	// Folders are those above the socket, from / down.
	Folders []SocketFolder `json:"folders"`
}

// SocketFolder is a folder above a socket.
type SocketFolder struct {
	// Path is the folder's.
	Path string `json:"path"`
	Permissions
}

// SocketControl is a file that somebody other than root can change.
type SocketControl struct {
	// Path is the socket, whose owner can change its mode; or a folder on the
	// way, in which the next name can be replaced: that of the socket, of a
	// folder above it, or of a symbolic link that leads to it.
	Path string `json:"path"`
	Permissions
	Who Who `json:"who"`
}

// FindSockets finds the sockets of the node's container runtimes and tells who
// can connect to each, in the order of their paths. It needs no runtime; see
// [Inspector.Sockets] for the containers that reach them.
//
// Sockets are found at the well-known paths, among the listening sockets of the
// node's network namespace whose names are a runtime's, and among those that the
// runtimes' processes have open, wherever these are. The latter needs root, or
// CAP_SYS_PTRACE.
//
// The error joins what could not be read, so that sockets may be missing, and
// each of o.Paths that is no socket: it wraps [fs.ErrNotExist] or
// [ErrNotSocket]. The sockets that were found are returned with it. A socket
// whose path we may not search is returned as unknown.
func FindSockets(ctx context.Context, o SocketOptions) ([]Socket, error) {
	found, err := findSockets(ctx, o, wellKnownSockets)
	list := make([]Socket, len(found))
	for i, f := range found {
		f.Containers = AbsentFact[[]SocketContainer]("no container runtime was asked")
		list[i] = f.Socket
	}
	return list, err
}

// foundSocket is a socket with what tells whether a container reaches it.
type foundSocket struct {
	Socket
	id     fileID
	at     []Fact[location] // of each path
	trails []*trail
	named  bool // by the caller
	// partial is how far the path of an unknown one could be walked.
	partial *trail
	shut    *place       // the folder that keeps out whom the socket would not
	netns   Fact[string] // of an abstract one
}

func findSockets(ctx context.Context, o SocketOptions, wellKnown []string) ([]*foundSocket, error) {
	f := finder{options: o}
	heard, heardErr := listen(o.HostRoot, o.Paths)
	f.own, f.ownErr = ownMounts()
	for _, name := range o.Paths {
		f.keep(f.name(name, heard, heardErr))
	}
	for _, l := range heard {
		f.hear(l)
	}
	if len(o.Paths) == 0 {
		f.keep(heardErr)
		for _, name := range wellKnown {
			f.look(name)
		}
	}
	f.choose()
	f.judge()
	if len(o.Connect) > 0 {
		f.connect(ctx)
	}
	for _, s := range f.sockets {
		s.conclude()
	}
	return f.sockets, errors.Join(f.errs...)
}

// finder gathers sockets, each once.
type finder struct {
	options SocketOptions
	own     mountTable
	ownErr  error
	sockets []*foundSocket
	errs    []error
}

func (f *finder) keep(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

// name adds a socket that the caller named.
func (f *finder) name(name string, heard []listening, heardErr error) error {
	if strings.HasPrefix(name, "@") {
		return f.nameAbstract(name, heard, heardErr)
	}
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("socket %q: want an absolute path, or @ and an abstract name", name)
	}
	s, err := f.add(name)
	if err != nil {
		return fmt.Errorf("socket %q: %w", name, err)
	}
	s.named = true
	return nil
}

// errNotListening is for abstract sockets, which exist only while they are open.
var errNotListening = fmt.Errorf("no abstract socket of this name listens in the network namespaces of the node and its runtimes: %w", fs.ErrNotExist)

func (f *finder) nameAbstract(name string, heard []listening, heardErr error) error {
	known := false
	for _, l := range heard {
		if l.name == name {
			f.addAbstract(l).named = true
			known = true
		}
	}
	switch {
	case known:
		return nil
	case heardErr != nil:
		return fmt.Errorf("socket %q: %w; %s", name, errNotListening, strings.ReplaceAll(heardErr.Error(), "\n", "; "))
	}
	return fmt.Errorf("socket %q: %w", name, errNotListening)
}

// errMoved is for a socket that listens where its file is not any more: it keeps
// the name that it was bound to, and who finds the file connects.
var errMoved = errors.New("it listens, but its file is not there any more: where it was moved to, if it was not removed, is not known")

// hear adds a listening socket. A path that leads to no socket is unknown when its
// runtime is the node's; else it is of a container's mount namespace, and nobody
// connects by it here.
func (f *finder) hear(l listening) {
	var s *foundSocket
	switch {
	case l.abstract():
		s = f.addAbstract(l)
	case !path.IsAbs(l.name):
		s = f.unknown(l.name, errors.New("bound by a relative path: it is not known from which folder"))
	default:
		var err error
		if s, err = f.add(l.name); err != nil {
			if !l.ofNode {
				return
			}
			s = f.unknown(l.name, errMoved)
		}
	}
	s.Kind = l.kind
	s.Type = KnownFact(l.socketType(), "net/unix")
	for _, owner := range l.owners {
		if !slices.Contains(s.Listeners, owner) {
			s.Listeners = append(s.Listeners, owner)
		}
	}
}

// look adds a well-known socket if it is there.
func (f *finder) look(name string) {
	_, err := f.add(name)
	if errors.Is(err, ErrNotSocket) {
		f.keep(fmt.Errorf("socket %q: %w", name, err))
	}
}

// add walks to a socket and adds it, or its path to the same socket. The error
// is that there is none.
func (f *finder) add(name string) (*foundSocket, error) {
	t, err := walk(f.options.HostRoot, name)
	defer t.close()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, ErrNotSocket) {
		return nil, err
	}
	if err != nil {
		s := f.unknown(name, err)
		s.partial = t
		return s, nil
	}
	s := f.byID(t.socket.id)
	if s == nil {
		s = f.new(t.path)
		s.id = t.socket.id
	}
	known := slices.IndexFunc(s.trails, func(other *trail) bool { return other.path == t.path && other.named == t.named })
	if known >= 0 {
		return s, nil
	}
	s.trails = append(s.trails, t)
	at, err := location{}, f.ownErr
	if err == nil {
		at, err = locate(t.socket, f.own)
	}
	if err != nil {
		s.at = append(s.at, UnknownFact[location](err))
	} else {
		s.at = append(s.at, KnownFact(at, "/proc/self/mountinfo"))
	}
	return s, nil
}

func (f *finder) byID(id fileID) *foundSocket {
	for _, s := range f.sockets {
		if len(s.trails) > 0 && s.id == id {
			return s
		}
	}
	return nil
}

func (f *finder) new(name string) *foundSocket {
	s := &foundSocket{Socket: Socket{
		Path:      name,
		Listeners: []Listener{},
		Type:      AbsentFact[SocketType]("nothing was seen to listen on it"),
		File:      AbsentFact[SocketFile]("an abstract socket has no file"),
		Nobody:    AbsentFact[ConnectResult]("not tried"),
	}}
	s.Kind, _ = kindByName(name)
	f.sockets = append(f.sockets, s)
	return s
}

// unknown adds a socket that could not be looked at, once.
func (f *finder) unknown(name string, cause error) *foundSocket {
	for _, s := range f.sockets {
		if s.Path == name && s.File.Known() == Unknown {
			return s
		}
	}
	s := f.new(name)
	s.File = UnknownFact[SocketFile](cause)
	s.at = append(s.at, UnknownFact[location](cause))
	return s
}

func (f *finder) addAbstract(l listening) *foundSocket {
	id, _ := l.netns.Value()
	for _, s := range f.sockets {
		other, _ := s.netns.Value()
		if s.Abstract && s.Path == l.name && other == id {
			return s
		}
	}
	s := f.new(l.name)
	s.Abstract, s.netns = true, l.netns
	return s
}

// choose keeps what was asked for, in the order of the paths.
func (f *finder) choose() {
	if len(f.options.Paths) > 0 {
		f.sockets = slices.DeleteFunc(f.sockets, func(s *foundSocket) bool { return !s.named })
	}
	slices.SortStableFunc(f.sockets, func(a, b *foundSocket) int { return cmp.Compare(a.Path, b.Path) })
}

// Sockets finds the runtimes' sockets as [FindSockets] does, that of the runtime
// that was asked among them, and the running containers in which each can be
// reached. Its error is as that one's, joined with what could not be listed.
func (i *Inspector) Sockets(ctx context.Context, o SocketOptions) ([]Socket, error) {
	containers, listErr := i.list(ctx, false)
	found, err := i.findSockets(ctx, o)
	return i.reached(socketsOf(found), containers), errors.Join(err, listErr)
}

func (i *Inspector) findSockets(ctx context.Context, o SocketOptions) ([]*foundSocket, error) {
	o.HostRoot = i.options.HostRoot
	return findSockets(ctx, o, append(i.endpointOnNode(), wellKnownSockets...))
}

// reached adds from which containers the sockets can be reached.
func (i *Inspector) reached(found *socketSet, containers []listed) []Socket {
	i.reachable(found, containers)
	list := make([]Socket, len(found.list))
	for n, f := range found.list {
		list[n] = f.Socket
	}
	return list
}

// endpointOnNode is the path of the runtime's socket; none where it is not below
// the host root, and where there is no runtime.
func (i *Inspector) endpointOnNode() []string {
	if i.conn == nil {
		return nil
	}
	endpoint := strings.TrimPrefix(i.conn.Address, "unix://")
	root := cmp.Or(i.options.HostRoot, "/")
	if !isBelow(endpoint, root) {
		return nil
	}
	return []string{path.Join("/", strings.TrimPrefix(endpoint, root))}
}

// deviceText is the form of mountinfo.
func deviceText(device uint64) string {
	return strconv.FormatUint(uint64(unix.Major(device)), 10) + ":" + strconv.FormatUint(uint64(unix.Minor(device)), 10)
}
