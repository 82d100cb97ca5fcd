package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "record all that is known of the node and its containers",
		Description: "Prints everything that is known of the node, its runtime and all containers, sandboxes and ended ones " +
			"included, as JSON. Every command answers from such a file with --snapshot FILE as it would have on the node at that " +
			"time. Values of environment variables and other secrets are left out; arguments of processes are in it unless " +
			"--redact-args is given. docs/snapshot.md describes the schema.",
		UsageText: "rtinspect snapshot >node.json && rtinspect caps --snapshot node.json\nrtinspect snapshot --redact-args | gzip >node.json.gz\n" +
			"ssh node rtinspect snapshot | rtinspect inspect web --snapshot -",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "output", Aliases: []string{"o"}, Value: formatJSON,
				Usage: "`FORMAT`: json, yaml or go-template=TEMPLATE",
			},
			&cli.BoolFlag{Name: "redact-args", Usage: "hide the arguments of processes but for the program"},
		},
		Action: v.snapshot,
	}
}

func (v *invocation) snapshot(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	if slices.Contains([]string{formatTable, formatWide}, o.format) {
		return misuse(c, "output format "+quote(o.format)+" is not for snapshots: want json, yaml or go-template=TEMPLATE")
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	if err := noArguments(c); err != nil {
		return err
	}
	node.RedactArgs = c.Bool("redact-args")
	debug.SetGCPercent(100) // a snapshot leaves garbage of several times its size
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		if o.format == formatJSON {
			return v.streamSnapshot(ctx, s)
		}
		snapshot, err := s.Snapshot(ctx)
		return errors.Join(o.write(&v.answer, answer{data: snapshot}), snapshotGaps(snapshot, reportGaps(snapshot.Containers, everyGap), err))
	})
}

// streamSnapshot writes JSON while it is collected: that of a large node takes several times its size in memory.
func (v *invocation) streamSnapshot(ctx context.Context, s source) error {
	w := bufio.NewWriterSize(v.stdout, 1<<16)
	var gaps gapLines
	snapshot, err := s.WriteSnapshot(ctx, escaper{w}, func(r inspect.Report) { gaps.add(r.Container, r.Gaps()) })
	return snapshotGaps(snapshot, gaps.err(), errors.Join(err, w.Flush()))
}

// snapshotGaps returns an error for each fact that is unknown, those of the containers given, after err.
func snapshotGaps(s inspect.Snapshot, containers, err error) error {
	return errors.Join(err, nodeGaps(s.Node), containers, socketGaps(s.Sockets))
}

// escaper escapes JSON. It is given whole characters.
type escaper struct{ w io.Writer }

func (e escaper) Write(document []byte) (int, error) {
	if isPlain(document) {
		return e.w.Write(document)
	}
	_, err := io.WriteString(e.w, escapeData(string(document), surrogates))
	return len(document), err
}

// nodeGaps returns an error for each fact of the node that is unknown.
func nodeGaps(node inspect.Node) error {
	var all []error
	for _, g := range node.Gaps() {
		all = append(all, fmt.Errorf("node: %s: %w", g.Fact, g.Cause))
	}
	return errors.Join(all...)
}
