package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// hostClass is a part of the node's file system that is worth a rule.
type hostClass struct {
	id, title string
	// folders are those whose content makes the class; the last class has none
	// and takes what no other does.
	folders []string
	// written is the severity for root of the node where it can be written, read
	// where it can only be read.
	written, read Severity
	meaning       string
	refs          []Reference
}

func hostClasses() []hostClass {
	return []hostClass{
		{
			id: "host-root", title: "the node's root folder is mounted", folders: []string{"/"}, written: Critical, read: High,
			meaning: "The whole file system of the node is in the container, runtime sockets and keys included.",
			refs:    k8s("5.2.12"),
		},
		{
			id: "host-runtime", title: "a container runtime's folder is mounted", written: Critical, read: High,
			folders: []string{
				"/run/containerd", "/var/lib/containerd", "/etc/containerd", "/opt/containerd", "/run/docker", "/var/lib/docker", "/etc/docker",
				"/run/crio", "/etc/crio", "/var/lib/containers", "/run/containers", "/run/runc", "/run/podman", "/run/k3s", "/var/lib/rancher",
				"/run/nri", "/opt/nri", "/etc/nri", "/etc/cdi", "/run/cdi", "/run/buildkit", "/var/lib/buildkit", "/run/k0s",
			},
			meaning: "It holds the root file systems, the specifications and the plugins of all containers of the node, and mostly the " +
				"runtime's sockets, to which a read-only mount keeps nobody from connecting.",
			refs: slices.Concat(k8s("5.2.12"), attack("T1610")),
		},
		{
			id: "host-kubernetes", title: "a folder of the kubelet or the control plane is mounted", written: Critical, read: High,
			folders: []string{"/var/lib/kubelet", "/etc/kubernetes", "/etc/cni", "/opt/cni", "/var/lib/cni", "/var/lib/etcd", "/usr/libexec/kubernetes", "/var/lib/k0s", "/var/snap/microk8s"},
			meaning: "It holds the keys of the node, the secrets and tokens of all its pods, manifests that the kubelet starts, or network " +
				"plugins that the runtime runs as root.",
			refs: slices.Concat(k8s("5.2.12"), attack("T1552")),
		},
		{
			id: "host-system", title: "a folder with the node's accounts or settings is mounted", written: Critical, read: High,
			folders: []string{"/etc", "/root", "/var/spool/cron", "/var/spool/anacron", "/run/systemd", "/run/dbus"},
			meaning: "Who writes there runs programs as root on the node: cron, systemd's units, the keys of SSH. Who reads there as root has " +
				"the password hashes and keys of the node, and who connects to the bus in /run/dbus as root has systemd start a program. Certificates, the time zone and the like, read-only, count as host-path.",
			refs: slices.Concat(k8s("5.2.12"), attack("T1053.003", "T1543.002", "T1098.004", "T1552")),
		},
		{
			id: "host-programs", title: "a folder with the node's programs is mounted", written: Critical, read: Low,
			folders: []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/opt"},
			meaning: "Who writes there changes a program, a library or the kernel that the node runs as root.",
			refs:    k8s("5.2.12"),
		},
		{
			id: "host-kernel", title: "the node's /proc, /sys or /dev is mounted", folders: []string{"/proc", "/sys", "/dev"}, written: Critical, read: Medium,
			meaning: "It shows the node's kernel past what the runtime hides and makes read-only: settings that name programs for the kernel " +
				"to run, other processes, devices.",
			refs: slices.Concat(k8s("5.2.12"), attack("T1003.007")),
		},
		{
			id: "host-logs", title: "the node's logs are mounted", folders: []string{"/var/log"}, written: High, read: Low,
			meaning: "The kubelet serves files of /var/log as root, and follows links there: who can write there reads any file of the node " +
				"with the right to read logs.",
			refs: k8s("5.2.12"),
		},
		{
			id: "host-path", title: "a folder or file of the node is mounted", written: Medium, read: Low,
			meaning: "It is shared with the node and with whatever else uses it there, and stays when the container is gone. What harm it " +
				"does depends on what it is for.",
			refs: k8s("5.2.12"),
		},
	}
}

func mountRules() []Rule {
	var list []Rule
	for _, class := range hostClasses() {
		list = append(list, Rule{
			ID: class.id, Title: class.title, Severity: class.written,
			Meaning:    class.meaning + " The severity follows from whether it can be written and whether the container is root of the node.",
			Remedy:     "Remove the hostPath volume, or mount less of it with readOnly: true.",
			References: slices.Concat(baseline("hostPathVolumes"), docker("5.6"), attack("T1611"), class.refs),
			judge:      class.judge,
		})
	}
	return append(list,
		Rule{
			ID: "mount-propagation", Title: "mounts in the container appear on the node", Severity: High,
			Meaning: "A mount of the node's is in a shared peer group: what is mounted below it in the container is mounted on the node. With " +
				"CAP_SYS_ADMIN and mount(2) it is high.",
			Remedy:     "volumeMounts.mountPropagation: None or HostToContainer.",
			References: slices.Concat(docker("5.20"), attack("T1611"), man("mount_namespaces(7)")),
			judge:      judgePropagation,
		},
		Rule{
			ID: "readonly-mount-not-whole", Title: "a read-only mount has writable mounts below", Severity: Medium,
			Meaning: "A mount was made read-only and what is mounted below it was not: those places can be written although the volume is " +
				"called read-only.",
			Remedy:     "volumeMounts.recursiveReadOnly: Enabled.",
			References: man("mount_setattr(2)"),
			judge:      judgeNotWhole,
		},
	)
}

// hostMount is a mount of something of the node's that is not the pod's own.
type hostMount struct {
	point, path string
	readonly    bool
	fact        string
	source      string
}

func (m hostMount) evidence() Evidence {
	access := "writable"
	if m.readonly {
		access = "read-only"
	}
	return Evidence{Fact: m.fact, Value: fmt.Sprintf("the node's %s, %s", m.path, access), Source: m.source}
}

// hostMounts are the mounts of the node's, and a claim that is unsure where there
// may be others.
type hostMounts struct {
	list []hostMount
	none claim
}

func (c *container) hostMounts() ([]hostMount, claim) {
	if c.mounted == nil {
		list, none := c.findHostMounts()
		c.mounted = &hostMounts{list, none}
	}
	return c.mounted.list, c.mounted.none
}

func (c *container) findHostMounts() ([]hostMount, claim) {
	mounts, ok := c.Mounts.Value()
	if !ok {
		return nil, unsureOf("mounts", causeOf(c.Mounts))
	}
	if c.guest() {
		return c.declaredHostMounts(mounts)
	}
	none := isTrue(false, Evidence{Fact: "mounts.inForce", Value: fmt.Sprintf("none of %d mounts", len(mounts.InForce)), Source: c.Mounts.Source()})
	ipc := c.namespace(nsdiff.IPC)
	var list []hostMount
	for _, m := range mounts.InForce {
		fact := "mounts.inForce." + m.Point
		host, ok := m.Host.Value()
		switch {
		case m.Hidden:
		case !ok && (m.Kind == "" || m.Kind == inspect.MountHost || m.Kind == inspect.MountRoot):
			none = either(none, unsureOf(fact, causeOf(m.Host)))
		case m.Kind == "":
			none = either(none, unsureOf(fact, errors.New("what it is for is not known")))
		case m.Kind == inspect.MountRoot && slices.Contains(host.Paths, "/"):
			// Not of an image: ctr run --rootfs /, podman run --rootfs /.
			list = append(list, hostMount{point: m.Point, path: "/", readonly: m.Readonly, fact: fact, source: c.Mounts.Source()})
		case m.Kind == inspect.MountDevice && below(m.Point, "/dev"): // see block-device and device-node
		case m.Kind != inspect.MountHost && m.Kind != inspect.MountDevice || c.ownFolder(m.Point, host.Paths) || showsIPC(m, host) && ipc.truth == yes:
		case showsIPC(m, host) && ipc.truth == unsure:
			none = either(none, ipc)
		default:
			list = append(list, hostMount{point: m.Point, path: nameOnHost(m, host), readonly: m.Readonly, fact: fact, source: c.Mounts.Source()})
		}
	}
	return list, none
}

// nameOnHost is the path on the node; of a deleted file there is none any more.
func nameOnHost(m inspect.ContainerMount, host inspect.HostView) string {
	if len(host.Paths) == 0 {
		return m.Root
	}
	// The kubelet's own mount of a volume with a subPath is not where it is from.
	n := slices.IndexFunc(host.Paths, func(p string) bool { return !strings.Contains(p, "/volume-subpaths/") })
	return host.Paths[max(n, 0)]
}

// ownFolder takes what a runtime keeps for this container alone: Docker binds
// its hosts file from there, or that of the container whose network it has.
func (c *container) ownFolder(point string, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, "/"+c.ID+"/") || isNetworkFile(point, p) })
}

// isNetworkFile takes Docker's containers/ID/hosts on /etc/hosts, and its like.
func isNetworkFile(point, path string) bool {
	const digits = 64
	folder, file := filepath.Split(path)
	all, id := filepath.Split(strings.TrimSuffix(folder, "/"))
	return slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, point) && point == "/etc/"+file &&
		strings.HasSuffix(all, "/containers/") && len(id) == digits && strings.Trim(id, "0123456789abcdef") == ""
}

// showsIPC takes the node's /dev/shm and /dev/mqueue. A runtime mounts them for a
// container in the node's ipc namespace, and they add nothing to it: see host-ipc.
func showsIPC(m inspect.ContainerMount, host inspect.HostView) bool {
	return (m.Point == "/dev/shm" || m.Point == "/dev/mqueue") && slices.Contains(host.Paths, m.Point)
}

// declaredHostMounts are those of a guest's specification.
func (c *container) declaredHostMounts(mounts inspect.Mounts) ([]hostMount, claim) {
	declared, ok := mounts.Declared.Value()
	if !ok {
		return nil, unsureOf("mounts.declared", causeOf(mounts.Declared))
	}
	var list []hostMount
	for _, m := range declared {
		if !m.IsBind() || c.ownFolder(m.Destination, []string{m.Source}) || c.podsOwn(m.Source) || c.inGVisor() && m.Destination == "/dev/shm" {
			continue // at /dev/shm gVisor has memory of its own, whatever was declared
		}
		list = append(list, hostMount{
			point: m.Destination, path: m.Source, readonly: slices.Contains(m.Options, "ro"),
			fact: "mounts.declared." + m.Destination, source: mounts.Declared.Source(),
		})
	}
	return list, isTrue(false, Evidence{Fact: "mounts.declared", Value: fmt.Sprintf("none of %d mounts", len(declared)), Source: mounts.Declared.Source()})
}

// podsOwn takes the kubelet's folder of the pod and the runtime's of its sandbox.
func (c *container) podsOwn(source string) bool {
	return c.Pod != nil && (c.Pod.UID != "" && strings.Contains(source, "/pods/"+c.Pod.UID+"/") ||
		c.Pod.SandboxID != "" && (strings.Contains(source, "/sandboxes/"+c.Pod.SandboxID+"/") ||
			strings.Contains(source, "-containers/"+c.Pod.SandboxID+"/userdata/")))
}

// below tells whether path is folder or in it.
func below(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(folder, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// harmless are files and folders below /etc that many programs are given to read,
// and that hold no secret of the node.
var harmless = []string{
	"/etc/localtime", "/etc/timezone", "/etc/ssl/certs", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/ca-certificates", "/etc/os-release",
	"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group",
}

// class returns the class of a mount.
func (m hostMount) class() string {
	if m.readonly && slices.ContainsFunc(harmless, func(p string) bool { return below(m.path, p) }) {
		return "host-path"
	}
	return classOf(m.path)
}

// classOf returns the class of a path: the one that it is in, or else the first
// of which it has a folder in it.
func classOf(path string) string {
	if below(path, "/var/run") { // a link to /run
		path = strings.TrimPrefix(path, "/var")
	}
	classes := hostClasses()
	if path == "/" || path == "" {
		return "host-root"
	}
	inside, length := "", 0
	for _, class := range classes[1:] {
		for _, folder := range class.folders {
			if below(path, folder) && len(folder) > length {
				inside, length = class.id, len(folder)
			}
		}
	}
	if inside != "" {
		return inside
	}
	for _, class := range classes[1:] {
		if slices.ContainsFunc(class.folders, func(folder string) bool { return below(folder, path) }) {
			return class.id
		}
	}
	return classes[len(classes)-1].id
}

func (class hostClass) judge(c *container) outcome {
	mounts, result := c.hostMounts()
	root := c.hostRoot()
	severity := class.written
	if result.truth != unsure {
		severity = Info
	}
	for _, m := range mounts {
		if m.class() != class.id || len(class.folders) == 0 && c.leadsToSocket(m) {
			continue
		}
		result = either(result, isTrue(true, m.evidence()))
		severity = max(severity, class.severity(m, root))
	}
	if result.truth == yes {
		result = result.with(root.evidence...)
	}
	return found(result, severity)
}

// leadsToSocket tells a mount that runtime-socket is about.
func (c *container) leadsToSocket(m hostMount) bool {
	return slices.ContainsFunc(c.snapshot.Sockets, func(s inspect.Socket) bool {
		return slices.ContainsFunc(c.ways(s), func(w inspect.SocketWay) bool { return w.Mount != nil && w.Mount.Point == m.point })
	})
}

// severity is that of one mount. Who is not root of the node has what the modes of
// the files leave.
func (class hostClass) severity(m hostMount, root claim) Severity {
	severity := class.written
	if m.readonly {
		severity = class.read
	}
	if root.truth == no {
		severity = min(severity, Medium)
		if m.readonly {
			severity = Low
		}
	}
	return severity
}

// propagates claims that a mount of the container's is shared with the node's.
func (c *container) propagates() claim {
	mounts, ok := c.Mounts.Value()
	if !ok {
		return unsureOf("mounts", causeOf(c.Mounts))
	}
	result := isTrue(false, Evidence{Fact: "mounts.inForce", Value: fmt.Sprintf("none of %d mounts", len(mounts.InForce)), Source: c.Mounts.Source()})
	for _, m := range mounts.InForce {
		if m.Hidden || m.Shared == 0 {
			continue
		}
		name := "mounts.inForce." + m.Point + ".host"
		shared := known(name, m.Host, func(h inspect.HostView) bool { return len(h.Peers) > 0 })
		if host, ok := m.Host.Value(); ok && len(host.Peers) > 0 {
			shared = shared.saying("shared with the node's " + strings.Join(host.Peers, " "))
		}
		result = either(result, shared)
	}
	return result
}

func judgePropagation(c *container) outcome {
	if c.guest() {
		return notHere("the guest's mounts are not the sandbox's")
	}
	severity := High
	if all(c.capability(caps.SysAdmin), c.mayMount()).truth == no {
		severity = Medium
	}
	return found(c.propagates(), severity)
}

func judgeNotWhole(c *container) outcome {
	if c.guest() {
		return notHere("the guest's mounts are not the sandbox's")
	}
	mounts, ok := c.Mounts.Value()
	if !ok {
		return found(unsureOf("mounts", causeOf(c.Mounts)), Medium)
	}
	claims := []claim{isTrue(false, Evidence{Fact: "mounts.inForce", Value: fmt.Sprintf("none of %d mounts", len(mounts.InForce)), Source: c.Mounts.Source()})}
	severity := Low
	for _, m := range mounts.InForce {
		if m.Hidden || len(m.WritableBelow) == 0 {
			continue
		}
		claims = append(claims, isTrue(true, Evidence{
			Fact: "mounts.inForce." + m.Point + ".writableBelow", Value: strings.Join(m.WritableBelow, " "), Source: c.Mounts.Source(),
		}))
		if m.Kind == inspect.MountHost || m.Kind == "" {
			severity = Medium
		}
	}
	return found(either(claims...), severity)
}
