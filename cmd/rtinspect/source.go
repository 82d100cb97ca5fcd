package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

// source is what a command asks: a live node, which is an [inspect.Inspector], or a recorded one.
type source interface {
	List(context.Context) ([]inspect.Container, error)
	Containers(context.Context, ...string) ([]inspect.Report, error)
	Details(context.Context, ...string) ([]inspect.Report, error)
	Processes(context.Context, ...string) ([]inspect.ContainerProcesses, error)
	Sockets(context.Context, inspect.SocketOptions) ([]inspect.Socket, error)
	Snapshot(context.Context) (inspect.Snapshot, error)
	WriteSnapshot(context.Context, io.Writer, func(inspect.Report)) (inspect.Snapshot, error)
	Node() inspect.Node
}

// record answers from a snapshot.
type record struct{ snapshot inspect.Snapshot }

func (r record) List(context.Context) ([]inspect.Container, error) { return r.snapshot.List() }

func (r record) Containers(_ context.Context, refs ...string) ([]inspect.Report, error) {
	return r.snapshot.Reports(refs...)
}

func (r record) Details(_ context.Context, refs ...string) ([]inspect.Report, error) {
	return r.snapshot.Details(refs...)
}

func (r record) Processes(_ context.Context, refs ...string) ([]inspect.ContainerProcesses, error) {
	return r.snapshot.Processes(refs...)
}

func (r record) Sockets(_ context.Context, o inspect.SocketOptions) ([]inspect.Socket, error) {
	return r.snapshot.FindSockets(o.Paths...)
}

func (r record) Snapshot(context.Context) (inspect.Snapshot, error) {
	_, err := r.snapshot.List() // what could not be listed then
	_, socketsErr := r.snapshot.FindSockets()
	return r.snapshot, errors.Join(err, socketsErr)
}

func (r record) WriteSnapshot(ctx context.Context, w io.Writer, see func(inspect.Report)) (inspect.Snapshot, error) {
	s, err := r.Snapshot(ctx)
	for _, report := range s.Containers {
		see(report)
	}
	return s, errors.Join(s.Write(w), err)
}

func (r record) Node() inspect.Node { return r.snapshot.Node }

// withNode calls work with the node: the recorded one of --snapshot, or else the live one.
func (v *invocation) withNode(c *cli.Context, o inspect.Options, work func(context.Context, source) error) error {
	if !c.IsSet("snapshot") {
		return withLive(o, func(ctx context.Context, i *inspect.Inspector) error { return work(ctx, i) })
	}
	s, err := readSnapshot(c.String("snapshot"), v.stdin)
	if err != nil {
		return err
	}
	if o.RedactArgs {
		s.RedactArgs()
	}
	return work(context.Background(), record{s})
}

// readSnapshot reads a snapshot from a file, or from stdin for the name -, packed with gzip or not.
func readSnapshot(name string, stdin io.Reader) (inspect.Snapshot, error) {
	if name == "-" {
		s, err := unpackSnapshot(stdin)
		return s, named("stdin", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return inspect.Snapshot{}, named(name, err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	s, err := unpackSnapshot(f)
	return s, named(name, err)
}

func unpackSnapshot(r io.Reader) (inspect.Snapshot, error) {
	b := bufio.NewReader(r)
	if start, _ := b.Peek(2); string(start) != "\x1f\x8b" {
		return inspect.ReadSnapshot(b)
	}
	unpacked, err := gzip.NewReader(b)
	if err != nil {
		return inspect.Snapshot{}, err
	}
	return inspect.ReadSnapshot(unpacked)
}

// named puts the name of a file before what is wrong with it. Nothing is left of the class of the error: that a file may not be
// read has nothing to do with the runtime.
func named(name string, err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", name, err.Error())
}

// liveOnly are the flags that have no meaning for a recorded node: they say where the live one is, or ask for what a snapshot
// does not hold.
var liveOnly = []string{"runtime-endpoint", "host-root", "pid", "mask", "connect", "show-secrets"}

// checkSnapshot refuses --snapshot without a file, for several, and next to a flag of a live node. The environment may still name
// a runtime.
func (l commandLine) checkSnapshot() error {
	values := map[string][]string{}
	for _, f := range l.flags {
		values[f.name] = append(values[f.name], f.value)
	}
	files := values["snapshot"]
	misused := func(problem string) error { return &usageError{command: l.command, problem: problem} }
	switch {
	case len(files) == 0:
		return nil
	case len(files) > 1:
		return misused("flag --snapshot is given " + strconv.Itoa(len(files)) + " times: want one file")
	case files[0] == "":
		return misused("flag --snapshot is \"\": want a file, or - for stdin")
	}
	for _, name := range liveOnly {
		if values[name] != nil {
			return misused("flags --snapshot and --" + name + " exclude each other")
		}
	}
	return nil
}
