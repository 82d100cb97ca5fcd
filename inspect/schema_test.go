package inspect_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/snapshot.md")

const schemaHead = `# The snapshot

<!-- Made from the Go types by go test ./inspect -run TestSchema -update. -->

` + "`rtinspect snapshot`" + ` writes one JSON object, a [Snapshot](#snapshot); ` + "`inspect.ReadSnapshot`" + ` reads it, and every command answers
from it with ` + "`--snapshot FILE`" + `. The answers of ` + "`ps`, `inspect`, `top`" + ` and the others with ` + "`-o json`" + ` are made of the same objects.

## What stays

` + "`version`" + ` is 1. Within a version a key keeps its name, its type, its unit and its meaning, and no key goes away; keys and values of
enumerations may be added, and a reader passes over those it does not know. Anything else is another version, which the
[changelog](../CHANGELOG.md) tells. A reader refuses a version it does not know.

Keys stand in a fixed order and arrays are sorted or in the kernel's order: what has not changed is written the same. Numbers are
exact in every reader of JSON: none is above 2^53, where larger ones are possible they are strings of digits. Times are RFC 3339
in UTC. Bytes that are no UTF-8, which a path or an argument may have, are U+FFFD.

Pids and the numbers of namespaces mean something within one boot only: compare ` + "`node.bootID`" + ` before you compare them.

## Facts

A fact is one of these objects:

| | |
|---|---|
| ` + "`" + `{"state": "known", "value": …, "source": "…"}` + "`" + ` | it was read; ` + "`source`" + ` is the path or the record, and may be missing |
| ` + "`" + `{"state": "absent", "reason": "…"}` + "`" + ` | there is no such thing here, for example in this kernel |
| ` + "`" + `{"state": "unknown", "cause": "…"}` + "`" + ` | it could not be read; ` + "`cause`" + ` has the path and the error |

Unknown is not false, not empty and not 0. A fact that is left out was not collected, which is unknown too.

## Secrets

These values are ` + "`<redacted>`" + `: those of environment variables; of labels and annotations whose names speak of a password, secret,
token, credential or key; of annotations that hold a copy of the pod's manifest, as kubectl leaves one
(` + "`kubectl.kubernetes.io/last-applied-configuration`" + `); of passwords in the options of declared mounts. Arguments of processes are
kept, for they tell what runs: with ` + "`--redact-args`" + ` all but the program are hidden. The names of containers, pods, images, files, mounts
and users are kept as well.

## Objects

A key is left out where its meaning says so. Names in a meaning are those of the Go fields.
`

// goType is a type of our packages.
type goType struct {
	pkg     string // as others name it, empty for package inspect
	spec    *ast.TypeSpec
	doc     string
	values  []string          // of an enumeration, as list items
	methods map[string]string // docs by name
}

func (g *goType) name() string { return qualify(g.pkg, g.spec.Name.Name) }

func qualify(pkg, name string) string {
	if pkg == "" {
		return name
	}
	return pkg + "." + name
}

// schema are the types by their names in package inspect.
type schema struct {
	types  map[string]*goType
	queue  []string // of types to describe, in the order they were met
	errors []string
}

func parseSchema(t *testing.T, folders ...string) *schema {
	t.Helper()
	s := &schema{types: map[string]*goType{}}
	var files []*ast.File
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	for _, f := range files {
		s.addTypes(f)
	}
	for _, f := range files {
		s.addValuesAndMethods(f)
	}
	return s
}

func pkgOf(f *ast.File) string {
	if f.Name.Name == "inspect" {
		return ""
	}
	return f.Name.Name
}

func (s *schema) addTypes(f *ast.File) {
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, sp := range decl.Specs {
			spec := sp.(*ast.TypeSpec)
			g := &goType{pkg: pkgOf(f), spec: spec, doc: spec.Doc.Text(), methods: map[string]string{}}
			if g.doc == "" {
				g.doc = decl.Doc.Text()
			}
			s.types[g.name()] = g
		}
	}
}

func (s *schema) addValuesAndMethods(f *ast.File) {
	for _, d := range f.Decls {
		switch decl := d.(type) {
		case *ast.FuncDecl:
			if decl.Recv != nil {
				if g := s.types[qualify(pkgOf(f), receiver(decl.Recv.List[0].Type))]; g != nil {
					g.methods[decl.Name.Name] = decl.Doc.Text()
				}
			}
		case *ast.GenDecl:
			for _, sp := range decl.Specs {
				if value, ok := sp.(*ast.ValueSpec); ok && decl.Tok == token.CONST {
					s.addValue(f, value)
				}
			}
		}
	}
}

// addValue keeps a constant of an enumeration of texts.
func (s *schema) addValue(f *ast.File, value *ast.ValueSpec) {
	typ, ok := value.Type.(*ast.Ident)
	if !ok || len(value.Values) != 1 {
		return
	}
	text, ok := value.Values[0].(*ast.BasicLit)
	g := s.types[qualify(pkgOf(f), typ.Name)]
	if g == nil || !ok || text.Kind != token.STRING {
		return
	}
	name, _ := strconv.Unquote(text.Value)
	meaning := oneLine(cmp.Or(value.Doc.Text(), value.Comment.Text()))
	for _, start := range []string{value.Names[0].Name + ": ", value.Names[0].Name + " "} {
		meaning = strings.TrimPrefix(meaning, start)
	}
	item := "`" + name + "`"
	if meaning != "" {
		item += ": " + meaning
	}
	g.values = append(g.values, item)
}

func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// words says in words what a type is in JSON, with links to what is described.
func (s *schema) words(pkg string, expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return s.words(pkg, e.X)
	case *ast.ArrayType:
		return "array of " + s.words(pkg, e.Elt)
	case *ast.MapType:
		return "object of " + s.words(pkg, e.Value)
	case *ast.SelectorExpr:
		switch name := e.X.(*ast.Ident).Name + "." + e.Sel.Name; name {
		case "time.Time":
			return "time"
		case "netip.AddrPort":
			return "string"
		default:
			return s.link(name)
		}
	case *ast.IndexExpr:
		return s.generic(pkg, e.X, e.Index)
	case *ast.IndexListExpr:
		return s.generic(pkg, e.X, e.Indices...)
	case *ast.Ident:
		return s.ident(pkg, e.Name)
	}
	return s.fail("a type of the form %T", expr)
}

func (s *schema) ident(pkg, name string) string {
	switch name {
	case "string":
		return "string"
	case "bool":
		return "boolean"
	case "any":
		return "any"
	case "int", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float64":
		return "number"
	}
	if len(name) == 1 || slices.Contains([]string{"Req", "Decl", "Eff"}, name) {
		return "*" + name + "*" // a parameter
	}
	return s.link(qualify(pkg, name))
}

// generic says what an instance of a type with parameters is.
func (s *schema) generic(pkg string, base ast.Expr, args ...ast.Expr) string {
	var list []string
	for _, arg := range args {
		list = append(list, s.words(pkg, arg))
	}
	name := strings.TrimPrefix(receiver(base), "*")
	if selector, ok := base.(*ast.SelectorExpr); ok {
		name = selector.Sel.Name
		pkg = selector.X.(*ast.Ident).Name
	}
	if strings.EqualFold(name, "fact") {
		return "fact: " + strings.Join(list, ", ")
	}
	return s.link(qualify(pkg, name)) + " of " + strings.Join(list, "; ")
}

// link returns a link to a type's section, or what an unexported type is made of.
func (s *schema) link(name string) string {
	g := s.types[name]
	if g == nil {
		return s.fail("unknown type %s", name)
	}
	if !slices.Contains(s.queue, name) {
		s.queue = append(s.queue, name)
	}
	anchor := strings.ToLower(strings.ReplaceAll(name, ".", ""))
	return "[" + name + "](#" + anchor + ")"
}

func (s *schema) fail(format string, args ...any) string {
	s.errors = append(s.errors, fmt.Sprintf(format, args...))
	return "?"
}

// describe writes the section of a type.
func (s *schema) describe(b *bytes.Buffer, g *goType) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n", g.name(), plain(g.doc))
	if text, ok := strings.CutPrefix(g.methods["String"], "String returns "); ok && g.methods["MarshalText"] != "" {
		fmt.Fprintf(b, "\nIn JSON it is %s\n", plain(text))
	}
	if text, ok := strings.CutPrefix(g.methods["MarshalJSON"], "MarshalJSON returns "); ok && !strings.Contains(g.doc, "JSON") && s.form(g) == nil {
		fmt.Fprintf(b, "\nIn JSON it is %s\n", plain(regexp.MustCompile(`^[a-z] `).ReplaceAllString(text, "")))
	}
	if list, ok := g.spec.Type.(*ast.ArrayType); ok && g.methods["MarshalJSON"] == "" {
		fmt.Fprintf(b, "\nIn JSON it is an %s.\n", s.words(g.pkg, list))
	}
	if len(g.values) > 0 {
		b.WriteString("\n")
		for _, value := range g.values {
			fmt.Fprintf(b, "- %s\n", value)
		}
		return
	}
	fields := s.fields(g)
	if len(fields) == 0 {
		return
	}
	b.WriteString("\n| key | type | meaning |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(b, "| %s | %s | %s |\n", f.key, f.words, strings.ReplaceAll(f.meaning, "|", `\|`))
	}
}

type schemaField struct{ key, words, meaning string }

// fields returns what a type has in JSON. Where it writes its JSON itself, that is the form of an unexported struct, named
// after it.
func (s *schema) fields(g *goType) []schemaField {
	own, _ := g.spec.Type.(*ast.StructType)
	form := own
	if _, writes := g.methods["MarshalJSON"]; writes {
		form = s.form(g)
	}
	if g.methods["MarshalText"] != "" {
		return nil
	}
	switch g.spec.Type.(type) {
	case *ast.IndexExpr, *ast.IndexListExpr:
		return []schemaField{{"…", s.words(g.pkg, g.spec.Type), "All keys of it."}}
	}
	if form == nil {
		s.meet(g)
		return nil
	}
	var list []schemaField
	var above string // the last comment
	for _, f := range form.Fields.List {
		doc := cmp.Or(f.Doc.Text(), f.Comment.Text())
		if len(f.Names) == 0 {
			list = append(list, schemaField{"…", s.words(g.pkg, f.Type), "All keys of it."})
			continue
		}
		for _, name := range f.Names {
			if form != own {
				doc = cmp.Or(doc, commentOf(own, name.Name), g.methods[name.Name])
			}
			if doc == "" && regexp.MustCompile(`\b`+name.Name+`\b`).MatchString(above) {
				doc = above
			}
			above = cmp.Or(doc, above)
			if key, row := s.field(g, name.Name, f, doc); key != "-" {
				list = append(list, row)
			}
		}
	}
	return list
}

func (s *schema) field(g *goType, name string, f *ast.Field, doc string) (key string, row schemaField) {
	var tag string
	if f.Tag != nil {
		text, _ := strconv.Unquote(f.Tag.Value)
		tag = reflect.StructTag(text).Get("json")
	}
	key, options, _ := strings.Cut(tag, ",")
	if key == "-" {
		return key, row
	}
	if key == "" {
		key = name
	}
	row = schemaField{"`" + key + "`", s.words(g.pkg, f.Type), oneLine(doc)}
	if options == "string" {
		row.words = "string of digits"
	}
	if row.meaning == "" {
		row.meaning = s.sentence(g.pkg, f.Type)
	}
	if row.meaning == "" {
		s.fail("%s.%s has no comment", g.name(), name)
	}
	if strings.HasPrefix(options, "omit") {
		row.meaning += " Left out when empty."
	}
	return key, row
}

// sentence returns the first sentence on a field's type.
func (s *schema) sentence(pkg string, expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return s.sentence(pkg, e.X)
	case *ast.ArrayType:
		return s.sentence(pkg, e.Elt)
	case *ast.IndexExpr:
		return s.sentence(pkg, e.Index)
	case *ast.IndexListExpr:
		return s.sentence(pkg, e.Indices[len(e.Indices)-1])
	case *ast.SelectorExpr:
		return s.sentence(e.X.(*ast.Ident).Name, e.Sel)
	case *ast.Ident:
		if g := s.types[qualify(pkg, e.Name)]; g != nil {
			first, _, _ := strings.Cut(oneLine(g.doc), ". ")
			return strings.TrimSuffix(first, ".") + "."
		}
	}
	return ""
}

// form returns the struct with a type's JSON form, nil when it has none.
func (s *schema) form(g *goType) *ast.StructType {
	for name, other := range s.types {
		if strings.EqualFold(name, g.name()+"JSON") {
			form, _ := other.spec.Type.(*ast.StructType)
			return form
		}
	}
	return nil
}

// meet lists the types that one without a form of its own is made of.
func (s *schema) meet(g *goType) {
	ast.Inspect(g.spec.Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.IsExported() && s.types[qualify(g.pkg, id.Name)] != nil && id.Name != g.spec.Name.Name {
			s.link(qualify(g.pkg, id.Name))
		}
		return true
	})
}

func commentOf(st *ast.StructType, name string) string {
	if st == nil {
		return ""
	}
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			if n.Name == name {
				return cmp.Or(f.Doc.Text(), f.Comment.Text())
			}
		}
	}
	return ""
}

var docLink = regexp.MustCompile(`\[([A-Za-z]+(/[a-z]+)*(\.[A-Za-z]+)*)\]([^(]|$)`)

// plain returns a comment as Markdown.
func plain(doc string) string {
	text := strings.TrimSpace(docLink.ReplaceAllString(doc, "`$1`$4"))
	return strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(text)
}

func oneLine(doc string) string { return strings.Join(strings.Fields(plain(doc)), " ") }

// TestSchema: docs/snapshot.md is what the types say.
func TestSchema(t *testing.T) {
	s := parseSchema(t, ".", "../caps", "../nsdiff", "../cgroup")
	s.link("Snapshot")
	b := bytes.NewBufferString(schemaHead)
	for n := 0; n < len(s.queue); n++ {
		s.describe(b, s.types[s.queue[n]])
	}
	for _, err := range s.errors {
		t.Error(err)
	}
	const file = "../docs/snapshot.md"
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is not what the types say: go test ./inspect -run TestSchema -update", file)
	}
}
