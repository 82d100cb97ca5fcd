package cgroup

import (
	"strings"
)

// Kind says what a cgroup stands for.
type Kind string

// The kinds of cgroup, from the process up.
const (
	// KindGroup is any cgroup without a name that this package knows.
	KindGroup Kind = "group"
	// KindContainer is a container's own.
	KindContainer Kind = "container"
	// KindOuter is that of another container, in which this one is nested: that of a node which is a container itself, as in
	// kind, seen from the machine.
	KindOuter Kind = "outer"
	// KindPod is a Kubernetes pod's.
	KindPod Kind = "pod"
	// KindQoS is that of all burstable or all best-effort pods; guaranteed pods have none.
	KindQoS Kind = "qos"
	// KindSlice is one of systemd's slices, or the kubelet's kubepods in either spelling.
	KindSlice Kind = "slice"
	// KindRoot is the topmost visible cgroup where that is not the machine's root: that of a cgroup namespace or of a partial
	// mount.
	KindRoot Kind = "root"
	// KindHidden stands for all cgroups that cannot be seen.
	KindHidden Kind = "hidden"
	// KindMachine is the root of the hierarchy: the whole machine.
	KindMachine Kind = "machine"
)

// Driver says how cgroups are named.
type Driver string

// The drivers. The zero Driver is unknown.
const (
	// Cgroupfs is plain folders: /kubepods/burstable/podUID/ID.
	Cgroupfs Driver = "cgroupfs"
	// Systemd is slices and scopes: kubepods-burstable-podUID.slice/cri-containerd-ID.scope.
	Systemd Driver = "systemd"
)

// Place is what the names in a cgroup's path tell. A name is a hint: only an id that the runtime gave makes it more.
type Place struct {
	// Path is the path it was told from.
	Path string `json:"path"`
	// Container is the container's id, empty when no name looks like one.
	Container string `json:"container,omitempty"`
	// Inner is the part of the path below the container's own cgroup: "/init.scope". It is empty when the process is in the
	// container's own.
	Inner string `json:"inner,omitempty"`
	// Runtime is containerd, docker, cri-o, podman or nerdctl, as the name tells. It is empty for a bare id, which containerd's
	// CRI and others share.
	Runtime string `json:"runtime,omitempty"`
	// Driver is how the container's cgroup is named, else the pod's.
	Driver Driver `json:"driver,omitempty"`
	// Pod is the UID, with dashes, of the Kubernetes pod that the container is in.
	Pod string `json:"pod,omitempty"`
	// QoS is guaranteed, burstable or besteffort, in a pod.
	QoS string `json:"qos,omitempty"`
}

// Own tells whether the path is the own cgroup of a container, rather than one below it or none of a container.
func (p Place) Own() bool { return p.Container != "" && p.Inner == "" }

// Locate tells what the names in path say. Where containers are nested, the innermost counts, unless container is the id of
// one: then only that one counts, whatever its id looks like.
func Locate(path, container string) Place {
	place := Place{Path: path}
	names := split(path)
	at := -1
	var parent, pod name
	for i, text := range names {
		n := describe(text, parent)
		if container != "" && text == container {
			n.kind, n.container, n.driver = KindContainer, container, Cgroupfs
		}
		if n.kind == KindPod {
			pod = n
		}
		if n.kind == KindContainer && (container == "" || n.container == container) {
			at = i
			place.Container, place.Runtime, place.Driver = n.container, n.runtime, n.driver
			place.Pod, place.QoS = pod.pod, pod.qos
		}
		parent = n
	}
	if at < 0 {
		place.Driver, place.Pod, place.QoS = pod.driver, pod.pod, pod.qos
	} else if at < len(names)-1 {
		place.Inner = "/" + strings.Join(names[at+1:], "/")
	}
	return place
}

// kinds returns what each component of a path stands for.
func kinds(names []string) []Kind {
	list := make([]Kind, len(names))
	var parent name
	for i, text := range names {
		parent = describe(text, parent)
		list[i] = parent.kind
	}
	return list
}

// name is what one component of a path tells.
type name struct {
	kind      Kind
	text      string
	container string
	runtime   string
	driver    Driver
	pod       string
	qos       string
}

// describe tells what a component stands for, below its parent.
func describe(text string, parent name) name {
	n := name{kind: KindGroup, text: text}
	if slice, ok := strings.CutSuffix(text, ".slice"); ok {
		return describeSlice(n, slice)
	}
	if id, runtime, ok := containerID(text); ok {
		n.kind, n.container, n.runtime, n.driver = KindContainer, id, runtime, Cgroupfs
		if strings.HasSuffix(text, ".scope") {
			n.driver = Systemd
		}
		if runtime == "" && parent.text == "docker" {
			n.runtime = "docker"
		}
		return n
	}
	uid, isPod := strings.CutPrefix(text, "pod")
	switch {
	case text == "kubepods":
		n.kind = KindSlice
	case parent.text == "kubepods" && (text == "burstable" || text == "besteffort"):
		n.kind, n.qos = KindQoS, text
	case isPod && isUID(uid) && parent.kind == KindQoS:
		n.kind, n.pod, n.qos, n.driver = KindPod, uid, parent.qos, Cgroupfs
	case isPod && isUID(uid) && parent.text == "kubepods":
		n.kind, n.pod, n.qos, n.driver = KindPod, uid, "guaranteed", Cgroupfs
	}
	return n
}

// describeSlice tells a pod's slice, kubepods-burstable-podUID, and a class's, kubepods-burstable, from others. The kubelet puts
// the names of its own slices before: kubelet-kubepods-… in kind.
func describeSlice(n name, slice string) name {
	n.kind = KindSlice
	_, rest, ok := strings.Cut("-"+slice, "-kubepods-")
	if !ok {
		return n
	}
	qos, uid, _ := strings.Cut("-"+rest, "-pod")
	qos = strings.TrimPrefix(qos, "-")
	uid = strings.ReplaceAll(uid, "_", "-")
	known := qos == "burstable" || qos == "besteffort"
	switch {
	case isUID(uid) && (known || qos == ""):
		n.kind, n.pod, n.qos, n.driver = KindPod, uid, qos, Systemd
		if qos == "" {
			n.qos = "guaranteed"
		}
	case known && uid == "":
		n.kind, n.qos = KindQoS, qos
	}
	return n
}

// runtimes are the words that runtimes put before the id.
var runtimes = map[string]string{
	"cri-containerd": "containerd", "crio": "cri-o", "docker": "docker", "libpod": "podman", "libpod-payload": "podman",
	"nerdctl": "nerdctl",
}

// containerID returns the id in a component such as cri-containerd-ID.scope, crio-ID or a bare ID. Ids have 64 hexadecimal digits.
func containerID(text string) (id, runtime string, ok bool) {
	const digits = 64
	text = strings.TrimSuffix(text, ".scope")
	if len(text) < digits {
		return "", "", false
	}
	id = text[len(text)-digits:]
	if strings.Trim(id, "0123456789abcdef") != "" {
		return "", "", false
	}
	prefix, dashed := strings.CutSuffix(text[:len(text)-digits], "-")
	if prefix == "" && !dashed {
		return id, "", true
	}
	runtime, ok = runtimes[prefix]
	return id, runtime, ok
}

// isUID takes the forms that pods' UIDs have: with dashes from the API server, 32 digits for static pods.
func isUID(text string) bool {
	return len(text) >= 32 && strings.Trim(text, "0123456789abcdef-") == ""
}

// split returns the components of an absolute path.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
