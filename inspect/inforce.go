package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// read fills in the level in force of a report but for its largest parts.
func (i *Inspector) read(r *Report, p *heldProcess, all Fact[caps.Set]) {
	ns := p.userNamespace()
	r.UserNamespace.InForce = ns
	readStatus(r, p, ns)
	r.AppArmor.InForce, r.SELinux.InForce = p.labels()
	r.ReadonlyRootfs.InForce = UnknownFact[bool](errLeftOut)
	if i.options.Parts.has(PartMounts) {
		r.ReadonlyRootfs.InForce = readonlyRoot(p)
	}
	r.Privileged.InForce = privilegedInForce(r, all)
}

// readStatus reads what /proc/PID/status tells.
func readStatus(r *Report, p *heldProcess, ns Fact[UserNamespace]) {
	source := p.Path("status")
	data, err := p.readStatus()
	if err != nil {
		r.Capabilities.InForce = UnknownFact[caps.State](err)
		r.Capabilities.Reach = UnknownFact[caps.Reach](err)
		r.NoNewPrivs.InForce = UnknownFact[bool](err)
		r.User.InForce = UnknownFact[UserInForce](err)
		r.Seccomp.InForce = UnknownFact[SeccompInForce](err)
		return
	}
	r.User.InForce = parsed(source, data, parseUser)
	if u, ok := r.User.InForce.Value(); ok {
		u.Inside = inside(u, ns)
		r.User.InForce = KnownFact(u, source)
	}
	r.Seccomp.InForce = parsed(source, data, parseSeccomp)
	state, err := caps.ParseStatus(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", source, err)
		r.Capabilities.InForce = UnknownFact[caps.State](err)
		r.Capabilities.Reach = UnknownFact[caps.Reach](err)
		r.NoNewPrivs.InForce = UnknownFact[bool](err)
		return
	}
	r.Capabilities.InForce = KnownFact(state, source)
	r.Capabilities.Reach = KnownFact(reach(state, ns), source)
	r.NoNewPrivs.InForce = noNewPrivs(state, source)
}

func parsed[T any](source string, data []byte, parse func([]byte) (T, error)) Fact[T] {
	value, err := parse(data)
	if err != nil {
		return UnknownFact[T](fmt.Errorf("%s: %w", source, err))
	}
	return KnownFact(value, source)
}

func noNewPrivs(s caps.State, source string) Fact[bool] {
	switch s.NoNewPrivs {
	case caps.NoNewPrivsOn:
		return KnownFact(true, source)
	case caps.NoNewPrivsOff:
		return KnownFact(false, source)
	case caps.NoNewPrivsUnknown:
	}
	return UnknownFact[bool](fmt.Errorf("%s: no line NoNewPrivs: Linux shows it since 4.10", source))
}

func reach(s caps.State, ns Fact[UserNamespace]) caps.Reach {
	value, ok := ns.Value()
	switch {
	case !ok:
		r := s.Reach(caps.UserNSUnknown)
		r.UserNSError = ns.Cause().Error()
		return r
	case value.Initial:
		return s.Reach(caps.UserNSInitial)
	}
	return s.Reach(caps.UserNSOther)
}

// statusLine returns the value of one line of /proc/PID/status.
func statusLine(status []byte, key string) (value string, ok bool) {
	for line := range bytes.Lines(status) {
		if rest, found := bytes.CutPrefix(line, []byte(key+":")); found {
			return strings.TrimSpace(string(rest)), true
		}
	}
	return "", false
}

// parseUser reads the lines Uid, Gid and Groups.
func parseUser(status []byte) (UserInForce, error) {
	uid, err := parseIDs(status, "Uid")
	if err != nil {
		return UserInForce{}, err
	}
	gid, err := parseIDs(status, "Gid")
	if err != nil {
		return UserInForce{}, err
	}
	line, ok := statusLine(status, "Groups")
	if !ok {
		return UserInForce{}, errors.New("no line Groups")
	}
	groups, err := parseUint32s(line)
	if err != nil {
		return UserInForce{}, fmt.Errorf("line Groups: %w", err)
	}
	return UserInForce{UID: uid, GID: gid, Groups: sortedGroups(groups)}, nil
}

func parseIDs(status []byte, key string) (IDs, error) {
	line, ok := statusLine(status, key)
	if !ok {
		return IDs{}, fmt.Errorf("no line %s", key)
	}
	n, err := parseUint32s(line)
	if err != nil || len(n) != 4 {
		return IDs{}, fmt.Errorf("line %s: %q: want four numbers", key, line)
	}
	return IDs{Real: n[0], Effective: n[1], Saved: n[2], Filesystem: n[3]}, nil
}

func parseUint32s(line string) ([]uint32, error) {
	var numbers []uint32
	for field := range strings.FieldsSeq(line) {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q: want a number of 32 bits", field)
		}
		numbers = append(numbers, uint32(n))
	}
	return numbers, nil
}

func sortedGroups(groups []uint32) []uint32 {
	sorted := append([]uint32{}, groups...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// parseSeccomp reads the lines Seccomp and, since Linux 5.9, Seccomp_filters.
func parseSeccomp(status []byte) (SeccompInForce, error) {
	line, ok := statusLine(status, "Seccomp")
	if !ok {
		return SeccompInForce{}, errors.New("no line Seccomp: the kernel was built without it, or is older than 3.8")
	}
	s := SeccompInForce{Filters: AbsentFact[int]("Linux counts them since 5.9")}
	switch line {
	case "0":
		s.Mode = SeccompDisabled
	case "1":
		s.Mode = SeccompStrict
	case "2":
		s.Mode = SeccompFilter
	default:
		return SeccompInForce{}, fmt.Errorf("line Seccomp: %q: want 0, 1 or 2", line)
	}
	if count, ok := statusLine(status, "Seccomp_filters"); ok {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil {
			return SeccompInForce{}, fmt.Errorf("line Seccomp_filters: %q: want a number", count)
		}
		s.Filters = KnownFact(int(n), "line Seccomp_filters")
	}
	return s, nil
}

// userNamespace reads the link ns/user, uid_map and gid_map. Where the link may
// not be read, a process with an identity map of all ids counts as in the
// initial namespace: the other error would call host capabilities harmless.
func userNamespace(p *procfs.Process) Fact[UserNamespace] {
	maps, err := nsdiff.ReadIDMaps(p)
	if err != nil {
		return UnknownFact[UserNamespace](err)
	}
	ns := UserNamespace{UIDMap: maps.UID, GIDMap: maps.GID, Setgroups: maps.Setgroups}
	link, err := p.Readlink("ns/user")
	switch {
	case err == nil:
		ns.Initial = link == nsdiff.Initial(nsdiff.User).String()
		return KnownFact(ns, p.Path("ns/user"))
	case errors.Is(err, fs.ErrPermission):
		ns.Initial = maps.UID.Identity()
		return KnownFact(ns, p.Path("uid_map"))
	}
	return UnknownFact[UserNamespace](err)
}

// inside numbers a process's effective user as its container does.
func inside(u UserInForce, ns Fact[UserNamespace]) Fact[User] {
	n, ok := ns.Value()
	if !ok {
		return UnknownFact[User](ns.Cause())
	}
	uid, uidOK := n.UIDMap.Inside(u.UID.Effective)
	gid, gidOK := n.GIDMap.Inside(u.GID.Effective)
	if !uidOK || !gidOK {
		return UnknownFact[User](fmt.Errorf("uid %d or gid %d is in no id map of its user namespace", u.UID.Effective, u.GID.Effective))
	}
	var groups []uint32
	for _, g := range u.Groups {
		// A group without a mapping is one the container cannot name.
		if m, ok := n.GIDMap.Inside(g); ok {
			groups = append(groups, m)
		}
	}
	return KnownFact(User{UID: uid, GID: gid, Groups: sortedGroups(groups)}, ns.Source())
}

// noLSM is why a label is absent.
const noLSM = "this security module does not run in this kernel"

// labels reads the labels of AppArmor and SELinux. A kernel in which neither
// runs answers EINVAL: there is no label then, which is not "unconfined".
func labels(p *procfs.Process) (apparmor, selinux Fact[string]) {
	own, err := readLabel(p, "attr/apparmor/current") // since Linux 5.8
	if err == nil {
		return KnownFact(own, p.Path("attr/apparmor/current")), selinuxBeside(p, own)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return UnknownFact[string](err), UnknownFact[string](err)
	}
	shared, err := readLabel(p, "attr/current")
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, fs.ErrNotExist):
		return AbsentFact[string](noLSM), AbsentFact[string](noLSM)
	case err != nil:
		return UnknownFact[string](err), UnknownFact[string](err)
	case isSELinux(shared):
		return AbsentFact[string](noLSM), KnownFact(shared, p.Path("attr/current"))
	}
	return KnownFact(shared, p.Path("attr/current")), AbsentFact[string](noLSM)
}

// selinuxBeside is SELinux's label where AppArmor runs too: attr/current has
// the label of one of them only.
func selinuxBeside(p *procfs.Process, apparmor string) Fact[string] {
	shared, err := readLabel(p, "attr/current")
	if err != nil {
		return UnknownFact[string](err)
	}
	if shared != apparmor && isSELinux(shared) {
		return KnownFact(shared, p.Path("attr/current"))
	}
	return AbsentFact[string]("AppArmor is this kernel's security module")
}

func readLabel(p *procfs.Process, name string) (string, error) {
	data, err := p.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(data), "\x00\n"), nil
}

// isSELinux tells a context, user:role:type[:level], from a profile's name,
// which for a nested one has // in it.
func isSELinux(label string) bool {
	return strings.Count(label, ":") >= 2 && !strings.Contains(label, "//") && !strings.HasSuffix(label, ")")
}
