package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// escapeLine returns text with everything that could move a terminal's cursor, start a new line or turn the direction of
// writing spelled as in Go: \n, \x1b, \u202e, and \xff for a byte that is not UTF-8. A backslash stays as it is.
func escapeLine(text string) string {
	clean := true
	for _, r := range text {
		clean = clean && strconv.IsPrint(r) && r != utf8.RuneError
	}
	if clean {
		return text
	}
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteString(text[:size])
		} else {
			quoted := strconv.Quote(text[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// quote returns text in quotes, escaped, for a sentence.
func quote(text string) string { return strconv.Quote(text) }

// escapeData returns a JSON or YAML document with the characters that a terminal may obey, and that JSON allows in strings as
// they are, spelled as escapes. The data stays the same: outside of its strings such a document has none of them. Long is how
// the language spells characters beyond U+FFFF.
func escapeData(document string, long func(rune) string) string {
	if isPlain(document) {
		return document
	}
	var b strings.Builder
	for _, r := range document {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteString(long(r))
		default:
			b.WriteString(`\u` + hex(r, 4))
		}
	}
	return b.String()
}

// isPlain tells whether a document has printable ASCII and new lines only, as nearly all have.
func isPlain[T string | []byte](document T) bool {
	for i := range len(document) {
		if c := document[i]; (c < ' ' || c > '~') && c != '\n' {
			return false
		}
	}
	return true
}

// surrogates spells a character beyond U+FFFF as JSON does.
func surrogates(r rune) string {
	r -= 0x10000
	return `\u` + hex(0xd800+r>>10, 4) + `\u` + hex(0xdc00+r&0x3ff, 4)
}

// eightDigits spells a character beyond U+FFFF as YAML does.
func eightDigits(r rune) string { return `\U` + hex(r, 8) }

// hex returns r in at least so many hexadecimal digits.
func hex(r rune, digits int) string {
	text := strconv.FormatInt(int64(r), 16)
	return strings.Repeat("0", digits-len(text)) + text
}
