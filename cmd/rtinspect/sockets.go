package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) socketsCommand() *cli.Command {
	return &cli.Command{
		Name:      "sockets",
		Usage:     "tell who can connect to the runtimes' sockets, and which containers reach them",
		ArgsUsage: "[PATH…]",
		Description: "Finds the sockets of container runtimes on this node: containerd, CRI-O, Docker, Podman, BuildKit, NRI, the " +
			"kubelet and shims; or takes those at PATH, or @ and the name of an abstract socket. Whoever connects to one can start a " +
			"privileged container, and so is root on the node. A socket is \"ok\" when only root can connect to it, change its mode or " +
			"put another in its place: the mode 0660 and the owner root:root on folders that only root writes, with nobody else in " +
			"the group root. It is \"open\" when somebody else can: by the mode, as a member of the group, by an ACL, or by a folder " +
			"above; and \"unknown\" when something that decides could not be read. A container that has the socket mounted, or a " +
			"folder above it, reaches it whatever it is called there, and mounting it read-only is no hindrance: its root may be " +
			"root to the socket. Without a runtime the containers are unknown. Wide adds the folders, ACLs and listeners.",
		UsageText: "rtinspect sockets\nrtinspect sockets /run/containerd/containerd.sock\nrtinspect sockets --connect -o wide\n" +
			"rtinspect sockets @/containerd-shim/1.sock\nrtinspect sockets -o json | jq '.[] | select(.verdict != \"ok\")'",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print paths only, a line each"},
			&cli.BoolFlag{Name: "no-headers", Usage: "print no header line above a table"},
			&cli.BoolFlag{Name: "connect", Usage: "try to connect as user nobody, too, and close at once; needs root"},
		},
		Action: v.sockets,
	}
}

// connectCommand is what --connect starts as user nobody, with the sockets.
const connectCommand = "__connect"

func (v *invocation) connectCommand() *cli.Command {
	return &cli.Command{
		Name:   connectCommand,
		Hidden: true,
		Action: func(c *cli.Context) error { return inspect.ConnectSockets(c.Args().Slice(), &v.answer) },
	}
}

func (v *invocation) sockets(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	wanted := inspect.SocketOptions{Paths: c.Args().Slice(), HostRoot: node.HostRoot}
	for _, p := range wanted.Paths {
		if !path.IsAbs(p) && !strings.HasPrefix(p, "@") {
			return misuse(c, "socket "+quote(p)+": want an absolute path, or @ and an abstract name")
		}
	}
	if c.Bool("connect") {
		wanted.Connect = []string{"/proc/self/exe", connectCommand, "--"}
	}
	show := func(list []inspect.Socket, err error) error {
		return errors.Join(o.write(&v.answer, socketsAnswer(list, wanted)), err, socketGaps(list))
	}
	if c.IsSet("snapshot") {
		return v.withNode(c, node, func(ctx context.Context, s source) error { return show(s.Sockets(ctx, wanted)) })
	}
	return interruptible(func(ctx context.Context) error {
		list, err := findSockets(ctx, node, wanted)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return show(list, err)
	})
}

// findSockets finds sockets, and the containers that reach them when there is a runtime to ask.
func findSockets(ctx context.Context, node inspect.Options, wanted inspect.SocketOptions) ([]inspect.Socket, error) {
	i, noRuntime := open(ctx, node)
	if noRuntime == nil {
		list, err := i.Sockets(ctx, wanted)
		return list, errors.Join(err, i.Close())
	}
	list, err := inspect.FindSockets(ctx, wanted)
	unknown := fmt.Errorf("in which containers sockets are reached: %w", noRuntime)
	for n := range list {
		list[n].Containers = inspect.UnknownFact[[]inspect.SocketContainer](unknown)
	}
	return list, errors.Join(err, unknown)
}

// socketGaps returns an error for each fact that is unknown, and for each cause one only: a folder that is closed hides all of a
// socket, and from which containers it is reached. Containers as a whole are unknown without a runtime only, which is told already.
func socketGaps(list []inspect.Socket) error {
	var all []error
	told := map[string]bool{}
	add := func(subject, fact string, cause error) {
		if cause == nil || told[subject+"\x00"+cause.Error()] {
			return
		}
		told[subject+"\x00"+cause.Error()] = true
		all = append(all, fmt.Errorf("%s: %s: %w", subject, fact, cause))
	}
	for _, s := range list {
		add(s.Path, "file", s.File.Cause())
		add(s.Path, "type", s.Type.Cause())
		add(s.Path, "connect", s.Connect.Cause())
		add(s.Path, "control", s.Control.Cause())
		add(s.Path, "nobody", s.Nobody.Cause())
		reached, _ := s.Containers.Value()
		for _, c := range reached {
			if cause := c.Ways.Cause(); cause != nil && !told[s.Path+"\x00"+cause.Error()] {
				add(c.Name, "sockets", cause)
			}
		}
	}
	return errors.Join(all...)
}

func socketsAnswer(list []inspect.Socket, wanted inspect.SocketOptions) answer {
	return answer{
		data: append([]inspect.Socket{}, list...), // never null
		ids:  socketPaths(list),
		text: func(w io.Writer, o output) {
			if o.wide() {
				socketPages(w, list, o)
				return
			}
			o.table(w, socketTable(list, len(wanted.Connect) > 0))
			writeNotes(w, "\nWhy:", socketNotes(list), o)
		},
	}
}

func socketPaths(list []inspect.Socket) []string {
	var paths []string
	for _, s := range list {
		paths = append(paths, s.Path)
	}
	return paths
}

func socketTable(list []inspect.Socket, tried bool) table {
	t := table{header: []string{"VERDICT", "KIND", "PATH", "MODE", "WHO CAN CONNECT"}}
	if tried {
		t.header = append(t.header, "AS NOBODY")
	}
	t.header = append(t.header, "REACHED FROM")
	for _, s := range list {
		row := []cell{
			styled(string(s.Verdict), verdictStyle(s.Verdict)), plain(string(s.Kind)), plain(s.Path),
			showFact(s.File, false, func(f inspect.SocketFile) string { return permissions(f.Permissions) }),
			showFact(s.Connect, false, inspect.Who.String),
		}
		if tried {
			row = append(row, showFact(s.Nobody, false, connectText))
		}
		t.rows = append(t.rows, append(row, reachedCell(s)))
	}
	return t
}

func verdictStyle(v inspect.SocketVerdict) style {
	switch v {
	case inspect.SocketOpen:
		return styleBad
	case inspect.SocketUnknown:
		return styleUnknown
	case inspect.SocketOK:
	}
	return styleNone
}

// permissions is mode, owner and group; a plus stands for an ACL, as in ls.
func permissions(p inspect.Permissions) string {
	text := p.Mode.String()
	if len(p.ACL) > 0 {
		text += "+"
	}
	return fmt.Sprintf("%s %s:%s", text, p.Owner, p.Group)
}

func connectText(r inspect.ConnectResult) string {
	switch {
	case r.Connected:
		return "connected"
	case r.Permitted:
		return "permitted, but " + r.Error
	}
	return "refused: " + r.Error
}

// reachedCell shows the containers with the path inside.
func reachedCell(s inspect.Socket) cell {
	list, ok := s.Containers.Value()
	if !ok {
		return factCell(s.Containers, false)
	}
	ways, unknown := reached(list)
	look := styleUnknown
	if len(ways) > 0 {
		look = styleBad
	}
	if len(unknown) > 0 {
		ways = append(ways, "unknown for "+count(len(unknown), "container", "containers"))
	}
	if len(ways) == 0 {
		return plain("-")
	}
	return styled(strings.Join(ways, ", "), look)
}

// reached tells by which paths containers reach a socket, and of which it is unknown.
func reached(list []inspect.SocketContainer) (ways, unknown []string) {
	for _, c := range list {
		found, ok := c.Ways.Value()
		if !ok {
			unknown = append(unknown, c.Name+" (unknown)")
		}
		for _, w := range found {
			ways = append(ways, c.Name+" at "+w.Path)
		}
	}
	return ways, unknown
}

// socketNotes tell why sockets are not ok.
func socketNotes(list []inspect.Socket) []note {
	var notes []note
	for _, s := range list {
		n := note{mark: styled("!", styleBad), text: s.Path + ": " + s.Reason}
		if s.Verdict == inspect.SocketUnknown {
			n.mark = styled("?", styleUnknown)
		}
		if s.Verdict != inspect.SocketOK {
			notes = append(notes, n)
		}
	}
	return notes
}

// socketPages writes everything about each socket, verdict first.
func socketPages(w io.Writer, list []inspect.Socket, o output) {
	for n, s := range list {
		if n > 0 {
			say(w, "\n")
		}
		say(w, styled(string(s.Verdict), verdictStyle(s.Verdict)).paint(o.color), "  ", escapeLine(s.Path), "\n")
		table{rows: socketRows(s)}.write(w, o.color)
	}
}

func socketRows(s inspect.Socket) [][]cell {
	rows := [][]cell{
		{plain("  why"), plain(s.Reason)},
		{plain("  kind"), plain(string(s.Kind))},
		{plain("  type"), factCell(s.Type, true)},
		{plain("  mode"), showFact(s.File, true, func(f inspect.SocketFile) string { return permissions(f.Permissions) })},
		{plain("  acl"), showFact(s.File, false, func(f inspect.SocketFile) string { return aclText(f.ACL) })},
		{plain("  device inode"), showFact(s.File, false, func(f inspect.SocketFile) string {
			return f.Device + " " + strconv.FormatUint(f.Inode, 10)
		})},
		{plain("  can connect"), showFact(s.Connect, false, inspect.Who.String)},
		{plain("  as nobody"), showFact(s.Nobody, true, connectText)},
		{plain("  can replace it"), showFact(s.Control, false, controlText)},
		{plain("  listeners"), orDash(listenersText(s.Listeners))},
	}
	if file, ok := s.File.Value(); ok {
		for _, p := range file.Paths {
			rows = append(rows, folderRows(p)...)
		}
	}
	return append(rows, reachedRows(s)...)
}

// aclText is the short form of getfacl, with the owner's names of the tags.
func aclText(acl []inspect.ACLEntry) string {
	var entries []string
	for _, e := range acl {
		text := e.Tag.String()
		if e.Tag == inspect.ACLUser || e.Tag == inspect.ACLGroup {
			text += " " + strconv.FormatUint(uint64(e.ID), 10)
		}
		entries = append(entries, text+":"+e.Perm.String())
	}
	return strings.Join(entries, ",")
}

func controlText(list []inspect.SocketControl) string {
	var texts []string
	for _, c := range list {
		texts = append(texts, fmt.Sprintf("%s, by %s", c.Who, c.Path))
	}
	if len(texts) == 0 {
		return "only root"
	}
	return strings.Join(texts, "; ")
}

func listenersText(list []inspect.Listener) string {
	var texts []string
	for _, l := range list {
		texts = append(texts, fmt.Sprintf("%d %s", l.PID, l.Name))
	}
	return strings.Join(texts, ", ")
}

// folderRows shows the folders above a path, and the symbolic links that lead to it.
func folderRows(p inspect.SocketPath) [][]cell {
	var rows [][]cell
	for _, name := range p.Named {
		rows = append(rows, []cell{plain("  link"), plain(name + " → " + p.Path)})
	}
	for _, f := range p.Folders {
		text := permissions(f.Permissions) + " " + f.Path
		if len(f.ACL) > 0 {
			text += " (" + aclText(f.ACL) + ")"
		}
		rows = append(rows, []cell{plain("  folder"), plain(text)})
	}
	return rows
}

func reachedRows(s inspect.Socket) [][]cell {
	list, ok := s.Containers.Value()
	if !ok || len(list) == 0 {
		return [][]cell{{plain("  reached from"), reachedCell(s)}}
	}
	var rows [][]cell
	ways, unknown := reached(list)
	for _, text := range ways {
		rows = append(rows, []cell{plain("  reached from"), styled(text, styleBad)})
	}
	for _, text := range unknown {
		rows = append(rows, []cell{plain("  reached from"), styled(text, styleUnknown)})
	}
	return rows
}
