package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

// TestClosedPipe: when the reader has gone, as head does, the program ends without a word, as others do.
func TestClosedPipe(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	cmd := process(t, "caps", "--mask", "1ffffffffff")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = writer, &stderr
	err = cmd.Run()
	_ = writer.Close()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v, want SIGPIPE", err)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr %q", &stderr)
	}
}

// TestFailingWrite: an answer that could not be written is no answer.
func TestFailingWrite(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	defer full.Close()
	for _, args := range [][]string{{"caps", "--mask", "1"}, {"version"}, {"--help"}, {"completion", "bash"}, {"version", "-o", "json"}} {
		var stderr bytes.Buffer
		status := run(args, strings.NewReader(""), full, &stderr)
		if want := "rtinspect: write /dev/full: no space left on device\n"; status != statusIncomplete || stderr.String() != want {
			t.Errorf("%q: status %d, stderr %q, want %q", args, status, &stderr, want)
		}
	}
}

// failingReader is a stdin that breaks.
type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestFailingStdin(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run([]string{"caps", "--mask", "-"}, failingReader{}, &stdout, &stderr)
	if status != statusIncomplete || stdout.Len() > 0 || stderr.String() != "rtinspect: stdin: input/output error\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, &stdout, &stderr)
	}
}

// TestReport: each part of an error is a line, and the status is kept however an error is wrapped.
func TestReport(t *testing.T) {
	misused := &usageError{command: "ps", problem: "no"}
	for _, tc := range []struct {
		err    error
		status int
		want   string
	}{
		{nil, 0, ""},
		{errors.New("a"), 1, "rtinspect: a\n"},
		{errors.Join(errors.New("a"), nil, errors.Join(errors.New("b"), errors.New("c"))), 1, "rtinspect: a\nrtinspect: b\nrtinspect: c\n"},
		{fmt.Errorf("x: %w and %w", errors.New("a"), errors.New("b")), 1, "rtinspect: x: a and b\n"},
		{misused, 2, "rtinspect: no\nrtinspect: hint: see rtinspect ps --help\n"},
		{fmt.Errorf("x: %w", misused), 2, "rtinspect: x: no\nrtinspect: hint: see rtinspect ps --help\n"},
		{
			errors.Join(&inspect.NotFoundError{Ref: "web", Near: []string{"web1"}}), 1,
			"rtinspect: container \"web\": not found: did you mean web1?\nrtinspect: hint: rtinspect ps --all lists every container\n",
		},
		{
			&inspect.AmbiguousError{Ref: "3", Candidates: []inspect.Container{{ID: "31", Name: "a"}, {ID: "32", Name: "b"}}}, 1,
			"rtinspect: container \"3\": ambiguous: 31 (a), 32 (b)\nrtinspect: hint: give more of the id, or pod/name, or namespace/pod/name\n",
		},
		{errInterrupted, 1, "rtinspect: interrupted\n"},
	} {
		var stderr bytes.Buffer
		v := &invocation{stderr: &stderr}
		if status := v.report(tc.err); status != tc.status || stderr.String() != tc.want {
			t.Errorf("%v: status %d, want %d; stderr\n%swant\n%s", tc.err, status, tc.status, &stderr, tc.want)
		}
	}
}

// TestInterrupt: SIGINT and SIGTERM cancel what waits for the runtime.
func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		err := interruptible(func(ctx context.Context) error {
			if err := syscall.Kill(os.Getpid(), signal); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return errors.New("not canceled")
			}
		})
		if !errors.Is(err, errInterrupted) {
			t.Errorf("%v: %v", signal, err)
		}
	}
	if err := interruptible(func(context.Context) error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("without a signal: %v", err)
	}
}

// TestAsNobody: what only root may read is an error with a hint for everybody else.
func TestAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	root := t.TempDir()
	for _, dir := range []string{filepath.Dir(root), root} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(root, "rtinspect")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"locked/run", "locked/proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "locked"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"socket": {"events", "-r", filepath.Join(root, "locked/run/containerd.sock")},
		"proc":   {"caps", "--pid", "1", "--host-root", filepath.Join(root, "locked")},
	} {
		cmd := exec.Command(program, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		exit, ok := errors.AsType[*exec.ExitError](cmd.Run())
		if !ok || exit.ExitCode() != statusIncomplete || stdout.Len() > 0 {
			t.Errorf("%s: %v, stdout %q", name, exit, &stdout)
		}
		if !strings.Contains(stderr.String(), "permission denied") || !strings.Contains(stderr.String(), "rtinspect: hint: run as root") {
			t.Errorf("%s: stderr %q", name, &stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, tc := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{nil, "rtinspect (devel) "},
		{&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "rtinspect v1.2.3 "},
		{
			&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: "d844855"}, {Key: "vcs.modified", Value: "true"},
			}},
			"rtinspect (devel) d844855 modified ",
		},
	} {
		if got := string(render(t, versionAnswer(buildOf(tc.info)), sampleOutput(formatTable))); !strings.HasPrefix(got, tc.want) {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// TestColor: flag, terminal and NO_COLOR decide.
func TestColor(t *testing.T) {
	for _, tc := range []struct {
		when     string
		terminal bool
		noColor  string
		want     bool
	}{
		{"auto", true, "", true},
		{"auto", true, "1", false},
		{"auto", false, "", false},
		{"always", false, "1", true},
		{"never", true, "", false},
	} {
		t.Setenv("NO_COLOR", tc.noColor)
		v := &invocation{stderr: io.Discard, terminal: terminal{is: tc.terminal, width: 80}}
		if err := v.execute([]string{"caps", "--mask", "200000", "--color", tc.when}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(v.answer.String(), "\x1b[31m"); got != tc.want {
			t.Errorf("%+v: colored %v", tc, got)
		}
	}
}

// TestWidth: lists fill the terminal's width, and COLUMNS stands in for it elsewhere.
func TestWidth(t *testing.T) {
	for columns, want := range map[string]int{"": 80, "40": 40, "0": 80, "x": 80, "200": 200} {
		t.Setenv("COLUMNS", columns)
		if got := terminalOf(&bytes.Buffer{}); got.width != want || got.is {
			t.Errorf("COLUMNS=%q: %+v, want %d", columns, got, want)
		}
	}
	text := strings.Repeat("CAP_CHOWN,", 30) + "end"
	for _, width := range []int{-5, 0, 1, 30, 1000} {
		wrapped := wrap(text, width, "  ")
		if got := strings.ReplaceAll(wrapped, "\n  ", ""); got != text {
			t.Errorf("width %d changes the text: %q", width, got)
		}
		for _, line := range strings.Split(wrapped, "\n  ") {
			if len(line) > max(width, len("CAP_CHOWN,")) {
				t.Errorf("width %d: %q", width, line)
			}
		}
	}
}

func TestHints(t *testing.T) {
	if text := hint(fmt.Errorf("x: %w", inspect.ErrNoRuntime)); !strings.Contains(text, "--runtime-endpoint") {
		t.Errorf("no runtime: %q", text)
	}
	if text := hint(fs.ErrPermission); os.Geteuid() == 0 && text != "" {
		t.Errorf("root cannot do better: %q", text)
	}
}

// TestGapsOfOneReason: many facts of one thing that are unknown for one reason are one line, which says how many; three are
// three, and what has another reason, or is part of something else, is told by itself. What several containers lack for the very
// same reason is one line too. The hint of the cause is kept.
func TestGapsOfOneReason(t *testing.T) {
	gap := func(fact, file string, cause error) inspect.Gap {
		return inspect.Gap{Fact: fact, Cause: &fs.PathError{Op: "readlink", Path: file, Err: cause}}
	}
	var all gapLines
	all.add(inspect.Container{Name: "web"}, []inspect.Gap{
		gap("namespaces.inForce.cgroup.id", "/proc/7/ns/cgroup", syscall.EACCES),
		gap("namespaces.inForce.ipc.id", "/proc/7/ns/ipc", syscall.EACCES),
		gap("namespaces.inForce.mnt.id", "/proc/7/ns/mnt", syscall.EACCES),
		gap("namespaces.inForce.net.id", "/proc/7/ns/net", syscall.EACCES),
		gap("namespaces.inForce.pid.id", "/proc/7/ns/pid", syscall.EIO),
		gap("processes.7.root", "/proc/7/root", syscall.EACCES),
		gap("processes.7.args", "/proc/7/cmdline", syscall.EACCES),
		gap("processes.7.leaks", "/proc/7/fd", syscall.EACCES),
		gap("processes.8.leaks", "/proc/8/fd", syscall.EACCES),
	})
	for _, name := range []string{"a", "b", "c"} {
		all.add(inspect.Container{Name: name}, []inspect.Gap{
			{Fact: "namespaces.inForce.net.initial", Cause: errors.New("not fixed")},
			gap("status", "/proc/"+name, syscall.EACCES),
		})
	}
	want := "web: namespaces.inForce.cgroup.id and 3 more: readlink /proc/7/ns/cgroup: permission denied\n" +
		"web: namespaces.inForce.pid.id: readlink /proc/7/ns/pid: input/output error\n" +
		"web: processes.7.root: readlink /proc/7/root: permission denied\n" +
		"web: processes.7.args: readlink /proc/7/cmdline: permission denied\n" +
		"web: processes.7.leaks: readlink /proc/7/fd: permission denied\n" +
		"web: processes.8.leaks: readlink /proc/8/fd: permission denied\n" +
		"a and 2 more: namespaces.inForce.net.initial: not fixed\n" +
		"a: status: readlink /proc/a: permission denied\n" +
		"b: status: readlink /proc/b: permission denied\n" +
		"c: status: readlink /proc/c: permission denied"
	if err := all.err(); err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
