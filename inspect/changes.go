package inspect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/nsdiff"
)

// Changes are what differs between two snapshots of a node. What another reading
// of an unchanged node gives as well is left out: usage, counters, times, pids,
// numbers of namespaces and mounts, and the processes that hold no more than
// their container's first.
type Changes struct {
	// Old and New are the times of the snapshots.
	Old time.Time `json:"old"`
	New time.Time `json:"new"`
	// Rebooted tells that the node was started again between them.
	Rebooted bool `json:"rebooted,omitempty"`
	// Doubts say why the two should not be compared, or only in part.
	Doubts []string `json:"doubts"`
	// Node, Containers and Sockets are what changed; containers are in the order
	// of the new snapshot, with those that have gone after them.
	Node       []FactChange      `json:"node"`
	Containers []ContainerChange `json:"containers"`
	Sockets    []SocketChange    `json:"sockets"`
}

// ChangeKind says what became of a container or a socket.
type ChangeKind string

// The kinds of change.
const (
	// ChangeNew is in the new snapshot only.
	ChangeNew ChangeKind = "new"
	// ChangeGone is in the old snapshot only.
	ChangeGone ChangeKind = "gone"
	// ChangeNotSeen is in the old snapshot only, and the new one may lack some.
	ChangeNotSeen ChangeKind = "not seen"
	// ChangeReplaced is a container with another id in the place of one of the
	// same name and pod: it was started again.
	ChangeReplaced ChangeKind = "replaced"
	// ChangeChanged is in both.
	ChangeChanged ChangeKind = "changed"
)

// ContainerChange is a container that has come or gone, or of which something
// changed.
type ContainerChange struct {
	Change ChangeKind `json:"change"`
	// ID, Namespace, Name and Kind are those of the new container, or of one
	// that has gone. Name is [Container.FullName].
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Kind      Kind   `json:"kind"`
	// OldID is that of the container whose place it took.
	OldID string `json:"oldID,omitempty"`
	// Facts are what changed.
	Facts []FactChange `json:"facts"`
}

// SocketChange is a socket that has come or gone, or of which something changed.
// Those of shims, which come and go with their containers, are told only when
// they are in both.
type SocketChange struct {
	Change ChangeKind   `json:"change"`
	Path   string       `json:"path"`
	Kind   SocketKind   `json:"kind"`
	Facts  []FactChange `json:"facts"`
}

// FactChange is a fact that is another one than it was.
type FactChange struct {
	// Fact is the JSON name in the report, with dots and without the level:
	// capabilities.effective.
	Fact string `json:"fact"`
	// Level is requested, declared or in force; empty where there are no levels.
	Level string      `json:"level,omitempty"`
	Old   ChangedFact `json:"old"`
	New   ChangedFact `json:"new"`
	// Added and Removed are, of a known list, the items that came and went.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// ChangedFact is a fact before or after it changed.
type ChangedFact struct {
	// State is known, absent or unknown. A fact that is not in a report at all is
	// absent.
	State string `json:"state"`
	// Value is a text for people: that of a known fact, or the cause of an
	// unknown one.
	Value string `json:"value,omitempty"`
}

// Pair is a container in two snapshots. Old or New is nil when it is not there.
type Pair struct{ Old, New *Report }

// Replaced tells that the new container took the place of the old one.
func (p Pair) Replaced() bool { return p.Old != nil && p.New != nil && p.Old.ID != p.New.ID }

// Pairs tells which containers of two snapshots are the same: by their ids, or
// else, when one was started in the place of another, by the names of pod and
// container. The order is that of the new snapshot, with those that have gone
// after them. What is left of a container that was replaced is in no pair.
func Pairs(old, now Snapshot) []Pair {
	olds, byName := map[string]*Report{}, map[string][]*Report{}
	for n := range old.Containers {
		r := &old.Containers[n]
		olds[r.Namespace+"/"+r.ID] = r
		if name := r.place(); name != "" && r.PID.Known() != Absent {
			byName[name] = append(byName[name], r)
		}
	}
	taken := map[*Report]bool{}
	pairs := make([]Pair, len(now.Containers))
	for n := range now.Containers {
		r := &now.Containers[n]
		pairs[n].New = r
		before := byName[r.place()]
		if olds[r.Namespace+"/"+r.ID] == nil && len(before) == 1 && r.PID.Known() != Absent && !runs(now, before[0]) && !taken[before[0]] {
			pairs[n].Old = before[0]
			taken[before[0]] = true
		}
	}
	var list []Pair
	for _, p := range pairs {
		if p.Old == nil {
			same := olds[p.New.Namespace+"/"+p.New.ID]
			if same != nil && taken[same] {
				continue // replaced
			}
			p.Old = same
			taken[same] = true
		}
		list = append(list, p)
	}
	for n := range old.Containers {
		if r := &old.Containers[n]; !taken[r] {
			list = append(list, Pair{Old: r})
		}
	}
	return list
}

// place is what a container and the one that is started in its place have in
// common; empty when that is not known.
func (r *Report) place() string {
	if r.Pod == nil || r.Pod.Name == "" {
		return ""
	}
	return fmt.Sprintf("%q %q %q %q %q", r.Namespace, r.Pod.Namespace, r.Pod.Name, r.Kind, r.Name)
}

// runs tells whether a container of another snapshot still runs in this one.
func runs(s Snapshot, other *Report) bool {
	return slices.ContainsFunc(s.Containers, func(r Report) bool {
		return r.Namespace == other.Namespace && r.ID == other.ID && r.PID.Known() != Absent
	})
}

// Compare returns what differs between two snapshots of one node.
func Compare(old, now Snapshot) Changes {
	c := Changes{Old: old.Time, New: now.Time, Doubts: []string{}, Node: []FactChange{}, Containers: []ContainerChange{}, Sockets: []SocketChange{}}
	pairs := Pairs(old, now)
	c.Rebooted = rebooted(old.Node, now.Node)
	c.Doubts = append(c.Doubts, doubts(old, now, pairs, c.Rebooted)...)
	c.Node = append(c.Node, compareFacts(nodeFacts(old.Node), nodeFacts(now.Node))...)
	for _, p := range pairs {
		if change, ok := compareContainers(p, len(now.Missing) > 0); ok {
			c.Containers = append(c.Containers, change)
		}
	}
	c.Sockets = append(c.Sockets, compareSockets(old, now)...)
	return c
}

func rebooted(old, now Node) bool {
	before, ok := old.BootID.Value()
	after, known := now.BootID.Value()
	return ok && known && before != after
}

func doubts(old, now Snapshot, pairs []Pair, rebooted bool) []string {
	var list []string
	common := slices.ContainsFunc(pairs, func(p Pair) bool { return p.Old != nil && p.New != nil && !p.Replaced() })
	if rebooted && !common && len(old.Containers) > 0 && len(now.Containers) > 0 {
		list = append(list, "they may be of two nodes: the boot is another one, and they have no container in common")
	}
	if now.Time.Before(old.Time) {
		list = append(list, "the new snapshot was taken before the old one")
	}
	for _, s := range []struct {
		name    string
		missing []string
	}{
		{"containers of the old snapshot", old.Missing},
		{"containers of the new snapshot", now.Missing},
		{"sockets of the old snapshot", old.MissingSockets},
		{"sockets of the new snapshot", now.MissingSockets},
	} {
		for _, cause := range s.missing {
			list = append(list, s.name+" may be missing: "+cause)
		}
	}
	return list
}

func compareContainers(p Pair, missing bool) (c ContainerChange, changed bool) {
	switch {
	case p.Old == nil:
		c = containerChange(ChangeNew, p.New)
	case p.New == nil && missing:
		c = containerChange(ChangeNotSeen, p.Old)
	case p.New == nil:
		c = containerChange(ChangeGone, p.Old)
	default:
		c = containerChange(ChangeChanged, p.New)
		c.Facts = compareFacts(reportFacts(p.Old, p), reportFacts(p.New, p))
		if p.Replaced() {
			c.Change, c.OldID = ChangeReplaced, p.Old.ID
		}
		return c, p.Replaced() || len(c.Facts) > 0
	}
	return c, true
}

func containerChange(k ChangeKind, r *Report) ContainerChange {
	return ContainerChange{Change: k, ID: r.ID, Namespace: r.Namespace, Name: r.FullName(), Kind: r.Kind, Facts: []FactChange{}}
}

func compareSockets(old, now Snapshot) []SocketChange {
	before := map[string]Socket{}
	for _, k := range old.Sockets {
		before[k.Path] = k
	}
	var list []SocketChange
	for _, k := range now.Sockets {
		was, ok := before[k.Path]
		delete(before, k.Path)
		change := SocketChange{Change: ChangeChanged, Path: k.Path, Kind: k.Kind, Facts: []FactChange{}}
		if ok {
			change.Facts = compareFacts(socketFacts(was), socketFacts(k))
		} else {
			change.Change = ChangeNew
		}
		if ok && len(change.Facts) > 0 || !ok && k.Kind != SocketShim {
			list = append(list, change)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		kind := ChangeGone
		if len(now.MissingSockets) > 0 {
			kind = ChangeNotSeen
		}
		if k := before[path]; k.Kind != SocketShim {
			list = append(list, SocketChange{Change: kind, Path: path, Kind: k.Kind, Facts: []FactChange{}})
		}
	}
	return list
}

// factName names a fact at one level.
type factName struct{ level, name string }

// factValue is a fact in the form in which it is compared.
type factValue struct {
	state Known
	text  string
	items []string // of a list
	// same is what is compared of text: without the ids of the container itself.
	same string
}

// factSet are the facts of a subject.
type factSet struct {
	names  []factName // in their order
	values map[factName]factValue
	// own are the container's own ids, by what stands for them.
	own *strings.Replacer
}

func newFactSet() *factSet {
	return &factSet{values: map[factName]factValue{}, own: strings.NewReplacer()}
}

// ownPID is a process in a path, which is another one after each start.
var ownPID = regexp.MustCompile(`/proc/[0-9]+/`)

func (f *factSet) add(name factName, v factValue) {
	if _, ok := f.values[name]; !ok {
		f.names = append(f.names, name)
	}
	v.same = ownPID.ReplaceAllString(f.own.Replace(v.text), "/proc/pid/")
	f.values[name] = v
}

func (f *factSet) text(level, name, text string) {
	f.add(factName{level, name}, factValue{state: Present, text: text})
}

// list adds a fact that is a list, in any order.
func (f *factSet) list(level, name string, items []string) {
	slices.Sort(items)
	f.add(factName{level, name}, factValue{state: Present, text: cmp.Or(strings.Join(items, ", "), "none"), items: items})
}

// lacking adds a fact that is not known.
func (f *factSet) lacking(level, name string, known Known, cause error) {
	v := factValue{state: known}
	if cause != nil {
		v.text = cause.Error()
	}
	f.add(factName{level, name}, v)
}

// compareFacts returns the facts that differ. One that is known in parts before,
// and as a whole is not any more, is one change.
func compareFacts(old, now *factSet) []FactChange {
	list := []FactChange{}
	names := slices.Clone(now.names)
	for _, name := range old.names {
		if _, ok := now.values[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if old.partOfLacking(name) || now.partOfLacking(name) {
			continue
		}
		was, is := old.at(name), now.at(name)
		if was.state == is.state && (was.same == is.same || was.state != Present) {
			continue
		}
		change := FactChange{Fact: name.name, Level: name.level, Old: was.changed(), New: is.changed()}
		if was.state == Present && is.state == Present && (was.items != nil || is.items != nil) {
			change.Added, change.Removed = without(is.items, was.items), without(was.items, is.items)
		}
		list = append(list, change)
	}
	return list
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(item string) bool { return slices.Contains(other, item) })
}

func (v factValue) changed() ChangedFact { return ChangedFact{State: v.state.String(), Value: v.text} }

// at returns a fact, or all of its parts in one.
func (f *factSet) at(name factName) factValue {
	if v, ok := f.values[name]; ok {
		return v
	}
	var parts []string
	for _, other := range f.names {
		if part, ok := strings.CutPrefix(other.name, name.name+"."); ok && other.level == name.level {
			parts = append(parts, part+" "+f.values[other].text)
		}
	}
	if len(parts) == 0 {
		return factValue{state: Absent}
	}
	text := strings.Join(parts, "; ")
	return factValue{state: Present, text: text, same: text}
}

// partOfLacking tells whether the whole that a fact is part of is not known.
func (f *factSet) partOfLacking(name factName) bool {
	for whole := name.name; ; {
		n := strings.LastIndexByte(whole, '.')
		if n < 0 {
			return false
		}
		whole = whole[:n]
		if v, ok := f.values[factName{name.level, whole}]; ok && v.state != Present {
			return true
		}
	}
}

// tree adds all facts of a value, by its JSON form. Keys that are noise, or told
// otherwise, are left out.
func (f *factSet) tree(level, name string, value any, leftOut ...string) {
	data, err := marshal(value)
	var form any
	if err == nil {
		err = json.Unmarshal(data, &form)
	}
	if err != nil {
		f.lacking(level, name, Unknown, err)
		return
	}
	f.form(level, name, form, leftOut)
}

func (f *factSet) form(level, name string, form any, leftOut []string) {
	switch v := form.(type) {
	case map[string]any:
		f.object(level, name, v, leftOut)
	case []any:
		items := make([]string, len(v))
		for n, item := range v {
			items[n] = compact(item, leftOut)
		}
		f.list(level, name, items)
	case nil:
	default:
		f.text(level, name, compact(v, nil))
	}
}

func (f *factSet) object(level, name string, v map[string]any, leftOut []string) {
	switch v["state"] {
	case "unknown":
		cause, _ := v["cause"].(string)
		f.lacking(level, name, Unknown, errors.New(cause))
		return
	case "absent":
		f.lacking(level, name, Absent, nil)
		return
	case "known":
		if value, ok := v["value"]; ok {
			f.form(level, name, value, leftOut)
			return
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(leftOut, key) && key != "state" {
			f.form(level, strings.TrimPrefix(name+"."+key, "."), v[key], leftOut)
		}
	}
}

// compact is a value on one line.
func compact(form any, leftOut []string) string {
	switch v := form.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		words := make([]string, len(v))
		for n, item := range v {
			words[n] = compact(item, leftOut)
		}
		return strings.Join(words, ",")
	case map[string]any:
		if value, ok := v["value"]; ok && v["state"] == "known" {
			return compact(value, leftOut)
		}
		var words []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(leftOut, key) {
				words = append(words, key+" "+compact(v[key], leftOut))
			}
		}
		return strings.Join(words, " ")
	}
	return ""
}

// source is left out everywhere.
const source = "source"

func nodeFacts(n Node) *factSet {
	f := newFactSet()
	f.tree("", "", n, source, "bootID", "pid", "inode")
	return f
}

func socketFacts(k Socket) *factSet {
	f := newFactSet()
	f.tree("", "", k, source, "path", "reason", "pid", "device", "inode", "containers", "abstract", "kind")
	containers, ok := k.Containers.Value()
	if !ok {
		f.lacking("", "containers", k.Containers.Known(), k.Containers.Cause())
		return f
	}
	var names []string
	for _, c := range containers {
		name := c.Name
		if c.Ways.Known() == Unknown {
			name += " (unknown)"
		}
		names = append(names, name)
	}
	f.list("", "containers", names)
	return f
}

// reportFacts returns what is compared of a container, with the ids of both of the
// pair taken for the same. Of one that has ended, nothing is in force.
func reportFacts(r *Report, p Pair) *factSet {
	f := newFactSet()
	ids := []string{r.ID, "id"}
	if r.Pod != nil {
		for _, id := range []string{r.Pod.SandboxID, r.Pod.UID} {
			if id != "" && id != r.ID {
				ids = append(ids, id, "pod")
			}
		}
	}
	f.own = strings.NewReplacer(ids...)
	f.tree("", "state", r.State, source)
	f.tree("", "tier", r.Tier, source)
	f.text("", "image", cmp.Or(r.Image, "none"))
	f.text("", "runtime", cmp.Or(r.Runtime, "none"))
	if !p.Replaced() {
		f.tree("", "labels", r.Labels)
		f.tree("", "annotations", r.Annotations)
	}
	settingFacts(f, "capabilities", r.Capabilities.Setting)
	settingFacts(f, "user", r.User)
	settingFacts(f, "noNewPrivs", r.NoNewPrivs)
	settingFacts(f, "seccomp", r.Seccomp)
	settingFacts(f, "apparmor", r.AppArmor)
	settingFacts(f, "selinux", r.SELinux)
	settingFacts(f, "readonlyRootfs", r.ReadonlyRootfs)
	settingFacts(f, "privileged", r.Privileged)
	settingFacts(f, "userNamespace", r.UserNamespace)
	f.tree(levelRequested, "namespaces", r.Namespaces.Requested, source)
	f.namespaces(r)
	settingFacts(f, "cgroup", r.Cgroup, usage...)
	f.tree(levelDeclared, "process", r.Process, source)
	f.tree(levelRequested, "request", r.Request, source)
	f.tree(levelDeclared, "specification", r.Specification, source)
	f.mounts(r.Mounts)
	f.processes(r.Processes)
	if hasEnded := func(r *Report) bool { return r.PID.Known() == Absent }; hasEnded(p.Old) || hasEnded(p.New) {
		f.leave(levelInForce)
	}
	return f
}

// leave takes away what is of a level.
func (f *factSet) leave(level string) {
	f.names = slices.DeleteFunc(f.names, func(n factName) bool { return n.level == level })
	maps.DeleteFunc(f.values, func(n factName, _ factValue) bool { return n.level == level })
}

// usage are the keys of cgroups that are no limits, and where the cgroups are.
var usage = []string{
	"memberships", "place", "folder", "current", "swapCurrent", "memorySwapCurrent", "peak", "highEvents", "maxEvents", "oom", "oomKill",
	"usageUsec", "periods", "throttled", "throttledUsec", "stat", "pressure", "levels", "usage", "path",
}

func settingFacts[R, D, E any](f *factSet, name string, s Setting[R, D, E], leftOut ...string) {
	leftOut = append([]string{source}, leftOut...)
	f.tree(levelRequested, name, s.Requested, leftOut...)
	f.tree(levelDeclared, name, s.Declared, leftOut...)
	f.tree(levelInForce, name, s.InForce, leftOut...)
}

// namespaces tells of each namespace whose it is. Which number it has says nothing
// in another boot or after another start.
func (f *factSet) namespaces(r *Report) {
	if declared, ok := r.Namespaces.Declared.Value(); ok {
		items := make([]string, len(declared))
		for n, d := range declared {
			items[n] = d.Kind.String()
			if d.Path != "" { // it has a process's or a random number in it
				items[n] += " by a path"
			}
		}
		f.list(levelDeclared, "namespaces", items)
	} else {
		f.lacking(levelDeclared, "namespaces", r.Namespaces.Declared.Known(), r.Namespaces.Declared.Cause())
	}
	list, ok := r.Namespaces.InForce.Value()
	if !ok {
		f.lacking(levelInForce, "namespaces", r.Namespaces.InForce.Known(), r.Namespaces.InForce.Cause())
		return
	}
	for _, n := range list {
		name := "namespaces." + n.Kind.String()
		switch n.Host.Relation {
		case nsdiff.Unknown:
			f.lacking(levelInForce, name, Unknown, errors.New(n.Host.Cause))
		case nsdiff.Absent:
			f.lacking(levelInForce, name, Absent, nil)
		case nsdiff.Same:
			f.text(levelInForce, name, "the host's")
		case nsdiff.Other:
			f.text(levelInForce, name, n.whose(r))
		}
	}
}

func (n Namespace) whose(r *Report) string {
	var others []string
	whose := "its own"
	for _, other := range n.With {
		if r.Pod != nil && r.Pod.Name != "" && (other.Name == r.Pod.Namespace+"/"+r.Pod.Name || strings.HasPrefix(other.Name, r.Pod.Namespace+"/"+r.Pod.Name+"/")) {
			whose = "its pod's"
			continue
		}
		others = append(others, other.Name)
	}
	if len(others) == 0 {
		return whose
	}
	slices.Sort(others)
	return "shared with " + strings.Join(others, ", ")
}

func (f *factSet) mounts(fact Fact[Mounts]) {
	m, ok := fact.Value()
	if !ok {
		f.lacking(levelInForce, "mounts", fact.Known(), fact.Cause())
		return
	}
	f.tree(levelDeclared, "mounts", m.Declared, source)
	at := map[string][]string{}
	for _, c := range m.InForce {
		at[c.Point] = append(at[c.Point], c.summary())
	}
	for _, point := range slices.Sorted(maps.Keys(at)) {
		f.text(levelInForce, "mounts "+point, strings.Join(at[point], ", below "))
	}
	for _, checks := range []struct {
		name string
		list []PathCheck
	}{{"masked", m.Masked}, {"readonlyPaths", m.ReadonlyPaths}} {
		for _, check := range checks.list {
			f.tree(levelDeclared, checks.name+" "+check.Path, check.Declared, source)
			f.tree(levelInForce, checks.name+" "+check.Path, check.InForce, source)
		}
	}
	f.tree(levelDeclared, "devices", m.Devices.Declared, source)
	f.tree(levelInForce, "devices", m.Devices.InForce, source)
}

// summary is what a mount is, without the numbers that it was given.
func (c ContainerMount) summary() string {
	words := []string{"writable"}
	if c.Readonly {
		words[0] = "read-only"
	}
	words = append(words, string(cmp.Or(c.Kind, "unknown kind")), c.Type)
	if view, ok := c.Host.Value(); ok && len(view.Paths) > 0 && c.Kind != MountRoot {
		words = append(words, "of the host's "+view.Paths[0])
	}
	words = append(words, "("+c.Options+")")
	if c.Shared != 0 {
		words = append(words, "shared")
	}
	if len(c.WritableBelow) > 0 {
		words = append(words, "writable below at "+strings.Join(c.WritableBelow, ", "))
	}
	if c.Hidden {
		words = append(words, "hidden")
	}
	return strings.Join(words, " ")
}

// processes tells of what processes hold beyond the first, and of what leads out
// of the container.
func (f *factSet) processes(fact Fact[Processes]) {
	p, ok := fact.Value()
	if !ok {
		f.lacking(levelInForce, "processes", fact.Known(), fact.Cause())
		return
	}
	var beyond, leaks []string
	for _, process := range p.List {
		for _, e := range process.Beyond {
			beyond = append(beyond, process.Name+" ("+string(process.Origin)+") "+e.summary())
		}
		list, _ := process.Leaks.Value()
		for _, leak := range list {
			leaks = append(leaks, process.Name+" "+leak.What+" "+cmp.Or(leak.Host, leak.Whose, leak.Path))
		}
	}
	slices.Sort(beyond)
	slices.Sort(leaks)
	f.list(levelInForce, "processes.beyond", slices.Compact(beyond))
	f.list(levelInForce, "processes.leaks", slices.Compact(leaks))
	if p.Missing != "" {
		f.lacking(levelInForce, "processes.missing", Unknown, errors.New(p.Missing))
	}
}

// summary is what a process holds, without the numbers of namespaces.
func (e Excess) summary() string {
	text := strings.TrimSpace(string(e.Kind) + " " + e.What)
	switch {
	case e.Kind == ExcessNamespace:
		return text + " " + cmp.Or(e.Whose, "another")
	case e.First != "":
		return text + " " + e.Has + " instead of " + e.First
	}
	return text + " " + e.Has
}
