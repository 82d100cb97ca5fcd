package lab

import (
	"cmp"
	"crypto/sha1"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

//go:embed pods/*.yaml pods/named/*.yaml
var podFiles embed.FS

// Manifest is a pod as its file gives it.
type Manifest struct {
	Pod *corev1.Pod
	// YAML is the text the pod was read from.
	YAML []byte
}

// The runtime classes. ClassGVisor is that of the pods that run in gVisor,
// ClassWritable that of those that may write their own cgroup, see containerd's
// cgroup_writable; only [Runtime24] has them.
const (
	ClassGVisor   = "gvisor"
	ClassWritable = "cgroup-writable"
)

// runtimeHandlers are what containerd calls the runtimes of runtime classes;
// the one without a class is its default.
var runtimeHandlers = map[string]string{"": "", ClassGVisor: "runsc", ClassWritable: "runc-cgroup-writable"}

// RuntimeClass is the pod's, empty where it names none.
func (m Manifest) RuntimeClass() string { return runtimeClass(m.Pod) }

func runtimeClass(pod *corev1.Pod) string {
	if pod.Spec.RuntimeClassName == nil {
		return ""
	}
	return *pod.Spec.RuntimeClassName
}

// PodNames returns the names of the lab's pods, sorted: those without a runtime
// class and those of the classes given, but for those in pods/named.
func PodNames(classes ...string) []string {
	files, err := fs.Glob(podFiles, "pods/*.yaml")
	if err != nil {
		panic(err) // only a malformed pattern fails, and this one is a constant
	}
	var names []string
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".yaml")
		all, err := Manifests([]string{name}, "/")
		if err != nil {
			panic(err) // the files are part of the program
		}
		if class := all[0].RuntimeClass(); class == "" || slices.Contains(classes, class) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Manifests reads the lab's pods of those names, in that order. The runtime's
// usual socket in a hostPath volume becomes socket; see [placeSocket].
func Manifests(names []string, socket string) ([]Manifest, error) {
	var out []Manifest
	for _, name := range names {
		text, err := podFiles.ReadFile("pods/" + name + ".yaml")
		if err != nil {
			text, err = podFiles.ReadFile("pods/named/" + name + ".yaml")
		}
		if err != nil {
			return nil, fmt.Errorf("no pod %q: want some of %s", name, strings.Join(PodNames(ClassGVisor), ","))
		}
		text = placeSocket(text, socket)
		pod, err := parsePod(text)
		if err != nil {
			return nil, fmt.Errorf("pods/%s.yaml: %w", name, err)
		}
		out = append(out, Manifest{pod, text})
	}
	return out, nil
}

var socketPath = regexp.MustCompile(`(?m)^( *path: )/run/containerd(/containerd\.sock)?$`)

// placeSocket replaces the path of containerd's usual socket, and of the
// folder it is in, by the lab's own, in the lines that give a volume's path:
// a lab pod must never hold the socket of another containerd.
func placeSocket(text []byte, socket string) []byte {
	return socketPath.ReplaceAllFunc(text, func(line []byte) []byte {
		m := socketPath.FindSubmatch(line)
		if len(m[2]) > 0 {
			return append(slices.Clone(m[1]), socket...)
		}
		return append(slices.Clone(m[1]), path.Dir(socket)...)
	})
}

// parsePod reads one pod, refusing unknown fields and those that the lab would
// not carry over to the runtime, and sets what the API server would default.
func parsePod(text []byte) (*corev1.Pod, error) {
	pod := new(corev1.Pod)
	if err := yaml.UnmarshalStrict(text, pod); err != nil {
		return nil, err
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fmt.Errorf("%s %s is not a v1 Pod", pod.APIVersion, pod.Kind)
	}
	if err := refuseUntranslated(pod); err != nil {
		return nil, err
	}
	setDefaults(pod)
	return pod, validate(pod)
}

// refuseUntranslated takes away from a copy of the pod whatever the lab
// translates. Anything left would silently be lost, so it is an error.
func refuseUntranslated(pod *corev1.Pod) error {
	rest := pod.DeepCopy()
	rest.TypeMeta = metav1.TypeMeta{}
	rest.Name, rest.Namespace, rest.Labels, rest.Annotations = "", "", nil, nil
	s := &rest.Spec
	s.HostNetwork, s.HostPID, s.HostIPC, s.HostUsers = false, false, false, nil
	s.ShareProcessNamespace, s.Hostname, s.RestartPolicy = nil, "", ""
	s.TerminationGracePeriodSeconds, s.RuntimeClassName = nil, nil
	if sc := s.SecurityContext; sc != nil {
		sc.SeccompProfile, sc.AppArmorProfile, sc.Sysctls = nil, nil, nil
		sc.RunAsUser, sc.RunAsGroup, sc.RunAsNonRoot = nil, nil, nil
		sc.FSGroup, sc.SupplementalGroups, sc.SupplementalGroupsPolicy = nil, nil, nil
		clearIfZero(&s.SecurityContext)
	}
	s.Volumes = slices.DeleteFunc(s.Volumes, func(v corev1.Volume) bool {
		return v.HostPath != nil || v.EmptyDir != nil
	})
	s.Containers = slices.DeleteFunc(s.Containers, translatedWhole)
	if len(s.Volumes) == 0 {
		s.Volumes = nil
	}
	if len(s.Containers) == 0 {
		s.Containers = nil
	}
	if reflect.DeepEqual(rest, new(corev1.Pod)) {
		return nil
	}
	left, err := yaml.Marshal(rest)
	if err != nil {
		return err
	}
	return fmt.Errorf("the lab does not translate:\n%s", left)
}

// translatedWhole reports whether the lab translates all that c says.
func translatedWhole(c corev1.Container) bool {
	c = *c.DeepCopy()
	for _, word := range slices.Concat(c.Command, c.Args) {
		if strings.Contains(word, "$(") { // the kubelet would expand it
			return false
		}
	}
	c.Name, c.Image, c.ImagePullPolicy = "", "", ""
	c.Command, c.Args, c.WorkingDir = nil, nil, ""
	c.TerminationMessagePath, c.TerminationMessagePolicy = "", ""
	c.Stdin, c.StdinOnce, c.TTY = false, false, false
	for i := range c.Env {
		if strings.Contains(c.Env[i].Value, "$(") {
			return false
		}
		c.Env[i].Name, c.Env[i].Value = "", ""
	}
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].Name, c.VolumeMounts[i].MountPath, c.VolumeMounts[i].ReadOnly = "", "", false
	}
	if allZero(c.Env) {
		c.Env = nil
	}
	if allZero(c.VolumeMounts) {
		c.VolumeMounts = nil
	}
	if sc := c.SecurityContext; sc != nil {
		sc.Capabilities, sc.Privileged, sc.AllowPrivilegeEscalation = nil, nil, nil
		sc.RunAsUser, sc.RunAsGroup, sc.RunAsNonRoot = nil, nil, nil
		sc.ReadOnlyRootFilesystem, sc.ProcMount = nil, nil
		sc.SeccompProfile, sc.AppArmorProfile = nil, nil
		clearIfZero(&c.SecurityContext)
	}
	for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
		delete(list, corev1.ResourceCPU)
		delete(list, corev1.ResourceMemory)
		if len(list) > 0 {
			return false
		}
	}
	c.Resources.Limits, c.Resources.Requests = nil, nil
	return reflect.DeepEqual(c, corev1.Container{})
}

// clearIfZero sets *p to nil when it points to a zero value.
func clearIfZero[T any](p **T) {
	if reflect.ValueOf(**p).IsZero() {
		*p = nil
	}
}

func allZero[T any](list []T) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !reflect.ValueOf(v).IsZero() })
}

// setDefaults sets what the API server sets in a pod it accepts. The uid
// depends on the pod's name only, so that two labs' answers can be compared.
func setDefaults(pod *corev1.Pod) {
	pod.Namespace = cmp.Or(pod.Namespace, "default")
	pod.UID = podUID(pod.Namespace, pod.Name)
	pod.Spec.RestartPolicy = cmp.Or(pod.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		pod.Spec.TerminationGracePeriodSeconds = new(int64(corev1.DefaultTerminationGracePeriodSeconds))
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.TerminationMessagePath = cmp.Or(c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
		c.TerminationMessagePolicy = cmp.Or(c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
		for name, limit := range c.Resources.Limits {
			if _, ok := c.Resources.Requests[name]; ok {
				continue
			}
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit
		}
	}
}

// podUID returns a version 5 UUID of the pod's full name.
func podUID(namespace, name string) types.UID {
	h := sha1.Sum([]byte("rtinspect-lab/" + namespace + "/" + name))
	h[6] = h[6]&0x0f | 0x50
	h[8] = h[8]&0x3f | 0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

// validate refuses what the API server refuses and the runtime would not.
func validate(pod *corev1.Pod) error {
	if len(pod.Spec.Containers) == 0 {
		return fmt.Errorf("pod %s has no containers", pod.Name)
	}
	if _, ok := runtimeHandlers[runtimeClass(pod)]; !ok {
		return fmt.Errorf("pod %s: no runtime class %q: want %s or %s", pod.Name, runtimeClass(pod), ClassGVisor, ClassWritable)
	}
	if isTrue(pod.Spec.ShareProcessNamespace) && pod.Spec.HostPID {
		return fmt.Errorf("pod %s: shareProcessNamespace and hostPID exclude each other", pod.Name)
	}
	if !hostUsers(pod) && (pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC) {
		return fmt.Errorf("pod %s: hostUsers false excludes the host's namespaces", pod.Name)
	}
	for _, c := range pod.Spec.Containers {
		if err := validateEscalation(c.SecurityContext); err != nil {
			return fmt.Errorf("pod %s, container %s: %w", pod.Name, c.Name, err)
		}
	}
	return nil
}

// validateEscalation refuses allowPrivilegeEscalation false together with
// what makes it void. The API server compares with CAP_SYS_ADMIN only; we
// refuse the name without prefix too, which means the same to a runtime.
func validateEscalation(sc *corev1.SecurityContext) error {
	if sc == nil || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		return nil
	}
	if isTrue(sc.Privileged) {
		return fmt.Errorf("allowPrivilegeEscalation false and privileged true exclude each other")
	}
	if sc.Capabilities == nil {
		return nil
	}
	for _, c := range sc.Capabilities.Add {
		if strings.TrimPrefix(string(c), "CAP_") == "SYS_ADMIN" {
			return fmt.Errorf("allowPrivilegeEscalation false and the capability %s exclude each other", c)
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// hostUsers reports whether the pod stays in the host's user namespace.
func hostUsers(pod *corev1.Pod) bool {
	return pod.Spec.HostUsers == nil || *pod.Spec.HostUsers
}
