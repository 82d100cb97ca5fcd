package inspect_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

// processes returns the processes of one container of the lab, without gaps.
func processes(t *testing.T, i *inspect.Inspector, ref string) (inspect.ContainerProcesses, []inspect.Process) {
	t.Helper()
	list, err := i.Processes(t.Context(), ref)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d, %v", ref, len(list), err)
	}
	for _, g := range list[0].Gaps() {
		t.Errorf("%s: unknown: %s: %v", ref, g.Fact, g.Cause)
	}
	return list[0], value(t, "processes", list[0].Processes).List
}

// withArg returns the process that has an argument.
func withArg(t *testing.T, list []inspect.Process, arg string) inspect.Process {
	t.Helper()
	for _, p := range list {
		if args, _ := p.Args.Value(); slices.Contains(args, arg) {
			return p
		}
	}
	t.Fatalf("no process has the argument %s: %+v", arg, list)
	return inspect.Process{}
}

// background starts a program that ends with the test, and waits until a condition holds.
func background(t *testing.T, ready func() bool, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 1000 {
		if ready() {
			return cmd
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s %v: nothing came of it: %s", name, args, output.String())
	return nil
}

// pidWith finds a process by its last argument, apart from the tools that start it.
func pidWith(program, arg string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(data, []byte(program+"\x00")) || !bytes.HasSuffix(data, []byte("\x00"+arg+"\x00")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		return pid
	}
	return 0
}

// execIn runs a program in a container as crictl exec does, until the test ends. Its last argument tells it from others.
func execIn(t *testing.T, c inspect.Container, arg string, args ...string) int {
	t.Helper()
	var pid int
	id := fmt.Sprintf("test-%s-%d", arg, time.Now().UnixNano())
	ctr := background(t, func() bool { pid = pidWith("sleep", arg); return pid != 0 },
		"ctr", slices.Concat([]string{"-n", c.Namespace, "tasks", "exec", "--exec-id", id, c.ID}, args)...)
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_ = ctr.Wait() // it takes the session away
	})
	return pid
}

// cgroupProcs asks the cgroup file system for the processes of a container, those in groups below included.
func cgroupProcs(t *testing.T, pid int) []int {
	t.Helper()
	var pids []int
	err := filepath.WalkDir(cgroupOf(t, pid), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		for _, field := range strings.Fields(string(data)) {
			n, _ := strconv.Atoi(field)
			pids = append(pids, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(pids)
	return pids
}

// cgroupOf is the folder of a process's cgroup: version 2, or the pids controller of version 1.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if parts[1] == "pids" {
			return filepath.Join("/sys/fs/cgroup/pids", parts[2])
		}
		if parts[1] == "" && parts[2] != "/" {
			return filepath.Join("/sys/fs/cgroup", parts[2])
		}
	}
	t.Fatalf("no cgroup in %s", data)
	return ""
}

// TestLabProcesses: each container has the processes that its cgroup has, below its first one, with nothing beyond it.
func TestLabProcesses(t *testing.T) {
	i := lab(t)
	list, err := i.Processes(t.Context())
	if err != nil || len(list) < 15 {
		t.Fatalf("%d containers, %v", len(list), err)
	}
	for _, c := range list {
		for _, g := range c.Gaps() {
			t.Errorf("%s: unknown: %s: %v", c.FullName(), g.Fact, g.Cause)
		}
		first := value(t, "pid", c.PID)
		p := value(t, "processes", c.Processes).List[0]
		equal(t, c.FullName()+" first process", p.PID, first)
		equal(t, c.FullName()+" origin", p.Origin, inspect.OriginFirst)
		equal(t, c.FullName()+" beyond", len(p.Beyond), 0)
		equal(t, c.FullName()+" leaks", len(value(t, "leaks", p.Leaks)), 0)
		equal(t, c.FullName()+" root", value(t, "root", p.Root), "/")
		sameAsCgroup(t, i, c)
	}
}

// sameAsCgroup compares with the cgroup file system, more than once: other tests start processes here.
func sameAsCgroup(t *testing.T, i *inspect.Inspector, c inspect.ContainerProcesses) {
	t.Helper()
	var got, want []int
	for range 50 {
		list, err := i.Processes(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, p := range value(t, "processes", list[0].Processes).List {
			got = append(got, p.PID)
		}
		slices.Sort(got)
		if want = cgroupProcs(t, value(t, "pid", c.PID)); slices.Equal(got, want) {
			return
		}
	}
	t.Errorf("%s: processes %v, its cgroup has %v", c.FullName(), got, want)
}

// TestLabProcessTree: a shell and what it waits for, numbered as in its pid namespace.
func TestLabProcessTree(t *testing.T) {
	i := lab(t)
	var list []inspect.Process
	for range 100 { // between two sleeps it has no child
		if _, list = processes(t, i, "pod-suspicious"); len(list) == 2 {
			break
		}
	}
	if len(list) != 2 {
		t.Fatalf("%d processes, want a shell and its sleep: %+v", len(list), list)
	}
	equal(t, "the shell inside", value(t, "inside", list[0].Inside), 1)
	equal(t, "the sleep's origin", list[1].Origin, inspect.OriginChild)
	equal(t, "the sleep's parent", list[1].Parent, list[0].PID)
	equal(t, "the sleep's depth", list[1].Depth, 1)
	equal(t, "the sleep's state", list[1].State, "sleeping")
	equal(t, "the sleep's name", list[1].Name, "sleep")
	if inside := value(t, "inside", list[1].Inside); inside <= 1 || inside == list[1].PID {
		t.Errorf("the sleep is %d inside, %d outside", inside, list[1].PID)
	}
	withArg(t, list, "3600")
}

// TestLabSharedPID: processes of the pod's other containers are visible in the namespace, and are not this one's.
func TestLabSharedPID(t *testing.T) {
	i := lab(t)
	for _, ref := range []string{"pod-shared-pid/app", "pod-shared-pid/sidecar"} {
		c, list := processes(t, i, ref)
		if len(list) != 1 || list[0].PID != value(t, "pid", c.PID) {
			t.Errorf("%s: %+v", ref, list)
		}
		if value(t, "inside", list[0].Inside) == 1 {
			t.Errorf("%s is process 1, which is pause", ref)
		}
	}
}

// TestLabExec: an exec session is told from the container's own, with what it holds beyond: nothing, when it is a plain one.
func TestLabExec(t *testing.T) {
	i := lab(t)
	for _, ref := range []string{"pod-hardened", "pod-host-ns", "pod-shared-pid/sidecar"} {
		t.Run(ref, func(t *testing.T) {
			c, err := i.Resolve(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			pid := execIn(t, c, "87001", "sleep", "87001")
			_, list := processes(t, i, ref)
			p := withArg(t, list, "87001")
			equal(t, "pid", p.PID, pid)
			equal(t, "origin", p.Origin, inspect.OriginExec)
			equal(t, "depth", p.Depth, 0)
			if len(p.Beyond) > 0 {
				t.Errorf("a plain session holds %+v", p.Beyond)
			}
			for _, l := range value(t, "leaks", p.Leaks) {
				if l.Reason == "" {
					t.Errorf("leak %+v", l)
				}
			}
		})
	}
}

// TestLabExecWithCapabilities: a session that the runtime was asked to give more shows what.
func TestLabExecWithCapabilities(t *testing.T) {
	i := lab(t)
	c, err := i.Resolve(t.Context(), "pod-no-caps")
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	session := background(t, func() bool { pid = pidWith("sleep", "87002"); return pid != 0 },
		"runc", "--root", filepath.Join(os.Getenv("RTINSPECT_LAB"), "runc", c.Namespace),
		"exec", "--cap", "CAP_SYS_ADMIN", "--cap", "CAP_NET_RAW", c.ID, "sleep", "87002")
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_ = session.Wait() // when runc ends, its process is reaped: the next test must not find it
	})
	_, list := processes(t, i, "pod-no-caps")
	p := withArg(t, list, "87002")
	equal(t, "origin", p.Origin, inspect.OriginOutside) // runc's, not the shim's
	want := caps.Of(caps.SysAdmin, caps.NetRaw).String()
	equal(t, "effective", excess(t, p, inspect.ExcessCapabilities, "effective").Has, want)
	equal(t, "bounding", excess(t, p, inspect.ExcessCapabilities, "bounding").Has, want)
	equal(t, "they hold", excess(t, p, inspect.ExcessCapabilities, "effective").Whose, "")
}

// excess returns what a process holds beyond the first in one respect.
func excess(t *testing.T, p inspect.Process, kind inspect.ExcessKind, what string) inspect.Excess {
	t.Helper()
	for _, e := range p.Beyond {
		if e.Kind == kind && e.What == what {
			return e
		}
	}
	t.Errorf("no %s %s in %+v", kind, what, p.Beyond)
	return inspect.Excess{}
}

// TestLabUnsharedInside: a process made itself a user namespace, in which it has all capabilities, and only there.
func TestLabUnsharedInside(t *testing.T) {
	i := lab(t)
	c, list := processes(t, i, "pod-default-caps")
	// Where AppArmor confines the container, unshare may not do the mount that belongs to a mount namespace of one's own.
	profile, _ := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", list[0].PID))
	confined := strings.Contains(string(profile), "(enforce)")
	kind, flag := "mnt", "-m"
	if confined {
		kind, flag = "net", "-n"
	}
	execIn(t, c.Container, "87003", "unshare", "-U", "-r", flag, "sleep", "87003")
	_, list = processes(t, i, "pod-default-caps")
	p := withArg(t, list, "87003")
	equal(t, "user namespace", excess(t, p, inspect.ExcessNamespace, "user").Whose, "")
	equal(t, kind+" namespace", excess(t, p, inspect.ExcessNamespace, kind).Whose, "")
	equal(t, "they hold", excess(t, p, inspect.ExcessCapabilities, "effective").Whose, "in its own user namespace only")
	if leaks := value(t, "leaks", p.Leaks); slices.ContainsFunc(leaks, func(l inspect.Leak) bool { return l.What == "root" || l.What == "cwd" }) {
		t.Errorf("its root and working folder are no leaks: %+v", leaks)
	}
}

// TestLabFromOutside puts a process of the host into a container's cgroup: in the host's namespaces, and then in the
// container's mounts with a working folder and a file of the host's, as CVE-2024-21626 leaves them.
func TestLabFromOutside(t *testing.T) {
	i := lab(t)
	c, list := processes(t, i, "pod-added-caps")
	first := list[0].PID
	procs := filepath.Join(cgroupOf(t, first), "cgroup.procs")
	join := "echo $$ >" + procs + "; "

	background(t, func() bool { return pidWith("sleep", "87004") != 0 }, "sh", "-c", join+"exec sleep 87004")
	background(t, func() bool { return pidWith("sleep", "87005") != 0 },
		"sh", "-c", join+fmt.Sprintf("exec 7</etc 8</proc/self/ns/net; exec nsenter -t %d --mount --wd=/var sleep 87005", first))
	_, list = processes(t, i, "pod-added-caps")

	p := withArg(t, list, "87004")
	equal(t, "origin", p.Origin, inspect.OriginOutside)
	for _, kind := range []string{"mnt", "pid", "uts", "net", "ipc"} {
		equal(t, kind, excess(t, p, inspect.ExcessNamespace, kind).Whose, "the host's")
	}
	equal(t, "leaks in its own mounts", len(value(t, "leaks", p.Leaks)), 0)

	p = withArg(t, list, "87005")
	leaks := map[string]inspect.Leak{}
	for _, l := range value(t, "leaks", p.Leaks) {
		leaks[l.What] = l
	}
	for what, path := range map[string]string{"cwd": "/var", "fd/7": "/etc"} {
		if l := leaks[what]; l.Path != path || l.Host != "/" || l.Reason != "" {
			t.Errorf("%s: leak %+v, want %s on the host's /: %s", what, l, path, c.FullName())
		}
	}
	if l := leaks["fd/0"]; l.Path != "/dev/null" || l.Host != "/dev" || l.Reason == "" {
		t.Errorf("standard input: %+v, want the host's /dev/null, which is harmless", l)
	}
	if l, found := leaks["root"]; found {
		t.Errorf("its root is the container's: %+v", l)
	}
	if l, found := leaks["fd/8"]; found {
		t.Errorf("the network namespace that it is in itself: %+v", l)
	}
	background(t, func() bool { return pidWith("sleep", "87018") != 0 },
		"sh", "-c", join+fmt.Sprintf("exec 8</proc/self/ns/net; exec nsenter -t %d --mount --net sleep 87018", first))
	_, list = processes(t, i, "pod-added-caps")
	for _, l := range value(t, "leaks", withArg(t, list, "87018").Leaks) {
		if l.IsNamespace() {
			leaks[l.What] = l
		}
	}
	if l := leaks["fd/8"]; !strings.HasPrefix(l.Path, "net:[") || l.Whose != "the host's" || l.Reason != "" {
		t.Errorf("the host's network namespace, which it left: %+v", l)
	}
}

// TestLabChroot: another root is told, and a file outside of it is no leak, as the container's mounts have it.
func TestLabChroot(t *testing.T) {
	i := lab(t)
	c, list := processes(t, i, "pod-with-limits")
	t.Cleanup(func() { _ = os.RemoveAll(fmt.Sprintf("/proc/%d/root/jail", list[0].PID)) })
	execIn(t, c.Container, "87008", "sh", "-c", "mkdir /jail; cp -a /bin /jail; exec 5</etc/hosts; exec chroot /jail sleep 87008")
	_, list = processes(t, i, "pod-with-limits")
	p := withArg(t, list, "87008")
	equal(t, "root", excess(t, p, inspect.ExcessRoot, "").Has, "/jail")
	for _, l := range value(t, "leaks", p.Leaks) {
		if l.Reason == "" {
			t.Errorf("%+v", l)
		}
	}
}

// TestLabOfAnotherContainer: a process in the namespaces of one container and the cgroup of another.
func TestLabOfAnotherContainer(t *testing.T) {
	i := lab(t)
	_, list := processes(t, i, "pod-selective-caps")
	other, err := i.Resolve(t.Context(), "pod-readonly")
	if err != nil {
		t.Fatal(err)
	}
	background(t, func() bool { return pidWith("sleep", "87006") != 0 }, "sh", "-c",
		fmt.Sprintf("echo $$ >%s/cgroup.procs; exec nsenter -t %d --mount --net sleep 87006", cgroupOf(t, list[0].PID), value(t, "pid", other.PID)))
	_, list = processes(t, i, "pod-selective-caps")
	p := withArg(t, list, "87006")
	equal(t, "mount namespace", excess(t, p, inspect.ExcessNamespace, "mnt").Whose, other.FullName())
	equal(t, "pid namespace", excess(t, p, inspect.ExcessNamespace, "pid").Whose, "the host's")
}

// TestLabShortLived: processes that start and end all the time are left out and counted, and spoil nothing.
func TestLabShortLived(t *testing.T) {
	i := lab(t)
	c, list := processes(t, i, "pod-no-limits")
	procs := filepath.Join(cgroupOf(t, list[0].PID), "cgroup.procs")
	for range 4 {
		background(t, func() bool { return true }, "sh", "-c", "echo $$ >"+procs+"; while :; do /bin/true; done")
	}
	var ended, seen int
	for start := time.Now(); (ended == 0 || seen < 20) && time.Since(start) < 2*time.Minute; {
		got, list := processes(t, i, "pod-no-limits")
		equal(t, "the first of the list", list[0].Origin, inspect.OriginFirst)
		ended += value(t, "processes", got.Processes).Ended
		seen += len(list)
	}
	if ended == 0 || seen < 20 {
		t.Errorf("%s: %d processes seen, %d ended meanwhile: want some of both", c.FullName(), seen, ended)
	}
}

// TestLabRedactArgs hides all but the program.
func TestLabRedactArgs(t *testing.T) {
	lab(t)
	i, err := inspect.Open(t.Context(), inspect.Options{RedactArgs: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	_, list := processes(t, i, "pod-hardened")
	args := value(t, "args", list[0].Args)
	if len(args) < 2 || args[0] != "httpd" || args[1] != "<redacted>" || args[len(args)-1] != "<redacted>" {
		t.Errorf("arguments %q", args)
	}
	r, err := i.Container(t.Context(), "pod-hardened")
	if err != nil {
		t.Fatal(err)
	}
	if got := value(t, "process", r.Process).Args; got[0] != "httpd" || got[1] != "<redacted>" {
		t.Errorf("declared arguments %q", got)
	}
}
