package inspect

import (
	"fmt"
	"strconv"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Kind tells a pod's sandbox from its containers.
type Kind string

// The kinds of container.
const (
	// KindContainer runs somebody's program.
	KindContainer Kind = "container"
	// KindSandbox is a pod's own container, pause, which holds its namespaces.
	KindSandbox Kind = "sandbox"
)

// State is a container's state as its runtime tells it. It is a hint: the
// process was looked at where PID is known.
type State string

// The states of a container.
const (
	StateCreated State = "created"
	StateRunning State = "running"
	StatePaused  State = "paused"
	StateExited  State = "exited"
)

// Tier is how far a container is from the host's kernel, the weakest first.
type Tier string

// The trust tiers.
const (
	// TierHostKernel shares the host's kernel and its user namespace: root in
	// it is the host's root with fewer capabilities.
	TierHostKernel Tier = "host-kernel"
	// TierUserNamespace shares the kernel, in a user namespace of its own: its
	// capabilities hold only there.
	TierUserNamespace Tier = "user-namespace"
	// TierSandbox talks to a kernel in user space (gVisor). What the host's
	// kernel shows is the sandbox's, not the guest's.
	TierSandbox Tier = "sandbox"
	// TierVM runs in a virtual machine (Kata Containers).
	TierVM Tier = "virtual-machine"
)

// Guest tells that a container of this tier has a kernel of its own. The first
// process and all else that the host's kernel tells are the sandbox's then, the
// same for all containers of a pod, and say nothing of the guest: its
// capabilities, its user and its processes are in its own kernel only.
func (t Tier) Guest() bool { return t == TierSandbox || t == TierVM }

// Guest tells that the container is known to have a kernel of its own, see
// [Tier.Guest].
func (c Container) Guest() bool {
	t, _ := c.Tier.Value()
	return t.Guest()
}

// Pod names the pod of a container.
type Pod struct {
	// Name and Namespace are those of Kubernetes; empty when they are not known.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// UID is another one for each pod of a name.
	UID string `json:"uid,omitempty"`
	// SandboxID is the id of the pod's sandbox container; empty when it is not
	// known.
	SandboxID string `json:"sandboxID"`
}

// Container is a container as its runtime lists it, with its first process.
type Container struct {
	// ID is the runtime's.
	ID string `json:"id"`
	// Name is the container's name in its pod, or the one that Docker or nerdctl
	// gave it, or its id where it has none. A sandbox has the pod's name. Where no
	// runtime is asked it is the beginning of the id.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Namespace is containerd's namespace: k8s.io, moby, default. Empty for
	// other runtimes.
	Namespace string `json:"namespace,omitempty"`
	// Pod is nil for a container that was not made through the CRI. Where no
	// runtime is asked it has a UID only, from the kubelet's name of the cgroup,
	// and is nil without one.
	Pod *Pod `json:"pod,omitempty"`
	// Image is the image's name or digest, as the runtime tells it.
	Image string      `json:"image,omitempty"`
	State Fact[State] `json:"state"`
	// PID is the first process, in the numbering of our proc file system. It
	// is known only when the process was opened and is the container's.
	PID Fact[int] `json:"pid"`
	// Runtime is the runtime's type or handler, for example
	// io.containerd.runc.v2.
	Runtime string     `json:"runtime,omitempty"`
	Tier    Fact[Tier] `json:"tier"`
	// Command are the arguments of the first process, from /proc/PID/cmdline: what
	// tells best which container it is where no runtime is asked. A process may
	// write anything there. It is read then only, and left out of JSON otherwise.
	Command Fact[[]string] `json:"command,omitzero"`
	// CreatedAt is when the runtime made the container, in UTC.
	CreatedAt time.Time `json:"createdAt,omitzero"`

	// Labels and Annotations are the runtime's and the client's. Secrets in them
	// are "<redacted>" unless Options.ShowSecrets is set.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Report is all that is known of one container: each setting as requested,
// declared and in force, and where these differ.
type Report struct {
	Container

	// Capabilities are the capability sets.
	Capabilities Capabilities `json:"capabilities"`
	// User is the user and the groups of the first process.
	User Setting[UserRequest, User, UserInForce] `json:"user"`
	// NoNewPrivs tells whether execve(2) adds no privileges.
	NoNewPrivs Setting[bool, bool, bool] `json:"noNewPrivs"`
	// Seccomp is the filter of system calls.
	Seccomp Setting[SeccompRequest, SeccompDeclared, SeccompInForce] `json:"seccomp"`
	// AppArmor is the name of the profile, in force with its mode.
	AppArmor Setting[string, string, string] `json:"apparmor"`
	// SELinux is the label.
	SELinux Setting[string, string, string] `json:"selinux"`
	// ReadonlyRootfs tells whether the root file system is read-only.
	ReadonlyRootfs Setting[bool, bool, bool] `json:"readonlyRootfs"`
	// Privileged tells whether it has all that the CRI's privileged mode gives.
	Privileged Setting[bool, bool, bool] `json:"privileged"`
	// UserNamespace tells whether it has a user namespace of its own, in force
	// which one.
	UserNamespace Setting[bool, bool, UserNamespace] `json:"userNamespace"`

	Namespaces Namespaces `json:"namespaces"`
	Cgroup     Cgroup     `json:"cgroup"`

	// Process is the declared first process.
	Process Fact[Program] `json:"process"`

	// Request, Specification, Mounts and Processes are collected by
	// [Inspector.Details] and [Inspector.Snapshot] only, and left out of JSON
	// otherwise.
	Request       Fact[Request]       `json:"request,omitzero"`
	Specification Fact[Specification] `json:"specification,omitzero"`
	Mounts        Fact[Mounts]        `json:"mounts,omitzero"`
	Processes     Fact[Processes]     `json:"processes,omitzero"`

	// Drift lists where requested, declared and in force differ. A difference
	// that follows from how the kernel and the runtime work has the Reason.
	Drift []Difference `json:"drift"`
}

// Capabilities are a container's capability sets at the three levels.
type Capabilities struct {
	Setting[CapabilityRequest, CapabilitySets, caps.State]
	// Reach is what the process can do and could become able to do, unknown
	// when the sets in force are.
	Reach Fact[caps.Reach] `json:"reach"`
	// Default is the set the runtime gives when nothing is asked for, absent
	// when it is not known for this runtime.
	Default Fact[caps.Set] `json:"default"`
}

// CapabilityRequest is what a CRI client asked for.
type CapabilityRequest struct {
	// Add and Drop are as written in the request, ALL included.
	Add  []string `json:"add"`
	Drop []string `json:"drop"`
	// Privileged asks for all that the runtime has, whatever Add and Drop say.
	Privileged bool `json:"privileged"`
	// Result is the bounding, permitted and effective set that the runtime
	// makes of the request; unknown where its default is.
	Result Fact[caps.Set] `json:"result"`
}

// CapabilitySets are the sets of an OCI runtime specification.
type CapabilitySets struct {
	Inheritable caps.Set `json:"inheritable"`
	Permitted   caps.Set `json:"permitted"`
	Effective   caps.Set `json:"effective"`
	Bounding    caps.Set `json:"bounding"`
	Ambient     caps.Set `json:"ambient"`
}

// UserRequest is the user that a CRI client asked for. What it left out comes
// from the image.
type UserRequest struct {
	// UID and GID are numbered as in the container.
	UID *int64 `json:"uid,omitempty"`
	GID *int64 `json:"gid,omitempty"`
	// Name is a user's of the image.
	Name string `json:"name,omitempty"`
	// Groups are the supplemental groups.
	Groups []int64 `json:"groups"`
}

// User is the user of an OCI runtime specification, numbered as in the
// container.
type User struct {
	// UID and GID are the user and the first group, Groups the others.
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// UserInForce are a process's credentials, from the lines Uid, Gid and Groups
// of /proc/PID/status, numbered as our user namespace sees them. See
// credentials(7).
type UserInForce struct {
	// UID and GID are the user and the first group, Groups the others.
	UID    IDs      `json:"uid"`
	GID    IDs      `json:"gid"`
	Groups []uint32 `json:"groups"`
	// Inside is the effective user as the container numbers it, unknown when
	// its id maps are.
	Inside Fact[User] `json:"inside"`
}

// IDs are the four user or group ids of a process.
type IDs struct {
	// Real is whose process it is, Effective decides what it may do, Saved is
	// what it may go back to, Filesystem decides about files.
	Real       uint32 `json:"real"`
	Effective  uint32 `json:"effective"`
	Saved      uint32 `json:"saved"`
	Filesystem uint32 `json:"filesystem"`
}

// SeccompRequest is the profile that a CRI client asked for.
type SeccompRequest struct {
	// Profile is RuntimeDefault, Unconfined or Localhost.
	Profile string `json:"profile"`
	// LocalhostRef is the profile's file, for Localhost.
	LocalhostRef string `json:"localhostRef,omitempty"`
}

// SeccompDeclared is the filter in an OCI runtime specification.
type SeccompDeclared struct {
	// DefaultAction is what happens to a call without a rule: SCMP_ACT_ERRNO.
	DefaultAction string `json:"defaultAction"`
	// Rules counts the rules that differ from the default action.
	Rules int `json:"rules"`
}

// SeccompMode is the line Seccomp of /proc/PID/status. See seccomp(2).
type SeccompMode string

// The modes of seccomp.
const (
	SeccompDisabled SeccompMode = "disabled"
	SeccompStrict   SeccompMode = "strict"
	SeccompFilter   SeccompMode = "filter"
)

// SeccompInForce is what the kernel applies to the process.
type SeccompInForce struct {
	Mode SeccompMode `json:"mode"`
	// Filters counts the filters; absent before Linux 5.9.
	Filters Fact[int] `json:"filters"`
}

// UserNamespace is the user namespace of a process.
type UserNamespace struct {
	// Initial tells whether it is the machine's first one, where capabilities
	// hold over the machine.
	Initial bool `json:"initial"`
	// UIDMap, GIDMap and Setgroups are the files of /proc/PID of these names. See
	// user_namespaces(7).
	UIDMap    nsdiff.IDMap     `json:"uidMap"`
	GIDMap    nsdiff.IDMap     `json:"gidMap"`
	Setgroups nsdiff.Setgroups `json:"setgroups,omitempty"`
}

// Program is the first process of an OCI runtime specification.
type Program struct {
	// Args are the program and its arguments.
	Args []string `json:"args"`
	// Cwd is the working folder.
	Cwd string `json:"cwd"`
	// Env is the environment. Values are "<redacted>" unless Options.ShowSecrets
	// is set.
	Env []string `json:"env"`
}

// IsRoot tells whether one of the four user ids is 0, in the numbering of our
// user namespace.
func (u UserInForce) IsRoot() bool { return u.UID.isRoot() }

func (i IDs) isRoot() bool {
	return i.Real == 0 || i.Effective == 0 || i.Saved == 0 || i.Filesystem == 0
}

// String returns the four ids, or the one that all of them are.
func (i IDs) String() string {
	if i.Real == i.Effective && i.Real == i.Saved && i.Real == i.Filesystem {
		return strconv.FormatUint(uint64(i.Real), 10)
	}
	return fmt.Sprintf("%d %d %d %d", i.Real, i.Effective, i.Saved, i.Filesystem)
}

// Difference is a setting that is not the same at two levels.
type Difference struct {
	// Setting is the setting's JSON name, with a dot before a part of it:
	// capabilities.effective.
	Setting string `json:"setting"`
	// From and To are two of requested, declared and in force.
	From string `json:"from"`
	To   string `json:"to"`
	// Want is what follows from the level From, Have what the level To has.
	Want string `json:"want"`
	Have string `json:"have"`
	// More and Less are, for a capability set, what Have has beyond Want and
	// what it lacks.
	More caps.Set `json:"more,omitzero"`
	Less caps.Set `json:"less,omitzero"`
	// Reason explains the difference, when the kernel's or the runtime's rules
	// do. Without one, something changed the container or the runtime did not
	// do what it was told.
	Reason string `json:"reason,omitempty"`
}

// Node is what was seen of the machine.
type Node struct {
	// Kernel is the kernel's release, as in uname -r.
	Kernel Fact[string] `json:"kernel"`
	// BootID is another one after each boot. Pids and the numbers of namespaces
	// mean something within one boot only.
	BootID Fact[string] `json:"bootID"`
	// LastCap is the highest capability of the kernel, from
	// /proc/sys/kernel/cap_last_cap.
	LastCap Fact[caps.Cap] `json:"lastCap"`
	// Cgroups says which versions of cgroups are mounted on /sys/fs/cgroup.
	Cgroups Fact[cgroup.Mode] `json:"cgroups"`
	// LSMs are the kernel's security modules that are in use, in the order they
	// are asked, from /sys/kernel/security/lsm. Since Linux 4.11.
	LSMs Fact[[]string] `json:"lsms"`
	// Lockdown is the level in /sys/kernel/security/lockdown. Since Linux 5.4.
	Lockdown Fact[Lockdown] `json:"lockdown"`
	// AppArmorMode is what AppArmor does whatever the modes of its profiles are, from
	// /sys/module/apparmor/parameters/mode: enforce leaves it to them, complain,
	// kill and unconfined do not. It needs CAP_MAC_ADMIN. See
	// security/apparmor/lsm.c of the kernel.
	AppArmorMode Fact[string] `json:"appArmorMode"`
	// SELinuxEnforce is 1 where SELinux forbids and 0 where it only complains, from
	// /sys/fs/selinux/enforce.
	SELinuxEnforce Fact[int] `json:"seLinuxEnforce"`
	// AFALG is how the kernel has algif_aead, with which AF_ALG sockets work on
	// data that is encrypted and authenticated: see CVE-2026-31431. It is absent
	// where no program can make it be loaded.
	AFALG Fact[ModuleState] `json:"afALG"`
	// TCP are the listening sockets of the node's network namespace that are the
	// runtime's or on a port of Docker's or the kubelet's, from /proc/1/net/tcp and
	// tcp6, in the order of their addresses.
	TCP Fact[[]TCPListener] `json:"tcp"`
	// Folders are those of containerd that are there, with their modes.
	Folders Fact[[]RuntimeFolder] `json:"folders"`
	// Sysctls are the settings below /proc/sys.
	Sysctls Sysctls `json:"sysctls"`
	// Runtime is the container runtime: nil when none was asked.
	Runtime *RuntimeInfo `json:"runtime,omitempty"`
}

// RuntimeInfo is the runtime that answered.
type RuntimeInfo struct {
	// Name is containerd, cri-o, docker …, as it calls itself.
	Name string `json:"name"`
	// Version is the runtime's, as it tells it.
	Version string `json:"version"`
	// Endpoint is the socket that was asked, unix:///path.
	Endpoint string `json:"endpoint"`
	// PID is the runtime's own process.
	PID Fact[int] `json:"pid"`
	// Bounding is the runtime's own bounding set: what a privileged container
	// can get at most.
	Bounding Fact[caps.Set] `json:"bounding"`
}
