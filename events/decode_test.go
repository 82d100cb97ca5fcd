package events

import (
	"reflect"
	"strings"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/events"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

func encode(t testing.TB, topic string, m proto.Message) runtimeapi.Envelope {
	t.Helper()
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return runtimeapi.Envelope{
		Time: time.Unix(1, 0), Namespace: "k8s.io", Topic: topic, Value: value, TypeURL: string(m.ProtoReflect().Descriptor().FullName()),
	}
}

func TestDecode(t *testing.T) {
	at := time.Unix(1_700_000_000, 5).UTC()
	exit := TaskExit{PID: 7, Code: inspect.KnownFact(uint32(3), "containerd's event"), Time: at}
	code := uint32(4)
	for _, tt := range []struct {
		topic           string
		message         proto.Message
		container, exec string
		detail          Detail
	}{
		{TopicContainerCreate, &api.ContainerCreate{ID: "c", Image: "i", Runtime: &api.ContainerCreate_Runtime{Name: "r"}}, "c", "", ContainerCreate{"i", "r"}},
		{TopicContainerUpdate, &api.ContainerUpdate{ID: "c", Labels: map[string]string{"token": "t", "app": "a"}}, "c", "", ContainerUpdate{Labels: map[string]string{"token": "<redacted>", "app": "a"}}},
		{TopicContainerDelete, &api.ContainerDelete{ID: "c"}, "c", "", nil},
		{TopicTaskCreate, &api.TaskCreate{ContainerID: "c", Pid: 7, Bundle: "/b"}, "c", "", TaskCreate{7, "/b"}},
		{TopicTaskStart, &api.TaskStart{ContainerID: "c", Pid: 7}, "c", "", TaskStart{PID: 7}},
		{TopicTaskOOM, &api.TaskOOM{ContainerID: "c"}, "c", "", OOM{}},
		{TopicTaskExit, &api.TaskExit{ContainerID: "c", ID: "c", Pid: 7, ExitStatus: 3, ExitedAt: timestamppb.New(at)}, "c", "", exit},
		{TopicTaskExit, &api.TaskExit{ContainerID: "c", ID: "e", Pid: 7, ExitStatus: 3, ExitedAt: timestamppb.New(at)}, "c", "e", exit},
		{TopicTaskDelete, &api.TaskDelete{ContainerID: "c", Pid: 7, ExitStatus: 3, ExitedAt: timestamppb.New(at)}, "c", "", exit},
		{TopicTaskDelete, &api.TaskDelete{ContainerID: "c", Pid: 7, ExitStatus: 3, ExitedAt: timestamppb.New(time.Time{})}, "c", "", TaskExit{PID: 7, Code: exit.Code}},
		{TopicTaskExecAdded, &api.TaskExecAdded{ContainerID: "c", ExecID: "e"}, "c", "e", ExecAdded{}},
		{TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "c", ExecID: "e", Pid: 7}, "c", "e", ExecStarted{PID: 7}},
		{TopicTaskPaused, &api.TaskPaused{ContainerID: "c"}, "c", "", nil},
		{TopicTaskResumed, &api.TaskResumed{ContainerID: "c"}, "c", "", nil},
		{TopicTaskCheckpointed, &api.TaskCheckpointed{ContainerID: "c", Checkpoint: "p"}, "c", "", Checkpointed{"p"}},
		{TopicImageCreate, &api.ImageCreate{Name: "n"}, "", "", Image{Name: "n"}},
		{TopicImageUpdate, &api.ImageUpdate{Name: "n"}, "", "", Image{Name: "n"}},
		{TopicImageDelete, &api.ImageDelete{Name: "n"}, "", "", Image{Name: "n"}},
		{TopicSnapshotPrepare, &api.SnapshotPrepare{Key: "k", Parent: "p", Snapshotter: "s"}, "", "", Snapshot{Key: "k", Parent: "p", Snapshotter: "s"}},
		{TopicSnapshotCommit, &api.SnapshotCommit{Key: "k", Name: "n", Snapshotter: "s"}, "", "", Snapshot{Key: "k", Name: "n", Snapshotter: "s"}},
		{TopicSnapshotRemove, &api.SnapshotRemove{Key: "k", Snapshotter: "s"}, "", "", Snapshot{Key: "k", Snapshotter: "s"}},
		{TopicContentCreate, &api.ContentCreate{Digest: "d", Size: 5}, "", "", Content{"d", 5}},
		{TopicContentDelete, &api.ContentDelete{Digest: "d"}, "", "", Content{Digest: "d"}},
		{TopicNamespaceCreate, &api.NamespaceCreate{Name: "n"}, "", "", Namespace{Name: "n"}},
		{TopicNamespaceUpdate, &api.NamespaceUpdate{Name: "n"}, "", "", Namespace{Name: "n"}},
		{TopicNamespaceDelete, &api.NamespaceDelete{Name: "n"}, "", "", Namespace{Name: "n"}},
		{TopicSandboxCreate, &api.SandboxCreate{SandboxID: "s"}, "", "", Sandbox{ID: "s"}},
		{TopicSandboxStart, &api.SandboxStart{SandboxID: "s"}, "", "", Sandbox{ID: "s"}},
		{TopicSandboxExit, &api.SandboxExit{SandboxID: "s", ExitStatus: 4, ExitedAt: timestamppb.New(at)}, "", "", Sandbox{"s", &code, at}},
	} {
		e := decode(encode(t, tt.topic, tt.message))
		container := ""
		if e.Container != nil {
			container = e.Container.ID
		}
		if container != tt.container || e.Exec != tt.exec || !reflect.DeepEqual(e.Detail, tt.detail) || e.Namespace != "k8s.io" || e.Source != Published {
			t.Errorf("%s: %+v of %q, exec %q; want %+v of %q, exec %q", tt.topic, e.Detail, container, e.Exec, tt.detail, tt.container, tt.exec)
		}
		delete(untried, tt.topic)
	}
	for topic := range untried {
		t.Errorf("%s is not tried", topic)
	}
}

// untried are the topics that TestDecode has not tried yet.
var untried = func() map[string]bool {
	all := map[string]bool{}
	for topic := range readers {
		all[topic] = true
	}
	return all
}()

// TestDecodeRaw: what is no event of its topic is passed on as it is, and is about no container.
func TestDecodeRaw(t *testing.T) {
	for name, v := range map[string]runtimeapi.Envelope{
		"unknown topic": encode(t, "/tasks/other", &api.TaskExit{ContainerID: "c"}),
		"other type":    encode(t, TopicTaskExit, &api.TaskStart{ContainerID: "c"}),
		"malformed":     {Topic: TopicTaskExit, TypeURL: "containerd.events.TaskExit", Value: []byte{0xff}},
		"empty":         {Topic: TopicTaskExit},
	} {
		e := decode(v)
		raw, ok := e.Detail.(Raw)
		if !ok || raw.TypeURL != v.TypeURL || string(raw.Value) != string(v.Value) || ofContainer(e) || (raw.Malformed != "") != (name == "malformed") {
			t.Errorf("%s: %+v", name, e)
		}
	}
	v := encode(t, TopicTaskPaused, &api.TaskPaused{ContainerID: "c"})
	v.TypeURL = "type.googleapis.com/" + v.TypeURL
	if e := decode(v); e.Container == nil {
		t.Errorf("with the host in the type: %+v", e)
	}
}

func FuzzDecode(f *testing.F) {
	for topic, r := range readers {
		f.Add(topic, string(r.message.ProtoReflect().Descriptor().FullName()), []byte("\n\x01c\x10\x07"))
	}
	f.Fuzz(func(t *testing.T, topic, url string, value []byte) {
		e := decode(runtimeapi.Envelope{Topic: topic, TypeURL: url, Value: value})
		if ofContainer(e) && !strings.HasPrefix(topic, "/tasks/") && !strings.HasPrefix(topic, "/containers/") {
			t.Errorf("%q is of a container: %+v", topic, e)
		}
	})
}

// TestDecodeTimes: a time that is none is zero, rather than one that cannot be written.
func TestDecodeTimes(t *testing.T) {
	for _, at := range []*timestamppb.Timestamp{nil, {}, {Seconds: 1 << 60}, {Seconds: -62135596800}, {Seconds: 1, Nanos: -1}} {
		for _, m := range []proto.Message{
			&api.TaskExit{ContainerID: "c", ID: "c", ExitedAt: at}, &api.SandboxExit{SandboxID: "s", ExitedAt: at},
		} {
			topic := TopicTaskExit
			if _, ok := m.(*api.SandboxExit); ok {
				topic = TopicSandboxExit
			}
			e := decode(encode(t, topic, m))
			var got time.Time
			switch d := e.Detail.(type) {
			case TaskExit:
				got = d.Time
			case Sandbox:
				got = d.Time
			default:
				t.Errorf("%v: %T", at, d)
			}
			if !got.IsZero() {
				t.Errorf("%v: %v", at, got)
			}
		}
	}
}

// TestDecodeOurs: what somebody publishes in our name has another.
func TestDecodeOurs(t *testing.T) {
	for _, topic := range []string{TopicLive, TopicGap, TopicDropped, TopicFinding, "/rtinspect"} {
		e := decode(runtimeapi.Envelope{Topic: topic})
		if e.Topic != "/published"+topic || e.Source != Published || value(e) != 0 {
			t.Errorf("%s: %+v", topic, e)
		}
	}
	if e := decode(runtimeapi.Envelope{Topic: "/rtinspector"}); e.Topic != "/rtinspector" {
		t.Errorf("%+v", e)
	}
}
