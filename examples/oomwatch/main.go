// Command oomwatch prints a line for each process of a container that the kernel kills for memory, with the limit that was
// reached and the cgroup that has it, and for each container that ended so.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/rtinspect/rtinspect/events"
	"github.com/rtinspect/rtinspect/inspect"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := watch(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oomwatch:", err)
		os.Exit(1)
	}
}

// killed is the exit status of a process that SIGKILL ended.
const killed = 137

// watch writes until ctx ends.
func watch(ctx context.Context, w io.Writer) error {
	options := events.Options{Topics: []string{events.TopicTaskOOM, events.TopicTaskExit}}
	out := map[string]bool{} // the containers in which something was killed
	for e, err := range events.Stream(ctx, options) {
		if err != nil {
			return err
		}
		if e.Container == nil || e.Confirmed != events.Confirmed {
			continue // anybody can publish an event
		}
		name := inspect.Container{Name: e.Container.Name, Pod: e.Container.Pod}.FullName()
		switch d := e.Detail.(type) {
		case events.OOM:
			out[e.Container.ID] = true
			_, err = fmt.Fprintf(w, "%q: killed at %s\n", name, limit(d))
		case events.TaskExit:
			if code, _ := d.Code.Value(); code == killed && out[e.Container.ID] && e.Exec == "" {
				_, err = fmt.Fprintf(w, "%q: ended with %d\n", name, code)
			}
			delete(out, e.Container.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limit tells whose limit was reached.
func limit(d events.OOM) string {
	hit, ok := d.Hit.Value()
	if !ok {
		return "a limit that is unknown, or the node's memory"
	}
	if !hit.Limit.Bounds() {
		return fmt.Sprintf("the limit of %q, which is unknown", hit.Cgroup)
	}
	return fmt.Sprintf("the limit of %s bytes of %q (%s)", hit.Limit, hit.Cgroup, hit.Kind)
}
