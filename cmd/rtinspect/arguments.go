package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// commandLine is a command line taken apart.
type commandLine struct {
	command string
	flags   []flagValue
	args    []string
	help    bool
}

// flagValue is a flag that was given, by its first name.
type flagValue struct{ name, value string }

// ordered returns the command line in the one order that urfave/cli reads whole: by itself it takes everything after the first
// argument for an argument, and refuses -o next to --output.
func (l commandLine) ordered() []string {
	words := []string{"rtinspect", l.command}
	for _, f := range l.flags {
		words = append(words, "--"+f.name+"="+f.value)
	}
	return append(append(words, "--"), l.args...)
}

// parse takes a command line apart. Flags stand anywhere before "--", also before the command; the last one of a name counts.
func parse(commands []*cli.Command, words []string) (commandLine, error) {
	p := parser{commands: commands, words: words}
	for len(p.words) > 0 {
		if err := p.next(); err != nil {
			return commandLine{}, err
		}
		if p.line.command == completeCommand {
			// What follows is a command line that is still being written.
			p.line.args = p.words
			return p.line, nil
		}
	}
	return p.line, p.check()
}

type parser struct {
	commands []*cli.Command
	words    []string // still to be read
	line     commandLine
	ended    bool // "--" was there
}

// take removes the next word and returns it.
func (p *parser) take() string {
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

func (p *parser) next() error {
	word := p.take()
	switch {
	case p.ended || word == "-" || !strings.HasPrefix(word, "-"):
		return p.argument(word)
	case word == "--":
		p.ended = true
		return nil
	case strings.HasPrefix(word, "--"):
		name, value, given := strings.Cut(word[2:], "=")
		return p.flag("--"+name, value, given)
	}
	return p.letters(word[1:])
}

// argument takes the first word that is no flag for the command, and each later one for an argument of it.
func (p *parser) argument(word string) error {
	if p.line.command != "" {
		p.line.args = append(p.line.args, word)
		return nil
	}
	if find(p.commands, word) == nil {
		return &usageError{problem: fmt.Sprintf("unknown command %q%s", word, didYouMean(word, visibleNames(p.commands)))}
	}
	p.line.command = word
	return nil
}

// letters reads a word such as -aq, -o=json or -ojson.
func (p *parser) letters(word string) error {
	for word != "" {
		_, size := utf8.DecodeRuneInString(word)
		letter := word[:size]
		word = word[size:]
		f := p.lookup("-" + letter)
		if f == nil || !takesValue(f) {
			if err := p.flag("-"+letter, "", false); err != nil {
				return err
			}
			continue
		}
		value, _ := strings.CutPrefix(word, "=")
		return p.flag("-"+letter, value, word != "")
	}
	return nil
}

// flag adds a flag as it was written, with its value when it was given in the same word.
func (p *parser) flag(written, value string, given bool) error {
	if written == "--help" || written == "-h" {
		p.line.help = true
		return nil
	}
	f := p.lookup(written)
	if f == nil {
		return p.unknownFlag(written)
	}
	name := f.Names()[0]
	switch {
	case !takesValue(f):
		on, err := strconv.ParseBool(value)
		if given && err != nil {
			return p.misuse("flag --%s takes true or false, not %q", name, value)
		}
		value = strconv.FormatBool(on || !given)
	case !given && len(p.words) == 0:
		return p.misuse("flag --%s needs a value", name)
	case !given:
		value = p.take()
	}
	p.line.flags = append(p.line.flags, flagValue{name, value})
	return nil
}

// lookup returns the flag of that name: of the command when it is known already, and else of any. It returns nil when there is
// none. Flags of one name are alike in all commands.
func (p *parser) lookup(written string) cli.Flag {
	for _, command := range p.candidates() {
		for _, f := range command.Flags {
			if slices.Contains(spellings(f), written) {
				return f
			}
		}
	}
	return nil
}

// candidates returns the commands that a flag may belong to.
func (p *parser) candidates() []*cli.Command {
	if command := find(p.commands, p.line.command); command != nil {
		return []*cli.Command{command}
	}
	return p.commands
}

// check looks at the flags before the command, which was not known when they were read.
func (p *parser) check() error {
	if p.line.command == "" {
		return nil
	}
	for _, f := range p.line.flags {
		if p.lookup("--"+f.name) == nil {
			return p.unknownFlag("--" + f.name)
		}
	}
	return nil
}

func (p *parser) unknownFlag(written string) error {
	known := []string{"--help"}
	for _, command := range p.candidates() {
		for _, f := range command.Flags {
			known = append(known, spellings(f)...)
		}
	}
	return p.misuse("unknown flag %s%s", written, didYouMean(written, known))
}

func (p *parser) misuse(format string, args ...any) error {
	return &usageError{command: p.line.command, problem: fmt.Sprintf(format, args...)}
}

// find returns the command of that name, or nil.
func find(commands []*cli.Command, name string) *cli.Command {
	for _, command := range commands {
		if command.HasName(name) {
			return command
		}
	}
	return nil
}

// visibleNames returns the names of the commands that people type.
func visibleNames(commands []*cli.Command) []string {
	var names []string
	for _, command := range commands {
		if !command.Hidden {
			names = append(names, command.Name)
		}
	}
	return names
}

// spellings returns what may stand on a command line for a flag: --output and -o.
func spellings(f cli.Flag) []string {
	var all []string
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		all = append(all, dashes+name)
	}
	return all
}

func takesValue(f cli.Flag) bool {
	documented, ok := f.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

// didYouMean returns a question with the known word that is nearest to word, or "" when none is near.
func didYouMean(word string, known []string) string {
	letters := len(strings.TrimLeft(word, "-"))
	best, least := "", letters/3+1
	if letters < 2 {
		return "" // any other letter would be near
	}
	for _, candidate := range known {
		if d := distance(word, candidate); d <= least && (best == "" || d < least) {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// distance counts the letters to add, remove or replace to come from one word to the other.
func distance(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			replaced := diagonal
			if from[i] != to[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
