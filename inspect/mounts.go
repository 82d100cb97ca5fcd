package inspect

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Mounts are the mounts of a container: those of its first process.
type Mounts struct {
	// Declared are those of the OCI runtime specification. Its paths may be
	// links, which the kernel shows resolved.
	Declared Fact[[]DeclaredMount] `json:"declared"`
	// InForce are the mounts in the kernel's order.
	InForce []ContainerMount `json:"inForce"`
	// Masked are the paths that runtimes hide, with others that the
	// specification names, in the order of their names.
	Masked []PathCheck `json:"masked"`
	// ReadonlyPaths are the paths that runtimes make read-only, in the same
	// way.
	ReadonlyPaths []PathCheck `json:"readonlyPaths"`
	Devices       Devices     `json:"devices"`
}

// DeclaredMount is a mount of an OCI runtime specification.
type DeclaredMount struct {
	// Destination is the place in the container, Source what is mounted there:
	// a path of the host for a bind mount. Type is a file system, or bind.
	// Passwords in Options are "<redacted>" unless Options.ShowSecrets of the
	// inspector is set.
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

// IsBind tells a mount of a file or folder of the node's.
func (m DeclaredMount) IsBind() bool {
	bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
	return bind && strings.HasPrefix(m.Source, "/")
}

// ContainerMount is a mount in force.
type ContainerMount struct {
	Mount
	// Readonly: see [Mount.Readonly].
	Readonly bool `json:"readonly"`
	// Hidden tells that something was mounted over it, here or above.
	Hidden bool `json:"hidden,omitempty"`
	// Kind is empty when Host is unknown and would tell it.
	Kind MountKind `json:"kind,omitempty"`
	// Volume is the kind of a pod's volume: empty-dir, projected, configmap,
	// csi.
	Volume string `json:"volume,omitempty"`
	// Host is how the host sees the same files.
	Host Fact[HostView] `json:"host"`
	// WritableBelow are the places below a read-only bind mount that can be
	// written all the same, as other mounts are there.
	WritableBelow []string `json:"writableBelow,omitempty"`
}

// HostView is a mount from the host's side.
type HostView struct {
	// Paths are where the host sees what is mounted, from its mountinfo: the
	// mount of the same file system with the longest root first. There is none
	// for a file system that is the container's own.
	Paths []string `json:"paths"`
	// Deleted tells that the file or folder has no name any more.
	Deleted bool `json:"deleted,omitempty"`
	// Peers are the host's mounts in the same peer group: what is mounted below
	// one appears below the other. Masters are those from which the container
	// receives.
	Peers   []string `json:"peers,omitempty"`
	Masters []string `json:"masters,omitempty"`
}

// MountKind is what a mount is for.
type MountKind string

// The kinds of mount.
const (
	// MountRoot is the container's root file system.
	MountRoot MountKind = "root"
	// MountKernel is a view of the kernel on its usual place: proc on /proc,
	// sysfs, cgroups.
	MountKernel MountKind = "kernel"
	// MountMask hides a path of the kernel's.
	MountMask MountKind = "mask"
	// MountProtected makes a path of the kernel's read-only.
	MountProtected MountKind = "protected"
	// MountDevice is a device node of the host's, as in a user namespace, where
	// none can be made.
	MountDevice MountKind = "device"
	// MountKubelet is a file the kubelet gives every container: /etc/hosts, the
	// termination log.
	MountKubelet MountKind = "kubelet"
	// MountSandbox is of the pod's sandbox: hostname, resolv.conf, /dev/shm.
	MountSandbox MountKind = "sandbox"
	// MountVolume is a volume of the pod's, below the kubelet's folder of it.
	MountVolume MountKind = "volume"
	// MountHost is any other file or folder of the host's.
	MountHost MountKind = "host"
	// MountOwn is a file system that the host does not see.
	MountOwn MountKind = "own"
)

// hostMounts are the mounts of the node's first process.
type hostMounts struct {
	mountTable
	byDevice map[string][]int // indices of list
	peers    map[int][]string // by the peer group, the places
	source   string
	err      error
}

// hostMounts reads what everyone may read. In a pid namespace that is not the
// runtime's, process 1 is not the host's.
func (i *Inspector) hostMounts() hostMounts {
	if i.distrust != nil {
		return hostMounts{err: i.distrust}
	}
	p, err := i.fs.Open(1)
	if err != nil {
		return hostMounts{err: err}
	}
	defer p.Close() //nolint:errcheck // opened for reading
	table, err := readMounts(p)
	return newHostMounts(table, p.Path("mountinfo"), err)
}

func newHostMounts(table mountTable, source string, err error) hostMounts {
	h := hostMounts{mountTable: table, source: source, err: err, byDevice: map[string][]int{}, peers: map[int][]string{}}
	for n, m := range table.list {
		h.byDevice[m.Device] = append(h.byDevice[m.Device], n)
		if m.Shared != 0 {
			h.peers[m.Shared] = append(h.peers[m.Shared], m.Point)
		}
	}
	return h
}

// view tells how the host sees a mount.
func (h hostMounts) view(m Mount) Fact[HostView] {
	if h.err != nil {
		return UnknownFact[HostView](h.err)
	}
	root, deleted := strings.CutSuffix(m.Root, "//deleted")
	v := HostView{Paths: h.paths(m.Device, root), Deleted: deleted}
	if m.Shared != 0 {
		v.Peers = h.peers[m.Shared]
	}
	if m.Master != 0 {
		v.Masters = h.peers[m.Master]
	}
	return KnownFact(v, h.source)
}

// paths returns where the host sees a folder or file of a file system, leaving
// out what other mounts of the host hide.
func (h hostMounts) paths(device, root string) []string {
	type candidate struct {
		path   string
		common int
	}
	var found []candidate
	for _, n := range h.byDevice[device] {
		m := h.list[n]
		if !isBelow(root, m.Root) {
			continue
		}
		p := path.Join(m.Point, strings.TrimPrefix(root, m.Root))
		if top, ok := h.at(p); ok && top.ID == m.ID {
			found = append(found, candidate{p, len(m.Root)})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.common, a.common), cmp.Compare(a.path, b.path))
	})
	paths := []string{}
	for _, c := range found {
		paths = append(paths, c.path)
	}
	return slices.Compact(paths)
}

// sandboxesOf returns what may be the id of the container's sandbox: where no
// runtime tells which container of the pod it is, each of them.
func sandboxesOf(f *listed, all []listed) []string {
	switch {
	case f.Pod == nil:
		return nil
	case f.Pod.SandboxID != "" || f.Pod.UID == "":
		return []string{f.Pod.SandboxID}
	}
	var ids []string
	for n := range all {
		if pod := all[n].Pod; pod != nil && pod.UID == f.Pod.UID {
			ids = append(ids, all[n].ID)
		}
	}
	return ids
}

// mountsOf makes the report of a container's mounts from its first process.
func (s *scan) mountsOf(f *listed, p *heldProcess) Fact[Mounts] {
	table, err := p.table()
	if err != nil {
		return UnknownFact[Mounts](err)
	}
	spec, specErr := f.declared()
	masked, readonly := spec.protectedPaths()
	m := Mounts{
		Declared:      spec.declaredMounts(specErr),
		Masked:        checkPaths(table, defaultMasked, masked, specErr, s.exists),
		ReadonlyPaths: checkPaths(table, defaultReadonly, readonly, specErr, s.exists),
		Devices:       Devices{Declared: spec.declaredDevices(specErr), InForce: AbsentFact[[]Device](notGuests)},
	}
	if !f.guest() {
		m.Devices.InForce = devices(p.Process, table)
	}
	guards, pod := guardPoints(m), podPlaces{f.Pod, sandboxesOf(f, s.all)}
	m.InForce = make([]ContainerMount, 0, len(table.list))
	for _, line := range table.list {
		m.InForce = append(m.InForce, containerMount(table, line, s.leaks.host, guards, pod))
	}
	return KnownFact(m, p.Path("mountinfo"))
}

// containerMount tells what a mount is. guards are the places of mounts that
// protect a path.
func containerMount(table mountTable, m Mount, host hostMounts, guards map[string]MountKind, pod podPlaces) ContainerMount {
	c := ContainerMount{Mount: m, Readonly: m.Readonly(), Hidden: !table.visible(m), Host: host.view(m)}
	c.Kind, c.Volume = mountKind(m, c.Host, guards, pod)
	if bind := m.Root != "/" || c.Kind == MountHost || c.Kind == MountVolume; bind && c.Readonly && !c.Hidden {
		c.WritableBelow = table.writableBelow(m.Point)
	}
	return c
}

func mountKind(m Mount, host Fact[HostView], guards map[string]MountKind, pod podPlaces) (kind MountKind, volume string) {
	switch guard, guarded := guards[m.Point]; {
	case m.Point == "/":
		return MountRoot, ""
	case guarded:
		return guard, ""
	case isKernelView(m):
		return MountKernel, ""
	}
	v, ok := host.Value()
	switch {
	case !ok:
		return "", ""
	case len(v.Paths) == 0 && !v.Deleted:
		return MountOwn, ""
	case m.Type == "devtmpfs" && m.Root != "/":
		return MountDevice, ""
	}
	return pod.kind(v.Paths)
}

// isKernelView takes the usual places only: the host's proc on another one is a
// mount of the host's.
func isKernelView(m Mount) bool {
	switch m.Type {
	case "proc":
		return m.Point == "/proc" && m.Root == "/"
	case "sysfs":
		return m.Point == "/sys" && m.Root == "/"
	case "cgroup", "cgroup2":
		return isBelow(m.Point, "/sys/fs/cgroup")
	}
	return false
}

// podPlaces tell a pod's own files by their place on the host.
type podPlaces struct {
	pod *Pod
	// sandboxes are the ids that the pod's sandbox may have.
	sandboxes []string
}

// kind tells what is mounted from the paths that the host has for it. A volume with
// a subPath has a place of its own in the pod's folder, also when it is a folder of
// the host: then another path leads to it, which is not the pod's.
func (p podPlaces) kind(paths []string) (kind MountKind, volume string) {
	const subPath = "subpath"
	bySubPath, elsewhere := false, false
	for _, path := range paths {
		switch kind, volume := p.mount(path); {
		case volume == subPath:
			bySubPath = true
		case kind != "":
			return kind, volume
		default:
			elsewhere = true
		}
	}
	if bySubPath && !elsewhere {
		return MountVolume, subPath
	}
	return MountHost, ""
}

// mount tells the kubelet's folder of the pod, pods/UID, and the runtime's of its
// sandbox: sandboxes/ID, and overlay-containers/ID/userdata of CRI-O.
func (p podPlaces) mount(hostPath string) (kind MountKind, volume string) {
	if p.pod == nil {
		return "", ""
	}
	for _, id := range p.sandboxes {
		if id != "" && (strings.Contains(hostPath, "/sandboxes/"+id+"/") || strings.Contains(hostPath, "-containers/"+id+"/userdata/")) {
			return MountSandbox, ""
		}
	}
	_, below, ok := strings.Cut(hostPath, "/pods/"+p.pod.UID+"/")
	if !ok || p.pod.UID == "" {
		return "", ""
	}
	folder, rest, _ := strings.Cut(below, "/")
	switch folder {
	case "volumes":
		plugin, _, _ := strings.Cut(rest, "/")
		return MountVolume, strings.TrimPrefix(plugin, "kubernetes.io~")
	case "volume-subpaths":
		return MountVolume, "subpath"
	}
	return MountKubelet, ""
}

// writableBelow returns the places below a folder that can be written.
func (t mountTable) writableBelow(folder string) []string {
	var places []string
	for _, m := range t.list {
		if m.Point != folder && isBelow(m.Point, folder) && !m.Readonly() && t.visible(m) {
			places = append(places, m.Point)
		}
	}
	return places
}
