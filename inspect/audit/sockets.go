package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

func socketRules() []Rule {
	return []Rule{
		{
			ID: "runtime-socket", Title: "a container runtime's socket is reached", Severity: Critical,
			Meaning: "Who can connect to it starts a container of their own choice: a privileged one with the node's root folder. It is found " +
				"by its device and inode, whatever it is called in the container and through which folder above it is seen; a read-only " +
				"mount keeps nobody from connecting. Where the container's user may not connect, it is medium.",
			Remedy:     "Remove the volume, or the folder above the socket. A read-only view of containers is what rtinspect and CRI's stats give.",
			References: slices.Concat(baseline("hostPathVolumes"), k8s("5.2.12"), docker("5.32"), attack("T1610", "T1609", "T1611"), man("unix(7)")),
			judge:      func(c *container) outcome { return judgeSocket(c, false) },
		},
		{
			ID: "abstract-socket", Title: "a runtime's abstract socket is reached", Severity: High,
			Meaning: "It has no file and no mode: every process of its network namespace, the node's, can connect. containerd's shims before " +
				"1.3.9 and 1.4.3 listened on such and let every root connect; where the listener refuses others is not seen.",
			Remedy:     "hostNetwork: false; update the runtime.",
			References: slices.Concat(docker("5.10"), attack("T1611"), cve("CVE-2020-15257"), man("unix(7)")),
			judge:      func(c *container) outcome { return judgeSocket(c, true) },
		},
	}
}

func judgeSocket(c *container, abstract bool) outcome {
	top := Critical
	if abstract {
		top = High
	}
	result := isTrue(false, Evidence{Fact: "sockets", Value: fmt.Sprintf("none of %d is reached", len(c.snapshot.Sockets))})
	if missing := c.snapshot.MissingSockets; len(missing) > 0 {
		result = unsureOf("sockets", errors.New(strings.Join(missing, "; ")))
	}
	if c.snapshot.Sockets == nil {
		result = unsureOf("sockets", errNotCollected)
	}
	severity := Info
	for _, s := range c.snapshot.Sockets {
		if s.Abstract != abstract {
			continue
		}
		reached := c.reaches(s)
		result = either(result, reached)
		if reached.truth == no {
			continue
		}
		level := top
		if c.guest() || c.mayConnect(s).truth == no {
			level = Medium
		}
		severity = max(severity, level)
	}
	if result.truth == unsure {
		severity = max(severity, top)
	}
	return found(result, severity)
}

// is tells whether a container of a socket's is this one. A snapshot of before had
// the id alone.
func (c *container) is(other inspect.SocketContainer) bool {
	return other.ID == c.ID && (other.Namespace == c.Namespace || other.Namespace == "")
}

// ways are those to a socket that are known.
func (c *container) ways(s inspect.Socket) []inspect.SocketWay {
	list, _ := s.Containers.Value()
	n := slices.IndexFunc(list, c.is)
	if n < 0 {
		return nil
	}
	ways, _ := list[n].Ways.Value()
	return ways
}

// reaches claims that the container has a way to a socket.
func (c *container) reaches(s inspect.Socket) claim {
	name := "sockets." + s.Path + ".containers"
	list, ok := s.Containers.Value()
	switch {
	case c.guest():
		return c.guestReaches(s)
	case !ok:
		return unsureOf(name, causeOf(s.Containers))
	}
	n := slices.IndexFunc(list, c.is)
	if n < 0 {
		return isTrue(false)
	}
	ways, ok := list[n].Ways.Value()
	if !ok {
		return unsureOf(name, causeOf(list[n].Ways))
	}
	paths := make([]string, 0, len(ways))
	for _, w := range ways {
		paths = append(paths, w.Path)
	}
	if len(paths) == 0 {
		return isTrue(false)
	}
	return isTrue(true,
		Evidence{Fact: name, Value: fmt.Sprintf("%s socket, in the container as %s", s.Kind, strings.Join(paths, " ")), Source: list[n].Ways.Source()}).
		with(c.mayConnect(s).evidence...)
}

// guestReaches looks for a declared mount of the socket or of a folder above it:
// whether a sandbox lets a guest connect through it is not known.
func (c *container) guestReaches(s inspect.Socket) claim {
	mounts, result := c.hostMounts()
	for _, m := range mounts {
		if !s.Abstract && below(s.Path, m.path) {
			result = either(result, isTrue(true, Evidence{Fact: m.fact, Value: fmt.Sprintf("%s socket %s", s.Kind, s.Path), Source: m.source}, c.guestEvidence()))
		}
	}
	// By device and inode, which a declared path does not tell: it may be a link.
	for _, other := range containers(s) {
		if cause := other.Ways.Cause(); c.is(other) && result.truth == no && cause != nil {
			result = unsureOf("sockets."+s.Path+".containers", cause)
		}
	}
	if result.truth == no {
		result.evidence = nil
	}
	return result
}

func containers(s inspect.Socket) []inspect.SocketContainer {
	list, _ := s.Containers.Value()
	return list
}

// mayConnect claims that the container's user can connect to a socket that it
// reaches: as root of the node, or as one of those that its modes let.
func (c *container) mayConnect(s inspect.Socket) claim {
	name := "sockets." + s.Path + ".connect"
	root := c.hostRoot()
	user, ok := c.User.InForce.Value()
	who, whoOK := s.Connect.Value()
	switch {
	case root.truth == yes:
		return root
	case !ok:
		return unsureOf("user.inForce", causeOf(c.User.InForce))
	case !whoOK:
		return unsureOf(name, causeOf(s.Connect))
	}
	may := isTrue(isAmong(user, who), Evidence{Fact: name, Value: who.String(), Source: s.Connect.Source()})
	return either(may, root)
}

// isAmong tells whether a user is one of those who have a right.
func isAmong(user inspect.UserInForce, who inspect.Who) bool {
	is := func(a inspect.Account) bool { return a.ID == user.UID.Effective }
	member := func(g inspect.Account) bool { return g.ID == user.GID.Effective || slices.Contains(user.Groups, g.ID) }
	switch {
	case who.Everyone:
		return !slices.ContainsFunc(who.Except, is)
	case slices.ContainsFunc(who.Users, is):
		return true
	}
	return slices.ContainsFunc(who.Groups, func(g inspect.WhoGroups) bool {
		return !slices.ContainsFunc(g.Groups, func(a inspect.Account) bool { return !member(a) })
	})
}
