package runtimeapi

import (
	"time"
)

// Container is what a runtime records of one container, as it came: nothing in
// it was checked.
type Container struct {
	ID string
	// Namespace is containerd's; empty with other runtimes.
	Namespace string
	Image     string
	// Runtime is the type (io.containerd.runc.v2) or the handler.
	Runtime     string
	Labels      map[string]string
	Annotations map[string]string
	Created     time.Time
	// Sandbox tells a pod's own container; SandboxID is the pod's of others.
	Sandbox   bool
	SandboxID string
	// CRI tells that it was made through the CRI.
	CRI bool

	// Spec is the OCI runtime specification in JSON, nil where the runtime did
	// not give it; SpecErr says why.
	Spec    []byte
	SpecErr error
	// Metadata is containerd's record of the CRI request in JSON, nil where
	// there is none.
	Metadata []byte
	// Privileged is what the CRI's verbose status of CRI-O says; nil elsewhere.
	Privileged *bool

	Task Task
}

// Task is a container's first process as its runtime tells it.
type Task struct {
	// State is created, running, paused, exited, or empty when it is not known
	// or when there is no task.
	State string
	// PID is in the runtime's pid namespace; 0 where there is none.
	PID int
	// Err says why the pid, and the state when it is empty, are not known: a
	// hung shim.
	Err error
}

// The states of a task.
const (
	Created = "created"
	Running = "running"
	Paused  = "paused"
	Exited  = "exited"
)
