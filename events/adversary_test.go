package events_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/events"
	containers "github.com/containerd/containerd/api/services/containers/v1"
	content "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	nsapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/events"
	"github.com/rtinspect/rtinspect/inspect"
)

// TestLabReuse: one id is given again and again, soon after the last container with it is gone: each has its own life.
func TestLabReuse(t *testing.T) {
	d := newDaemon(t)
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	n := times(10, 4)
	for i := range n {
		time.Sleep(500 * time.Millisecond) // what is published of the last may still come
		if code, err := d.run(t.Context(), "again", shell(fmt.Sprintf("exit %d", i))); err != nil || code != uint32(i) {
			t.Fatalf("exit status %d: %v", code, err)
		}
	}
	var list []events.Event
	for _, e := range l.rest(2 * time.Second) {
		if e.Container != nil {
			list = append(list, e)
		}
	}
	if len(list) != n*len(life) {
		t.Errorf("%d events, want %d", len(list), n*len(life))
	}
	for i := range min(n, len(list)/len(life)) {
		checkLife(t, fmt.Sprintf("again, life %d", i), list[i*len(life):(i+1)*len(life)], uint32(i))
	}
}

// TestLabTwins: containers with one id in two namespaces of containerd are two, for the watch too.
func TestLabTwins(t *testing.T) {
	d := newDaemon(t)
	other := namespaces.WithNamespace(t.Context(), "other")
	_, err := nsapi.NewNamespacesClient(d.conn).Create(other, &nsapi.CreateNamespaceRequest{Namespace: &nsapi.Namespace{Name: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	l := listenTo(t, func(ctx context.Context) iter.Seq2[events.Event, error] {
		return events.Watch(ctx, events.WatchOptions{Options: events.Options{Endpoint: d.endpoint()}})
	})
	one := listen(t, events.Options{Endpoint: d.endpoint(), Namespaces: []string{"other"}})
	quick, slow := shell("sleep 1; exit 1"), shell("sleep 1000")
	slow.parent, slow.memory = "other", 64<<20
	if err := d.create(other, "twin", slow); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(other, "twin"); err != nil {
		t.Fatal(err)
	}
	if code, err := d.run(t.Context(), "twin", quick); err != nil || code != 1 {
		t.Fatalf("exit status %d: %v", code, err)
	}
	byNamespace := map[string][]events.Event{}
	judged := map[string]int{}
	for _, e := range l.rest(3 * time.Second) {
		if f, ok := e.Detail.(events.Findings); ok {
			judged[e.Namespace]++
			if f.Unjudged != "" || hasFinding(f, "no-memory-limit") != (e.Namespace == space) || !hasFinding(f, "no-cpu-limit") {
				t.Errorf("that in %s: %s, no-memory-limit %t", e.Namespace, f.Unjudged, hasFinding(f, "no-memory-limit"))
			}
			continue
		}
		if e.Container != nil {
			byNamespace[e.Namespace] = append(byNamespace[e.Namespace], e)
		}
	}
	checkLife(t, "the short one", byNamespace[space], 1)
	var topics []string
	for _, e := range byNamespace["other"] {
		topics = append(topics, e.Topic)
	}
	if !slices.Equal(topics, life[:3]) {
		t.Errorf("the one that stays: %v", topics)
	}
	if judged["other"] != 1 || judged[space] != 1 {
		t.Errorf("judged %v, want each once", judged)
	}
	for _, e := range one.rest(100 * time.Millisecond) {
		if e.Namespace != "other" {
			t.Errorf("of another namespace: %s", line(e))
		}
	}
}

// TestLabExecs: many processes are run in a container at once; each is told once from its addition to its end, also when
// containerd is killed meanwhile.
func TestLabExecs(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	if err := d.create(ctx, "host", shell("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(ctx, "host"); err != nil {
		t.Fatal(err)
	}
	caps := []string{"CAP_CHOWN"}
	run := func(name, script string) {
		t.Helper()
		if err := d.exec(ctx, "host", name, caps, "/bin/sh", "-c", script); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := map[string]uint32{}
	const clients = 4
	n := times(60, 12)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := client; i < n; i += clients {
				name := fmt.Sprintf("short-%d", i)
				run(name, fmt.Sprintf("exit %d", i))
				if code, err := d.endExec(ctx, "host", name); err != nil || code != uint32(i) {
					t.Errorf("%s: exit status %d, %v", name, code, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		want[fmt.Sprintf("short-%d", i)] = uint32(i)
	}
	run("in-the-gap", "sleep 1; exit 7")
	run("after-the-gap", "sleep 6; exit 8")
	want["in-the-gap"], want["after-the-gap"] = 7, 8
	time.Sleep(300 * time.Millisecond)
	d.kill()
	time.Sleep(2 * time.Second)
	d.start()
	d.wait()
	told := map[string][]events.Event{}
	for _, e := range l.until("the end of after-the-gap", func(e events.Event) bool { return e.Topic == events.TopicTaskExit && e.Exec == "after-the-gap" }) {
		if e.Exec != "" {
			told[e.Exec] = append(told[e.Exec], e)
		}
	}
	for name, code := range want {
		var topics []string
		for _, e := range told[name] {
			topics = append(topics, e.Topic)
			if e.Confirmed != events.Confirmed {
				t.Errorf("%s: %s", name, line(e))
			}
		}
		if !slices.Equal(topics, []string{events.TopicTaskExecAdded, events.TopicTaskExecStarted, events.TopicTaskExit}) {
			t.Errorf("%s: %v", name, topics)
			continue
		}
		end := told[name][2]
		if got, known := end.Detail.(events.TaskExit).Code.Value(); !known || got != code {
			t.Errorf("%s: want exit status %d: %s", name, code, line(end))
		}
		if name == "in-the-gap" && end.Source != events.Reconciled {
			t.Errorf("%s: want it reconciled: %s", name, line(end))
		}
	}
}

// TestLabExecBefore: a process that was run before the stream began is told as what is there already, and its end with its
// exit status.
func TestLabExecBefore(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	d.startSleeping("host")
	const n = 8
	name := func(i int) string { return fmt.Sprintf("before-%d", i) }
	for i := range n {
		if err := d.exec(ctx, "host", name(i), []string{"CAP_CHOWN"}, "/bin/sh", "-c", fmt.Sprintf("sleep 1000; exit %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	var initial []string
	for e, err := range events.Stream(ctx, events.Options{Endpoint: d.endpoint(), Initial: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Topic == events.TopicLive {
			break
		}
		if e.Exec != "" {
			initial = append(initial, e.Exec)
			if args, _ := e.Detail.(events.ExecStarted).Args.Value(); e.Source != events.Initial || !slices.Contains(args, "-c") {
				t.Errorf("at the beginning: %s", line(e))
			}
		}
	}
	slices.Sort(initial)
	if len(initial) != n || initial[0] != name(0) || initial[n-1] != name(n-1) {
		t.Errorf("at the beginning: %v", initial)
	}
	var wg sync.WaitGroup
	for i := range n { // deleted at once, before anybody could ask how it ended
		wg.Go(func() {
			_, err := tasks.NewTasksClient(d.conn).Kill(inSpace(ctx), &tasks.KillRequest{ContainerID: "host", ExecID: name(i), Signal: uint32(10 + i%2*2)})
			if err != nil {
				t.Error(err)
			}
			if _, err := d.endExec(ctx, "host", name(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ended := map[string]int{}
	for _, e := range l.rest(2 * time.Second) {
		exit, _ := e.Detail.(events.TaskExit)
		code, _ := exit.Code.Value()
		ended[e.Exec]++
		var i int
		if _, err := fmt.Sscanf(e.Exec, "before-%d", &i); err != nil || e.Topic != events.TopicTaskExit || e.Confirmed != events.Confirmed || code != uint32(128+10+i%2*2) {
			t.Errorf("%s", line(e))
		}
	}
	if len(ended) != n {
		t.Errorf("ended: %v, want %d", ended, n)
	}
}

// TestLabPaused: a task that waits is told to, whether it was published, or is so at the beginning.
func TestLabPaused(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.startSleeping("before", "after")
	do(d.pause(ctx, "before"))
	var initial []string
	for e, err := range events.Stream(ctx, events.Options{Endpoint: d.endpoint(), Initial: true, Containers: []string{"before"}}) {
		do(err)
		if e.Topic == events.TopicLive {
			break
		}
		initial = append(initial, e.Topic)
	}
	if want := append(slices.Clone(life[:3]), events.TopicTaskPaused); !slices.Equal(initial, want) {
		t.Errorf("at the beginning: %v, want %v", initial, want)
	}
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	next := func(topic, id string, source events.Source) {
		t.Helper()
		list := l.until(topic+" of "+id, func(e events.Event) bool { return strings.HasPrefix(e.Topic, "/tasks/") })
		if e := list[len(list)-1]; e.Topic != topic || e.Container.ID != id || e.Source != source || e.Confirmed != events.Confirmed {
			t.Errorf("want %s of %s, %s: %s", topic, id, source, line(e))
		}
	}
	do(d.resume(ctx, "before"))
	next(events.TopicTaskResumed, "before", events.Published)
	do(d.pause(ctx, "after"))
	next(events.TopicTaskPaused, "after", events.Published)
	do(d.resume(ctx, "after"))
	next(events.TopicTaskResumed, "after", events.Published)
}

// gate is a socket that leads to containerd's: a stream that goes through it can be cut off while containerd goes on.
type gate struct {
	sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

// open lets connections through.
func (g *gate) open(t *testing.T, path, to string) {
	t.Helper()
	listener, err := net.Listen("unix", path) //nolint:noctx // it is closed
	if err != nil {
		t.Fatal(err)
	}
	g.Lock()
	g.listener = listener
	g.Unlock()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to) //nolint:noctx // it is closed
			if err != nil {
				_ = in.Close()
				continue
			}
			g.Lock()
			g.conns = append(g.conns, in, out)
			g.Unlock()
			go func() { _, _ = io.Copy(in, out) }()
			go func() { _, _ = io.Copy(out, in) }()
		}
	}()
}

// shut cuts all connections, and takes no others.
func (g *gate) shut() {
	g.Lock()
	defer g.Unlock()
	_ = g.listener.Close()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

// TestLabPausedInGap: a task that was paused, and one that went on, while containerd could not be heard.
func TestLabPausedInGap(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.startSleeping("pauses", "resumes")
	t.Cleanup(func() { // a frozen process does not end
		for _, id := range []string{"pauses", "resumes"} {
			_ = d.resume(context.Background(), id)
		}
	})
	do(d.pause(ctx, "resumes"))
	var g gate
	path := filepath.Join(d.dir, "gate")
	g.open(t, path, d.socket())
	l := listen(t, events.Options{Endpoint: "unix://" + path, Timeout: 2 * time.Second})
	g.shut()
	do(d.pause(ctx, "pauses"))
	do(d.resume(ctx, "resumes"))
	g.open(t, path, d.socket())
	defer g.shut()
	want := map[string]string{"pauses": events.TopicTaskPaused, "resumes": events.TopicTaskResumed}
	for len(want) > 0 {
		list := l.until("a pause or its end", func(e events.Event) bool { return strings.HasPrefix(e.Topic, "/tasks/") })
		e := list[len(list)-1]
		if want[e.Container.ID] != e.Topic || e.Source != events.Reconciled || e.Confirmed != events.Confirmed {
			t.Fatalf("%s, want %v", line(e), want)
		}
		delete(want, e.Container.ID)
	}
}

// freeze stops containerd or lets it go on: it neither ends nor answers.
func (d *daemon) freeze(stop bool) {
	signal := syscall.SIGCONT
	if stop {
		signal = syscall.SIGSTOP
	}
	_ = d.cmd.Process.Signal(signal)
}

// TestLabAway: containerd is away for long, and then does not answer. A container that has ended meanwhile is told of when it
// is back, and the stream ends at once when it shall.
func TestLabAway(t *testing.T) {
	t.Parallel() // with those that do not mostly wait
	d := newDaemon(t)
	ctx := t.Context()
	if err := d.create(ctx, "ends", shell("sleep 2; exit 6")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(ctx, "ends"); err != nil {
		t.Fatal(err)
	}
	l := listen(t, events.Options{Endpoint: d.endpoint(), Timeout: 2 * time.Second})
	d.kill()
	away := time.Now()
	time.Sleep(time.Duration(times(8, 4)) * time.Second)
	back := time.Now()
	d.start()
	list := l.until("the end in the gap", func(e events.Event) bool { return e.Topic == events.TopicTaskExit })
	gap, ok := list[0].Detail.(events.Gap)
	if !ok || gap.To.Sub(gap.From) < back.Sub(away)-time.Second || gap.To.Before(back) {
		t.Errorf("away from %v to %v: %s", away, back, line(list[0]))
	}
	end := list[len(list)-1]
	if code, known := end.Detail.(events.TaskExit).Code.Value(); known && code != 6 || end.Source != events.Reconciled || end.Confirmed != events.Confirmed {
		t.Errorf("the end: %s", line(end))
	}

	d.wait()
	d.freeze(true)
	defer d.freeze(false)
	time.Sleep(200 * time.Millisecond)
	inTime(t, "ending a stream of a containerd that does not answer", func() {
		l.end()
		if err := <-l.done; err != nil {
			t.Error(err)
		}
	})
	inTime(t, "a stream of a containerd that does not answer", func() {
		for _, err := range events.Stream(ctx, events.Options{Endpoint: d.endpoint(), Timeout: time.Second}) {
			if !errors.Is(err, inspect.ErrNoRuntime) {
				t.Errorf("%v", err)
			}
		}
	})
	d.kill()
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	d.start()
	d.wait()
	inTime(t, "ending a stream while containerd is away", func() {
		for e, err := range events.Stream(stop, events.Options{Endpoint: d.endpoint()}) {
			if err != nil || e.Topic != events.TopicLive {
				t.Errorf("%s, %v", line(e), err)
			}
			d.kill()
			time.AfterFunc(500*time.Millisecond, cancel)
		}
	})
}

// inTime fails when something takes long that should take no time.
func inTime(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s takes more than 20 s", what)
	}
}

// TestLabFlood: somebody publishes thousands of events of containers and processes that are not there, and large ones. The
// memory is bounded, all of them are told as unconfirmed or as dropped, and a real container is told of as ever.
func TestLabFlood(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	d.startSleeping("stays")
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	before, goroutines := heap(), runtime.NumGoroutine()
	const clients = 4
	n := times(8_000, 2_000)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := client; i < n; i += clients {
				var topic string
				var m proto.Message
				switch i % 4 {
				case 0:
					topic, m = events.TopicTaskCreate, &api.TaskCreate{ContainerID: fmt.Sprintf("made-up-%d", i), Pid: 1}
				case 1:
					topic, m = events.TopicTaskExecAdded, &api.TaskExecAdded{ContainerID: "stays", ExecID: fmt.Sprintf("made-up-%d", i)}
				case 2:
					topic, m = events.TopicTaskExit, &api.TaskExit{ContainerID: "stays", ID: fmt.Sprintf("made-up-%d", i), Pid: 1, ExitedAt: timestamppb.Now()}
				case 3:
					topic, m = events.TopicContainerCreate, &api.ContainerCreate{ID: fmt.Sprintf("made-up-%d", i)}
				}
				if err := d.publish(ctx, topic, m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	most, mostGoroutines := int64(0), 0
	flooded := make(chan struct{})
	go func() {
		wg.Wait()
		close(flooded)
	}()
	for over := false; !over; time.Sleep(50 * time.Millisecond) {
		select {
		case <-flooded:
			over = true
		default:
		}
		most, mostGoroutines = max(most, heap()-before), max(mostGoroutines, runtime.NumGoroutine()-goroutines)
	}
	if code, err := d.run(ctx, "real", shell("exit 9")); err != nil || code != 9 {
		t.Fatalf("exit status %d: %v", code, err)
	}
	unconfirmed := 0
	var truly []events.Event
	for _, e := range l.rest(4 * time.Second) {
		switch {
		case e.Confirmed == events.Unconfirmed:
			unconfirmed++
		case e.Container != nil && e.Container.ID == "real":
			truly = append(truly, e)
		default:
			t.Errorf("confirmed: %s", line(e))
		}
	}
	t.Logf("at most %d MiB and %d goroutines more", most>>20, mostGoroutines)
	checkLife(t, "real", truly, 9)
	if unconfirmed != n {
		t.Errorf("%d unconfirmed, want %d", unconfirmed, n)
	}
	if most > 128<<20 || mostGoroutines > 10_000 {
		t.Errorf("%d bytes and %d goroutines more", most, mostGoroutines)
	}
}

// TestLabTopics: what else containerd tells of is told with its type, what is unknown raw, and what is in the name of the
// stream itself under another.
func TestLabTopics(t *testing.T) {
	d := newDaemon(t)
	ctx := inSpace(t.Context())
	l := listen(t, events.Options{Endpoint: d.endpoint(), NoMarker: true})
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	labels := map[string]string{"a": "b"}
	ns := nsapi.NewNamespacesClient(d.conn)
	do(ns.Create(ctx, &nsapi.CreateNamespaceRequest{Namespace: &nsapi.Namespace{Name: "new"}}))
	do(ns.Update(ctx, &nsapi.UpdateNamespaceRequest{Namespace: &nsapi.Namespace{Name: "new", Labels: labels}}))
	do(ns.Delete(ctx, &nsapi.DeleteNamespaceRequest{Name: "new"}))
	blob := []byte("blob")
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256(blob))
	image := &images.Image{Name: "docker.io/library/new:1", Target: &types.Descriptor{MediaType: "text/plain", Digest: sum, Size: int64(len(blob))}}
	client := images.NewImagesClient(d.conn)
	do(client.Create(ctx, &images.CreateImageRequest{Image: image}))
	image.Labels = labels
	do(client.Update(ctx, &images.UpdateImageRequest{Image: image}))
	do(client.Delete(ctx, &images.DeleteImageRequest{Name: image.GetName()}))
	layers := snapshots.NewSnapshotsClient(d.conn)
	root := map[string]string{"containerd.io/gc.root": "test"} // or its garbage collector may be faster
	do(layers.Prepare(ctx, &snapshots.PrepareSnapshotRequest{Snapshotter: "native", Key: "key", Labels: root}))
	do(layers.Commit(ctx, &snapshots.CommitSnapshotRequest{Snapshotter: "native", Key: "key", Name: "name", Labels: root}))
	do(layers.Remove(ctx, &snapshots.RemoveSnapshotRequest{Snapshotter: "native", Key: "name"}))
	write, err := content.NewContentClient(d.conn).Write(ctx)
	do(nil, err)
	do(nil, write.Send(&content.WriteContentRequest{
		Action: content.WriteAction_COMMIT, Ref: "ref", Total: int64(len(blob)), Expected: sum, Data: blob, Labels: root,
	}))
	do(write.Recv())
	do(content.NewContentClient(d.conn).Delete(ctx, &content.DeleteContentRequest{Digest: sum}))
	do(nil, d.create(ctx, "updated", shell("exit 0")))
	do(containers.NewContainersClient(d.conn).Update(ctx, &containers.UpdateContainerRequest{
		Container:  &containers.Container{ID: "updated", Labels: map[string]string{"team": `it's "ours"`}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	}))
	do(nil, d.publish(ctx, "/some/thing", &api.ImageDelete{Name: "unknown topic"}))
	do(nil, d.publish(ctx, events.TopicGap, &api.ImageDelete{Name: "no gap"}))
	do(nil, d.publish(ctx, events.TopicLive, &api.ImageDelete{Name: "not live"}))
	topics := []string{}
	details := map[string]events.Detail{}
	see := func(e events.Event) {
		topics = append(topics, e.Topic)
		if _, again := details[e.Topic]; !again {
			details[e.Topic] = e.Detail
		}
		if e.Namespace != space && !strings.HasPrefix(e.Topic, "/namespaces/") {
			t.Errorf("not of %s: %s", space, line(e))
		}
		if _, err := json.Marshal(e); err != nil {
			t.Errorf("%v: %s", err, line(e))
		}
		if e.Topic == events.TopicContainerUpdate && e.Confirmed != events.Confirmed {
			t.Errorf("the update: %s", line(e))
		}
	}
	for _, e := range l.until("the update", func(e events.Event) bool { return e.Topic == events.TopicContainerUpdate }) {
		see(e)
	}
	last := &api.ImageDelete{Name: "in the far future"}
	if d.forward(ctx, &timestamppb.Timestamp{Seconds: 1 << 40}, events.TopicImageDelete, last) != nil { // containerd 1.6 refuses it
		do(nil, d.publish(ctx, events.TopicImageDelete, last))
	}

	for _, e := range l.until("the last", func(e events.Event) bool {
		i, ok := e.Detail.(events.Image)
		return ok && i.Name == "in the far future"
	}) {
		see(e)
	}
	want := []string{
		events.TopicNamespaceCreate, events.TopicNamespaceUpdate, events.TopicNamespaceDelete,
		events.TopicImageCreate, events.TopicImageUpdate, events.TopicImageDelete,
		events.TopicSnapshotPrepare, events.TopicSnapshotCommit, events.TopicSnapshotRemove,
		events.TopicContentCreate, events.TopicContentDelete, events.TopicContainerCreate, events.TopicContainerUpdate,
		"/some/thing", "/published" + events.TopicGap, "/published" + events.TopicLive, events.TopicImageDelete,
	}
	if strings.HasPrefix(os.Getenv("RTINSPECT_LAB_RUNTIME"), "1.") { // it publishes nothing when content is made
		want = slices.DeleteFunc(want, func(topic string) bool { return topic == events.TopicContentCreate })
	}
	slices.Sort(topics) // those of containers wait to be checked
	slices.Sort(want)
	if !slices.Equal(topics, want) {
		t.Errorf("%v, want %v", topics, want)
	}
	for topic, detail := range details {
		_, raw := detail.(events.Raw)
		if raw != (topic == "/some/thing" || strings.HasPrefix(topic, "/published")) {
			t.Errorf("%s: %T", topic, detail)
		}
	}
	if i, _ := details[events.TopicImageUpdate].(events.Image); i.Name != image.GetName() || i.Labels["a"] != "b" {
		t.Errorf("image: %+v", i)
	}
	if s, _ := details[events.TopicSnapshotCommit].(events.Snapshot); s.Key != "key" || s.Name != "name" {
		t.Errorf("snapshot: %+v", s)
	}
	if u, _ := details[events.TopicContainerUpdate].(events.ContainerUpdate); u.Labels["team"] != `it's "ours"` {
		t.Errorf("update: %+v", u)
	}

	// The label that it has since, and its name in quotes, choose it.
	later := listen(t, events.Options{Endpoint: d.endpoint(), Labels: map[string]string{"team": `it's "ours"`}, Namespaces: []string{space, `no"such,topic==x`}})
	do(nil, d.delete(ctx, "updated"))
	later.until("its deletion", func(e events.Event) bool {
		return e.Topic == events.TopicContainerDelete && e.Container.ID == "updated"
	})
}
