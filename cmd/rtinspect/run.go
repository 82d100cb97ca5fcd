package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/rtinspect/rtinspect/inspect"
)

// The exit statuses.
const (
	statusWhole      = 0 // the answer is whole
	statusIncomplete = 1 // the answer is missing or incomplete
	statusUsage      = 2 // the command line is wrong; nothing was contacted
	statusFindings   = 3 // findings reach the level that was asked to fail on
)

// invocation is one run of rtinspect.
type invocation struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// answer goes to stdout in one piece at the end, so that a write that fails is seen, and only once. Only what is too large
	// for that is written to stdout while it is made.
	answer   bytes.Buffer
	terminal terminal
}

// run runs rtinspect with the arguments that follow its name, and returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// One short run leaves little garbage: collecting it seldom saves a tenth of the time on a node with 100 containers.
	debug.SetGCPercent(400)
	v := &invocation{stdin: stdin, stdout: stdout, stderr: stderr, terminal: terminalOf(stdout)}
	err := v.execute(args)
	// When the reader has gone, as head does, this ends the program: SIGPIPE is left as it is.
	if _, failed := stdout.Write(v.answer.Bytes()); failed != nil && v.answer.Len() > 0 {
		err = errors.Join(err, failed)
	}
	return v.report(err)
}

// report writes err to stderr, a line for each of its parts, and returns the exit status.
func (v *invocation) report(err error) int {
	if err == nil {
		return statusWhole
	}
	for _, part := range parts(err) {
		v.complain(part.Error())
	}
	if text := hint(err); text != "" {
		v.complain("hint: " + text)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return statusUsage
	}
	if _, ok := errors.AsType[*findingsError](err); ok {
		return statusFindings
	}
	return statusIncomplete
}

// complain writes one line to stderr. Nothing can be done when that fails.
func (v *invocation) complain(text string) {
	_, _ = fmt.Fprintln(v.stderr, "rtinspect: "+escapeLine(text))
}

// parts returns what errors.Join put together in err, in order.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var lines []string
	var all []error
	for _, part := range joined.Unwrap() {
		lines = append(lines, part.Error())
		all = append(all, parts(part)...)
	}
	if strings.Join(lines, "\n") != err.Error() {
		return []error{err} // it wraps several errors in a sentence of its own
	}
	return all
}

// usageError is a wrong command line.
type usageError struct {
	command string // empty for rtinspect itself
	problem string
}

func (e *usageError) Error() string { return e.problem }

// errInterrupted ends a command that SIGINT or SIGTERM stopped.
var errInterrupted = errors.New("interrupted")

// hint returns what to do about err, or "".
func hint(err error) string {
	if usage, ok := errors.AsType[*usageError](err); ok {
		return "see " + strings.TrimSpace("rtinspect "+usage.command) + " --help"
	}
	switch {
	case errors.Is(err, errInterrupted):
		return ""
	case errors.Is(err, inspect.ErrNotFound):
		return "rtinspect ps --all lists every container"
	case errors.Is(err, inspect.ErrAmbiguous):
		return "give more of the id, or pod/name, or namespace/pod/name"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return "run as root: the runtime's socket and other users' processes are closed to everyone else"
	case errors.Is(err, inspect.ErrNoRuntime):
		return "name the runtime's socket with --runtime-endpoint, or none to answer from the kernel alone"
	case errors.Is(err, context.DeadlineExceeded):
		return "--runtime-endpoint none answers from the kernel alone"
	}
	return ""
}

// interruptible calls work with a context that SIGINT and SIGTERM cancel. A second signal ends the program at once.
func interruptible(work func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := work(ctx)
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}
