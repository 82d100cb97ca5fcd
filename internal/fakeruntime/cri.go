package fakeruntime

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRI is a runtime with the CRI alone, such as CRI-O.
type CRI struct {
	cri.UnimplementedRuntimeServiceServer

	Name string // empty: cri-o

	Sandboxes  []*cri.PodSandbox
	Containers []*cri.Container
	// Info is the verbose status of containers and sandboxes, by id.
	Info map[string]map[string]string
}

// Register adds it to a server.
func (c *CRI) Register(s *grpc.Server) {
	if c.Name == "" {
		c.Name = "cri-o"
	}
	cri.RegisterRuntimeServiceServer(s, c)
}

// Add adds a running container of the pod "pod" with a verbose status.
func (c *CRI) Add(id, info string) {
	c.AddIn(cri.ContainerState_CONTAINER_RUNNING, id, info)
}

// AddIn adds a container in a state.
func (c *CRI) AddIn(state cri.ContainerState, id, info string) {
	c.Containers = append(c.Containers, &cri.Container{
		Id:           id,
		PodSandboxId: "pod",
		Metadata:     &cri.ContainerMetadata{Name: "name-of-" + id},
		Image:        &cri.ImageSpec{Image: "registry.example/image:1"},
		State:        state,
		Labels: map[string]string{
			"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.container.name": "name-of-" + id,
		},
		CreatedAt: 1_700_000_000_000_000_000,
	})
	c.info(id, info)
}

// AddSandbox adds a sandbox that is ready.
func (c *CRI) AddSandbox(id, info string) {
	c.Sandboxes = append(c.Sandboxes, &cri.PodSandbox{
		Id:             id,
		Metadata:       &cri.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "uid-of-" + id},
		State:          cri.PodSandboxState_SANDBOX_READY,
		RuntimeHandler: "crun",
		CreatedAt:      1_700_000_000_000_000_000,
	})
	c.info(id, info)
}

func (c *CRI) info(id, info string) {
	if c.Info == nil {
		c.Info = map[string]map[string]string{}
	}
	c.Info[id] = map[string]string{"info": info}
}

// CRIOInfo is the verbose status of a container of CRI-O.
func CRIOInfo(pid int, spec string) string {
	return fmt.Sprintf(`{"sandboxID":"pod","pid":%d,"runtimeSpec":%s,"privileged":false}`, pid, spec)
}

// CRIOSandboxInfo is that of a sandbox whose pause process CRI-O keeps.
func CRIOSandboxInfo(pid int, spec string) string {
	return fmt.Sprintf(`{"image":"registry.k8s.io/pause:3.10","pid":%d,"runtimeSpec":%s}`, pid, spec)
}

// CRIOSpoofedInfo is that of a sandbox that has no process, CRI-O's default
// (drop_infra_ctr).
func CRIOSpoofedInfo(spec string) string { return fmt.Sprintf(`{"runtimeSpec":%s}`, spec) }

// Spec is a small OCI runtime specification of a container in a cgroup.
func Spec(cgroupsPath string) string {
	return fmt.Sprintf(`{"ociVersion":"1.2.1","process":{"user":{"uid":1000,"gid":1000},"args":["/server"],"cwd":"/",`+
		`"env":["TOKEN=secret"],"noNewPrivileges":true,"capabilities":{"bounding":["CAP_CHOWN"]}},`+
		`"root":{"path":"/rootfs","readonly":true},"linux":{"cgroupsPath":%q,"namespaces":[{"type":"pid"}]}}`, cgroupsPath)
}

// Request returns the id that a request for one container or sandbox names.
func Request(request any) string {
	switch r := request.(type) {
	case *cri.ContainerStatusRequest:
		return r.GetContainerId()
	case *cri.PodSandboxStatusRequest:
		return r.GetPodSandboxId()
	}
	return ""
}

// Version answers as the runtime's method does.
func (c *CRI) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: c.Name, RuntimeVersion: "1.36.0", RuntimeApiVersion: "v1"}, nil
}

// ListPodSandbox answers with all sandboxes.
func (c *CRI) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	return &cri.ListPodSandboxResponse{Items: c.Sandboxes}, nil
}

// ListContainers answers with all containers.
func (c *CRI) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: c.Containers}, nil
}

// ContainerStatus answers with the verbose status.
func (c *CRI) ContainerStatus(_ context.Context, r *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	info, ok := c.Info[r.GetContainerId()]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "could not find container %q", r.GetContainerId())
	}
	if !r.GetVerbose() {
		info = nil
	}
	return &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{Id: r.GetContainerId()}, Info: info}, nil
}

// PodSandboxStatus answers with the verbose status.
func (c *CRI) PodSandboxStatus(_ context.Context, r *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	info, ok := c.Info[r.GetPodSandboxId()]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "could not find pod %q", r.GetPodSandboxId())
	}
	if !r.GetVerbose() {
		info = nil
	}
	return &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{Id: r.GetPodSandboxId()}, Info: info}, nil
}
