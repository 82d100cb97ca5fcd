package main

import (
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

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

// diffOf runs diff over two snapshots.
func diffOf(t *testing.T, status int, args ...string) diffAnswer {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(append([]string{"diff", "-o", "json"}, args...), strings.NewReader(""), &stdout, &stderr); got != status {
		t.Fatalf("status %d, want %d\n%s%s", got, status, &stdout, &stderr)
	}
	var d diffAnswer
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// factLines are changes in words.
func factLines(list []inspect.FactChange) []string {
	var lines []string
	for _, f := range list {
		line := f.Level + " " + f.Fact + " " + f.Old.Value + " > " + f.New.Value
		if len(f.Added)+len(f.Removed) > 0 {
			line = f.Level + " " + f.Fact + " +" + strings.Join(f.Added, " +") + " -" + strings.Join(f.Removed, " -")
		}
		lines = append(lines, line)
	}
	return lines
}

// TestLabDiff: two snapshots of a lab that has not changed have no difference, and of one that has, exactly what was done to it.
func TestLabDiff(t *testing.T) {
	labManifests(t)
	sandbox := extraPod(t)
	before := labSnapshot(t)
	if d := diffOf(t, statusWhole, before, labSnapshot(t), "--exit-code", "--severity", "info"); len(d.Node)+len(d.Containers)+len(d.Sockets)+len(d.Findings) > 0 {
		t.Errorf("nothing was changed: %+v", d)
	}

	startAgain(t, "pod-default-caps")
	limited := strings.Fields(crictl(t, "ps", "-q", "--label", "io.kubernetes.pod.name=pod-with-limits"))[0]
	was := whole(t, "cgroup", limited, "-o", "go-template={{.cgroup.inForce.value.memory.max.value}}")
	crictl(t, "update", "--memory", "100663296", limited)
	t.Cleanup(func() { crictl(t, "update", "--memory", strings.TrimSpace(was), limited) })
	execWithCapabilities(t, "pod-no-caps")
	crictl(t, "rmp", "-f", sandbox)

	d := diffOf(t, statusFindings, before, labSnapshot(t), "--exit-code", "--severity", "info")
	if len(d.Node)+len(d.Sockets)+len(d.Doubts) > 0 || d.Rebooted {
		t.Errorf("the node %q, sockets %+v, doubts %q", factLines(d.Node), d.Sockets, d.Doubts)
	}
	got := map[string][]string{}
	for _, c := range d.Containers {
		got[string(c.Change)+" "+c.Name+" "+string(c.Kind)] = factLines(c.Facts)
	}
	want := []string{
		"changed default/pod-no-caps/app container", "changed default/pod-with-limits/app container",
		"gone default/pod-diff sandbox", "new default/pod-default-caps/app container",
	}
	if names := sortedKeys(got); !slices.Equal(names, want) {
		t.Errorf("containers %q\nwant %q", names, want)
	}
	for _, line := range got[want[0]] {
		if !strings.HasPrefix(line, "in force processes.beyond +") || !strings.Contains(line, "CAP_SYS_ADMIN") {
			t.Errorf("a process with more capabilities is told as %q", line)
		}
	}
	limits := got[want[1]]
	if !slices.ContainsFunc(limits, func(l string) bool {
		return strings.HasPrefix(l, "in force cgroup.memory.max ") && strings.HasSuffix(l, " > 100663296")
	}) ||
		slices.ContainsFunc(limits, func(l string) bool { return !strings.Contains(l, " cgroup.") }) {
		t.Errorf("the limit is told as %q", limits)
	}
	for _, f := range d.Findings {
		name := f.Subject.String()
		known := f.Change == audit.FindingNew && (name == "default/pod-default-caps/app" || name == "default/pod-no-caps/app") ||
			f.Change == audit.FindingGone && name == "default/pod-diff (sandbox)" ||
			name == "default/pod-with-limits/app" // limits that differ from the declared ones
		if !known {
			t.Errorf("%s %s of %s", f.Change, f.Rule, name)
		}
	}
	if !slices.ContainsFunc(d.Findings, func(f findingChange) bool { return f.Worse && f.Subject.Name == "default/pod-no-caps/app" }) {
		t.Error("no finding about the process with more capabilities")
	}
}

// sortedKeys returns the keys of a map.
func sortedKeys[V any](m map[string]V) []string {
	var list []string
	for key := range m {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// extraPod makes a pod that the lab has not, without containers, and returns its id.
func extraPod(t *testing.T) string {
	t.Helper()
	var status struct {
		Info struct{ Config map[string]any }
	}
	first := strings.Fields(crictl(t, "pods", "-q", "--name", "^pod-default-caps$"))[0]
	if err := json.Unmarshal([]byte(crictl(t, "inspectp", first)), &status); err != nil {
		t.Fatal(err)
	}
	config := status.Info.Config
	config["metadata"] = map[string]any{"name": "pod-diff", "namespace": "default", "uid": "00000000-0000-4000-8000-00000000d1ff"}
	config["hostname"] = "pod-diff"
	delete(config, "labels")
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pod.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	id := crictl(t, "runp", file)
	t.Cleanup(func() { _ = exec.Command("crictl", "rmp", "-f", id).Run() })
	return id
}

// execWithCapabilities runs a program in a container with more than the container has, until the test ends.
func execWithCapabilities(t *testing.T, pod string) {
	t.Helper()
	id := strings.Fields(crictl(t, "ps", "-q", "--no-trunc", "--label", "io.kubernetes.pod.name="+pod))[0]
	session := exec.Command("runc", "--root", filepath.Join(os.Getenv("RTINSPECT_LAB"), "runc", "k8s.io"),
		"exec", "--cap", "CAP_SYS_ADMIN", id, "sleep", "87019")
	session.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	pid := ""
	t.Cleanup(func() {
		if pid != "" {
			_ = exec.Command("kill", "-KILL", pid).Run()
		}
		_ = session.Wait() // when runc ends, its process is reaped: the next test must not find it
	})
	for range 1000 {
		for line := range strings.Lines(whole(t, "top", id, "-o", "go-template={{range .processes.value.list}}{{.pid}} {{.args.value}}\n{{end}}")) {
			if strings.Contains(line, "87019") {
				pid, _, _ = strings.Cut(line, " ")
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the program did not start")
}
