package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts are the container's volumes and the two files the kubelet adds to
// every container. They are made by [Node.prepare].
func (n Node) mounts(pod *corev1.Pod, index int, c corev1.Container) ([]*cri.Mount, error) {
	var out []*cri.Mount
	ownHosts := true
	for _, m := range c.VolumeMounts {
		source, err := n.volumeSource(pod, m.Name)
		if err != nil {
			return nil, err
		}
		ownHosts = ownHosts && m.MountPath != "/etc/hosts"
		out = append(out, &cri.Mount{
			ContainerPath: m.MountPath,
			HostPath:      source,
			Readonly:      m.ReadOnly,
			UidMappings:   idMappings(pod, index),
			GidMappings:   idMappings(pod, index),
		})
	}
	if ownHosts {
		out = append(out, &cri.Mount{ContainerPath: "/etc/hosts", HostPath: n.hostsFile(pod)})
	}
	return append(out, &cri.Mount{ContainerPath: c.TerminationMessagePath, HostPath: n.messageFile(pod, c)}), nil
}

func (n Node) podFolder(pod *corev1.Pod) string {
	return filepath.Join(n.KubeletRoot, "pods", string(pod.UID))
}

func (n Node) hostsFile(pod *corev1.Pod) string {
	return filepath.Join(n.podFolder(pod), "etc-hosts")
}

func (n Node) messageFile(pod *corev1.Pod, c corev1.Container) string {
	return filepath.Join(n.podFolder(pod), "containers", c.Name, "termination-log")
}

func (n Node) emptyDir(pod *corev1.Pod, name string) string {
	return filepath.Join(n.podFolder(pod), "volumes", "kubernetes.io~empty-dir", name)
}

func (n Node) volumeSource(pod *corev1.Pod, name string) (string, error) {
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.HostPath != nil:
			return v.HostPath.Path, nil
		case v.EmptyDir != nil:
			return n.emptyDir(pod, name), nil
		}
	}
	return "", fmt.Errorf("no volume %q", name)
}

// prepare makes the files and folders on the host that the pod's containers
// mount, and checks those of the host that must be there.
func (n Node) prepare(pod *corev1.Pod) error {
	if err := os.MkdirAll(n.podLogs(pod), 0o755); err != nil {
		return err
	}
	for _, v := range pod.Spec.Volumes {
		if err := n.prepareVolume(pod, v); err != nil {
			return fmt.Errorf("pod %s, volume %s: %w", pod.Name, v.Name, err)
		}
	}
	for _, c := range pod.Spec.Containers {
		if err := writeFile(n.messageFile(pod, c), nil, 0o666); err != nil {
			return err
		}
	}
	hosts := []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if pod.Spec.HostNetwork {
		var err error
		if hosts, err = os.ReadFile("/etc/hosts"); err != nil {
			return err
		}
	}
	return writeFile(n.hostsFile(pod), hosts, 0o644)
}

func (n Node) prepareVolume(pod *corev1.Pod, v corev1.Volume) error {
	if v.HostPath != nil {
		return checkHostPath(v.HostPath)
	}
	dir := n.emptyDir(pod, v.Name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if v.EmptyDir.Medium == corev1.StorageMediumMemory {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
		}
	}
	mode := os.ModePerm
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		if err := os.Chown(dir, -1, int(*sc.FSGroup)); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(dir, mode) // whatever the umask
}

// checkHostPath never creates anything: what the lab makes outside its own
// folders it could not take away again.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	want := corev1.HostPathUnset
	if h.Type != nil {
		want = *h.Type
	}
	info, err := os.Stat(h.Path)
	if err != nil {
		return err
	}
	ok := want == corev1.HostPathUnset ||
		want == corev1.HostPathDirectory && info.IsDir() ||
		want == corev1.HostPathFile && info.Mode().IsRegular() ||
		want == corev1.HostPathSocket && info.Mode()&os.ModeSocket != 0
	if !ok {
		return fmt.Errorf("%s is no %s that the lab could mount", h.Path, want)
	}
	return nil
}

// writeFile writes a file of exactly that mode, making the folders above it.
func writeFile(name string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o711); err != nil {
		return err
	}
	if err := os.WriteFile(name, data, mode); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}
