package caps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Some tests change what a thread may do, and end it. Keep them off the first thread, which stands for the whole process.
func init() { runtime.LockOSThread() }

// tree makes a proc file system of files; those whose content starts with "-> " become links.
func tree(t *testing.T, files map[string]string) Reader {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Reader{Proc: root}
}

func TestProcess(t *testing.T) {
	want := State{Effective: Of(Chown), Permitted: Of(Chown, Kill), Bounding: DefaultCRIO, NoNewPrivs: NoNewPrivsOff}
	r := tree(t, map[string]string{
		"7/status":  statusOf(want),
		"7/ns/user": "-> user:[4026531837]",
		"8/status":  statusOf(want),
		"8/ns/user": "-> user:[4026532571]",
		"9/status":  statusOf(want),
	})
	for pid, ns := range map[int]UserNS{7: UserNSInitial, 8: UserNSOther, 9: UserNSUnknown} {
		if got, err := r.Process(pid); err != nil || got != want {
			t.Errorf("process %d: %+v, %v; want %+v", pid, got, err, want)
		}
		got, reach, err := r.Reach(pid)
		if err != nil || got != want || reach.UserNS != ns {
			t.Errorf("process %d: %+v, %+v, %v; want %+v in %s", pid, got, reach, err, want, ns)
		}
		if (reach.UserNSError != "") != (ns == UserNSUnknown) {
			t.Errorf("process %d: namespace %s, error %q", pid, ns, reach.UserNSError)
		}
		if reach.Now != want.Effective || reach.Raise != Of(Kill) {
			t.Errorf("process %d: %+v", pid, reach)
		}
	}
	_, reach, err := r.Reach(9)
	if err != nil || !strings.Contains(reach.UserNSError, "9/ns/user: no such file") {
		t.Errorf("unknown namespace: %q, %v; want the path and the cause", reach.UserNSError, err)
	}
}

func TestProcessErrors(t *testing.T) {
	r := tree(t, map[string]string{"7/status": "Name:\tx\n", "8/comm": "x\n"})
	for _, tc := range []struct {
		name string
		r    Reader
		pid  int
		is   error
		text string
	}{
		{"pid 0", Reader{}, 0, nil, "pid 0: want a number of 1 or more"},
		{"pid -1", Reader{}, -1, nil, "pid -1: want a number of 1 or more"},
		{"gone", Reader{}, gonePid(t), ErrNoProcess, "no such process"},
		{"gone from a tree", r, 6, ErrNoProcess, "no such process"},
		{"no proc", Reader{Proc: filepath.Join(r.Proc, "none")}, 1, fs.ErrNotExist, "none: no such file"},
		{"proc is a file", Reader{Proc: filepath.Join(r.Proc, "7/status")}, 1, nil, "not a directory"},
		{"bad status", r, 7, ErrSyntax, "no CapInh line"},
		{"no status", r, 8, fs.ErrNotExist, "8/status: no such file"},
	} {
		_, err := tc.r.Process(tc.pid)
		_, _, reachErr := tc.r.Reach(tc.pid)
		for _, err := range []error{err, reachErr} {
			if err == nil || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want one line with %q", tc.name, err, tc.text)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s: %v does not wrap %v", tc.name, err, tc.is)
			}
		}
	}
}

// gonePid returns the number of a process that has ended.
func gonePid(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestUnreadableProc reads a folder without permission, as another user.
func TestUnreadableProc(t *testing.T) {
	r := tree(t, map[string]string{"7/status": "x", "sys/kernel/cap_last_cap": "40\n"})
	if err := os.Chmod(r.Proc, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(r.Proc, 0o755) })
	errs := make(chan error, 2)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its rights
		if os.Getuid() == 0 {
			if err := capset(0, 0, 0); err != nil {
				t.Error(err)
			}
			if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
				t.Error(errno)
			}
		}
		_, err := r.Process(7)
		errs <- err
		_, err = r.LastCap()
		errs <- err
	}()
	for range 2 {
		if err := <-errs; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), r.Proc) {
			t.Errorf("%v, want permission denied and the path", err)
		}
	}
}

// TestNameCannotForge: a process that calls itself "CapEff: …" on a line of its own changes nothing, for the kernel escapes the
// newline.
func TestNameCannotForge(t *testing.T) {
	own, err := Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its name
		name := []byte("\nCapEff:\t00\n\x00")
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
			result <- err
			return
		}
		s, err := Reader{}.Process(unix.Gettid())
		if err == nil && s != own {
			err = fmt.Errorf("the name changed the state from %+v to %+v", own, s)
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestOwnReach(t *testing.T) {
	s, reach, err := Reader{}.Reach(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	want := UserNSOther
	if link == "user:[4026531837]" {
		want = UserNSInitial
	}
	if reach != s.Reach(want) {
		t.Errorf("%+v, want %+v", reach, s.Reach(want))
	}
}

func TestLastCap(t *testing.T) {
	for content, want := range map[string]Cap{"40\n": 40, "0\n": 0, "63\n": 63, "37": 37} {
		got, err := tree(t, map[string]string{"sys/kernel/cap_last_cap": content}).LastCap()
		if err != nil || got != want {
			t.Errorf("%q is %s, %v", content, got, err)
		}
	}
	for _, content := range []string{"", "\n", "64\n", "-1\n", "+4\n", "40 \n", "0x28\n", "300\n", "40\n\n"} {
		_, err := tree(t, map[string]string{"sys/kernel/cap_last_cap": content}).LastCap()
		checkError(t, content, err, "sys/kernel/cap_last_cap "+strconv.Quote(strings.TrimSuffix(content, "\n"))+": want 0 to 63")
	}
	if _, err := tree(t, nil).LastCap(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	last, err := Reader{}.LastCap()
	if err != nil || last < WakeAlarm {
		t.Errorf("this kernel: %s, %v", last, err)
	}
}
