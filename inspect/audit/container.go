package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// node is what rules about the node look at.
type node struct {
	*inspect.Snapshot

	// containers are those of the snapshot that were looked at, by their places.
	containers []*container
	// leading are the rules of which one that is critical leads to the node, once
	// they were asked for.
	leading []Rule
}

func newNode(s *inspect.Snapshot) *node {
	return &node{Snapshot: s, containers: make([]*container, len(s.Containers))}
}

// container returns the one at a place of the snapshot.
func (n *node) container(place int) *container {
	if n.containers[place] == nil {
		n.containers[place] = &container{Report: leftOut(&n.Containers[place]), snapshot: n.Snapshot, node: n}
	}
	return n.containers[place]
}

// container is what rules about a container look at.
type container struct {
	*inspect.Report
	snapshot *inspect.Snapshot
	node     *node

	// made are claims that many rules ask for, once they were made.
	made map[claimKey]claim
	// mounted is what hostMounts found, once it was asked for.
	mounted *hostMounts
}

// claimKey names a claim about a container by what it is about.
type claimKey struct {
	name string
	set  caps.Set
}

// once makes a claim the first time that it is asked for.
func (c *container) once(key claimKey, claimed func() claim) claim {
	if made, ok := c.made[key]; ok {
		return made
	}
	made := claimed()
	if c.made == nil {
		c.made = map[claimKey]claim{}
	}
	c.made[key] = made
	return made
}

var errNotCollected = errors.New("not collected")

// guest tells that the container runs on a kernel of its own: gVisor, Kata. What
// the node's kernel has in force is the sandbox's then, and the guest is judged
// by its specification.
func (c *container) guest() bool { return c.Guest() }

// inGVisor tells that the kernel of its own is gVisor's. A virtual machine can be
// handed devices of the node's, which gVisor does not open.
func (c *container) inGVisor() bool {
	tier, _ := c.Tier.Value()
	return tier == inspect.TierSandbox
}

// guestEvidence says so.
func (c *container) guestEvidence() Evidence {
	tier, _ := c.Tier.Value()
	return Evidence{Fact: "tier", Value: fmt.Sprintf("%s: what counts is the guest's own kernel, and what it has in force is not seen from the node", tier), Source: c.Runtime}
}

// kernel lowers the severity of what must first get out of a kernel of its own.
func (c *container) kernel(s Severity) Severity {
	if c.guest() {
		return min(s, Low)
	}
	return s
}

// hostKernel claims that it runs on the node's kernel.
func (c *container) hostKernel() claim {
	return known("tier", c.Tier, func(t inspect.Tier) bool { return !t.Guest() })
}

// initialUser claims that its capabilities hold over the node: it is in the
// initial user namespace.
func (c *container) initialUser() claim {
	return c.once(claimKey{name: "initial user"}, func() claim {
		text := func(ns inspect.UserNamespace) string {
			if ns.Initial {
				return "the initial one"
			}
			return "its own: capabilities hold only there"
		}
		in := knownAs("userNamespace.inForce", c.UserNamespace.InForce, func(ns inspect.UserNamespace) bool { return ns.Initial }, text)
		return all(c.hostKernel(), in)
	})
}

// capability claims that it can use or get a capability, over the node. Of a
// guest it claims that the specification gives it in the guest's kernel.
func (c *container) capability(list ...caps.Cap) claim {
	set := caps.Of(list...)
	return c.once(claimKey{"capability", set}, func() claim { return c.oneOf(set) })
}

// oneOf is capability for a set.
func (c *container) oneOf(set caps.Set) claim {
	if c.guest() {
		return knownAs("capabilities.declared", c.Capabilities.Declared,
			func(s inspect.CapabilitySets) bool { return !givenSet(s).Intersect(set).IsEmpty() },
			func(s inspect.CapabilitySets) string { return "given " + givenSet(s).Intersect(set).String() },
		).with(c.guestEvidence())
	}
	reached := knownAs("capabilities.reach", c.Capabilities.Reach,
		func(r caps.Reach) bool { return !r.All().Intersect(set).IsEmpty() },
		func(r caps.Reach) string { return reachText(r, set) })
	return all(reached, c.initialUser())
}

// givenSet is all that a specification gives: what is in one of the other sets and
// not in bounding counts too.
func givenSet(s inspect.CapabilitySets) caps.Set {
	return s.Bounding.Union(s.Effective).Union(s.Permitted).Union(s.Inheritable).Union(s.Ambient)
}

// reachText says how capabilities are reached.
func reachText(r caps.Reach, set caps.Set) string {
	var parts []string
	for _, way := range []struct {
		set  caps.Set
		text string
	}{
		{r.Now, "effective"},
		{r.Raise, "permitted, one capset(2) away"},
		{r.OnExec, "by execve(2) of a set-user-ID or file-capability program"},
	} {
		if held := way.set.Intersect(set); !held.IsEmpty() {
			parts = append(parts, held.String()+" "+way.text)
		}
	}
	if len(parts) == 0 {
		return "not " + set.String()
	}
	return strings.Join(parts, "; ")
}

// onlyByExec tells that it has none of the capabilities yet, and needs a program
// that gives them.
func (c *container) onlyByExec(list ...caps.Cap) bool {
	r, ok := c.Capabilities.Reach.Value()
	return !c.guest() && ok && r.Now.Union(r.Raise).Intersect(caps.Of(list...)).IsEmpty()
}

// hostRoot claims that its first process has user ID 0 of the node, or may become
// it: it has or reaches a capability to take any user ID or to pass by the
// permissions of files.
func (c *container) hostRoot() claim {
	if c.guest() {
		return c.declaredRoot().with(c.guestEvidence())
	}
	return c.once(claimKey{name: "host root"}, func() claim {
		root := c.isRoot()
		if root.truth == yes {
			return root
		}
		return either(root, c.capability(caps.Setuid, caps.DACOverride))
	})
}

// declaredRoot claims that its first process is started as user ID 0, its own or the node's.
func (c *container) declaredRoot() claim {
	return knownAs("user.declared", c.User.Declared, func(u inspect.User) bool { return u.UID == 0 },
		func(u inspect.User) string { return fmt.Sprintf("user ID %d in the container", u.UID) })
}

// isRoot claims that its first process has user ID 0 of the node.
func (c *container) isRoot() claim {
	return knownAs("user.inForce", c.User.InForce, inspect.UserInForce.IsRoot,
		func(u inspect.UserInForce) string { return "user ID " + u.UID.String() + " on the node" })
}

// namespace claims that it shares a namespace of the node's.
func (c *container) namespace(k nsdiff.Kind) claim {
	return c.once(claimKey{name: "namespace", set: caps.Set(k)}, func() claim { return c.oneNamespace(k) })
}

func (c *container) oneNamespace(k nsdiff.Kind) claim {
	if c.guest() {
		return c.guestNamespace(k).with(c.guestEvidence())
	}
	return c.namespaceInForce(k)
}

func (c *container) namespaceInForce(k nsdiff.Kind) claim {
	name := "namespaces.inForce." + k.String()
	list, ok := c.Namespaces.InForce.Value()
	if !ok {
		return unsureOf(name, causeOf(c.Namespaces.InForce))
	}
	n := slices.IndexFunc(list, func(ns inspect.Namespace) bool { return ns.Kind == k })
	if n < 0 {
		return unsureOf(name, errNotCollected)
	}
	ns := list[n]
	evidence := Evidence{Fact: name, Value: "not the node's", Source: ns.ID.Source()}
	if id, ok := ns.ID.Value(); ok {
		evidence.Value = id.String() + ", not the node's"
	}
	switch ns.Host.Relation {
	case nsdiff.Same:
		evidence.Value = strings.TrimSuffix(evidence.Value, ", not the node's") + ", the node's"
		return isTrue(true, evidence)
	case nsdiff.Other:
		return isTrue(false, evidence)
	case nsdiff.Absent:
		evidence.Value = "this kernel has none"
		return isTrue(true, evidence)
	case nsdiff.Unknown:
	}
	return unsureOf(name, errors.New(ns.Host.Cause))
}

// guestNamespace claims that a guest shares a namespace of the node's. Its
// processes, IPC objects and host name are in its own kernel, whatever was asked
// for. Its network is that of gVisor's process; what a virtual machine is given is
// not seen, and what was asked for counts. A guest that was not made through the CRI
// has its specification only: a kind which that does not list is the runtime's.
func (c *container) guestNamespace(k nsdiff.Kind) claim {
	switch {
	case k != nsdiff.Net:
		return isTrue(false, Evidence{Fact: "tier", Value: k.String() + ": the guest's kernel has its own, whatever was asked for", Source: c.Runtime})
	case c.inGVisor():
		return c.namespaceInForce(k)
	}
	if c.Namespaces.Requested.Known() == inspect.Absent {
		list, ok := c.Namespaces.Declared.Value()
		n := slices.IndexFunc(list, func(ns inspect.NamespaceDeclared) bool { return ns.Kind == k })
		switch {
		case !ok:
			return unsureOf("namespaces.declared", causeOf(c.Namespaces.Declared))
		case n >= 0 && list[n].Path != "":
			return unsureOf("namespaces.declared", fmt.Errorf("whose namespace %s is, is not known", list[n].Path))
		}
		return isTrue(n < 0, Evidence{Fact: "namespaces.declared", Value: k.String(), Source: c.Namespaces.Declared.Source()})
	}
	return known("namespaces.requested", c.Namespaces.Requested, func(q inspect.NamespaceRequest) bool {
		return q.Network == inspect.NamespaceNode
	}).saying(k.String())
}

// causeOf is a cause for a fact without a value, also for one that is absent
// where a value was expected.
func causeOf[T any](f inspect.Fact[T]) error {
	if cause := f.Cause(); cause != nil {
		return cause
	}
	return errors.New(f.Source())
}

// defaultProfiles are the AppArmor profiles of runtimes, which forbid mount(2)
// and writing to most of /proc and /sys.
var defaultProfiles = []string{"cri-containerd.apparmor.d", "crio-default", "docker-default", "nerdctl-default"}

// isDefaultProfile takes these and Podman's, whose name ends with its version:
// containers-default-0.57.4. What else begins like one may be anybody's.
func isDefaultProfile(name string) bool {
	version, podmans := strings.CutPrefix(name, "containers-default-")
	return slices.Contains(defaultProfiles, name) || podmans && strings.Trim(version, "0123456789.") == ""
}

// appArmorProfile takes a label apart: a profile that is enforced, which kills
// where it forbids or denies. Complaining, unconfined and mixed ones are not.
func appArmorProfile(label string) (name string, enforced bool) {
	for _, mode := range []string{" (enforce)", " (kill)"} {
		if name, enforced = strings.CutSuffix(label, mode); enforced {
			return name, true
		}
	}
	return label, false
}

// labelDenies claims that a security module keeps it from mounting and from
// writing to the kernel's files. What a profile that somebody wrote allows is not
// known.
func (c *container) labelDenies() claim {
	return c.once(claimKey{name: "label denies"}, func() claim { return either(c.appArmorDenies(), c.seLinuxDenies()) })
}

func (c *container) appArmorDenies() claim {
	const name = "apparmor.inForce"
	label, ok := c.AppArmor.InForce.Value()
	if !ok {
		return known(name, c.AppArmor.InForce, func(string) bool { return false })
	}
	evidence := Evidence{Fact: name, Value: label, Source: c.AppArmor.InForce.Source()}
	profile, enforced := appArmorProfile(label)
	switch {
	case !enforced:
		return isTrue(false, evidence)
	case isDefaultProfile(profile):
		return all(isTrue(true, evidence), c.node.appArmorEnforces())
	}
	return unsureOf(name, fmt.Errorf("what the profile %q allows is not known", profile))
}

func (c *container) seLinuxDenies() claim {
	const name = "selinux.inForce"
	label, ok := c.SELinux.InForce.Value()
	if !ok {
		return known(name, c.SELinux.InForce, func(string) bool { return false })
	}
	if isUnconfinedType(label) {
		return isTrue(false, Evidence{Fact: name, Value: label, Source: c.SELinux.InForce.Source()})
	}
	if enforces := c.node.seLinuxEnforces(); enforces.truth == no {
		return enforces
	}
	return unsureOf(name, fmt.Errorf("what the policy allows %q is not known", label))
}

// isUnconfinedType tells the SELinux types that may do everything: the third
// part of a label.
func isUnconfinedType(label string) bool {
	parts := strings.SplitN(label, ":", 4)
	return len(parts) > 2 && slices.Contains([]string{"unconfined_t", "spc_t", "unconfined_service_t", "container_runtime_t", "initrc_t", "kernel_t"}, parts[2])
}

// call claims that the filter of system calls lets it make one of some calls.
func (c *container) call(names ...string) claim {
	if c.guest() {
		return isTrue(true, c.guestEvidence())
	}
	result := claim{truth: no}
	for _, name := range names {
		open := c.oneCall(name)
		if open.truth == yes {
			return open
		}
		result = either(result, open)
	}
	return result
}

func (c *container) oneCall(name string) claim {
	return c.once(claimKey{name: "call " + name}, func() claim { return c.lets(name) })
}

// lets is oneCall, not made before.
func (c *container) lets(name string) claim {
	r := callInForce(c.Report, name)
	evidence := Evidence{Fact: "seccomp", Value: r.Call + " " + r.Verdict.String() + ": " + r.Reason, Source: r.source}
	switch r.Verdict {
	case CallAllowed, CallConditional:
		return isTrue(true, evidence)
	case CallDenied:
		return isTrue(false, evidence)
	case CallUnknown:
	}
	return unsureOf("seccomp", fmt.Errorf("%s: %s", r.Call, r.Reason))
}

// mayMount claims that nothing keeps a process with CAP_SYS_ADMIN from mounting.
func (c *container) mayMount() claim {
	return all(c.call("mount", "fsopen", "move_mount"), not(c.labelDenies()))
}

// sysctl makes a claim about a number of the node's.
func (n *node) sysctl(name string, f inspect.Fact[int], is func(int) bool) claim {
	return known("node.sysctls."+name, f, is)
}

// appArmorEnforces claims that the kernel does not let all profiles complain.
func (n *node) appArmorEnforces() claim {
	return known("node.appArmorMode", n.Node.AppArmorMode, func(mode string) bool { return mode == "enforce" || mode == "kill" })
}

// seLinuxEnforces claims that SELinux does more than complain.
func (n *node) seLinuxEnforces() claim {
	return known("node.seLinuxEnforce", n.Node.SELinuxEnforce, func(v int) bool { return v == 1 })
}

// lockedDown claims that the kernel keeps itself from root.
func (n *node) lockedDown() claim {
	return known("node.lockdown", n.Node.Lockdown, func(l inspect.Lockdown) bool { return l != inspect.LockdownNone })
}
