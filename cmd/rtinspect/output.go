package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"
)

// The formats of an answer.
const (
	formatTable      = "table"
	formatWide       = "wide"
	formatJSON       = "json"
	formatYAML       = "yaml"
	formatGoTemplate = "go-template"

	// Those of an audit only, for programs and people that know nothing of rtinspect.
	formatSARIF = "sarif"
	formatJUnit = "junit"
	formatHTML  = "html"
)

// formatsOf returns the formats of a command, but go-template.
func formatsOf(command string) []string {
	list := []string{formatTable, formatWide, formatJSON, formatYAML}
	if command == auditName {
		list = append(list, formatSARIF, formatJUnit, formatHTML)
	}
	return list
}

// formatNames returns "table, wide, json, yaml or go-template=TEMPLATE".
func formatNames(command string) string {
	return strings.Join(formatsOf(command), ", ") + " or " + formatGoTemplate + "=TEMPLATE"
}

// output is how the answer is to look.
type output struct {
	format   string
	template *template.Template // only of formatGoTemplate
	quiet    bool
	headers  bool
	whole    bool // ids are not cut
	color    bool
	terminal terminal
}

// answer is what a command found out, in every form it may be wanted in.
type answer struct {
	// data is what the formats json, yaml and go-template show: a slice, whose items the template gets one by one, or a struct.
	data any
	// ids is what --quiet prints, a line each.
	ids []string
	// text writes the formats table and wide.
	text func(w io.Writer, o output)
	// documents write the formats that a command has of its own.
	documents map[string]func(w io.Writer) error
}

// formatFlag is the flag of commands that answer with data.
func formatFlag() cli.Flag { return formatFlagOf("") }

// formatFlagOf is that of a command with formats of its own.
func formatFlagOf(command string) cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: formatTable,
		Usage: "`FORMAT`: " + formatNames(command),
	}
}

// listFlags are the flags of commands that answer with a table of containers.
func listFlags() []cli.Flag {
	return []cli.Flag{
		formatFlag(),
		quietFlag(),
		&cli.BoolFlag{Name: "no-headers", Usage: "print no header line above a table"},
		&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids; tables show 13 characters of them otherwise"},
	}
}

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only, whole, a line each"}
}

// output returns how the answer is to look, or a usage error.
func (v *invocation) output(c *cli.Context) (output, error) {
	o := output{
		quiet:    c.Bool("quiet"),
		headers:  !c.Bool("no-headers"),
		whole:    c.Bool("no-trunc"),
		terminal: v.terminal,
	}
	format, text, hasText := strings.Cut(c.String("output"), "=")
	o.format = format
	switch {
	case format != formatGoTemplate && !slices.Contains(formatsOf(c.Command.Name), format) ||
		hasText != (format == formatGoTemplate):
		return o, misuse(c, "unknown output format "+quote(c.String("output"))+": want "+formatNames(c.Command.Name))
	case o.quiet && c.IsSet("output"):
		return o, misuse(c, "flags --quiet and --output exclude each other")
	}
	var err error
	if hasText {
		o.template, err = parseTemplate(text)
		if err != nil {
			return o, misuse(c, err.Error())
		}
	}
	o.color, err = v.color(c)
	return o, err
}

// color tells whether tables are colored. See https://no-color.org.
func (v *invocation) color(c *cli.Context) (bool, error) {
	switch when := c.String("color"); when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return v.terminal.is && os.Getenv("NO_COLOR") == "", nil
	default:
		return false, misuse(c, "flag --color is "+quote(when)+": want auto, always or never")
	}
}

// wide tells whether a table is to show more.
func (o output) wide() bool { return o.format == formatWide }

// id returns an id as tables show it.
func (o output) id(id string) string {
	const short = 13 // as crictl
	if o.whole || len(id) <= short {
		return id
	}
	return id[:short]
}

// table writes a table, without its header if that is wanted.
func (o output) table(w io.Writer, t table) {
	if !o.headers {
		t.header = nil
	}
	t.write(w, o.color)
}

// write writes the answer.
func (o output) write(w io.Writer, a answer) error {
	if o.quiet {
		for _, id := range a.ids {
			say(w, escapeLine(id), "\n")
		}
		return nil
	}
	switch o.format {
	case formatJSON:
		document, err := jsonDocument(a.data)
		say(w, escapeData(document, surrogates))
		return err
	case formatYAML:
		return writeYAML(w, a.data)
	case formatGoTemplate:
		return o.writeTemplate(w, a.data)
	}
	if write, ok := a.documents[o.format]; ok {
		return write(w)
	}
	a.text(w, o)
	return nil
}

// jsonDocument returns data as indented JSON.
func jsonDocument(data any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(data); err != nil {
		return "", err
	}
	return b.String(), nil
}

// writeYAML writes data as YAML, made of its JSON form. YAML's plain style cannot spell the characters that a terminal may
// obey: a document with any of them is written in the JSON style, which is YAML too.
func writeYAML(w io.Writer, data any) error {
	document, err := jsonDocument(data)
	if err != nil {
		return err
	}
	document = escapeData(document, eightDigits)
	block, err := yaml.JSONToYAML([]byte(document))
	if err != nil {
		return err
	}
	if escapeData(string(block), eightDigits) != string(block) {
		block = []byte(document)
	}
	_, err = w.Write(block)
	return err
}

// parseTemplate returns a template with the functions json, join, lower and upper.
func parseTemplate(text string) (*template.Template, error) {
	return template.New("go-template").Funcs(template.FuncMap{
		"json": func(value any) (string, error) {
			text, err := json.Marshal(value)
			return string(text), err
		},
		"join":  join,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
	}).Parse(text)
}

// join joins the items of a list.
func join(separator string, list []any) string {
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = fmt.Sprint(item)
	}
	return strings.Join(words, separator)
}

// writeTemplate writes the template's text for each item of data, a line each.
func (o output) writeTemplate(w io.Writer, data any) error {
	items, err := o.generic(data)
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := o.template.Execute(w, item); err != nil {
			return err
		}
		say(w, "\n")
	}
	return nil
}

// generic returns the JSON form of data as templates get it: the items of an array, or else one item. On a terminal, its texts
// are escaped as in tables.
func (o output) generic(data any) ([]any, error) {
	document, err := jsonDocument(data)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	value = templateValue(value, o.terminal.is)
	if items, ok := value.([]any); ok {
		return items, nil
	}
	return []any{value}, nil
}

// templateValue returns value with its numbers as integers where they are, or {{.pid}} would print 4.1e+06, and its texts
// escaped if that is wanted.
func templateValue(value any, escaped bool) any {
	switch v := value.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[templateValue(key, escaped).(string)] = templateValue(item, escaped)
		}
		return m
	case []any:
		for i, item := range v {
			v[i] = templateValue(item, escaped)
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // JSON numbers are all in its grammar
		return f
	case string:
		if escaped {
			return escapeLine(v)
		}
	}
	return value
}
