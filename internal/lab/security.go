package lab

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Paths of /proc and /sys that the kubelet hides from a container, and those
// it makes read-only, unless procMount is Unmasked.
var (
	maskedPaths = []string{
		"/proc/asound",
		"/proc/acpi",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{
		"/proc/bus",
		"/proc/fs",
		"/proc/irq",
		"/proc/sys",
		"/proc/sysrq-trigger",
	}
)

// userNamespaceLength is how many ids the kubelet gives a pod; pods get whole
// multiples of it, the first multiple being the host's own.
const userNamespaceLength = 65536

const apparmorAnnotation = "container.apparmor.security.beta.kubernetes.io/"

// sandboxSecurity is the security context of the pod's sandbox. The kubelet
// always asks for the default seccomp profile here, whatever the pod says.
func sandboxSecurity(pod *corev1.Pod, index int) *cri.LinuxSandboxSecurityContext {
	s := &cri.LinuxSandboxSecurityContext{
		Privileged:       hasPrivileged(pod),
		NamespaceOptions: namespaces(pod, index),
		Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
	}
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return s
	}
	s.RunAsUser = int64Value(sc.RunAsUser)
	s.RunAsGroup = int64Value(sc.RunAsGroup)
	s.SupplementalGroups = supplementalGroups(sc)
	s.SupplementalGroupsPolicy = groupsPolicy(sc)
	s.SelinuxOptions = selinux(sc.SELinuxOptions)
	return s
}

// containerSecurity merges the pod's security context with the container's,
// whose word counts more.
func (n Node) containerSecurity(pod *corev1.Pod, index int, c corev1.Container, image Image) (*cri.LinuxContainerSecurityContext, error) {
	sc := effectiveSecurity(pod, c)
	seccomp, err := n.seccomp(sc.SeccompProfile)
	if err != nil {
		return nil, err
	}
	s := &cri.LinuxContainerSecurityContext{
		Capabilities:     capabilities(sc.Capabilities),
		Privileged:       isTrue(sc.Privileged),
		NamespaceOptions: namespaces(pod, index),
		RunAsUser:        int64Value(sc.RunAsUser),
		RunAsGroup:       int64Value(sc.RunAsGroup),
		ReadonlyRootfs:   isTrue(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:       sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		Seccomp:          seccomp,
		SelinuxOptions:   selinux(sc.SELinuxOptions),
		Apparmor:         n.apparmor(pod, c, sc),
	}
	if s.RunAsUser == nil {
		s.RunAsUser = int64Value(image.UID)
		s.RunAsUsername = image.Username
	}
	if podSC := pod.Spec.SecurityContext; podSC != nil {
		s.SupplementalGroups = supplementalGroups(podSC)
		s.SupplementalGroupsPolicy = groupsPolicy(podSC)
	}
	// The runtime clears both lists for a privileged container, so none is sent.
	if !s.Privileged && (sc.ProcMount == nil || *sc.ProcMount != corev1.UnmaskedProcMount) {
		s.MaskedPaths = slices.Clone(maskedPaths)
		s.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	return s, verifyNonRoot(sc, s)
}

// effectiveSecurity is the container's security context, with the pod's where
// the container says nothing.
func effectiveSecurity(pod *corev1.Pod, c corev1.Container) *corev1.SecurityContext {
	sc := new(corev1.SecurityContext)
	if c.SecurityContext != nil {
		sc = c.SecurityContext.DeepCopy()
	}
	podSC := pod.Spec.SecurityContext
	if podSC == nil {
		return sc
	}
	inherit(&sc.RunAsUser, podSC.RunAsUser)
	inherit(&sc.RunAsGroup, podSC.RunAsGroup)
	inherit(&sc.RunAsNonRoot, podSC.RunAsNonRoot)
	inherit(&sc.SELinuxOptions, podSC.SELinuxOptions)
	inherit(&sc.SeccompProfile, podSC.SeccompProfile)
	inherit(&sc.AppArmorProfile, podSC.AppArmorProfile)
	return sc
}

func inherit[T any](own **T, pods *T) {
	if *own == nil {
		*own = pods
	}
}

// verifyNonRoot refuses, as the kubelet does before creating a container, to
// run as root what must not.
func verifyNonRoot(sc *corev1.SecurityContext, s *cri.LinuxContainerSecurityContext) error {
	if !isTrue(sc.RunAsNonRoot) {
		return nil
	}
	if s.RunAsUser == nil && s.RunAsUsername != "" {
		return fmt.Errorf("runAsNonRoot: the image's user %q is no number and might be root", s.RunAsUsername)
	}
	if s.RunAsUser.GetValue() == 0 {
		return errors.New("runAsNonRoot: the container would run as root")
	}
	return nil
}

func namespaces(pod *corev1.Pod, index int) *cri.NamespaceOption {
	o := &cri.NamespaceOption{
		Network:       cri.NamespaceMode_POD,
		Pid:           cri.NamespaceMode_CONTAINER,
		Ipc:           cri.NamespaceMode_POD,
		UsernsOptions: userNamespace(pod, index),
	}
	if pod.Spec.HostNetwork {
		o.Network = cri.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		o.Ipc = cri.NamespaceMode_NODE
	}
	if isTrue(pod.Spec.ShareProcessNamespace) {
		o.Pid = cri.NamespaceMode_POD
	}
	if pod.Spec.HostPID {
		o.Pid = cri.NamespaceMode_NODE
	}
	return o
}

// userNamespace is sent to every runtime: one that knows no user namespaces
// ignores it in silence, which is just what rtinspect has to find out.
func userNamespace(pod *corev1.Pod, index int) *cri.UserNamespace {
	if hostUsers(pod) {
		return &cri.UserNamespace{Mode: cri.NamespaceMode_NODE}
	}
	return &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: idMappings(pod, index), Gids: idMappings(pod, index)}
}

// idMappings is nil for a pod in the host's user namespace.
func idMappings(pod *corev1.Pod, index int) []*cri.IDMapping {
	if hostUsers(pod) {
		return nil
	}
	return []*cri.IDMapping{{HostId: uint32(1+index) * userNamespaceLength, Length: userNamespaceLength}}
}

func hasPrivileged(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		return c.SecurityContext != nil && isTrue(c.SecurityContext.Privileged)
	})
}

func capabilities(c *corev1.Capabilities) *cri.Capability {
	if c == nil {
		return nil
	}
	out := new(cri.Capability)
	for _, name := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(name))
	}
	for _, name := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(name))
	}
	return out
}

// seccomp is Unconfined for a container that says nothing: the kubelet's
// SeccompDefault is off unless an administrator sets it.
func (n Node) seccomp(p *corev1.SeccompProfile) (*cri.SecurityProfile, error) {
	if p == nil {
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}, nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}, nil
	case corev1.SeccompProfileTypeUnconfined:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}, nil
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return nil, errors.New("seccompProfile Localhost without localhostProfile")
		}
		return &cri.SecurityProfile{
			ProfileType:  cri.SecurityProfile_Localhost,
			LocalhostRef: filepath.Join(n.KubeletRoot, "seccomp", filepath.FromSlash(*p.LocalhostProfile)),
		}, nil
	}
	return nil, fmt.Errorf("seccompProfile type %q: want RuntimeDefault, Unconfined or Localhost", p.Type)
}

// apparmor is the profile by the field, or else by the annotation of old. A
// node whose kernel has no AppArmor, or not that profile, would refuse the
// pod; the lab leaves the profile out there, so that the pod can be looked at.
func (n Node) apparmor(pod *corev1.Pod, c corev1.Container, sc *corev1.SecurityContext) *cri.SecurityProfile {
	p := requestedAppArmor(pod, c, sc)
	if p == nil || n.AppArmorProfiles == nil {
		return nil
	}
	if p.ProfileType == cri.SecurityProfile_Localhost && !slices.Contains(n.AppArmorProfiles, p.LocalhostRef) {
		return nil
	}
	return p
}

func requestedAppArmor(pod *corev1.Pod, c corev1.Container, sc *corev1.SecurityContext) *cri.SecurityProfile {
	name, annotated := pod.Annotations[apparmorAnnotation+c.Name]
	local := strings.TrimPrefix(name, "localhost/")
	if p := sc.AppArmorProfile; p != nil {
		annotated = true
		switch p.Type {
		case corev1.AppArmorProfileTypeRuntimeDefault:
			name = "runtime/default"
		case corev1.AppArmorProfileTypeUnconfined:
			name = "unconfined"
		case corev1.AppArmorProfileTypeLocalhost:
			name = "localhost/"
			if p.LocalhostProfile != nil {
				local = *p.LocalhostProfile
			}
		}
	}
	switch {
	case !annotated:
		return nil
	case name == "runtime/default":
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	case name == "unconfined":
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: local}
}

func selinux(o *corev1.SELinuxOptions) *cri.SELinuxOption {
	if o == nil {
		return nil
	}
	return &cri.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// supplementalGroups are fsGroup first, then the rest, as the kubelet sends.
func supplementalGroups(sc *corev1.PodSecurityContext) []int64 {
	var groups []int64
	if sc.FSGroup != nil {
		groups = append(groups, *sc.FSGroup)
	}
	return append(groups, sc.SupplementalGroups...)
}

func groupsPolicy(sc *corev1.PodSecurityContext) cri.SupplementalGroupsPolicy {
	if p := sc.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		return cri.SupplementalGroupsPolicy_Strict
	}
	return cri.SupplementalGroupsPolicy_Merge
}

func int64Value(v *int64) *cri.Int64Value {
	if v == nil {
		return nil
	}
	return &cri.Int64Value{Value: *v}
}
