package nsdiff

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

func TestRead(t *testing.T) {
	s := set(t, map[Kind]any{
		Net:             syscall.EACCES,
		Time:            nil,
		TimeForChildren: nil,
		PIDForChildren:  nil,
		UTS:             "uts:[12]",
		IPC:             "uts:[12]",
		User:            "user:12",
	})
	for k, want := range map[Kind]string{
		Cgroup:          "cgroup:[4026531835]",
		Mnt:             "mnt:[4026531832]",
		PID:             "pid:[4026531836]",
		UTS:             "uts:[12]",
		Net:             "readlink /proc/7/ns/net: permission denied",
		Time:            "absent: this kernel has no time namespaces",
		TimeForChildren: "absent: this kernel has no time namespaces",
		PIDForChildren:  "absent: a pid namespace for children that has no process yet, or a kernel older than 4.12",
		IPC:             "invalid syntax: ns/ipc leads to uts:[12]",
		User:            `ns/user: invalid syntax: namespace "user:12": want a kind and a number such as net:[4026531833]`,
	} {
		ns, err := s.Namespace(k)
		got := ns.String()
		if err != nil {
			got = err.Error()
			if ns != (Namespace{}) {
				t.Errorf("%s: %s and %v", k, ns, err)
			}
		}
		if errors.Is(err, ErrAbsent) {
			got = "absent: " + got
		}
		if got != want {
			t.Errorf("%s: %s, want %s", k, got, want)
		}
	}
	if _, err := s.Namespace(Net); !errors.Is(err, fs.ErrPermission) || !errors.Is(err, syscall.EACCES) {
		t.Errorf("net: %v is no EACCES", err)
	}
}

// TestReadUnreadable: where nothing may be read, all is unknown, and absent only what the kernel does not have.
func TestReadUnreadable(t *testing.T) {
	f := initialFolder()
	for name := range f {
		f[name] = syscall.EACCES
	}
	delete(f, "ns/time")
	s, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		_, err := s.Namespace(k)
		if (k == Time) != errors.Is(err, ErrAbsent) || (k != Time) != errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// TestReadDying: from whichever link on the process has left its namespaces, nothing of it counts.
func TestReadDying(t *testing.T) {
	for _, gone := range []error{syscall.ENOENT, procfs.ErrNoProcess} {
		for after := range Kinds() {
			f := dying{initialFolder(), new(int), after, gone}
			if s, err := Read(f); !errors.Is(err, ErrNoProcess) || s != (Set{}) {
				t.Errorf("%v after %d links: %v, %v", gone, after, s, err)
			}
		}
	}
}

// TestReadGone: one link that says so is enough.
func TestReadGone(t *testing.T) {
	for _, k := range Kinds() {
		f := initialFolder()
		f["ns/"+k.String()] = procfs.ErrNoProcess
		if s, err := Read(f); !errors.Is(err, ErrNoProcess) || s != (Set{}) {
			t.Errorf("%s: %v, %v", k, s, err)
		}
	}
}

// dying is a process that is gone after some links.
type dying struct {
	folder
	reads *int
	after int
	gone  error
}

func (d dying) Readlink(name string) (string, error) {
	*d.reads++
	// As the kernel does it: a zombie keeps user and pid.
	if *d.reads > d.after && (d.gone != syscall.ENOENT || name != "ns/user" && name != "ns/pid") { //nolint:errorlint // a bare errno
		return "", &fs.PathError{Op: "readlink", Path: name, Err: d.gone}
	}
	return d.folder.Readlink(name)
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

// TestZombieAndGone reads a process that ended under an open handle: as a zombie, gone, and with its pid given to another.
func TestZombieAndGone(t *testing.T) {
	cmd := sleeper(t)
	pid := cmd.Process.Pid
	p, err := procfs.FS{}.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	living, err := Read(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	check := func(state string) {
		if s, err := Read(p); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%s: %v, %v", state, s, err)
		}
		if _, err := ReadLineage(p, living); !errors.Is(err, ErrNoProcess) {
			t.Errorf("lineage of a %s: %v", state, err)
		}
	}
	check("zombie")
	if _, err := (Reader{}).Process(pid); !errors.Is(err, ErrNoProcess) {
		t.Errorf("zombie by pid: %v", err)
	}
	_ = cmd.Wait()
	check("gone process")
	if _, err := (Reader{}).Namespaces(pid); !errors.Is(err, ErrNoProcess) {
		t.Errorf("gone by pid: %v", err)
	}
	if !reuse(t, pid) {
		t.Skipf("pid %d could not be taken again on this machine", pid)
	}
	check("reused pid")
	if _, err := ReadIDMaps(p); !errors.Is(err, ErrNoProcess) {
		t.Errorf("id maps of a reused pid: %v", err)
	}
}

// reuse gives a pid to a new process.
func reuse(t *testing.T, pid int) bool {
	t.Helper()
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			return false
		}
		if sleeper(t).Process.Pid == pid {
			return true
		}
	}
	return false
}

// TestNoChildYet: a thread that made a pid namespace for its children has none to show before the first child.
func TestNoChildYet(t *testing.T) {
	type result struct {
		s   Set
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
			done <- result{err: err}
			return
		}
		s, err := Reader{}.Namespaces(unix.Gettid())
		done <- result{s, err}
	}()
	r := <-done
	if errors.Is(r.err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to make a pid namespace")
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	if _, err := r.s.Namespace(PIDForChildren); !errors.Is(err, ErrAbsent) {
		t.Errorf("pid_for_children: %v", err)
	}
	if _, err := r.s.Namespace(PID); err != nil {
		t.Errorf("pid: %v", err)
	}
}

func TestReaderErrors(t *testing.T) {
	empty := t.TempDir()
	for _, tc := range []struct {
		name string
		r    Reader
		pid  int
		is   error
		text string
	}{
		{"pid 0", Reader{}, 0, nil, "pid 0: want a number of 1 or more"},
		{"gone from a tree", recorded(t, "old"), 6, ErrNoProcess, "process 6: no such process"},
		{"no proc", Reader{Proc: filepath.Join(empty, "none")}, 1, fs.ErrNotExist, "none: no such file"},
	} {
		_, err := tc.r.Namespaces(tc.pid)
		_, processErr := tc.r.Process(tc.pid)
		for _, err := range []error{err, processErr} {
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.text)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s: %v does not wrap %v", tc.name, err, tc.is)
			}
		}
	}
}

func TestSetJSON(t *testing.T) {
	s := set(t, map[Kind]any{Net: syscall.EACCES, Time: nil})
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"user":{"state":"known","value":{"kind":"user","inode":4026531837}}`,
		`"net":{"state":"unknown","cause":"readlink /proc/7/ns/net: permission denied"}`,
		`"time":{"state":"absent","reason":"this kernel has no time namespaces"}`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s: no %s", data, want)
		}
	}
	var back Set
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%s comes back as %s, %v", data, again, err)
	}
	if _, err := back.Namespace(Time); !errors.Is(err, ErrAbsent) {
		t.Errorf("time came back as %v", err)
	}

	// What is missing is unknown; what cannot be is refused.
	if err := json.Unmarshal([]byte(`{}`), &back); err != nil || back != (Set{}) {
		t.Errorf("empty: %v, %v", back, err)
	}
	if _, err := back.Namespace(Net); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("a kind that was not read: %v", err)
	}
	for _, text := range []string{
		`{"network":{"state":"absent"}}`, `{"net":{"state":"known"}}`, `{"net":{}}`, `{"net":{"state":"safe"}}`,
		`{"net":{"state":"known","value":{"kind":"net"}}}`, `[]`,
	} {
		if err := json.Unmarshal([]byte(text), &back); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func (folder) Path(name string) string { return "/proc/7/" + name }
