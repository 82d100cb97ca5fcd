package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

// settingsTable shows every setting at its three levels.
func settingsTable(r inspect.Report) table {
	t := table{header: []string{"SETTING", "REQUESTED", "DECLARED", "IN FORCE"}}
	t.rows = append(t.rows, capabilityRows(r.Capabilities)...)
	t.rows = append(t.rows,
		settingRow("user", r.User, requestedUser, declaredUser, userInForce),
		settingRow("groups", r.User,
			func(u inspect.UserRequest) string { return numbers(u.Groups) },
			func(u inspect.User) string { return numbers(u.Groups) },
			func(u inspect.UserInForce) string { return numbers(u.Groups) }),
		settingRow("no_new_privs", r.NoNewPrivs, onOff, onOff, onOff),
		settingRow("seccomp", r.Seccomp, requestedSeccomp, declaredSeccomp, seccompInForce),
		settingRow("apparmor", r.AppArmor, quoteEmpty, quoteEmpty, quoteEmpty),
		settingRow("selinux", r.SELinux, quoteEmpty, quoteEmpty, quoteEmpty),
		settingRow("read-only root", r.ReadonlyRootfs, yesNo, yesNo, yesNo),
		settingRow("privileged", r.Privileged, yesNo, yesNo, yesNo),
		settingRow("user namespace", r.UserNamespace, yesNo, yesNo, userNamespace),
		settingRow("namespaces", r.Namespaces.Setting, requestedNamespaces, declaredKinds, kindsByOwner),
	)
	t.rows = append(t.rows, limitRows(r.Cgroup)...)
	return t
}

// settingRow returns a line of the table of settings.
func settingRow[R, D, E any](name string, s inspect.Setting[R, D, E], r func(R) string, d func(D) string, e func(E) string) []cell {
	return []cell{plain(name), showFact(s.Requested, false, r), showFact(s.Declared, false, d), showFact(s.InForce, false, e)}
}

// capabilityRows shows what was asked for, and the mask of each of the five sets. A request makes the bounding, permitted and
// effective sets only.
func capabilityRows(c inspect.Capabilities) [][]cell {
	rows := [][]cell{{plain("capabilities"), showFact(c.Requested, false, requestedCapabilities), plain(""), plain("")}}
	for _, set := range fiveSets {
		requested := plain("")
		if set.requested {
			requested = requestedResult(c.Requested)
		}
		rows = append(rows, []cell{
			plain("  " + set.name), requested,
			showFact(c.Declared, false, func(s inspect.CapabilitySets) string { return set.declared(s).Mask() }),
			showFact(c.InForce, false, set.mask),
		})
	}
	return rows
}

// capabilitySet is one of the five sets.
type capabilitySet struct {
	name      string
	requested bool // a request makes it
	declared  func(inspect.CapabilitySets) caps.Set
	inForce   func(caps.State) caps.Set
}

// fiveSets are the sets of a process, the one that the kernel checks first.
var fiveSets = []capabilitySet{
	{
		"effective", true,
		func(s inspect.CapabilitySets) caps.Set { return s.Effective }, func(s caps.State) caps.Set { return s.Effective },
	},
	{
		"permitted", true,
		func(s inspect.CapabilitySets) caps.Set { return s.Permitted }, func(s caps.State) caps.Set { return s.Permitted },
	},
	{
		"bounding", true,
		func(s inspect.CapabilitySets) caps.Set { return s.Bounding }, func(s caps.State) caps.Set { return s.Bounding },
	},
	{
		"inheritable", false,
		func(s inspect.CapabilitySets) caps.Set { return s.Inheritable }, func(s caps.State) caps.Set { return s.Inheritable },
	},
	{
		ambient, false,
		func(s inspect.CapabilitySets) caps.Set { return s.Ambient }, func(s caps.State) caps.Set { return s.Ambient },
	},
}

// ambient is the set that older kernels do not have.
const ambient = "ambient"

// absent tells that the kernel has no such set.
func (set capabilitySet) absent(s caps.State) bool { return set.name == ambient && s.AmbientAbsent }

// mask returns the mask of the set in force, "" when the kernel has no such set.
func (set capabilitySet) mask(s caps.State) string {
	if set.absent(s) {
		return ""
	}
	return set.inForce(s).Mask()
}

// requestedResult shows the set that follows from a request.
func requestedResult(request inspect.Fact[inspect.CapabilityRequest]) cell {
	q, ok := request.Value()
	if !ok {
		return showFact(request, false, func(inspect.CapabilityRequest) string { return "" })
	}
	return showFact(q.Result, false, caps.Set.Mask)
}

func requestedCapabilities(q inspect.CapabilityRequest) string {
	if q.Privileged {
		return "privileged"
	}
	var words []string
	if len(q.Drop) > 0 {
		words = append(words, "drop "+strings.Join(q.Drop, ","))
	}
	if len(q.Add) > 0 {
		words = append(words, "add "+strings.Join(q.Add, ","))
	}
	if len(words) == 0 {
		return "default"
	}
	return strings.Join(words, "; ")
}

// requestedUser returns uid:gid as they were asked for; "image" is what was left to the image.
func requestedUser(u inspect.UserRequest) string {
	uid, gid := "image", "image"
	switch {
	case u.UID != nil:
		uid = strconv.FormatInt(*u.UID, 10)
	case u.Name != "":
		uid = u.Name
	}
	if u.GID != nil {
		gid = strconv.FormatInt(*u.GID, 10)
	}
	return uid + ":" + gid
}

func declaredUser(u inspect.User) string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

// userInForce returns the effective user and group, every one of the ids when they differ, and how the container numbers them
// when that is different.
func userInForce(u inspect.UserInForce) string {
	text := idsText(u.UID) + ":" + idsText(u.GID)
	inside, ok := u.Inside.Value()
	switch {
	case !ok:
		text += " (inside: unknown)"
	case inside.UID != u.UID.Effective || inside.GID != u.GID.Effective:
		text += fmt.Sprintf(" (inside: %d:%d)", inside.UID, inside.GID)
	}
	return text
}

func idsText(ids inspect.IDs) string {
	if ids.Real == ids.Effective && ids.Saved == ids.Effective && ids.Filesystem == ids.Effective {
		return strconv.FormatUint(uint64(ids.Effective), 10)
	}
	return fmt.Sprintf("%d(real %d saved %d filesystem %d)", ids.Effective, ids.Real, ids.Saved, ids.Filesystem)
}

// numbers joins ids with commas.
func numbers[N int64 | uint32](list []N) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.FormatInt(int64(n), 10)
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ",")
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// quoteEmpty makes a text that is there but empty visible.
func quoteEmpty(text string) string {
	if text == "" {
		return `""`
	}
	return text
}

func requestedSeccomp(s inspect.SeccompRequest) string {
	return strings.TrimSpace(s.Profile + " " + s.LocalhostRef)
}

func declaredSeccomp(s inspect.SeccompDeclared) string {
	return fmt.Sprintf("%s, %d rules", s.DefaultAction, s.Rules)
}

func seccompInForce(s inspect.SeccompInForce) string {
	filters, ok := s.Filters.Value()
	if !ok || s.Mode != inspect.SeccompFilter {
		return string(s.Mode)
	}
	if filters == 1 {
		return string(s.Mode) + ", 1 filter"
	}
	return fmt.Sprintf("%s, %d filters", s.Mode, filters)
}

// userNamespace tells whether the process is in a user namespace of its own, and which user is root in it.
func userNamespace(n inspect.UserNamespace) string {
	if n.Initial {
		return "no"
	}
	return "yes " + idMap(n.UIDMap)
}

// whichUserNamespace tells where capabilities hold.
func whichUserNamespace(n inspect.UserNamespace) string {
	if n.Initial {
		return "initial"
	}
	return "its own: " + strings.TrimPrefix(userNamespace(n), "yes ")
}

// writeOrigins writes where each known setting was read, and why others are absent.
func writeOrigins(w io.Writer, r inspect.Report) {
	t := table{header: []string{"SETTING", "LEVEL", "SOURCE, OR WHY IT IS ABSENT"}}
	t.rows = append(t.rows, originRows("capabilities", r.Capabilities.Setting)...)
	t.rows = append(t.rows, originRows("user", r.User)...)
	t.rows = append(t.rows, originRows("no_new_privs", r.NoNewPrivs)...)
	t.rows = append(t.rows, originRows("seccomp", r.Seccomp)...)
	t.rows = append(t.rows, originRows("apparmor", r.AppArmor)...)
	t.rows = append(t.rows, originRows("selinux", r.SELinux)...)
	t.rows = append(t.rows, originRows("read-only root", r.ReadonlyRootfs)...)
	t.rows = append(t.rows, originRows("privileged", r.Privileged)...)
	t.rows = append(t.rows, originRows("user namespace", r.UserNamespace)...)
	t.rows = append(t.rows, originRows("namespaces", r.Namespaces.Setting)...)
	t.rows = append(t.rows, originRows("limits", r.Cgroup)...)
	say(w, "\n")
	t.write(w, false)
}

func originRows[R, D, E any](name string, s inspect.Setting[R, D, E]) [][]cell {
	return [][]cell{
		{plain(name), plain("requested"), origin(s.Requested)},
		{plain(name), plain("declared"), origin(s.Declared)},
		{plain(name), plain("in force"), origin(s.InForce)},
	}
}

// origin returns where a fact comes from. The cause of an unknown one stands under Unknown.
func origin[T any](f inspect.Fact[T]) cell {
	switch f.Known() {
	case inspect.Present:
		return orDash(f.Source())
	case inspect.Absent:
		return whyNot(f)
	case inspect.Unknown:
	}
	return styled("unknown", styleUnknown)
}
