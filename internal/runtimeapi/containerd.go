package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	nsapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// criKind is the label by which containerd's CRI tells sandboxes from
	// containers.
	criKind = "io.cri-containerd.kind"
	// criMetadata and its like for sandboxes are the extensions in which it
	// keeps the request.
	containerMetadata = "io.cri-containerd.container.metadata"
	sandboxMetadata   = "io.cri-containerd.sandbox.metadata"
	// criNamespace is where it keeps them.
	criNamespace = "k8s.io"
	// taskWorkers bounds the calls under way for tasks that the list left out.
	taskWorkers = 16
)

// Server is what containerd says of its own process.
type Server struct {
	// PID is its process, PIDNamespace the inode of the pid namespace in which
	// that number and those of all tasks count.
	PID          int
	PIDNamespace uint64
}

// Server asks containerd for its process. Since containerd 1.3 (pid) and 1.6
// (pid namespace, 0 before).
func (c *Conn) Server(ctx context.Context) (Server, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := introspection.NewIntrospectionClient(c.conn).Server(ctx, &emptypb.Empty{})
	if err != nil {
		return Server{}, c.failed("introspection", err)
	}
	return Server{PID: int(r.GetPid()), PIDNamespace: r.GetPidns()}, nil
}

// List returns the runtime's containers, sandboxes included, without their
// tasks. For those containerd asks every shim in turn, which takes longer than
// all the rest: call tasks when they are needed. It waits for them and fills
// them in; it must be called once, also when nothing was listed. A container
// whose task could not be had says so in Task.Err.
//
// When one namespace could not be listed, the error is of that, and the
// containers of the others are returned with it.
func (c *Conn) List(ctx context.Context) (list []Container, tasks func(), err error) {
	if !c.Containerd {
		list, err = c.listCRI(ctx)
		return list, func() {}, err
	}
	names, err := c.namespaces(ctx)
	if err != nil {
		return nil, func() {}, err
	}
	found := make([]map[string]*task.Process, len(names))
	var listed sync.WaitGroup
	for n, ns := range names {
		listed.Go(func() { found[n] = c.tasks(namespaces.WithNamespace(ctx, ns)) })
	}
	var errs []error
	ends := make([]int, len(names))
	for n, ns := range names {
		part, err := c.containers(namespaces.WithNamespace(ctx, ns), ns)
		if err != nil {
			errs = append(errs, fmt.Errorf("containerd namespace %s: %w", ns, err))
		}
		list = append(list, part...)
		ends[n] = len(list)
	}
	return list, func() {
		listed.Wait()
		begin := 0
		for n, ns := range names {
			c.fillTasks(namespaces.WithNamespace(ctx, ns), list[begin:ends[n]], found[n])
			begin = ends[n]
		}
	}, errors.Join(errs...)
}

func (c *Conn) namespaces(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := nsapi.NewNamespacesClient(c.conn).List(ctx, &nsapi.ListNamespacesRequest{})
	if err != nil {
		return nil, c.failed("namespaces.List", err)
	}
	var names []string
	for _, ns := range r.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names, nil
}

// tasks lists the tasks by the ids of their containers. A failure is as good as
// an empty list: fillTasks asks for what is missing.
func (c *Conn) tasks(ctx context.Context) map[string]*task.Process {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := tasks.NewTasksClient(c.conn).List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil
	}
	found := map[string]*task.Process{}
	for _, p := range r.GetTasks() {
		found[p.GetID()] = p
	}
	return found
}

// containers streams the list: one message would have a limit.
func (c *Conn) containers(ctx context.Context, ns string) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	stream, err := containers.NewContainersClient(c.conn).ListStream(ctx, &containers.ListContainersRequest{})
	if err != nil {
		return nil, c.failed("containers.ListStream", err)
	}
	var list []Container
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, c.failed("containers.ListStream", err)
		}
		list = append(list, fromContainerd(ns, m.GetContainer()))
	}
}

func fromContainerd(ns string, r *containers.Container) Container {
	c := Container{
		ID:        r.GetID(),
		Namespace: ns,
		Image:     r.GetImage(),
		Runtime:   r.GetRuntime().GetName(),
		Labels:    r.GetLabels(),
		Created:   r.GetCreatedAt().AsTime(),
		Spec:      r.GetSpec().GetValue(),
	}
	if len(c.Spec) == 0 {
		c.SpecErr = errors.New("containerd has no OCI specification of it")
	}
	switch c.Labels[criKind] {
	case "container":
		c.CRI = true
		c.Metadata = r.GetExtensions()[containerMetadata].GetValue()
	case "sandbox":
		c.CRI, c.Sandbox = true, true
		c.SandboxID = c.ID
		c.Metadata = r.GetExtensions()[sandboxMetadata].GetValue()
	}
	return c
}

// ErrNoContainer says that containerd has no container with an id.
var ErrNoContainer = errors.New("no such container")

// Container returns one container with its task, from a namespace of containerd.
// The error wraps ErrNoContainer when there is none.
func (c *Conn) Container(ctx context.Context, ns, id string) (*Container, error) {
	ctx = namespaces.WithNamespace(ctx, ns)
	r, err := c.get(ctx, id)
	if err != nil {
		return nil, err
	}
	k := fromContainerd(ns, r)
	k.Task = c.task(ctx, id)
	return &k, nil
}

func (c *Conn) get(ctx context.Context, id string) (*containers.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := containers.NewContainersClient(c.conn).Get(ctx, &containers.GetContainerRequest{ID: id})
	switch {
	case errdefs.IsNotFound(errgrpc.ToNative(err)):
		return nil, fmt.Errorf("%s: %w", id, ErrNoContainer)
	case err != nil:
		return nil, c.failed("containers.Get", err)
	}
	return r.GetContainer(), nil
}

// fillTasks adds the tasks that were listed. containerd leaves out a task whose
// shim does not answer, without an error; such ones are asked for singly, so
// that "hung" is told from "has no task".
func (c *Conn) fillTasks(ctx context.Context, list []Container, found map[string]*task.Process) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, taskWorkers)
	for i := range list {
		if p := found[list[i].ID]; p != nil {
			list[i].Task = taskOf(p)
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			list[i].Task = c.task(ctx, list[i].ID)
		})
	}
	wg.Wait()
	c.fillEnded(ctx, list)
}

// task asks for one task.
func (c *Conn) task(ctx context.Context, id string) Task {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := tasks.NewTasksClient(c.conn).Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err == nil {
		return taskOf(r.GetProcess())
	}
	if errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return Task{}
	}
	return Task{Err: fmt.Errorf("its shim does not answer containerd: %w", c.failed("tasks.Get", err))}
}

func taskOf(p *task.Process) Task {
	t := Task{PID: int(p.GetPid())}
	switch p.GetStatus() {
	case task.Status_CREATED:
		t.State = Created
	case task.Status_RUNNING:
		t.State = Running
	case task.Status_PAUSED, task.Status_PAUSING:
		t.State = Paused
	case task.Status_STOPPED:
		t.State, t.PID = Exited, 0
	case task.Status_UNKNOWN:
		fallthrough
	default:
		return Task{Err: fmt.Errorf("its shim does not answer containerd: the state of its task is %s", p.GetStatus())}
	}
	if t.PID == 0 && t.State != Exited {
		t.Err = errors.New("containerd gives no pid of its task")
	}
	return t
}

// fillEnded asks the CRI whether a container without a task was not started
// yet, or has ended: containerd's own API cannot tell.
func (c *Conn) fillEnded(ctx context.Context, list []Container) {
	var without []int
	for i := range list {
		t := list[i].Task
		if t.State == "" && t.Err == nil && list[i].Namespace == criNamespace && list[i].CRI && !list[i].Sandbox {
			without = append(without, i)
		}
	}
	if len(without) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := cri.NewRuntimeServiceClient(c.conn).ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		err = c.failed("ListContainers", err)
		for _, i := range without {
			list[i].Task.Err = err
		}
		return
	}
	states := map[string]cri.ContainerState{}
	for _, k := range r.GetContainers() {
		states[k.GetId()] = k.GetState()
	}
	for _, i := range without {
		if state, ok := states[list[i].ID]; ok {
			list[i].Task = withoutTask(state)
		}
	}
}

// withoutTask is the state of a container that has no task.
func withoutTask(s cri.ContainerState) Task {
	switch s {
	case cri.ContainerState_CONTAINER_CREATED:
		return Task{State: Created}
	case cri.ContainerState_CONTAINER_EXITED:
		return Task{State: Exited}
	case cri.ContainerState_CONTAINER_RUNNING, cri.ContainerState_CONTAINER_UNKNOWN:
	}
	return Task{Err: fmt.Errorf("containerd has no task of it, but the CRI says %s", s)}
}

// failed says which call of which runtime failed, with the runtime's own class
// of error.
func (c *Conn) failed(call string, err error) error {
	err = errgrpc.ToNative(err)
	if errors.Is(err, context.DeadlineExceeded) {
		err = cause{fmt.Sprintf("no answer in time (%v at most)", c.timeout), err}
	}
	return fmt.Errorf("%s: %s: %w", c.Address, call, err)
}
