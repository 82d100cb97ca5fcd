package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func driftRules() []Rule {
	return []Rule{
		{
			ID: "wider-than-requested", Title: "the runtime declared less isolation than was requested", Severity: High,
			Meaning: "The specification gives more than the CRI request asked for: capabilities, a missing filter or profile, privileges, a " +
				"namespace of the node's. Something between, such as an NRI plugin, a hook or the runtime itself, did not do as it was told. " +
				"What only adds isolation is no finding.",
			Remedy:     "Find out what changed it: NRI plugins, runtime configuration, an older runtime that does not know the setting.",
			References: nsa("C-0055"),
			judge: func(c *container) outcome {
				return c.loosened("requested", []settingFacts{
					factsOf("capabilities", c.Capabilities.Requested, c.Capabilities.Declared), factsOf("user", c.User.Requested, c.User.Declared),
					factsOf("noNewPrivs", c.NoNewPrivs.Requested, c.NoNewPrivs.Declared), factsOf("seccomp", c.Seccomp.Requested, c.Seccomp.Declared),
					factsOf("apparmor", c.AppArmor.Requested, c.AppArmor.Declared), factsOf("readonlyRootfs", c.ReadonlyRootfs.Requested, c.ReadonlyRootfs.Declared),
					factsOf("privileged", c.Privileged.Requested, c.Privileged.Declared), factsOf("namespaces", c.Namespaces.Requested, c.Namespaces.Declared),
				})
			},
		},
		{
			ID: "wider-than-declared", Title: "the kernel has less isolation in force than was declared", Severity: High,
			Meaning: "What the specification gives is not what the first process has: more capabilities, no filter, another label, a " +
				"writable root, a namespace of the node's, and the kernel's rules do not explain it. The runtime failed, or something changed " +
				"the container since.",
			Remedy:     "Stop the container and look into what it did; update the runtime.",
			References: slices.Concat(attack("T1611"), cve("CVE-2025-52565", "CVE-2025-52881")),
			judge: func(c *container) outcome {
				if c.guest() {
					return notHere("what the guest's kernel has in force is not seen")
				}
				return c.loosened("declared", []settingFacts{
					factsOf("capabilities", c.Capabilities.Declared, c.Capabilities.InForce), factsOf("user", c.User.Declared, c.User.InForce),
					factsOf("noNewPrivs", c.NoNewPrivs.Declared, c.NoNewPrivs.InForce), factsOf("seccomp", c.Seccomp.Declared, c.Seccomp.InForce),
					factsOf("apparmor", c.AppArmor.Declared, c.AppArmor.InForce), factsOf("selinux", c.SELinux.Declared, c.SELinux.InForce),
					factsOf("readonlyRootfs", c.ReadonlyRootfs.Declared, c.ReadonlyRootfs.InForce),
					factsOf("namespaces", c.Namespaces.Declared, c.Namespaces.InForce),
				})
			},
		},
		{
			ID: "unrequested", Title: "the runtime gives devices or mounts that were not asked for", Severity: Medium,
			pause: "the runtime makes it as it needs",
			Meaning: "The specification has a device, or a file or folder of the node's, which the CRI request does not name and the runtime does " +
				"not give every container: NRI plugins and CDI add such, and so did checkpoints in images that containerd restored.",
			Remedy:     "Find out what added it: NRI plugins, the CDI files in /etc/cdi and /run/cdi, the runtime's configuration.",
			References: slices.Concat(attack("T1611"), cve("CVE-2026-53492")),
			judge:      judgeUnrequested,
		},
		{
			ID: "user-namespace-missing", Title: "a user namespace was asked for and is not there", Severity: High, pause: podsNamespaces,
			Meaning: "The pod was asked for with a user namespace of its own (hostUsers: false) and runs in the node's: root in it is root on " +
				"the node, against what its author believes. containerd before 1.7 does not know the setting and says nothing.",
			Remedy:     "Update containerd to 2.0 and runc to 1.2, or take the pod off this node.",
			References: slices.Concat(docker("5.31"), attack("T1611"), man("user_namespaces(7)")),
			Covers:     []string{"root-user"},
			judge:      judgeUserNamespace,
		},
		{
			ID: "mask-missing", Title: "a path that should be hidden or read-only is not", Severity: High,
			Meaning:    "The specification names it among masked or read-only paths, and in the container's mounts it is as the kernel made it.",
			Remedy:     "Update runc; look into what unmounted it.",
			References: slices.Concat(baseline("procMount"), attack("T1611"), cve("CVE-2025-31133", "CVE-2025-52565")),
			judge:      judgeMaskMissing,
		},
		{
			ID: "limit-changed", Title: "a limit in force is not the declared one", Severity: Low,
			Meaning: "Memory, processor time, weight, processes or processors that the container's own control group has are others than the " +
				"specification says: they were changed since it was started. The kubelet's resizing of pods in place does so, and so does " +
				"whoever can write to the control group.",
			Remedy:     "Find out who changed it.",
			References: man("cgroups(7)"),
			judge:      judgeLimitChanged,
		},
		{
			ID: "unexpected-sharing", Title: "a namespace is shared that should not be", Severity: High,
			Meaning: "A namespace of the container is the node's or another container's, or is not its pod's, and neither the request nor the " +
				"rules of pods explain it.",
			Remedy:     "Find out what made it so: nsenter, an NRI plugin, a container made past the CRI.",
			References: slices.Concat(attack("T1611"), man("namespaces(7)")),
			judge:      judgeSharing,
		},
		{
			ID: "not-its-process", Title: "the runtime names a process that is not the container's", Severity: High,
			Meaning: "The process that the runtime calls the container's first is in another control group: the container was moved, or the " +
				"number was given to another process, or the runtime is deceived. No fact of that process is shown as the container's.",
			Remedy:     "Look at the process by its number; restart the container.",
			References: man("cgroups(7)"),
			judge:      judgeStories,
		},
	}
}

// settingFacts says whether the two levels of a setting are known.
type settingFacts struct {
	name  string
	cause error // why the comparison could not be made
}

func factsOf[A, B any](name string, from inspect.Fact[A], to inspect.Fact[B]) settingFacts {
	return settingFacts{name, errors.Join(from.Cause(), to.Cause())}
}

// loosened claims that a level has less isolation than the one before.
func (c *container) loosened(from string, facts []settingFacts) outcome {
	claims := []claim{isTrue(false, Evidence{Fact: "drift", Value: fmt.Sprintf("nothing is wider than %s", from)})}
	severity := Low
	for _, f := range facts {
		if f.cause != nil {
			claims = append(claims, unsureOf(f.name, f.cause))
			severity = High
		}
	}
	for _, d := range c.Drift {
		if d.From != from || d.Reason != "" {
			continue
		}
		level, wider := widens(d)
		if !wider || unknownSetting(facts, d.Setting) {
			continue
		}
		severity = max(severity, level)
		claims = append(claims, isTrue(true, Evidence{
			Fact: d.Setting, Value: fmt.Sprintf("%s %s, %s %s", d.From, d.Want, d.To, d.Have), Source: "drift",
		}))
	}
	return found(either(claims...), severity)
}

// unknownSetting tells that a difference cannot be believed: the setting is not
// known at both levels any more.
func unknownSetting(facts []settingFacts, setting string) bool {
	name, _, _ := strings.Cut(setting, ".")
	return slices.ContainsFunc(facts, func(f settingFacts) bool { return f.name == name && f.cause != nil })
}

// widens tells whether a difference takes isolation away, and how bad that is. The
// user namespace and limits have rules of their own.
func widens(d inspect.Difference) (Severity, bool) {
	name, part, _ := strings.Cut(d.Setting, ".")
	switch name {
	case "capabilities":
		return High, !d.More.IsEmpty()
	case "privileged":
		return High, d.Want == "false"
	case "noNewPrivs", "readonlyRootfs":
		return Medium, d.Want == "true"
	case "seccomp":
		return High, d.Have == "no filter" || d.Have == string(inspect.SeccompDisabled)
	case "apparmor", "selinux":
		return High, !isUnconfinedLabel(d.Want)
	case "user":
		return widensUser(d, part)
	case "namespaces":
		return High, d.Have == "the runtime's" || d.Have == "the host's"
	}
	return Info, false
}

func isUnconfinedLabel(label string) bool {
	return strings.EqualFold(label, "unconfined") || isUnconfinedType(label)
}

func widensUser(d inspect.Difference, part string) (Severity, bool) {
	if part == "uid" {
		return High, d.Have == "0"
	}
	return Medium, part == "gid" && d.Have == "0" || part == "groups"
}

func judgeUnrequested(c *container) outcome {
	q, ok := c.Request.Value()
	mounts, mountsOK := c.Mounts.Value()
	switch {
	case c.Request.Known() == inspect.Absent:
		return notHere(c.Request.Source())
	case !ok:
		return found(unsureOf("request", causeOf(c.Request)), Medium)
	case !mountsOK:
		return found(unsureOf("mounts", causeOf(c.Mounts)), Medium)
	}
	none := isTrue(false, Evidence{Fact: "request", Value: "all that is declared was asked for", Source: c.Request.Source()})
	return found(either(none, c.unrequestedDevices(q, mounts.Devices.Declared), c.unrequestedMounts(q, mounts.Declared)), Medium)
}

// unrequestedDevices: a privileged container is given all of the node's. With a
// folder all devices in it were asked for.
func (c *container) unrequestedDevices(q inspect.Request, declared inspect.Fact[inspect.DevicesDeclared]) claim {
	const name = "mounts.devices.declared"
	d, ok := declared.Value()
	switch {
	case !ok:
		return unsureOf(name, causeOf(declared))
	case q.Devices == nil:
		return unsureOf("request.devices", errNotCollected)
	}
	asked := func(n inspect.Device) bool {
		return slices.ContainsFunc(q.Devices, func(r inspect.RequestedDevice) bool { return below(n.Path, r.Path) })
	}
	more := isTrue(slices.ContainsFunc(d.Nodes, func(n inspect.Device) bool { return !asked(n) }), Evidence{
		Fact: name, Value: devicesText(d.Nodes, func(n inspect.Device) bool { return !asked(n) }), Source: declared.Source(),
	})
	return all(more, not(c.asksPrivileged()))
}

// unrequestedMounts: what the runtime itself adds is in a folder that it keeps for
// the pod or the container, or is the node's /dev/shm.
func (c *container) unrequestedMounts(q inspect.Request, declared inspect.Fact[[]inspect.DeclaredMount]) claim {
	list, ok := declared.Value()
	if !ok {
		return unsureOf("mounts.declared", causeOf(declared))
	}
	asked := func(m inspect.DeclaredMount) bool {
		return slices.ContainsFunc(q.Mounts, func(r inspect.RequestedMount) bool { return r.Destination == m.Destination })
	}
	result := claim{truth: no}
	for _, m := range list {
		if !m.IsBind() || asked(m) || c.ownFolder(m.Destination, []string{m.Source}) || c.podsOwn(m.Source) || m.Source == "/dev/shm" {
			continue
		}
		result = either(result, isTrue(true, Evidence{Fact: "mounts.declared." + m.Destination, Value: "the node's " + m.Source, Source: declared.Source()}))
	}
	return result
}

func judgeUserNamespace(c *container) outcome {
	if c.guest() {
		return notHere("the guest has a kernel of its own")
	}
	asked := either(
		known("userNamespace.requested", c.UserNamespace.Requested, isSet),
		known("userNamespace.declared", c.UserNamespace.Declared, isSet),
	)
	return found(all(asked, c.initialUser()), High)
}

func judgeMaskMissing(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	mounts, ok := c.Mounts.Value()
	if !ok {
		return found(unsureOf("mounts", causeOf(c.Mounts)), High)
	}
	claims := []claim{isTrue(false, Evidence{Fact: "mounts", Value: "all that is declared is in force", Source: c.Mounts.Source()})}
	add := func(name string, p inspect.PathCheck, guards ...inspect.PathGuard) {
		missing := make([]claim, 0, len(guards))
		for _, guard := range guards {
			missing = append(missing, known(name+p.Path+".inForce", p.InForce, func(g inspect.PathGuard) bool { return g == guard }))
		}
		claims = append(claims, all(known(name+p.Path+".declared", p.Declared, isSet), either(missing...)))
	}
	for _, p := range mounts.Masked {
		add("mounts.masked.", p, inspect.GuardNone, inspect.GuardReadonly)
	}
	for _, p := range mounts.ReadonlyPaths {
		add("mounts.readonlyPaths.", p, inspect.GuardNone)
	}
	return found(either(claims...), High)
}

func judgeLimitChanged(c *container) outcome {
	if c.guest() {
		return notHere("the limits in force are the sandbox's")
	}
	declared, inForce := c.Cgroup.Declared, c.Cgroup.InForce
	if cause := errors.Join(declared.Cause(), inForce.Cause()); cause != nil {
		return found(unsureOf("cgroup", cause), Low)
	}
	want, asked := declared.Value()
	have, _ := inForce.Value()
	if !asked {
		return found(isTrue(false, Evidence{Fact: "cgroup.declared", Value: "none", Source: declared.Source()}), Low)
	}
	claims := []claim{isTrue(false, Evidence{Fact: "cgroup", Value: "all declared limits are in force", Source: inForce.Source()})}
	for _, d := range want.Drift(have) {
		name := "cgroup." + d.Setting
		if d.Have == inspect.Unknown.String() {
			claims = append(claims, unsureOf(name, errors.New("the limit in force is unknown")))
			continue
		}
		claims = append(claims, isTrue(true, Evidence{Fact: name, Value: fmt.Sprintf("declared %s, in force %s", d.Want, d.Have), Source: inForce.Source()}))
	}
	return found(either(claims...), Low)
}

func judgeSharing(c *container) outcome {
	if c.guest() {
		return notHere("the namespaces are the sandbox's")
	}
	list, ok := c.Namespaces.InForce.Value()
	if !ok {
		return found(unsureOf("namespaces.inForce", causeOf(c.Namespaces.InForce)), High)
	}
	claims := []claim{isTrue(false, Evidence{Fact: "namespaces.inForce", Value: "each is whose it should be", Source: c.Namespaces.InForce.Source()})}
	for _, ns := range list {
		// A user namespace that is not given has a rule of its own, and so have
		// those that were asked for with the node's.
		if ns.Kind != ns.Kind.Type() || ns.Kind == nsdiff.User {
			continue
		}
		claims = append(claims, surprise(ns))
	}
	return found(either(claims...), High)
}

// surprise claims that a namespace is not whose it should be.
func surprise(ns inspect.Namespace) claim {
	name := "namespaces.inForce." + ns.Kind.String()
	expected := ns.Expected.Cause()
	switch {
	case ns.Verdict == nsdiff.NotApplicable, ns.Verdict == nsdiff.AsExpected && ns.ID.Known() != inspect.Unknown:
		return isTrue(false, Evidence{Fact: name, Value: ns.Verdict.String(), Source: ns.ID.Source()})
	case ns.ID.Known() == inspect.Unknown:
		return unsureOf(name, ns.ID.Cause())
	case ns.Verdict == nsdiff.Unproven:
		return unsureOf(name, errors.New(ns.Reason))
	case expected != nil:
		return unsureOf(name+".expected", expected)
	}
	return isTrue(true, Evidence{Fact: name, Value: ns.Reason, Source: ns.ID.Source()})
}

func judgeStories(c *container) outcome {
	_, ok := c.PID.Value()
	switch cause := c.PID.Cause(); {
	case ok:
		return found(isTrue(false, Evidence{Fact: "pid", Value: "in the container's control group", Source: c.PID.Source()}), High)
	case cause == nil:
		return notHere("no process of it runs")
	case strings.Contains(cause.Error(), inspect.ErrNotTheContainer.Error()):
		return found(isTrue(true, Evidence{Fact: "pid", Value: cause.Error(), Source: "runtime"}), High)
	default:
		return found(unsureOf("pid", cause), High)
	}
}
