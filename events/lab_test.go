package events_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/events"
	containers "github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/events"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// times returns how often a test does something: less often on an emulated machine, where
// starting a program takes 15 times as long.
func times(n, emulated int) int {
	if os.Getenv("RTINSPECT_VM") != "" {
		return emulated
	}
	return n
}

// life are the topics of a container's life, in order.
var life = []string{
	events.TopicContainerCreate, events.TopicTaskCreate, events.TopicTaskStart,
	events.TopicTaskExit, events.TopicTaskDelete, events.TopicContainerDelete,
}

// TestLabShort: several clients run short containers at once. containerd loses some
// of their events; each is told once, in order, with the right exit status.
func TestLabShort(t *testing.T) {
	t.Parallel() // with those that mostly wait
	d := newDaemon(t)
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	const clients = 8
	n := times(500, 120)
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		wg.Go(func() {
			for i := client; i < n; i += clients {
				id := fmt.Sprintf("short-%d", i)
				want := uint32(i % 100)
				code, err := d.run(context.Background(), id, shell("exit "+strconv.Itoa(i%100)))
				if err != nil || code != want {
					t.Errorf("%s: exit status %d, want %d: %v", id, code, want, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d containers in %v", n, time.Since(began))
	byID := map[string][]events.Event{}
	missed := map[string]int{}
	for _, e := range l.rest(3 * time.Second) {
		if e.Container == nil {
			continue
		}
		byID[e.Container.ID] = append(byID[e.Container.ID], e)
		if e.Source != events.Published {
			missed[e.Topic]++
		}
	}
	t.Logf("containerd did not publish: %v", missed)
	for i := range n {
		id := fmt.Sprintf("short-%d", i)
		checkLife(t, id, byID[id], uint32(i%100))
	}
}

// checkLife wants one event of each stage of a container's life.
func checkLife(t *testing.T, id string, list []events.Event, code uint32) {
	t.Helper()
	good := len(list) == len(life)
	for n, e := range list {
		good = good && e.Topic == life[n] && e.Confirmed == events.Confirmed
		if exit, ok := e.Detail.(events.TaskExit); ok {
			got, known := exit.Code.Value()
			good = good && known && got == code
		}
	}
	if good {
		return
	}
	t.Errorf("%s: want %v once each, in order, confirmed, with exit status %d", id, life, code)
	for _, e := range list {
		t.Log(line(e))
	}
}

// TestLabRegistration: what is published at once after subscribing, and after a stream is live, is in it.
func TestLabRegistration(t *testing.T) {
	d := newDaemon(t)
	conn, err := runtimeapi.Dial(t.Context(), runtimeapi.Options{Endpoint: d.endpoint()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it has told all
	publish := func(name string) {
		t.Helper()
		if err := d.publish(t.Context(), events.TopicImageCreate, &api.ImageCreate{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range times(1000, 200) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		s, err := conn.Subscribe(ctx, `topic~="^/images/"`)
		if err != nil {
			t.Fatalf("subscription %d: %v", i, err)
		}
		name := fmt.Sprintf("image-%d", i)
		publish(name)
		if e, err := s.Next(); err != nil || !strings.Contains(string(e.Value), name) {
			t.Fatalf("subscription %d: %q, %v", i, e.Value, err)
		}
		cancel()
	}
	for i := range times(50, 20) {
		l := listen(t, events.Options{Endpoint: d.endpoint(), Topics: []string{"/images"}})
		name := fmt.Sprintf("image-of-stream-%d", i)
		publish(name)
		l.until(name, func(e events.Event) bool { return e.Detail == nil || e.Detail.(events.Image).Name == name })
		l.end()
	}
}

// TestLabRestarts: containerd is killed again and again while containers come and go.
// In the end what the stream told is what is there, and it told of every gap.
func TestLabRestarts(t *testing.T) {
	t.Parallel() // with those that mostly wait
	d := newDaemon(t)
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	n := times(10, 4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for client := range 3 {
		wg.Go(func() { comeAndGo(d, client, stop) })
	}
	for range n {
		time.Sleep(700 * time.Millisecond)
		d.kill()
		time.Sleep(100 * time.Millisecond)
		d.start()
		d.wait()
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()
	told := map[string]string{}
	gaps := 0
	byID := map[string][]events.Event{} // with the gaps
	problems := map[string]string{}
	for _, e := range l.rest(4 * time.Second) {
		if gap, ok := e.Detail.(events.Gap); ok {
			gaps++
			if !gap.From.Before(gap.To) || gap.Cause == "" {
				t.Errorf("gap %+v", gap)
			}
			for id := range byID {
				byID[id] = append(byID[id], e)
			}
		}
		if e.Container == nil {
			continue
		}
		id := e.Container.ID
		byID[id] = append(byID[id], e)
		switch {
		case cameAndWent(told, e):
		case e.Confirmed == events.Unconfirmed:
			problems[id] = "not confirmed: " + line(e)
		default:
			if problem := follow(told, e); problem != "" {
				problems[id] = problem + ": " + line(e)
			}
		}
	}
	for id, problem := range problems {
		t.Error(problem)
		for _, e := range byID[id] {
			t.Log(line(e))
		}
	}
	if gaps != n {
		t.Errorf("%d gaps, want %d", gaps, n)
	}
	if there := d.state(t); !maps.Equal(there, told) {
		for id, list := range byID {
			if told[id] == there[id] {
				continue
			}
			t.Errorf("%s: the stream told %q, but there is %q", id, told[id], there[id])
			for _, e := range list {
				t.Log(line(e))
			}
		}
	}
}

// cameAndWent tells whether a container was made before the subscription after a gap, and deleted before the list: nothing is
// left that confirms it.
func cameAndWent(told map[string]string, e events.Event) bool {
	if e.Topic != events.TopicContainerDelete || e.Confirmed != events.Unconfirmed || e.Why != "no such container was known" {
		return false
	}
	_, known := told[e.Container.ID]
	return !known
}

// comeAndGo runs containers until stop, some short, some that stay. Errors are
// expected: containerd is killed meanwhile.
func comeAndGo(d *daemon, client int, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		id := fmt.Sprintf("c%d-%d", client, i)
		switch i % 4 {
		case 0, 1:
			_, _ = d.run(ctx, id, shell("exit 3"))
		case 2: // stays
			if d.create(ctx, id, shell("sleep 1000")) == nil {
				_, _ = d.startTask(ctx, id)
			}
		case 3: // ends while nobody waits
			if d.create(ctx, id, shell("sleep 0.5; exit 4")) == nil {
				_, _ = d.startTask(ctx, id)
			}
		}
		cancel()
	}
}

// follow keeps the state that events tell, and returns what of an event does not
// follow from it.
func follow(state map[string]string, e events.Event) string {
	if e.Exec != "" {
		return ""
	}
	id := e.Container.ID
	was, is := state[id], ""
	from := map[string][]string{}
	switch e.Topic {
	case events.TopicContainerCreate:
		is, from[""] = "made", nil
	case events.TopicTaskCreate:
		is, from["made"] = "created", nil
	case events.TopicTaskStart:
		is, from["created"] = "running", nil
	case events.TopicTaskExit:
		is, from["running"], from["created"] = "exited", nil, nil
	case events.TopicTaskDelete:
		is, from["exited"] = "made", nil
	case events.TopicContainerDelete:
		is, from["made"] = "", nil
	default:
		return ""
	}
	if is == "" {
		delete(state, id)
	} else {
		state[id] = is
	}
	if _, ok := from[was]; !ok {
		return "after " + was
	}
	return ""
}

// state is what containerd lists.
func (d *daemon) state(t *testing.T) map[string]string {
	t.Helper()
	made, err := containers.NewContainersClient(d.conn).List(inSpace(t.Context()), &containers.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]string{}
	for _, c := range made.GetContainers() {
		there[c.GetID()] = "made"
	}
	run, err := tasks.NewTasksClient(d.conn).List(inSpace(t.Context()), &tasks.ListTasksRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range run.GetTasks() {
		there[p.GetID()] = map[task.Status]string{
			task.Status_CREATED: "created", task.Status_RUNNING: "running", task.Status_STOPPED: "exited",
		}[p.GetStatus()]
	}
	return there
}

// TestLabForged: events that a client publishes are marked, and change nothing.
func TestLabForged(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	if err := d.create(ctx, "real", shell("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	pid, err := d.startTask(ctx, "real")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.exec(ctx, "real", "run", []string{"CAP_CHOWN"}, "/bin/sh", "-c", "sleep 1000"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // what is published of it is no part of the stream
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	now := timestamppb.Now()
	twin := namespaces.WithNamespace(ctx, "twin")
	forged := []struct {
		ctx   context.Context
		topic string
		event proto.Message
	}{
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "real", ID: "real", Pid: pid, ExitStatus: 0, ExitedAt: now}},
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "real", ID: "real", Pid: pid + 1, ExitStatus: 0, ExitedAt: now}},
		{ctx, events.TopicTaskDelete, &api.TaskDelete{ContainerID: "real", Pid: pid, ExitStatus: 0, ExitedAt: now}},
		{ctx, events.TopicTaskOOM, &api.TaskOOM{ContainerID: "real"}},
		{ctx, events.TopicTaskPaused, &api.TaskPaused{ContainerID: "real"}},
		{ctx, events.TopicTaskCreate, &api.TaskCreate{ContainerID: "real", Pid: 1}},
		{ctx, events.TopicTaskStart, &api.TaskStart{ContainerID: "real", Pid: 1}},
		{ctx, events.TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "real", ExecID: "none", Pid: 1}},
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "real", ID: "none", Pid: 1, ExitStatus: 0, ExitedAt: now}},
		{ctx, events.TopicTaskStart, &api.TaskStart{ContainerID: "real", Pid: pid + 1}},
		{ctx, events.TopicTaskResumed, &api.TaskResumed{ContainerID: "real"}},
		{ctx, events.TopicTaskExecAdded, &api.TaskExecAdded{ContainerID: "real", ExecID: "none"}},
		{ctx, events.TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "real", ExecID: "none", Pid: pid}},
		{ctx, events.TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "real", ExecID: "", Pid: pid}},
		{ctx, events.TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "real", ExecID: "", Pid: 1}},
		{ctx, events.TopicTaskExecStarted, &api.TaskExecStarted{ContainerID: "real", ExecID: "run", Pid: pid}},
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "real", ID: "run", Pid: pid, ExitStatus: 0, ExitedAt: now}},
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "real", ID: "", Pid: pid, ExitStatus: 0, ExitedAt: &timestamppb.Timestamp{Seconds: 1 << 60}}},
		{ctx, events.TopicContainerUpdate, &api.ContainerUpdate{ID: "real", Labels: map[string]string{"a": "b"}}},
		{twin, events.TopicTaskCreate, &api.TaskCreate{ContainerID: "real", Pid: pid}},
		{twin, events.TopicTaskStart, &api.TaskStart{ContainerID: "real", Pid: pid}},
		{twin, events.TopicContainerCreate, &api.ContainerCreate{ID: "real"}},
		{twin, events.TopicTaskOOM, &api.TaskOOM{ContainerID: "real"}},
		{ctx, events.TopicContainerDelete, &api.ContainerDelete{ID: "real"}},
		{ctx, events.TopicContainerCreate, &api.ContainerCreate{ID: "none"}},
		{ctx, events.TopicTaskCreate, &api.TaskCreate{ContainerID: "none", Pid: pid}},
		{ctx, events.TopicTaskStart, &api.TaskStart{ContainerID: "none", Pid: pid}},
		{ctx, events.TopicTaskExit, &api.TaskExit{ContainerID: "none", ID: "none", Pid: pid, ExitStatus: 1, ExitedAt: now}},
		{ctx, events.TopicContainerDelete, &api.ContainerDelete{ID: "none"}},
	}
	for _, f := range forged {
		if err := d.publish(f.ctx, f.topic, f.event); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second) // what is true of them later cannot speak for them
	if err := d.killTask(ctx, "real"); err != nil {
		t.Fatal(err)
	}
	code, err := d.endTask(ctx, "real")
	if err != nil || code != 137 {
		t.Fatalf("exit status %d: %v", code, err)
	}
	if err := d.delete(ctx, "real"); err != nil {
		t.Fatal(err)
	}
	var truly []string
	unconfirmed := map[string]int{}
	for _, e := range l.rest(2 * time.Second) {
		if e.Confirmed == events.Unconfirmed {
			unconfirmed[e.Topic]++
			if e.Why == "" {
				t.Errorf("no reason: %s", line(e))
			}
			continue
		}
		t.Log(line(e))
		if e.Exec != "" { // the one that truly runs, and is killed with the first
			exit, _ := e.Detail.(events.TaskExit)
			if code, _ := exit.Code.Value(); e.Exec != "run" || e.Topic != events.TopicTaskExit || code != 137 {
				t.Errorf("confirmed: %s", line(e))
			}
			continue
		}
		truly = append(truly, e.Topic)
	}
	for _, f := range forged {
		unconfirmed[f.topic]--
	}
	for topic, n := range unconfirmed {
		if n != 0 {
			t.Errorf("%s: %+d unconfirmed", topic, n)
		}
	}
	if want := life[3:]; !slices.Equal(truly, want) {
		t.Errorf("confirmed: %v, want %v", truly, want)
	}
}

// TestLabSlow: the reader stops for a while under many events. containerd is drained
// all the same, and what is given up is counted.
func TestLabSlow(t *testing.T) {
	d := newDaemon(t)
	const room = 1000
	n := times(60_000, 20_000)
	pause := time.Duration(times(30, 0)) * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, dropped := 0, uint64(0)
	for e, err := range events.Stream(ctx, events.Options{Endpoint: d.endpoint(), Room: room}) {
		if err != nil {
			t.Fatal(err)
		}
		switch detail := e.Detail.(type) {
		case events.Dropped:
			dropped += detail.Count
		case events.Image:
			told++
		}
		if e.Topic == events.TopicLive {
			before, ours := d.memory(t), heap()
			began := time.Now()
			d.publishMany(t, n)
			time.Sleep(max(pause-time.Since(began), 500*time.Millisecond)) // the reader does not read
			after := d.memory(t)
			t.Logf("containerd had %d MiB and has %d MiB; here %d KiB and %d KiB", before>>20, after>>20, ours>>10, heap()>>10)
			if grown := heap() - ours; grown > 16<<20 {
				t.Errorf("%d bytes more here", grown)
			}
			if after > before+64<<20 {
				t.Errorf("containerd has grown from %d to %d bytes", before, after)
			}
			if err := d.publish(ctx, events.TopicNamespaceDelete, &api.NamespaceDelete{Name: "end"}); err != nil {
				t.Fatal(err)
			}
		}
		if e.Topic == events.TopicNamespaceDelete {
			break
		}
	}
	t.Logf("%d told, %d dropped", told, dropped)
	if told+int(dropped) != n || told < room-10 || told > room {
		t.Errorf("%d told and %d dropped of %d", told, dropped, n)
	}
}

// publishMany publishes events of images from several goroutines.
func (d *daemon) publishMany(t testing.TB, n int) {
	var wg sync.WaitGroup
	const clients = 8
	for client := range clients {
		wg.Go(func() {
			for i := client; i < n; i += clients {
				if err := d.publish(context.Background(), events.TopicImageUpdate, &api.ImageUpdate{Name: "image"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// memory is what containerd has resident, in bytes.
func (d *daemon) memory(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLabOOM: the kernel kills for the container's limit, for that of the cgroup
// above, and a child while the container goes on.
func TestLabOOM(t *testing.T) {
	d := newDaemon(t)
	l := listen(t, events.Options{Endpoint: d.endpoint()})
	ctx := t.Context()
	const own, above = 16 << 20, 24 << 20
	folder := "/sys/fs/cgroup/memory" + d.cgroup + "/pod"
	limit := folder + "/memory.limit_in_bytes"
	if unified() {
		folder = "/sys/fs/cgroup" + d.cgroup + "/pod"
		limit = folder + "/memory.max"
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if unified() {
		for _, above := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup" + d.cgroup} {
			if err := os.WriteFile(above+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(limit, []byte(strconv.Itoa(above)), 0o644); err != nil {
		t.Fatal(err)
	}
	eat := program{args: []string{"/bin/sh", "-c", "exec tail /dev/zero"}}
	for _, tt := range []struct {
		id     string
		run    program
		kills  int
		code   uint32
		cgroup string
		limit  uint64
	}{
		{"own", program{args: eat.args, memory: own}, 1, 137, d.cgroup + "/own", own},
		{"above", program{args: eat.args, parent: "pod"}, 1, 137, d.cgroup + "/pod", above},
		{"child", program{args: []string{"/bin/sh", "-c", "tail /dev/zero; tail /dev/zero; sleep 0.3; exit 5"}, memory: own}, 2, 5, d.cgroup + "/child", own},
	} {
		t.Run(tt.id, func(t *testing.T) {
			if code, err := d.run(ctx, tt.id, tt.run); err != nil || code != tt.code {
				t.Fatalf("exit status %d: %v", code, err)
			}
			kills := 0
			for _, e := range l.until("end", func(e events.Event) bool { return e.Topic == events.TopicContainerDelete }) {
				t.Log(line(e))
				o, ok := e.Detail.(events.OOM)
				if !ok {
					continue
				}
				kills++
				hit, _ := o.Hit.Value()
				if bytes, _ := hit.Limit.Value(); hit.Cgroup != tt.cgroup || bytes != tt.limit || e.Confirmed != events.Confirmed {
					t.Errorf("hit %+v of %d bytes, %s: want %s and %d", hit, bytes, e.Confirmed, tt.cgroup, tt.limit)
				}
			}
			if kills != tt.kills {
				t.Errorf("%d kills told, want %d", kills, tt.kills)
			}
		})
	}
}

// TestLabEnd: when the context ends the stream does, at once and with all it started.
func TestLabEnd(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	if err := d.create(ctx, "stays", shell("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(ctx, "stays"); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 5 {
		stream, cancel := context.WithCancel(ctx)
		for e, err := range events.Stream(stream, events.Options{Endpoint: d.endpoint()}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Topic == events.TopicLive {
				cancel()
			}
		}
		cancel()
		for range events.Stream(ctx, events.Options{Endpoint: d.endpoint()}) {
			break
		}
	}
	var left int
	for range 100 { // the connections' own goroutines end a little later
		if left = runtime.NumGoroutine(); left <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("%d goroutines, %d before:\n%s", left, before, stacks[:runtime.Stack(stacks, true)])
}

// TestLabWatch: a start, an exec and a change in force are judged.
func TestLabWatch(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	l := listenTo(t, func(ctx context.Context) iter.Seq2[events.Event, error] {
		return events.Watch(ctx, events.WatchOptions{Options: events.Options{Endpoint: d.endpoint()}, Every: 100 * time.Millisecond})
	})
	p := shell("sleep 1000")
	p.caps, p.memory = []string{"CAP_CHOWN", "CAP_SYS_MODULE"}, 64<<20
	if err := d.create(ctx, "watched", p); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(ctx, "watched"); err != nil {
		t.Fatal(err)
	}
	next := func(what string, wanted func(events.Findings) bool) (events.Event, events.Findings) {
		t.Helper()
		list := l.until(what, func(e events.Event) bool {
			f, ok := e.Detail.(events.Findings)
			return ok && wanted(f)
		})
		e := list[len(list)-1]
		return e, e.Detail.(events.Findings)
	}
	e, f := next("judgment of the start", func(f events.Findings) bool { return f.Trigger == events.TriggerStart })
	for _, finding := range f.Findings {
		if finding.Verdict == audit.Unknown {
			t.Errorf("%s is unknown: %v", finding.Rule, finding.Causes)
		}
	}
	if e.Container.ID != "watched" || f.Unjudged != "" || !hasFinding(f, "seccomp-off") || !hasFinding(f, "no-new-privileges") {
		t.Errorf("start: %s", line(e))
	}

	if err := d.exec(ctx, "watched", "more", []string{"CAP_CHOWN", "CAP_NET_RAW"}, "/bin/sh", "-c", "sleep 999"); err != nil {
		t.Fatal(err)
	}
	e, f = next("judgment of the exec", func(f events.Findings) bool { return f.Trigger == events.TriggerExec })
	if e.Exec != "more" || f.Process == nil || f.Unjudged != "" {
		t.Fatalf("exec: %s", line(e))
	}
	args, _ := f.Process.Args.Value()
	beyond := fmt.Sprint(f.Process.Beyond)
	if !slices.Contains(args, "sleep") && !slices.Contains(args, "sleep 999") || !strings.Contains(beyond, "NET_RAW") {
		t.Errorf("exec: %v holds beyond the first %s", args, beyond)
	}

	// On v1 the limit with swap may not be below the one without.
	folder, files, none := "/sys/fs/cgroup/memory", []string{"memory.memsw.limit_in_bytes", "memory.limit_in_bytes"}, "-1"
	if unified() {
		folder, files, none = "/sys/fs/cgroup", []string{"memory.max"}, "max"
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(folder, d.cgroup, "watched", file), []byte(none), 0); err != nil {
			t.Fatal(err)
		}
	}
	e, f = next("judgment of the change", func(f events.Findings) bool {
		return f.Trigger == events.TriggerChange && slices.ContainsFunc(f.Changes, func(c inspect.Change) bool { return c.Fact == "cgroup.memory.max" })
	})
	if !hasFinding(f, "no-memory-limit") || !slices.Contains(f.Changes, inspect.Change{Fact: "cgroup.memory.max", Was: strconv.Itoa(64 << 20), Is: "max"}) {
		t.Errorf("change: %s", line(e))
	}
}

// TestLabWatchBefore: of a container from before the watch only what an exec adds is told, not what it holds already.
func TestLabWatchBefore(t *testing.T) {
	d := newDaemon(t)
	ctx := t.Context()
	p := shell("sleep 1000")
	p.memory = 64 << 20
	if err := d.create(ctx, "before", p); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startTask(ctx, "before"); err != nil {
		t.Fatal(err)
	}
	l := listenTo(t, func(ctx context.Context) iter.Seq2[events.Event, error] {
		return events.Watch(ctx, events.WatchOptions{Options: events.Options{Endpoint: d.endpoint()}})
	})
	time.Sleep(time.Second) // it is judged at the beginning, and nothing told of that
	for _, tt := range []struct {
		exec string
		caps []string
		adds bool
	}{
		{"plain", []string{"CAP_CHOWN"}, false},
		{"more", []string{"CAP_CHOWN", "CAP_SYS_MODULE"}, true},
	} {
		if err := d.exec(ctx, "before", tt.exec, tt.caps, "/bin/sh", "-c", "sleep 999"); err != nil {
			t.Fatal(err)
		}
		list := l.until("judgment of "+tt.exec, func(e events.Event) bool { return e.Topic == events.TopicFinding })
		e := list[len(list)-1]
		f := e.Detail.(events.Findings)
		if e.Exec != tt.exec || f.Process == nil || f.Unjudged != "" {
			t.Fatalf("%s: %s", tt.exec, line(e))
		}
		if hasFinding(f, "seccomp-off") || hasFinding(f, "no-new-privileges") || tt.adds != (len(f.Findings) > 0) {
			t.Errorf("%s adds something: %t, but is told with %s", tt.exec, tt.adds, line(e))
		}
	}
}

// unified tells whether the control groups are v2 alone.
func unified() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

func hasFinding(f events.Findings, rule string) bool {
	return slices.ContainsFunc(f.Findings, func(f audit.Finding) bool {
		return f.Rule == rule || slices.ContainsFunc(f.Parts, func(part audit.Result) bool { return part.Rule == rule })
	})
}
