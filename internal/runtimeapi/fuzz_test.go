package runtimeapi

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// FuzzParseVerbose: what was read, written in CRI-O's form, is read again.
func FuzzParseVerbose(f *testing.F) {
	for _, info := range []string{
		"", "null", "{}", "[", `{"pid":1}`, `{"pid":"1"}`, `{"pid":-1}`, `{"pid":1e3}`, `{"PID":4,"pid":5}`, `{"runtimeSpec":null}`,
		fakeruntime.CRIOInfo(42, fakeruntime.Spec("/a")), fakeruntime.CRIOSandboxInfo(42, "{}"), fakeruntime.CRIOSpoofedInfo("{}"),
		`{"pid":1,"runtimeSpec":{"a":[1,2.50,"\ud800"]},"privileged":true}`,
	} {
		f.Add(info)
	}
	f.Fuzz(func(t *testing.T, info string) {
		v, err := parseVerbose(info)
		if err != nil {
			if v.PID != nil || v.Spec != nil || v.Privileged != nil {
				t.Fatalf("%q: %+v with the error %v", info, v, err)
			}
			return
		}
		if v.Spec != nil && !json.Valid(v.Spec) {
			t.Fatalf("%q: specification %q", info, v.Spec)
		}
		text, err := json.Marshal(map[string]any{"pid": v.PID, "runtimeSpec": json.RawMessage(v.Spec), "privileged": v.Privileged})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseVerbose(string(text))
		if err != nil || !same(v.PID, again.PID) || !same(v.Privileged, again.Privileged) {
			t.Fatalf("%q: %+v, %v; want %+v", text, again, err, v)
		}
		if !sameJSON(t, v.Spec, again.Spec) {
			t.Fatalf("specification %q, want %q", again.Spec, v.Spec)
		}
	})
}

func same[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	if (a == nil) != (b == nil) || a == nil {
		return (a == nil) == (b == nil)
	}
	var x, y bytes.Buffer
	if err := json.Compact(&x, a); err != nil {
		t.Fatal(err)
	}
	if err := json.Compact(&y, b); err != nil {
		t.Fatal(err)
	}
	// Marshaling escapes <, >, & and line separators.
	var escaped bytes.Buffer
	json.HTMLEscape(&escaped, x.Bytes())
	return bytes.Equal(escaped.Bytes(), y.Bytes())
}

// FuzzParseCrictlConfig: an endpoint that was read, written again, is read
// again, and an error names the file.
func FuzzParseCrictlConfig(f *testing.F) {
	for _, config := range []string{
		"", "runtime-endpoint: unix:///run/crio/crio.sock\n", `runtime-endpoint: "unix:///a\x20b"`, "runtime-endpoint: [a]",
		"runtime-endpoint: 5", "runtime-endpoint:", "\t", "a: &a [*a]", "runtime-endpoint: a\nruntime-endpoint: b\n", "- a",
		"Runtime-Endpoint: a", "{runtime-endpoint: x}", "--- \n...\n--- a\n", "? a\n: b", "<<: {runtime-endpoint: a}",
	} {
		f.Add([]byte(config))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		endpoint, err := parseCrictlConfig("/etc/crictl.yaml", config)
		if err != nil {
			if endpoint != "" || !strings.HasPrefix(err.Error(), "/etc/crictl.yaml: ") {
				t.Fatalf("%q with the error %q", endpoint, err)
			}
			return
		}
		text, err := yaml.Marshal(map[string]string{"runtime-endpoint": endpoint})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseCrictlConfig("/etc/crictl.yaml", text)
		if err != nil || again != endpoint {
			t.Fatalf("%q: %q, %v; want %q", text, again, err, endpoint)
		}
		path, err := socketPath(endpoint)
		if err == nil && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
			t.Fatalf("%q: path %q", endpoint, path)
		}
		if err == nil {
			if again, err := socketPath("unix://" + path); err != nil || again != path {
				t.Fatalf("%q: %q, %v", path, again, err)
			}
		}
	})
}
