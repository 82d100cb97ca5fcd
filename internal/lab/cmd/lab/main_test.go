package main

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// A wrong command line is refused on stderr before anything is started.
func TestUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "want a command"},
		{"foo", `no command "foo"`},
		{"run", "want -- CMD"},
		{"run --runtime 3 -- true", `no runtime "3": want 1.6 or 2.4`},
		{"run --pods nope -- true", `no pod "nope": want some of pod-added-caps,`},
		{"run --scale 3 -- true", `scale "3": want PODSxCONTAINERS`},
		{"run --scale 0x3 -- true", "scale"},
		{"run --scale 3x3x3 -- true", "scale"},
		{"run --exec-tools nerdctl -- true", `no tool "nerdctl": want crictl`},
		{"run --nope -- true", "not defined: -nope"},
		{"up extra", "unexpected"},
		{"down extra", "unexpected"},
		{"down --runtime 1.6", "not defined: -runtime"},
		{"install nerdctl", "no tool"},
		{"install gvisor", "gvisor: want --runtime 2.4"},
		{"run --gvisor -- true", "gvisor: want --runtime 2.4"},
		{"run --runtime 1.6 --pods pod-cgroup-writable -- true", "pod pod-cgroup-writable is of the runtime class cgroup-writable: want --runtime 2.4"},
		{"run --runtime 2.4 --pods pod-no-caps,pod-gvisor -- true", "pod pod-gvisor is of the runtime class gvisor: want --gvisor"},
		{"status --name x", "not defined"},
		{"vm", "want -- CMD"},
		{"vm --kernel 2.6 -- true", `no kernel "2.6": want 5.10 or 6.1`},
		{"install --kernel 2.6 vm", `no kernel "2.6": want 5.10 or 6.1`},
		{"vm --memory 3 -- true", `memory "3": want a size`},
		{"vm --timeout 0s -- true", "timeout 0s"},
		{"vm --timeout 5 -- true", "invalid value"},
	} {
		var stdout, stderr bytes.Buffer
		status := run(strings.Fields(test.args), nil, &stdout, &stderr)
		if status != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("lab %s: status %d, stdout %q, stderr %q, want %q", test.args, status, &stdout, &stderr, test.want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"help", "--help", "-help", "run --help"} {
		var stdout, stderr bytes.Buffer
		if status := run(strings.Fields(args), nil, &stdout, &stderr); status != exitOK || stdout.String() != usage || stderr.Len() > 0 {
			t.Errorf("lab %s: status %d, stdout %q, stderr %q", args, status, &stdout, &stderr)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -TERM $$": 143} {
		got, err := exitStatus(exec.Command("sh", "-c", script).Run())
		if got != want || err != nil {
			t.Errorf("%s: got %d, %v", script, got, err)
		}
	}
	if _, err := exitStatus(errors.New("not started")); err == nil {
		t.Error("an error that is no exit status got lost")
	}
}

func TestQuote(t *testing.T) {
	if got := quote("A=it's"); got != `A='it'\''s'` {
		t.Errorf("got %s", got)
	}
}
