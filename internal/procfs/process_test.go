package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	empty := t.TempDir()
	for _, tc := range []struct {
		name string
		fs   FS
		pid  int
		want error
		text string
	}{
		{name: "self", pid: os.Getpid()},
		{name: "zero", pid: 0, text: "pid 0: want a number of 1 or more"},
		{name: "negative", pid: -4, text: "pid -4: want"},
		{name: "beyond pid_max", pid: 1 << 30, want: ErrNoProcess, text: "process 1073741824: no such process"},
		{name: "beyond 32 bits", pid: 1<<32 + 1, want: ErrNoProcess, text: "process 4294967297: no such process"},
		{name: "no such folder", fs: FS{Proc: filepath.Join(empty, "proc")}, pid: 1, want: fs.ErrNotExist, text: "proc: no such file"},
		{name: "not proc", fs: FS{Proc: empty}, pid: 1, want: fs.ErrNotExist, text: "is not a proc file system"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := tc.fs.Open(tc.pid)
			if err == nil {
				defer p.Close()
			}
			if tc.want == nil && tc.text == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("no error, want %q", tc.text)
			}
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v does not wrap %v", err, tc.want)
			}
			if !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %q, want %q in it", err, tc.text)
			}
		})
	}
}

func TestReadsAreWhole(t *testing.T) {
	// A recorded process with a file larger than any buffer.
	root := t.TempDir()
	dir := filepath.Join(root, "7")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef\n"), 200_000)
	if err := os.WriteFile(filepath.Join(dir, "mountinfo"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3000)
	if err := os.Symlink(long, filepath.Join(dir, "cwd")); err != nil {
		t.Fatal(err)
	}
	p, err := FS{Proc: root}.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got, err := p.ReadFile("mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	if link, err := p.Readlink("cwd"); err != nil || link != long {
		t.Errorf("link of %d bytes, %v; want %d", len(link), err, len(long))
	}
	if _, err := p.ReadFile("status"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/7/status") {
		t.Errorf("missing file: %v", err)
	}
}

func TestPids(t *testing.T) {
	pids, err := FS{}.Pids()
	if err != nil {
		t.Fatal(err)
	}
	var self bool
	for i, pid := range pids {
		self = self || pid == os.Getpid()
		if i > 0 && pids[i-1] >= pid {
			t.Fatalf("not ascending: %d after %d", pid, pids[i-1])
		}
	}
	if !self {
		t.Error("our own process is not among them")
	}
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestAliveOfZombieAndGone(t *testing.T) {
	cmd := sleeper(t)
	p, err := FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Alive(); err != nil {
		t.Fatalf("running: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Not reaped yet: a zombie as soon as the signal has done its work.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Alive(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("zombie: %v", err)
	}
	_ = cmd.Wait()
	if err := p.Alive(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("gone: %v", err)
	}
}

// TestAliveReadsTheStateAfterTheName: a program may name itself ") Z".
func TestAliveReadsTheStateAfterTheName(t *testing.T) {
	root := t.TempDir()
	for pid, tc := range map[int]struct {
		stat string
		dead bool
	}{
		1: {"1 (a) Z (b) S 0 1", false},
		2: {"2 (a) S (b) Z 0 1", true},
		3: {"3 (sh) X 0", true},
		4: {"4 (sh) R 1 4 4 0 -1 4194560 0", false},
		5: {"5 (sh) R 1 5 5 0 -1 4194564 0", true}, // PF_EXITING: its root is gone already
	} {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(tc.stat), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := FS{Proc: root}.Open(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Alive(); errors.Is(err, ErrNoProcess) != tc.dead {
			t.Errorf("%q: %v, want dead %v", tc.stat, err, tc.dead)
		}
		_ = p.Close()
	}
}

// TestAliveWithoutFirstThread: a process whose first thread ended looks like a
// zombie, but its other threads run what they like.
func TestAliveWithoutFirstThread(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "RTINSPECT_FIRST_THREAD_ENDS=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()         //nolint:errcheck // killed
	defer cmd.Process.Kill() //nolint:errcheck // it runs until then
	p, err := FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for p.Alive() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := p.Alive(); errors.Is(err, ErrNoProcess) || !strings.Contains(err.Error(), "its first thread has ended, but not thread ") {
		t.Errorf("threads run on: %v", err)
	}
	_ = cmd.Process.Kill()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &unix.Siginfo{}, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Alive(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("all ended: %v", err)
	}
}

// init runs in the first thread, beside those of Go's runtime.
func init() {
	if os.Getenv("RTINSPECT_FIRST_THREAD_ENDS") != "" {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// TestReusedPID forces the number of a dead process onto a new one and shows
// that a handle on the dead one never shows the new one's facts, while a read
// by path does.
func TestReusedPID(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a pid is chosen with ns_last_pid")
	}
	first := sleeper(t)
	pid := first.Process.Pid
	p, err := FS{}.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.ReadFile("status"); err != nil {
		t.Fatal(err)
	}
	_ = first.Process.Kill()
	_ = first.Wait()

	second := processWithPID(t, pid)
	if second == nil {
		t.Skipf("pid %d could not be taken again on this machine", pid)
	}
	byPath, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !bytes.Contains(byPath, []byte("sleep")) {
		t.Fatalf("the new process is not there by path: %v", err)
	}
	for _, name := range []string{"status", "stat", "cgroup", "mountinfo", "uid_map"} {
		if b, err := p.ReadFile(name); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%s of the dead process: %d bytes, %v; want ErrNoProcess", name, len(b), err)
		}
	}
	if link, err := p.Readlink("ns/pid"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("ns/pid of the dead process: %q, %v; want ErrNoProcess", link, err)
	}
	if err := p.Alive(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("Alive of the dead process: %v", err)
	}
}

// processWithPID starts a process that gets the wanted number, or returns nil
// when others kept taking it first.
func processWithPID(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skipf("cannot choose a pid: %v", err)
		}
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return nil
}

func BenchmarkReadStatus(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		p, err := FS{}.Open(os.Getpid())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.ReadFile("status"); err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
