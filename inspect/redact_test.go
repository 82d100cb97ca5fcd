package inspect

import (
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
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

// TestDeclareRedacts: secrets of a specification go before anything is taken
// from it, unless they are wanted.
func TestDeclareRedacts(t *testing.T) {
	spec := []byte(`{"process":{"env":["TOKEN=hunter2"]},"mounts":[{"type":"cifs","options":["password=hunter2"]}]}`)
	for _, shown := range []bool{false, true} {
		i := &Inspector{options: Options{ShowSecrets: shown}}
		f := &listed{record: &runtimeapi.Container{Spec: spec}}
		i.declare(&Report{}, f, Fact[caps.Set]{})
		s, err := f.declared()
		if err != nil {
			t.Fatal(err)
		}
		want := "=" + redacted
		if shown {
			want = "=hunter2"
		}
		if got := s.Process.Env[0] + " " + s.Mounts[0].Options[0]; got != "TOKEN"+want+" password"+want {
			t.Errorf("ShowSecrets %v: %s", shown, got)
		}
	}
}
