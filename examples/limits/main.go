// Command limits prints the limits in force of every running container as JSON, each with the level that sets it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

// container is an item of the JSON.
type container struct {
	Name string `json:"name"`
	// Limits are null when no process runs.
	Limits *cgroup.Limits `json:"limits"`
}

func main() {
	if err := list(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1)
	}
}

// list writes the limits. What could not be read is an error, beside the limits of the others.
func list(ctx context.Context, w io.Writer) error {
	inspector, err := inspect.Open(ctx, inspect.Options{Parts: inspect.PartCgroup})
	if err != nil {
		return err
	}
	defer inspector.Close()
	reports, err := inspector.Containers(ctx)
	failed := []error{err}
	all := []container{}
	for _, r := range reports {
		item := container{Name: r.FullName()}
		if process, ok := r.Cgroup.InForce.Value(); ok {
			item.Limits = &process.Effective
		} else if cause := r.Cgroup.InForce.Cause(); cause != nil {
			failed = append(failed, fmt.Errorf("%q: %w", r.FullName(), cause))
		}
		all = append(all, item)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return errors.Join(append(failed, encoder.Encode(all))...)
}
