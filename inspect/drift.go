package inspect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
)

// The levels, as Difference names them.
const (
	levelRequested = "requested"
	levelDeclared  = "declared"
	levelInForce   = "in force"
)

// drift compares the levels of each setting, each with what follows from the
// one before. Levels that are unknown or absent are not compared: an unknown one
// is in Gaps. Where the first process is a sandbox's (gVisor, Kata), what is in
// force is the sandbox's own and says nothing of the guest.
func drift(r *Report) []Difference {
	all := slices.Concat(
		capabilitiesAsRequested(r),
		userAsRequested(r),
		boolAsRequested("noNewPrivs", r.NoNewPrivs.Requested, r.NoNewPrivs.Declared),
		seccompAsRequested(r),
		appArmorAsRequested(r),
		boolAsRequested("readonlyRootfs", r.ReadonlyRootfs.Requested, r.ReadonlyRootfs.Declared),
		boolAsRequested("privileged", r.Privileged.Requested, r.Privileged.Declared),
		boolAsRequested("userNamespace", r.UserNamespace.Requested, r.UserNamespace.Declared),
		namespacesAsRequested(r),
		limitsAsRequested(r),
	)
	if r.Guest() {
		return all
	}
	return slices.Concat(all,
		capabilitiesAsDeclared(r),
		userAsDeclared(r),
		noNewPrivsAsDeclared(r),
		seccompAsDeclared(r),
		labelAsDeclared("apparmor", r.AppArmor),
		labelAsDeclared("selinux", r.SELinux),
		readonlyRootAsDeclared(r),
		userNamespaceAsDeclared(r),
		namespacesAsDeclared(r),
		limitsAsDeclared(r),
	)
}

// both returns the values of two facts; ok is false unless both are known.
func both[A, B any](a Fact[A], b Fact[B]) (A, B, bool) {
	x, okX := a.Value()
	y, okY := b.Value()
	return x, y, okX && okY
}

func boolAsRequested(setting string, asked, got Fact[bool]) []Difference {
	a, b, ok := both(asked, got)
	if !ok || a == b {
		return nil
	}
	return []Difference{{
		Setting: setting, From: levelRequested, To: levelDeclared,
		Want: strconv.FormatBool(a), Have: strconv.FormatBool(b),
	}}
}

func capabilitiesAsRequested(r *Report) []Difference {
	q, d, ok := both(r.Capabilities.Requested, r.Capabilities.Declared)
	if !ok {
		return nil
	}
	want, ok := q.Result.Value()
	if !ok {
		return nil
	}
	return slices.Concat(
		setDifference("permitted", levelRequested, levelDeclared, want, d.Permitted, ""),
		setDifference("effective", levelRequested, levelDeclared, want, d.Effective, ""),
		setDifference("bounding", levelRequested, levelDeclared, want, d.Bounding, ""),
	)
}

func setDifference(name, from, to string, want, have caps.Set, reason string) []Difference {
	if want == have {
		return nil
	}
	return []Difference{{
		Setting: "capabilities." + name, From: from, To: to,
		Want: want.Mask(), Have: have.Mask(), Reason: reason,
		More: have.Minus(want), Less: want.Minus(have),
	}}
}

func userAsRequested(r *Report) []Difference {
	q, d, ok := both(r.User.Requested, r.User.Declared)
	if !ok {
		return nil
	}
	var list []Difference
	if q.UID != nil && *q.UID != int64(d.UID) {
		list = append(list, idDifference("user.uid", levelRequested, levelDeclared, *q.UID, int64(d.UID)))
	}
	if q.GID != nil && *q.GID != int64(d.GID) {
		list = append(list, idDifference("user.gid", levelRequested, levelDeclared, *q.GID, int64(d.GID)))
	}
	return list
}

func idDifference(setting, from, to string, want, have int64) Difference {
	return Difference{
		Setting: setting, From: from, To: to,
		Want: strconv.FormatInt(want, 10), Have: strconv.FormatInt(have, 10),
	}
}

func seccompAsRequested(r *Report) []Difference {
	q, ok := r.Seccomp.Requested.Value()
	if !ok || r.Seccomp.Declared.Known() == Unknown {
		return nil
	}
	_, filter := r.Seccomp.Declared.Value()
	wants := q.Profile != "Unconfined"
	if wants == filter {
		return nil
	}
	d := Difference{
		Setting: "seccomp", From: levelRequested, To: levelDeclared,
		Want: strings.Trim(q.Profile+" "+q.LocalhostRef, " "), Have: "no filter",
	}
	if filter {
		d.Have = "a filter"
	}
	if privileged, _ := r.Privileged.Requested.Value(); privileged && wants {
		d.Reason = "a privileged container gets no seccomp filter"
	}
	return []Difference{d}
}

func appArmorAsRequested(r *Report) []Difference {
	q, ok := r.AppArmor.Requested.Value()
	if !ok || r.AppArmor.Declared.Known() == Unknown {
		return nil
	}
	have, _ := r.AppArmor.Declared.Value()
	profile, custom := cutLocalhost(q)
	confined := have != "" && have != "unconfined"
	var matches bool
	switch {
	case custom:
		matches = have == profile
	case isUnconfined(q):
		matches = !confined
	default: // the runtime's default, under the name it gave it
		matches = confined
	}
	if matches {
		return nil
	}
	d := Difference{Setting: "apparmor", From: levelRequested, To: levelDeclared, Want: q, Have: have}
	if have == "" {
		d.Have = "no profile"
	}
	if r.AppArmor.InForce.Known() == Absent && have == "" {
		d.Reason = "AppArmor does not run in this kernel"
	}
	return []Difference{d}
}

// cutLocalhost takes the forms Localhost/NAME and localhost/NAME.
func cutLocalhost(profile string) (name string, ok bool) {
	kind, name, ok := strings.Cut(profile, "/")
	return name, ok && strings.EqualFold(kind, "localhost")
}

func isUnconfined(profile string) bool { return strings.EqualFold(profile, "unconfined") }

// capabilitiesAsDeclared compares the sets in force with those that follow from
// the declared ones: the runtime sets them, changes to the declared user, and
// calls execve(2), which changes them again. See "Transformation of
// capabilities during execve()" in capabilities(7).
func capabilitiesAsDeclared(r *Report) []Difference {
	d, have, ok := both(r.Capabilities.Declared, r.Capabilities.InForce)
	if !ok {
		return nil
	}
	user, ok := r.User.Declared.Value()
	if !ok {
		return nil
	}
	nnp, _ := r.NoNewPrivs.Declared.Value()
	want := afterExec(d, user.UID, nnp)
	var list []Difference
	for _, s := range []struct {
		name                 string
		declared, want, have caps.Set
		byExec               bool
	}{
		{"inheritable", d.Inheritable, want.Inheritable, have.Inheritable, false},
		{"permitted", d.Permitted, want.Permitted, have.Permitted, true},
		{"effective", d.Effective, want.Effective, have.Effective, true},
		{"bounding", d.Bounding, want.Bounding, have.Bounding, false},
		{"ambient", d.Ambient, want.Ambient, have.Ambient, false},
	} {
		reason := ""
		switch {
		case s.have == s.want:
			reason = execReason(user.UID)
		case s.have.Minus(s.want).IsEmpty():
			reason = "narrower: the process gave capabilities up, or this kernel or the runtime has fewer"
		case s.byExec && user.UID != 0 && !nnp && s.have.Minus(s.want.Union(d.Bounding)).IsEmpty():
			reason = "no_new_privs is off: the program can have file capabilities or set-user-ID"
		}
		list = append(list, setDifference(s.name, levelDeclared, levelInForce, s.declared, s.have, reason)...)
	}
	return list
}

// afterExec returns the sets of the first process of a container, started from a
// program without file capabilities and set-user-ID.
func afterExec(d CapabilitySets, uid uint32, noNewPrivs bool) CapabilitySets {
	after := d
	if uid != 0 {
		after.Permitted, after.Effective = d.Ambient, d.Ambient
		return after
	}
	after.Permitted = d.Bounding.Union(d.Inheritable)
	if noNewPrivs {
		after.Permitted = after.Permitted.Intersect(d.Permitted)
	}
	after.Permitted = after.Permitted.Union(d.Ambient)
	after.Effective = after.Permitted
	return after
}

func execReason(uid uint32) string {
	if uid == 0 {
		return "execve(2) gives a process with uid 0 all of its bounding set"
	}
	return fmt.Sprintf("execve(2) as uid %d, which is not root, leaves only the ambient set; bounding stays", uid)
}

func userAsDeclared(r *Report) []Difference {
	d, u, ok := both(r.User.Declared, r.User.InForce)
	if !ok {
		return nil
	}
	have, ok := u.Inside.Value()
	if !ok {
		return nil
	}
	var list []Difference
	if d.UID != have.UID {
		diff := idDifference("user.uid", levelDeclared, levelInForce, int64(d.UID), int64(have.UID))
		if d.UID == 0 {
			diff.Reason = "a process that starts as root may become another user"
		}
		list = append(list, diff)
	}
	if d.GID != have.GID {
		diff := idDifference("user.gid", levelDeclared, levelInForce, int64(d.GID), int64(have.GID))
		if d.UID == 0 {
			diff.Reason = "a process that starts as root may become another group"
		}
		list = append(list, diff)
	}
	return append(list, groupsAsDeclared(d, have)...)
}

// groupsAsDeclared compares supplementary groups. Some runtimes list the main
// group among them and some do not.
func groupsAsDeclared(d, have User) []Difference {
	var extra []string
	for _, g := range have.Groups {
		if g != d.GID && !slices.Contains(d.Groups, g) {
			extra = append(extra, strconv.FormatUint(uint64(g), 10))
		}
	}
	var missing []string
	for _, g := range d.Groups {
		if g != have.GID && !slices.Contains(have.Groups, g) {
			missing = append(missing, strconv.FormatUint(uint64(g), 10))
		}
	}
	if len(extra) == 0 && len(missing) == 0 {
		return nil
	}
	diff := Difference{
		Setting: "user.groups", From: levelDeclared, To: levelInForce,
		Want: joinNumbers(d.Groups), Have: joinNumbers(have.Groups),
	}
	if d.UID == 0 {
		diff.Reason = "a process that starts as root may change its groups"
	}
	return []Difference{diff}
}

func joinNumbers(numbers []uint32) string {
	var texts []string
	for _, n := range numbers {
		texts = append(texts, strconv.FormatUint(uint64(n), 10))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ",")
}

func noNewPrivsAsDeclared(r *Report) []Difference {
	list := boolAsRequested("noNewPrivs", r.NoNewPrivs.Declared, r.NoNewPrivs.InForce)
	for i := range list {
		list[i].From, list[i].To = levelDeclared, levelInForce
		if list[i].Have == "true" {
			list[i].Reason = "stricter: a process can turn it on itself, and never off"
		}
	}
	return list
}

func seccompAsDeclared(r *Report) []Difference {
	have, ok := r.Seccomp.InForce.Value()
	if !ok || r.Seccomp.Declared.Known() == Unknown {
		return nil
	}
	_, wants := r.Seccomp.Declared.Value()
	filtered := have.Mode != SeccompDisabled
	if wants == filtered {
		return nil
	}
	d := Difference{Setting: "seccomp", From: levelDeclared, To: levelInForce, Want: "no filter", Have: string(have.Mode)}
	if wants {
		d.Want = "a filter"
		return []Difference{d}
	}
	d.Reason = "stricter: the process added a filter itself, or the runtime runs under one"
	return []Difference{d}
}

// labelAsDeclared compares the label of a security module. In force, AppArmor
// adds the mode to the profile's name; any mode but enforce only reports.
func labelAsDeclared(setting string, s Setting[string, string, string]) []Difference {
	want, have, ok := both(s.Declared, s.InForce)
	if !ok {
		return labelMissing(setting, s)
	}
	if setting == "apparmor" && want != "unconfined" {
		want += " (enforce)"
	}
	if want == have {
		return nil
	}
	return []Difference{{Setting: setting, From: levelDeclared, To: levelInForce, Want: want, Have: have}}
}

// labelMissing is a label that was declared where no module applies it.
func labelMissing(setting string, s Setting[string, string, string]) []Difference {
	want, ok := s.Declared.Value()
	if !ok || want == "unconfined" || s.InForce.Source() != noLSM {
		return nil
	}
	return []Difference{{Setting: setting, From: levelDeclared, To: levelInForce, Want: want, Have: "no label"}}
}

func readonlyRootAsDeclared(r *Report) []Difference {
	d, have, ok := both(r.ReadonlyRootfs.Declared, r.ReadonlyRootfs.InForce)
	if !ok || d == have {
		return nil
	}
	diff := Difference{
		Setting: "readonlyRootfs", From: levelDeclared, To: levelInForce,
		Want: strconv.FormatBool(d), Have: strconv.FormatBool(have),
	}
	if have {
		diff.Reason = "stricter: the file system itself is read-only"
	}
	return []Difference{diff}
}

func userNamespaceAsDeclared(r *Report) []Difference {
	d, ns, ok := both(r.UserNamespace.Declared, r.UserNamespace.InForce)
	if !ok || d != ns.Initial {
		return nil
	}
	diff := Difference{Setting: "userNamespace", From: levelDeclared, To: levelInForce, Want: "the runtime's", Have: "its own"}
	if d {
		diff.Want, diff.Have = "its own", "the initial one"
	} else {
		diff.Reason = "stricter: the runtime itself runs in a user namespace"
	}
	return []Difference{diff}
}
