package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rtinspect/rtinspect/inspect"
)

// noEndpoint takes the place of a socket when no runtime is to be asked.
const noEndpoint = "none"

// open connects to the runtime. Where no socket was named for this very run and none answers, where the one that was named is
// closed to the user, or where none is wanted, the containers are taken from the kernel.
func open(ctx context.Context, o inspect.Options) (*inspect.Inspector, error) {
	named := cmp.Or(o.Endpoint, os.Getenv(inspect.EndpointVariable))
	if named == noEndpoint {
		return inspect.OpenKernel(o, nil), nil
	}
	i, err := inspect.Open(ctx, o)
	if err != nil && (named == "" || errors.Is(err, fs.ErrPermission)) && ctx.Err() == nil && errors.Is(err, inspect.ErrNoRuntime) {
		return inspect.OpenKernel(o, err), nil
	}
	return i, err
}

// isKernelOnly tells what is unknown because no runtime was asked. In a snapshot, the text is all that is left of the cause.
func isKernelOnly(cause error) bool {
	return cause != nil && cause.Error() == inspect.ErrKernelOnly.Error()
}

// kernelOnly tells a gap that is there because no runtime was asked: what was told once, or wanted so, is not told of each fact.
func kernelOnly(g inspect.Gap) bool { return isKernelOnly(g.Cause) }

// fromKernel tells a container that no runtime was asked about.
func fromKernel(c inspect.Container) bool { return isKernelOnly(c.State.Cause()) }

// needsRuntime returns an error when the node was looked at without a runtime, and what is asked for is known with one only.
func needsRuntime(s source, what string) error {
	if s.Node().Runtime != nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, inspect.ErrKernelOnly)
}

// nameCell returns a container's name. Where no runtime tells it, the command that the first process shows takes its place, in
// parentheses: it is no name, and the process may write anything there.
func nameCell(c inspect.Container) cell {
	if !fromKernel(c) {
		return plain(c.Name)
	}
	const most = 32
	args, ok := c.Command.Value()
	if !ok {
		return styled("unknown", styleUnknown)
	}
	return plain("(" + cut(command(args), most) + ")")
}

// podCells returns the name and the namespace of a container's pod. Where no runtime tells the name, the uid takes its place.
func podCells(c inspect.Container) (name, namespace cell) {
	switch {
	case fromKernel(c) && c.Pod != nil && c.Pod.UID != "":
		return plain("uid " + c.Pod.UID), styled("unknown", styleUnknown)
	case c.Pod == nil:
		return toldBy(c, ""), toldBy(c, "")
	}
	return toldBy(c, c.Pod.Name), toldBy(c, c.Pod.Namespace)
}

// toldBy returns a cell with what a runtime tells of a container: "-" when it tells none, and unknown when none was asked.
func toldBy(c inspect.Container, text string) cell {
	if text == "" && fromKernel(c) {
		return styled("unknown", styleUnknown)
	}
	return orDash(text)
}
