package events

import (
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Event is something that happened.
type Event struct {
	// Time is when it happened: as containerd tells, or for what it did not
	// publish when it was found.
	Time time.Time `json:"time"`
	// Topic tells what happened. Those below /rtinspect are ours.
	Topic string `json:"topic"`
	// Namespace is containerd's.
	Namespace string `json:"namespace,omitempty"`
	// Container is the one that it is about; nil when it is about none.
	Container *Container `json:"container,omitempty"`
	// Exec is the id of the process that was run in the container; empty for its
	// first process.
	Exec   string `json:"exec,omitempty"`
	Source Source `json:"source"`
	// Confirmed tells whether something besides the event speaks for it, and Why
	// what, or why not.
	Confirmed Confirmation `json:"confirmed"`
	Why       string       `json:"why,omitempty"`
	// Detail is what the topic has besides: a [TaskExit], an [OOM]; nil when it
	// has nothing.
	Detail Detail `json:"detail,omitempty"`

	size int // bytes, as containerd sent it
}

// The topics of containerd. In a topic of containerd that is not among them, the
// Detail is a [Raw].
const (
	TopicContainerCreate  = "/containers/create"
	TopicContainerUpdate  = "/containers/update"
	TopicContainerDelete  = "/containers/delete"
	TopicTaskCreate       = "/tasks/create"
	TopicTaskStart        = "/tasks/start"
	TopicTaskOOM          = "/tasks/oom"
	TopicTaskExit         = "/tasks/exit"
	TopicTaskDelete       = "/tasks/delete"
	TopicTaskExecAdded    = "/tasks/exec-added"
	TopicTaskExecStarted  = "/tasks/exec-started"
	TopicTaskPaused       = "/tasks/paused"
	TopicTaskResumed      = "/tasks/resumed"
	TopicTaskCheckpointed = "/tasks/checkpointed"
	TopicImageCreate      = "/images/create"
	TopicImageUpdate      = "/images/update"
	TopicImageDelete      = "/images/delete"
	TopicSnapshotPrepare  = "/snapshot/prepare"
	TopicSnapshotCommit   = "/snapshot/commit"
	TopicSnapshotRemove   = "/snapshot/remove"
	TopicContentCreate    = "/content/create"
	TopicContentDelete    = "/content/delete"
	TopicNamespaceCreate  = "/namespaces/create"
	TopicNamespaceUpdate  = "/namespaces/update"
	TopicNamespaceDelete  = "/namespaces/delete"
	TopicSandboxCreate    = "/sandboxes/create"
	TopicSandboxStart     = "/sandboxes/start"
	TopicSandboxExit      = "/sandboxes/exit"
)

// The topics of our own. No filter leaves out the first three. What somebody else
// publishes below /rtinspect is told below /published/rtinspect, and cannot be taken
// for one of them.
const (
	// TopicLive tells that the subscription is proved and what was there before
	// is known: whatever happens from here on is told. It is told once. With
	// [Options.NoMarker] it is [Unchecked], as nothing is proved.
	TopicLive = "/rtinspect/live"
	// TopicGap tells that containerd could not be heard for a time, see [Gap].
	// What follows with the source [Reconciled] is what is known to have
	// happened in it.
	TopicGap = "/rtinspect/gap"
	// TopicDropped tells that the reader was too slow, see [Dropped].
	TopicDropped = "/rtinspect/dropped"
	// TopicFinding is that of [Watch], see [Findings].
	TopicFinding = "/rtinspect/finding"
)

// Source tells where an event comes from.
type Source string

// ours is what our topics begin with, published what is put before those of others that
// do.
const (
	ours      = "/rtinspect"
	published = "/published"
)

// The sources.
const (
	// Published: containerd passed it on.
	Published Source = "published"
	// Initial: it was so before the stream began, see [Options.Initial].
	Initial Source = "initial"
	// Missed: containerd did not publish it, or not in time. It is known to have
	// happened from what containerd lists, how it says the process ended, or the
	// kernel.
	Missed Source = "missed"
	// Reconciled: it happened in a gap and was found by the list after it.
	Reconciled Source = "reconciled"
	// Kernel: the kernel told, before containerd or more than it.
	Kernel Source = "kernel"
	// Ours: it is about the stream itself, or a judgment.
	Ours Source = "rtinspect"
)

// Confirmation tells whether an event is more than a claim: everyone who can
// connect to containerd's socket can publish any event.
type Confirmation string

// The confirmations.
const (
	// Confirmed: what containerd lists, how it says a process ended or the kernel
	// agrees with it.
	Confirmed Confirmation = "confirmed"
	// Unconfirmed: nothing does, or they contradict it. It does not change what
	// is known of the container.
	Unconfirmed Confirmation = "unconfirmed"
	// Unchecked: there is nothing to check it against, as for images, snapshots,
	// content, namespaces, sandboxes, checkpoints and unknown topics, and for an
	// update of a container that was updated again meanwhile.
	Unchecked Confirmation = "unchecked"
)

// Container is the container that an event is about.
type Container struct {
	ID string `json:"id"`
	// Name, Kind, Pod, Image and Runtime are as in [inspect.Container]. They are
	// empty when the container was gone before it could be asked for.
	Name    string       `json:"name,omitempty"`
	Kind    inspect.Kind `json:"kind,omitempty"`
	Pod     *inspect.Pod `json:"pod,omitempty"`
	Image   string       `json:"image,omitempty"`
	Runtime string       `json:"runtime,omitempty"`
	// PID is its first process, 0 while there is none.
	PID int `json:"pid,omitempty"`

	labels map[string]string
}

// Detail is what an event has besides: one of the types of this package that
// has this method.
type Detail interface{ detail() }

// ContainerCreate is the detail of TopicContainerCreate.
type ContainerCreate struct {
	Image   string `json:"image,omitempty"`
	Runtime string `json:"runtime,omitempty"`
}

// ContainerUpdate is the detail of TopicContainerUpdate.
type ContainerUpdate struct {
	Image       string            `json:"image,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	SnapshotKey string            `json:"snapshotKey,omitempty"`
}

// TaskCreate is the detail of TopicTaskCreate.
type TaskCreate struct {
	PID    int    `json:"pid"`
	Bundle string `json:"bundle,omitempty"`
}

// TaskStart is the detail of TopicTaskStart: what the first process may do as it
// starts. The facts are unknown when it ended before they could be read.
type TaskStart struct {
	PID int `json:"pid"`
	// Capabilities is the effective set, from /proc/PID/status.
	Capabilities inspect.Fact[caps.Set] `json:"capabilities"`
	// HostNamespaces are the kinds of namespace that it shares with the host.
	HostNamespaces inspect.Fact[[]nsdiff.Kind] `json:"hostNamespaces"`
	// Privileged tells whether it has all that the CRI's privileged mode gives,
	// in force.
	Privileged inspect.Fact[bool]         `json:"privileged"`
	Tier       inspect.Fact[inspect.Tier] `json:"tier"`
}

// TaskExit is the detail of TopicTaskExit and TopicTaskDelete.
type TaskExit struct {
	// PID is 0 when only containerd's answer told of the end.
	PID int `json:"pid,omitempty"`
	// Code is the exit status, 128 and the signal for a process that was killed.
	// It is unknown when the process ended while nobody could ask.
	Code inspect.Fact[uint32] `json:"code"`
	// Time is when it ended; zero when that is unknown.
	Time time.Time `json:"time,omitzero"`
}

// OOM is the detail of TopicTaskOOM: one process that the kernel killed for
// memory, or all of the container together where memory.oom.group says so.
type OOM struct {
	// Cgroup is the container's, in the hierarchy of the memory controller, and
	// Kills how many were killed in it so far, as the kernel counts: twice for the
	// first of those that are killed together. From memory.events, in v1 from
	// memory.oom_control from Linux 4.13 on.
	Cgroup inspect.Fact[string]       `json:"cgroup"`
	Kills  inspect.Fact[cgroup.Count] `json:"kills"`
	// Hit is the cgroup whose limit was reached: the container's or one above.
	// It is absent when the limit of none was: the node itself was short of
	// memory. From the kernel's log (Linux 4.20); else from memory.events.local
	// (Linux 5.2), in v1 from memory.failcnt and memory.memsw.failcnt or else
	// memory.max_usage_in_bytes.
	Hit inspect.Fact[Hit] `json:"hit"`
}

// Hit is the limit that was reached.
type Hit struct {
	// Cgroup is the cgroup's path.
	Cgroup string `json:"cgroup"`
	// Kind is what the cgroup stands for, and Limit its limit in bytes. They are
	// empty and absent when only the kernel's log tells of the kill, as the
	// container ended before its cgroups were read.
	Kind  cgroup.Kind  `json:"kind"`
	Limit cgroup.Limit `json:"limit"`
}

// ExecAdded is the detail of TopicTaskExecAdded.
type ExecAdded struct{}

// ExecStarted is the detail of TopicTaskExecStarted.
type ExecStarted struct {
	PID int `json:"pid"`
	// Args are from /proc/PID/cmdline; unknown when it ended before.
	Args inspect.Fact[[]string] `json:"args"`
}

// Checkpointed is the detail of TopicTaskCheckpointed.
type Checkpointed struct {
	Checkpoint string `json:"checkpoint"`
}

// Image is the detail of the topics below /images.
type Image struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Snapshot is the detail of the topics below /snapshot.
type Snapshot struct {
	Key         string `json:"key"`
	Parent      string `json:"parent,omitempty"`
	Name        string `json:"name,omitempty"`
	Snapshotter string `json:"snapshotter,omitempty"`
}

// Content is the detail of the topics below /content.
type Content struct {
	Digest string       `json:"digest"`
	Size   cgroup.Count `json:"size,omitempty"` // bytes
}

// Namespace is the detail of the topics below /namespaces.
type Namespace struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Sandbox is the detail of the topics below /sandboxes.
type Sandbox struct {
	ID string `json:"id"`
	// Code and Time are those of an exit.
	Code *uint32   `json:"code,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// Raw is the detail of events whose type is unknown.
type Raw struct {
	TypeURL string `json:"typeURL"`
	Value   []byte `json:"value"`
	// Malformed says why a known type could not be read.
	Malformed string `json:"malformed,omitempty"`
}

// Gap is the detail of TopicGap: a time in which containerd could not be heard.
type Gap struct {
	// From is when the connection broke, To when the next subscription was
	// proved.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Cause is how it broke.
	Cause string `json:"cause"`
}

// Dropped is the detail of TopicDropped: events that were given up, since the last
// one of its kind, as there was no room for more.
type Dropped struct {
	Count uint64 `json:"count"`
	// Topics counts them by topic, with all but the first 100 topics as "other".
	Topics map[string]uint64 `json:"topics"`
	// From and To are the times of the first and the last of them.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (ContainerCreate) detail() {}
func (ContainerUpdate) detail() {}
func (TaskCreate) detail()      {}
func (TaskStart) detail()       {}
func (TaskExit) detail()        {}
func (OOM) detail()             {}
func (ExecAdded) detail()       {}
func (ExecStarted) detail()     {}
func (Checkpointed) detail()    {}
func (Image) detail()           {}
func (Snapshot) detail()        {}
func (Content) detail()         {}
func (Namespace) detail()       {}
func (Sandbox) detail()         {}
func (Raw) detail()             {}
func (Gap) detail()             {}
func (Dropped) detail()         {}
