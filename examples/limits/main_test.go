package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

func TestLabLimits(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	var b bytes.Buffer
	if err := list(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	var all []container
	if err := json.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"default/pod-with-limits/app": "container 134217728, container 50000 100000",
		"default/pod-no-limits/app":   "machine, machine",
	} {
		i := slices.IndexFunc(all, func(c container) bool { return c.Name == name })
		if i < 0 || all[i].Limits == nil {
			t.Errorf("%s is not in\n%s", name, &b)
			continue
		}
		memory, _ := all[i].Limits.Memory.Value()
		cpu, _ := all[i].Limits.CPU.Value()
		if got := setBy(memory) + ", " + setBy(cpu); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// setBy shows a level, with its limit unless that is the machine's.
func setBy[T fmt.Stringer](level cgroup.Level[T]) string {
	limit, ok := level.Limit.Value()
	if level.Kind == cgroup.KindMachine && ok {
		return "machine"
	}
	return string(level.Kind) + " " + limit.String()
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
