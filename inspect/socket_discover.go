package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// SocketKind says what answers on a socket.
type SocketKind string

// The kinds of socket.
const (
	SocketContainerd      SocketKind = "containerd"
	SocketContainerdTTRPC SocketKind = "containerd-ttrpc"
	SocketContainerdDebug SocketKind = "containerd-debug"
	SocketCRIO            SocketKind = "cri-o"
	SocketCRIDockerd      SocketKind = "cri-dockerd"
	SocketDocker          SocketKind = "docker"
	SocketPodman          SocketKind = "podman"
	SocketBuildKit        SocketKind = "buildkit"
	SocketNRI             SocketKind = "nri"
	SocketKubelet         SocketKind = "kubelet"
	SocketShim            SocketKind = "shim"
	// SocketOther was named by the caller, and nothing tells what it is.
	SocketOther SocketKind = "other"
)

// wellKnownSockets are where runtimes listen unless they are told otherwise.
// Some are also tried where nothing listens that we can see: the socket of a
// service that systemd starts at the first connection is its own.
var wellKnownSockets = []string{
	"/run/containerd/containerd.sock",
	"/run/containerd/containerd.sock.ttrpc",
	"/run/containerd/debug.sock",
	"/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
	"/run/docker.sock",
	"/run/docker/containerd/containerd.sock",
	"/run/docker/containerd/containerd.sock.ttrpc",
	"/run/docker/containerd/containerd-debug.sock",
	"/run/podman/podman.sock",
	"/run/buildkit/buildkitd.sock",
	"/run/nri/nri.sock",
	"/run/k0s/containerd.sock",
	"/run/k0s/containerd.sock.ttrpc",
	"/run/k3s/containerd/containerd.sock",
	"/run/k3s/containerd/containerd.sock.ttrpc",
	"/var/snap/microk8s/common/run/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock.ttrpc",
	"/var/lib/kubelet/device-plugins/kubelet.sock",
	"/var/lib/kubelet/pod-resources/kubelet.sock",
}

type socketName struct {
	pattern *regexp.Regexp
	kind    SocketKind
}

// socketNames tell the kind by the end of a path, wherever it is. They are made
// when they are needed: at the start they would cost every command its time.
var socketNames = sync.OnceValue(func() []socketName {
	return []socketName{
		{regexp.MustCompile(`^@/containerd-shim/`), SocketShim},
		{regexp.MustCompile(`^/.*/s/[0-9a-f]{64}$`), SocketShim},
		{regexp.MustCompile(`^/(.*/)?containerd\.sock$`), SocketContainerd},
		{regexp.MustCompile(`^/(.*/)?containerd\.sock\.ttrpc$`), SocketContainerdTTRPC},
		{regexp.MustCompile(`^/(.*/)?containerd/debug\.sock$`), SocketContainerdDebug},
		{regexp.MustCompile(`^/(.*/)?containerd-debug\.sock$`), SocketContainerdDebug},
		{regexp.MustCompile(`^/(.*/)?crio\.sock$`), SocketCRIO},
		{regexp.MustCompile(`^/(.*/)?cri-dockerd\.sock$`), SocketCRIDockerd},
		{regexp.MustCompile(`^/(.*/)?docker\.sock$`), SocketDocker},
		{regexp.MustCompile(`^/(.*/)?podman\.sock$`), SocketPodman},
		{regexp.MustCompile(`^/(.*/)?buildkitd\.sock$`), SocketBuildKit},
		{regexp.MustCompile(`^/(.*/)?nri\.sock$`), SocketNRI},
		{regexp.MustCompile(`^/(.*/)?kubelet\.sock$`), SocketKubelet},
	}
})

// runtimeProcesses are the programs whose listening sockets are looked for, by
// the name of the process, which Linux cuts to 15 bytes.
var runtimeProcesses = map[string]SocketKind{
	"containerd":      SocketContainerd,
	"containerd-shim": SocketShim,
	"crio":            SocketCRIO,
	"cri-dockerd":     SocketCRIDockerd,
	"dockerd":         SocketDocker,
	"podman":          SocketPodman,
	"buildkitd":       SocketBuildKit,
	"kubelet":         SocketKubelet,
}

// kindByName tells the kind of a path or an abstract name.
func kindByName(name string) (SocketKind, bool) {
	for _, known := range socketNames() {
		if known.pattern.MatchString(name) {
			return known.kind, true
		}
	}
	return SocketOther, false
}

// Listener is a process that has a listening socket open. The name is what the
// process calls itself.
type Listener struct {
	// PID is a number of our proc file system, Name the program's.
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// listening is a listening socket that may concern us, of one network namespace.
type listening struct {
	unixSocket
	netns  Fact[string] // net:[inode]
	owners []Listener
	kind   SocketKind
	ofNode bool // an owner is no container's
}

// runtimeProcess is what was read of a process under its handle.
type runtimeProcess struct {
	Listener
	kind   SocketKind
	inodes map[uint64]bool // of its sockets
	onNode bool            // its paths mean what they mean to us on the node
	ofNode bool            // or it is at least in no pid namespace of a container's
}

// surroundings is what /proc tells of listening sockets.
type surroundings struct {
	fs      procfs.FS
	sockets []listening
	owners  []runtimeProcess
	seen    map[string]bool // network namespaces
	mounts  []string        // mount namespaces of the node
	errs    []error
}

// listen returns the listening sockets that a container runtime owns, whose name
// is that of one, or which are named. The error is of what could not be read: the list may
// then lack sockets.
func listen(hostRoot string, named []string) ([]listening, error) {
	s := surroundings{fs: procfs.FS{Proc: procRoot(hostRoot)}, seen: map[string]bool{}}
	s.host()
	s.ourselves(hostRoot)
	s.processes()
	var list []listening
	for _, l := range s.sockets {
		if s.claim(&l) || slices.Contains(named, l.name) {
			list = append(list, l)
		}
	}
	return list, errors.Join(s.errs...)
}

// host reads the namespaces of process 1, the node's.
func (s *surroundings) host() {
	first, err := s.fs.Open(1)
	if err != nil {
		s.errs = append(s.errs, err)
		return
	}
	defer first.Close() //nolint:errcheck // opened for reading
	s.mountNamespace(first)
	sockets, err := readUnixSockets(first)
	if err != nil {
		s.errs = append(s.errs, err)
		return
	}
	// Who may not know which namespace it is can read its sockets all the same.
	netns := linkFact(first, "ns/net")
	id, _ := netns.Value()
	s.seen[id] = true
	for _, u := range sockets {
		s.sockets = append(s.sockets, listening{unixSocket: u, netns: netns})
	}
}

// ourselves helps out where process 1 may not be looked into: without a host
// root its paths are ours, and sockets that we see too are of our own network
// namespace.
func (s *surroundings) ourselves(hostRoot string) {
	self, err := s.fs.OpenSelf()
	if err != nil {
		return // not shown in this proc file system
	}
	defer self.Close() //nolint:errcheck // opened for reading
	if hostRoot == "" {
		s.mountNamespace(self)
	}
	sockets, err := readUnixSockets(self)
	if err != nil {
		return
	}
	for _, u := range sockets {
		if known := s.find(u); known != nil && known.netns.Known() == Unknown {
			known.netns = linkFact(self, "ns/net")
		}
	}
}

func (s *surroundings) mountNamespace(p *procfs.Process) {
	if link, err := p.Readlink("ns/mnt"); err == nil {
		s.mounts = append(s.mounts, link)
	}
}

// find returns a socket that was seen already. The inode is the machine's, of
// whatever network namespace.
func (s *surroundings) find(u unixSocket) *listening {
	for i := range s.sockets {
		if s.sockets[i].inode == u.inode && s.sockets[i].name == u.name {
			return &s.sockets[i]
		}
	}
	return nil
}

// network reads the sockets of a process's network namespace, once.
func (s *surroundings) network(p *procfs.Process) error {
	netns := linkFact(p, "ns/net")
	id, ok := netns.Value()
	if !ok {
		return netns.Cause()
	}
	if s.seen[id] {
		return nil
	}
	sockets, err := readUnixSockets(p)
	if err != nil {
		return err
	}
	s.seen[id] = true
	for _, u := range sockets {
		if known := s.find(u); known != nil {
			known.netns = netns
			continue
		}
		s.sockets = append(s.sockets, listening{unixSocket: u, netns: netns})
	}
	return nil
}

// readUnixSockets reads the listening sockets of a process's network namespace.
func readUnixSockets(p *procfs.Process) ([]unixSocket, error) {
	data, err := p.ReadFile("net/unix")
	if err != nil {
		return nil, err
	}
	list, err := parseUnixSockets(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("net/unix"), err)
	}
	return slices.DeleteFunc(list, func(u unixSocket) bool { return !u.listens() }), nil
}

func linkFact(p *procfs.Process, name string) Fact[string] {
	link, err := p.Readlink(name)
	if err != nil {
		return UnknownFact[string](err)
	}
	return KnownFact(link, p.Path(name))
}

// processes looks for the runtimes' processes. What may not be read of them is
// one error for all.
func (s *surroundings) processes() {
	pids, err := s.fs.Pids()
	if err != nil {
		s.errs = append(s.errs, err)
		return
	}
	var hidden int
	var cause error
	for _, pid := range pids {
		r, err := s.process(pid)
		switch {
		case err == nil && r != nil:
			s.owners = append(s.owners, *r)
		case errors.Is(err, procfs.ErrNoProcess), err == nil:
		default:
			hidden++
			cause = err
		}
	}
	if cause != nil {
		s.errs = append(s.errs, fmt.Errorf("the sockets of %d processes are found by their names only: %w", hidden, cause))
	}
}

// process reads the sockets of a process that has a runtime's name; it is nil
// for any other.
func (s *surroundings) process(pid int) (*runtimeProcess, error) {
	p, err := s.fs.Open(pid)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil // hidden by hidepid: not even its name can be read
		}
		return nil, err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	comm, err := p.ReadFile("comm")
	if err != nil {
		return nil, err
	}
	name := string(bytes.TrimSuffix(comm, []byte("\n")))
	kind, ok := runtimeProcesses[name]
	if !ok {
		return nil, nil
	}
	r := &runtimeProcess{Listener: Listener{PID: pid, Name: name}, kind: kind}
	err = s.read(r, p)
	// Of a process that ended meanwhile some reads fail with other errors.
	if dead := p.Alive(); errors.Is(dead, procfs.ErrNoProcess) {
		return nil, dead
	}
	return r, err
}

func (s *surroundings) read(r *runtimeProcess, p *procfs.Process) error {
	var err error
	if r.inodes, err = socketInodes(p); err != nil {
		return err
	}
	mounts, err := p.Readlink("ns/mnt")
	if err != nil {
		return err
	}
	r.onNode = slices.Contains(s.mounts, mounts)
	r.ofNode = r.onNode || s.inPIDs(p)
	return s.network(p)
}

// inPIDs tells whether a process is in the pid namespace of our proc file system,
// as services are that have a mount namespace of their own.
func (s *surroundings) inPIDs(p *procfs.Process) bool {
	status, err := p.ReadFile("status")
	if err != nil {
		return false
	}
	_, levels, err := parseLevels(status)
	return err == nil && levels == 1
}

// socketInodes reads the links fd/N that are socket:[inode].
func socketInodes(p *procfs.Process) (map[uint64]bool, error) {
	fds, err := p.ReadDir("fd")
	if err != nil {
		return nil, err
	}
	inodes := map[uint64]bool{}
	for _, fd := range fds {
		link, err := p.Readlink(path.Join("fd", fd))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if n, ok := socketInode(link); ok {
			inodes[n] = true
		}
	}
	return inodes, nil
}

func socketInode(link string) (inode uint64, ok bool) {
	digits, isSocket := strings.CutPrefix(link, "socket:[")
	digits, closed := strings.CutSuffix(digits, "]")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, isSocket && closed && err == nil
}

// claim fills in who has the socket open, and tells whether it concerns us: by
// its name; or by an owner whose paths mean the same as the node's.
func (s *surroundings) claim(l *listening) bool {
	kind, known := kindByName(l.name)
	for _, r := range s.owners {
		if !r.inodes[l.inode] {
			continue
		}
		l.owners = append(l.owners, r.Listener)
		l.ofNode = l.ofNode || r.ofNode
		if !known && (r.onNode || l.abstract()) {
			kind, known = r.kind, true
		}
	}
	l.kind = kind
	slices.SortFunc(l.owners, func(a, b Listener) int { return a.PID - b.PID })
	return known
}
