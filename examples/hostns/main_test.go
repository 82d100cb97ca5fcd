package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

func TestLabHostns(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	var b bytes.Buffer
	if err := list(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	var of []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, `"default/pod-`) {
			of = append(of, line)
		}
	}
	if got, want := strings.Join(of, ""), "\"default/pod-host-ns/app\" ipc net pid uts\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
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
