package main

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

// pod is a sandbox with the containers in it.
type pod struct {
	inspect.Container
	Containers []inspect.Container `json:"containers"`
}

func (v *invocation) podsCommand() *cli.Command {
	return &cli.Command{
		Name:  "pods",
		Usage: "list the pods of the node",
		Description: "Lists the pods' sandboxes: the containers that hold the namespaces of a pod. PID is the sandbox's own " +
			"process, pause, and CONTAINERS counts the pod's containers, running and all.",
		UsageText: "rtinspect pods\nrtinspect pods -o wide\nrtinspect pods -q --runtime-endpoint /run/crio/crio.sock",
		Flags:     listFlags(),
		Action:    v.pods,
	}
}

func (v *invocation) pods(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	if err := noArguments(c); err != nil {
		return err
	}
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		listed, err := s.List(ctx)
		pods := podsOf(listed)
		return errors.Join(o.write(&v.answer, podsAnswer(pods)), err, listGaps(sandboxes(pods)), needsRuntime(s, "pods"))
	})
}

// podsOf puts containers into their pods. It is never nil.
func podsOf(listed []inspect.Container) []pod {
	pods := []pod{}
	for _, container := range listed {
		if container.Kind == inspect.KindSandbox {
			pods = append(pods, pod{container, membersOf(container, listed)})
		}
	}
	return pods
}

// membersOf returns the containers of a pod. It is never nil.
func membersOf(sandbox inspect.Container, listed []inspect.Container) []inspect.Container {
	members := []inspect.Container{}
	for _, container := range listed {
		if container.Kind != inspect.KindSandbox && container.Pod != nil && container.Pod.SandboxID == sandbox.ID {
			members = append(members, container)
		}
	}
	return members
}

func sandboxes(pods []pod) []inspect.Container {
	var list []inspect.Container
	for _, p := range pods {
		list = append(list, p.Container)
	}
	return list
}

func podsAnswer(pods []pod) answer {
	return answer{
		data: pods,
		ids:  ids(sandboxes(pods)),
		text: func(w io.Writer, o output) { o.table(w, podsTable(pods, o)) },
	}
}

func podsTable(pods []pod, o output) table {
	t := table{header: []string{"POD", "NAMESPACE", "SANDBOX", "STATE", "PID", "CONTAINERS", "TIER", "RUNTIME"}}
	if o.wide() {
		t.header = append(t.header, "CREATED", "UID")
	}
	for _, p := range pods {
		name, namespace := podCells(p.Container)
		row := []cell{
			name, namespace, plain(o.id(p.ID)),
			factCell(p.State, o.wide()), factCell(p.PID, o.wide()), plain(p.count()),
			factCell(p.Tier, o.wide()), orDash(p.Runtime),
		}
		if o.wide() {
			uid := ""
			if p.Pod != nil {
				uid = p.Pod.UID
			}
			row = append(row, orDash(timeText(p.CreatedAt)), orDash(uid))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// count returns how many containers of the pod run, and how many there are: "1/2". What is not known to run is not counted as
// running.
func (p pod) count() string {
	running := 0
	for _, container := range p.Containers {
		if state, _ := container.State.Value(); state == inspect.StateRunning {
			running++
		}
	}
	return strconv.Itoa(running) + "/" + strconv.Itoa(len(p.Containers))
}
