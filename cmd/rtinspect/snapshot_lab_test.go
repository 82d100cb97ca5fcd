package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// securityfs is what is unknown of the node where securityfs is not mounted, and is no fault of the snapshot's.
var securityfs = regexp.MustCompile(`(?m)^rtinspect: node: (lsms|lockdown): .*\n`)

// labSnapshot records the lab and returns the file, without anything unknown but for securityfs.
func labSnapshot(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	run(append([]string{"snapshot"}, args...), strings.NewReader(""), &stdout, &stderr)
	if rest := securityfs.ReplaceAllString(stderr.String(), ""); rest != "" {
		t.Fatalf("stderr\n%s", rest)
	}
	file := filepath.Join(t.TempDir(), "node.json")
	if err := os.WriteFile(file, stdout.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// volatile are the keys of what another reading finds changed.
var volatile = []string{"current", "swapCurrent", "memorySwapCurrent", "peak", "maxEvents", "oom", "oomKill", "usage", "usageUsec", "periods", "throttled", "throttledUsec", "stat", "pressure"}

// stable returns a JSON document without what is volatile.
func stable(t *testing.T, document []byte) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	var strip func(any)
	strip = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			maps.DeleteFunc(v, func(key string, _ any) bool { return slices.Contains(volatile, key) })
			for _, item := range v {
				strip(item)
			}
		case []any:
			for _, item := range v {
				strip(item)
			}
		}
	}
	strip(value)
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLabRecorded: every command answers from a snapshot as it does live.
func TestLabRecorded(t *testing.T) {
	labManifests(t)
	file := labSnapshot(t)
	socket := strings.TrimPrefix(os.Getenv("CONTAINER_RUNTIME_ENDPOINT"), "unix://") // others may come and go
	id := strings.TrimSpace(whole(t, "inspect", "-q", "pod-selective-caps"))
	for _, args := range [][]string{
		{"ps"},
		{"ps", "-a", "-o", "wide"},
		{"ps", "-o", "json"},
		{"ps", "-q"},
		{"pods"},
		{"pods", "-o", "json"},
		{"inspect", "pod-hardened"},
		{"inspect", "-q"},
		{"inspect", "pod-oom"},
		{"inspect", "team-a/pod-two-containers/app", "-o", "wide"},
		{"caps"},
		{"caps", id[:13]},
		{"caps", "-o", "json"},
		{"caps", "pod-privileged", "--default", "cri-o"},
		{"ns"},
		{"ns", "pod-host-ns"},
		{"ns", "-o", "json"},
		{"cgroup", "-o", "json"},
		{"inspect", "-o", "json"},
		// Not pod-suspicious, whose shell starts another process each minute.
		{"top", "-o", "json", "pod-privileged", "pod-shared-pid/app", "pod-default-ns"},
		{"top", "-q", "pod-privileged", "pod-shared-pid/app"},
		{"top", "pod-host-ns"},
		{"audit"},
		{"audit", "-o", "wide", "--severity", "info"},
		{"audit", "pod-privileged", "pod-hardened", "--exit-code"},
		{"sockets", socket},
		{"sockets", socket, "-o", "json"},
	} {
		if os.Getenv("RTINSPECT_VM") != "" && !slices.Contains(args, "json") {
			continue // what is shown of it is the same on every kernel
		}
		var live, liveErr, recorded, recordedErr bytes.Buffer
		liveStatus := run(args, strings.NewReader(""), &live, &liveErr)
		status := run(append(args, "--snapshot", file), strings.NewReader(""), &recorded, &recordedErr)
		was, is := live.String(), recorded.String()
		if slices.Contains(args, "json") {
			was, is = stable(t, live.Bytes()), stable(t, recorded.Bytes())
		}
		if status != liveStatus || was != is || liveErr.String() != recordedErr.String() || live.Len() == 0 {
			t.Errorf("%q: live status %d, recorded %d, from the first difference on\n%s\n%s",
				args, liveStatus, status, parting(was+liveErr.String(), is+recordedErr.String()), parting(is+recordedErr.String(), was+liveErr.String()))
		}
	}
}

// parting returns the first lines of text that are not in other.
func parting(text, other string) string {
	const most = 10
	lines, others := strings.Split(text, "\n"), strings.Split(other, "\n")
	n := 0
	for n < min(len(lines), len(others)) && lines[n] == others[n] {
		n++
	}
	return strings.Join(lines[n:min(n+most, len(lines))], "\n")
}

// TestLabSnapshotKeepsItself: a snapshot that is read is written as it was, and holds no secret, and no
// arguments when they are not wanted.
func TestLabSnapshotKeepsItself(t *testing.T) {
	labManifests(t)
	file := labSnapshot(t)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if own := "/proc/" + strconv.Itoa(os.Getpid()) + "/"; bytes.Contains(data, []byte(own)) {
		t.Errorf("%s, which is ourselves, is in the snapshot: the next one will be another", own)
	}
	var again, stderr bytes.Buffer
	run([]string{"snapshot", "--snapshot", "-"}, bytes.NewReader(data), &again, &stderr)
	if again.String() != string(data) {
		t.Errorf("%d bytes were read, other %d bytes written", len(data), again.Len())
	}
	if strings.Contains(string(data), "not-a-real-token") {
		t.Error("a secret is in the snapshot")
	}
	without, err := os.ReadFile(labSnapshot(t, "--redact-args"))
	if err != nil {
		t.Fatal(err)
	}
	arguments := regexp.MustCompile(`"httpd",\s*"-f"`) // of pod-hardened
	if !arguments.Match(data) || arguments.Match(without) || !bytes.Contains(without, []byte(`"httpd"`)) {
		t.Error("arguments are in the snapshot with --redact-args, or never were, or the program is not")
	}
}
