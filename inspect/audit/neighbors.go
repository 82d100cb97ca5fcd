package audit

import (
	"errors"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// neighbors are the containers in its pid namespace. In the node's, where they all
// are seen, that matters more than they do: see path-host-process.
func (c *container) neighbors() ([]inspect.Neighbor, claim) {
	const name = "namespaces.inForce.pid.with"
	list, ok := c.Namespaces.InForce.Value()
	if !ok {
		return nil, unsureOf(name, causeOf(c.Namespaces.InForce))
	}
	n := slices.IndexFunc(list, func(ns inspect.Namespace) bool { return ns.Kind == nsdiff.PID })
	if n < 0 {
		return nil, unsureOf(name, errNotCollected)
	}
	ns := list[n]
	if ns.Host.Relation == nsdiff.Unknown {
		return nil, unsureOf("namespaces.inForce.pid", errors.New(ns.Host.Cause))
	}
	if ns.ID.Known() == inspect.Unknown {
		return nil, unsureOf("namespaces.inForce.pid", ns.ID.Cause())
	}
	return slices.DeleteFunc(slices.Clone(ns.With), func(other inspect.Neighbor) bool { return other.Kind != inspect.KindContainer }),
		isTrue(false, Evidence{Fact: name, Value: "no container that leads to the node", Source: ns.ID.Source()})
}

// neighbor finds what is known of another container; nil when it is not.
func (c *container) neighbor(other inspect.Neighbor) *container {
	n := slices.IndexFunc(c.snapshot.Containers, func(r inspect.Report) bool { return r.ID == other.ID && r.FullName() == other.Name })
	if n < 0 {
		return nil
	}
	return c.node.container(n)
}

// ofNeighbors makes a claim about one of the containers in its pid namespace.
func (c *container) ofNeighbors(is func(*container) claim) claim {
	list, result := c.neighbors()
	for _, other := range list {
		theirs := unsureOf("containers."+other.Name, errNotCollected)
		if found := c.neighbor(other); found != nil {
			theirs = is(found)
			theirs.evidence = named(other.Name, theirs.evidence)
			theirs.causes = prefixed(other.Name+": ", theirs.causes)
		}
		result = either(result, theirs)
	}
	return result
}

func prefixed(prefix string, list []string) []string {
	out := make([]string, 0, len(list))
	for _, text := range list {
		out = append(out, prefix+text)
	}
	return out
}

func (c *container) seesStronger() claim {
	return c.ofNeighbors((*container).opensNode)
}

func (c *container) entersStronger() claim {
	return c.ofNeighbors(func(other *container) claim { return all(other.opensNode(), c.enters(other)) })
}

// opensNode claims that whoever has its processes has the node: a rule other than
// the paths is critical for it.
func (c *container) opensNode() claim {
	return c.once(claimKey{name: "opens the node"}, c.leads)
}

// leads is opensNode, not made before.
func (c *container) leads() claim {
	if c.PID.Known() == inspect.Absent {
		return isTrue(false)
	}
	result := claim{truth: no}
	for _, r := range c.node.leadingRules() {
		o := r.judge(c)
		if o.reason != "" || o.truth == no || o.severity != Critical {
			continue
		}
		o.evidence = slices.Concat([]Evidence{{Fact: "rule", Value: r.ID}}, o.evidence)
		result = either(result, o.claim)
	}
	return result
}

func (n *node) leadingRules() []Rule {
	if n.leading == nil {
		n.leading = slices.DeleteFunc(Rules(), func(r Rule) bool { return r.Node || r.Path || r.Severity != Critical })
	}
	return n.leading
}

// enters claims that the kernel lets it look into the other's processes: with
// CAP_SYS_PTRACE, or as the same user with all of its capabilities. See "Ptrace
// access mode checking" in ptrace(2).
func (c *container) enters(other *container) claim {
	return either(c.capability(caps.SysPtrace), all(c.initialUser(), c.sameUser(other), c.hasAllOf(other)))
}

func (c *container) sameUser(other *container) claim {
	own, ok := c.User.InForce.Value()
	if !ok {
		return unsureOf("user.inForce", causeOf(c.User.InForce))
	}
	return known("user.inForce", other.User.InForce, func(u inspect.UserInForce) bool {
		return u.UID == inspect.IDs{Real: own.UID.Filesystem, Effective: own.UID.Filesystem, Saved: own.UID.Filesystem, Filesystem: u.UID.Filesystem} &&
			u.GID == inspect.IDs{Real: own.GID.Filesystem, Effective: own.GID.Filesystem, Saved: own.GID.Filesystem, Filesystem: u.GID.Filesystem}
	}).saying("the same user, " + own.UID.String())
}

func (c *container) hasAllOf(other *container) claim {
	own, ok := c.Capabilities.InForce.Value()
	if !ok {
		return unsureOf("capabilities.inForce", causeOf(c.Capabilities.InForce))
	}
	more := func(s caps.State) caps.Set { return s.Permitted.Minus(own.Effective.Union(own.Permitted)) }
	has := known("capabilities.inForce", other.Capabilities.InForce, func(s caps.State) bool { return more(s).IsEmpty() })
	if s, ok := other.Capabilities.InForce.Value(); ok {
		text := "no capability that this one lacks"
		if lacks := more(s); !lacks.IsEmpty() {
			text = "more: " + strings.ReplaceAll(lacks.String(), ",", " ")
		}
		has = has.saying(text)
	}
	return has
}
