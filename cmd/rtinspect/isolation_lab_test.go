package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// asNobody runs rtinspect as a user without privileges.
func asNobody(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "rtinspect")
	if err := os.WriteFile(program, self, 0o755); err != nil { //nolint:gosec // for everyone to run
		t.Fatal(err)
	}
	for ; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the same
			t.Fatal(err)
		}
	}
	var out, problems bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if _, ran := errors.AsType[*exec.ExitError](cmd.Run()); cmd.ProcessState == nil || !ran && !cmd.ProcessState.Success() {
		t.Fatalf("%q did not run", args)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// TestLabUnprivileged: who is not root learns what can be learned; the rest is unknown, with its cause and status 1.
func TestLabUnprivileged(t *testing.T) {
	labManifests(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be someone else")
	}
	pid := strings.TrimSpace(whole(t, "inspect", "pod-with-limits", "-o", "go-template={{.pid.value}}"))
	stdout, stderr, status := asNobody(t, "ns", "--pid", pid)
	denied := `(?m)^rtinspect: process ` + pid + `: readlink /proc/` + pid + `/ns/net: permission denied$`
	if status != statusIncomplete || !regexp.MustCompile(`(?m)^net +unknown +unknown +unknown`).MatchString(stdout) ||
		!strings.Contains(stdout, "uid map    every id is the same outside") ||
		!regexp.MustCompile(denied).MatchString(stderr) || !strings.Contains(stderr, "rtinspect: hint: run as root") {
		t.Errorf("ns --pid: status %d\n%s\n%s", status, stdout, stderr)
	}
	stdout, stderr, status = asNobody(t, "cgroup", "--pid", pid)
	if (status == statusWhole) != (stderr == "") || !regexp.MustCompile(`(?m)^memory +128Mi +128Mi +container `).MatchString(stdout) {
		t.Errorf("cgroup --pid: status %d\n%s\n%s", status, stdout, stderr)
	}
	for _, command := range []string{"ns", "cgroup"} {
		stdout, stderr, status = asNobody(t, command, "pod-with-limits")
		if status != statusIncomplete || stdout != "" || !strings.Contains(stderr, "permission denied") || !strings.Contains(stderr, "rtinspect: hint: run as root") {
			t.Errorf("%s: status %d\n%s\n%s", command, status, stdout, stderr)
		}
	}
}
