package lab

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Node is what the kubelet's translation takes from the machine it runs on.
type Node struct {
	// CgroupParent is the cgroup that stands for the root of a node.
	CgroupParent string
	// KubeletRoot stands for /var/lib/kubelet: volumes, seccomp profiles.
	KubeletRoot string
	// LogRoot stands for /var/log/pods.
	LogRoot string
	// MemoryCapacity is the machine's memory in bytes.
	MemoryCapacity int64
	// AppArmorProfiles are those the kernel has loaded, nil without AppArmor.
	AppArmorProfiles []string
	// UnifiedCgroups is set where cgroup v2 controls memory.
	UnifiedCgroups bool
	// SwapAccounting is set where the kernel can limit swap by cgroup.
	SwapAccounting bool
}

// Image is what the translation needs of a container's image.
type Image struct {
	ID string
	// UID and Username are of the image's user; a number when it has one.
	UID      *int64
	Username string
}

// Labels and annotations the kubelet puts on what it creates.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"

	annotationHash          = "io.kubernetes.container.hash"
	annotationRestartCount  = "io.kubernetes.container.restartCount"
	annotationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	annotationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	annotationGracePeriod   = "io.kubernetes.pod.terminationGracePeriod"
	annotationConfigSource  = "kubernetes.io/config.source"
)

// Sandbox returns the request for the pod's sandbox, as the kubelet makes it.
// index is the pod's place on the node, from 0: it gives the pod its ids where
// it has a user namespace of its own.
func (n Node) Sandbox(pod *corev1.Pod, index int) *cri.PodSandboxConfig {
	c := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID)},
		LogDirectory: n.podLogs(pod),
		Labels:       podLabels(pod),
		Annotations:  podAnnotations(pod),
		PortMappings: portMappings(pod),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    n.podCgroup(pod),
			Sysctls:         podSysctls(pod),
			Resources:       n.sandboxResources(pod),
			Overhead:        &cri.LinuxContainerResources{},
			SecurityContext: sandboxSecurity(pod, index),
		},
	}
	if !pod.Spec.HostNetwork {
		c.Hostname = pod.Name
		if pod.Spec.Hostname != "" {
			c.Hostname = pod.Spec.Hostname
		}
	}
	return c
}

// Container returns the request for the container of that name in the pod.
func (n Node) Container(pod *corev1.Pod, index int, c corev1.Container, image Image) (*cri.ContainerConfig, error) {
	security, err := n.containerSecurity(pod, index, c, image)
	if err != nil {
		return nil, fmt.Errorf("pod %s, container %s: %w", pod.Name, c.Name, err)
	}
	mounts, err := n.mounts(pod, index, c)
	if err != nil {
		return nil, fmt.Errorf("pod %s, container %s: %w", pod.Name, c.Name, err)
	}
	annotations, err := containerAnnotations(pod, c)
	if err != nil {
		return nil, err
	}
	command, args := standIn(c)
	return &cri.ContainerConfig{
		Metadata:    &cri.ContainerMetadata{Name: c.Name},
		Image:       &cri.ImageSpec{Image: image.ID, UserSpecifiedImage: c.Image},
		Command:     command,
		Args:        args,
		WorkingDir:  c.WorkingDir,
		Envs:        containerEnv(c),
		Mounts:      mounts,
		Labels:      containerLabels(pod, c),
		Annotations: annotations,
		LogPath:     filepath.Join(c.Name, "0.log"),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux: &cri.LinuxContainerConfig{
			Resources:       n.containerResources(pod, c),
			SecurityContext: security,
		},
	}, nil
}

func (n Node) podLogs(pod *corev1.Pod) string {
	return filepath.Join(n.LogRoot, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

func podLabels(pod *corev1.Pod) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, pod.Labels)
	labels[labelPodName] = pod.Name
	labels[labelPodNamespace] = pod.Namespace
	labels[labelPodUID] = string(pod.UID)
	return labels
}

func podAnnotations(pod *corev1.Pod) map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, pod.Annotations)
	annotations[annotationConfigSource] = "api"
	return annotations
}

// containerLabels leaves out the pod's own labels, as the kubelet does.
func containerLabels(pod *corev1.Pod, c corev1.Container) map[string]string {
	return map[string]string{
		labelPodName:       pod.Name,
		labelPodNamespace:  pod.Namespace,
		labelPodUID:        string(pod.UID),
		labelContainerName: c.Name,
	}
}

func containerAnnotations(pod *corev1.Pod, c corev1.Container) (map[string]string, error) {
	hash, err := containerHash(c)
	if err != nil {
		return nil, fmt.Errorf("hash container %s: %w", c.Name, err)
	}
	return map[string]string{
		annotationHash:          hash,
		annotationRestartCount:  "0",
		annotationMessagePath:   c.TerminationMessagePath,
		annotationMessagePolicy: string(c.TerminationMessagePolicy),
		annotationGracePeriod:   strconv.FormatInt(*pod.Spec.TerminationGracePeriodSeconds, 10),
	}, nil
}

// containerHash stands for the kubelet's hash over the fields whose change
// restarts a container: its name and image.
func containerHash(c corev1.Container) (string, error) {
	text, err := json.Marshal(map[string]string{"image": c.Image, "name": c.Name})
	if err != nil {
		return "", err
	}
	h := fnv.New32a()
	h.Write(text) // a hash's Write never fails
	return strconv.FormatUint(uint64(h.Sum32()), 16), nil
}

func containerEnv(c corev1.Container) []*cri.KeyValue {
	var env []*cri.KeyValue
	for _, e := range c.Env {
		env = append(env, &cri.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	return env
}

// portMappings are those of all containers but init containers.
func portMappings(pod *corev1.Pod) []*cri.PortMapping {
	var out []*cri.PortMapping
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			out = append(out, &cri.PortMapping{
				Protocol: cri.Protocol(cri.Protocol_value[string(p.Protocol)]), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
			})
		}
	}
	return out
}

func podSysctls(pod *corev1.Pod) map[string]string {
	sysctls := map[string]string{}
	if pod.Spec.SecurityContext == nil {
		return sysctls
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		sysctls[s.Name] = s.Value
	}
	return sysctls
}
