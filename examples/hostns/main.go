// Command hostns prints the containers that share namespaces with the host.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func main() {
	if err := list(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hostns:", err)
		os.Exit(1)
	}
}

// list writes a line for each container that is in a namespace of the host, of the kinds that pods have of their own unless they
// ask for the host's. What could not be told is an error, beside the lines of the others.
func list(ctx context.Context, w io.Writer) error {
	inspector, err := inspect.Open(ctx, inspect.Options{Parts: inspect.PartNamespaces})
	if err != nil {
		return err
	}
	defer inspector.Close()
	reports, err := inspector.Containers(ctx)
	failed := []error{err}
	for _, r := range reports {
		namespaces, ok := r.Namespaces.InForce.Value()
		if cause := r.Namespaces.InForce.Cause(); !ok && cause != nil {
			failed = append(failed, fmt.Errorf("%q: %w", r.FullName(), cause))
		}
		var hosts []string
		for _, n := range namespaces {
			switch {
			case n.Kind != nsdiff.IPC && n.Kind != nsdiff.Net && n.Kind != nsdiff.PID && n.Kind != nsdiff.UTS:
			case n.Host.Relation == nsdiff.Same:
				hosts = append(hosts, n.Kind.String())
			case n.Host.Relation == nsdiff.Unknown:
				failed = append(failed, fmt.Errorf("%q: %s: %s", r.FullName(), n.Kind, n.Host.Cause))
			}
		}
		if len(hosts) > 0 {
			fmt.Fprintf(w, "%q %s\n", r.FullName(), strings.Join(hosts, " "))
		}
	}
	return errors.Join(failed...)
}
