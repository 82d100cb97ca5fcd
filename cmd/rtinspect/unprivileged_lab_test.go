package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// openToAll lets everybody into a folder of the test's.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // for everyone to enter
			t.Fatal(err)
		}
	}
}

// nobody is rtinspect for a user without privileges.
type nobody struct {
	t       *testing.T
	program string
}

func newNobody(t *testing.T) nobody {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be someone else")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	n := nobody{t, filepath.Join(t.TempDir(), "rtinspect")}
	if err := os.WriteFile(n.program, self, 0o755); err != nil { //nolint:gosec // for everyone to run
		t.Fatal(err)
	}
	openToAll(t, filepath.Dir(n.program))
	return n
}

// run runs rtinspect as nobody.
func (n nobody) run(args ...string) (stdout, stderr string, status int) {
	n.t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.Command(n.program, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if _, ran := errors.AsType[*exec.ExitError](cmd.Run()); cmd.ProcessState == nil || !ran && !cmd.ProcessState.Success() {
		n.t.Fatalf("%q did not run", args)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// forward returns a socket that everybody may connect to, and whose bytes go to the lab's containerd and back. Who listens on it
// is this test: SO_PEERCRED names a process of root's, as it would of containerd.
func forward(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	openToAll(t, dir)
	path := filepath.Join(dir, "forward.sock")
	listener, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666) //nolint:gosec // that is what it is for
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	target := strings.TrimPrefix(os.Getenv("CONTAINER_RUNTIME_ENDPOINT"), "unix://")
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(client, target)
		}
	}()
	return path
}

// relay passes bytes both ways until either side closes.
func relay(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("unix", target)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// expectation is what a command answers to nobody. Patterns are of whole lines, or of their beginning.
type expectation struct {
	args   []string
	status int
	stdout []string
	never  []string // in stdout
	stderr []string
}

func (e expectation) check(t *testing.T, n nobody) {
	t.Helper()
	stdout, stderr, status := n.run(e.args...)
	fail := func(what string) {
		t.Helper()
		t.Errorf("%q: status %d: %s in\n%s\nstderr\n%s", e.args, status, what, stdout, stderr)
	}
	if status != e.status || (status == statusWhole) != (stderr == "") {
		fail("want another status")
	}
	for _, line := range strings.Split(strings.TrimSuffix(stderr, "\n"), "\n") {
		if stderr != "" && !strings.HasPrefix(line, "rtinspect: ") {
			fail("stray line " + line)
		}
	}
	for _, want := range e.stdout {
		if !regexp.MustCompile("(?m)^" + want).MatchString(stdout) {
			fail("want " + want)
		}
	}
	for _, not := range e.never {
		if regexp.MustCompile("(?m)" + not).MatchString(stdout) {
			fail("no " + not)
		}
	}
	for _, want := range e.stderr {
		if !regexp.MustCompile("(?m)^rtinspect: " + want).MatchString(stderr) {
			fail("want on stderr " + want)
		}
	}
}

const asRoot = `hint: run as root: `

// TestLabUnprivileged: who is not root and may not open the runtime's socket is told so, and learns what the kernel tells. What it
// does not tell is unknown.
func TestLabUnprivileged(t *testing.T) {
	labManifests(t)
	n := newNobody(t)
	denied := `unix://\S+/containerd.sock \(given\): permission denied: run as root`
	fromKernel := []string{`no container runtime answered \(` + denied + `\): containers are taken from the kernel, without their names$`, asRoot}
	const container = `\w{13} +\(sleep 3600\) +uid \S{36} `
	for _, e := range append([]expectation{
		{args: []string{"ps"}, stdout: []string{container + `+unknown +unknown +unknown +\d+ +unknown$`}},
		{args: []string{"pods"}, never: []string{`running`}},
		{args: []string{"inspect"}, stdout: []string{`image +unknown$`, `  effective +unknown +unknown +00000000a80425fb$`}},
		{args: []string{"caps"}, stdout: []string{container + `+00000000a80425fb +high +high +off +unknown$`}},
		{args: []string{"ns"}, stdout: []string{container + strings.Repeat(` +unknown`, 8) + `$`}, never: []string{` (host|own|shared)`}},
		{args: []string{"cgroup"}, stdout: []string{container + `+128Mi +container `}},
		{args: []string{"top"}, stdout: []string{`\? .* unknown +sleep 3600$`}, never: []string{`  -  `}},
		{args: []string{"sockets"}, stdout: []string{`ok .*/containerd.sock +0660 root:root +only root `, `unknown +shim `}},
		{args: []string{"audit"}, stdout: []string{`  critical +privileged `, `  critical\? +\d+ rules +unknown: `}},
		{args: []string{"audit", "--standard", "pss-baseline"}, stdout: []string{`\S{36} +privileged +`, `\S{36} +privileged to baseline: unknown `}},
		{args: []string{"audit", "-o", "sarif"}, stdout: []string{`.*"kind": "open"`}},
		{args: []string{"snapshot"}, stdout: []string{`^{"version":1,$`}},
	}, withoutKernel(denied)...) {
		e.status = statusIncomplete
		if e.stderr == nil {
			e.stderr = fromKernel
		}
		e.check(t, n)
	}
	pid := strings.TrimSpace(whole(t, "inspect", "pod-with-limits", "-o", "go-template={{.pid.value}}"))
	socket := strings.TrimPrefix(os.Getenv("CONTAINER_RUNTIME_ENDPOINT"), "unix://")
	for _, e := range append(ofProcess(pid),
		expectation{
			args: []string{"sockets", socket}, status: statusIncomplete, stdout: []string{`ok +containerd +` + socket + ` +0660 root:root +only root `},
			stderr: fromKernel,
		},
	) {
		e.check(t, n)
	}
}

// withoutKernel are the commands to which only a runtime, or a file that one may read, has the answer.
func withoutKernel(denied string) []expectation {
	return []expectation{
		{args: []string{"events", "--timeout", "2s"}, never: []string{`.`}, stderr: []string{`no container runtime: ` + denied + `$`, asRoot}},
		{args: []string{"events", "--audit", "--timeout", "2s"}, never: []string{`.`}, stderr: []string{`no container runtime: ` + denied + `$`, asRoot}},
		{args: []string{"caps", "pod-with-limits"}, never: []string{`sleep`}, stderr: []string{`container "pod-with-limits": not found$`}},
		{args: []string{"audit", "pod-with-limits"}, never: []string{`nothing found`}, stderr: []string{`container "pod-with-limits": not found$`}},
		{args: []string{"diff", "nowhere.json", "nowhere.json"}, never: []string{`.`}, stderr: []string{`nowhere.json: no such file or directory$`}},
	}
}

// ofProcess is what nobody learns of a process of root's, for which no runtime is needed.
func ofProcess(pid string) []expectation {
	return []expectation{
		{
			args: []string{"ns", "--pid", pid}, status: statusIncomplete,
			stdout: []string{`net +unknown +unknown +unknown +-$`, `user +unknown +unknown +unknown +-$`, `uid map    every id is the same outside$`},
			never:  []string{`host`},
			stderr: []string{`process ` + pid + `: readlink /proc/` + pid + `/ns/net: permission denied$`, asRoot},
		},
		{args: []string{"cgroup", "--pid", pid}, stdout: []string{`memory +128Mi +128Mi +container `, `cpu +0\.5 cpu +0\.5 cpu +container `}},
		{
			args: []string{"caps", "--pid", pid}, status: statusIncomplete,
			stdout: []string{`user namespace  unknown$`, `effective    00000000a80425fb  `},
			stderr: []string{`process ` + pid + `: user namespace: readlink /proc/` + pid + `/ns/user: permission denied$`},
		},
	}
}

// TestLabUnprivilegedConnected: who may ask the runtime, but is not root, learns what the runtime and the open part of /proc tell.
// What may not be looked at is unknown: it is no other namespace, nothing beyond the first process, no leak, not unreachable.
func TestLabUnprivilegedConnected(t *testing.T) {
	labManifests(t)
	n := newNobody(t)
	socket := forward(t)
	pid := strings.TrimSpace(whole(t, "inspect", "pod-host-ns", "-o", "go-template={{.pid.value}}"))
	unknownNS := strings.Repeat(` +unknown`, 8)
	list := []expectation{
		{
			args: []string{"ns"}, status: statusIncomplete,
			stdout: []string{`\w{13} +app +pod-host-ns` + unknownNS + `$`, `\w{13} +app +pod-default-ns` + unknownNS + `$`},
			never:  []string{` (own|host|pod|shared)( |$)`, `!`}, stderr: []string{asRoot},
		},
		{
			args: []string{"top", "pod-host-ns"}, status: statusIncomplete,
			stdout: []string{`\?  ` + pid + ` `, `  \? open files of ` + pid + ` sleep$`, `      unknown: (readlink /proc/` + pid + `/ns/mnt|open /proc/` + pid + `/fd): permission denied$`},
			never:  []string{`!`, `outside`, `  -  `},
			stderr: []string{`default/pod-host-ns/app: processes\.` + pid + `\.namespaces\.cgroup and \d+ more: readlink /proc/` + pid + `/ns/cgroup: permission denied$`, asRoot},
		},
		{args: []string{"snapshot"}, status: statusIncomplete, stdout: []string{`^{"version":1,$`}, stderr: []string{asRoot}},
		{
			args: []string{"sockets", socket}, status: statusIncomplete,
			stdout: []string{`open +other +` + socket + ` +0666 root:root +every user `}, stderr: []string{asRoot},
		},
	}
	if os.Getenv("RTINSPECT_LAB_RUNTIME") == "1.6" {
		list = append(list, withoutPIDs()...)
	} else {
		list = append(list, withPIDs(pid)...)
	}
	for _, e := range list {
		if e.args[0] == "sockets" && os.Getenv("RTINSPECT_LAB_RUNTIME") != "1.6" {
			// mountinfo is open to all: that no container has it mounted is known.
			e.status, e.stderr = statusWhole, nil
		}
		e.args = append(e.args, "-r", socket)
		e.check(t, n)
	}
}

// withPIDs is what nobody learns of a runtime that tells its pid namespace.
func withPIDs(pid string) []expectation {
	return []expectation{
		{args: []string{"ps"}, stdout: []string{`\w{13} +app +pod-host-ns +default +k8s\.io +running +` + pid + ` `}},
		{args: []string{"pods"}, stdout: []string{`pod-host-ns +default +\w{13} +running +\d+ +1/1 `}},
		{args: []string{"caps"}, stdout: []string{`\w{13} +app +pod-hardened +0{16} +none +none +on `, `\w{13} +app +pod-privileged +[0-9a-f]{16} +critical `}},
		{args: []string{"cgroup", "pod-with-limits"}, stdout: []string{`memory +128Mi +128Mi +128Mi +128Mi +container `}},
		{
			args: []string{"ns", "pod-host-ns"}, status: statusIncomplete,
			stdout: []string{`net +unknown +unknown +host +unknown +-$`, `requested +network node, pid node, ipc node$`, `  \? net: readlink /proc/` + pid + `/ns/net: permission denied$`},
			never:  []string{`the host's`, `!`},
			stderr: []string{`default/pod-host-ns/app: namespaces\.inForce\.cgroup\.id and 9 more: readlink /proc/` + pid + `/ns/cgroup: permission denied$`, asRoot},
		},
		{
			args: []string{"inspect", "pod-host-ns"}, status: statusIncomplete,
			stdout: []string{`namespaces +\S.* +unknown cgroup,ipc,mnt,net,pid,time,user,uts$`, `  namespaces\.inForce\.uts\.id +readlink /proc/` + pid + `/ns/uts: permission denied$`},
			stderr: []string{asRoot},
		},
	}
}

// withoutPIDs is what nobody learns of a runtime that does not tell its pid namespace: that of its process may not be read, so
// that its pids may be other processes here.
func withoutPIDs() []expectation {
	cause := `whether containerd counts its pids as /proc does is unknown: readlink /proc/\d+/ns/pid: permission denied`
	ref := `default/pod-host-ns/app: `
	return []expectation{
		{
			args: []string{"ps"}, status: statusIncomplete, stdout: []string{`\w{13} +app +pod-host-ns +default +k8s\.io +running +unknown +unknown$`},
			stderr: []string{`default/\S+ and \d+ more: pid: ` + cause + `$`, asRoot},
		},
		{args: []string{"pods"}, status: statusIncomplete, stdout: []string{`pod-host-ns +default +\w{13} +running +unknown `}, stderr: []string{asRoot}},
		{
			args: []string{"caps"}, status: statusIncomplete, stdout: []string{`\w{13} +app +pod-hardened +unknown +unknown +unknown +unknown +unknown$`},
			stderr: []string{asRoot},
		},
		{
			args: []string{"cgroup", "pod-with-limits"}, status: statusIncomplete,
			stdout: []string{`limits in force: unknown \(` + cause, `memory +128Mi +128Mi$`}, stderr: []string{asRoot},
		},
		{
			args: []string{"ns", "pod-host-ns"}, status: statusIncomplete,
			stdout: []string{`namespaces in force: unknown \(` + cause, `uid map    unknown$`}, never: []string{`the host's`, `!`},
			stderr: []string{ref + `namespaces\.inForce: ` + cause + `$`, asRoot},
		},
		{
			args: []string{"inspect", "pod-host-ns"}, status: statusIncomplete,
			stdout: []string{`pid +unknown$`, `privileged +yes +\S+ +unknown$`, `user namespace +\S+ +\S+ +unknown$`}, stderr: []string{asRoot},
		},
	}
}

// TestLabUnprivilegedRecorded: a record that root made answers everybody who may read it.
func TestLabUnprivilegedRecorded(t *testing.T) {
	labManifests(t)
	n := newNobody(t)
	file := labSnapshot(t)
	openToAll(t, filepath.Dir(file))
	if err := os.Chmod(file, 0o644); err != nil { //nolint:gosec // for everyone to read
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"ps"}, {"pods"}, {"inspect", "pod-host-ns"}, {"caps"}, {"ns"}, {"ns", "pod-host-ns"}, {"cgroup"}, {"top"}, {"sockets"},
	} {
		args = append(args, "--snapshot", file)
		if stdout, stderr, status := n.run(args...); status != statusWhole || stderr != "" || stdout != whole(t, args...) {
			t.Errorf("%q: status %d\n%s\n%s", args, status, stdout, stderr)
		}
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	expectation{
		args: []string{"ps", "--snapshot", file}, status: statusIncomplete, never: []string{`.`},
		stderr: []string{regexp.QuoteMeta(file) + `: permission denied$`},
	}.check(t, n)
}
