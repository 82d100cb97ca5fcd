package main

import (
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func (v *invocation) helpCommand() *cli.Command {
	return &cli.Command{
		Name:        "help",
		Usage:       "explain rtinspect or a command of it",
		ArgsUsage:   "[COMMAND]",
		Description: "Prints what a command answers, with its flags and examples.",
		UsageText:   "rtinspect help\nrtinspect help caps\nrtinspect caps --help",
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return misuse(c, "want one command, not "+quote(strings.Join(c.Args().Slice(), " ")))
			}
			return v.help(c.App.Commands, c.Args().First())
		},
	}
}

// help answers with the help of a command, or of rtinspect when name is empty.
func (v *invocation) help(commands []*cli.Command, name string) error {
	if name == "" {
		v.overview(&v.answer, commands)
		return nil
	}
	command := find(commands, name)
	if command == nil {
		return &usageError{command: "help", problem: "unknown command " + quote(name) + didYouMean(name, visibleNames(commands))}
	}
	manual(&v.answer, command)
	return nil
}

// overview writes what rtinspect is and its commands.
func (v *invocation) overview(w io.Writer, commands []*cli.Command) {
	var rows [][]cell
	for _, command := range commands {
		if !command.Hidden {
			rows = append(rows, []cell{plain("  " + command.Name), plain(command.Usage)})
		}
	}
	say(w, "Usage: rtinspect COMMAND [flags] [CONTAINER…]\n\n",
		"rtinspect tells what isolation the containers on this node really have: what was\n",
		"requested, what the runtime declared, and what the kernel has in force.\n\n",
		"CONTAINER is an id, a unique prefix of one, a name, pod/name or namespace/pod/name.\n\nCommands:\n")
	table{rows: rows}.write(w, false)
	say(w, "\nGlobal flags:\n")
	flagTable(w, globalFlags())
	say(w, "\nExit status: 0 the answer is whole; 1 it is missing or incomplete; 2 the command line is wrong;\n",
		"3 findings, with audit --exit-code.\n",
		"Run rtinspect COMMAND --help for the flags and examples of a command.\n")
}

// manual writes the help of a command.
func manual(w io.Writer, command *cli.Command) {
	first := slices.IndexFunc(command.Flags, func(f cli.Flag) bool { return f.Names()[0] == globalFlags()[0].Names()[0] })
	own, global := command.Flags[:first], command.Flags[first:]
	usage := []string{"Usage: rtinspect", command.Name}
	if len(own) > 0 {
		usage = append(usage, "[flags]")
	}
	if command.ArgsUsage != "" {
		usage = append(usage, command.ArgsUsage)
	}
	say(w, strings.Join(usage, " "), "\n\n", wrap(command.Description, helpWidth, ""), "\n")
	if len(own) > 0 {
		say(w, "\nFlags:\n")
		flagTable(w, own)
	}
	say(w, "\nGlobal flags:\n")
	flagTable(w, global)
	say(w, "\nExamples:\n")
	for example := range strings.Lines(command.UsageText) {
		say(w, "  ", strings.TrimSuffix(example, "\n"), "\n")
	}
}

// helpWidth is where lines of prose end.
const helpWidth = 90

// flagTable writes a line for each flag.
func flagTable(w io.Writer, flags []cli.Flag) {
	var t table
	for _, f := range flags {
		t.rows = append(t.rows, []cell{plain("  " + flagSynopsis(f)), plain(flagUsage(f))})
	}
	t.write(w, false)
}

// flagSynopsis returns how a flag is written: "-o, --output FORMAT".
func flagSynopsis(f cli.Flag) string {
	names := spellings(f)
	slices.Reverse(names)
	text := strings.Join(names, ", ")
	if takesValue(f) {
		text += " " + strings.Split(f.(cli.DocGenerationFlag).GetUsage(), "`")[1]
	}
	return text
}

// flagUsage returns what a flag does, its default, and the environment variable that stands in for it.
func flagUsage(f cli.Flag) string {
	documented := f.(cli.DocGenerationFlag)
	text := strings.ReplaceAll(documented.GetUsage(), "`", "")
	if value := strings.Trim(documented.GetDefaultText(), `"`); takesValue(f) && value != "" {
		text += " (default " + value + ")"
	}
	for _, name := range documented.GetEnvVars() {
		text += " [$" + name + "]"
	}
	return text
}
