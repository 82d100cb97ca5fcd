// Package archtest holds the design's arrows: which package of this module may import which.
//
// It has no code outside its test. The test reads the import clauses of every source file, under every build tag, rather than
// asking the go command: files that a test opens inside the module are part of its cache key, so a cached result never outlives a
// changed import.
package archtest

import (
	"errors"
	"fmt"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/rtinspect/rtinspect"

// A rule says what a package may import, besides the standard library.
type rule struct {
	own    []string // packages of this module, as paths below it
	others []string // packages of other modules; nil allows any that no other rule denies
	deny   []string // import paths denied with all below them, or alone with a $ at the end; of the standard library too
}

var (
	none    = []string{} // no package of another module
	kernel  = []string{"golang.org/x/sys/unix"}
	leaves  = []string{"caps", "nsdiff", "cgroup"}
	command = []string{"flag", "github.com/urfave/cli"}
	logging = []string{"log", "github.com/sirupsen/logrus", "github.com/containerd/log"}
	grpc    = []string{"google.golang.org/grpc"}
	running = []string{"os/exec"}

	library = slices.Concat(command, logging, running)
)

// rules has one entry for each package that the design names; one ending in /... stands for every package below it. A package
// that is missing here fails the test: a new package is a change of the design.
var rules = map[string]rule{
	"caps":   {own: []string{"internal/procfs"}, others: append(kernel, "github.com/moby/sys/capability"), deny: library},
	"nsdiff": {own: []string{"internal/procfs"}, others: kernel, deny: library},
	"cgroup": {own: []string{"internal/procfs"}, others: kernel, deny: library},
	"events": {own: append(leaves, "inspect", "inspect/audit", "internal/runtimeapi"), deny: slices.Concat(library, grpc)},
	"inspect": {
		own:  append(leaves, "internal/procfs", "internal/runtimeapi"),
		deny: slices.Concat(library, grpc),
	},
	"inspect/audit": {
		own:    append(leaves, "inspect"),
		others: []string{"go.yaml.in/yaml/v3"},                       // baselines, whose mistakes have lines
		deny:   append(library, "os", "syscall", "net$", "net/http"), // judging never reads
	},
	"internal/procfs":     {others: kernel, deny: library},
	"internal/runtimeapi": {deny: library},
	"cmd/rtinspect":       {own: append(leaves, "events", "inspect", "inspect/audit"), deny: slices.Concat(logging, running, grpc)},
	"examples/...":        {own: append(leaves, "events", "inspect", "inspect/audit"), deny: slices.Concat(running, grpc)},
	"internal/archtest":   {others: none},

	// A runtime that misbehaves, for tests: no entry names it as its own, so only tests may import it.
	"internal/fakeruntime": {deny: library},
}

// reach says what a package may depend on through packages of this module. The other modules that a leaf may import have no
// dependencies beyond golang.org/x/sys, so a leaf is free of gRPC, protobuf and the command line all the way down.
var reach = map[string][]string{
	"caps":            append(kernel, "github.com/moby/sys/capability"),
	"nsdiff":          kernel,
	"cgroup":          kernel,
	"internal/procfs": kernel,
}

func TestImports(t *testing.T) {
	graph, err := load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range check(graph) {
		t.Error(problem)
	}
}

// TestCheck shows that the check sees what it is there for.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		graph map[string][]string
		want  []string
	}{
		{"as designed", map[string][]string{
			"caps":                {"fmt", "golang.org/x/sys/unix", module + "/internal/procfs"},
			"internal/procfs":     {"os", "golang.org/x/sys/unix"},
			"inspect":             {module + "/caps", module + "/internal/runtimeapi"},
			"internal/runtimeapi": {"google.golang.org/grpc"},
			"cmd/rtinspect":       {module + "/inspect", "github.com/urfave/cli/v2"},
			"examples/caps":       {"log", module + "/caps"},
		}, nil},
		{"unknown package", map[string][]string{"utils": nil}, []string{"package utils is not in the design: see rules in internal/archtest"}},
		{"examples is no package", map[string][]string{"examples": nil}, []string{"package examples is not in the design: see rules in internal/archtest"}},
		{"leaf imports leaf", map[string][]string{"caps": {module + "/cgroup"}}, []string{"package caps may not import " + module + "/cgroup"}},
		{"leaf imports gRPC", map[string][]string{"nsdiff": {"google.golang.org/grpc/codes"}}, []string{"package nsdiff may not import google.golang.org/grpc/codes"}},
		{"leaf reaches protobuf", map[string][]string{
			"caps":            {module + "/internal/procfs"},
			"internal/procfs": {"google.golang.org/protobuf/proto"},
		}, []string{
			"package caps may not depend on google.golang.org/protobuf/proto",
			"package internal/procfs may not import google.golang.org/protobuf/proto",
		}},
		{"second gRPC", map[string][]string{"inspect": {"google.golang.org/grpc"}}, []string{"package inspect may not import google.golang.org/grpc"}},
		{"audit reads", map[string][]string{"inspect/audit": {"os"}}, []string{"package inspect/audit may not import os"}},
		{"command reaches inside", map[string][]string{"cmd/rtinspect": {module + "/internal/procfs"}}, []string{"package cmd/rtinspect may not import " + module + "/internal/procfs"}},
		{"example reaches inside", map[string][]string{"examples/x": {module + "/internal/procfs"}}, []string{"package examples/x may not import " + module + "/internal/procfs"}},
		{"library logs", map[string][]string{"caps": {"log/slog"}}, []string{"package caps may not import log/slog"}},
		{"the fake outside of tests", map[string][]string{"inspect": {module + "/internal/fakeruntime"}}, []string{"package inspect may not import " + module + "/internal/fakeruntime"}},
		{"import of the root", map[string][]string{"caps": {module}}, []string{"package caps may not import " + module}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := check(tt.graph); !slices.Equal(got, tt.want) {
				t.Errorf("problems:\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestReach(t *testing.T) {
	graph := map[string][]string{
		"caps": {module + "/internal/procfs"}, "internal/procfs": {module + "/deep"}, "deep": {"google.golang.org/grpc", "os"},
	}
	if got, want := reached(graph, "caps"), []string{"google.golang.org/grpc"}; !slices.Equal(got, want) {
		t.Errorf("caps reaches %q, want %q", got, want)
	}
}

// load returns the import paths of every package below root, keyed by its path below root. It leaves out tests, testdata, files
// tagged ignore, and folders that are a module of their own.
func load(root string) (map[string][]string, error) {
	graph := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == root {
				return nil
			}
			base := entry.Name()
			if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return fs.SkipDir
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		if filepath.Ext(name) != ".go" || strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") {
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(folder)
		if strings.HasSuffix(name, "_test.go") {
			graph[pkg] = slices.Clip(graph[pkg]) // a package of tests alone is one too
			return nil
		}
		imports, err := importsOf(name)
		if err != nil {
			return err
		}
		graph[pkg] = append(graph[pkg], imports...)
		return nil
	})
	return graph, err
}

// importsOf returns the import paths of a source file, none for one tagged ignore.
func importsOf(name string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if !constraint.IsGoBuild(comment.Text) {
				continue
			}
			expr, err := constraint.Parse(comment.Text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if tag, ok := expr.(*constraint.TagExpr); ok && tag.Tag == "ignore" {
				return nil, nil
			}
		}
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// check returns what in graph breaks the rules, in a stable order.
func check(graph map[string][]string) []string {
	var problems []string
	for _, pkg := range slices.Sorted(maps.Keys(graph)) {
		rule, ok := ruleFor(pkg)
		if !ok {
			problems = append(problems, fmt.Sprintf("package %s is not in the design: see rules in internal/archtest", pkg))
			continue
		}
		bad := map[string]bool{}
		for _, imported := range graph[pkg] {
			if !rule.allows(imported) {
				bad[imported] = true
			}
		}
		for _, imported := range slices.Sorted(maps.Keys(bad)) {
			problems = append(problems, fmt.Sprintf("package %s may not import %s", pkg, imported))
		}
		allowed, ok := reach[pkg]
		if !ok || len(bad) != 0 {
			continue
		}
		for _, other := range reached(graph, pkg) {
			if !slices.Contains(allowed, other) {
				problems = append(problems, fmt.Sprintf("package %s may not depend on %s", pkg, other))
			}
		}
	}
	return problems
}

func ruleFor(pkg string) (rule, bool) {
	if r, ok := rules[pkg]; ok {
		return r, true
	}
	for dir := path.Dir(pkg); dir != "."; dir = path.Dir(dir) {
		if r, ok := rules[dir+"/..."]; ok {
			return r, true
		}
	}
	return rule{}, false
}

func (r rule) allows(imported string) bool {
	for _, denied := range r.deny {
		if alone, ok := strings.CutSuffix(denied, "$"); ok && imported == alone || !ok && within(imported, denied) {
			return false
		}
	}
	switch {
	case within(imported, module):
		return slices.Contains(r.own, strings.TrimPrefix(imported, module+"/"))
	case standard(imported):
		return true
	default:
		return r.others == nil || slices.Contains(r.others, imported)
	}
}

// reached returns the packages of other modules that pkg imports, directly or through packages of this module, sorted.
func reached(graph map[string][]string, pkg string) []string {
	others, seen := map[string]bool{}, map[string]bool{pkg: true}
	for todo := []string{pkg}; len(todo) != 0; {
		current := todo[0]
		todo = todo[1:]
		for _, imported := range graph[current] {
			switch below, own := strings.CutPrefix(imported, module+"/"); {
			case own:
				if !seen[below] {
					seen[below] = true
					todo = append(todo, below)
				}
			case !standard(imported):
				others[imported] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(others))
}

// within reports whether an import path is parent or stands below it.
func within(imported, parent string) bool {
	return imported == parent || strings.HasPrefix(imported, parent+"/")
}

// standard reports whether an import path is of the standard library: its first element has no dot. Cgo counts as another module's.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return first != "C" && !strings.Contains(first, ".")
}
