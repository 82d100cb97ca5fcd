package caps

import (
	"fmt"
	"strconv"
)

// Danger says how much harm a capability can do from a container. Each level assumes the initial user namespace, user ID 0,
// and neither a seccomp filter nor a security module in the way.
type Danger uint8

// The levels, in rising order after the zero value, which is unknown. Compare them with [Danger.AtLeast] and
// [Danger.Compare], which do not take unknown for harmless.
const (
	// DangerUnknown: nothing is known of the capability.
	DangerUnknown Danger = iota
	// DangerNone: the kernel does not use the capability, or the process does not have it.
	DangerNone
	// DangerLow: it changes the container itself; the host notices at most a nuisance.
	DangerLow
	// DangerMedium: it disturbs the host or its other containers or reads what is theirs, or it turns something that is already
	// a weakness, such as a writable host directory, into a takeover.
	DangerMedium
	// DangerHigh: it takes over the host or reads its secrets given one more thing that it needs: a namespace of the host, a
	// device, another capability.
	DangerHigh
	// DangerCritical: it takes over the host or reads all of its files by itself.
	DangerCritical
)

// String returns the level in lower case, such as "high".
func (d Danger) String() string {
	switch d {
	case DangerUnknown:
		return "unknown"
	case DangerNone:
		return "none"
	case DangerLow:
		return "low"
	case DangerMedium:
		return "medium"
	case DangerHigh:
		return "high"
	case DangerCritical:
		return "critical"
	}
	return "Danger(" + strconv.Itoa(int(d)) + ")"
}

// AtLeast reports whether d is as high as level or higher, or unknown.
func (d Danger) AtLeast(level Danger) bool { return d == DangerUnknown || d >= level }

// Compare returns a negative number when d is less dangerous than e, 0 when it is as dangerous, and a positive number when it is
// more dangerous. Unknown stands between high and critical.
func (d Danger) Compare(e Danger) int { return d.rank() - e.rank() }

func (d Danger) rank() int {
	if d == DangerUnknown {
		return 2*int(DangerCritical) - 1
	}
	return 2 * int(d)
}

// MarshalText returns the text of [Danger.String].
func (d Danger) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes a text of [Danger.String]. The error wraps [ErrSyntax].
func (d *Danger) UnmarshalText(text []byte) error {
	for level := DangerUnknown; level <= DangerCritical; level++ {
		if string(text) == level.String() {
			*d = level
			return nil
		}
	}
	return fmt.Errorf("%w: danger %q: want unknown, none, low, medium, high or critical", ErrSyntax, clip(string(text)))
}

// Info is what is known of a capability.
type Info struct {
	// Allows says in one sentence what the capability allows, from capabilities(7). It is empty for an unknown capability.
	Allows string `json:"allows"`
	// Since is the Linux version that brought the capability, such as "2.6.24".
	Since string `json:"since"`
	// Danger is how much harm it can do.
	Danger Danger `json:"danger"`
	// Escape says in one sentence how it leads out of a container, and is empty when it does not.
	Escape string `json:"escape,omitempty"`
	// Refs are the sources for Escape: manual pages such as "bpf(2)", CVE numbers, and MITRE ATT&CK techniques such as "T1611".
	Refs []string `json:"refs,omitempty"`
}

// Info returns what is known of c. For a capability without a known name, the Danger is [DangerUnknown] and the rest is empty.
func (c Cap) Info() Info {
	if int(c) >= len(infos) {
		return Info{}
	}
	info := infos[c]
	info.Refs = append([]string(nil), info.Refs...)
	return info
}

var infos = [...]Info{
	Chown: {
		Allows: "Give any file to any user and group.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "In a writable host directory, takes over files of any owner by giving them to itself.",
		Refs:   []string{"chown(2)", "T1611"},
	},
	DACOverride: {
		Allows: "Read, write and execute files whatever their permissions.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "In a writable host directory, overwrites files of any owner.",
		Refs:   []string{"capabilities(7)", "T1611"},
	},
	DACReadSearch: {
		Allows: "Read files and search directories whatever their permissions, and open files by handle.",
		Since:  "2.2", Danger: DangerCritical,
		Escape: "One file that is mounted from the host, such as /etc/hosts, is enough to open every other file of that file " +
			"system by its handle, for writing too when CAP_DAC_OVERRIDE is there (known as shocker).",
		Refs: []string{"open_by_handle_at(2)", "T1611", "T1005"},
	},
	Fowner: {
		Allows: "Change the mode, flags, access lists and times of files that others own, and delete them from sticky directories.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "In a writable host directory, makes files of any owner writable or set-user-ID.",
		Refs:   []string{"capabilities(7)", "T1611"},
	},
	Fsetid: {
		Allows: "Keep the set-user-ID and set-group-ID bits of a file that is changed, and set the latter for a group not one's own.",
		Since:  "2.2", Danger: DangerLow,
	},
	Kill: {
		Allows: "Send signals to processes of any user that the process can see.",
		Since:  "2.2", Danger: DangerLow,
	},
	Setgid: {
		Allows: "Take any group ID and any supplementary groups, and claim any group ID over a UNIX socket.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "In a host directory, takes the rights of any group, such as the one that may use a container runtime's socket.",
		Refs:   []string{"capabilities(7)", "T1611"},
	},
	Setuid: {
		Allows: "Take any user ID, and claim any user ID over a UNIX socket.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "Turns a process of another user into user ID 0, which owns the host's files in any host directory.",
		Refs:   []string{"capabilities(7)", "T1611"},
	},
	Setpcap: {
		Allows: "Add capabilities of the bounding set to the inheritable set, drop them from the bounding set, and set the securebits.",
		Since:  "2.2", Danger: DangerLow,
	},
	LinuxImmutable: {
		Allows: "Set and clear the append-only and immutable flags of files.",
		Since:  "2.2", Danger: DangerLow,
	},
	NetBindService: {
		Allows: "Bind to ports below 1024, or below net.ipv4.ip_unprivileged_port_start where that is set.",
		Since:  "2.2", Danger: DangerLow,
	},
	NetBroadcast: {
		Allows: "Nothing: the kernel does not use it.",
		Since:  "2.2", Danger: DangerNone,
	},
	NetAdmin: {
		Allows: "Configure interfaces, addresses, routes, firewalls and traffic control of the process's network namespace.",
		Since:  "2.2", Danger: DangerHigh,
		Escape: "In the host's network namespace, redirects the traffic of the host and its pods; in its own, it reaches kernel code " +
			"such as nf_tables, where flaws have led to the host.",
		Refs: []string{"capabilities(7)", "CVE-2024-1086", "T1557"},
	},
	NetRaw: {
		Allows: "Use raw and packet sockets, and bind to foreign addresses for transparent proxies.",
		Since:  "2.2", Danger: DangerMedium,
		Escape: "Sniffs and forges packets on the network of its pod or, with hostNetwork, of the host, and reaches the kernel's packet " +
			"sockets, where a flaw has led to the host.",
		Refs: []string{"packet(7)", "CVE-2020-14386", "T1557"},
	},
	IPCLock: {
		Allows: "Lock memory beyond the limit, so that it is never swapped out, and use huge pages.",
		Since:  "2.2", Danger: DangerLow,
	},
	IPCOwner: {
		Allows: "Use System V shared memory, semaphores and message queues of any owner.",
		Since:  "2.2", Danger: DangerMedium,
	},
	SysModule: {
		Allows: "Load and unload kernel modules.",
		Since:  "2.2", Danger: DangerCritical,
		Escape: "Loads a module that runs as the kernel, unless kernel.modules_disabled or lockdown forbids it.",
		Refs:   []string{"init_module(2)", "T1611", "T1547.006"},
	},
	SysRawio: {
		Allows: "Use I/O ports, /dev/mem, /proc/kcore and model-specific registers, and send raw commands to devices.",
		Since:  "2.2", Danger: DangerHigh,
		Escape: "Given a device such as /dev/mem, /dev/port or /dev/cpu/0/msr, reads and changes the kernel's memory or registers, " +
			"unless lockdown forbids it.",
		Refs: []string{"iopl(2)", "capabilities(7)", "T1611"},
	},
	SysChroot: {
		Allows: "Change the root directory, and enter mount namespaces for which CAP_SYS_ADMIN is there too.",
		Since:  "2.2", Danger: DangerLow,
	},
	SysPtrace: {
		Allows: "Trace any process that can be seen, and read and write its memory.",
		Since:  "2.2", Danger: DangerHigh,
		Escape: "In the host's pid namespace, puts code into a process of the host, or enters its root directory in /proc.",
		Refs:   []string{"ptrace(2)", "T1611", "T1055.008"},
	},
	SysPacct: {
		Allows: "Switch process accounting on and off.",
		Since:  "2.2", Danger: DangerLow,
	},
	SysAdmin: {
		Allows: "Mount file systems, enter and make namespaces, set quotas and host names, and administer most of the kernel.",
		Since:  "2.2", Danger: DangerCritical,
		Escape: "Mounts a writable /proc, whose core_pattern names a program for the host to run, or a cgroup v1 hierarchy, whose " +
			"release_agent does the same, or the host's disks.",
		Refs: []string{"capabilities(7)", "cgroups(7)", "core(5)", "CVE-2022-0492", "T1611"},
	},
	SysBoot: {
		Allows: "Restart the system, and load another kernel to start.",
		Since:  "2.2", Danger: DangerHigh,
		Escape: "Loads a kernel of its own, unless kernel.kexec_load_disabled or lockdown forbids it, and starts it from the host's pid " +
			"namespace.",
		Refs: []string{"kexec_load(2)", "reboot(2)", "T1611", "T1529"},
	},
	SysNice: {
		Allows: "Raise priorities, use real-time scheduling, and set the processors and scheduling of any process that can be seen.",
		Since:  "2.2", Danger: DangerMedium,
	},
	SysResource: {
		Allows: "Exceed resource limits, disk quotas and reserved space, and lower the chance to be killed when memory runs out.",
		Since:  "2.2", Danger: DangerMedium,
	},
	SysTime: {
		Allows: "Set the system clock and the hardware clock.",
		Since:  "2.2", Danger: DangerMedium,
	},
	SysTTYConfig: {
		Allows: "Hang up terminals, and configure virtual terminals.",
		Since:  "2.2", Danger: DangerLow,
	},
	Mknod: {
		Allows: "Make device files.",
		Since:  "2.4", Danger: DangerHigh,
		Escape: "Where the device policy of its cgroup lets it open block devices, reads and writes the host's disks through a device " +
			"file of its own.",
		Refs: []string{"mknod(2)", "T1611"},
	},
	Lease: {
		Allows: "Take leases on files of any owner.",
		Since:  "2.4", Danger: DangerLow,
	},
	AuditWrite: {
		Allows: "Write records to the kernel's audit log.",
		Since:  "2.6.11", Danger: DangerLow,
	},
	AuditControl: {
		Allows: "Switch the kernel's auditing on and off, and change its rules.",
		Since:  "2.6.11", Danger: DangerMedium,
	},
	Setfcap: {
		Allows: "Give capabilities to program files.",
		Since:  "2.6.24", Danger: DangerMedium,
		Escape: "In a writable host directory, gives a program every capability, for whoever runs it on the host.",
		Refs:   []string{"capabilities(7)", "T1611"},
	},
	MACOverride: {
		Allows: "Override mandatory access control, where the security module is Smack.",
		Since:  "2.6.25", Danger: DangerMedium,
	},
	MACAdmin: {
		Allows: "Change the configuration of mandatory access control, such as the policies of Smack and AppArmor.",
		Since:  "2.6.25", Danger: DangerMedium,
	},
	Syslog: {
		Allows: "Read and clear the kernel's log, and see kernel addresses where kernel.kptr_restrict is 1.",
		Since:  "2.6.37", Danger: DangerMedium,
	},
	WakeAlarm: {
		Allows: "Set timers that wake up a suspended system.",
		Since:  "3.0", Danger: DangerLow,
	},
	BlockSuspend: {
		Allows: "Keep the system from being suspended.",
		Since:  "3.5", Danger: DangerLow,
	},
	AuditRead: {
		Allows: "Read the kernel's audit log over a netlink socket.",
		Since:  "3.16", Danger: DangerMedium,
	},
	Perfmon: {
		Allows: "Observe the performance of the kernel and of every process, with perf events and, next to CAP_BPF, with BPF programs.",
		Since:  "5.8", Danger: DangerHigh,
		Escape: "With CAP_BPF, loads tracing programs that read the memory of the kernel and of every process of the host.",
		Refs:   []string{"perf_event_open(2)", "bpf(2)", "T1611", "T1014"},
	},
	BPF: {
		Allows: "Load BPF programs and make all kinds of BPF maps; tracing and networking need CAP_PERFMON or CAP_NET_ADMIN as well.",
		Since:  "5.8", Danger: DangerHigh,
		Escape: "With CAP_PERFMON, loads tracing programs that read the memory of the kernel and of every process of the host.",
		Refs:   []string{"bpf(2)", "capabilities(7)", "T1611", "T1014"},
	},
	CheckpointRestore: {
		Allows: "Choose the process IDs of new processes, and read which files other processes have mapped.",
		Since:  "5.9", Danger: DangerLow,
	},
}
