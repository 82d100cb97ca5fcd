package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/events"
)

// eventLine is what these tests read of a line.
type eventLine struct {
	Topic, Exec, Source, Confirmed string
	Container                      struct{ Name string }
	Detail                         struct {
		Code struct{ Value int }
		Hit  struct {
			Value struct {
				Cgroup string
				Limit  int
			}
		}
		Args struct{ Value []string }
	}
}

func eventLinesOf(t *testing.T, text string) []eventLine {
	t.Helper()
	var list []eventLine
	for line := range strings.Lines(text) {
		var e eventLine
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%v in the line %q", err, line)
		}
		list = append(list, e)
	}
	return list
}

// following runs rtinspect events until it ends by itself, and ready returns when it is live.
func following(t *testing.T, args ...string) (cmd *exec.Cmd, ready func(), rest func() string) {
	t.Helper()
	cmd = process(t, append([]string{"events", "-o", "json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	reader := bufio.NewReader(out)
	ready = func() {
		t.Helper()
		line, err := reader.ReadString('\n')
		if err != nil || eventLinesOf(t, line)[0].Topic != events.TopicLive {
			t.Fatalf("first line %q, %v", line, err)
		}
	}
	return cmd, ready, func() string {
		var b bytes.Buffer
		if _, err := b.ReadFrom(reader); err != nil {
			t.Error(err)
		}
		return b.String()
	}
}

// crictl runs crictl, a client of the CRI that has nothing to do with rtinspect.
func crictl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("crictl", args...).Output()
	if err != nil {
		t.Fatalf("crictl %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// TestLabEventsOOM runs pod-oom's container once more: one kill is told, with the limit that was reached, before the end.
func TestLabEventsOOM(t *testing.T) {
	labManifests(t)
	cmd, ready, rest := following(t, "--pod", "default/pod-oom", "--filter", "oom", "--until", "exit", "--timeout", "2m")
	ready()
	startAgain(t, "pod-oom")
	list := slices.DeleteFunc(eventLinesOf(t, rest()), func(e eventLine) bool {
		// On cgroup v1 containerd tells each container below the limit of the pod that it was reached: the sandbox too.
		return e.Confirmed == "unconfirmed" && e.Container.Name == "pod-oom"
	})
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if len(list) != 2 || list[0].Topic != events.TopicTaskOOM || list[1].Topic != events.TopicTaskExit {
		t.Fatalf("%+v, want a kill and an end", list)
	}
	hit, end := list[0].Detail.Hit.Value, list[1]
	if hit.Limit != 100<<20 || !strings.Contains(hit.Cgroup, "/pod") || list[0].Confirmed != "confirmed" {
		t.Errorf("killed at %+v", hit)
	}
	if end.Detail.Code.Value != 137 || end.Container.Name != "app" {
		t.Errorf("ended as %+v", end)
	}
}

// startAgain makes another container as one of a pod, and starts it. It is removed after the test.
func startAgain(t *testing.T, pod string) {
	t.Helper()
	config := func(text string) (file, sandbox string) {
		var status struct {
			Info struct {
				SandboxID string
				Config    map[string]any
			}
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		if m, ok := status.Info.Config["metadata"].(map[string]any); ok && status.Info.SandboxID != "" {
			m["attempt"], status.Info.Config["log_path"] = 7, "app/7.log"
		}
		data, err := json.Marshal(status.Info.Config)
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file, status.Info.SandboxID
	}
	ids := strings.Fields(crictl(t, "ps", "-a", "-q", "--label", "io.kubernetes.pod.name="+pod))
	if len(ids) == 0 {
		t.Skipf("the lab has no %s", pod)
	}
	container, sandbox := config(crictl(t, "inspect", ids[0]))
	sandboxConfig, _ := config(crictl(t, "inspectp", sandbox))
	id := crictl(t, "create", sandbox, container, sandboxConfig)
	t.Cleanup(func() {
		for range 50 { // it fails while the end of the container is being worked on
			if exec.Command("crictl", "rm", "-f", id).Run() == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s could not be removed", id)
	})
	crictl(t, "start", id)
}

// TestLabEventsExec: a process that is run in a container is told with its arguments, and judged with --audit.
func TestLabEventsExec(t *testing.T) {
	labManifests(t)
	id := strings.Fields(crictl(t, "ps", "-q", "--label", "io.kubernetes.pod.name=pod-default-caps"))[0]
	cmd, ready, rest := following(t, "--container", id[:12], "--audit", "--until", "/rtinspect/finding", "--timeout", "2m")
	ready()
	client := exec.Command("crictl", "exec", id, "sleep", "3")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	list := eventLinesOf(t, rest())
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	_ = client.Wait()
	var topics []string
	for _, e := range list {
		if e.Topic != events.TopicTaskExit { // a slow machine judges longer than it runs
			topics = append(topics, e.Topic)
		}
		if e.Topic == events.TopicTaskExecStarted && !slices.Equal(e.Detail.Args.Value, []string{"sleep", "3"}) {
			t.Errorf("arguments %q", e.Detail.Args.Value)
		}
	}
	if want := []string{events.TopicTaskExecAdded, events.TopicTaskExecStarted, events.TopicFinding}; !slices.Equal(topics, want) {
		t.Errorf("%q, want %q", topics, want)
	}
}

// TestLabEventsEnd: an interrupt ends it with status 0 and a whole line, a reader that has gone quietly, and the time with
// status 1 when something else was waited for.
func TestLabEventsEnd(t *testing.T) {
	labManifests(t)
	cmd, ready, rest := following(t)
	ready()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	eventLinesOf(t, rest())
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}

	// A reader that goes while nothing happens: the filter leaves nothing to write.
	cmd = process(t, "events", "--filter", "/no/such/topic", "--no-marker")
	var said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	_ = pipe.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil || said.Len() > 0 {
			t.Errorf("a reader that has gone: %v, %q", err, &said)
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Error("it goes on without a reader")
	}

	var stdout, stderr bytes.Buffer
	if status := run([]string{"events", "--until", "oom", "--timeout", "300ms"}, strings.NewReader(""), &stdout, &stderr); status != statusIncomplete ||
		stderr.String() != "rtinspect: no oom within 300ms\n" || stdout.Len() > 0 {
		t.Errorf("--until: status %d, %q, %q", status, &stdout, &stderr)
	}
	stderr.Reset()
	if status := run([]string{"events", "--timeout", "300ms"}, strings.NewReader(""), &stdout, &stderr); status != statusWhole || stderr.Len() > 0 {
		t.Errorf("--timeout: status %d, %q", status, &stderr)
	}
	if status := run([]string{"events", "--since-start=false", "--count", "3"}, strings.NewReader(""), &stdout, &stderr); status != statusWhole || strings.Count(stdout.String(), "\n") != 3 {
		t.Errorf("--count: status %d, %q", status, &stdout)
	}
	if status := run([]string{"events", "--since-start=false"}, strings.NewReader(""), brokenPipe{}, &stderr); status != statusWhole || stderr.Len() > 0 {
		t.Errorf("closed pipe: status %d, %q", status, &stderr)
	}
}
