package audit

import (
	"slices"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// attackPath is a way to the node that needs several conditions at once.
type attackPath struct {
	id, title string
	meaning   string
	legs      []leg
	refs      []Reference
	// opens adds evidence of what is there to be opened.
	opens func(*container) []Evidence
}

// leg is a condition of a path.
type leg struct {
	title string
	rule  string   // about it alone, which the path contains
	also  []string // other rules about it
	claim func(*container) claim
	// breaks says how to take it away, cost how much trouble that is: 1 a line
	// that no ordinary program misses, 2 a line that this program may miss, 3 a
	// change of the program or the image, 4 a change of the node.
	breaks string
	cost   int
}

func capabilityLeg(rule string, list ...caps.Cap) leg {
	names := caps.Of(list...).String()
	return leg{
		title: names + " over the node", rule: rule, claim: func(c *container) claim { return c.capability(list...) },
		breaks: "drop " + names + ", or give the pod a user namespace (hostUsers: false)", cost: 2,
	}
}

func callLeg(calls ...string) leg {
	return leg{
		title: calls[0] + "(2) gets past the filter of system calls", rule: "seccomp-off",
		claim:  func(c *container) claim { return c.call(calls...) },
		breaks: "a filter that forbids it: RuntimeDefault does, unless it comes with the capability; then Localhost", cost: 3,
	}
}

func rootLeg() leg {
	return leg{
		title: "root of the node, or able to become it", rule: "root-user", claim: (*container).hostRoot,
		breaks: "runAsNonRoot: true with allowPrivilegeEscalation: false, or hostUsers: false in the pod", cost: 3,
	}
}

func unlabeledLeg() leg {
	return leg{
		title: "no security module in the way", rule: "lsm-off", claim: func(c *container) claim { return not(c.labelDenies()) },
		breaks: "appArmorProfile.type: RuntimeDefault, on a node with AppArmor", cost: 4,
	}
}

func attackPaths() []attackPath {
	return []attackPath{
		{
			id: "path-mount", title: "mount the kernel's settings or the node's disks",
			meaning: "With CAP_SYS_ADMIN and mount(2) it mounts a /proc of its own that can be written, and names a program for the kernel to " +
				"run in core_pattern; or a hierarchy of control groups of version 1 with release_agent; or a disk of the node's.",
			legs:  []leg{capabilityLeg("cap-sys-admin", caps.SysAdmin), callLeg("mount", "fsopen", "move_mount"), unlabeledLeg(), rootLeg()},
			refs:  slices.Concat(cve("CVE-2022-0492"), man("mount(2)", "core(5)", "cgroups(7)")),
			opens: mountTargets,
		},
		{
			id: "path-core-pattern", title: "write a program for the kernel to run",
			meaning: "/proc/sys can be written and the container is root of the node: one write to kernel.core_pattern and one crash, and the " +
				"kernel runs a program as root outside of the container.",
			legs: []leg{
				{
					title: "/proc/sys is writable", rule: "core-pattern", claim: func(c *container) claim { return c.writable("/proc/sys") },
					breaks: "procMount: Default, or privileged: false", cost: 1,
				},
				{
					title: "the node's user namespace", claim: (*container).initialUser, breaks: "hostUsers: false in the pod", cost: 2,
				},
				rootLeg(), unlabeledLeg(),
			},
			refs: man("core(5)"),
		},
		{
			id: "path-release-agent", title: "have the kernel run release_agent",
			meaning: "A hierarchy of control groups of version 1 is mounted from its root and can be written: a program in release_agent runs " +
				"as root outside of the container when a group becomes empty. Since its repair the kernel asks for CAP_SYS_ADMIN.",
			legs: []leg{
				{
					title: "the root of a version 1 hierarchy is writable", rule: "writable-cgroup", claim: writableV1Root,
					breaks: "mount control groups read-only: privileged: false", cost: 1,
				},
				capabilityLeg("cap-sys-admin", caps.SysAdmin), rootLeg(),
			},
			refs: slices.Concat(cve("CVE-2022-0492"), man("cgroups(7)")),
		},
		{
			id: "path-host-disk", title: "read and write the node's disks",
			meaning: "The node of a disk is in /dev, or can be made, and the device policy lets it be opened: as root the container changes any " +
				"file of the node on the disk itself.",
			legs: []leg{
				{
					title: "a block device can be opened", rule: "block-device", also: []string{"cap-mknod"},
					claim:  func(c *container) claim { return either(c.device(isBlock), c.makesDisks()) },
					breaks: "privileged: false, or take the device out of the request", cost: 1,
				},
				{
					title: "the node's user namespace", claim: (*container).initialUser, breaks: "hostUsers: false in the pod", cost: 2,
				},
				rootLeg(),
			},
			refs: slices.Concat(attack("T1006"), man("mknod(2)")),
		},
		{
			id: "path-kernel-module", title: "load a module into the kernel",
			meaning: "With CAP_SYS_MODULE and init_module(2) it runs code of its own as the kernel.",
			legs: []leg{
				capabilityLeg("cap-sys-module", caps.SysModule), callLeg("init_module", "finit_module"),
				{
					title: "the kernel loads modules", claim: func(c *container) claim { return not(either(c.node.noModules(), c.node.lockedDown())) },
					breaks: "sysctl kernel.modules_disabled=1, or lockdown", cost: 4,
				},
			},
			refs: slices.Concat(attack("T1547.006"), man("init_module(2)")),
		},
		{
			id: "path-host-process", title: "take over a process of the node's",
			meaning: "In the node's pid namespace with CAP_SYS_PTRACE it writes code into any process of the node's, or enters its root folder " +
				"by /proc/PID/root.",
			legs: []leg{
				{
					title: "the node's processes are seen", rule: "host-pid", claim: func(c *container) claim { return c.namespace(nsdiff.PID) },
					breaks: "hostPID: false", cost: 1,
				},
				capabilityLeg("cap-sys-ptrace", caps.SysPtrace),
			},
			refs: slices.Concat(k8s("5.2.3"), docker("5.16"), attack("T1055.008"), man("ptrace(2)")),
		},
		{
			id: "path-neighbor", title: "take over a process of another container that opens the node",
			meaning: "In its pid namespace runs another container that leads to the node by itself: a privileged one, one with a runtime's " +
				"socket or a folder of the node's. By /proc/PID/root of a process there it has that one's files, and with ptrace(2) its " +
				"capabilities. It takes CAP_SYS_PTRACE, or the same user and no fewer capabilities.",
			legs: []leg{
				{
					title: "the processes of a container that leads to the node are seen", claim: (*container).seesStronger,
					breaks: "shareProcessNamespace: false", cost: 1,
				},
				{
					title: "one of them may be looked into", rule: "cap-sys-ptrace", claim: (*container).entersStronger,
					breaks: "run the two as different users, and drop CAP_SYS_PTRACE", cost: 2,
				},
			},
			refs: slices.Concat(attack("T1055.008"), man("ptrace(2)", "pid_namespaces(7)")),
		},
		{
			id: "path-file-handle", title: "open any file of the node by its handle",
			meaning: "With CAP_DAC_READ_SEARCH and open_by_handle_at(2) one file that is mounted from the node, which /etc/hosts mostly is, is " +
				"enough to open every other file of that file system.",
			legs: []leg{
				capabilityLeg("cap-dac-read-search", caps.DACReadSearch), callLeg("open_by_handle_at"),
				{
					title: "something of the node's file systems is mounted", claim: (*container).seesHostFile,
					breaks: "none of the mounts, /etc/hosts included, from the node's disks", cost: 4,
				},
			},
			refs: slices.Concat(attack("T1005"), man("open_by_handle_at(2)")),
		},
		{
			id: "path-kernel-memory", title: "change the kernel's memory",
			meaning: "With CAP_SYS_RAWIO and a device such as /dev/mem or /dev/cpu/0/msr it reads and changes the memory and the registers of " +
				"the machine, unless the kernel is locked down.",
			legs: []leg{
				capabilityLeg("cap-sys-rawio", caps.SysRawio),
				{
					title: "a device of the machine's memory can be opened", rule: "device-node", claim: func(c *container) claim { return c.device(isMemory) },
					breaks: "privileged: false, or take the device out of the request", cost: 1,
				},
				rootLeg(),
				{
					title: "the kernel is not locked down", claim: func(c *container) claim { return not(c.node.lockedDown()) },
					breaks: "start the kernel with lockdown=integrity", cost: 4,
				},
			},
			refs: slices.Concat(attack("T1006"), man("iopl(2)")),
		},
		{
			id: "path-kernel-programs", title: "load a tracing program into the kernel",
			meaning: "With CAP_BPF and CAP_PERFMON and bpf(2) it loads programs that read the memory of the kernel and of every process of " +
				"the node, and change what their system calls give back.",
			legs: []leg{
				capabilityLeg("cap-bpf", caps.BPF), capabilityLeg("cap-bpf", caps.Perfmon), callLeg("bpf"),
				{
					title: "the kernel is not locked down", claim: func(c *container) claim { return not(c.node.lockedDown()) },
					breaks: "start the kernel with lockdown=confidentiality", cost: 4,
				},
			},
			refs: slices.Concat(attack("T1014"), man("bpf(2)")),
		},
		{
			id: "path-mount-propagation", title: "mount over the node's own folders",
			meaning: "With CAP_SYS_ADMIN and mount(2) it mounts something below a mount that is shared with the node, where it then is on the " +
				"node as well: over its programs, its libraries, its accounts.",
			legs: []leg{
				{
					title: "a mount is shared with the node", rule: "mount-propagation", claim: (*container).propagates,
					breaks: "mountPropagation: HostToContainer or None", cost: 1,
				},
				capabilityLeg("cap-sys-admin", caps.SysAdmin), callLeg("mount", "fsopen", "move_mount"), unlabeledLeg(),
			},
			refs: slices.Concat(docker("5.20"), man("mount_namespaces(7)")),
		},
	}
}

func pathRules() []Rule {
	var list []Rule
	for _, p := range attackPaths() {
		rule := Rule{
			ID: p.id, Title: p.title, Severity: Critical, Path: true,
			Meaning:    p.meaning,
			Remedy:     "Take one of its legs away. The finding names the one with the least trouble.",
			References: slices.Concat(attack("T1611"), p.refs),
			judge:      p.judge,
		}
		for _, l := range p.legs {
			if l.rule != "" {
				rule.Covers = merge(rule.Covers, append([]string{l.rule}, l.also...))
			}
		}
		list = append(list, rule)
	}
	return list
}

func (p attackPath) judge(c *container) outcome {
	if c.guest() {
		return notHere("the guest has a kernel of its own: the way to the node leads through its sandbox")
	}
	claims := []claim{c.hostKernel()}
	legs := make([]Leg, 0, len(p.legs))
	cheapest := 0
	for n, l := range p.legs {
		is := l.claim(c)
		claims = append(claims, is)
		legs = append(legs, Leg{Title: l.title, Rule: l.rule, Evidence: is.evidence, Break: l.breaks})
		if l.cost < p.legs[cheapest].cost {
			cheapest = n
		}
	}
	legs[cheapest].Cheapest = true
	result := found(all(claims...), Critical)
	if result.truth == yes && p.opens != nil {
		result.claim = result.with(p.opens(c)...)
	}
	result.legs = legs
	return result
}

// mountTargets are what there is to mount besides /proc.
func mountTargets(c *container) []Evidence {
	var list []Evidence
	if mode, ok := c.node.Node.Cgroups.Value(); ok && mode != cgroup.Unified {
		list = append(list, Evidence{Fact: "node.cgroups", Value: string(mode) + ": version 1 has release_agent", Source: c.node.Node.Cgroups.Source()})
	}
	if disks := c.device(isBlock); disks.truth == yes {
		list = append(list, disks.evidence...)
	}
	return list
}

func writableV1Root(c *container) claim {
	return c.anyMount(func(m inspect.ContainerMount) bool { return wholeHierarchy(m) && m.Type == "cgroup" })
}

// seesHostFile claims that a file or folder of the node's disks is mounted, the
// pod's own and the kubelet's included.
func (c *container) seesHostFile() claim {
	of := func(m inspect.ContainerMount) bool {
		switch m.Kind {
		case inspect.MountHost, inspect.MountVolume, inspect.MountKubelet, inspect.MountSandbox:
			return onDisk(m)
		case inspect.MountRoot, inspect.MountKernel, inspect.MountMask, inspect.MountProtected, inspect.MountDevice, inspect.MountOwn:
		}
		return m.Kind == "" && m.Root != "/" && onDisk(m)
	}
	return c.anyMount(of)
}

func onDisk(m inspect.ContainerMount) bool {
	return slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs"}, m.Type)
}
