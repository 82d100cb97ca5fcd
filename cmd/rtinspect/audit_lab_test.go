package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect/audit"
)

// worstOf returns the highest severity that audit finds for a container of the lab.
func worstOf(t *testing.T, ref string) audit.Severity {
	t.Helper()
	var answer struct {
		Findings []struct {
			Severity audit.Severity `json:"severity"`
			Verdict  audit.Verdict  `json:"verdict"`
			Subject  audit.Subject  `json:"subject"`
		} `json:"findings"`
	}
	if err := json.Unmarshal([]byte(whole(t, "audit", ref, "--severity", "info", "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Findings) == 0 {
		t.Fatalf("%s: nothing found", ref)
	}
	for _, f := range answer.Findings {
		if f.Verdict != audit.Fail || !strings.Contains(f.Subject.Name, ref) {
			t.Errorf("%s: a finding is %s, about %s", ref, f.Verdict, f.Subject.Name)
		}
	}
	return answer.Findings[0].Severity
}

// TestLabAudit: what the lab's worst pods let out is critical, also when it is the socket's folder only, and the hardened one has
// nothing above low. The exit status says so.
func TestLabAudit(t *testing.T) {
	labManifests(t)
	for ref, want := range map[string]audit.Severity{
		"pod-privileged": audit.Critical, "pod-host-ns": audit.Critical, "pod-socket-mounted": audit.Critical,
		"pod-socket-folder": audit.Critical, "pod-hardened": audit.Low,
	} {
		if got := worstOf(t, ref); got != want {
			t.Errorf("%s: the worst is %s, want %s", ref, got, want)
		}
	}
	for ref, want := range map[string]int{"pod-privileged": statusFindings, "pod-hardened": statusWhole} {
		var stdout, stderr bytes.Buffer
		if status := run([]string{"audit", ref, "--exit-code"}, strings.NewReader(""), &stdout, &stderr); status != want {
			t.Errorf("%s: status %d, want %d\n%s", ref, status, want, &stderr)
		}
	}
}

// TestLabAuditKernel: without a runtime, what the kernel tells is judged, and what is unknown is no clean answer.
func TestLabAuditKernel(t *testing.T) {
	labManifests(t)
	id := strings.TrimSpace(whole(t, "inspect", "-q", "pod-privileged"))
	var stdout, stderr bytes.Buffer
	status := run([]string{"audit", "-r", "none", id}, strings.NewReader(""), &stdout, &stderr)
	if status != statusIncomplete || !strings.Contains(stderr.String(), "verdicts are unknown") {
		t.Errorf("status %d, want %d\n%s", status, statusIncomplete, &stderr)
	}
	for _, want := range []string{"critical   privileged ", " rules ", "unknown: "} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}
