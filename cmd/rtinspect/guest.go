package main

import (
	"io"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

// sayGuests tells, below an answer with what the kernel has in force, of which containers that is their sandbox's.
func sayGuests(w io.Writer, o output, list ...inspect.Container) {
	var names []string
	for _, c := range list {
		if c.Guest() {
			names = append(names, plain(c.FullName()).text)
		}
	}
	if len(names) == 0 || !o.headers {
		return
	}
	say(w, "\n", wrap("In a sandbox, with a kernel of its own: "+strings.Join(names, ", ")+". What is in force is of the sandbox's process on "+
		"the node, not of what runs in it.", o.terminal.width, ""), "\n")
}

// inReports returns the containers of reports.
func inReports(reports []inspect.Report) []inspect.Container {
	list := make([]inspect.Container, 0, len(reports))
	for _, r := range reports {
		list = append(list, r.Container)
	}
	return list
}
