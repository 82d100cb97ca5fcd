package caps

// The sets that container runtimes give a container which asks for nothing. A process has them as its bounding set, and with
// user ID 0 also as its permitted and effective set. Hosts can configure others.
const (
	// DefaultContainerd is the default of containerd, with and without CRI, and of Docker: a80425fb.
	DefaultContainerd Set = 1<<Chown | 1<<DACOverride | 1<<Fowner | 1<<Fsetid | 1<<Kill | 1<<Setgid | 1<<Setuid | 1<<Setpcap |
		1<<NetBindService | 1<<NetRaw | 1<<SysChroot | 1<<Mknod | 1<<AuditWrite | 1<<Setfcap

	// DefaultCRIO is the default of CRI-O since 1.18; before, it also had NetRaw and SysChroot. It is default_capabilities in
	// crio.conf(5).
	DefaultCRIO Set = 1<<Chown | 1<<DACOverride | 1<<Fowner | 1<<Fsetid | 1<<Kill | 1<<Setgid | 1<<Setuid | 1<<Setpcap |
		1<<NetBindService

	// DefaultPodman is the default of Podman since containers/common 0.51.1 of March 2023; 0.51.0 did not have SysChroot, and
	// before it was DefaultContainerd. Distributions set their own as default_capabilities in containers.conf(5).
	DefaultPodman Set = 1<<Chown | 1<<DACOverride | 1<<Fowner | 1<<Fsetid | 1<<Kill | 1<<Setgid | 1<<Setuid | 1<<Setpcap |
		1<<NetBindService | 1<<SysChroot | 1<<Setfcap
)

// Default is the set that a container runtime gives by default.
type Default struct {
	// Runtime is the name of the runtime, such as "containerd".
	Runtime string `json:"runtime"`
	// Since is the oldest version that is known to have this default; for containerd and Docker, older ones may have it too.
	Since string `json:"since"`
	// Set is the default.
	Set Set `json:"capabilities"`
}

// Defaults returns the known defaults, containerd's first.
func Defaults() []Default {
	return []Default{
		{Runtime: "containerd", Since: "1.1", Set: DefaultContainerd},
		{Runtime: "docker", Since: "19.03", Set: DefaultContainerd},
		{Runtime: "cri-o", Since: "1.18", Set: DefaultCRIO},
		{Runtime: "podman", Since: "4.5", Set: DefaultPodman},
	}
}

// Diff is how a set differs from another one. The zero Diff is no difference.
type Diff struct {
	// Added is in the set but not in the one it is compared with.
	Added Set `json:"added"`
	// Removed is not in the set but in the one it is compared with.
	Removed Set `json:"removed"`
}

// Diff returns how s differs from a default.
func (s Set) Diff(from Set) Diff {
	return Diff{Added: s.Minus(from), Removed: from.Minus(s)}
}
