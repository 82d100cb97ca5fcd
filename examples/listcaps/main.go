// Command listcaps prints the effective capabilities of every running container, as a program that embeds package inspect.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rtinspect/rtinspect/inspect"
)

func main() {
	if err := list(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "listcaps:", err)
		os.Exit(1)
	}
}

// list writes a line for each container. What could not be read is an error, beside the lines of the others.
func list(ctx context.Context, w io.Writer) error {
	inspector, err := inspect.Open(ctx, inspect.Options{})
	if err != nil {
		return err
	}
	defer inspector.Close()
	reports, err := inspector.Containers(ctx)
	failed := []error{err}
	for _, r := range reports {
		inForce := r.Capabilities.InForce
		if state, ok := inForce.Value(); ok {
			fmt.Fprintf(w, "%q %s %s\n", r.FullName(), state.Effective.Mask(), state.Effective)
			continue
		}
		if cause := inForce.Cause(); cause != nil {
			failed = append(failed, fmt.Errorf("%q: %w", r.FullName(), cause))
			continue
		}
		fmt.Fprintf(w, "%q - %s\n", r.FullName(), inForce.Source())
	}
	return errors.Join(failed...)
}
