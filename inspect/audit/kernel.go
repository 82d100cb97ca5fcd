package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

const guestsKernel = "the guest has a kernel of its own: these are not the node's files"

func kernelRules() []Rule {
	return []Rule{
		{
			ID: "core-pattern", Title: "the node's kernel settings are writable", Severity: Critical,
			Meaning: "/proc/sys, or that of another proc file system in the container, is not read-only and the container is root of the " +
				"node: it writes a program into kernel.core_pattern, kernel.modprobe, kernel.hotplug or kernel.poweroff_cmd, or " +
				"registers one in binfmt_misc, and the kernel runs it as root, outside of the container.",
			Remedy:     "securityContext.procMount: Default, and a runtime or client that makes /proc/sys read-only.",
			References: slices.Concat(baseline("procMount"), docker("5.5"), nsa("C-0055"), attack("T1611"), man("core(5)")),
			judge: func(c *container) outcome {
				if c.guest() {
					return notHere(guestsKernel)
				}
				return found(c.writesKernelFile("/proc/sys"), Critical)
			},
		},
		{
			ID: "sysrq-trigger", Title: "the container can restart the node", Severity: Medium,
			Meaning:    "/proc/sysrq-trigger is not read-only and the container is root of the node: one letter restarts it.",
			Remedy:     "securityContext.procMount: Default, and a runtime or client that makes /proc/sysrq-trigger read-only.",
			References: slices.Concat(baseline("procMount"), attack("T1529"), man("proc(5)")),
			judge: func(c *container) outcome {
				if c.guest() {
					return notHere(guestsKernel)
				}
				return found(c.writesKernelFile("/proc/sysrq-trigger"), Medium)
			},
		},
		{
			ID: "writable-proc", Title: "parts of /proc that runtimes make read-only are writable", Severity: Low,
			Meaning: "Of /proc/bus, /proc/fs and /proc/irq, and of what else the specification makes read-only, something can be written, " +
				"also below a read-only folder. /proc/sys and /proc/sysrq-trigger have rules of their own.",
			Remedy:     "securityContext.procMount: Default.",
			References: slices.Concat(baseline("procMount"), man("proc(5)")),
			judge:      judgeWritableProc,
		},
		{
			ID: "unmasked-proc", Title: "paths of /proc and /sys that runtimes hide are seen", Severity: High, pause: pauseRunsNothing,
			Meaning: "They tell of the node: its keys, timers, devices, firmware. /proc/kcore is the memory of the kernel: with " +
				"CAP_SYS_RAWIO, which is asked for there, it is high. Only paths that this kernel has count.",
			Remedy:     "securityContext.procMount: Default, and a runtime or client that masks them.",
			References: slices.Concat(baseline("procMount"), attack("T1003.007"), man("proc(5)")),
			judge:      judgeUnmasked,
		},
		{
			ID: "mask-replaced", Title: "something else is mounted in place of a mask", Severity: High,
			Meaning: "On a path of the kernel's there is neither the kernel's own file nor what the runtime puts there to hide it. runc before " +
				"1.2.8 and 1.3.3 could be made to mount another file of /proc there, and to make that writable.",
			Remedy:     "Find out what made the mount; update runc.",
			References: slices.Concat(attack("T1611"), cve("CVE-2025-31133")),
			judge:      judgeReplaced,
		},
		{
			ID: "writable-sys", Title: "/sys is writable", Severity: High, pause: "the runtime gives the sandbox container of a privileged pod such a /sys; it runs nothing of the pod's",
			Meaning: "The container is root of the node and /sys is not read-only: it changes drivers, power and devices of the node, and " +
				"where the kernel has uevent_helper names a program that the kernel runs as root outside of the container.",
			Remedy:     "Do not run it privileged: runtimes mount /sys read-only otherwise.",
			References: slices.Concat(docker("5.5"), attack("T1611"), man("sysfs(5)")),
			judge:      judgeWritableSys,
		},
		{
			ID: "writable-cgroup", Title: "control groups are writable", Severity: High,
			Meaning: "It can change its own limits. Where a hierarchy of version 1 is shown from its root, it has release_agent, a program that " +
				"the kernel runs as root outside of the container, and it is high; so it is for all of version 2's tree. In a cgroup " +
				"namespace of its own it is low where the node mounts version 2 with nsdelegate, as systemd does: there it can only " +
				"divide what it has.",
			Remedy:     "Do not run it privileged: runtimes mount control groups read-only otherwise.",
			References: slices.Concat(attack("T1611"), cve("CVE-2022-0492"), man("cgroups(7)")),
			judge:      judgeWritableCgroup,
		},
		{
			ID: "kernel-filesystem", Title: "a file system of the kernel's is mounted", Severity: High,
			Meaning: "debugfs, tracefs, securityfs, bpffs, efivarfs, configfs, pstore or binfmt_misc can be written: each changes the " +
				"kernel's behavior for the whole node. Read-only it is low.",
			Remedy:     "Remove the mount.",
			References: slices.Concat(docker("5.6"), attack("T1611")),
			judge:      judgeKernelFilesystem,
		},
		{
			ID: "lxcfs", Title: "LXCFS is writable", Severity: Medium,
			Meaning:    "A mount of lxcfs shows the node's control groups, and can be written.",
			Remedy:     "Mount it read-only.",
			References: attack("T1611"),
			judge: func(c *container) outcome {
				if c.guest() {
					return notHere(guestsKernel)
				}
				return found(c.anyMount(func(m inspect.ContainerMount) bool { return m.Type == "fuse.lxcfs" && !m.Readonly }), Medium)
			},
		},
	}
}

// writable claims that a path that runtimes make read-only can be written, in /proc
// or in another proc file system of the container.
func (c *container) writable(path string) claim {
	name := "mounts.readonlyPaths." + path
	mounts, ok := c.Mounts.Value()
	if !ok {
		return unsureOf(name, causeOf(c.Mounts))
	}
	if elsewhere := c.elsewhere(mounts, strings.TrimPrefix(path, "/proc")); elsewhere.truth == yes {
		return elsewhere
	}
	n := slices.IndexFunc(mounts.ReadonlyPaths, func(p inspect.PathCheck) bool { return p.Path == path })
	if n < 0 {
		return unsureOf(name, errNotCollected)
	}
	return guarded(name, mounts.ReadonlyPaths[n], inspect.GuardNone)
}

// elsewhere claims that a path of /proc can be written below another place, where a
// proc file system is mounted as well: the node's, or one more of the container's.
func (c *container) elsewhere(mounts inspect.Mounts, path string) claim {
	result := claim{truth: no}
	for _, m := range mounts.InForce {
		if m.Type != "proc" || m.Hidden || m.Readonly || below(m.Point, "/proc") {
			continue
		}
		at := m.Point
		switch {
		case below(path, m.Root):
			at = strings.TrimSuffix(m.Point, "/") + strings.TrimPrefix(path, strings.TrimSuffix(m.Root, "/"))
		case path != "/sys" || !below(m.Root, "/sys/kernel"):
			continue
		}
		if mountAt(mounts.InForce, at).Point == m.Point {
			result = either(result, isTrue(true, Evidence{Fact: "mounts.inForce." + m.Point, Value: "proc, writable at " + at, Source: c.Mounts.Source()}))
		}
	}
	return result
}

// mountAt is the mount that is seen at a path.
func mountAt(mounts []inspect.ContainerMount, path string) inspect.ContainerMount {
	var top inspect.ContainerMount
	for _, m := range mounts {
		if !m.Hidden && below(path, m.Point) && len(m.Point) >= len(top.Point) {
			top = m
		}
	}
	return top
}

// guarded claims that a path has a certain guard, or for a read-only one that
// something below can be written.
func guarded(name string, p inspect.PathCheck, guard inspect.PathGuard) claim {
	is := known(name+".inForce", p.InForce, func(g inspect.PathGuard) bool { return g == guard })
	if guard != inspect.GuardNone || len(p.WritableBelow) == 0 {
		return is
	}
	return either(is, isTrue(true, Evidence{Fact: name + ".writableBelow", Value: strings.Join(p.WritableBelow, " "), Source: p.InForce.Source()}))
}

// writesKernelFile claims that a file of /proc that is root's on the node can be
// written.
func (c *container) writesKernelFile(path string) claim {
	return all(c.writable(path), c.initialUser(), c.hostRoot(), not(c.labelDenies()))
}

func judgeWritableProc(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	mounts, ok := c.Mounts.Value()
	if !ok {
		return found(unsureOf("mounts", causeOf(c.Mounts)), Low)
	}
	var claims []claim
	for _, p := range mounts.ReadonlyPaths {
		if p.Path != "/proc/sys" && p.Path != "/proc/sysrq-trigger" {
			claims = append(claims, guarded("mounts.readonlyPaths."+p.Path, p, inspect.GuardNone))
		}
	}
	return found(all(either(claims...), c.initialUser()), Low)
}

func judgeUnmasked(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	mounts, ok := c.Mounts.Value()
	if !ok {
		return found(unsureOf("mounts", causeOf(c.Mounts)), High)
	}
	claims := make([]claim, 0, len(mounts.Masked))
	severity := Low
	for _, p := range mounts.Masked {
		seen := either(guarded("mounts.masked."+p.Path, p, inspect.GuardNone), guarded("mounts.masked."+p.Path, p, inspect.GuardReadonly))
		claims = append(claims, seen)
		if p.Path == "/proc/kcore" && all(seen, c.capability(caps.SysRawio)).truth != no {
			severity = High
		}
	}
	return found(either(claims...), severity)
}

func judgeReplaced(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	mounts, ok := c.Mounts.Value()
	if !ok {
		return found(unsureOf("mounts", causeOf(c.Mounts)), High)
	}
	var claims []claim
	for _, p := range mounts.Masked {
		claims = append(claims, guarded("mounts.masked."+p.Path, p, inspect.GuardReplaced))
	}
	for _, p := range mounts.ReadonlyPaths {
		claims = append(claims, guarded("mounts.readonlyPaths."+p.Path, p, inspect.GuardReplaced))
	}
	return found(either(claims...), High)
}

// mountEvidence describes a mount.
func mountEvidence(m inspect.ContainerMount, source string) Evidence {
	access := "writable"
	if m.Readonly {
		access = "read-only"
	}
	value := fmt.Sprintf("%s, %s, %s", m.Type, m.Root, access)
	if host, ok := m.Host.Value(); ok && len(host.Paths) > 0 {
		value = fmt.Sprintf("the node's %s, %s", host.Paths[0], access)
	}
	return Evidence{Fact: "mounts.inForce." + m.Point, Value: value, Source: source}
}

// anyMount claims that a mount that is seen is of some kind.
func (c *container) anyMount(is func(inspect.ContainerMount) bool) claim {
	mounts, ok := c.Mounts.Value()
	if !ok {
		return unsureOf("mounts", causeOf(c.Mounts))
	}
	found := claim{truth: no, evidence: []Evidence{{Fact: "mounts.inForce", Value: fmt.Sprintf("none of %d mounts", len(mounts.InForce)), Source: c.Mounts.Source()}}}
	for _, m := range mounts.InForce {
		if !m.Hidden && is(m) {
			found = either(found, isTrue(true, mountEvidence(m, c.Mounts.Source())))
		}
	}
	return found
}

func judgeWritableSys(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	writable := c.anyMount(func(m inspect.ContainerMount) bool {
		// The node's on another place is host-kernel's.
		return m.Type == "sysfs" && m.Kind != inspect.MountHost && !m.Readonly
	})
	return found(all(writable, c.initialUser(), c.hostRoot(), not(c.labelDenies())), High)
}

func isCgroup(m inspect.ContainerMount) bool { return m.Type == "cgroup" || m.Type == "cgroup2" }

// wholeHierarchy tells a mount of control groups that is shown from the root.
func wholeHierarchy(m inspect.ContainerMount) bool {
	return isCgroup(m) && m.Root == "/" && !m.Readonly
}

// delegated tells whether a cgroup namespace bounds what can be written of every
// hierarchy that the container sees.
func (c *container) delegated() claim {
	const name = "cgroup.inForce.mounts"
	process, ok := c.Cgroup.InForce.Value()
	if !ok {
		return unsureOf(name, causeOf(c.Cgroup.InForce))
	}
	return known(name, process.Mounts, func(mounts []cgroup.Mount) bool {
		return len(mounts) > 0 && !slices.ContainsFunc(mounts, func(m cgroup.Mount) bool { return m.Writable && !m.Delegates })
	})
}

func judgeWritableCgroup(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	severity := Medium
	switch {
	case c.anyMount(wholeHierarchy).truth != no:
		severity = High
	case all(not(c.namespace(nsdiff.Cgroup)), c.delegated()).truth == yes:
		severity = Low
	}
	writable := c.anyMount(func(m inspect.ContainerMount) bool { return isCgroup(m) && !m.Readonly })
	return found(all(writable, c.initialUser(), c.hostRoot()), severity)
}

var kernelFilesystems = []string{"debugfs", "tracefs", "securityfs", "bpf", "efivarfs", "configfs", "pstore", "binfmt_misc"}

func judgeKernelFilesystem(c *container) outcome {
	if c.guest() {
		return notHere(guestsKernel)
	}
	of := func(writable bool) claim {
		return c.anyMount(func(m inspect.ContainerMount) bool {
			return slices.Contains(kernelFilesystems, m.Type) && m.Readonly != writable
		})
	}
	severity := Low
	rw := of(true)
	if all(rw, c.initialUser(), c.hostRoot()).truth != no {
		severity = High
	}
	return found(either(rw, of(false)), severity)
}
