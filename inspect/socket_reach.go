package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// SocketContainer is a running container in which a socket can be reached, or
// of which that is unknown.
type SocketContainer struct {
	// ID is the container's, and Namespace containerd's: two of them may have
	// one id.
	ID string `json:"id"`
	// Namespace is empty for other runtimes, and in older snapshots.
	Namespace string `json:"namespace,omitempty"`
	// Name is namespace/pod/name, see [Container.FullName].
	Name string `json:"name"`
	// Ways are those to the socket in the container; they are unknown when its
	// mounts or its network namespace could not be read.
	Ways Fact[[]SocketWay] `json:"ways"`
}

// SocketWay is a way to a socket in a container.
type SocketWay struct {
	// Path is the socket's in the container, whatever it is called there; the
	// name of an abstract one.
	Path string `json:"path"`
	// Mount is the mount through which it is seen: the socket itself or a
	// folder above it. Nil for an abstract one, which is reached through the
	// network namespace.
	//
	// A read-only mount keeps nobody from connecting.
	Mount *Mount `json:"mount,omitempty"`
}

// socketSet are the sockets of which it is asked who reaches them.
type socketSet struct {
	list []*foundSocket
	// devices are the file systems that they are on.
	devices map[string]bool
}

func socketsOf(list []*foundSocket) *socketSet {
	s := &socketSet{list: list, devices: map[string]bool{}}
	for _, f := range list {
		for _, fact := range f.at {
			if at, ok := fact.Value(); ok {
				s.devices[at.device] = true
			}
		}
	}
	return s
}

// reaches are the ways to those sockets that a container reaches, or of which that
// is unknown.
type reaches map[*foundSocket]Fact[[]SocketWay]

// reachable fills in the containers of each socket.
func (i *Inspector) reachable(sockets *socketSet, containers []listed) {
	running := slices.DeleteFunc(slices.Clone(containers), func(c listed) bool {
		return c.Kind != KindContainer || c.ended()
	})
	all := make([]reaches, len(running))
	parallel(len(running), func(n int) { all[n] = i.reachesOf(&running[n], sockets) })
	for _, s := range sockets.list {
		list := []SocketContainer{}
		for n, r := range all {
			if ways, ok := r[s]; ok {
				list = append(list, SocketContainer{ID: running[n].ID, Namespace: running[n].Namespace, Name: running[n].FullName(), Ways: ways})
			}
		}
		s.Containers = KnownFact(list, "mounts and network namespaces of the containers' first processes")
	}
}

// sharedFile is a file or folder of the node's that a guest's specification has
// mounted. Whether the guest can connect to a socket by it is the sandbox's
// decision: gVisor refuses unless it is told otherwise.
type sharedFile struct {
	DeclaredMount
	id  fileID
	err error // why id is not known
}

// sharedWith are the files that a guest shares with the node. The mounts of its
// process are the sandbox's: what the guest has is in the specification only.
func (i *Inspector) sharedWith(f *listed, host hostMounts) Fact[[]sharedFile] {
	spec, err := f.declared()
	declared := spec.declaredMounts(err)
	mounts, ok := declared.Value()
	if !ok {
		return UnknownFact[[]sharedFile](declared.Cause())
	}
	list := []sharedFile{}
	for _, m := range mounts {
		if !m.IsBind() {
			continue
		}
		id, err := i.fileOf(m.Source, host)
		if !errors.Is(err, fs.ErrNotExist) {
			list = append(list, sharedFile{m, id, err})
		}
	}
	return KnownFact(list, declared.Source())
}

// confineGuest adds what decides of a guest.
func (i *Inspector) confineGuest(f *listed, c *confines, host func() hostMounts) {
	if f.guest() {
		shared := i.sharedWith(f, host())
		c.shared = &shared
	}
}

// fileOf tells which file a path of the node's leads to.
func (i *Inspector) fileOf(path string, host hostMounts) (fileID, error) {
	if m, ok := host.at(path); ok && mayWait(m) {
		return fileID{}, fmt.Errorf("%s: on %s, which could keep us waiting", path, m.Type)
	}
	t, err := walk(i.options.HostRoot, path)
	defer t.close()
	switch {
	case err != nil && !errors.Is(err, ErrNotSocket):
		return fileID{}, err
	case t.socket != nil:
		return t.socket.id, nil
	}
	return t.folders[len(t.folders)-1].id, nil
}

// waysOfGuest are unknown where the guest shares the socket or a folder above it;
// otherwise there are none. The sandbox's own abstract sockets are not the node's.
func (s *foundSocket) waysOfGuest(shared Fact[[]sharedFile]) Fact[[]SocketWay] {
	list, ok := shared.Value()
	switch {
	case s.Abstract:
		return KnownFact([]SocketWay{}, "the guest's kernel has abstract sockets of its own")
	case !ok:
		return UnknownFact[[]SocketWay](shared.Cause())
	}
	for _, file := range list {
		if file.err != nil {
			return UnknownFact[[]SocketWay](file.err)
		}
		if s.isIn(file.id) {
			return UnknownFact[[]SocketWay](fmt.Errorf("%s of the node is declared at %s: whether the sandbox lets its guest connect is not known",
				file.Source, file.Destination))
		}
	}
	if len(s.trails) == 0 && len(list) > 0 {
		return UnknownFact[[]SocketWay](s.File.Cause())
	}
	return KnownFact([]SocketWay{}, shared.Source())
}

// isIn tells whether a file is the socket or a folder above it.
func (s *foundSocket) isIn(id fileID) bool {
	return slices.ContainsFunc(s.trails, func(t *trail) bool {
		return t.socket.id == id || slices.ContainsFunc(t.folders, func(p *place) bool { return p.id == id })
	})
}

// reachesOf tells which sockets a container reaches; none when no process of it
// runs.
func (i *Inspector) reachesOf(f *listed, sockets *socketSet) reaches {
	if f.reaches != nil {
		return f.reaches
	}
	p, err := i.open(f)
	if err != nil {
		return sockets.unknown(err)
	}
	if p == nil {
		return nil
	}
	defer p.Close() //nolint:errcheck // opened for reading
	r := i.reachedFrom(f, i.hold(p), sockets, i.hostMounts)
	if err := p.Alive(); err != nil {
		return sockets.unknown(err)
	}
	return r
}

// confines is what of a container's first process decides which sockets it
// reaches.
type confines struct {
	mounts Fact[mountTable]
	netns  Fact[string]
	// mounted are the indices of the mounts of file systems that a socket is on.
	mounted []int
	// shared is what a guest shares with the node; nil for other containers.
	shared *Fact[[]sharedFile]
}

// reachedFrom tells which sockets a container reaches from its first process.
func (i *Inspector) reachedFrom(f *listed, p *heldProcess, sockets *socketSet, host func() hostMounts) reaches {
	mounts, err := p.table()
	fact := KnownFact(mounts, p.Path("mountinfo"))
	if err != nil {
		fact = UnknownFact[mountTable](err)
	}
	c := sockets.confines(fact, linkFact(p.Process, "ns/net"))
	i.confineGuest(f, &c, host)
	return sockets.reachedBy(c)
}

// unknown is of a container of which nothing is known.
func (s *socketSet) unknown(cause error) reaches {
	return s.reachedBy(s.confines(UnknownFact[mountTable](cause), UnknownFact[string](cause)))
}

func (s *socketSet) reachedBy(c confines) reaches {
	r := reaches{}
	for _, f := range s.list {
		ways := f.ways(c)
		if found, ok := ways.Value(); !ok || len(found) > 0 {
			r[f] = ways
		}
	}
	return r
}

func (s *socketSet) confines(mounts Fact[mountTable], netns Fact[string]) confines {
	c := confines{mounts: mounts, netns: netns}
	table, _ := mounts.Value()
	for n := range table.list {
		if s.devices[table.list[n].Device] {
			c.mounted = append(c.mounted, n)
		}
	}
	return c
}

// ways are those in which a container reaches the socket, none when it does not.
func (s *foundSocket) ways(c confines) Fact[[]SocketWay] {
	if c.shared != nil {
		return s.waysOfGuest(*c.shared)
	}
	if s.Abstract {
		return s.waysByNetwork(c)
	}
	mounts, ok := c.mounts.Value()
	if !ok {
		return UnknownFact[[]SocketWay](c.mounts.Cause())
	}
	ways := []SocketWay{}
	var unknown error
	for _, fact := range s.at {
		at, ok := fact.Value()
		if !ok {
			unknown = fact.Cause()
			continue
		}
		for _, w := range mounts.ways(at, c.mounted) {
			if !slices.ContainsFunc(ways, func(other SocketWay) bool { return other.Path == w.Path }) {
				ways = append(ways, w)
			}
		}
	}
	if len(ways) == 0 && unknown != nil {
		return UnknownFact[[]SocketWay](unknown)
	}
	return KnownFact(ways, c.mounts.Source())
}

func (s *foundSocket) waysByNetwork(c confines) Fact[[]SocketWay] {
	host, ok := s.netns.Value()
	if !ok {
		return UnknownFact[[]SocketWay](fmt.Errorf("in which network namespace it listens: %w", s.netns.Cause()))
	}
	own, ok := c.netns.Value()
	if !ok {
		return UnknownFact[[]SocketWay](c.netns.Cause())
	}
	ways := []SocketWay{}
	if own == host {
		ways = append(ways, SocketWay{Path: s.Path})
	}
	return KnownFact(ways, c.netns.Source())
}

// ways are the mounts of the file at a place of a file system, or of a folder
// above it, where no other mount hides it. Mounted are the mounts to look at.
func (t mountTable) ways(at location, mounted []int) []SocketWay {
	var ways []SocketWay
	for _, n := range mounted {
		if t.list[n].Device != at.device || !isBelow(at.path, t.list[n].Root) {
			continue
		}
		m := t.list[n]
		inside := path.Join(m.Point, strings.TrimPrefix(at.path, m.Root))
		if top, ok := t.at(inside); ok && top.ID == m.ID {
			ways = append(ways, SocketWay{Path: inside, Mount: &m})
		}
	}
	return ways
}
