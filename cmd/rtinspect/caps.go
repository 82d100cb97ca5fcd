package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

func (v *invocation) capsCommand() *cli.Command {
	return &cli.Command{
		Name:      "caps",
		Usage:     "decode capabilities: of containers, a process or a mask",
		ArgsUsage: "[CONTAINER…]",
		Description: "For one container or process: the five capability sets, how they differ from the runtime's default, what each " +
			"capability that is held or within reach allows and how it leads out of a container, and where requested, declared " +
			"and in force differ. For several, or without arguments for every running container: a line each. Masks and " +
			"processes need no runtime. JSON and YAML are an array, of one item too.",
		UsageText: "rtinspect caps\nrtinspect caps web\nrtinspect caps --pid 4012\nrtinspect caps --mask a80425fb\n" +
			"grep Cap /proc/self/status | rtinspect caps --mask -",
		Flags: append(listFlags(),
			pidFlag(),
			&cli.StringFlag{Name: "mask", Usage: "decode the mask `HEX`; - reads masks or Cap lines of /proc/PID/status from stdin; with -q, names only"},
			&cli.StringFlag{Name: "default", Usage: "compare with the default of `RUNTIME`: " + strings.Join(defaultNames(), ", ")},
		),
		Action: v.caps,
	}
}

func (v *invocation) caps(c *cli.Context) error {
	o, err := v.output(c)
	if err != nil {
		return err
	}
	node, err := options(c)
	if err != nil {
		return err
	}
	byDefault, err := defaultFlag(c)
	if err != nil {
		return err
	}
	switch {
	case c.IsSet("pid") && c.IsSet("mask"):
		return misuse(c, "flags --pid and --mask exclude each other")
	case (c.IsSet("pid") || c.IsSet("mask")) && c.Args().Present():
		return misuse(c, "unexpected argument "+quote(c.Args().First())+": --pid and --mask take the place of a container")
	case c.IsSet("pid"):
		return v.capsOfPID(c, o, node, byDefault)
	case c.IsSet("mask"):
		return v.capsOfMasks(c, o, byDefault)
	}
	return v.capsOfContainers(c, o, node, byDefault)
}

// defaultNames are the runtimes whose default is known.
func defaultNames() []string {
	var names []string
	for _, d := range caps.Defaults() {
		names = append(names, d.Runtime)
	}
	return names
}

// defaultFlag returns the default that is to be compared with, absent when none was named.
func defaultFlag(c *cli.Context) (inspect.Fact[caps.Set], error) {
	name := c.String("default")
	if !c.IsSet("default") {
		return inspect.AbsentFact[caps.Set]("no runtime was named with --default"), nil
	}
	for _, d := range caps.Defaults() {
		if strings.EqualFold(d.Runtime, name) {
			return inspect.KnownFact(d.Set, "the default of "+d.Runtime+" since "+d.Since), nil
		}
	}
	return inspect.Fact[caps.Set]{}, misuse(c, "unknown runtime "+quote(name)+" in --default: want "+strings.Join(defaultNames(), ", "))
}

// held is a capability that a process has or can reach.
type held struct {
	Capability caps.Cap `json:"-"`
	Name       string   `json:"capability"`
	// When is now, raise (by capset) or exec (by running a program), and empty for a mask alone.
	When string `json:"when,omitempty"`
	caps.Info
	// Danger is how harmful it is where the process is, unlike Info's.
	Danger caps.Danger `json:"danger"`
}

// holdings returns what a process has or can reach, the most dangerous first. It is never nil.
func holdings(r caps.Reach) []held {
	list := []held{}
	for c := range r.All().All() {
		list = append(list, held{Capability: c, Name: c.String(), When: when(r, c), Info: c.Info(), Danger: r.Danger(c)})
	}
	slices.SortStableFunc(list, func(a, b held) int { return b.Danger.Compare(a.Danger) })
	return list
}

// when tells how far away a capability is.
func when(r caps.Reach, c caps.Cap) string {
	switch {
	case r.Now.Has(c):
		return "now"
	case r.Raise.Has(c):
		return "raise"
	}
	return "exec"
}

// worst returns the greatest danger among the holdings that fit, none when there are none.
func worst(list []held, fits func(held) bool) caps.Danger {
	result := caps.DangerNone
	for _, h := range list {
		if fits(h) && h.Danger.Compare(result) > 0 {
			result = h.Danger
		}
	}
	return result
}

func heldNow(h held) bool { return h.When == "now" }

func heldAtAll(held) bool { return true }

// containerCaps is what is known of a container's capabilities.
type containerCaps struct {
	inspect.Container
	Capabilities inspect.Capabilities `json:"capabilities"`
	// Difference is how the bounding set in force differs from the default.
	Difference    inspect.Fact[caps.Diff]                            `json:"difference"`
	NoNewPrivs    inspect.Setting[bool, bool, bool]                  `json:"noNewPrivs"`
	UserNamespace inspect.Setting[bool, bool, inspect.UserNamespace] `json:"userNamespace"`
	Held          inspect.Fact[[]held]                               `json:"held"`
	Drift         []inspect.Difference                               `json:"drift"`
}

func (v *invocation) capsOfContainers(c *cli.Context, o output, node inspect.Options, byDefault inspect.Fact[caps.Set]) error {
	refs := c.Args().Slice()
	node.Parts = inspect.PartStatus // no capability depends on more
	return v.withNode(c, node, func(ctx context.Context, s source) error {
		reports, err := s.Containers(ctx, refs...)
		list := []containerCaps{}
		for _, r := range reports {
			if byDefault.Known() == inspect.Present {
				r.Capabilities.Default = byDefault
			}
			list = append(list, capsOf(r))
		}
		written := o.write(&v.answer, answer{
			data: list,
			ids:  reportIDs(reports),
			text: func(w io.Writer, o output) {
				if len(refs) == 1 && len(list) == 1 {
					list[0].page(w, o)
				} else {
					o.table(w, capsTable(list, o))
				}
				sayGuests(w, o, inReports(reports)...)
			},
		})
		return errors.Join(written, err, reportGaps(reports, capabilityGap))
	})
}

// capabilityGap tells the facts that this command answers with.
func capabilityGap(g inspect.Gap) bool {
	setting, _, _ := strings.Cut(g.Fact, ".")
	return slices.Contains([]string{"state", "pid", "tier", "capabilities", "noNewPrivs", "userNamespace"}, setting)
}

// capsOf takes from a report what is about capabilities.
func capsOf(r inspect.Report) containerCaps {
	return containerCaps{
		Container:     r.Container,
		Capabilities:  r.Capabilities,
		Difference:    difference(r.Capabilities.InForce, r.Capabilities.Default),
		NoNewPrivs:    r.NoNewPrivs,
		UserNamespace: r.UserNamespace,
		Held:          mapFact(r.Capabilities.Reach, holdings),
		Drift:         driftOf(r, capabilityGap),
	}
}

// mapFact applies f to the value of a fact.
func mapFact[T, U any](fact inspect.Fact[T], f func(T) U) inspect.Fact[U] {
	value, ok := fact.Value()
	switch {
	case ok:
		return inspect.KnownFact(f(value), fact.Source())
	case fact.Known() == inspect.Absent:
		return inspect.AbsentFact[U](fact.Source())
	}
	return inspect.UnknownFact[U](fact.Cause())
}

// difference compares the bounding set, which limits the others, with a default.
func difference(state inspect.Fact[caps.State], byDefault inspect.Fact[caps.Set]) inspect.Fact[caps.Diff] {
	set, ok := byDefault.Value()
	if !ok {
		return mapFact(byDefault, func(caps.Set) caps.Diff { return caps.Diff{} })
	}
	return mapFact(state, func(s caps.State) caps.Diff { return s.Bounding.Diff(set) })
}

func capsTable(list []containerCaps, o output) table {
	t := table{header: []string{"CONTAINER", "NAME", "POD", "EFFECTIVE", "NOW", "REACHABLE", "NO_NEW_PRIVS", "BEYOND DEFAULT"}}
	if o.wide() {
		t.header = []string{
			"CONTAINER", "NAME", "POD", "EFFECTIVE", "PERMITTED", "BOUNDING", "INHERITABLE", "AMBIENT",
			"NOW", "REACHABLE", "NO_NEW_PRIVS", "USER NAMESPACE", "BEYOND DEFAULT", "WITHOUT",
		}
	}
	for _, c := range list {
		t.rows = append(t.rows, c.row(o))
	}
	return t
}

// row returns the container's line in the table.
func (c containerCaps) row(o output) []cell {
	pod, _ := podCells(c.Container)
	row := []cell{plain(o.id(c.ID)), nameCell(c.Container), pod}
	sets := fiveSets[:1]
	if o.wide() {
		sets = fiveSets
	}
	for _, set := range sets {
		row = append(row, showFact(c.Capabilities.InForce, o.wide(), set.mask))
	}
	row = append(row,
		dangerCell(c.Held, heldNow), dangerCell(c.Held, heldAtAll),
		showFact(c.NoNewPrivs.InForce, o.wide(), onOff))
	if o.wide() {
		row = append(row, showFact(c.UserNamespace.InForce, true, userNamespace))
	}
	row = append(row, showFact(c.Difference, o.wide(), func(d caps.Diff) string { return short(d.Added, o) }))
	if o.wide() {
		row = append(row, showFact(c.Difference, true, func(d caps.Diff) string { return short(d.Removed, o) }))
	}
	return row
}

// short returns the first names of a set, and how many more there are; all of them when that is wanted.
func short(s caps.Set, o output) string {
	const most = 3
	names := s.Names()
	if o.wide() || len(names) <= most {
		return s.String()
	}
	return strings.Join(names[:most], ",") + fmt.Sprintf(" and %d more", len(names)-most)
}

// dangerCell shows the worst of what is held.
func dangerCell(list inspect.Fact[[]held], fits func(held) bool) cell {
	c := showFact(list, false, func(l []held) string { return worst(l, fits).String() })
	if l, ok := list.Value(); ok {
		c.style = dangerStyle(worst(l, fits))
	}
	return c
}

func dangerStyle(d caps.Danger) style {
	switch d {
	case caps.DangerCritical, caps.DangerHigh:
		return styleBad
	case caps.DangerMedium:
		return styleWarning
	case caps.DangerUnknown:
		return styleUnknown
	case caps.DangerLow, caps.DangerNone:
	}
	return styleNone
}

// page writes everything about a container's capabilities.
func (c containerCaps) page(w io.Writer, o output) {
	pod, namespace := podCells(c.Container)
	table{rows: [][]cell{
		{plain("container"), plain(c.ID)},
		{plain("name"), nameCell(c.Container)},
		{plain("pod"), pod},
		{plain("namespace"), namespace},
		{plain("pid"), factCell(c.PID, o.wide())},
		{plain("requested"), showFact(c.Capabilities.Requested, o.wide(), requestedCapabilities)},
		{plain("no_new_privs"), showFact(c.NoNewPrivs.InForce, o.wide(), onOff)},
		{plain("user namespace"), showFact(c.UserNamespace.InForce, o.wide(), whichUserNamespace)},
	}}.write(w, o.color)
	writeSets(w, c.Capabilities.InForce, o)
	writeDifferenceFromDefault(w, c.Difference, c.Capabilities.Default, o)
	writeReach(w, c.Capabilities.Reach, o)
	if list, ok := c.Held.Value(); ok {
		writeHeld(w, list, o)
	}
	if len(c.Drift) > 0 {
		say(w, "\nDrift:\n")
		writeDrift(w, c.Drift, o)
	}
}

// processCaps is what is known of a process's capabilities.
type processCaps struct {
	PID     int        `json:"pid"`
	InForce caps.State `json:"inForce"`
	Reach   caps.Reach `json:"reach"`
	// Difference is how the bounding set differs from the default that was named.
	Difference inspect.Fact[caps.Diff] `json:"difference"`
	Held       []held                  `json:"held"`
}

func (v *invocation) capsOfPID(c *cli.Context, o output, node inspect.Options, byDefault inspect.Fact[caps.Set]) error {
	pid, err := parsePID(c)
	if err != nil {
		return err
	}
	state, reach, err := caps.Reader{Proc: filepath.Join(node.HostRoot, "proc")}.Reach(pid)
	if err != nil {
		return err
	}
	inForce := inspect.KnownFact(state, "")
	result := processCaps{pid, state, reach, difference(inForce, byDefault), holdings(reach)}
	written := o.write(&v.answer, answer{
		data: []processCaps{result},
		ids:  []string{strconv.Itoa(result.PID)},
		text: func(w io.Writer, o output) { result.page(w, byDefault, o) },
	})
	return errors.Join(written, reachGaps(result))
}

// reachGaps returns an error for each fact of a process that is unknown.
func reachGaps(result processCaps) error {
	var noNewPrivs, userNS error
	if result.InForce.NoNewPrivs == caps.NoNewPrivsUnknown {
		noNewPrivs = fmt.Errorf("process %d: no_new_privs: unknown: the kernel shows it since Linux 4.10", result.PID)
	}
	if result.Reach.UserNSError != "" {
		userNS = fmt.Errorf("process %d: user namespace: %s", result.PID, result.Reach.UserNSError)
	}
	return errors.Join(noNewPrivs, userNS)
}

func (r processCaps) page(w io.Writer, byDefault inspect.Fact[caps.Set], o output) {
	table{rows: [][]cell{
		{plain("pid"), plain(strconv.Itoa(r.PID))},
		{plain("no_new_privs"), plain(r.InForce.NoNewPrivs.String())},
		{plain("user namespace"), plain(r.Reach.UserNS.String())},
	}}.write(w, o.color)
	writeSets(w, inspect.KnownFact(r.InForce, ""), o)
	if byDefault.Known() == inspect.Present {
		writeDifferenceFromDefault(w, r.Difference, byDefault, o)
	}
	writeReach(w, inspect.KnownFact(r.Reach, ""), o)
	writeHeld(w, r.Held, o)
}

// writeSets writes the five sets, each with its mask and names. A set that is the same as one above says so.
func writeSets(w io.Writer, state inspect.Fact[caps.State], o output) {
	say(w, "\n")
	s, ok := state.Value()
	if !ok {
		say(w, "capabilities in force: ", whyNot(state).paint(o.color), "\n")
		return
	}
	const indent = 31 // up to the names: "inheritable  0000000000000000  "
	seen := map[caps.Set]string{}
	for _, set := range fiveSets {
		if set.absent(s) {
			say(w, fmt.Sprintf("%-11s  %-16s  this kernel has no such set\n", set.name, "-"))
			continue
		}
		value := set.inForce(s)
		names := value.String()
		if first, again := seen[value]; again && !value.IsEmpty() {
			names = "as " + first
		} else {
			seen[value] = set.name
		}
		say(w, fmt.Sprintf("%-11s  %s  ", set.name, value.Mask()))
		say(w, wrap(names, o.terminal.width-indent, strings.Repeat(" ", indent)), "\n")
	}
}

// writeDifferenceFromDefault tells what the bounding set has beyond the default and what it lacks.
func writeDifferenceFromDefault(w io.Writer, diff inspect.Fact[caps.Diff], byDefault inspect.Fact[caps.Set], o output) {
	say(w, "\n")
	if _, ok := byDefault.Value(); !ok {
		say(w, "not compared with a default: ", whyNot(byDefault).paint(o.color), "\n")
		return
	}
	d, ok := diff.Value()
	if !ok {
		say(w, "compared with ", escapeLine(byDefault.Source()), ": ", whyNot(diff).paint(o.color), "\n")
		return
	}
	say(w, "compared with ", escapeLine(byDefault.Source()), ":\n")
	writeNames(w, "  added    ", d.Added, o)
	writeNames(w, "  removed  ", d.Removed, o)
}

// writeNames writes a title and the names of a set under each other's edge.
func writeNames(w io.Writer, title string, s caps.Set, o output) {
	say(w, title, wrap(s.String(), o.terminal.width-len(title), strings.Repeat(" ", len(title))), "\n")
}

// writeReach tells what the process could do beyond what it can do now.
func writeReach(w io.Writer, reach inspect.Fact[caps.Reach], o output) {
	r, ok := reach.Value()
	if !ok {
		return // what is in force is not known either, and was told
	}
	say(w, "\nreach:\n")
	writeNames(w, "  raise  ", r.Raise, o)
	writeNames(w, "  exec   ", r.OnExec, o)
	if r.NoNewPrivs == caps.NoNewPrivsOn {
		say(w, "         (no_new_privs is on: no program adds any)\n")
	}
	if r.UserNS == caps.UserNSOther {
		say(w, "         (all in a user namespace of its own: they hold only there)\n")
	}
}

// writeHeld explains each capability that can do harm; those of low danger are only named.
func writeHeld(w io.Writer, list []held, o output) {
	var low caps.Set
	for _, h := range list {
		if h.Danger.Compare(caps.DangerLow) <= 0 {
			low = low.Union(caps.Of(h.Capability))
			continue
		}
		h.explain(w, o)
	}
	if !low.IsEmpty() {
		say(w, "\n")
		writeNames(w, "low danger  ", low, o)
	}
}

// explain writes what a capability allows and how it leads out of a container.
func (h held) explain(w io.Writer, o output) {
	say(w, "\n", styled(h.Name, dangerStyle(h.Danger)).paint(o.color), "  ", h.Danger.String(), whenText[h.When], "\n")
	for _, line := range []struct{ title, text string }{
		{"allows  ", h.Allows}, {"escape  ", h.Escape}, {"see     ", strings.Join(h.Refs, ", ")},
	} {
		if line.text != "" {
			const indent = "          "
			say(w, "  ", line.title, wrap(line.text, o.terminal.width-len(indent), indent), "\n")
		}
	}
}

// whenText says how far away a capability is.
var whenText = map[string]string{
	"now":   ", held now",
	"raise": ", one capset call away",
	"exec":  ", reachable by running a program",
}

// maskCaps is a decoded mask.
type maskCaps struct {
	// Label is what stood before the mask, such as CapEff.
	Label        string   `json:"label,omitempty"`
	Mask         string   `json:"mask"`
	Capabilities caps.Set `json:"capabilities"`
	// Difference is how the mask differs from the default that was named.
	Difference inspect.Fact[caps.Diff] `json:"difference"`
	Held       []held                  `json:"held"`
}

func (v *invocation) capsOfMasks(c *cli.Context, o output, byDefault inspect.Fact[caps.Set]) error {
	list, err := v.readMasks(c)
	if err != nil {
		return err
	}
	var names []string
	for i, m := range list {
		list[i].Mask = m.Capabilities.Mask()
		list[i].Held = holdings(caps.Reach{Now: m.Capabilities})
		for n := range list[i].Held {
			list[i].Held[n].When = "" // a mask does not tell
		}
		list[i].Difference = mapFact(byDefault, m.Capabilities.Diff)
		names = append(names, m.Capabilities.Names()...)
	}
	return o.write(&v.answer, answer{
		data: list,
		ids:  names,
		text: func(w io.Writer, o output) { masksPage(w, list, byDefault, o) },
	})
}

// readMasks returns the mask of the flag, or those on stdin.
func (v *invocation) readMasks(c *cli.Context) ([]maskCaps, error) {
	if text := c.String("mask"); text != "-" {
		set, err := caps.ParseMask(text)
		if err != nil {
			return nil, misuse(c, "flag --mask: "+err.Error())
		}
		return []maskCaps{{Capabilities: set}}, nil
	}
	list := []maskCaps{}
	lines := bufio.NewScanner(v.stdin)
	for n := 1; lines.Scan(); n++ {
		m, ok, err := parseMaskLine(lines.Text())
		if err != nil {
			return nil, misuse(c, fmt.Sprintf("stdin: line %d: %v", n, err))
		}
		if ok {
			list = append(list, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("stdin: %w", err)
	}
	if len(list) == 0 {
		return nil, misuse(c, "stdin: no mask in it")
	}
	return list, nil
}

// parseMaskLine reads a mask, or a line of /proc/PID/status such as "CapEff:\t00000000a80425fb". Its other lines are passed
// over, so that the whole file can be given; ok is false for them and for empty lines.
func parseMaskLine(line string) (m maskCaps, ok bool, err error) {
	label, mask, labeled := strings.Cut(line, ":")
	switch {
	case strings.TrimSpace(line) == "", labeled && !strings.HasPrefix(label, "Cap"):
		return maskCaps{}, false, nil
	case !labeled:
		label, mask = "", line
	}
	set, err := caps.ParseMask(strings.TrimSpace(mask))
	return maskCaps{Label: label, Capabilities: set}, err == nil, err
}

// masksPage writes each mask as capsh --decode does, and explains it when it is the only one.
func masksPage(w io.Writer, list []maskCaps, byDefault inspect.Fact[caps.Set], o output) {
	for _, m := range list {
		if m.Label != "" {
			say(w, escapeLine(m.Label), ": ")
		}
		say(w, m.Capabilities.Decode(), "\n")
		if byDefault.Known() == inspect.Present {
			writeDifferenceFromDefault(w, m.Difference, byDefault, o)
		}
	}
	if len(list) == 1 {
		writeHeld(w, list[0].Held, o)
	}
}
