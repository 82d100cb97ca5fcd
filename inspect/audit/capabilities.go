package audit

import (
	"slices"
	"strings"
	"sync"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// capabilityMeaning is part of the meaning of every rule about capabilities.
const capabilityMeaning = " It counts when it is effective or can be reached, by capset(2) or a program that execve(2) gives it to, in the node's " +
	"user namespace: in another one it holds only there."

func dangerousCapabilities() []capabilityRule {
	return []capabilityRule{
		{
			id: "cap-sys-admin", title: "CAP_SYS_ADMIN: mount file systems and administer the kernel", caps: []caps.Cap{caps.SysAdmin},
			calls: []string{"mount", "fsopen", "move_mount", "setns", "bpf"}, severity: Critical, filtered: Medium,
			meaning: caps.SysAdmin.Info().Escape, refs: slices.Concat(cve("CVE-2022-0492"), man("mount(2)")),
		},
		{
			id: "cap-sys-module", title: "CAP_SYS_MODULE: load code into the kernel", caps: []caps.Cap{caps.SysModule},
			calls: []string{"init_module", "finit_module"}, severity: Critical, filtered: Low,
			meaning: caps.SysModule.Info().Escape, refs: slices.Concat(attack("T1547.006"), man("init_module(2)")),
			protects: func(c *container) claim { return either(c.node.noModules(), c.node.lockedDown()) },
		},
		{
			id: "cap-dac-read-search", title: "CAP_DAC_READ_SEARCH: open any file of a mounted file system", caps: []caps.Cap{caps.DACReadSearch},
			calls: []string{"open_by_handle_at"}, severity: Critical, filtered: Medium,
			meaning: caps.DACReadSearch.Info().Escape, refs: slices.Concat(attack("T1005"), man("open_by_handle_at(2)")),
		},
		{
			id: "cap-sys-ptrace", title: "CAP_SYS_PTRACE: control every process it sees", caps: []caps.Cap{caps.SysPtrace},
			calls: []string{"ptrace", "process_vm_writev", "process_vm_readv", "pidfd_getfd"}, severity: High, filtered: Low,
			meaning: caps.SysPtrace.Info().Escape + " Where it sees its own processes only, it is low; in a pid namespace with other containers medium.",
			refs:    slices.Concat(attack("T1055.008"), man("ptrace(2)")), more: ptraceReach,
		},
		{
			id: "cap-sys-rawio", title: "CAP_SYS_RAWIO: reach ports and memory of the machine", caps: []caps.Cap{caps.SysRawio},
			calls: nil, severity: High, filtered: Medium,
			meaning: caps.SysRawio.Info().Escape, refs: slices.Concat(attack("T1006"), man("iopl(2)")),
			protects: func(c *container) claim { return c.node.lockedDown() },
		},
		{
			id: "cap-bpf", title: "CAP_BPF or CAP_PERFMON: load programs into the kernel or watch all of it", caps: []caps.Cap{caps.BPF, caps.Perfmon},
			calls: []string{"bpf", "perf_event_open"}, severity: High, filtered: Low,
			meaning: caps.BPF.Info().Escape, refs: slices.Concat(attack("T1014", "T1068"), man("bpf(2)")),
		},
		{
			id: "cap-sys-boot", title: "CAP_SYS_BOOT: restart the node or start another kernel", caps: []caps.Cap{caps.SysBoot},
			calls: []string{"reboot", "kexec_load", "kexec_file_load"}, severity: High, filtered: Low,
			meaning: caps.SysBoot.Info().Escape + " In a pid namespace of its own reboot(2) ends only that, and it is low.",
			refs:    slices.Concat(attack("T1529"), man("reboot(2)")),
			more: func(c *container, s Severity) Severity {
				if c.namespace(nsdiff.PID).truth == no {
					return min(s, Low)
				}
				return s
			},
		},
		{
			id: "cap-net-admin", title: "CAP_NET_ADMIN: configure the network", caps: []caps.Cap{caps.NetAdmin},
			severity: High, meaning: caps.NetAdmin.Info().Escape + " In a network namespace of its own it is medium.",
			refs: attack("T1557"), more: lessInOwnNetwork,
		},
		{
			id: "cap-net-raw", title: "CAP_NET_RAW: forge and read packets", caps: []caps.Cap{caps.NetRaw},
			severity: Medium,
			meaning:  caps.NetRaw.Info().Escape + " It is in the runtime's default set. In a network namespace of its own it is low.",
			refs:     slices.Concat(k8s("5.2.8"), attack("T1557", "T1040"), cve("CVE-2020-14386"), man("packet(7)")), more: lessInOwnNetwork,
		},
	}
}

func (n *node) noModules() claim {
	f := n.Node.Sysctls.ModulesDisabled
	if f.Known() == inspect.Absent {
		return isTrue(true, Evidence{Fact: "node.sysctls.modulesDisabled", Value: "this kernel loads no modules", Source: f.Source()})
	}
	return n.sysctl("modulesDisabled", f, func(v int) bool { return v == 1 })
}

func ptraceReach(c *container, s Severity) Severity {
	switch {
	case c.namespace(nsdiff.PID).truth != no:
		return s
	case c.sharesPID():
		return min(s, Medium)
	}
	return min(s, Low)
}

// sharesPID tells whether another container is in its pid namespace, or may be.
func (c *container) sharesPID() bool {
	list, ok := c.Namespaces.InForce.Value()
	n := slices.IndexFunc(list, func(ns inspect.Namespace) bool { return ns.Kind == nsdiff.PID })
	if !ok || n < 0 {
		return true
	}
	return slices.ContainsFunc(list[n].With, func(other inspect.Neighbor) bool { return other.Kind == inspect.KindContainer })
}

func lessInOwnNetwork(c *container, s Severity) Severity {
	if c.namespace(nsdiff.Net).truth == no {
		return s - 1
	}
	return s
}

// judge applies the rule.
func (r capabilityRule) judge(c *container) outcome {
	held := c.capability(r.caps...)
	severity := r.severity
	if len(r.calls) > 0 && !c.guest() {
		open := c.call(r.calls...)
		held = held.with(open.evidence...)
		if open.truth == no {
			severity = r.filtered
		}
	}
	if r.protects != nil && !c.guest() {
		held = held.unless(r.protects(c))
	}
	if r.more != nil {
		severity = r.more(c, severity)
	}
	if c.onlyByExec(r.caps...) {
		severity = min(severity, Medium)
	}
	return found(held, c.kernel(severity))
}

// ownRule are the capabilities that have a rule of their own: those above, and
// CAP_MKNOD, which matters where the device policy lets it.
var ownRule = sync.OnceValue(func() caps.Set {
	set := caps.Of(caps.Mknod)
	for _, r := range dangerousCapabilities() {
		set = set.Union(caps.Of(r.caps...))
	}
	return set
})

func capabilityRules() []Rule {
	var list []Rule
	for _, r := range dangerousCapabilities() {
		names := make([]string, 0, len(r.caps))
		for _, c := range r.caps {
			names = append(names, strings.TrimPrefix(c.String(), "CAP_"))
		}
		rule := Rule{
			ID: r.id, Title: r.title, Severity: r.severity,
			Meaning: r.meaning + capabilityMeaning,
			Remedy:  "securityContext.capabilities.drop: [" + strings.Join(names, ", ") + "], or hostUsers: false in the pod.",
			References: slices.Concat(baseline("capabilities_baseline"), k8s("5.2.9"), docker("5.4"), nsa("C-0046"), attack("T1611"),
				r.refs, man("capabilities(7)")),
			judge: r.judge,
		}
		if r.id == "cap-net-raw" {
			rule.pause = pauseRunsNothing
		}
		list = append(list, rule)
	}
	return append(list,
		Rule{
			ID: "added-capabilities", Title: "capabilities beyond the runtime's default", Severity: Medium,
			Meaning: "It can reach capabilities that the runtime does not give unless asked, other than those which have a rule of their own. " +
				"The severity is that of the most harmful." + capabilityMeaning,
			Remedy:     "Remove them from securityContext.capabilities.add.",
			References: slices.Concat(baseline("capabilities_baseline"), k8s("5.2.9"), docker("5.4"), nsa("C-0046"), man("capabilities(7)")),
			judge:      judgeAdded,
		},
		Rule{
			ID: "default-capabilities", Title: "capabilities are not dropped", Severity: Info, pause: pauseRunsNothing,
			Meaning:    "It can reach capabilities, where the restricted level of the Pod Security Standards allows CAP_NET_BIND_SERVICE alone.",
			Remedy:     "securityContext.capabilities.drop: [ALL], with add for the few that it needs.",
			References: slices.Concat(restricted("capabilities_restricted"), k8s("5.2.10"), docker("5.4"), nsa("C-0046"), man("capabilities(7)")),
			judge: func(c *container) outcome {
				claim := known("capabilities.reach", c.reachable(), func(s caps.Set) bool { return !s.Minus(caps.Of(caps.NetBindService)).IsEmpty() })
				if c.guest() {
					claim = claim.with(c.guestEvidence())
				}
				return found(claim, Info)
			},
		},
		Rule{
			ID: "inheritable-capabilities", Title: "the inheritable set is not empty", Severity: Low,
			Meaning:    "Programs with inheritable file capabilities get them, which runtimes before their repair gave to every container.",
			Remedy:     "Update the runtime: containerd 1.5.11 or 1.6.2, Docker 20.10.14.",
			References: slices.Concat(cve("CVE-2022-24769"), man("capabilities(7)")),
			judge: func(c *container) outcome {
				if c.guest() {
					return notHere("the guest has a kernel of its own")
				}
				return found(knownAs("capabilities.inForce", c.Capabilities.InForce,
					func(s caps.State) bool { return !s.Inheritable.IsEmpty() },
					func(s caps.State) string { return "inheritable " + s.Inheritable.String() }), Low)
			},
		},
	)
}

func judgeAdded(c *container) outcome {
	reach, name := c.reachable(), "capabilities.reach"
	if c.guest() {
		name = "capabilities.declared"
	}
	set, ok := reach.Value()
	if !ok {
		return found(unsureOf(name, causeOf(reach)), c.kernel(Medium))
	}
	byDefault, ok := c.Capabilities.Default.Value()
	if !ok {
		byDefault = caps.DefaultContainerd // Docker's as well, and more than others give
	}
	extra := set.Minus(byDefault).Minus(ownRule())
	switch {
	case extra.IsEmpty() && c.Capabilities.Default.Known() == inspect.Unknown:
		return found(unsureOf("capabilities.default", c.Capabilities.Default.Cause()), c.kernel(Medium))
	case extra.IsEmpty():
		return found(isTrue(false, Evidence{Fact: name, Value: "none besides", Source: reach.Source()}), Medium)
	}
	severity := Low
	var list []caps.Cap
	for capability := range extra.All() {
		list = append(list, capability)
		if capability.Info().Danger.AtLeast(caps.DangerMedium) {
			severity = Medium
		}
	}
	return found(c.capability(list...), c.kernel(severity))
}

// reachable are all capabilities that it can reach; of a guest those that the
// specification gives.
func (c *container) reachable() inspect.Fact[caps.Set] {
	if c.guest() {
		return derive(c.Capabilities.Declared, givenSet)
	}
	return derive(c.Capabilities.Reach, caps.Reach.All)
}

// derive makes another fact of what one says.
func derive[A, B any](f inspect.Fact[A], to func(A) B) inspect.Fact[B] {
	switch value, _ := f.Value(); f.Known() {
	case inspect.Present:
		return inspect.KnownFact(to(value), f.Source())
	case inspect.Absent:
		return inspect.AbsentFact[B](f.Source())
	case inspect.Unknown:
	}
	return inspect.UnknownFact[B](f.Cause())
}
