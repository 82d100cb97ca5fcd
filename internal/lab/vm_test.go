package lab

import (
	"bytes"
	"errors"
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

// needVM skips a test where no virtual machine can be started, saying why.
func needVM(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine, which -short leaves out")
	}
	if err := InstallVM(t.Context(), Kernel61, t.Logf); err != nil {
		t.Skip(err)
	}
}

// vmCommand is the lab command with a virtual machine; what it is told comes
// before the command's own flags.
func vmCommand(program string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.Command(program, append([]string{"vm", "-q"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// statusOf is the status of a command that was waited for, as a shell tells it.
func statusOf(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return exitCode(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))), nil
}

// emulators returns the emulators that the process started.
func emulators(t *testing.T, parent int) []string {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(parent), "qemu").Output()
	var none *exec.ExitError
	if err != nil && !errors.As(err, &none) {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// The command has its own kernel, the caller's files, folder and environment,
// and its output, status and files come back; nothing else does.
func TestVM(t *testing.T) {
	needVM(t)
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "made, by lab")
	marker := filepath.Join(folder, "marker")
	if err := os.WriteFile(marker, []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `
cat marker; echo changed >marker; echo new >new
echo "$RTINSPECT_VM $LAB_TEST $PWD"
cat /sys/fs/cgroup/cgroup.subtree_control
cat /proc/self/cgroup
cat /sys/kernel/security/lsm; echo
grep CapEff /proc/self/status
readlink /dev/fd /dev/stdin
sleep 1000 &
echo to stderr >&2
echo result >"$RTINSPECT_VM_OUT/file"
exit 7`
	cmd, stdout, stderr := vmCommand(program(t), "--out", out, "--", "sh", "-ec", script)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "LAB_TEST=it's", "PWD="+folder)
	status, err := statusOf(cmd, cmd.Run())
	if err != nil || status != 7 || stderr.String() != "to stderr\n" {
		t.Fatalf("status %d, %v, stderr %q, stdout %q", status, err, stderr, stdout)
	}
	want := "of the host\n6.1 it's " + folder + "\ncpuset cpu io memory hugetlb pids rdma misc\n0::/session.scope\n" +
		"lockdown,capability,landlock,yama,apparmor,tomoyo,bpf\nCapEff:\t000001ffffffffff\n/proc/self/fd\n/proc/self/fd/0\n"
	if stdout.String() != want {
		t.Errorf("stdout:\n%swant:\n%s", stdout, want)
	}
	for path, want := range map[string]string{marker: "of the host\n", filepath.Join(out, "file"): "result\n"} {
		if text, err := os.ReadFile(path); string(text) != want {
			t.Errorf("%s: %q, %v, want %q", path, text, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file made in the machine is here: %v", err)
	}
}

// All output arrives, in order, however slowly it is read.
func TestVMOutput(t *testing.T) {
	needVM(t)
	const lines = 300_000
	cmd, _, stderr := vmCommand(program(t), "--", "seq", strconv.Itoa(lines))
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second) // the pipe is full, and the command has ended or waits
	var got bytes.Buffer
	if _, err := got.ReadFrom(pipe); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	n := 0
	for line := range strings.Lines(got.String()) {
		if n++; line != strconv.Itoa(n)+"\n" {
			t.Fatalf("line %d is %q", n, line)
		}
	}
	if n != lines {
		t.Errorf("%d lines, want %d", n, lines)
	}
}

// However a machine ends, its status tells and its emulator is gone.
func TestVMEnds(t *testing.T) {
	needVM(t)
	lab := program(t)
	for _, test := range []struct {
		name   string
		args   []string
		signal syscall.Signal // sent once the command runs
		status int
		stderr string
	}{
		{"time limit", []string{"--timeout", "1s", "--", "sh", "-c", "echo up; sleep 1000"}, 0, 124, "time limit: the command did not end within 1s"},
		{"no command", []string{"--", "no-such-command"}, 0, 125, "no-such-command"},
		{"no memory", []string{"--memory", "64M", "--", "true"}, 0, 125, "the machine ended before the command did"},
		{"no such amount of memory", []string{"--memory", "9999999G", "--", "true"}, 0, 125, "qemu-system-x86_64"},
		{"panic", []string{"--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000"}, 0, 125, "Kernel panic"},
		{"killed command", []string{"--", "sh", "-c", "kill -TERM $$"}, 0, 143, ""},
		{"interrupt", []string{"--", "sh", "-c", "echo up; sleep 1000"}, syscall.SIGINT, 130, "interrupted"},
		{"termination", []string{"--", "sh", "-c", "echo up; sleep 1000"}, syscall.SIGTERM, 130, "interrupted"},
		{"kill", []string{"--", "sh", "-c", "echo up; sleep 1000"}, syscall.SIGKILL, 137, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd, _, stderr := vmCommand(lab, test.args...)
			cmd.Stdout = nil
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var started []string
			if _, err := stdout.Read(make([]byte, 16)); err == nil {
				started = emulators(t, cmd.Process.Pid)
				if len(started) != 1 {
					t.Errorf("emulators %q", started)
				}
			}
			if test.signal != 0 {
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Error(err)
				}
			}
			status, err := statusOf(cmd, cmd.Wait())
			if err != nil || status != test.status || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("status %d, %v, stderr %q, want %d, %q", status, err, stderr, test.status, test.stderr)
			}
			waitGone(t, started)
		})
	}
}

// waitGone waits for processes that were killed.
func waitGone(t *testing.T, pids []string) {
	t.Helper()
	for range 200 {
		pids = slices.DeleteFunc(pids, func(pid string) bool { return !allExist("/proc/" + pid) })
		if len(pids) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("processes %q are still there", pids)
}

// cpio reads back what is written for the kernel.
func TestInitramfs(t *testing.T) {
	if !allExist(debianBusybox) {
		t.Skip("no " + debianBusybox)
	}
	var a initramfs
	files := map[string]string{"a": "", "bb": "x", "init": "12345", "module.ko": strings.Repeat("m", 4097)}
	for name, content := range files {
		a.add(name, []byte(content))
	}
	a.end()
	dir := t.TempDir()
	cpio := exec.Command(debianBusybox, "cpio", "-i")
	cpio.Dir, cpio.Stdin = dir, &a
	if out, err := cpio.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(text) != want {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode() != 0o755 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestWithDependencies(t *testing.T) {
	const dep = "kernel/fs/a.ko: kernel/b.ko kernel/lib/c.ko\nkernel/b.ko: kernel/lib/c.ko\nkernel/lib/c.ko:\nkernel/d.ko: kernel/lib/c.ko\n"
	got, err := withDependencies(dep, "a", "d")
	if want := []string{"kernel/lib/c.ko", "kernel/b.ko", "kernel/fs/a.ko", "kernel/d.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	_, err = withDependencies(dep, "a", "e")
	checkError(t, "missing", err, "no module e")
}

// A kernel that cannot be unpacked is refused.
func TestDecompress(t *testing.T) {
	image := make([]byte, 4096)
	_, err := decompress(t.Context(), image)
	checkError(t, "zeros", err, "no bzImage")
	copy(image[0x202:], "HdrS")
	_, err = decompress(t.Context(), image)
	checkError(t, "no payload", err, "outside")
	image[0x24d] = 4 // 1024 bytes
	_, err = decompress(t.Context(), image)
	checkError(t, "zeros as payload", err, "not compressed by xz")
	image[0x24d] = 0xff
	_, err = decompress(t.Context(), image)
	checkError(t, "long payload", err, "outside")
}

func TestTail(t *testing.T) {
	var end tail
	for range 3 {
		if n, err := end.Write(bytes.Repeat([]byte("x"), tailLength-1)); n != tailLength-1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := end.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if len(end) != tailLength || !bytes.HasSuffix(end, []byte("xend")) {
		t.Errorf("%d bytes, %q", len(end), end[len(end)-9:])
	}
}

// Nothing but a machine's first process is one.
func TestInit(t *testing.T) {
	checkError(t, "a test", Init(), "first process")
}
