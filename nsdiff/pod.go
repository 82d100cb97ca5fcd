package nsdiff

import (
	"errors"
	"slices"
	"strings"
)

// Node is what is needed to tell expected sharing from surprises. It is plain data.
type Node struct {
	Host Host `json:"host"`
	// CgroupV2 tells that the node has control groups of version 2 alone. On version 1, and where both are mounted, runtimes
	// give containers no cgroup namespace.
	CgroupV2 bool  `json:"cgroupV2"`
	Pods     []Pod `json:"pods"`
}

// Pod is what a pod asked for, with its containers. A container that is in no pod is a Pod of its own.
type Pod struct {
	Name          string `json:"name"`
	HostNetwork   bool   `json:"hostNetwork"`
	HostPID       bool   `json:"hostPID"`
	HostIPC       bool   `json:"hostIPC"`
	SharedPID     bool   `json:"sharedPID"`     // shareProcessNamespace: true
	UserNamespace bool   `json:"userNamespace"` // hostUsers: false

	Containers []Container `json:"containers"`
}

// Container is a container of a pod, with the namespaces of its first process.
type Container struct {
	// ID tells it from all other containers of the node.
	ID string `json:"id"`
	// Sandbox is the pod's own container, pause, from which the others get what the pod shares.
	Sandbox    bool `json:"sandbox"`
	Privileged bool `json:"privileged"`
	// PIDTarget is the ID of the container whose pid namespace was asked for, as kubectl debug --target does; else empty.
	PIDTarget string `json:"pidTarget,omitempty"`
	// Expected says whose a namespace of a kind should be where the rules of [Node.Sharing] do not hold: a container that was
	// not made through the CRI.
	Expected   map[Kind]Expectation `json:"expected,omitempty"`
	Namespaces Set                  `json:"namespaces"`
}

// Expectation says whose a namespace should be.
type Expectation uint8

// The zero value is the host's.
const (
	// ExpectHost: the host's.
	ExpectHost Expectation = iota
	// ExpectPod: the pod's, the sandbox's, shared with the pod's other containers and nobody else.
	ExpectPod
	// ExpectOwn: the container's own.
	ExpectOwn
	// ExpectJoined: the one that the container was told to join, and is in, whosever that is.
	ExpectJoined
)

var expectationNames = []string{"host", "pod", "own", "joined"}

// String returns "host", "pod", "own" or "joined".
func (e Expectation) String() string { return enumName("Expectation", expectationNames, uint8(e)) }

// MarshalText returns the text of [Expectation.String].
func (e Expectation) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText takes a text of [Expectation.String]. The error wraps [ErrSyntax].
func (e *Expectation) UnmarshalText(text []byte) error {
	return parseEnum("expectation", expectationNames, text, (*uint8)(e))
}

// Verdict says whether a namespace is what was expected.
type Verdict uint8

// The zero value is unproven.
const (
	// Unproven: what would prove it could not be read.
	Unproven Verdict = iota
	// NotApplicable: this kernel has no such namespaces, or the process has none yet.
	NotApplicable
	// AsExpected: it is what the pod asked for.
	AsExpected
	// Surprise: it is not.
	Surprise
)

var verdictNames = []string{"unknown", "absent", "expected", "surprise"}

// String returns "unknown", "absent", "expected" or "surprise".
func (v Verdict) String() string { return enumName("Verdict", verdictNames, uint8(v)) }

// MarshalText returns the text of [Verdict.String].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText takes a text of [Verdict.String]. The error wraps [ErrSyntax].
func (v *Verdict) UnmarshalText(text []byte) error {
	return parseEnum("verdict", verdictNames, text, (*uint8)(v))
}

// Sharing says of one namespace of one container whose it is and whether that is a surprise.
type Sharing struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Kind      Kind   `json:"kind"`
	Comparison
	// With are the IDs of all other containers that are known to be in the namespace, in ascending order. It is empty for the
	// host's, which most containers of a node share: see [Groups].
	With     []string    `json:"with"`
	Expected Expectation `json:"expected"`
	Verdict  Verdict     `json:"verdict"`
	// Reason is what the surprise is, or why the verdict is unknown or absent.
	Reason string `json:"reason,omitempty"`
}

// Sharing returns whose each namespace of each container is, in the order of pods, containers and kinds.
//
// What is expected is what containerd's CRI plugin makes of a pod: net, ipc and uts are the pod's, or the host's with HostIPC,
// and with HostNetwork for net and uts; pid is the container's own, the pod's with SharedPID, the host's with HostPID; mnt is
// the container's own; cgroup is, on a node with CgroupV2, for containers that are neither privileged nor a sandbox, and the
// host's otherwise; user is the pod's with UserNamespace and else the host's; time is the host's.
//
// A container whose namespaces are unknown gets unknown verdicts and does not touch those of the others: they can share a
// namespace with it that nobody can tell.
func (n Node) Sharing() []Sharing {
	all := n.residents()
	var found []Sharing
	for i := range n.Pods {
		p := &n.Pods[i]
		for j := range p.Containers {
			for _, k := range Kinds() {
				found = append(found, n.sharing(p, &p.Containers[j], k, all))
			}
		}
	}
	return found
}

// residents is who is where, made once for all containers of a node.
type residents struct {
	// at are the containers in a namespace, in ascending order.
	at map[place][]string
	// of are all containers by their IDs.
	of map[string]resident
}

// place is a namespace at one of the links in /proc/PID/ns.
type place struct {
	kind Kind
	ns   Namespace
}

type resident struct {
	*Container
	pod *Pod
}

func (n Node) residents() residents {
	all := residents{at: map[place][]string{}, of: map[string]resident{}}
	for i := range n.Pods {
		p := &n.Pods[i]
		for j := range p.Containers {
			c := &p.Containers[j]
			all.of[c.ID] = resident{c, p}
			for _, k := range Kinds() {
				if ns, err := c.Namespaces.Namespace(k); err == nil {
					all.at[place{k, ns}] = append(all.at[place{k, ns}], c.ID)
				}
			}
		}
	}
	for _, ids := range all.at {
		slices.Sort(ids)
	}
	return all
}

func (n Node) sharing(p *Pod, c *Container, k Kind, all residents) Sharing {
	s := Sharing{
		Pod: p.Name, Container: c.ID, Kind: k,
		Comparison: n.Host.Compare(c.Namespaces, k),
		With:       []string{},
		Expected:   n.expect(p, c, k),
	}
	ns, err := c.Namespaces.Namespace(k)
	if err != nil {
		s.Reason = err.Error()
		if errors.Is(err, ErrAbsent) {
			s.Verdict = NotApplicable
		}
		return s
	}
	if s.Host.Relation != Same {
		s.With = without(all.at[place{k, ns}], c.ID)
	}
	s.Verdict, s.Reason = s.judge(p, c, ns, all)
	return s
}

func without(ids []string, id string) []string {
	return slices.DeleteFunc(append([]string{}, ids...), func(other string) bool { return other == id })
}

func (n Node) expect(p *Pod, c *Container, k Kind) Expectation {
	if e, ok := c.Expected[k.Type()]; ok {
		return e
	}
	if c.PIDTarget != "" && k.Type() == PID {
		return ExpectPod
	}
	switch k.Type() {
	case Net, UTS:
		return hostOr(p.HostNetwork, ExpectPod)
	case IPC:
		return hostOr(p.HostIPC, ExpectPod)
	case PID:
		if p.SharedPID {
			return hostOr(p.HostPID, ExpectPod)
		}
		return hostOr(p.HostPID, ExpectOwn)
	case Mnt:
		return ExpectOwn
	case Cgroup:
		return hostOr(!n.CgroupV2 || c.Privileged || c.Sandbox, ExpectOwn)
	case User:
		return hostOr(!p.UserNamespace, ExpectPod)
	default: // Time
		return ExpectHost
	}
}

func hostOr(host bool, other Expectation) Expectation {
	if host {
		return ExpectHost
	}
	return other
}

// judge compares what was found with what is expected. What is known to be wrong comes before what is unknown.
func (s *Sharing) judge(p *Pod, c *Container, ns Namespace, all residents) (Verdict, string) {
	host := s.Host.Relation
	if s.Expected == ExpectHost && host == Other {
		return Surprise, "not the host's"
	}
	if s.Expected == ExpectOwn || s.Expected == ExpectPod {
		if host == Same {
			return Surprise, "the host's"
		}
		if others := s.strangers(p, all); len(others) > 0 {
			return Surprise, "shared with " + strings.Join(others, ", ")
		}
	}
	if s.Expected == ExpectPod {
		if id, pods := podNamespace(p, c, s.Kind); pods != ns {
			return Surprise, "not that of " + id
		}
	}
	if host == Unknown {
		return Unproven, s.Host.Cause
	}
	return AsExpected, ""
}

// strangers returns the containers in the namespace that should not be there. One that was told to join it should.
func (s *Sharing) strangers(p *Pod, all residents) []string {
	var list []string
	for _, id := range s.With {
		other := all.of[id]
		e, told := other.Expected[s.Kind.Type()]
		joined := told && e == ExpectJoined
		invited := s.Kind.Type() == PID && other.PIDTarget == s.Container
		if !joined && (other.pod != p || s.Expected != ExpectPod && !invited) {
			list = append(list, id)
		}
	}
	return list
}

// podNamespace returns the namespace that a container shares with its pod, and the container it was taken from: the one that was
// asked for, else the sandbox where its namespace is known, and otherwise the first container whose is.
func podNamespace(p *Pod, sharing *Container, k Kind) (string, Namespace) {
	for i := range p.Containers {
		c := &p.Containers[i]
		if ns, err := c.Namespaces.Namespace(k); err == nil && c.ID == sharing.PIDTarget && k.Type() == PID {
			return c.ID, ns
		}
	}
	for _, sandbox := range []bool{true, false} {
		for i := range p.Containers {
			c := &p.Containers[i]
			if ns, err := c.Namespaces.Namespace(k); err == nil && c.Sandbox == sandbox {
				return c.ID, ns
			}
		}
	}
	return "", Namespace{}
}
