package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// badRuntime serves containers of which each is broken in its own way, and returns the socket.
func badRuntime(t *testing.T) string {
	t.Helper()
	own, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	fake := &fakeruntime.Containerd{
		PID:          os.Getpid(),
		PIDNamespace: own.Sys().(*syscall.Stat_t).Ino,
		Unlisted:     map[string]bool{"hung-shim": true},
		BreakAfter:   map[string]int{"broken": 1},
	}
	spec := fakeruntime.Spec("/nowhere")
	const gone = 1 << 30
	fake.Add("default", "evil\x1b[2J\nrtinspect: ok\u202e", gone, spec)
	fake.Add("default", "gone", gone, spec)
	fake.Add("default", "not-json", gone, `{"process":`)
	fake.Add("default", "of-another", uint32(os.Getpid()), spec)
	fake.Add("default", "hung-shim", gone, spec)
	fake.Add("broken", "before", 0, spec)
	fake.Add("broken", "after", 0, spec)
	socket := filepath.Join(t.TempDir(), "fake.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	fake.Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return socket
}

// TestBadRuntime: one bad container never spoils the rest, what is unknown is told as unknown and in the status, and no name
// forges a line.
func TestBadRuntime(t *testing.T) {
	socket := badRuntime(t)
	for _, args := range [][]string{{"ps", "--no-trunc"}, {"ps", "-o", "wide"}, {"caps"}, {"inspect"}, {"ps", "-q"}, {"inspect", "-o", "wide"}} {
		name := strings.Join(args, " ")
		var stdout, stderr bytes.Buffer
		status := run(append(args, "-r", socket), nil, &stdout, &stderr)
		if status != statusIncomplete {
			t.Errorf("%s: status %d", name, status)
		}
		for _, want := range []string{"gone", "not-json", "of-another", "hung-shim", `evil\x1b[2J\nrtinspect: ok\u202e`} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, &stdout)
			}
		}
		for _, line := range strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n") {
			if !strings.HasPrefix(line, "rtinspect: ") || strings.HasPrefix(line, "rtinspect: ok") || escapeLine(line) != line {
				t.Errorf("%s: stderr line %q", name, line)
			}
		}
		for _, want := range []string{
			" and 3 more: pid: process 1073741824: no such process\n", "rtinspect: of-another: pid: ", "not the container's process", "broke off",
		} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%s: %q is not in stderr\n%s", name, want, &stderr)
			}
		}
	}

	var stdout, stderr bytes.Buffer
	run([]string{"ps", "-r", socket, "-o", "json"}, nil, &stdout, &stderr)
	var list []inspect.Container
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil || len(list) != 5 {
		t.Errorf("%d containers, %v", len(list), err)
	}
}

// TestInterruptedWhileWaiting: SIGINT ends a command that waits for a runtime, with a message and without an answer.
func TestInterruptedWhileWaiting(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "silent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cmd := process(t, "ps", "-r", socket)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Accept(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != statusIncomplete || stderr.String() != "rtinspect: interrupted\n" || stdout.Len() > 0 {
		t.Errorf("%v, stdout %q, stderr %q", cmd.ProcessState, &stdout, &stderr)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it ended %v after the signal", took)
	}
}
