package fakeruntime

import (
	"context"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	nsapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	version "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Containerd has the methods of containerd's own API that a listing uses.
type Containerd struct {
	// PID and PIDNamespace are what it says of itself. PID 0: it has no
	// introspection at all.
	PID          int
	PIDNamespace uint64

	Namespaces []string
	Containers map[string][]*containers.Container // by namespace
	// BreakAfter ends a namespace's list with an error after so many.
	BreakAfter map[string]int
	// Tasks are by namespace. The list leaves out those whose id is in Unlisted.
	Tasks    map[string][]*task.Process
	Unlisted map[string]bool
}

// Add adds a container, and its task unless pid is 0.
func (c *Containerd) Add(namespace, id string, pid uint32, spec string) {
	if c.Containers == nil {
		c.Containers, c.Tasks = map[string][]*containers.Container{}, map[string][]*task.Process{}
	}
	if c.Containers[namespace] == nil {
		c.Namespaces = append(c.Namespaces, namespace)
	}
	c.Containers[namespace] = append(c.Containers[namespace], &containers.Container{
		ID: id, Runtime: &containers.Container_Runtime{Name: "io.containerd.runc.v2"}, Spec: &anypb.Any{Value: []byte(spec)},
	})
	if pid != 0 {
		c.Tasks[namespace] = append(c.Tasks[namespace], &task.Process{ID: id, Pid: pid, Status: task.Status_RUNNING})
	}
}

// Register adds it to a server.
func (c *Containerd) Register(s *grpc.Server) {
	version.RegisterVersionServer(s, versionServer{})
	if c.PID != 0 {
		introspection.RegisterIntrospectionServer(s, introspectionServer{c: c})
	}
	nsapi.RegisterNamespacesServer(s, namespacesServer{c: c})
	containers.RegisterContainersServer(s, containersServer{c: c})
	tasks.RegisterTasksServer(s, tasksServer{c: c})
}

func namespaceOf(ctx context.Context) string {
	ns, _ := namespaces.Namespace(ctx)
	return ns
}

type versionServer struct {
	version.UnimplementedVersionServer
}

func (versionServer) Version(context.Context, *emptypb.Empty) (*version.VersionResponse, error) {
	return &version.VersionResponse{Version: "v2.4.2"}, nil
}

type introspectionServer struct {
	introspection.UnimplementedIntrospectionServer
	c *Containerd
}

func (s introspectionServer) Server(context.Context, *emptypb.Empty) (*introspection.ServerResponse, error) {
	return &introspection.ServerResponse{Pid: uint64(s.c.PID), Pidns: s.c.PIDNamespace}, nil
}

type namespacesServer struct {
	nsapi.UnimplementedNamespacesServer
	c *Containerd
}

func (s namespacesServer) List(context.Context, *nsapi.ListNamespacesRequest) (*nsapi.ListNamespacesResponse, error) {
	r := &nsapi.ListNamespacesResponse{}
	for _, name := range s.c.Namespaces {
		r.Namespaces = append(r.Namespaces, &nsapi.Namespace{Name: name})
	}
	return r, nil
}

type containersServer struct {
	containers.UnimplementedContainersServer
	c *Containerd
}

func (s containersServer) ListStream(_ *containers.ListContainersRequest, stream containers.Containers_ListStreamServer) error {
	ns := namespaceOf(stream.Context())
	limit, breaks := s.c.BreakAfter[ns]
	for n, k := range s.c.Containers[ns] {
		if breaks && n == limit {
			return status.Error(codes.Internal, "the list broke off")
		}
		if err := stream.Send(&containers.ListContainerMessage{Container: k}); err != nil {
			return err
		}
	}
	return nil
}

type tasksServer struct {
	tasks.UnimplementedTasksServer
	c *Containerd
}

func (s tasksServer) List(ctx context.Context, _ *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	r := &tasks.ListTasksResponse{}
	for _, p := range s.c.Tasks[namespaceOf(ctx)] {
		if !s.c.Unlisted[p.GetID()] {
			r.Tasks = append(r.Tasks, p)
		}
	}
	return r, nil
}

func (s tasksServer) Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	for _, p := range s.c.Tasks[namespaceOf(ctx)] {
		if p.GetID() == r.GetContainerID() {
			return &tasks.GetResponse{Process: p}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no running task found: task %s not found", r.GetContainerID())
}
