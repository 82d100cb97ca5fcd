package inspect

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// share completes the namespaces of reports: with whom each is shared, and
// whether that was asked for. Who shares is known only from all containers of
// the node.
func (c *collector) share(reports []Report, chosen []*listed, all []listed) {
	c.readOthers(chosen, all)
	n := c.sharing(chosen, all)
	for r, f := range chosen {
		inForce, ok := reports[r].Namespaces.InForce.Value()
		if !ok {
			continue
		}
		why := n.basis(f)
		for k, s := range n.found[f] {
			inForce[k].judge(s, n.neighborhood, why)
		}
		if reports[r].Guest() {
			notTheGuests(inForce)
		}
	}
}

// sharing is what follows from the namespaces of all containers.
type sharing struct {
	neighborhood
	from  map[*listed]namespaceIDs
	found map[*listed][]nsdiff.Sharing
}

// namespaceIDs are namespaces in the order of [nsdiff.Kinds], zero where there is
// none or it is not known.
type namespaceIDs [nsdiff.UTS]nsdiff.Namespace

func idsOf(set *nsdiff.Set) (ids namespaceIDs) {
	for n := range ids {
		ids[n], _ = set.Namespace(nsdiff.Kind(n + 1))
	}
	return ids
}

// sharing returns what followed before, unless one of the containers that were
// read since has another namespace than it had.
func (c *collector) sharing(read []*listed, all []listed) *sharing {
	moved := func(f *listed) bool { return c.shared.from[f] != idsOf(&f.namespaces) }
	if c.shared != nil && !slices.ContainsFunc(read, moved) {
		return c.shared
	}
	c.shared = &sharing{neighborhood: c.neighborhood(all), from: map[*listed]namespaceIDs{}, found: map[*listed][]nsdiff.Sharing{}}
	for n := range all {
		c.shared.from[&all[n]] = idsOf(&all[n].namespaces)
	}
	for _, s := range c.shared.Sharing() {
		f := c.shared.names[s.Container]
		c.shared.found[f] = append(c.shared.found[f], s)
	}
	return c.shared
}

// readOthers reads the namespaces of the containers that no report was made of
// so far. What cannot be read is unknown, and shared with nobody.
func (i *Inspector) readOthers(chosen []*listed, all []listed) {
	for _, f := range chosen {
		f.looked = true
	}
	parallel(len(all), func(n int) {
		f := &all[n]
		if f.looked {
			return
		}
		f.looked = true
		if f.request == nil {
			_, _ = f.declared() // tells what is expected of it; an error is told in its own report
		}
		p, _ := i.open(f)
		if p == nil {
			return
		}
		defer p.Close() //nolint:errcheck // opened for reading
		if set, err := nsdiff.Read(p); err == nil {
			f.namespaces = set
		}
	})
}

// judge takes over what was found of a namespace.
func (n *Namespace) judge(s nsdiff.Sharing, all neighborhood, why Fact[struct{}]) {
	for _, name := range s.With {
		other := all.names[name]
		n.With = append(n.With, Neighbor{ID: other.ID, Name: other.FullName(), Kind: other.Kind})
	}
	n.Verdict, n.Reason = s.Verdict, s.Reason
	err := why.Cause()
	if s.Kind.Type() == nsdiff.Cgroup {
		err = errors.Join(err, all.cgroupErr)
	}
	if err == nil {
		n.Expected = KnownFact(s.Expected, why.Source())
		return
	}
	n.Expected = UnknownFact[nsdiff.Expectation](err)
	if s.Verdict != nsdiff.NotApplicable {
		n.Verdict, n.Reason = nsdiff.Unproven, "what was asked for is unknown: "+err.Error()
		if errors.Is(err, ErrKernelOnly) && all.cgroupErr == nil {
			n.Reason = ErrKernelOnly.Error()
		}
	}
}

// notTheGuests withdraws the verdicts of a container that does not run on the
// host's kernel.
func notTheGuests(list []Namespace) {
	const reason = "the process is the sandbox's: its namespaces are not the guest's"
	for k := range list {
		list[k].Expected = AbsentFact[nsdiff.Expectation](reason)
		list[k].Verdict, list[k].Reason = nsdiff.NotApplicable, reason
	}
}

// neighborhood is all containers of the node, by names that tell them apart.
type neighborhood struct {
	nsdiff.Node
	names map[string]*listed
	// sandboxes are the pods' own containers, by podID.
	sandboxes map[string]*listed
	node      host
	// cgroupErr is why it is not known in which version cgroups are mounted.
	cgroupErr error
}

func (i *Inspector) neighborhood(all []listed) neighborhood {
	n := neighborhood{names: map[string]*listed{}, sandboxes: map[string]*listed{}, node: hostAt(i.options.HostRoot)}
	n.Host = i.host()
	mode := readCgroupMode(hostAt(i.options.HostRoot))
	v, _ := mode.Value()
	n.CgroupV2, n.cgroupErr = v == cgroup.Unified, mode.Cause()
	for c := range all {
		if f := &all[c]; f.Kind == KindSandbox {
			n.sandboxes[podID(f)] = f
		}
	}
	pods := map[string]int{}
	ids := map[string]string{}
	for c := range all {
		ids[all[c].Namespace+"/"+all[c].ID] = n.name(&all[c])
	}
	for c := range all {
		f := &all[c]
		at, ok := pods[podID(f)]
		if !ok {
			at = len(n.Pods)
			pods[podID(f)] = at
			n.Pods = append(n.Pods, n.pod(f))
		}
		n.Pods[at].Containers = append(n.Pods[at].Containers, n.container(f, ids))
	}
	return n
}

// podID tells pods apart. A container that is in none is one of its own.
func podID(f *listed) string {
	switch {
	case f.Kind == KindSandbox, f.Pod == nil, f.Pod.SandboxID == "":
		return f.Namespace + "/" + f.ID
	}
	return f.Namespace + "/" + f.Pod.SandboxID
}

// name returns a name for a container that no other one has.
func (n *neighborhood) name(f *listed) string {
	name := f.FullName()
	if f.Kind == KindSandbox {
		name += " (sandbox)"
	}
	if n.names[name] != nil {
		name = fmt.Sprintf("%s (%s/%s)", name, f.Namespace, f.ID)
	}
	n.names[name] = f
	f.unique = name
	return name
}

// asked returns the request that tells the namespaces of a container's pod:
// its sandbox's, or else its own. It is nil when there is none.
func (n *neighborhood) asked(f *listed) *request {
	if sandbox := n.sandboxes[podID(f)]; sandbox != nil && sandbox.request != nil {
		return sandbox.request
	}
	return f.request
}

func (n *neighborhood) pod(f *listed) nsdiff.Pod {
	p := nsdiff.Pod{Name: podID(f)}
	q := n.asked(f)
	if q == nil {
		return p
	}
	o := q.security().namespaces()
	p.HostNetwork = o.Network == modeNode
	p.HostPID = o.PID == modeNode
	p.HostIPC = o.IPC == modeNode
	p.SharedPID = o.PID == modePod
	p.UserNamespace = o.userNamespace()
	return p
}

func (n *neighborhood) container(f *listed, ids map[string]string) nsdiff.Container {
	c := nsdiff.Container{ID: f.unique, Sandbox: f.Kind == KindSandbox, Namespaces: f.namespaces}
	switch {
	case f.request != nil:
		sc := f.request.security()
		o := sc.namespaces()
		c.Privileged = sc.Privileged
		if o.PID == modeTarget {
			c.PIDTarget = ids[f.Namespace+"/"+o.TargetID]
		}
	case n.asked(f) == nil && f.spec != nil:
		c.Expected = n.expectDeclared(f)
	}
	return c
}

// expectDeclared is what a container's own specification asks for.
func (n *neighborhood) expectDeclared(f *listed) map[nsdiff.Kind]nsdiff.Expectation {
	list, ok := declaredNamespaces(f.spec).Value()
	if !ok {
		return nil
	}
	expected := map[nsdiff.Kind]nsdiff.Expectation{}
	for _, k := range declaredKinds {
		switch want := declaredAs(list, k); want {
		case namespaceRuntimes:
			expected[k] = nsdiff.ExpectHost
		case namespaceNew:
			expected[k] = nsdiff.ExpectOwn
			if f.Kind == KindSandbox && k != nsdiff.Mnt && k != nsdiff.Cgroup {
				expected[k] = nsdiff.ExpectPod
			}
		default:
			expected[k] = n.expectJoined(f, k, want)
		}
	}
	return expected
}

// expectJoined is what a path of a namespace asks for. One of the node's is the
// host's by every name: Docker has a file for its network namespace. Outside of pods
// the path of another container's is the one way to share it.
func (n *neighborhood) expectJoined(f *listed, k nsdiff.Kind, path string) nsdiff.Expectation {
	own, err := f.namespaces.Namespace(k)
	switch {
	case err != nil || !n.node.isNamespace(path, own):
		return nsdiff.ExpectPod
	case n.Host.Compare(f.namespaces, k).Host.Relation == nsdiff.Same:
		return nsdiff.ExpectHost
	case f.Pod == nil:
		return nsdiff.ExpectJoined
	}
	return nsdiff.ExpectPod
}

// isNamespace tells whether a path of the node's leads to a namespace: a link in
// /proc/PID/ns, or a file that it is mounted on. See namespaces(7).
func (h host) isNamespace(path string, ns nsdiff.Namespace) bool {
	file := filepath.Join(filepath.Dir(h.sys), path)
	if below, ok := strings.CutPrefix(path, "/proc/"); ok {
		file = h.Path(below)
	}
	if below, ok := strings.CutPrefix(path, "/var/run/"); ok { // an absolute link everywhere
		file = filepath.Join(filepath.Dir(h.sys), "run", below)
	}
	var kind unix.Statfs_t
	var st unix.Stat_t
	return unix.Statfs(file, &kind) == nil && int64(kind.Type) == unix.NSFS_MAGIC && //nolint:unconvert // 32 bits wide on some architectures
		unix.Stat(file, &st) == nil && st.Ino == ns.Inode
}

// basis says where it is known from what was asked for of a container, or why it
// is not.
func (n *neighborhood) basis(f *listed) Fact[struct{}] {
	switch _, err := f.declared(); {
	case f.requestErr != nil:
		return UnknownFact[struct{}](f.requestErr)
	case n.asked(f) != nil:
		return KnownFact(struct{}{}, requestSource)
	case err != nil:
		return UnknownFact[struct{}](err)
	}
	if _, ok := declaredNamespaces(f.spec).Value(); !ok {
		return UnknownFact[struct{}](declaredNamespaces(f.spec).Cause())
	}
	return KnownFact(struct{}{}, specSource)
}
