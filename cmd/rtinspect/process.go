package main

import (
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

// pidFlag is the flag of commands that answer for a process, too.
func pidFlag() cli.Flag {
	return &cli.StringFlag{Name: "pid", Usage: "the process `PID` instead of a container"}
}

// pidOf returns the process of the flag --pid; ok is false without the flag.
func pidOf(c *cli.Context) (pid int, ok bool, err error) {
	if !c.IsSet("pid") {
		return 0, false, nil
	}
	if c.Args().Present() {
		return 0, true, misuse(c, "unexpected argument "+quote(c.Args().First())+": --pid takes the place of a container")
	}
	pid, err = parsePID(c)
	return pid, true, err
}

// parsePID returns the value of the flag --pid.
func parsePID(c *cli.Context) (int, error) {
	n, err := strconv.ParseUint(c.String("pid"), 10, 31)
	if err != nil || n == 0 {
		return 0, misuse(c, "flag --pid is "+quote(c.String("pid"))+": want a number of 1 or more")
	}
	return int(n), nil
}

// listOptions returns what the flags of a list and the global ones say.
func (v *invocation) listOptions(c *cli.Context) (output, inspect.Options, error) {
	o, err := v.output(c)
	if err != nil {
		return o, inspect.Options{}, err
	}
	node, err := options(c)
	return o, node, err
}

// nameRows tells which container a page is about.
func nameRows(c inspect.Container, o output) [][]cell {
	pod, namespace := podCells(c)
	return [][]cell{
		{plain("container"), plain(c.ID)},
		{plain("name"), nameCell(c)},
		{plain("pod"), pod},
		{plain("namespace"), namespace},
		{plain("pid"), factCell(c.PID, o.wide())},
	}
}

// driftOf returns the differences of a report in the settings that matter. It is never nil.
func driftOf(r inspect.Report, matters func(inspect.Gap) bool) []inspect.Difference {
	return slices.DeleteFunc(append([]inspect.Difference{}, r.Drift...), func(d inspect.Difference) bool {
		return !matters(inspect.Gap{Fact: d.Setting})
	})
}
