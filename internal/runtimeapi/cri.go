package runtimeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// statusWorkers bounds the verbose status calls under way.
const statusWorkers = 16

// listCRI lists through the CRI alone: containers and sandboxes, then the
// verbose status of each that runs, which is the only place for its pid.
func (c *Conn) listCRI(ctx context.Context) ([]Container, error) {
	client := cri.NewRuntimeServiceClient(c.conn)
	list, err := c.listNames(ctx, client)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, statusWorkers)
	for i := range list {
		if list[i].Task.State != Running {
			list[i].SpecErr = errors.New("not asked for: the container does not run")
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c.fillVerbose(ctx, client, &list[i])
		})
	}
	wg.Wait()
	return list, nil
}

// listNames lists sandboxes and containers without their pids.
func (c *Conn) listNames(ctx context.Context, client cri.RuntimeServiceClient) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	pods, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, c.failed("ListPodSandbox", err)
	}
	r, err := client.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, c.failed("ListContainers", err)
	}
	var list []Container
	handlers := map[string]string{}
	for _, p := range pods.GetItems() {
		handlers[p.GetId()] = p.GetRuntimeHandler()
		list = append(list, fromSandbox(p))
	}
	for _, k := range r.GetContainers() {
		list = append(list, fromCRI(k, handlers[k.GetPodSandboxId()]))
	}
	return list, nil
}

func fromSandbox(p *cri.PodSandbox) Container {
	state := Exited
	if p.GetState() == cri.PodSandboxState_SANDBOX_READY {
		state = Running
	}
	return Container{
		ID:          p.GetId(),
		Runtime:     p.GetRuntimeHandler(),
		Labels:      withPodLabels(p.GetLabels(), p.GetMetadata()),
		Annotations: p.GetAnnotations(),
		Created:     time.Unix(0, p.GetCreatedAt()),
		Sandbox:     true,
		SandboxID:   p.GetId(),
		CRI:         true,
		Task:        Task{State: state},
	}
}

// withPodLabels adds the kubelet's labels from the metadata, which a client
// other than the kubelet fills in alone.
func withPodLabels(labels map[string]string, m *cri.PodSandboxMetadata) map[string]string {
	all := map[string]string{PodNameLabel: m.GetName(), PodNamespaceLabel: m.GetNamespace(), PodUIDLabel: m.GetUid()}
	for k, v := range labels {
		all[k] = v
	}
	return all
}

func fromCRI(k *cri.Container, handler string) Container {
	labels := map[string]string{ContainerNameLabel: k.GetMetadata().GetName()}
	for key, v := range k.GetLabels() {
		labels[key] = v
	}
	return Container{
		ID:          k.GetId(),
		Image:       k.GetImage().GetImage(),
		Runtime:     handler,
		Labels:      labels,
		Annotations: k.GetAnnotations(),
		Created:     time.Unix(0, k.GetCreatedAt()),
		SandboxID:   k.GetPodSandboxId(),
		CRI:         true,
		Task:        criTask(k.GetState()),
	}
}

func criTask(s cri.ContainerState) Task {
	switch s {
	case cri.ContainerState_CONTAINER_CREATED:
		return Task{State: Created}
	case cri.ContainerState_CONTAINER_RUNNING:
		return Task{State: Running}
	case cri.ContainerState_CONTAINER_EXITED:
		return Task{State: Exited}
	case cri.ContainerState_CONTAINER_UNKNOWN:
	}
	return Task{Err: fmt.Errorf("the runtime does not know its state (%s)", s)}
}

// fillVerbose adds what only the verbose status tells: pid and specification.
// It has a time limit of its own: one that hangs leaves the others theirs.
func (c *Conn) fillVerbose(ctx context.Context, client cri.RuntimeServiceClient, k *Container) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	info, err := verboseInfo(ctx, client, k)
	if err != nil {
		err = c.failed("verbose status", err)
		k.SpecErr, k.Task.Err = err, err
		return
	}
	v, err := parseVerbose(info)
	if err != nil {
		err = fmt.Errorf("%s: verbose status: %w", c.Address, err)
		k.SpecErr, k.Task.Err = err, err
		return
	}
	k.Spec = v.Spec
	k.Privileged = v.Privileged
	if len(k.Spec) == 0 {
		k.SpecErr = errors.New("the runtime's verbose status has no OCI specification")
	}
	switch {
	case v.PID != nil && *v.PID >= 1:
		k.Task.PID = *v.PID
	case v.PID == nil && k.Sandbox && c.Name == crio:
		// By default CRI-O gives a sandbox no process, and then no pid either.
	default:
		k.Task.Err = fmt.Errorf("%s: verbose status: no pid in it", c.Address)
	}
}

// crio is what CRI-O calls itself.
const crio = "cri-o"

func verboseInfo(ctx context.Context, client cri.RuntimeServiceClient, k *Container) (string, error) {
	if k.Sandbox {
		r, err := client.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: k.ID, Verbose: true})
		return r.GetInfo()["info"], err
	}
	r, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: k.ID, Verbose: true})
	return r.GetInfo()["info"], err
}

// verbose is the part of the verbose status that containerd and CRI-O share.
// The format belongs to no API: what is missing stays unknown.
type verbose struct {
	PID        *int
	Spec       []byte
	Privileged *bool
}

// parseVerbose reads info["info"] of ContainerStatus and PodSandboxStatus.
func parseVerbose(info string) (verbose, error) {
	if strings.TrimSpace(info) == "" {
		return verbose{}, errors.New("the runtime gave none")
	}
	var in struct {
		PID         *int            `json:"pid"`
		RuntimeSpec json.RawMessage `json:"runtimeSpec"`
		Privileged  *bool           `json:"privileged"`
	}
	if err := json.Unmarshal([]byte(info), &in); err != nil {
		return verbose{}, err
	}
	spec := []byte(in.RuntimeSpec)
	if string(spec) == "null" {
		spec = nil
	}
	return verbose{PID: in.PID, Spec: spec, Privileged: in.Privileged}, nil
}

// The labels by which the kubelet names pods and containers.
const (
	ContainerNameLabel = "io.kubernetes.container.name"
	PodNameLabel       = "io.kubernetes.pod.name"
	PodNamespaceLabel  = "io.kubernetes.pod.namespace"
	PodUIDLabel        = "io.kubernetes.pod.uid"
)
