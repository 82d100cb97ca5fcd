package main

import (
	"context"
	"embed"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

//go:embed completion
var completionScripts embed.FS

// shells are those with a script.
var shells = []string{"bash", "zsh", "fish"}

func (v *invocation) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands, flags and containers",
		ArgsUsage: "bash|zsh|fish",
		Description: "Prints a script for a shell. With it, the tab key completes commands, flags, their values, and the names of " +
			"containers, for which the shell asks the runtime through rtinspect.",
		UsageText: "source <(rtinspect completion bash)\nsource <(rtinspect completion zsh)\nrtinspect completion fish | source\n" +
			"rtinspect completion bash >/etc/bash_completion.d/rtinspect",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 || !slices.Contains(shells, c.Args().First()) {
				return misuse(c, "want one of "+strings.Join(shells, ", ")+", not "+quote(strings.Join(c.Args().Slice(), " ")))
			}
			script, err := completionScripts.ReadFile("completion/rtinspect." + c.Args().First())
			v.answer.Write(script)
			return err
		},
	}
}

// completeCommand is what the scripts call, with the words of the command line up to the cursor.
const completeCommand = "__complete"

// completeFiles is what they get where the shell is to complete the names of files.
const completeFiles = ":files"

func (v *invocation) completeCommand() *cli.Command {
	return &cli.Command{
		Name:   completeCommand,
		Hidden: true,
		Action: func(c *cli.Context) error {
			for _, candidate := range complete(c.App.Commands, c.Args().Slice()) {
				say(&v.answer, candidate, "\n")
			}
			return nil
		},
	}
}

// complete returns what the last of the words may become.
func complete(commands []*cli.Command, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	before, current := words[:len(words)-1], words[len(words)-1]
	// bash takes --output=js for three words.
	if n := len(before); current == "=" && n > 0 {
		current = ""
	} else if n > 1 && before[n-1] == "=" {
		before = before[:n-1]
	}
	p := parser{commands: commands, words: before}
	for len(p.words) > 0 {
		last := len(p.words) == 1
		f := p.lookup(p.words[0])
		if last && !p.ended && f != nil && takesValue(f) {
			return matching(p.values(f, current), current, "")
		}
		if p.next() != nil {
			return nil
		}
	}
	if p.ended {
		return matching(p.arguments(current), current, "")
	}
	if name, value, ok := strings.Cut(current, "="); ok && strings.HasPrefix(name, "--") {
		f := p.lookup(name)
		if f == nil {
			return nil
		}
		return matching(p.values(f, value), value, name+"=")
	}
	if strings.HasPrefix(current, "-") {
		return matching(p.flagNames(), current, "")
	}
	return matching(p.arguments(current), current, "")
}

// matching returns the candidates that start with current, each behind a prefix, without those that a shell could take for
// more than a word: they are names that containers were given.
func matching(candidates []string, current, prefix string) []string {
	if slices.Equal(candidates, []string{completeFiles}) {
		return candidates
	}
	var list []string
	for _, candidate := range candidates {
		if strings.HasPrefix(candidate, current) && isWord(candidate) {
			list = append(list, prefix+candidate)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// isWord reports whether text is made of letters, digits and the signs of names only.
func isWord(text string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/="
	return strings.Trim(text, allowed) == ""
}

// values returns the values of a flag, also of one that names containers.
func (p *parser) values(f cli.Flag, current string) []string {
	switch f.Names()[0] {
	case "container":
		return refs(p.line.flags, current)
	case "output":
		return append(formatsOf(p.line.command), formatGoTemplate+"=")
	}
	return flagValues(f)
}

// flagValues returns the values of a flag.
func flagValues(f cli.Flag) []string {
	switch f.Names()[0] {
	case "filter", "until":
		return eventWords()
	case "color":
		return []string{"auto", "always", "never"}
	case "severity", "fail-on":
		return severities()
	case "rule", "skip-rule":
		return ruleIDs(audit.Rules())
	case "standard":
		return audit.StandardNames()
	case "default":
		return defaultNames()
	case "runtime-endpoint", "host-root", "snapshot", "baseline", "write-baseline":
		return []string{completeFiles}
	}
	return nil
}

// flagNames returns the flags of the command, or of every command before it is known.
func (p *parser) flagNames() []string {
	names := []string{"--help"}
	for _, command := range p.candidates() {
		for _, f := range command.Flags {
			names = append(names, spellings(f)...)
		}
	}
	return names
}

// arguments returns what may stand in the place of an argument.
func (p *parser) arguments(current string) []string {
	switch p.line.command {
	case "":
		return visibleNames(p.commands)
	case "help":
		return visibleNames(p.commands)
	case "completion":
		return shells
	case "explain":
		return ruleIDs(audit.Rules())
	case "audit", "caps", "cgroup", "inspect", "ns", "top":
		return refs(p.line.flags, current)
	case "sockets", "diff":
		return []string{completeFiles}
	}
	return nil
}

// refs returns what containers are called, with the global flags of the command line. When the runtime does not answer there
// are none: a message would end up in the middle of the line that is being written.
func refs(flags []flagValue, current string) []string {
	o := inspect.Options{Timeout: time.Second}
	var file string
	for _, f := range flags {
		switch f.name {
		case "runtime-endpoint":
			o.Endpoint = f.value
		case "host-root":
			o.HostRoot = f.value
		case "snapshot":
			file = f.value
		}
	}
	var list []inspect.Container
	if file != "" {
		s, _ := readSnapshot(file, strings.NewReader(""))
		list, _ = s.List()
		return refNames(containersOf(list, false), current)
	}
	_ = withLive(o, func(ctx context.Context, i *inspect.Inspector) (err error) {
		list, err = i.List(ctx)
		return err
	})
	return refNames(containersOf(list, false), current)
}

// refNames returns pod/name and, where only one has it, the name; longer names and ids when current begins like one.
func refNames(containers []inspect.Container, current string) []string {
	count := map[string]int{}
	for _, container := range containers {
		count[container.Name]++
	}
	var names []string
	for _, container := range containers {
		if count[container.Name] == 1 {
			names = append(names, container.Name)
		}
		if container.Pod != nil && container.Pod.Name != "" {
			names = append(names, container.Pod.Name+"/"+container.Name)
		}
		if current != "" {
			names = append(names, container.FullName(), container.ID)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "-") }) // a flag, it would seem
}
