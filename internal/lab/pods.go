package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

const (
	// podWorkers is how many pods are started at a time. Starting a pod is
	// mostly work of the machine's CPUs, so more gain nothing.
	podWorkers = 4
	// stateTimeout is how long all containers may take to get where they shall.
	stateTimeout = 5 * time.Minute
	// oomPod is the pod whose container shall be killed for its memory.
	oomPod = "pod-oom"
)

// Container is a container of a pod of a lab.
type Container struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	State string `json:"state"` // RUNNING or EXITED, when the lab was ready
}

// Pod is a pod of a lab.
type Pod struct {
	Name         string      `json:"name"`
	Namespace    string      `json:"namespace"`
	UID          string      `json:"uid"`
	SandboxID    string      `json:"sandboxID"`
	CgroupParent string      `json:"cgroupParent"`
	Containers   []Container `json:"containers"`
}

// Scale is a number of equal pods with a number of containers each.
type Scale struct{ Pods, Containers int }

// manifests returns the pods that a scale stands for.
func (s Scale) manifests() ([]Manifest, error) {
	var out []Manifest
	for i := range s.Pods {
		pod := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("scale-%d", i)},
		}
		for j := range s.Containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
				Name: fmt.Sprintf("c%d", j), Image: "busybox", Command: []string{"sleep", "86400"},
			})
		}
		text, err := yaml.Marshal(pod)
		if err != nil {
			return nil, err
		}
		setDefaults(pod)
		out = append(out, Manifest{pod, text})
	}
	return out, nil
}

// starter creates pods through the CRI.
type starter struct {
	node        Node
	hierarchies []hierarchy
	runtime     cri.RuntimeServiceClient
	images      cri.ImageServiceClient
}

// start creates the pods, several at a time, and returns them in their order.
func (s starter) start(ctx context.Context, manifests []Manifest) ([]Pod, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pods := make([]Pod, len(manifests))
	slots := make(chan struct{}, podWorkers)
	var all sync.WaitGroup
	for i, m := range manifests {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			pod, err := s.startPod(ctx, m.Pod, i)
			if err != nil {
				cancel(fmt.Errorf("pod %s: %w", m.Pod.Name, err))
			}
			pods[i] = pod
		})
	}
	all.Wait()
	return pods, context.Cause(ctx)
}

func (s starter) startPod(ctx context.Context, pod *corev1.Pod, index int) (Pod, error) {
	sandbox := s.node.Sandbox(pod, index)
	out := Pod{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID), CgroupParent: sandbox.Linux.CgroupParent}
	if err := s.node.prepare(pod); err != nil {
		return out, err
	}
	if err := limitPod(s.hierarchies, sandbox.Linux.CgroupParent, sandbox.Linux.Resources); err != nil {
		return out, err
	}
	answer, err := s.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox, RuntimeHandler: runtimeHandlers[runtimeClass(pod)]})
	if err != nil {
		return out, err
	}
	out.SandboxID = answer.PodSandboxId
	for _, c := range pod.Spec.Containers {
		id, err := s.startContainer(ctx, pod, index, c, out.SandboxID, sandbox)
		if err != nil {
			return out, fmt.Errorf("container %s: %w", c.Name, err)
		}
		out.Containers = append(out.Containers, Container{Name: c.Name, ID: id})
	}
	return out, nil
}

func (s starter) startContainer(ctx context.Context, pod *corev1.Pod, index int, c corev1.Container, sandboxID string, sandbox *cri.PodSandboxConfig) (string, error) {
	image, err := s.image(ctx, c.Image)
	if err != nil {
		return "", err
	}
	config, err := s.node.Container(pod, index, c, image)
	if err != nil {
		return "", err
	}
	answer, err := s.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandboxID, Config: config, SandboxConfig: sandbox,
	})
	if err != nil {
		return "", err
	}
	_, err = s.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: answer.ContainerId})
	return answer.ContainerId, err
}

// image finds a container's image among those imported; nothing is pulled.
func (s starter) image(ctx context.Context, name string) (Image, error) {
	answer, err := s.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return Image{}, err
	}
	if answer.Image == nil {
		return Image{}, fmt.Errorf("the lab has no image %q: want one of %s", name, strings.Join(imageNames, ", "))
	}
	out := Image{ID: answer.Image.Id, Username: answer.Image.Username}
	if answer.Image.Uid != nil {
		out.UID = &answer.Image.Uid.Value
	}
	return out, nil
}

// settle waits until every container is in the state its pod is made for, and
// notes the states.
func (s starter) settle(ctx context.Context, pods []Pod) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stateTimeout, errors.New("the containers do not get into their states"))
	defer cancel()
	for i := range pods {
		for j := range pods[i].Containers {
			if err := s.settleContainer(ctx, pods[i].Name, &pods[i].Containers[j]); err != nil {
				return fmt.Errorf("pod %s, container %s: %w", pods[i].Name, pods[i].Containers[j].Name, err)
			}
		}
	}
	return nil
}

func (s starter) settleContainer(ctx context.Context, pod string, c *Container) error {
	for {
		answer, err := s.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ID})
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		c.State = strings.TrimPrefix(answer.Status.State.String(), "CONTAINER_")
		done, err := settled(pod, answer.Status)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settled reports whether a container is where its pod is made to be: killed
// for its memory in pod-oom, running in all others. The exit status is what
// counts, since the runtime may miss the kernel's notice of the kill.
func settled(pod string, s *cri.ContainerStatus) (bool, error) {
	exited := s.State == cri.ContainerState_CONTAINER_EXITED
	switch {
	case exited && pod == oomPod && s.ExitCode == 137:
		return true, nil
	case exited:
		return false, fmt.Errorf("ended with status %d: %s %s", s.ExitCode, s.Reason, s.Message)
	}
	return pod != oomPod && s.State == cri.ContainerState_CONTAINER_RUNNING, nil
}

// writeManifests leaves the pods' manifests for whoever wants to know what was
// asked for.
func writeManifests(dir string, manifests []Manifest) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, m := range manifests {
		if err := writeFile(dir+"/"+m.Pod.Name+".yaml", m.YAML, 0o644); err != nil {
			return err
		}
	}
	return nil
}
