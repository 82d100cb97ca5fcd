package lab

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var testNode = Node{
	CgroupParent:   "/node",
	KubeletRoot:    "/kubelet",
	LogRoot:        "/logs",
	MemoryCapacity: 8 << 30,
}

// pod parses a pod from the lines of its spec.
func pod(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	p, err := parsePod([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n" + indent(spec)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// container translates the first container of a pod.
func container(t *testing.T, n Node, p *corev1.Pod) *cri.ContainerConfig {
	t.Helper()
	c, err := n.Container(p, 0, p.Spec.Containers[0], Image{ID: "sha256:1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContainerSecurity(t *testing.T) {
	runtimeDefault := cri.SecurityProfile_RuntimeDefault
	unconfined := cri.SecurityProfile_Unconfined
	for _, test := range []struct {
		name, spec string
		check      func(*cri.LinuxContainerSecurityContext) bool
	}{
		{
			"nothing said: seccomp unconfined", `
containers: [{name: app, image: busybox}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return s.Seccomp.ProfileType == unconfined && !s.NoNewPrivs && !s.Privileged && s.Capabilities == nil && s.RunAsUser == nil
			},
		},
		{
			"nothing said: paths masked", `
containers: [{name: app, image: busybox}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return slices.Equal(s.MaskedPaths, maskedPaths) && slices.Equal(s.ReadonlyPaths, readonlyPaths)
			},
		},
		{
			"procMount Unmasked", `
containers: [{name: app, image: busybox, securityContext: {procMount: Unmasked}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return len(s.MaskedPaths)+len(s.ReadonlyPaths) == 0 },
		},
		{
			"privileged", `
containers: [{name: app, image: busybox, securityContext: {privileged: true}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return s.Privileged && len(s.MaskedPaths)+len(s.ReadonlyPaths) == 0
			},
		},
		{
			"user and groups of the pod", `
securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000], supplementalGroupsPolicy: Strict}
containers: [{name: app, image: busybox}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return s.RunAsUser.Value == 1000 && s.RunAsGroup.Value == 3000 && slices.Equal(s.SupplementalGroups, []int64{2000, 4000}) &&
					s.SupplementalGroupsPolicy == cri.SupplementalGroupsPolicy_Strict
			},
		},
		{
			"the container's user wins", `
securityContext: {runAsUser: 1000}
containers: [{name: app, image: busybox, securityContext: {runAsUser: 0}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return s.RunAsUser != nil && s.RunAsUser.Value == 0 },
		},
		{
			"no privilege escalation", `
containers: [{name: app, image: busybox, securityContext: {allowPrivilegeEscalation: false}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return s.NoNewPrivs },
		},
		{
			"privilege escalation allowed", `
containers: [{name: app, image: busybox, securityContext: {allowPrivilegeEscalation: true}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return !s.NoNewPrivs },
		},
		{
			"the container's seccomp wins", `
securityContext: {seccompProfile: {type: RuntimeDefault}}
containers: [{name: app, image: busybox, securityContext: {seccompProfile: {type: Unconfined}}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return s.Seccomp.ProfileType == unconfined },
		},
		{
			"the pod's seccomp", `
securityContext: {seccompProfile: {type: RuntimeDefault}}
containers: [{name: app, image: busybox}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return s.Seccomp.ProfileType == runtimeDefault },
		},
		{
			"a local seccomp profile", `
containers: [{name: app, image: busybox, securityContext: {seccompProfile: {type: Localhost, localhostProfile: a/b.json}}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return s.Seccomp.ProfileType == cri.SecurityProfile_Localhost && s.Seccomp.LocalhostRef == "/kubelet/seccomp/a/b.json"
			},
		},
		{
			"capabilities", `
containers: [{name: app, image: busybox, securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool {
				return slices.Equal(s.Capabilities.DropCapabilities, []string{"ALL"}) &&
					slices.Equal(s.Capabilities.AddCapabilities, []string{"NET_BIND_SERVICE"})
			},
		},
		{
			"read-only root", `
containers: [{name: app, image: busybox, securityContext: {readOnlyRootFilesystem: true}}]`,
			func(s *cri.LinuxContainerSecurityContext) bool { return s.ReadonlyRootfs },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := container(t, testNode, pod(t, test.spec)).Linux.SecurityContext; !test.check(got) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	const app = "\ncontainers: [{name: app, image: busybox}]"
	host := &cri.UserNamespace{Mode: cri.NamespaceMode_NODE}
	own := []*cri.IDMapping{{HostId: 3 * 65536, Length: 65536}}
	for _, test := range []struct {
		name, spec string
		want       *cri.NamespaceOption
	}{
		{"default", app, &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER, UsernsOptions: host}},
		{"host", "hostNetwork: true\nhostPID: true\nhostIPC: true" + app, &cri.NamespaceOption{
			Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE, UsernsOptions: host,
		}},
		{"shared pid", "shareProcessNamespace: true" + app, &cri.NamespaceOption{Pid: cri.NamespaceMode_POD, UsernsOptions: host}},
		{"own users", "hostUsers: false" + app, &cri.NamespaceOption{
			Pid: cri.NamespaceMode_CONTAINER, UsernsOptions: &cri.UserNamespace{Uids: own, Gids: own},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pod(t, test.spec)
			c, err := testNode.Container(p, 2, p.Spec.Containers[0], Image{})
			if err != nil {
				t.Fatal(err)
			}
			sandbox := testNode.Sandbox(p, 2).Linux.SecurityContext.NamespaceOptions
			for _, got := range []*cri.NamespaceOption{sandbox, c.Linux.SecurityContext.NamespaceOptions} {
				if got.String() != test.want.String() {
					t.Errorf("got  %v\nwant %v", got, test.want)
				}
			}
		})
	}
}

func TestResources(t *testing.T) {
	for _, test := range []struct {
		name, resources, parent    string
		shares, quota, memory, oom int64
	}{
		{"none", "{}", "/node/kubepods/besteffort", 2, 0, 0, 1000},
		{
			"limits and requests", "{requests: {memory: 64Mi, cpu: 250m}, limits: {memory: 128Mi, cpu: 500m}}",
			"/node/kubepods/burstable", 256, 50000, 128 << 20, 1000 - 7,
		},
		{"requests default to limits", "{limits: {memory: 100Mi}}", "/node/kubepods/burstable", 2, 0, 100 << 20, 1000 - 12},
		{"a request larger than all memory", "{requests: {memory: 9Gi}}", "/node/kubepods/burstable", 2, 0, 0, 3},
		{"a tiny request is still above best effort's", "{requests: {memory: 1Ki}}", "/node/kubepods/burstable", 2, 0, 0, 999},
		{"guaranteed", "{limits: {memory: 1Gi, cpu: 2}}", "/node/kubepods", 2048, 200000, 1 << 30, -997},
		{"the least quota", "{limits: {cpu: 1m}}", "/node/kubepods/burstable", 2, 1000, 0, 999},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pod(t, "containers: [{name: app, image: busybox, resources: "+test.resources+"}]")
			r := container(t, testNode, p).Linux.Resources
			if r.CpuShares != test.shares || r.CpuQuota != test.quota || r.CpuPeriod != 100000 ||
				r.MemoryLimitInBytes != test.memory || r.MemorySwapLimitInBytes != 0 {
				t.Errorf("got %v", r)
			}
			if r.OomScoreAdj != test.oom {
				t.Errorf("oom_score_adj %d, want %d", r.OomScoreAdj, test.oom)
			}
			if parent := testNode.Sandbox(p, 0).Linux.CgroupParent; parent != path.Join(test.parent, "pod"+string(p.UID)) {
				t.Errorf("cgroup parent %s, want below %s", parent, test.parent)
			}
		})
	}
}

func TestPodLimits(t *testing.T) {
	p := pod(t, `
containers:
- {name: a, image: busybox, resources: {limits: {memory: 1Mi, cpu: 100m}}}
- {name: b, image: busybox, resources: {requests: {cpu: 1}, limits: {memory: 2Mi}}}`)
	r := testNode.Sandbox(p, 0).Linux.Resources
	if r.MemoryLimitInBytes != 3<<20 || r.CpuQuota != 0 || r.CpuShares != 1126 {
		t.Errorf("got %v", r)
	}
}

func TestCPUWeight(t *testing.T) {
	for shares, want := range map[int64]string{2: "1", 1024: "39", 262144: "10000"} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("cpuWeight(%d) = %s, want %s", shares, got, want)
		}
	}
}

func TestNodeFacts(t *testing.T) {
	n := testNode
	n.UnifiedCgroups, n.SwapAccounting = true, true
	r := container(t, n, pod(t, "containers: [{name: app, image: busybox, resources: {limits: {memory: 1Mi}}}]")).Linux.Resources
	if r.MemorySwapLimitInBytes != 1<<20 || r.Unified["memory.oom.group"] != "1" {
		t.Errorf("got %v", r)
	}
}

func TestAppArmor(t *testing.T) {
	const field = `
containers: [{name: app, image: busybox, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: mine}}}]`
	p := pod(t, field)
	annotated := pod(t, "containers: [{name: app, image: busybox}]")
	annotated.Annotations = map[string]string{apparmorAnnotation + "app": "localhost/mine"}
	for _, test := range []struct {
		name   string
		pod    *corev1.Pod
		loaded []string
		want   string
	}{
		{"no AppArmor", p, nil, ""},
		{"not loaded", p, []string{"other"}, ""},
		{"field", p, []string{"mine"}, "mine"},
		{"annotation", annotated, []string{"mine"}, "mine"},
		{"annotation without AppArmor", annotated, nil, ""},
	} {
		n := testNode
		n.AppArmorProfiles = test.loaded
		got := container(t, n, test.pod).Linux.SecurityContext.Apparmor
		if got.GetLocalhostRef() != test.want || (got == nil) != (test.want == "") {
			t.Errorf("%s: got %v, want %q", test.name, got, test.want)
		}
	}
}

func TestRunAsNonRoot(t *testing.T) {
	for _, test := range []struct {
		name, security string
		image          Image
		wantErr        string
	}{
		{"a user", "{runAsNonRoot: true, runAsUser: 1}", Image{}, ""},
		{"root", "{runAsNonRoot: true, runAsUser: 0}", Image{}, "would run as root"},
		{"the image's root", "{runAsNonRoot: true}", Image{UID: new(int64(0))}, "would run as root"},
		{"the image's user", "{runAsNonRoot: true}", Image{UID: new(int64(5))}, ""},
		{"a name", "{runAsNonRoot: true}", Image{Username: "www"}, "no number"},
		{"no matter", "{}", Image{Username: "www"}, ""},
	} {
		p := pod(t, "containers: [{name: app, image: busybox, securityContext: "+test.security+"}]")
		_, err := testNode.Container(p, 0, p.Spec.Containers[0], test.image)
		checkError(t, test.name, err, test.wantErr)
	}
}

// checkError wants an error with that text, or none.
func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want %q", name, err, want)
	}
}

func TestMounts(t *testing.T) {
	p := pod(t, `
hostUsers: false
containers:
- name: app
  image: busybox
  volumeMounts:
  - {name: etc, mountPath: /host, readOnly: true}
  - {name: tmp, mountPath: /tmp}
volumes:
- {name: etc, hostPath: {path: /etc}}
- {name: tmp, emptyDir: {}}`)
	pods := "/kubelet/pods/" + string(p.UID)
	want := map[string]string{
		"/host":                "/etc",
		"/tmp":                 pods + "/volumes/kubernetes.io~empty-dir/tmp",
		"/etc/hosts":           pods + "/etc-hosts",
		"/dev/termination-log": pods + "/containers/app/termination-log",
	}
	got := map[string]string{}
	for _, m := range container(t, testNode, p).Mounts {
		got[m.ContainerPath] = m.HostPath
		if m.Readonly != (m.ContainerPath == "/host") {
			t.Errorf("%s: read-only %v", m.ContainerPath, m.Readonly)
		}
		if volume := m.ContainerPath == "/host" || m.ContainerPath == "/tmp"; volume != (len(m.UidMappings) == 1) {
			t.Errorf("%s: mappings %v", m.ContainerPath, m.UidMappings)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestKubeletMetadata(t *testing.T) {
	p := pod(t, "containers: [{name: app, image: busybox, workingDir: /w, env: [{name: A, value: b}]}]")
	p.Labels = map[string]string{"tier": "web"}
	c, s := container(t, testNode, p), testNode.Sandbox(p, 0)
	labels := map[string]string{
		"io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": string(p.UID),
		"io.kubernetes.container.name": "app",
	}
	if !maps.Equal(c.Labels, labels) {
		t.Errorf("container labels %v", c.Labels)
	}
	delete(labels, "io.kubernetes.container.name")
	labels["tier"] = "web"
	if !maps.Equal(s.Labels, labels) {
		t.Errorf("pod labels %v", s.Labels)
	}
	for name, want := range map[string]string{
		"io.kubernetes.container.restartCount":             "0",
		"io.kubernetes.container.terminationMessagePath":   "/dev/termination-log",
		"io.kubernetes.container.terminationMessagePolicy": "File",
		"io.kubernetes.pod.terminationGracePeriod":         "30",
	} {
		if got := c.Annotations[name]; got != want {
			t.Errorf("annotation %s = %q, want %q", name, got, want)
		}
	}
	if c.Annotations["io.kubernetes.container.hash"] == "" || c.LogPath != "app/0.log" || c.WorkingDir != "/w" ||
		c.Envs[0].Key != "A" || string(c.Envs[0].Value) != "b" {
		t.Errorf("got %v", c)
	}
	if s.Hostname != "p" || s.LogDirectory != "/logs/default_p_"+string(p.UID) {
		t.Errorf("got %v", s)
	}
}

func TestSandbox(t *testing.T) {
	p := pod(t, `
hostNetwork: true
securityContext: {sysctls: [{name: net.core.somaxconn, value: "9"}], runAsUser: 7, fsGroup: 8}
containers: [{name: app, image: busybox, securityContext: {privileged: true}}]`)
	s := testNode.Sandbox(p, 0)
	sc := s.Linux.SecurityContext
	if s.Hostname != "" || s.Linux.Sysctls["net.core.somaxconn"] != "9" || !sc.Privileged || sc.RunAsUser.Value != 7 ||
		!slices.Equal(sc.SupplementalGroups, []int64{8}) || sc.Seccomp.ProfileType != cri.SecurityProfile_RuntimeDefault {
		t.Errorf("got %v", s)
	}
}

// TestOutsideManifests: the lab has no way to give a pod ports of the host or an
// SELinux label, and refuses such manifests; the translation has them.
func TestOutsideManifests(t *testing.T) {
	p := pod(t, "containers: [{name: app, image: busybox}]")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "container_t"}}
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 53, HostPort: 5353, HostIP: "127.0.0.1", Protocol: "UDP"}}
	p.Spec.InitContainers = []corev1.Container{{
		Name: "init", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}, Ports: []corev1.ContainerPort{{HostPort: 1}},
	}}
	s := testNode.Sandbox(p, 0)
	want := &cri.PortMapping{Protocol: cri.Protocol_UDP, ContainerPort: 53, HostPort: 5353, HostIp: "127.0.0.1"}
	if len(s.PortMappings) != 1 || s.PortMappings[0].String() != want.String() {
		t.Errorf("ports %v", s.PortMappings)
	}
	sc := s.Linux.SecurityContext
	if !sc.Privileged || sc.SelinuxOptions.GetType() != "container_t" || container(t, testNode, p).Linux.SecurityContext.SelinuxOptions.GetType() != "container_t" {
		t.Errorf("got %v", sc)
	}
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "container_init_t"}}
	if got := container(t, testNode, p).Linux.SecurityContext.SelinuxOptions.GetType(); got != "container_init_t" {
		t.Errorf("type %s", got)
	}
}
