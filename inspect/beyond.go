package inspect

import (
	"cmp"
	"slices"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// Excess is something that a process holds and its container's first process
// does not.
type Excess struct {
	Kind ExcessKind `json:"kind"`
	// What is the part of it: a capability set, a kind of namespace, apparmor.
	What string `json:"what,omitempty"`
	// Has is what the process has, First what the first process has. Of
	// capabilities, Has are those that the first process lacks.
	Has   string `json:"has"`
	First string `json:"first"`
	// Whose tells of a namespace that it is the host's, or that of the first
	// process of another container. Of capabilities it tells that they hold in a
	// user namespace of its own only.
	Whose string `json:"whose,omitempty"`
}

// ExcessKind is what a process may hold beyond the first.
type ExcessKind string

// The kinds of excess.
const (
	ExcessCapabilities ExcessKind = "capabilities"
	ExcessNamespace    ExcessKind = "namespace"
	ExcessSeccomp      ExcessKind = "seccomp"
	ExcessNoNewPrivs   ExcessKind = "noNewPrivs"
	ExcessLabel        ExcessKind = "label"
	ExcessRoot         ExcessKind = "root"
	ExcessUser         ExcessKind = "user"
)

// The values of Excess.Whose, besides the names of containers.
const (
	whoseHost = "the host's"
	whoseOwn  = "in its own user namespace only"
)

// beyond compares a process with the container's first.
func beyond(p, first *Process) []Excess {
	return append([]Excess{}, slices.Concat(
		moreCapabilities(p, first),
		moreUser(p, first),
		otherNamespaces(p, first),
		lessSeccomp(p, first),
		otherLabel("apparmor", p.AppArmor, first.AppArmor),
		otherLabel("selinux", p.SELinux, first.SELinux),
		otherRoot(p, first),
	)...)
}

func moreCapabilities(p, first *Process) []Excess {
	has, base, ok := both(p.Capabilities, first.Capabilities)
	if !ok {
		return nil
	}
	var list []Excess
	for _, s := range []struct {
		name      string
		has, base caps.Set
	}{
		{"effective", has.Effective, base.Effective},
		{"permitted", has.Permitted, base.Permitted},
		{"bounding", has.Bounding, base.Bounding},
		{"inheritable", has.Inheritable, base.Inheritable},
		{"ambient", has.Ambient, base.Ambient},
	} {
		more := s.has.Minus(s.base)
		if more.IsEmpty() {
			continue
		}
		list = append(list, Excess{
			Kind: ExcessCapabilities, What: s.name, Has: more.String(), First: s.base.String(), Whose: ownUserNamespace(p, first),
		})
	}
	if has.NoNewPrivs == caps.NoNewPrivsOff && base.NoNewPrivs == caps.NoNewPrivsOn {
		list = append(list, Excess{Kind: ExcessNoNewPrivs, Has: has.NoNewPrivs.String(), First: base.NoNewPrivs.String()})
	}
	return list
}

// ownUserNamespace tells when capabilities are those of a namespace below the
// first process's: that has fewer ids than the first's maps, and never the
// initial one.
func ownUserNamespace(p, first *Process) string {
	set, base, ok := both(p.Namespaces, first.Namespaces)
	if !ok {
		return ""
	}
	own, ownErr := set.Namespace(nsdiff.User)
	other, otherErr := base.Namespace(nsdiff.User)
	if ownErr != nil || otherErr != nil || own == other || own == nsdiff.Initial(nsdiff.User) {
		return ""
	}
	return whoseOwn
}

// moreUser tells of a process that runs as root where the first does not, in the
// numbering of our user namespace.
func moreUser(p, first *Process) []Excess {
	has, base, ok := both(p.User, first.User)
	if !ok || !has.UID.isRoot() || base.UID.isRoot() {
		return nil
	}
	return []Excess{{Kind: ExcessUser, What: "uid", Has: has.UID.String(), First: base.UID.String()}}
}

func otherNamespaces(p, first *Process) []Excess {
	has, base, ok := both(p.Namespaces, first.Namespaces)
	if !ok {
		return nil
	}
	var list []Excess
	for _, k := range nsdiff.Kinds() {
		own, ownErr := has.Namespace(k)
		other, otherErr := base.Namespace(k)
		if ownErr == nil && otherErr == nil && own != other {
			list = append(list, Excess{Kind: ExcessNamespace, What: k.String(), Has: own.String(), First: other.String()})
		}
	}
	return list
}

func lessSeccomp(p, first *Process) []Excess {
	has, base, ok := both(p.Seccomp, first.Seccomp)
	if !ok || has.Mode.strength() >= base.Mode.strength() {
		return nil
	}
	return []Excess{{Kind: ExcessSeccomp, Has: string(has.Mode), First: string(base.Mode)}}
}

// strength orders the modes: strict allows four calls.
func (m SeccompMode) strength() int {
	return slices.Index([]SeccompMode{SeccompDisabled, SeccompFilter, SeccompStrict}, m)
}

func otherLabel(what string, has, first Fact[string]) []Excess {
	own, base, ok := both(has, first)
	if !ok || own == base {
		return nil
	}
	return []Excess{{Kind: ExcessLabel, What: what, Has: own, First: base}}
}

// otherRoot compares within a mount namespace: in another one it is another
// folder in any case.
func otherRoot(p, first *Process) []Excess {
	own, base, ok := both(p.Root, first.Root)
	if !ok || own == base {
		return nil
	}
	return []Excess{{Kind: ExcessRoot, Has: own, First: base}}
}

// nameNamespaces says whose the namespaces are that are not the first process's.
func (s *scan) nameNamespaces(processes map[*listed]Processes) {
	for f, tree := range processes {
		for n := range tree.List {
			for e := range tree.List[n].Beyond {
				if excess := &tree.List[n].Beyond[e]; excess.Kind == ExcessNamespace {
					excess.Whose = s.whose(f, excess.Has)
				}
			}
			leaks, _ := tree.List[n].Leaks.Value()
			for l := range leaks {
				if leaks[l].IsNamespace() {
					leaks[l].Whose = s.whose(f, leaks[l].Path)
				}
			}
		}
	}
}

// whose says whose a namespace is, empty when it is the container's own or not
// known.
func (s *scan) whose(f *listed, namespace string) string {
	if s.names == nil {
		s.names = s.namespaceOwners()
	}
	if whose := s.names[namespace]; whose != f.FullName() {
		return whose
	}
	return ""
}

// namespaceOwners reads the namespaces of the host and of every container's
// first process.
func (s *scan) namespaceOwners() map[string]string {
	host := s.host()
	names := make([][]string, len(s.all))
	parallel(len(s.all), func(n int) {
		p, err := s.open(&s.all[n])
		if p == nil || err != nil {
			return
		}
		defer p.Close() //nolint:errcheck // opened for reading
		set, err := nsdiff.Read(p)
		if err != nil {
			return
		}
		for _, k := range nsdiff.Kinds() {
			if ns, err := set.Namespace(k); err == nil {
				names[n] = append(names[n], ns.String())
			}
		}
	})
	owner := map[string]string{}
	for n := range s.all {
		for _, ns := range names[n] {
			owner[ns] = cmp.Or(owner[ns], s.all[n].FullName())
		}
	}
	for _, set := range []nsdiff.Set{host.First, host.KernelThread} {
		for _, k := range nsdiff.Kinds() {
			if ns, err := set.Namespace(k); err == nil {
				owner[ns.String()] = whoseHost
			}
		}
	}
	for _, k := range nsdiff.Kinds() {
		owner[nsdiff.Initial(k).String()] = whoseHost
	}
	return owner
}
