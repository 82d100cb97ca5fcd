package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func (v *invocation) nsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ns",
		Usage:     "tell whose each namespace is: the host's, shared, or own",
		ArgsUsage: "[CONTAINER…]",
		Description: "For one container or process: each namespace, whether it is the host's, shared with other containers or its " +
			"own, whether that was asked for, whether it is the machine's initial one, and what both stand on; the id maps of its " +
			"user namespace. For several, or without arguments for every running container: a line each. \"!\" marks what was not " +
			"asked for. \"Host\" is the node's first process: in a node that is a container itself, as with kind, its namespaces " +
			"are not the initial ones. A process needs no runtime. JSON and YAML are an array, of one item too.",
		UsageText: "rtinspect ns\nrtinspect ns web\nrtinspect ns --pid 4012\nrtinspect ns shop/web shop/db -o wide\n" +
			"rtinspect ns -o json | jq '.[] | select(.namespaces.inForce.value[]? | .kind == \"net\" and .host.relation == \"same\") | .name'",
		Flags:  append(listFlags(), pidFlag()),
		Action: v.ns,
	}
}

func (v *invocation) ns(c *cli.Context) error {
	o, node, err := v.listOptions(c)
	if err != nil {
		return err
	}
	pid, isSet, err := pidOf(c)
	switch {
	case err != nil:
		return err
	case isSet:
		return v.nsOfPID(pid, o, node)
	}
	return v.nsOfContainers(c, o, node)
}

// containerNS is what is known of a container's namespaces.
type containerNS struct {
	inspect.Container
	Namespaces    inspect.Namespaces                                 `json:"namespaces"`
	UserNamespace inspect.Setting[bool, bool, inspect.UserNamespace] `json:"userNamespace"`
	Drift         []inspect.Difference                               `json:"drift"`
}

func (v *invocation) nsOfContainers(c *cli.Context, o output, node inspect.Options) error {
	refs := c.Args().Slice()
	node.Parts = inspect.PartNamespaces
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		reports, err := s.Containers(ctx, refs...)
		written := o.write(&v.answer, nsAnswer(reports, len(refs) == 1))
		return errors.Join(written, err, reportGaps(reports, nsGap))
	})
}

func nsAnswer(reports []inspect.Report, one bool) answer {
	list := []containerNS{}
	for _, r := range reports {
		list = append(list, containerNS{r.Container, r.Namespaces, r.UserNamespace, driftOf(r, nsGap)})
	}
	return answer{data: list, ids: reportIDs(reports), text: func(w io.Writer, o output) {
		if one && len(list) == 1 {
			list[0].page(w, o)
		} else {
			o.table(w, nsTable(list, o))
		}
		sayGuests(w, o, inReports(reports)...)
	}}
}

// nsGap tells the facts that this command answers with.
func nsGap(g inspect.Gap) bool {
	setting, _, _ := strings.Cut(g.Fact, ".")
	return slices.Contains([]string{"state", "pid", "namespaces", "userNamespace"}, setting)
}

// nsTable is a line for each container and a column for each kind. The namespaces of children to come are shown when they are
// wanted, or other than those of the process.
func nsTable(list []containerNS, o output) table {
	t := table{header: []string{"CONTAINER", "NAME", "POD"}}
	var kinds []nsdiff.Kind
	for _, k := range nsdiff.Kinds() {
		if k == k.Type() || o.wide() || slices.ContainsFunc(list, func(c containerNS) bool { return c.differs(k) }) {
			kinds = append(kinds, k)
			t.header = append(t.header, strings.ToUpper(k.String()))
		}
	}
	for _, c := range list {
		pod, _ := podCells(c.Container)
		row := []cell{plain(o.id(c.ID)), nameCell(c.Container), pod}
		for _, k := range kinds {
			row = append(row, showKind(c.Namespaces.InForce, k, o))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// differs tells that the namespace of children to come is not known to be that of the process, which is.
func (c containerNS) differs(k nsdiff.Kind) bool {
	list, _ := c.Namespaces.InForce.Value()
	children, _ := ofKind(list, k)
	process, _ := ofKind(list, k.Type())
	a, okA := children.ID.Value()
	b, okB := process.ID.Value()
	return children.ID.Known() != inspect.Absent && (okA != okB || a != b)
}

func ofKind(list []inspect.Namespace, k nsdiff.Kind) (inspect.Namespace, bool) {
	i := slices.IndexFunc(list, func(n inspect.Namespace) bool { return n.Kind == k })
	if i < 0 {
		return inspect.Namespace{}, false
	}
	return list[i], true
}

// showKind returns the cell of one kind in the table.
func showKind(inForce inspect.Fact[[]inspect.Namespace], k nsdiff.Kind, o output) cell {
	list, ok := inForce.Value()
	if !ok {
		return factCell(inForce, o.wide())
	}
	n, ok := ofKind(list, k)
	if !ok {
		return plain("-")
	}
	text := whose(n)
	if o.wide() && text == "shared" {
		text = sharers(n)
	}
	return marked(n, text)
}

// whose says in a word whose a namespace is.
func whose(n inspect.Namespace) string {
	expected, _ := n.Expected.Value()
	switch {
	case n.ID.Known() == inspect.Absent:
		return "-"
	case n.ID.Known() == inspect.Unknown:
		return "unknown"
	case n.Host.Relation == nsdiff.Same:
		return "host"
	case len(n.With) > 0 && expected == nsdiff.ExpectPod && n.Verdict == nsdiff.AsExpected:
		return "pod"
	case len(n.With) > 0:
		return "shared"
	case n.Host.Relation == nsdiff.Unknown:
		return "unknown"
	}
	return "own"
}

// sharers says with whom a namespace is shared.
func sharers(n inspect.Namespace) string {
	var names []string
	for _, other := range n.With {
		name := other.Name
		if other.Kind == inspect.KindSandbox {
			name += " (sandbox)"
		}
		names = append(names, name)
	}
	return "shared with " + strings.Join(names, ", ")
}

// marked returns a cell for a namespace, with a mark when it is a surprise.
func marked(n inspect.Namespace, text string) cell {
	switch {
	case n.Verdict == nsdiff.Surprise:
		return styled("! "+text, styleBad)
	case text == "unknown":
		return styled(text, styleUnknown)
	}
	return plain(text)
}

// page writes everything about a container's namespaces.
func (c containerNS) page(w io.Writer, o output) {
	rows := append(nameRows(c.Container, o),
		[]cell{plain("requested"), showFact(c.Namespaces.Requested, o.wide(), requestedNamespaces)},
		[]cell{plain("declared"), showFact(c.Namespaces.Declared, o.wide(), declaredNamespaces)})
	user := c.UserNamespace.InForce
	table{rows: append(rows, mapRows(mapFact(user, idMaps), o)...)}.write(w, o.color)
	say(w, "\n")
	list, ok := c.Namespaces.InForce.Value()
	if !ok {
		say(w, "namespaces in force: ", whyNot(c.Namespaces.InForce).paint(o.color), "\n")
		return
	}
	t := table{header: []string{"KIND", "ID", "VERDICT", "EXPECTED", "INITIAL", "PROOF"}}
	if o.wide() {
		t.header = append(t.header, "OWNER")
	}
	for _, n := range list {
		row := []cell{
			plain(n.Kind.String()), showFact(n.ID, false, inode), verdict(n),
			showFact(n.Expected, false, nsdiff.Expectation.String), initial(n.Comparison), plain(proof(n.Comparison)),
		}
		t.rows = append(t.rows, append(row, ownerCells(c.Namespaces.Lineage, n.Kind, o)...))
	}
	o.table(w, t)
	writeReasons(w, list, o)
	if len(c.Drift) > 0 {
		say(w, "\nDrift:\n")
		writeDrift(w, c.Drift, o)
	}
}

func inode(n nsdiff.Namespace) string { return strconv.FormatUint(n.Inode, 10) }

// verdict says whose a namespace is, and whether that is a surprise.
func verdict(n inspect.Namespace) cell {
	text := whose(n)
	switch text {
	case "host":
		text = "the host's"
	case "pod", "shared":
		text = sharers(n)
	}
	return marked(n, text)
}

// initial tells whether a namespace is the machine's initial one.
func initial(c nsdiff.Comparison) cell {
	switch c.Initial.Relation {
	case nsdiff.Same:
		return plain("yes")
	case nsdiff.Other:
		return plain("no")
	case nsdiff.Absent:
		return plain("-")
	case nsdiff.Unknown:
	}
	return styled("unknown", styleUnknown)
}

// proof says what the comparisons stand on.
func proof(c nsdiff.Comparison) string {
	switch {
	case c.Host.Proof == "" && c.Initial.Proof == "":
		return "-"
	case c.Host.Proof == c.Initial.Proof || c.Initial.Proof == "":
		return string(c.Host.Proof)
	case c.Host.Proof == "":
		return "initial: " + string(c.Initial.Proof)
	}
	return string(c.Host.Proof) + "; initial: " + string(c.Initial.Proof)
}

// ownerCells is the user namespace that owns one of a kind, in wide tables.
func ownerCells(lineage inspect.Fact[nsdiff.Lineage], k nsdiff.Kind, o output) []cell {
	if !o.wide() {
		return nil
	}
	return []cell{ownerCell(lineage, k)}
}

func ownerCell(lineage inspect.Fact[nsdiff.Lineage], k nsdiff.Kind) cell {
	l, ok := lineage.Value()
	if !ok {
		return factCell(lineage, true)
	}
	owner, err := l.Owner(k)
	switch {
	case err == nil:
		return plain(owner.String())
	case errors.Is(err, nsdiff.ErrAbsent):
		return plain("-")
	}
	return styled("unknown ("+err.Error()+")", styleUnknown)
}

// writeReasons explains surprises and what is unknown. That nothing is known of what was asked for, without a runtime, it tells
// once.
func writeReasons(w io.Writer, list []inspect.Namespace, o output) {
	first, told := true, false
	for _, n := range list {
		text := fmt.Sprintf("%s: %s", n.Kind, n.Reason)
		mark := styled("!", styleBad)
		switch n.Verdict {
		case nsdiff.Surprise:
		case nsdiff.Unproven:
			mark = styled("?", styleUnknown)
			if n.Reason == inspect.ErrKernelOnly.Error() {
				if told {
					continue
				}
				text, told = "what was asked for: "+n.Reason, true
			}
		default:
			continue
		}
		if first {
			say(w, "\n")
			first = false
		}
		if expected, ok := n.Expected.Value(); ok && n.Verdict == nsdiff.Surprise {
			text += "; " + expectations[expected] + " was asked for"
		}
		say(w, "  ", mark.paint(o.color), " ", wrap(escapeLine(text), o.terminal.width-4, "      "), "\n")
	}
}

// expectations say what was asked for.
var expectations = map[nsdiff.Expectation]string{
	nsdiff.ExpectHost: "the host's", nsdiff.ExpectPod: "the pod's", nsdiff.ExpectOwn: "one of its own",
	nsdiff.ExpectJoined: "the one that was declared",
}

func requestedNamespaces(q inspect.NamespaceRequest) string {
	text := fmt.Sprintf("network %s, pid %s, ipc %s", q.Network, q.PID, q.IPC)
	if q.Target != "" {
		text += ", target " + q.Target
	}
	return text
}

func declaredNamespaces(list []inspect.NamespaceDeclared) string {
	var words []string
	for _, n := range list {
		word := n.Kind.String()
		if n.Path != "" {
			word += "=" + n.Path
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// declaredKinds says which namespaces are new, and which are joined.
func declaredKinds(list []inspect.NamespaceDeclared) string {
	var made, joined []string
	for _, n := range list {
		if n.Path == "" {
			made = append(made, n.Kind.String())
		} else {
			joined = append(joined, n.Kind.String())
		}
	}
	return grouped(map[string][]string{"new": made, "joined": joined})
}

// kindsByOwner says whose the namespaces are.
func kindsByOwner(list []inspect.Namespace) string {
	kinds := map[string][]string{}
	for _, n := range list {
		if n.Kind == n.Kind.Type() && n.ID.Known() != inspect.Absent {
			kinds[whose(n)] = append(kinds[whose(n)], n.Kind.String())
		}
	}
	return grouped(kinds)
}

// grouped shows words behind what they have in common.
func grouped(words map[string][]string) string {
	var parts []string
	for _, title := range slices.Sorted(maps.Keys(words)) {
		if len(words[title]) > 0 {
			parts = append(parts, title+" "+strings.Join(words[title], ","))
		}
	}
	return strings.Join(parts, "; ")
}

func idMaps(n inspect.UserNamespace) nsdiff.IDMaps {
	return nsdiff.IDMaps{UID: n.UIDMap, GID: n.GIDMap, Setgroups: n.Setgroups}
}

// mapRows tells what a user namespace makes of ids.
func mapRows(maps inspect.Fact[nsdiff.IDMaps], o output) [][]cell {
	return [][]cell{
		{plain("uid map"), showFact(maps, o.wide(), func(m nsdiff.IDMaps) string { return idMap(m.UID) })},
		{plain("gid map"), showFact(maps, o.wide(), func(m nsdiff.IDMaps) string { return idMap(m.GID) })},
		{plain("setgroups"), showFact(maps, o.wide(), func(m nsdiff.IDMaps) string { return string(m.Setgroups) })},
	}
}

// idMap shows ranges as inside→outside+size.
func idMap(m nsdiff.IDMap) string {
	if m.Identity() {
		return "every id is the same outside"
	}
	if len(m) == 0 {
		return "no id exists inside"
	}
	var words []string
	for _, r := range m {
		words = append(words, fmt.Sprintf("%d→%d+%d", r.Inside, r.Outside, r.Size))
	}
	return strings.Join(words, " ")
}

// processNS is what is known of a process's namespaces.
type processNS struct {
	PID        int                         `json:"pid"`
	Namespaces []comparedNS                `json:"namespaces"`
	IDMaps     inspect.Fact[nsdiff.IDMaps] `json:"idMaps"`
	Lineage    nsdiff.Lineage              `json:"lineage"`
}

// comparedNS is a namespace of a process.
type comparedNS struct {
	Kind nsdiff.Kind                    `json:"kind"`
	ID   inspect.Fact[nsdiff.Namespace] `json:"id"`
	nsdiff.Comparison
}

func (v *invocation) nsOfPID(pid int, o output, node inspect.Options) error {
	r := nsdiff.Reader{Proc: filepath.Join(node.HostRoot, "proc")}
	p, err := r.Process(pid)
	if err != nil {
		return err
	}
	host := r.Host()
	maps, err := p.IDMaps()
	result := processNS{PID: pid, IDMaps: factOf(maps, err, nsdiff.ErrAbsent), Lineage: p.Lineage}
	for _, k := range nsdiff.Kinds() {
		id, err := p.Namespaces.Namespace(k)
		result.Namespaces = append(result.Namespaces, comparedNS{k, factOf(id, err, nsdiff.ErrAbsent), host.Compare(p.Namespaces, k)})
	}
	written := o.write(&v.answer, answer{data: []processNS{result}, ids: []string{strconv.Itoa(pid)}, text: result.page})
	return errors.Join(written, result.gaps())
}

// factOf returns a value, or why there is none: absent when err wraps that.
func factOf[T any](value T, err, absent error) inspect.Fact[T] {
	switch {
	case err == nil:
		return inspect.KnownFact(value, "")
	case errors.Is(err, absent):
		return inspect.AbsentFact[T](err.Error())
	}
	return inspect.UnknownFact[T](err)
}

// gaps returns an error for each fact that is unknown.
func (p processNS) gaps() error {
	all := []error{p.IDMaps.Cause()}
	for _, n := range p.Namespaces {
		if n.ID.Known() != inspect.Present {
			all = append(all, n.ID.Cause())
			continue
		}
		for what, match := range []nsdiff.Match{n.Host, n.Initial} {
			if match.Relation == nsdiff.Unknown {
				all = append(all, fmt.Errorf("%s: whether it is %s: %s", n.Kind, []string{"the host's", "the initial one"}[what], match.Cause))
			}
		}
		if _, err := p.Lineage.Owner(n.Kind); err != nil && !errors.Is(err, nsdiff.ErrAbsent) {
			all = append(all, fmt.Errorf("%s: its owner: %w", n.Kind, err))
		}
	}
	for i, err := range all {
		if err != nil {
			all[i] = fmt.Errorf("process %d: %w", p.PID, err)
		}
	}
	return errors.Join(all...)
}

func (p processNS) page(w io.Writer, o output) {
	table{rows: append([][]cell{{plain("pid"), plain(strconv.Itoa(p.PID))}}, mapRows(p.IDMaps, o)...)}.write(w, o.color)
	say(w, "\n")
	t := table{header: []string{"KIND", "ID", "VERDICT", "INITIAL", "PROOF"}}
	if o.wide() {
		t.header = append(t.header, "OWNER")
	}
	for _, n := range p.Namespaces {
		row := []cell{
			plain(n.Kind.String()), showFact(n.ID, o.wide(), inode), hostCell(n), initial(n.Comparison), plain(proof(n.Comparison)),
		}
		t.rows = append(t.rows, append(row, ownerCells(inspect.KnownFact(p.Lineage, ""), n.Kind, o)...))
	}
	o.table(w, t)
}

// hostCell tells of a process alone whether a namespace is the host's.
func hostCell(n comparedNS) cell {
	switch n.Host.Relation {
	case nsdiff.Same:
		return plain("the host's")
	case nsdiff.Other:
		return plain("not the host's")
	case nsdiff.Absent:
		return plain("-")
	case nsdiff.Unknown:
	}
	return styled("unknown", styleUnknown)
}
