package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

func TestLabListcaps(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	var b bytes.Buffer
	if err := list(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^"default/pod-default-caps/app" 00000000a80425fb CAP_CHOWN,.*,CAP_SETFCAP$`,
		`(?m)^"default/pod-no-caps/app" 0000000000000000 none$`,
		`(?m)^"default/pod-selective-caps/app" 0000000000000400 CAP_NET_BIND_SERVICE$`,
	} {
		if !regexp.MustCompile(want).Match(b.Bytes()) {
			t.Errorf("want %s in\n%s", want, &b)
		}
	}
}

func TestNoRuntime(t *testing.T) {
	t.Setenv(inspect.EndpointVariable, "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	var b bytes.Buffer
	if err := list(t.Context(), &b); !errors.Is(err, inspect.ErrNoRuntime) || b.Len() > 0 {
		t.Errorf("%v, output %q", err, &b)
	}
}

// TestShort: it is an example.
func TestShort(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), "\n"); n >= 60 {
		t.Errorf("%d lines, want fewer than 60", n)
	}
}
