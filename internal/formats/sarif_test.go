package formats

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaOf returns the schema of SARIF 2.1.0 as OASIS published it. go-sarif has it in its source.
func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	pkg, err := build.Import("github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "schema" {
			text, err = strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		}
		return true
	})
	if err != nil || text == "" {
		t.Fatalf("no schema in %s: %v", pkg.Dir, err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	const name = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	if id := document.(map[string]any)["id"]; id != name {
		t.Fatalf("it is the schema %v", id)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(document)
}

// program builds rtinspect.
func program(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rtinspect")
	cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs,grpcnotrace", "-o", name, "./cmd/rtinspect")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return name
}

// recorded unpacks a recorded node.
func recorded(t *testing.T, version string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "inspect", "audit", "testdata", "lab-"+version+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// node is a snapshot of little.
func node(containers, missing string) []byte {
	return []byte(`{"version": 1, "time": "2026-01-02T03:04:05Z", "node": {}, "containers": [` + containers + `], "missing": [` + missing +
		`], "sockets": [], "missingSockets": []}`)
}

// TestSARIF: what rtinspect writes is valid, and another program reads as much of it as there is.
func TestSARIF(t *testing.T) {
	schema := schemaOf(t)
	rtinspect := program(t)
	evil := recorded(t, "2.4")
	for _, name := range []string{"pod-host-ns", "pod-socket-mounted", "default"} {
		evil = bytes.ReplaceAll(evil, []byte(name), []byte(`</script>'\"{0}[a](b)\u0000\u202e\ufffe%2e/../x y#?`))
	}
	for name, tc := range map[string]struct {
		node  []byte
		args  []string
		least int
	}{
		"2.4":      {recorded(t, "2.4"), []string{"--severity", "info"}, 100},
		"1.6":      {recorded(t, "1.6"), nil, 100},
		"one":      {recorded(t, "2.4"), []string{"pod-host-ns", "nowhere", "--rule", "privileged,path-host-process"}, 2},
		"evil":     {evil, nil, 100},
		"nothing":  {node(``, ``), []string{"--rule", "privileged"}, 0},
		"unknown":  {node(`{"id": "a", "name": "a", "kind": "container"}`, `"\u001b[2J"`), nil, 50},
		"nameless": {node(`{"id": "../..", "kind": "container"}`, ``), nil, 50},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(rtinspect, append([]string{"audit", "--snapshot", "-", "-o", "sarif"}, tc.args...)...)
			cmd.Stdin = bytes.NewReader(tc.node)
			data, err := cmd.Output()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 1 || err != nil && exit == nil {
				t.Fatalf("%v\n%s", err, exit.Stderr)
			}
			if err := validate(t, schema, data); err != nil {
				t.Errorf("%#v", err)
			}
			report, err := sarif.FromBytes(data)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(report.Runs[0].Results); got < tc.least || tc.least == 0 && got > 0 {
				t.Errorf("%d results, want %d or more", got, tc.least)
			}
		})
	}
}

// TestSchemaIsUsed: it finds fault with what is none.
func TestSchemaIsUsed(t *testing.T) {
	schema := schemaOf(t)
	for _, text := range []string{
		`{}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": null}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "x"}, "kind": "unknown"}]}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x", "nope": 1}}}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x", "rules": [{"id": "a", "properties": {"tags": ["a", "a"]}}]}}}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x", "informationUri": "no uri"}}}]}`,
	} {
		if !json.Valid([]byte(text)) || validate(t, schema, []byte(text)) == nil {
			t.Errorf("valid: %s", text)
		}
	}
}
