package lab

import (
	"slices"
	"strings"
	"testing"
)

func TestPodNames(t *testing.T) {
	want := strings.Fields(`pod-added-caps pod-default-caps pod-default-ns pod-hardened pod-host-ns pod-host-path
		pod-no-caps pod-no-limits pod-oom pod-privileged pod-readonly pod-selective-caps pod-shared-pid
		pod-socket-folder pod-socket-mounted pod-suspicious pod-two-containers pod-user-namespace pod-with-limits`)
	if got := PodNames(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	want = append(want, "pod-gvisor", "pod-gvisor-privileged")
	slices.Sort(want)
	if got := PodNames(ClassGVisor); !slices.Equal(got, want) {
		t.Errorf("with those in gVisor %q", got)
	}
}

// Every manifest has its file's name, and becomes requests.
func TestManifests(t *testing.T) {
	names := append(PodNames(ClassGVisor), "pod-user-namespace-admin")
	all, err := Manifests(names, "/s/c.sock")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range all {
		if m.Pod.Name != names[i] {
			t.Errorf("%s.yaml has the pod %s", names[i], m.Pod.Name)
		}
		if testNode.Sandbox(m.Pod, i).Linux.CgroupParent == "" {
			t.Errorf("%s: no cgroup parent", m.Pod.Name)
		}
		for _, c := range m.Pod.Spec.Containers {
			config, err := testNode.Container(m.Pod, i, c, Image{ID: "sha256:1"})
			if err != nil {
				t.Error(err)
				continue
			}
			if len(config.Command) == 0 || config.Command[0] == "stress" {
				t.Errorf("%s: no command for the image %s", m.Pod.Name, c.Image)
			}
		}
	}
}

// No manifest may reach the socket of a containerd that is not the lab's.
func TestSocketIsTheLabs(t *testing.T) {
	all, err := Manifests(PodNames(ClassGVisor), "/s/c.sock")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range all {
		for _, v := range m.Pod.Spec.Volumes {
			if v.HostPath == nil {
				continue
			}
			got[m.Pod.Name] += v.HostPath.Path + " "
			if strings.Contains(v.HostPath.Path, "/run/containerd") {
				t.Errorf("%s mounts %s", m.Pod.Name, v.HostPath.Path)
			}
		}
	}
	for name, want := range map[string]string{"pod-socket-mounted": "/s/c.sock ", "pod-socket-folder": "/s ", "pod-host-path": "/etc /var/log "} {
		if got[name] != want {
			t.Errorf("%s mounts %q, want %q", name, got[name], want)
		}
	}
}

func TestParsePodRefuses(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"no pod", "apiVersion: v1\nkind: Service", "not a v1 Pod"},
		{"unknown field", "apiVersion: v1\nkind: Pod\nspec: {hostNet: true}", "unknown field"},
		{"twice", "apiVersion: v1\nkind: Pod\nkind: Pod", "already set"},
		{"no containers", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}", "no containers"},
		{"unknown runtime class", spec("runtimeClassName: kata\ncontainers: [{name: a, image: b}]"), `no runtime class "kata": want gvisor or cgroup-writable`},
		{"untranslated in the pod", spec("nodeName: node1\ncontainers: [{name: a, image: b}]"), "nodeName: node1"},
		{"untranslated in a container", spec("containers: [{name: a, image: b, livenessProbe: {periodSeconds: 1}}]"), "periodSeconds"},
		{"untranslated volume", spec("volumes: [{name: v, secret: {secretName: s}}]\ncontainers: [{name: a, image: b}]"), "secret"},
		{"untranslated environment", spec("containers: [{name: a, image: b, envFrom: [{configMapRef: {name: c}}]}]"), "configMapRef"},
		{"untranslated resource", spec("containers: [{name: a, image: b, resources: {limits: {example.com/gpu: 1}}}]"), "gpu"},
		{"expansion", spec("containers: [{name: a, image: b, command: [echo, $(A)]}]"), "$(A)"},
		{"shared and host pid", spec("hostPID: true\nshareProcessNamespace: true\ncontainers: [{name: a, image: b}]"), "exclude"},
		{"own users and host network", spec("hostUsers: false\nhostNetwork: true\ncontainers: [{name: a, image: b}]"), "exclude"},
		{"escalation and privileged", spec("containers: [{name: a, image: b, securityContext: {allowPrivilegeEscalation: false, privileged: true}}]"), "exclude"},
		{"escalation and SYS_ADMIN", spec("containers: [{name: a, image: b, securityContext: {allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN]}}}]"), "SYS_ADMIN"},
	} {
		_, err := parsePod([]byte(test.text))
		checkError(t, test.name, err, test.want)
	}
}

func spec(text string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n" + indent(text)
}

// Recorded answers of rtinspect hold these ids, so they must not change.
func TestPodUIDIsStable(t *testing.T) {
	const want = "98e68154-f6f8-5be0-8b16-774326478ee4"
	if got := podUID("default", "pod-no-caps"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if podUID("team-a", "pod-no-caps") == want {
		t.Error("two pods have the same uid")
	}
}

func TestScale(t *testing.T) {
	all, err := Scale{Pods: 2, Containers: 3}.manifests()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[1].Pod.Name != "scale-1" || len(all[1].Pod.Spec.Containers) != 3 || all[1].Pod.Spec.Containers[2].Name != "c2" {
		t.Errorf("got %v", all)
	}
	if _, err := parsePod(all[0].YAML); err != nil {
		t.Errorf("the written manifest is not one: %v", err)
	}
}
