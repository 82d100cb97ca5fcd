package runtimeapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	events "github.com/containerd/containerd/api/services/events/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ErrNoEvents says that a runtime has no events that could be used: only
// containerd has. The CRI's GetContainerEvents must not be read: one reader that
// is slow holds up every start of a pod, and in containerd 1.7 it takes the
// kubelet's events away.
var ErrNoEvents = errors.New("only containerd has events")

const (
	// markerTopic is where a subscription looks for itself, below it a name that
	// nobody else has. The event is empty and in a namespace that holds nothing.
	markerTopic     = "/rtinspect/registered/"
	markerNamespace = "rtinspect"
	markerType      = "google.protobuf.Empty"
	// markerAgain is when the marker is published again: the first one may have
	// come before the subscription.
	markerAgain = 2 * time.Millisecond
	// silence is how long a subscription is left alone that is not proved.
	// containerd takes about a millisecond.
	silence = time.Second
)

// ErrNoTask says that containerd has no such task, or no such process in it.
var ErrNoTask = errors.New("no such task or process")

// Envelope is an event as containerd passes it on. Everyone with the socket can
// publish one.
type Envelope struct {
	Time      time.Time
	Namespace string
	Topic     string
	TypeURL   string
	Value     []byte
}

// Subscription is a stream of events. Cancel the context of
// [Conn.Subscribe] to end it.
type Subscription struct {
	conn   *Conn
	stream events.Events_SubscribeClient
	end    context.CancelFunc
	marker string
	// before came while the subscription was not proved yet.
	before []Envelope
}

// Subscribe subscribes to events that match one of the filters of containerd, or
// to all without filters, and returns when containerd has registered the
// subscriber: what is published after that will be received.
//
// containerd answers before it registers, and tells nothing later: the only proof
// is an event that arrives. So one is published that means nothing to anybody
// else, until it comes back. It changes nothing in containerd.
func (c *Conn) Subscribe(ctx context.Context, filters ...string) (*Subscription, error) {
	marker := markerTopic + rand.Text()
	if len(filters) > 0 {
		filters = append(slices.Clip(filters), fmt.Sprintf("topic==%q", marker))
	}
	s, err := c.subscribe(ctx, filters)
	if err != nil {
		return nil, err
	}
	s.marker = marker
	if err := s.prove(ctx); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// SubscribeSilently does what [Conn.Subscribe] does and publishes nothing: it waits
// for some hundred times as long as containerd needs to register a subscriber, and
// cannot know that it has.
func (c *Conn) SubscribeSilently(ctx context.Context, filters ...string) (*Subscription, error) {
	s, err := c.subscribe(ctx, filters)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		s.end()
		return nil, c.failed("events.Subscribe", status.FromContextError(ctx.Err()).Err())
	case <-time.After(silence):
	}
	return s, nil
}

func (c *Conn) subscribe(ctx context.Context, filters []string) (*Subscription, error) {
	if !c.Containerd {
		return nil, fmt.Errorf("%s: %s %s: %w", c.Address, c.Name, c.Version, ErrNoEvents)
	}
	s := &Subscription{conn: c}
	ctx, s.end = context.WithCancel(ctx)
	var err error
	if s.stream, err = events.NewEventsClient(c.conn).Subscribe(ctx, &events.SubscribeRequest{Filters: filters}); err != nil {
		s.end()
		return nil, c.failed("events.Subscribe", err)
	}
	return s, nil
}

// prove waits until the marker has come back. The stream itself has no time limit, so
// it is ended when that takes too long.
func (s *Subscription) prove(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, s.conn.timeout)
	defer stop()
	inTime := context.AfterFunc(ctx, s.end)
	publishing := make(chan error, 1)
	go func() {
		err := s.publishMarkers(ctx)
		publishing <- err
		if err != nil {
			stop() // it will not come
		}
	}()
	err := s.untilMarker()
	late := !inTime()
	cause := ctx.Err()
	stop()
	failed := <-publishing
	switch {
	case !late:
		return err
	case failed != nil && !errors.Is(cause, context.DeadlineExceeded):
		return failed
	}
	return s.conn.failed("events.Subscribe", status.FromContextError(cause).Err())
}

func (s *Subscription) publishMarkers(ctx context.Context) error {
	wait := markerAgain
	for {
		err := s.conn.Publish(ctx, Envelope{Namespace: markerNamespace, Topic: s.marker, TypeURL: markerType})
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait *= 2
		}
	}
}

func (s *Subscription) untilMarker() error {
	for {
		e, err := s.receive()
		switch {
		case err != nil:
			return err
		case e.Topic == s.marker:
			return nil
		case !isMarker(e.Topic):
			s.before = append(s.before, e)
		}
	}
}

// Next waits for the next event. Markers, of others too, are left out.
func (s *Subscription) Next() (Envelope, error) {
	if len(s.before) > 0 {
		e := s.before[0]
		s.before = s.before[1:]
		return e, nil
	}
	for {
		e, err := s.receive()
		if err != nil || !isMarker(e.Topic) {
			return e, err
		}
	}
}

func isMarker(topic string) bool {
	return len(topic) > len(markerTopic) && topic[:len(markerTopic)] == markerTopic
}

func (s *Subscription) receive() (Envelope, error) {
	e, err := s.stream.Recv()
	if err != nil {
		return Envelope{}, s.conn.failed("events.Subscribe", err)
	}
	return fromEnvelope(e), nil
}

func fromEnvelope(e *types.Envelope) Envelope {
	return Envelope{
		Time:      timeOf(e.GetTimestamp()),
		Namespace: e.GetNamespace(),
		Topic:     e.GetTopic(),
		TypeURL:   e.GetEvent().GetTypeUrl(),
		Value:     e.GetEvent().GetValue(),
	}
}

// timeOf returns now for what is no time: whoever forwards an event says when it was.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Now()
	}
	return t.AsTime()
}

// Publish publishes an event, whose time is containerd's. Only the marker of
// [Conn.Subscribe] and tests do.
func (c *Conn) Publish(ctx context.Context, e Envelope) error {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, e.Namespace), c.timeout)
	defer cancel()
	_, err := events.NewEventsClient(c.conn).Publish(ctx, &events.PublishRequest{
		Topic: e.Topic,
		Event: &anypb.Any{TypeUrl: e.TypeURL, Value: e.Value},
	})
	if err != nil {
		return c.failed("events.Publish", err)
	}
	return nil
}

// Truth is what containerd has of a container at one time, in its own stores and
// as the shim tells: events are checked against it.
type Truth struct {
	Namespace, ID string
	// Exists tells whether there is such a container.
	Exists  bool
	Created time.Time
	Updated time.Time
	Labels  map[string]string
	Image   string
	Runtime string
	Task    TaskTruth
	// Record is all that containerd has of the container, without its task. Only
	// [Conn.Truth] keeps it.
	Record *Container
}

// TaskTruth is a task of containerd. It is told from one that has no task, and
// from one that is not known as its shim does not answer.
type TaskTruth struct {
	// State is empty when there is no task.
	State string
	// PID is in the runtime's pid namespace. Unlike [Task] it keeps that of a
	// task that has ended.
	PID  int
	Exit Exit // of a task that has ended
	Err  error
}

// Exit is how a process ended.
type Exit struct {
	Code uint32
	Time time.Time
}

// Truths lists all containers and tasks of containerd. When a namespace could not
// be listed, the error is of that: then nothing is known of its containers.
func (c *Conn) Truths(ctx context.Context) ([]Truth, error) {
	names, err := c.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []Truth
	for _, ns := range names {
		part, err := c.truths(namespaces.WithNamespace(ctx, ns), ns)
		if err != nil {
			return nil, fmt.Errorf("containerd namespace %s: %w", ns, err)
		}
		all = append(all, part...)
	}
	return all, nil
}

func (c *Conn) truths(ctx context.Context, ns string) ([]Truth, error) {
	list, err := c.containerTruths(ctx, ns)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	found := c.tasks(ctx)
	var wg sync.WaitGroup
	slots := make(chan struct{}, taskWorkers)
	for i := range list {
		if p := found[list[i].ID]; p != nil {
			list[i].Task = taskTruth(p)
			continue
		}
		// containerd leaves out a task whose shim does not answer.
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			list[i].Task = c.TaskTruth(ctx, ns, list[i].ID, "")
		})
	}
	wg.Wait()
	return list, nil
}

func (c *Conn) containerTruths(ctx context.Context, ns string) ([]Truth, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	stream, err := containers.NewContainersClient(c.conn).ListStream(ctx, &containers.ListContainersRequest{})
	if err != nil {
		return nil, c.failed("containers.ListStream", err)
	}
	var list []Truth
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, c.failed("containers.ListStream", err)
		}
		list = append(list, truthOf(ns, m.GetContainer()))
	}
}

func truthOf(ns string, r *containers.Container) Truth {
	return Truth{
		Namespace: ns,
		ID:        r.GetID(),
		Exists:    true,
		Created:   r.GetCreatedAt().AsTime(),
		Updated:   r.GetUpdatedAt().AsTime(),
		Labels:    r.GetLabels(),
		Image:     r.GetImage(),
		Runtime:   r.GetRuntime().GetName(),
	}
}

// Truth tells what containerd has of one container. The container and its task are
// asked for at once.
func (c *Conn) Truth(ctx context.Context, ns, id string) (Truth, error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	asked := make(chan TaskTruth, 1)
	go func() { asked <- c.TaskTruth(asking, ns, id, "") }()
	t, err := c.containerTruth(ctx, ns, id)
	if err != nil || !t.Exists {
		stop() // a shim may hang
		<-asked
		return t, err
	}
	task := <-asked
	if task.Err != nil { // when containerd itself has gone, its shim may well answer
		if t, err = c.containerTruth(ctx, ns, id); err != nil || !t.Exists {
			return t, err
		}
	}
	t.Task = task
	return t, nil
}

func (c *Conn) containerTruth(ctx context.Context, ns, id string) (Truth, error) {
	r, err := c.get(namespaces.WithNamespace(ctx, ns), id)
	if errors.Is(err, ErrNoContainer) {
		return Truth{Namespace: ns, ID: id}, nil
	}
	if err != nil {
		return Truth{}, err
	}
	t := truthOf(ns, r)
	record := fromContainerd(ns, r)
	t.Record = &record
	return t, nil
}

// TaskTruth tells what containerd has of a container's task, or with an exec id of
// that process.
func (c *Conn) TaskTruth(ctx context.Context, ns, id, exec string) TaskTruth {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, ns), c.timeout)
	defer cancel()
	r, err := tasks.NewTasksClient(c.conn).Get(ctx, &tasks.GetRequest{ContainerID: id, ExecID: exec})
	switch {
	case errdefs.IsNotFound(errgrpc.ToNative(err)):
		return TaskTruth{}
	case err != nil:
		return TaskTruth{Err: fmt.Errorf("its shim does not answer containerd: %w", c.failed("tasks.Get", err))}
	case exec != "" && r.GetProcess().GetStatus() == task.Status_CREATED: // it has no pid before it is started
		return TaskTruth{State: Created, PID: int(r.GetProcess().GetPid())}
	}
	return taskTruth(r.GetProcess())
}

func taskTruth(p *task.Process) TaskTruth {
	t := taskOf(p)
	truth := TaskTruth{State: t.State, PID: int(p.GetPid()), Err: t.Err}
	if t.State == Exited {
		truth.Exit = exitOf(p.GetExitStatus(), p.GetExitedAt())
	}
	return truth
}

func exitOf(code uint32, at *timestamppb.Timestamp) Exit {
	return Exit{Code: code, Time: at.AsTime()}
}

// Exec is a process that was run in a container.
type Exec struct {
	ID  string
	PID int // in the runtime's pid namespace
}

// Execs lists the processes that were run in a container and have not ended. The shim
// of runc tells which those are; of another one there are none. It runs runc for that.
func (c *Conn) Execs(ctx context.Context, ns, id string) ([]Exec, error) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, ns), c.timeout)
	defer cancel()
	r, err := tasks.NewTasksClient(c.conn).ListPids(ctx, &tasks.ListPidsRequest{ContainerID: id})
	if err != nil {
		return nil, c.failed("tasks.ListPids", err)
	}
	var list []Exec
	for _, p := range r.GetProcesses() {
		var details options.ProcessDetails
		if p.GetInfo() == nil || !strings.HasSuffix(p.GetInfo().GetTypeUrl(), string(details.ProtoReflect().Descriptor().FullName())) {
			continue
		}
		if err := proto.Unmarshal(p.GetInfo().GetValue(), &details); err != nil {
			return nil, c.failed("tasks.ListPids", err)
		}
		if details.GetExecID() != "" {
			list = append(list, Exec{ID: details.GetExecID(), PID: int(p.GetPid())})
		}
	}
	return list, nil
}

// Wait waits until a task has ended, or with an exec id that process, and tells
// how. containerd may lose the event of it, but not this answer. The error wraps
// [ErrNoTask] when there is none, or none any more.
func (c *Conn) Wait(ctx context.Context, ns, id, exec string) (Exit, error) {
	r, err := tasks.NewTasksClient(c.conn).Wait(namespaces.WithNamespace(ctx, ns), &tasks.WaitRequest{ContainerID: id, ExecID: exec})
	switch {
	case errdefs.IsNotFound(errgrpc.ToNative(err)):
		return Exit{}, fmt.Errorf("%s %s: %w", id, exec, ErrNoTask)
	case err != nil:
		return Exit{}, c.failed("tasks.Wait", err)
	}
	return exitOf(r.GetExitStatus(), r.GetExitedAt()), nil
}
