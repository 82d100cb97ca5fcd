package caps

import (
	"fmt"
	"strconv"
	"strings"
)

// UserNS says in which user namespace the capabilities of a process hold. In the initial one they hold for the whole host. In
// any other they hold only for what belongs to that namespace: its own mounts, network, processes. See user_namespaces(7).
type UserNS uint8

// The zero value is unknown: the namespace could not be read. It is judged like the initial one.
const (
	UserNSUnknown UserNS = iota
	UserNSInitial
	UserNSOther
)

// initialUserNS is the inode of the initial user namespace, PROC_USER_INIT_INO of include/uapi/linux/nsfs.h. It is the same on
// every host since Linux 3.8.
const initialUserNS = 0xEFFFFFFD

// String returns "unknown", "initial" or "other".
func (n UserNS) String() string {
	switch n {
	case UserNSUnknown:
		return "unknown"
	case UserNSInitial:
		return "initial"
	case UserNSOther:
		return "other"
	}
	return "UserNS(" + strconv.Itoa(int(n)) + ")"
}

// MarshalText returns the text of [UserNS.String].
func (n UserNS) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText takes a text of [UserNS.String]. The error wraps [ErrSyntax].
func (n *UserNS) UnmarshalText(text []byte) error {
	for _, known := range []UserNS{UserNSUnknown, UserNSInitial, UserNSOther} {
		if string(text) == known.String() {
			*n = known
			return nil
		}
	}
	return fmt.Errorf("%w: user namespace %q: want unknown, initial or other", ErrSyntax, clip(string(text)))
}

// ParseUserNS returns which user namespace the link /proc/PID/ns/user names, such as "user:[4026531837]". The error wraps
// [ErrSyntax].
func ParseUserNS(link string) (UserNS, error) {
	inode, opened := strings.CutPrefix(link, "user:[")
	inode, closed := strings.CutSuffix(inode, "]")
	number, err := strconv.ParseUint(inode, 10, 64)
	if !opened || !closed || err != nil {
		return UserNSUnknown, fmt.Errorf("%w: user namespace link %q: want user:[inode]", ErrSyntax, clip(link))
	}
	if number == initialUserNS {
		return UserNSInitial, nil
	}
	return UserNSOther, nil
}

// Reach is what a process can do with capabilities, now and by its own steps. The three sets have no capability in common.
//
// It is an upper bound: seccomp filters, security modules, the securebits, mounts with nosuid and the programs at hand can all
// leave the process less. It does not count what a process gets in a user namespace that it makes itself, as those
// capabilities hold only there.
type Reach struct {
	// Now is effective: the kernel lets the process use it.
	Now Set `json:"now"`
	// Raise is permitted but not effective: one capset(2) call makes it so.
	Raise Set `json:"raise"`
	// OnExec is what execve(2) could add: with a set-user-ID-root program or file capabilities that grant it, and for a process
	// with user ID 0 with any program. It is empty when NoNewPrivs is on. When that is unknown, it is counted as off.
	OnExec Set `json:"onExec"`
	// NoNewPrivs is the attribute that OnExec was judged with.
	NoNewPrivs NoNewPrivs `json:"noNewPrivs"`
	// UserNS says where all of this holds.
	UserNS UserNS `json:"userNamespace"`
	// UserNSError says why UserNS is unknown, with the path and the cause; it is empty otherwise.
	UserNSError string `json:"userNamespaceError,omitempty"`
}

// Reach returns what a process with the state s can reach in a user namespace.
//
// The set OnExec follows from "Transformation of capabilities during execve()" in capabilities(7): a program can add what is in
// the bounding set, and what is in the inheritable set even when it is not in the bounding set.
func (s State) Reach(ns UserNS) Reach {
	held := s.Effective.Union(s.Permitted)
	r := Reach{
		Now:        s.Effective,
		Raise:      s.Permitted.Minus(s.Effective),
		NoNewPrivs: s.NoNewPrivs,
		UserNS:     ns,
	}
	if s.NoNewPrivs != NoNewPrivsOn {
		r.OnExec = s.Bounding.Union(s.Inheritable).Minus(held)
	}
	return r
}

// All returns every capability that the process can reach.
func (r Reach) All() Set { return r.Now.Union(r.Raise).Union(r.OnExec) }

// Danger returns how dangerous it is that the process can reach c: [DangerNone] when it cannot, the danger of [Info] in the
// initial user namespace and in an unknown one, and at most [DangerLow] in any other, where it takes a flaw in the kernel to
// harm the host.
func (r Reach) Danger(c Cap) Danger {
	if !r.All().Has(c) {
		return DangerNone
	}
	danger := c.Info().Danger
	if r.UserNS == UserNSOther {
		return min(danger, DangerLow)
	}
	return danger
}
