package audit

import (
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

// unprivilegedCalls are those of the watched calls that ask for no capability
// and lead into parts of the kernel where flaws have been found.
var unprivilegedCalls = []struct {
	name     string
	severity Severity
	// off claims that the node forbids it to everyone.
	off func(*node) claim
}{
	{"unshare(CLONE_NEWUSER)", Medium, (*node).noUserNamespaces},
	{"clone(CLONE_NEWUSER)", Medium, (*node).noUserNamespaces},
	{"clone3", Medium, (*node).noUserNamespaces},
	{"bpf", Medium, func(n *node) claim {
		return n.sysctl("unprivilegedBPFDisabled", n.Node.Sysctls.UnprivilegedBPFDisabled, func(v int) bool { return v != 0 })
	}},
	{"io_uring_setup", Low, func(n *node) claim {
		return n.sysctl("ioUringDisabled", n.Node.Sysctls.IOUringDisabled, func(v int) bool { return v != 0 })
	}},
	{"add_key", Low, nil},
	{"keyctl", Low, nil},
	{"request_key", Low, nil},
	{"perf_event_open", Low, nil},
	{"socket(AF_ALG)", Low, (*node).noAFALG},
	{"socket(AF_VSOCK)", Low, nil},
	{"userfaultfd", Low, nil},
}

func (n *node) noUserNamespaces() claim {
	s := n.Node.Sysctls
	return either(
		n.sysctl("maxUserNamespaces", s.MaxUserNamespaces, func(v int) bool { return v == 0 }),
		n.sysctl("unprivilegedUsernsClone", s.UnprivilegedUsernsClone, func(v int) bool { return v == 0 }),
	)
}

// noAFALG claims that AF_ALG leads nowhere: the kernel has no algif_aead, or would
// have to load it and loads none any more.
func (n *node) noAFALG() claim {
	const name = "node.afALG"
	have, ok := n.Node.AFALG.Value()
	switch {
	case n.Node.AFALG.Known() == inspect.Absent:
		return isTrue(true, Evidence{Fact: name, Value: "none", Source: n.Node.AFALG.Source()})
	case ok && have == inspect.ModuleLoadable:
		return n.noModules()
	case ok:
		return isTrue(false, Evidence{Fact: name, Value: string(have), Source: n.Node.AFALG.Source()})
	}
	return unsureOf(name, causeOf(n.Node.AFALG))
}

func seccompRules() []Rule {
	return []Rule{
		{
			ID: "seccomp-off", Title: "no filter of system calls", Severity: Medium,
			pause: "the runtime decides on the filter of a pod's sandbox container, which runs nothing of the pod's",
			Meaning: "Every system call reaches the kernel, also those that no ordinary program needs: user namespaces with all " +
				"capabilities in them, io_uring, AF_ALG sockets, bpf(2). Most ways from a flaw in the kernel to the node start there.",
			Remedy: "securityContext.seccompProfile.type: RuntimeDefault.",
			References: slices.Concat(baseline("seccompProfile_baseline"), restricted("seccompProfile_restricted"), k8s("5.6.2"),
				docker("5.22"), nsa("C-0055"), attack("T1068"), cve("CVE-2022-0492", "CVE-2026-31431"), man("seccomp(2)")),
			judge: judgeSeccompOff,
		},
		{
			ID: "seccomp-weak", Title: "the filter lets through calls that lead to flaws of the kernel", Severity: Medium,
			pause: "the runtime decides on the filter of a pod's sandbox container, which runs nothing of the pod's",
			Meaning: "The profile of the specification is evaluated for the calls that need no capability: it is medium where a process can " +
				"make a user namespace, or load BPF programs, low for the others, and info where only some way to make the call is open. What " +
				"the node's settings forbid is left out. Most runtimes' default profiles let AF_ALG through for 32-bit programs, for which " +
				"socket(2) is socketcall(2), with arguments that a filter does not see.",
			Remedy:     "Use the profile of a newer runtime (RuntimeDefault), or one of your own (Localhost) that forbids the calls listed.",
			References: slices.Concat(nsa("C-0055"), attack("T1068"), cve("CVE-2026-31431"), man("seccomp(2)")),
			judge:      judgeSeccompWeak,
		},
	}
}

func judgeSeccompOff(c *container) outcome {
	if c.guest() {
		return notHere("the guest has a kernel of its own; what filters its calls is the sandbox")
	}
	off := c.unfiltered()
	if off.truth == yes {
		off = off.with(
			Evidence{Fact: "seccomp.requested", Value: requestText(c.Seccomp.Requested), Source: c.Seccomp.Requested.Source()},
			Evidence{Fact: "seccomp", Value: "open without a capability: " + strings.Join(c.openCalls(), ", ")},
		)
	}
	return found(off, Medium)
}

// unfiltered claims that no filter is in force.
func (c *container) unfiltered() claim {
	return knownAs("seccomp.inForce", c.Seccomp.InForce,
		func(s inspect.SeccompInForce) bool { return s.Mode == inspect.SeccompDisabled },
		func(s inspect.SeccompInForce) string { return "mode " + string(s.Mode) })
}

func requestText(f inspect.Fact[inspect.SeccompRequest]) string {
	if q, ok := f.Value(); ok {
		return strings.TrimSpace(q.Profile + " " + q.LocalhostRef)
	}
	return valueText(f)
}

// openCalls are the unprivileged calls that neither the filter nor the node's
// settings are known to forbid.
func (c *container) openCalls() []string {
	var names []string
	for _, u := range unprivilegedCalls {
		if c.unprivileged(u.name, u.off).truth != no {
			names = append(names, u.name)
		}
	}
	return names
}

func (c *container) unprivileged(name string, off func(*node) claim) claim {
	open := c.oneCall(name)
	if off != nil {
		open = open.unless(off(c.node))
	}
	return open
}

func judgeSeccompWeak(c *container) outcome {
	s, ok := c.Seccomp.InForce.Value()
	switch {
	case c.guest():
		return notHere("the guest has a kernel of its own; what filters its calls is the sandbox")
	case ok && s.Mode == inspect.SeccompDisabled:
		return notHere("no filter is in force: see seccomp-off")
	}
	severity := Info
	claims := make([]claim, 0, len(unprivilegedCalls))
	for _, u := range unprivilegedCalls {
		open := c.unprivileged(u.name, u.off)
		claims = append(claims, open)
		if open.truth != no && callInForce(c.Report, u.name).Verdict != CallConditional {
			severity = max(severity, u.severity)
		}
	}
	return found(either(claims...), severity)
}
