package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestLabNS: ns tells of the lab's pods what their manifests ask for.
func TestLabNS(t *testing.T) {
	labManifests(t)
	for ref, lines := range map[string][]string{
		"pod-host-ns": {
			`^ipc +\d+ +the host's +host +yes`, `^net +\d+ +the host's +host +yes`, `^pid +\d+ +the host's +host +yes`,
			`^uts +\d+ +the host's +host +yes`, `^mnt +\d+ +own +own +no`, `^requested +network node, pid node, ipc node$`,
		},
		"pod-default-ns": {
			`^net +\d+ +shared with default/pod-default-ns \(sandbox\) +pod +no`, `^pid +\d+ +own +own +no`, `^requested +network pod, pid container, ipc pod$`,
		},
		"team-a/pod-two-containers/app": {
			`^net +\d+ +shared with team-a/pod-two-containers \(sandbox\), team-a/pod-two-containers/sidecar +pod +no`, `^pid +\d+ +own +own +no`,
		},
		"pod-shared-pid/app": {
			`^pid +\d+ +shared with default/pod-shared-pid \(sandbox\), default/pod-shared-pid/sidecar +pod +no`,
		},
	} {
		page := whole(t, "ns", ref)
		for _, line := range lines {
			if !regexp.MustCompile("(?m)" + line).MatchString(page) {
				t.Errorf("%s: want %s in\n%s", ref, line, page)
			}
		}
	}
	table := whole(t, "ns")
	for _, line := range []string{
		`^CONTAINER +NAME +POD +CGROUP +IPC +MNT +NET +PID +TIME +USER +UTS$`,
		`^\w{13} +app +pod-host-ns +host +host +own +host +host +host +host +host$`,
		`^\w{13} +app +pod-default-ns +\w+ +pod +own +pod +own +host +host +pod$`,
		`^\w{13} +sidecar +pod-shared-pid +\w+ +pod +own +pod +pod +host +host +pod$`,
	} {
		if !regexp.MustCompile("(?m)" + line).MatchString(table) {
			t.Errorf("want %s in\n%s", line, table)
		}
	}
}

// TestLabCgroup: cgroup tells of the lab's pods what their manifests ask for.
func TestLabCgroup(t *testing.T) {
	labManifests(t)
	page := whole(t, "cgroup", "pod-with-limits")
	for _, line := range []string{
		`^memory +128Mi +128Mi +128Mi +128Mi +container +[0-9.]+[KM]i \(`, `^cpu +0\.5 cpu +0\.5 cpu +0\.5 cpu +0\.5 cpu +container `,
		`^pids .* machine +1 \(<1%\)$`, `^killed for memory +0$`, `^path +/.*/pod[0-9a-f-]+/[0-9a-f]{64}$|^path +/.*\.scope$`,
	} {
		if !regexp.MustCompile("(?m)" + line).MatchString(page) {
			t.Errorf("want %s in\n%s", line, page)
		}
	}
	table := whole(t, "cgroup")
	for _, line := range []string{
		`^\w{13} +app +pod-with-limits +128Mi +container +\S+ \(<?\d+%\) +0\.5 cpu +container +\d+ +machine +1 \(<1%\) +0 +`,
		`^\w{13} +app +pod-no-limits +[0-9.]+Gi +machine +\S+ \(<?\d+%\) +[0-9.]+ cpu +machine +\d+ +machine `,
	} {
		if !regexp.MustCompile("(?m)" + line).MatchString(table) {
			t.Errorf("want %s in\n%s", line, table)
		}
	}
	bytes := whole(t, "cgroup", "pod-with-limits", "-o",
		"go-template={{with .cgroup.inForce.value.effective}}{{.memory.least.kind}} {{.memory.least.limit.value}} {{.cpu.least.limit.value.cores}}{{end}}")
	if bytes != "container 134217728 0.5\n" {
		t.Errorf("JSON has %q", bytes)
	}
	if got := whole(t, "cgroup", "pod-oom"); !strings.Contains(got, "limits in force: absent: no process runs") {
		t.Errorf("a container that has ended:\n%s", got)
	}
}

// TestLabProcess: a process of a container is told of without the runtime as with it.
func TestLabProcess(t *testing.T) {
	labManifests(t)
	pid := strings.TrimSpace(whole(t, "inspect", "pod-with-limits", "-o", "go-template={{.pid.value}}"))
	t.Setenv("CONTAINER_RUNTIME_ENDPOINT", "unix:///nowhere.sock")
	if page := whole(t, "ns", "--pid", pid); !regexp.MustCompile(`(?m)^net +\d+ +not the host's +no`).MatchString(page) {
		t.Errorf("ns --pid:\n%s", page)
	}
	if page := whole(t, "cgroup", "--pid", pid); !regexp.MustCompile(`(?m)^memory +128Mi +128Mi +container `).MatchString(page) {
		t.Errorf("cgroup --pid:\n%s", page)
	}
}
