package audit

import (
	"fmt"
	"slices"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

func privilegeRules() []Rule {
	return []Rule{
		{
			ID: "privileged", Title: "the container is privileged", Severity: Critical,
			Meaning: "It has every capability that the runtime can give, in the node's user namespace, and no filter of system calls: " +
				"root in it is root on the node. The verdict stands on what the kernel has in force, so that a container which adds up to " +
				"privileged without the word fails too, and one that was asked for in a user namespace of its own does not.",
			Remedy: "securityContext.privileged: false, and capabilities.add with the few that it needs.",
			References: slices.Concat(baseline("privileged"), k8s("5.2.2"), docker("5.5"), nsa("C-0057"), attack("T1611"),
				man("capabilities(7)")),
			Covers: slices.Concat([]string{
				"path-mount", "path-core-pattern", "path-release-agent", "path-host-disk", "path-kernel-module", "path-file-handle",
				"path-kernel-memory", "path-kernel-programs", "path-mount-propagation",
				"root-user", "no-new-privileges", "lsm-off", "seccomp-off", "default-capabilities", "added-capabilities",
				"core-pattern", "sysrq-trigger", "unmasked-proc", "writable-proc", "writable-sys", "writable-cgroup",
				"block-device", "device-node", "cap-mknod",
			}, capabilityIDs()),
			judge: judgePrivileged,
		},
		{
			ID: "root-user", Title: "the container runs as the node's root user", Severity: Medium, pause: pauseRunsNothing,
			Meaning: "Its first process has user ID 0, and no user namespace makes that another user on the node. A file, a folder or a " +
				"socket of the node's that it gets hold of obeys it, and a flaw in the kernel or the runtime has root's reach at once. Where " +
				"a filter of system calls is in force it is low.",
			Remedy: "securityContext.runAsNonRoot: true and runAsUser: 1000; or hostUsers: false in the pod.",
			References: slices.Concat(restricted("runAsNonRoot", "runAsUser"), k8s("5.2.7"), docker("4.1", "5.31"), nsa("C-0013"),
				attack("T1611"), cve("CVE-2019-5736"), man("user_namespaces(7)")),
			judge: func(c *container) outcome {
				if c.guest() {
					return found(c.hostRoot(), Low)
				}
				root := c.isRoot()
				severity := Medium
				if s, ok := c.Seccomp.InForce.Value(); ok && s.Mode != inspect.SeccompDisabled {
					severity = Low
				}
				return found(root, severity)
			},
		},
		{
			ID: "no-new-privileges", Title: "programs can gain privileges", Severity: Medium, pause: pauseRunsNothing,
			Meaning: "no_new_privs is off: set-user-ID programs and file capabilities work. A process of another user becomes root of the " +
				"container with one such program, and gets all of the bounding set. For a process that is root already it is low.",
			Remedy: "securityContext.allowPrivilegeEscalation: false.",
			References: slices.Concat(restricted("allowPrivilegeEscalation"), k8s("5.2.6"), docker("5.26"), nsa("C-0016"),
				attack("T1548.001"), man("prctl(2)")),
			judge: judgeNoNewPrivileges,
		},
		{
			ID: "lsm-off", Title: "no security module confines the container", Severity: Medium, pause: pauseRunsNothing,
			Meaning: "AppArmor or SELinux runs on the node and does not confine the container: its profile is unconfined or only " +
				"complains, its type may do everything, or the whole node only complains (SELinux permissive). Mounting, writing to the kernel's files and to files of the node are then left " +
				"to the other measures.",
			Remedy:     "securityContext.appArmorProfile.type: RuntimeDefault; with SELinux no seLinuxOptions.type of your own.",
			References: slices.Concat(baseline("appArmorProfile", "seLinuxOptions"), docker("5.2", "5.3"), nsa("C-0055")),
			judge:      judgeLSM,
		},
		{
			ID: "writable-rootfs", Title: "the root file system is writable", Severity: Low, pause: pauseRunsNothing,
			Meaning:    "Whoever takes over a process can change its programs and leave others there, which survive the process.",
			Remedy:     "securityContext.readOnlyRootFilesystem: true, with an emptyDir for what must be written.",
			References: slices.Concat(docker("5.13"), nsa("C-0017")),
			judge: func(c *container) outcome {
				if c.guest() {
					return found(not(known("readonlyRootfs.declared", c.ReadonlyRootfs.Declared, isSet)).with(c.guestEvidence()), Low)
				}
				return found(not(known("readonlyRootfs.inForce", c.ReadonlyRootfs.InForce, isSet)), Low)
			},
		},
	}
}

func isSet(b bool) bool { return b }

func judgePrivileged(c *container) outcome {
	if c.guest() {
		declared := known("privileged.declared", c.Privileged.Declared, isSet)
		severity := Medium // a virtual machine is handed the node's devices
		if c.inGVisor() {
			severity = Low
		}
		return found(declared.with(c.guestEvidence()), severity)
	}
	claim := known("privileged.inForce", c.Privileged.InForce, isSet)
	if state, ok := c.Capabilities.InForce.Value(); ok && claim.truth == yes {
		claim = claim.with(
			Evidence{Fact: "capabilities.inForce", Value: fmt.Sprintf("%d capabilities in the bounding set", state.Bounding.Len()), Source: c.Capabilities.InForce.Source()},
			Evidence{Fact: "privileged.requested", Value: valueText(c.Privileged.Requested), Source: c.Privileged.Requested.Source()},
		)
	}
	return found(claim, Critical)
}

// valueText is the value, none or unknown.
func valueText[T any](f inspect.Fact[T]) string {
	switch value, _ := f.Value(); f.Known() {
	case inspect.Present:
		return fmt.Sprint(value)
	case inspect.Absent:
		return "none"
	case inspect.Unknown:
	}
	return "unknown: " + f.Cause().Error()
}

func judgeNoNewPrivileges(c *container) outcome {
	if c.guest() {
		return found(not(known("noNewPrivs.declared", c.NoNewPrivs.Declared, isSet)).with(c.guestEvidence()), Low)
	}
	off := not(known("noNewPrivs.inForce", c.NoNewPrivs.InForce, isSet))
	severity := Low
	if u, ok := c.User.InForce.Value(); ok && !u.IsRoot() && c.initialUser().truth != no {
		severity = Medium
	}
	if r, ok := c.Capabilities.Reach.Value(); ok && off.truth == yes {
		more := "execve(2) can add " + r.OnExec.String()
		if r.OnExec.IsEmpty() {
			more = "no capability: it has all of its bounding set"
		}
		off = off.with(Evidence{Fact: "capabilities.reach", Source: c.Capabilities.Reach.Source(), Value: more})
	}
	return found(off, severity)
}

func judgeLSM(c *container) outcome {
	switch {
	case c.guest():
		return notHere("the guest has a kernel of its own")
	case isOff(c.AppArmor.InForce, c.node.Node.AppArmorMode) && isOff(c.SELinux.InForce, c.node.Node.SELinuxEnforce):
		return notHere("neither AppArmor nor SELinux runs in this kernel")
	}
	return found(not(either(c.confinedByAppArmor(), c.confinedBySELinux())), Medium)
}

// isOff tells that a security module does not run: there is no label, or it is not
// known and the node has no such module.
func isOff[T any](label inspect.Fact[string], module inspect.Fact[T]) bool {
	return label.Known() == inspect.Absent || label.Known() == inspect.Unknown && module.Known() == inspect.Absent
}

func (c *container) confinedByAppArmor() claim {
	confined := known("apparmor.inForce", c.AppArmor.InForce, func(label string) bool {
		_, enforced := appArmorProfile(label)
		return enforced
	})
	return all(confined, c.node.appArmorEnforces())
}

func (c *container) confinedBySELinux() claim {
	confined := known("selinux.inForce", c.SELinux.InForce, func(label string) bool { return label != "" && !isUnconfinedType(label) })
	return all(confined, c.node.seLinuxEnforces())
}

// capabilityRule is a rule about capabilities that lead out of a container.
type capabilityRule struct {
	id, title string
	caps      []caps.Cap
	calls     []string // that use it: where all are filtered, little is left
	severity  Severity
	filtered  Severity // where the calls are filtered
	meaning   string
	refs      []Reference
	// more raises or lowers the severity by other facts.
	more func(*container, Severity) Severity
	// protects claims that the node keeps the capability from being used.
	protects func(*container) claim
}

func capabilityIDs() []string {
	list := []string{"inheritable-capabilities"}
	for _, r := range dangerousCapabilities() {
		list = append(list, r.id)
	}
	return list
}
