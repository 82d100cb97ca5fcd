package events

import (
	"strings"
	"time"

	api "github.com/containerd/containerd/api/events"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// decode reads an envelope. What a topic's type does not fit, or is of an unknown
// type, stays raw: anybody can publish anything under any topic.
func decode(v runtimeapi.Envelope) Event {
	e := Event{
		Time: v.Time.UTC(), Topic: v.Topic, Namespace: v.Namespace, Source: Published, Confirmed: Unchecked,
		size: len(v.Topic) + len(v.TypeURL) + len(v.Value),
	}
	if e.Topic == ours || strings.HasPrefix(e.Topic, ours+"/") {
		e.Topic = published + e.Topic
	}
	read := readers[v.Topic]
	if read.message == nil || !isType(v.TypeURL, read.message) {
		e.Detail = Raw{TypeURL: v.TypeURL, Value: v.Value}
		return e
	}
	m := read.message.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(v.Value, m); err != nil {
		e.Detail = Raw{TypeURL: v.TypeURL, Value: v.Value, Malformed: err.Error()}
		return e
	}
	read.read(&e, m)
	return e
}

// isType compares without the host before the name, which containerd leaves out
// and other clients may not.
func isType(url string, m proto.Message) bool {
	return url[strings.LastIndexByte(url, '/')+1:] == string(m.ProtoReflect().Descriptor().FullName())
}

// reader reads the type that a topic has.
type reader struct {
	message proto.Message
	read    func(*Event, proto.Message)
}

// typed makes a reader.
func typed[M proto.Message](read func(*Event, M)) reader {
	var m M
	return reader{m, func(e *Event, m proto.Message) { read(e, m.(M)) }}
}

// about sets the container; an event without its id is about none.
func (e *Event) about(id string) {
	if id != "" {
		e.Container = &Container{ID: id}
	}
}

// ended is how a process ended, as an event tells.
func ended(e *Event, id, exec string, pid, code uint32, at *timestamppb.Timestamp) {
	e.about(id)
	if exec != id {
		e.Exec = exec
	}
	x := TaskExit{PID: int(pid), Code: inspect.KnownFact(code, "containerd's event")}
	x.Time = timeOf(at)
	e.Detail = x
}

// timeOf returns zero for what is no time, or for none: the zero time of Go is before
// that of protobuf.
func timeOf(at *timestamppb.Timestamp) time.Time {
	if at.GetSeconds() <= 0 || !at.IsValid() {
		return time.Time{}
	}
	return at.AsTime()
}

var readers = map[string]reader{
	TopicContainerCreate: typed(func(e *Event, m *api.ContainerCreate) {
		e.about(m.GetID())
		e.Detail = ContainerCreate{Image: m.GetImage(), Runtime: m.GetRuntime().GetName()}
	}),
	TopicContainerUpdate: typed(func(e *Event, m *api.ContainerUpdate) {
		e.about(m.GetID())
		e.Detail = ContainerUpdate{Image: m.GetImage(), Labels: inspect.RedactLabels(m.GetLabels()), SnapshotKey: m.GetSnapshotKey()}
	}),
	TopicContainerDelete: typed(func(e *Event, m *api.ContainerDelete) { e.about(m.GetID()) }),
	TopicTaskCreate: typed(func(e *Event, m *api.TaskCreate) {
		e.about(m.GetContainerID())
		e.Detail = TaskCreate{PID: int(m.GetPid()), Bundle: m.GetBundle()}
	}),
	TopicTaskStart: typed(func(e *Event, m *api.TaskStart) {
		e.about(m.GetContainerID())
		e.Detail = TaskStart{PID: int(m.GetPid())}
	}),
	TopicTaskOOM: typed(func(e *Event, m *api.TaskOOM) {
		e.about(m.GetContainerID())
		e.Detail = OOM{}
	}),
	TopicTaskExit: typed(func(e *Event, m *api.TaskExit) {
		ended(e, m.GetContainerID(), m.GetID(), m.GetPid(), m.GetExitStatus(), m.GetExitedAt())
	}),
	TopicTaskDelete: typed(func(e *Event, m *api.TaskDelete) {
		ended(e, m.GetContainerID(), m.GetID(), m.GetPid(), m.GetExitStatus(), m.GetExitedAt())
	}),
	TopicTaskExecAdded: typed(func(e *Event, m *api.TaskExecAdded) {
		e.about(m.GetContainerID())
		e.Exec, e.Detail = m.GetExecID(), ExecAdded{}
	}),
	TopicTaskExecStarted: typed(func(e *Event, m *api.TaskExecStarted) {
		e.about(m.GetContainerID())
		e.Exec, e.Detail = m.GetExecID(), ExecStarted{PID: int(m.GetPid())}
	}),
	TopicTaskPaused:  typed(func(e *Event, m *api.TaskPaused) { e.about(m.GetContainerID()) }),
	TopicTaskResumed: typed(func(e *Event, m *api.TaskResumed) { e.about(m.GetContainerID()) }),
	TopicTaskCheckpointed: typed(func(e *Event, m *api.TaskCheckpointed) {
		e.about(m.GetContainerID())
		e.Detail = Checkpointed{m.GetCheckpoint()}
	}),
	TopicImageCreate: typed(func(e *Event, m *api.ImageCreate) { e.Detail = Image{m.GetName(), inspect.RedactLabels(m.GetLabels())} }),
	TopicImageUpdate: typed(func(e *Event, m *api.ImageUpdate) { e.Detail = Image{m.GetName(), inspect.RedactLabels(m.GetLabels())} }),
	TopicImageDelete: typed(func(e *Event, m *api.ImageDelete) { e.Detail = Image{Name: m.GetName()} }),
	TopicSnapshotPrepare: typed(func(e *Event, m *api.SnapshotPrepare) {
		e.Detail = Snapshot{Key: m.GetKey(), Parent: m.GetParent(), Snapshotter: m.GetSnapshotter()}
	}),
	TopicSnapshotCommit: typed(func(e *Event, m *api.SnapshotCommit) {
		e.Detail = Snapshot{Key: m.GetKey(), Name: m.GetName(), Snapshotter: m.GetSnapshotter()}
	}),
	TopicSnapshotRemove: typed(func(e *Event, m *api.SnapshotRemove) {
		e.Detail = Snapshot{Key: m.GetKey(), Snapshotter: m.GetSnapshotter()}
	}),
	TopicContentCreate: typed(func(e *Event, m *api.ContentCreate) { e.Detail = Content{m.GetDigest(), size(m.GetSize())} }),
	TopicContentDelete: typed(func(e *Event, m *api.ContentDelete) { e.Detail = Content{Digest: m.GetDigest()} }),
	TopicNamespaceCreate: typed(func(e *Event, m *api.NamespaceCreate) {
		e.Detail = Namespace{m.GetName(), inspect.RedactLabels(m.GetLabels())}
	}),
	TopicNamespaceUpdate: typed(func(e *Event, m *api.NamespaceUpdate) {
		e.Detail = Namespace{m.GetName(), inspect.RedactLabels(m.GetLabels())}
	}),
	TopicNamespaceDelete: typed(func(e *Event, m *api.NamespaceDelete) { e.Detail = Namespace{Name: m.GetName()} }),
	TopicSandboxCreate:   typed(func(e *Event, m *api.SandboxCreate) { e.Detail = Sandbox{ID: m.GetSandboxID()} }),
	TopicSandboxStart:    typed(func(e *Event, m *api.SandboxStart) { e.Detail = Sandbox{ID: m.GetSandboxID()} }),
	TopicSandboxExit: typed(func(e *Event, m *api.SandboxExit) {
		code := m.GetExitStatus()
		e.Detail = Sandbox{ID: m.GetSandboxID(), Code: &code, Time: timeOf(m.GetExitedAt())}
	}),
}

// size is a number of bytes; a negative one is none.
func size(n int64) cgroup.Count { return cgroup.Count(max(n, 0)) }
