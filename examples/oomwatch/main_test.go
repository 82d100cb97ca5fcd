package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
)

// TestLabOOMWatch runs pod-oom's container once more, in its pod, while the example watches.
func TestLabOOMWatch(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // an emulated machine is slow
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- watch(ctx, writer)
		_ = writer.Close()
	}()
	time.Sleep(time.Second) // the example says nothing when it is ready
	start := again(t)
	start()
	lines := bufio.NewScanner(reader)
	for _, want := range []string{
		`^"default/pod-oom/app": killed at the limit of 104857600 bytes of ".*/pod[0-9a-f-]+(/[0-9a-f]+)?" \((pod|container)\)$`,
		`^"default/pod-oom/app": ended with 137$`,
	} {
		if !lines.Scan() || !regexp.MustCompile(want).MatchString(lines.Text()) {
			t.Fatalf("%q, want %s", lines.Text(), want)
		}
	}
	cancel()
	if lines.Scan() {
		t.Errorf("one more line: %q", lines.Text())
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// again makes another container as pod-oom's, which the returned function starts and which is removed after the test.
func again(t *testing.T) (start func()) {
	t.Helper()
	crictl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("crictl", args...).Output()
		if err != nil {
			t.Fatalf("crictl %q: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	config := func(text string) (string, string) {
		t.Helper()
		var status struct {
			Info struct {
				SandboxID string         `json:"sandboxID"`
				Config    map[string]any `json:"config"`
			} `json:"info"`
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		if m, ok := status.Info.Config["metadata"].(map[string]any); ok && status.Info.SandboxID != "" {
			m["attempt"] = 7
			status.Info.Config["log_path"] = "app/7.log"
		}
		data, err := json.Marshal(status.Info.Config)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file, status.Info.SandboxID
	}
	ids := strings.Fields(crictl("ps", "-a", "-q", "--label", "io.kubernetes.pod.name=pod-oom"))
	if len(ids) == 0 {
		t.Fatal("the lab has no pod-oom")
	}
	container, sandbox := config(crictl("inspect", ids[0]))
	pod, _ := config(crictl("inspectp", sandbox))
	id := crictl("create", sandbox, container, pod)
	t.Cleanup(func() {
		for range 50 { // it fails while the end of the container is being worked on
			if exec.Command("crictl", "rm", "-f", id).Run() == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s could not be removed", id)
	})
	return func() { crictl("start", id) }
}

func TestNoRuntime(t *testing.T) {
	t.Setenv(inspect.EndpointVariable, "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	if err := watch(t.Context(), io.Discard); !errors.Is(err, inspect.ErrNoRuntime) {
		t.Errorf("%v", err)
	}
}

// TestShort: it is an example.
func TestShort(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(source), "\n"); lines > 80 {
		t.Errorf("main.go has %d lines", lines)
	}
}
