package psa

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/fakeruntime"
	"github.com/rtinspect/rtinspect/internal/lab"
)

// fakeNode is a node on which pods have run: their containers have ended. What
// containerd keeps of them is the request that internal/lab makes of the manifest
// as the kubelet does, and a specification.
type fakeNode struct {
	lab.Node
	runtime *fakeruntime.Containerd
	pods    map[types.UID]bool
	refused map[types.UID]bool
}

const containerdNamespace = "k8s.io"

func newFakeNode() *fakeNode {
	return &fakeNode{
		Node: lab.Node{
			CgroupParent: "/", KubeletRoot: "/var/lib/kubelet", LogRoot: "/var/log/pods", MemoryCapacity: 8 << 30,
			AppArmorProfiles: []string{"foo"},
		},
		runtime: &fakeruntime.Containerd{Namespaces: []string{containerdNamespace}, Containers: map[string][]*containers.Container{}},
		pods:    map[types.UID]bool{}, refused: map[types.UID]bool{},
	}
}

// uid is the same for pods that are the same.
func (n *fakeNode) uid(t *testing.T, f fixture) types.UID {
	t.Helper()
	return types.UID(fmt.Sprintf("%x", sha256.Sum256(text(t, []any{f.image, f.pod.Annotations, f.pod.Spec})))[:32])
}

// pause is the image of all fixtures, with its user.
var pause = lab.Image{ID: "registry.k8s.io/pause", UID: new(int64(65535))}

// add puts a pod on the node, unless the kubelet refuses it.
func (n *fakeNode) add(t *testing.T, f fixture) {
	t.Helper()
	uid := n.uid(t, f)
	if n.pods[uid] || n.refused[uid] {
		return
	}
	pod := f.pod.DeepCopy()
	pod.UID, pod.Name = uid, string(uid)
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		c.VolumeMounts = nil
		if _, err := n.Container(pod, 0, c, f.image); err != nil {
			n.refused[uid] = true
			return
		}
	}
	n.pods[uid] = true
	sandbox := n.Sandbox(pod, 0)
	id := string(uid) + "-sandbox"
	n.record(t, "sandbox", id, "", sandbox, sandboxSpec(sandbox), podLabels(pod))
	for index, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		volumes := c.VolumeMounts
		c.VolumeMounts = nil // the lab mounts folders of the host and empty ones only
		config, err := n.Container(pod, 0, c, f.image)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range volumes {
			config.Mounts = append(config.Mounts, &cri.Mount{ContainerPath: v.MountPath, HostPath: n.source(pod, v.Name)})
		}
		labels := podLabels(pod)
		labels["io.kubernetes.container.name"] = c.Name
		n.record(t, "container", fmt.Sprintf("%s-%d", uid, index), id, config, containerSpec(config), labels)
	}
}

func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{"io.kubernetes.pod.name": pod.Name, "io.kubernetes.pod.namespace": pod.Namespace, "io.kubernetes.pod.uid": string(pod.UID)}
}

// record is containerd's of a container or a sandbox.
func (n *fakeNode) record(t *testing.T, kind, id, sandbox string, config any, spec *specs.Spec, labels map[string]string) {
	t.Helper()
	labels["io.cri-containerd.kind"] = kind
	metadata := text(t, map[string]any{"Version": "v1", "Metadata": map[string]any{"ID": id, "SandboxID": sandbox, "Config": config}})
	n.runtime.Containers[containerdNamespace] = append(n.runtime.Containers[containerdNamespace], &containers.Container{
		ID: id, Labels: labels, Runtime: &containers.Container_Runtime{Name: "io.containerd.runc.v2"}, Spec: &anypb.Any{Value: text(t, spec)},
		Extensions: map[string]*anypb.Any{"io.cri-containerd." + kind + ".metadata": {Value: metadata}},
	})
}

// source is where the kubelet has a volume.
func (n *fakeNode) source(pod *corev1.Pod, name string) string {
	for _, v := range pod.Spec.Volumes {
		if v.Name != name {
			continue
		}
		if v.HostPath != nil {
			return v.HostPath.Path
		}
		return fmt.Sprintf("%s/pods/%s/volumes/%s/%s", n.KubeletRoot, pod.UID, plugin(v), name)
	}
	return ""
}

// plugin is the kubelet's name of a volume's kind.
func plugin(v corev1.Volume) string {
	s := v.VolumeSource
	for name, is := range map[string]bool{
		"kubernetes.io~configmap": s.ConfigMap != nil, "kubernetes.io~downward-api": s.DownwardAPI != nil, "kubernetes.io~empty-dir": s.EmptyDir != nil,
		"kubernetes.io~projected": s.Projected != nil, "kubernetes.io~secret": s.Secret != nil, "kubernetes.io~git-repo": s.GitRepo != nil,
		"kubernetes.io~nfs": s.NFS != nil, "kubernetes.io~iscsi": s.ISCSI != nil, "kubernetes.io~fc": s.FC != nil,
		"kubernetes.io~glusterfs": s.Glusterfs != nil, "kubernetes.io~rbd": s.RBD != nil, "kubernetes.io~cephfs": s.CephFS != nil,
		"kubernetes.io~flocker": s.Flocker != nil, "kubernetes.io~quobyte": s.Quobyte != nil, "kubernetes.io~scaleio": s.ScaleIO != nil,
		"kubernetes.io~storageos": s.StorageOS != nil,
	} {
		if is {
			return name
		}
	}
	if s.FlexVolume != nil {
		return strings.ReplaceAll(s.FlexVolume.Driver, "/", "~") + "~driver"
	}
	return "kubernetes.io~csi" // those of claims, and those that the kubelet moves there
}

// sandboxSpec and containerSpec have what containerd makes of the parts of a
// request that the standards look at in a specification.
func sandboxSpec(c *cri.PodSandboxConfig) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{User: specs.User{UID: uint32(c.Linux.SecurityContext.RunAsUser.GetValue())}}, Linux: &specs.Linux{Sysctl: c.Linux.Sysctls}}
}

func containerSpec(c *cri.ContainerConfig) *specs.Spec {
	sc := c.Linux.SecurityContext
	return &specs.Spec{
		Process: &specs.Process{User: specs.User{UID: uint32(sc.RunAsUser.GetValue())}, NoNewPrivileges: sc.NoNewPrivs},
		Linux:   &specs.Linux{MaskedPaths: sc.MaskedPaths, ReadonlyPaths: sc.ReadonlyPaths},
	}
}

// snapshot is what is collected on the node.
func (n *fakeNode) snapshot(t *testing.T) inspect.Snapshot {
	t.Helper()
	own, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	n.runtime.PID, n.runtime.PIDNamespace = os.Getpid(), own.Sys().(*syscall.Stat_t).Ino
	i, err := inspect.Open(t.Context(), inspect.Options{Endpoint: fakeruntime.Serve(t, nil, n.runtime, &fakeruntime.CRI{Name: "containerd"})})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	s, err := i.Snapshot(t.Context())
	if len(s.Containers) != len(n.runtime.Containers[containerdNamespace]) {
		t.Fatalf("%d containers: %v", len(s.Containers), err)
	}
	return s
}
