package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// style is how a cell looks in color.
type style string

// The styles, as parameters of the terminal's sequence "select graphic rendition".
const (
	styleNone    style = ""
	styleBad     style = "31" // red
	styleWarning style = "33" // yellow
	styleUnknown style = "35" // magenta
)

// cell is a place in a table.
type cell struct {
	text  string
	style style
}

// plain returns a cell with text, escaped.
func plain(text string) cell { return cell{text: escapeLine(text)} }

// styled returns a cell with text, escaped, in a color.
func styled(text string, s style) cell { return cell{escapeLine(text), s} }

// table is rows of cells. Every text in it is escaped.
type table struct {
	header []string // nil for none
	rows   [][]cell
}

const columnGap = "  "

// write writes the table with its columns aligned. What follows a row's last text is left out.
func (t table) write(w io.Writer, color bool) {
	rows := t.rows
	if t.header != nil {
		first := make([]cell, len(t.header))
		for i, text := range t.header {
			first[i] = cell{text: text}
		}
		rows = append([][]cell{first}, rows...)
	}
	widths := columnWidths(rows)
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString(columnGap)
			}
			line.WriteString(c.paint(color))
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)))
		}
		say(w, strings.TrimRight(line.String(), " "), "\n")
	}
}

// columnWidths returns the length of the longest text in each column.
func columnWidths(rows [][]cell) []int {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	return widths
}

// paint returns the text, in its color if that is wanted.
func (c cell) paint(color bool) string {
	if !color || c.style == styleNone {
		return c.text
	}
	return "\x1b[" + string(c.style) + "m" + c.text + "\x1b[0m"
}

// wrap breaks text at spaces and commas into lines of at most width characters, where its words allow it. Each line but the
// first starts with indent, which does not count. The text ends without a newline.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	used := 0
	for _, word := range breakable(text) {
		length := utf8.RuneCountInString(strings.TrimRight(word, " "))
		if used > 0 && used+length > width {
			b.WriteString("\n" + indent)
			used = 0
		}
		b.WriteString(word)
		used += utf8.RuneCountInString(word)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// breakable splits text behind each space and comma.
func breakable(text string) []string {
	var words []string
	for text != "" {
		end := strings.IndexAny(text, " ,") + 1
		if end == 0 {
			end = len(text)
		}
		words = append(words, text[:end])
		text = text[end:]
	}
	return words
}

// say writes text. The writer is the answer's buffer, or stderr, where a failure cannot be told to anybody.
func say(w io.Writer, text ...string) {
	for _, part := range text {
		_, _ = io.WriteString(w, part)
	}
}
