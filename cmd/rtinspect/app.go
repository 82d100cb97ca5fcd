package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

// execute runs the command line. The answer is in p.answer then, whatever the error.
func (v *invocation) execute(args []string) error {
	if slices.Equal(args, []string{"--version"}) { // as people type it of any program
		args = []string{"version"}
	}
	commands := v.commands()
	line, err := parse(commands, args)
	switch {
	case err != nil:
		return err
	case line.help:
		return v.help(commands, line.command)
	case line.command == "":
		v.overview(v.stderr, commands)
		return &usageError{problem: "a command is missing"}
	}
	if err := errors.Join(line.checkDiff(), line.checkSnapshot()); err != nil {
		return err
	}
	return v.app(commands).Run(line.ordered())
}

// commands returns every command. UsageText of each has its examples.
func (v *invocation) commands() []*cli.Command {
	commands := []*cli.Command{
		v.psCommand(),
		v.podsCommand(),
		v.inspectCommand(),
		v.capsCommand(),
		v.nsCommand(),
		v.cgroupCommand(),
		v.topCommand(),
		v.socketsCommand(),
		v.eventsCommand(),
		v.auditCommand(),
		v.explainCommand(),
		v.snapshotCommand(),
		v.diffCommand(),
		v.completionCommand(),
		v.versionCommand(),
		v.helpCommand(),
		v.completeCommand(),
		v.connectCommand(),
	}
	for _, command := range commands {
		command.Flags = append(command.Flags, globalsBeside(command.Flags)...)
		command.HideHelp = true // no "help" below a command, where it may be a container's name
		command.OnUsageError = func(c *cli.Context, err error, _ bool) error {
			return &usageError{command: c.Command.Name, problem: strings.Replace(err.Error(), "for flag -", "for flag --", 1)}
		}
	}
	return commands
}

// app returns urfave/cli's form of the program, which never exits, prints or decides by itself.
func (v *invocation) app(commands []*cli.Command) *cli.App {
	return &cli.App{
		Name:           "rtinspect",
		Commands:       commands,
		HideHelp:       true,
		Reader:         v.stdin,
		Writer:         &v.answer,
		ErrWriter:      v.stderr,
		ExitErrHandler: func(*cli.Context, error) {},
		Compiled:       time.Unix(0, 0), // or it looks at the file of the program
	}
}

// globalFlags are understood by every command, so that an alias with them always works.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "runtime-endpoint", Aliases: []string{"r"}, EnvVars: []string{"CONTAINER_RUNTIME_ENDPOINT"},
			Usage: "the `SOCKET` of the container runtime, or none to ask the kernel alone; default: of /etc/crictl.yaml, then the well-known ones",
		},
		&cli.StringFlag{
			Name: "host-root", Value: "/",
			Usage: "the `FOLDER` where the node's file system is mounted",
		},
		&cli.StringFlag{
			Name:  "snapshot",
			Usage: "answer from the snapshot in `FILE`, - for stdin, in place of the live node",
		},
		&cli.DurationFlag{
			Name: "timeout", Value: 10 * time.Second,
			Usage: "how long to wait for the runtime, a `DURATION` such as 2s",
		},
		&cli.StringFlag{
			Name: "color", Value: "auto",
			Usage: "`WHEN` to color tables: auto (on terminals, unless NO_COLOR is set), always or never",
		},
	}
}

// globalsBeside returns the global flags but those that a command has of its own, with another meaning.
func globalsBeside(own []cli.Flag) []cli.Flag {
	return slices.DeleteFunc(globalFlags(), func(global cli.Flag) bool {
		return slices.ContainsFunc(own, func(f cli.Flag) bool { return f.Names()[0] == global.Names()[0] })
	})
}

// options returns what the global flags say about the node.
func options(c *cli.Context) (inspect.Options, error) {
	o := inspect.Options{
		Endpoint: c.String("runtime-endpoint"),
		HostRoot: c.String("host-root"),
		Timeout:  c.Duration("timeout"),
	}
	if c.IsSet("runtime-endpoint") && !c.IsSet("snapshot") && o.Endpoint != noEndpoint {
		if err := inspect.CheckEndpoint(o.Endpoint); err != nil {
			return o, misuse(c, err.Error())
		}
	}
	switch {
	case !strings.HasPrefix(o.HostRoot, "/"):
		return o, misuse(c, "flag --host-root is "+quote(o.HostRoot)+": want an absolute path")
	case o.Timeout <= 0 && c.IsSet("timeout"):
		return o, misuse(c, "flag --timeout is "+o.Timeout.String()+": want more than 0s")
	}
	return o, nil
}

// misuse returns the error of a wrong command line.
func misuse(c *cli.Context, problem string) error {
	return &usageError{command: c.Command.Name, problem: problem}
}

// withLive calls work with the live node.
func withLive(o inspect.Options, work func(context.Context, *inspect.Inspector) error) error {
	return interruptible(func(ctx context.Context) error {
		i, err := open(ctx, o)
		if err != nil {
			return err
		}
		return errors.Join(work(ctx, i), i.Close())
	})
}

// noArguments refuses arguments of a command that has none.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return misuse(c, "unexpected argument "+quote(c.Args().First()))
	}
	return nil
}
