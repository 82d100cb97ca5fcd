package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests start real labs. They need root and what Install installs; set
// RTINSPECT_LAB_TEST_RUNTIME to 2.4 to run them on the other runtime.

func testRuntime() string {
	if r := os.Getenv("RTINSPECT_LAB_TEST_RUNTIME"); r != "" {
		return r
	}
	return Runtime16
}

// needLab skips a test where no lab can be started, saying why.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real containerd, which -short leaves out")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := hierarchies(); err != nil {
		t.Skip(err)
	}
	if err := Install(t.Context(), Options{Runtime: testRuntime(), Log: t.Logf}); err != nil {
		t.Skip(err)
	}
}

// testName is a lab name that no other test run has at the same time.
func testName(kind string) string { return fmt.Sprintf("t%d-%s", os.Getpid(), kind) }

// program builds the lab command once for a test.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab")
	build := exec.Command("go", "build", "-o", path, "./cmd/lab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// labCommand is the lab command with a lab of that name.
func labCommand(t *testing.T, program, name string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{args[0], "--name", name}, args[1:]...)
	if args[0] != "down" {
		args = slices.Insert(args, 1, "--runtime", testRuntime())
	}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C of ours is the lab's alone
	t.Cleanup(func() {
		if err := Down(name, t.Logf); err != nil && !errors.Is(err, errBusy) {
			t.Error(err)
		}
	})
	return cmd
}

// leftovers names everything there is of a lab.
func leftovers(t *testing.T, name string) []string {
	t.Helper()
	f := folders{name}
	var out []string
	for _, path := range []string{f.state(), f.root()} {
		if allExist(path) {
			out = append(out, "folder "+path)
		}
	}
	mounts, err := mountsBelow(f.state(), f.root())
	if err != nil {
		t.Fatal(err)
	}
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(out, mounts, labCgroups(f, hs), processesOf(t, f))
}

// processesOf finds the lab's processes without asking the lab's own cgroups:
// by their cgroup as they tell it, and by the lab's folder in their arguments.
func processesOf(t *testing.T, f folders) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, dir := range dirs {
		arguments, _ := os.ReadFile(dir + "/cmdline") // gone by now, or a kernel thread
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		if len(arguments) > 0 && (bytes.Contains(arguments, []byte(f.state()+"/")) || bytes.Contains(cgroup, []byte(":"+f.cgroup()+"/"))) {
			out = append(out, "process "+dir+" "+string(bytes.ReplaceAll(arguments, []byte{0}, []byte(" "))))
		}
	}
	return out
}

// snapshot is what labs could leave elsewhere on the machine, and no other lab
// that runs meanwhile has a reason to make.
func snapshot(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{
		"/run/netns/*", "/var/lib/containerd", "/var/lib/cni", "/etc/cni", "/opt/cni", "/opt/containerd",
		policyFile, "/tmp/*containerd*", "/tmp/*rtinspect-lab*",
	} {
		out = append(out, glob(t, pattern)...)
	}
	return out
}

// orphans names what belongs to no lab that is there: sockets of shims nobody
// listens to, bridges no lab has, and links whose bridge is gone.
func orphans(t *testing.T) []string {
	t.Helper()
	listening, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, socket := range glob(t, shimSockets16+"/*") {
		if !bytes.Contains(listening, []byte(" "+socket+"\n")) {
			out = append(out, socket)
		}
	}
	if dir := shimSockets16; allExist(dir) && len(glob(t, dir+"/*")) == 0 {
		out = append(out, dir)
	}
	owned := map[string]bool{}
	names, err := labNames()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if n, ok := readNetwork(folders{name}); ok {
			owned["/sys/class/net/"+n.bridge()] = true
		}
	}
	for _, bridge := range glob(t, "/sys/class/net/rtlab*") {
		if !owned[bridge] {
			out = append(out, bridge)
		}
	}
	for _, link := range glob(t, "/sys/class/net/veth*") {
		if !allExist(link + "/master") {
			out = append(out, link)
		}
	}
	return out
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// checkNothingLeft compares with what was there before. Links of a network
// namespace go a moment after it, and other labs come and go, so what is left
// has to be left for a while.
func checkNothingLeft(t *testing.T, name string, before []string) {
	t.Helper()
	var left []string
	for range 100 {
		left = append(leftovers(t, name), orphans(t)...)
		for _, path := range snapshot(t) {
			if !slices.Contains(before, path) {
				left = append(left, path)
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

// waitFor waits until a file that matches is there.
func waitFor(t *testing.T, pattern string) {
	t.Helper()
	for range 1200 {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nothing matches %s", pattern)
}

func TestRunLeavesNothing(t *testing.T) {
	needLab(t)
	name, before := testName("run"), snapshot(t)
	cmd := labCommand(t, program(t), name, "run", "-q", "--", "sh", "-c", `cat $RTINSPECT_LAB/lab.json; exit 7`)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 7 || len(exit.Stderr) > 0 {
		t.Fatalf("%v, want the command's exit status 7 and nothing on stderr: %s", err, exit.Stderr)
	}
	var l Lab
	if err := json.Unmarshal(out, &l); err != nil {
		t.Fatal(err)
	}
	checkDescription(t, l)
	checkNothingLeft(t, name, before)
}

// checkDescription checks what a lab.json says of the lab's pods.
func checkDescription(t *testing.T, l Lab) {
	t.Helper()
	var names []string
	for _, p := range l.Pods {
		names = append(names, p.Name)
		if p.UID == "" || p.SandboxID == "" || len(p.Containers) == 0 || !strings.HasPrefix(p.CgroupParent, l.CgroupParent+"/kubepods/") {
			t.Errorf("pod %+v", p)
		}
		for _, c := range p.Containers {
			want := "RUNNING"
			if p.Name == oomPod {
				want = "EXITED"
			}
			if c.ID == "" || c.State != want {
				t.Errorf("pod %s: container %+v, want it %s", p.Name, c, want)
			}
		}
	}
	if !slices.Equal(names, PodNames()) {
		t.Errorf("pods %q", names)
	}
	if !strings.HasPrefix(l.Containerd, l.Runtime) || l.Runc == "" || l.PID == 0 || len(l.Cgroups) == 0 {
		t.Errorf("lab %+v", l)
	}
}

func TestInterruptWhilePodsStart(t *testing.T) {
	needLab(t)
	const status = 128 + int(syscall.SIGINT)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			name, before := testName("int"), snapshot(t)
			cmd := labCommand(t, program(t), name, "run", "--scale", "20x2", "--", "true")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, filepath.Join(folders{name}.containerd(), "io.containerd.runtime.v2.task", "k8s.io", "*", "rootfs"))
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != status {
				t.Errorf("%v, want status %d", err, status)
			}
			checkNothingLeft(t, name, before)
		})
	}
}

func TestSignalReachesTheCommand(t *testing.T) {
	needLab(t)
	name, before := testName("sig"), snapshot(t)
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := labCommand(t, program(t), name, "run", "--pods", "none", "--", "sh", "-c",
		`trap 'exit 9' TERM; touch `+ready+`; while :; do sleep 0.1; done`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ready)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v, want the command's exit status 9", err)
	}
	checkNothingLeft(t, name, before)
}

func TestContainerdDoesNotStart(t *testing.T) {
	needLab(t)
	tools, err := install(t.Context(), Options{Runtime: testRuntime(), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	tools.containerd = "/bin/false"
	name, before := testName("bad"), snapshot(t)
	_, err = up(t.Context(), Options{Name: name, Runtime: testRuntime(), Pods: PodNames(), Log: t.Logf}, tools)
	checkError(t, "start", err, "ended while starting")
	checkNothingLeft(t, name, before)
}

func TestPodDoesNotStart(t *testing.T) {
	needLab(t)
	tools, err := install(t.Context(), Options{Runtime: testRuntime(), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	tools.runc = "/bin/false"
	name, before := testName("runc"), snapshot(t)
	_, err = up(t.Context(), Options{Name: name, Runtime: testRuntime(), Pods: PodNames(), Log: t.Logf}, tools)
	checkError(t, "start", err, "pod ")
	checkNothingLeft(t, name, before)
}

// A lab program that is killed leaves its lab; the next down finds it.
func TestKilledLabIsSwept(t *testing.T) {
	needLab(t)
	for _, when := range []string{"while pods start", "while the command runs"} {
		t.Run(when, func(t *testing.T) {
			lab, name, before := program(t), testName("kill"), snapshot(t)
			f := folders{name}
			cmd := labCommand(t, lab, name, "run", "--", "sleep", "600")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if when == "while pods start" {
				waitFor(t, filepath.Join(f.containerd(), "io.containerd.runtime.v2.task", "k8s.io", "*", "rootfs"))
			} else {
				waitFor(t, f.description())
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if len(leftovers(t, name)) == 0 {
				t.Fatal("the kill came too late or left nothing")
			}
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // the command, which outlives its lab
			// Another lab that starts just now may be quicker to remove it.
			if out, err := labCommand(t, lab, testName("other"), "down").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			checkNothingLeft(t, name, before)
		})
	}
}

// A paused container is frozen, and would not die of its own.
func TestPausedContainersEnd(t *testing.T) {
	needLab(t)
	name, before := testName("paused"), snapshot(t)
	cmd := labCommand(t, program(t), name, "run", "-q", "--pods", "pod-default-ns", "--", "sh", "-c",
		`for t in $(ctr tasks ls -q 2>/dev/null); do ctr tasks pause $t || exit 1; done`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	checkNothingLeft(t, name, before)
}

func TestLabsSideBySide(t *testing.T) {
	needLab(t)
	before := snapshot(t)
	var labs []*Lab
	for _, kind := range []string{"a", "b"} {
		l, err := Up(t.Context(), Options{Name: testName(kind), Runtime: testRuntime(), Pods: []string{"pod-default-ns"}, Log: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := Down(l.Name, t.Logf); err != nil {
				t.Error(err)
			}
		})
		labs = append(labs, l)
	}
	a, b := labs[0], labs[1]
	if a.Bridge == b.Bridge || a.Subnet == b.Subnet || a.Socket == b.Socket || a.CgroupParent == b.CgroupParent {
		t.Errorf("the labs share something: %+v %+v", a, b)
	}
	if err := Down(a.Name, t.Logf); !errors.Is(err, errBusy) {
		t.Errorf("down of a running lab: %v, want it refused", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	checkNothingLeft(t, a.Name, before)
	if err := ready(context.Background(), b.Socket); err != nil {
		t.Errorf("the other lab: %v", err)
	}
	if err := b.Keep(); err != nil {
		t.Error(err)
	}
	if err := Down(b.Name, t.Logf); err != nil {
		t.Error(err)
	}
	checkNothingLeft(t, b.Name, before)
}

func TestUpStays(t *testing.T) {
	needLab(t)
	lab, name, before := program(t), testName("up"), snapshot(t)
	if out, err := labCommand(t, lab, name, "up", "-q", "--pods", "pod-default-ns").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Neither another lab's end nor a down of another name touches it.
	if out, err := labCommand(t, lab, testName("other"), "down").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := ready(t.Context(), folders{name}.socket()); err != nil {
		t.Error(err)
	}
	labs, err := List()
	if err != nil || !slices.ContainsFunc(labs, func(s Status) bool { return s.Name == name && s.State == "up" && len(s.Pods) == 1 }) {
		t.Errorf("%v: %+v", err, labs)
	}
	if _, err := Up(t.Context(), Options{Name: name, Runtime: testRuntime(), Log: t.Logf}); err == nil || !strings.Contains(err.Error(), "up already") {
		t.Errorf("a second up: %v", err)
	}
	if out, err := labCommand(t, lab, name, "down").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	checkNothingLeft(t, name, before)
}

// A shell that was left standing in a container's root file system keeps it
// busy, and the lab goes all the same.
func TestBusyMount(t *testing.T) {
	needLab(t)
	name, before := testName("busy"), snapshot(t)
	cmd := labCommand(t, program(t), name, "run", "-q", "--pods", "pod-default-ns", "--", "sh", "-c",
		`cd $(ls -d $RTINSPECT_LAB/state/*/k8s.io/*/rootfs | head -1); sleep 60 >/dev/null 2>&1 & echo $!`)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkNothingLeft(t, name, before)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("the process in the mount: %v", err)
	}
}

// The lock of a folder that was removed meanwhile is worth nothing.
func TestLockFolderGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if _, err := lockFolder(dir, lockNow); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := lockFolder(dir, lockNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFolder(dir, lockNow); !errors.Is(err, errBusy) {
		t.Errorf("a locked folder: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second, err := lockFolder(dir, lockNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
