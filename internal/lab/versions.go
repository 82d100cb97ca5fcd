package lab

// The versions the lab is made of. Everything built is built from exactly
// these; what Debian packages is checked against the version it must have.
const (
	containerd24 = "v2.4.2"
	runc24       = "v1.5.2"
	crictl       = "v1.36.0"
	gvisor       = "v0.0.0-20260905035102-160fafc42237"

	// containerd16 is what `containerd --version` of Debian 12 starts with.
	containerd16 = "1.6."

	pauseImage   = "registry.k8s.io/pause:3.10.2"
	busyboxImage = "docker.io/library/busybox:latest"
)

// Runtimes the lab can start.
const (
	// Runtime16 is Debian 12's containerd 1.6 and runc 1.1.
	Runtime16 = "1.6"
	// Runtime24 is containerd 2.4 and runc 1.5, built from their modules.
	Runtime24 = "2.4"
)
