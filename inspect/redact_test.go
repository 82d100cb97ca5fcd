package inspect

import (
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestRedactNamed(t *testing.T) {
	given := map[string]string{
		manifestKey:                       `{"env":[{"name":"TOKEN","value":"hunter2"}]}`,
		"io.kubernetes.cri-o.Annotations": `{"` + manifestKey + `":"hunter2"}`,
		"example.com/db-password":         "hunter2",
		"example.com/API-Key":             "hunter2",
		"app.kubernetes.io/name":          "token-service",
		"io.kubernetes.pod.name":          "secret-keeper",
	}
	before := maps.Clone(given)
	got := redactNamed(given)
	for name, want := range map[string]string{
		manifestKey: redacted, "io.kubernetes.cri-o.Annotations": redacted, "example.com/db-password": redacted,
		"example.com/API-Key": redacted, "app.kubernetes.io/name": "token-service", "io.kubernetes.pod.name": "secret-keeper",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if !maps.Equal(given, before) {
		t.Error("the given map was changed")
	}
	if redactNamed(nil) != nil {
		t.Error("no labels became some")
	}
}

func TestRedactMounts(t *testing.T) {
	mounts := []specs.Mount{{Options: []string{"ro", "password=hunter2", "pass=hunter2", "secret=hunter2", "user=me", "credentials=/etc/c"}}}
	redactMounts(mounts)
	want := []string{"ro", "password=<redacted>", "pass=<redacted>", "secret=<redacted>", "user=me", "credentials=<redacted>"}
	if !slices.Equal(mounts[0].Options, want) {
		t.Errorf("%q", mounts[0].Options)
	}
}
