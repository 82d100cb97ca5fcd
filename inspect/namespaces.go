package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Namespaces are the namespaces of a container: InForce has one for each kind,
// in the order of their names. See namespaces(7). Where the container runs in a
// sandbox (gVisor, Kata), they are those of the sandbox's process on the host.
type Namespaces struct {
	Setting[NamespaceRequest, []NamespaceDeclared, []Namespace]
	// Lineage tells to which user namespace each belongs, and the parents of
	// those that have any.
	Lineage Fact[nsdiff.Lineage] `json:"lineage"`
}

// NamespaceRequest is what a CRI client asked for. The ipc and uts namespaces
// of a pod go with IPC and Network; the user namespace is a setting of its own.
type NamespaceRequest struct {
	Network NamespaceMode `json:"network"`
	PID     NamespaceMode `json:"pid"`
	IPC     NamespaceMode `json:"ipc"`
	// Target is the id of the container whose pid namespace was asked for.
	Target string `json:"target,omitempty"`
}

// NamespaceMode is the CRI's NamespaceMode.
type NamespaceMode string

// The modes.
const (
	NamespacePod       NamespaceMode = "pod"
	NamespaceContainer NamespaceMode = "container"
	NamespaceNode      NamespaceMode = "node"
	NamespaceTarget    NamespaceMode = "target"
)

// NamespaceDeclared is a namespace of an OCI runtime specification. A kind that
// it does not list is the runtime's own.
type NamespaceDeclared struct {
	Kind nsdiff.Kind `json:"kind"`
	// Path is of the namespace to join; empty for a new one.
	Path string `json:"path,omitempty"`
}

// Namespace is one namespace of a container's first process.
type Namespace struct {
	Kind nsdiff.Kind `json:"kind"`
	// ID is the namespace, from the link in /proc/PID/ns.
	ID Fact[nsdiff.Namespace] `json:"id"`
	nsdiff.Comparison
	// With are the other containers of the node that are known to be in it. It
	// is empty for the host's, in which most containers of a node are.
	With []Neighbor `json:"with"`
	// Expected says whose it should be, as was asked for.
	Expected Fact[nsdiff.Expectation] `json:"expected"`
	// Verdict says whether it is what was asked for, and Reason why not, or why
	// that is unknown or does not apply.
	Verdict nsdiff.Verdict `json:"verdict"`
	Reason  string         `json:"reason,omitempty"`
}

// Neighbor is a container that shares a namespace.
type Neighbor struct {
	// ID is the container's.
	ID string `json:"id"`
	// Name is the one of [Container.FullName].
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// readNamespaces fills in what the kernel tells of a process's namespaces, but
// for who shares them.
func (i *Inspector) readNamespaces(r *Report, f *listed, p *heldProcess) {
	if !i.options.Parts.has(PartNamespaces) {
		namespacesUnknown(r, errLeftOut)
		return
	}
	read := p.namespaces()
	set, ok := read.Value()
	if !ok {
		namespacesUnknown(r, read.Cause())
		return
	}
	f.namespaces = set
	r.Namespaces.InForce = KnownFact(namespacesOf(set, i.host(), p.Process), p.Path("ns"))
	lineage, err := nsdiff.ReadLineage(p.Process, set)
	if err != nil {
		r.Namespaces.Lineage = UnknownFact[nsdiff.Lineage](err)
		return
	}
	r.Namespaces.Lineage = KnownFact(lineage, "ioctl_nsfs(2) of "+p.Path("ns"))
}

func namespacesUnknown(r *Report, err error) {
	r.Namespaces.InForce = withoutProcess[[]Namespace](err)
	r.Namespaces.Lineage = withoutProcess[nsdiff.Lineage](err)
}

func namespacesOf(set nsdiff.Set, host nsdiff.Host, p *procfs.Process) []Namespace {
	var list []Namespace
	for _, k := range nsdiff.Kinds() {
		list = append(list, Namespace{
			Kind: k, ID: namespaceID(set, k, p), Comparison: host.Compare(set, k), With: []Neighbor{},
		})
	}
	return list
}

func namespaceID(set nsdiff.Set, k nsdiff.Kind, p *procfs.Process) Fact[nsdiff.Namespace] {
	id, err := set.Namespace(k)
	switch {
	case errors.Is(err, nsdiff.ErrAbsent):
		return AbsentFact[nsdiff.Namespace](err.Error())
	case err != nil:
		return UnknownFact[nsdiff.Namespace](err)
	}
	return KnownFact(id, p.Path("ns/"+k.String()))
}

// namespaceOptions is the CRI's NamespaceOption. Modes that are left out are 0,
// the pod's.
type namespaceOptions struct {
	Network       namespaceMode `json:"network"`
	PID           namespaceMode `json:"pid"`
	IPC           namespaceMode `json:"ipc"`
	TargetID      string        `json:"target_id"`
	UsernsOptions *struct {
		Mode namespaceMode `json:"mode"`
	} `json:"userns_options"`
}

// namespaceMode is the CRI's NamespaceMode.
type namespaceMode int32

const (
	modePod namespaceMode = iota
	modeContainer
	modeNode
	modeTarget
)

func (m namespaceMode) mode() NamespaceMode {
	switch m {
	case modePod:
		return NamespacePod
	case modeContainer:
		return NamespaceContainer
	case modeNode:
		return NamespaceNode
	case modeTarget:
		return NamespaceTarget
	}
	return NamespaceMode(fmt.Sprintf("mode %d", int32(m)))
}

// namespaces returns what was asked for; the pod's of everything when nothing
// was.
func (sc securityContext) namespaces() namespaceOptions {
	if sc.NamespaceOptions == nil {
		return namespaceOptions{}
	}
	return *sc.NamespaceOptions
}

// userNamespace tells whether a user namespace for the pod was asked for.
func (o namespaceOptions) userNamespace() bool {
	return o.UsernsOptions != nil && o.UsernsOptions.Mode == modePod
}

func askedNamespaces(sc securityContext) Fact[NamespaceRequest] {
	o := sc.namespaces()
	return requested(NamespaceRequest{Network: o.Network.mode(), PID: o.PID.mode(), IPC: o.IPC.mode(), Target: o.TargetID})
}

// declaredKinds are the kinds of namespace as OCI names them.
var declaredKinds = map[specs.LinuxNamespaceType]nsdiff.Kind{
	specs.CgroupNamespace: nsdiff.Cgroup, specs.IPCNamespace: nsdiff.IPC, specs.MountNamespace: nsdiff.Mnt,
	specs.NetworkNamespace: nsdiff.Net, specs.PIDNamespace: nsdiff.PID, specs.TimeNamespace: nsdiff.Time,
	specs.UserNamespace: nsdiff.User, specs.UTSNamespace: nsdiff.UTS,
}

func declaredNamespaces(s *spec) Fact[[]NamespaceDeclared] {
	list := []NamespaceDeclared{}
	if s.Linux == nil {
		return declared(list)
	}
	for _, n := range s.Linux.Namespaces {
		kind, ok := declaredKinds[n.Type]
		if !ok {
			return UnknownFact[[]NamespaceDeclared](fmt.Errorf("%s: namespace of type %q", specSource, n.Type))
		}
		list = append(list, NamespaceDeclared{Kind: kind, Path: n.Path})
	}
	slices.SortFunc(list, func(a, b NamespaceDeclared) int { return int(a.Kind) - int(b.Kind) })
	return declared(list)
}

// declaredAs says what a specification makes of a kind of namespace.
func declaredAs(list []NamespaceDeclared, k nsdiff.Kind) string {
	i := slices.IndexFunc(list, func(n NamespaceDeclared) bool { return n.Kind == k })
	switch {
	case i < 0:
		return namespaceRuntimes
	case list[i].Path != "":
		return list[i].Path
	}
	return namespaceNew
}

// How Difference calls a namespace that is declared, besides the path of one.
const (
	namespaceRuntimes = "the runtime's"
	namespaceNew      = "a new one"
)

// namespacesAsRequested compares what was asked for with what was declared. A
// container joins by path what its sandbox got, the host's too: only its
// sandbox's specification tells these apart.
func namespacesAsRequested(r *Report) []Difference {
	q, d, ok := both(r.Namespaces.Requested, r.Namespaces.Declared)
	if !ok {
		return nil
	}
	var list []Difference
	for _, n := range []struct {
		kind nsdiff.Kind
		mode NamespaceMode
	}{{nsdiff.IPC, q.IPC}, {nsdiff.Net, q.Network}, {nsdiff.PID, q.PID}} {
		have := declaredAs(d, n.kind)
		fits := true
		switch n.mode {
		case NamespaceNode:
			fits = have != namespaceNew
		case NamespaceContainer:
			fits = have == namespaceNew
		case NamespacePod, NamespaceTarget:
			fits = have != namespaceRuntimes && (have != namespaceNew || r.Kind == KindSandbox)
		}
		if r.Kind == KindSandbox && n.mode == NamespaceContainer {
			fits = have != namespaceRuntimes
		}
		if !fits {
			list = append(list, Difference{
				Setting: "namespaces." + n.kind.String(), From: levelRequested, To: levelDeclared, Want: string(n.mode), Have: have,
			})
		}
	}
	return list
}

// namespacesAsDeclared compares what was declared with what is in force: a new
// namespace is not the host's, and the runtime's is. The user namespace is a
// setting of its own.
func namespacesAsDeclared(r *Report) []Difference {
	d, have, ok := both(r.Namespaces.Declared, r.Namespaces.InForce)
	if !ok {
		return nil
	}
	var list []Difference
	for _, n := range have {
		want := declaredAs(d, n.Kind)
		diff := Difference{Setting: "namespaces." + n.Kind.String(), From: levelDeclared, To: levelInForce, Want: want, Have: "the host's"}
		switch {
		case n.Kind == nsdiff.User, n.Kind != n.Kind.Type():
		case want == namespaceNew && n.Host.Relation == nsdiff.Same:
			list = append(list, diff)
		case want == namespaceRuntimes && n.Host.Relation == nsdiff.Other:
			diff.Have = "another than the host's"
			list = append(list, diff)
		}
	}
	return list
}

// gaps are the unknown facts of the namespaces in force.
func (n Namespaces) gaps() []Gap {
	var g gaps
	inForce, _ := n.InForce.Value()
	for _, ns := range inForce {
		name := "namespaces.inForce." + ns.Kind.String()
		switch {
		case ns.ID.Known() == Unknown:
			add(&g, name+".id", ns.ID)
		case ns.Host.Relation == nsdiff.Unknown:
			g = append(g, Gap{Fact: name + ".host", Cause: errors.New(ns.Host.Cause)})
		case ns.Verdict == nsdiff.Unproven:
			g = append(g, Gap{Fact: name + ".verdict", Cause: errors.New(cmp.Or(ns.Reason, "not compared with the other containers"))})
		}
		if ns.ID.Known() == Present && ns.Initial.Relation == nsdiff.Unknown {
			g = append(g, Gap{Fact: name + ".initial", Cause: errors.New(ns.Initial.Cause)})
		}
	}
	add(&g, "namespaces.lineage", n.Lineage)
	lineage, ok := n.Lineage.Value()
	if !ok {
		return g
	}
	for _, ns := range inForce {
		if _, err := lineage.Owner(ns.Kind); ns.ID.Known() == Present && isUnknown(err) {
			g = append(g, Gap{Fact: "namespaces.lineage.owners." + ns.Kind.String(), Cause: err})
		}
	}
	return g
}

func isUnknown(err error) bool { return err != nil && !errors.Is(err, nsdiff.ErrAbsent) }
