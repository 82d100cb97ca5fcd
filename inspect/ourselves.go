package inspect

import "github.com/rtinspect/rtinspect/internal/procfs"

// ourselves is what our own process tells of all others, so that less need
// be read of each. The zero value tells nothing.
type ourselves struct {
	// userLink is our user namespace and userNS its maps: a process in the same
	// one has the same maps.
	userLink string
	userNS   UserNamespace
	// noLSM tells that the kernel labels no process.
	noLSM bool
}

func readOurselves(fs procfs.FS) ourselves {
	p, err := fs.OpenSelf()
	if err != nil {
		return ourselves{}
	}
	defer p.Close() //nolint:errcheck // opened for reading
	var s ourselves
	link, err := p.Readlink("ns/user")
	if ns, ok := userNamespace(p).Value(); ok && err == nil {
		s.userLink, s.userNS = link, ns
	}
	apparmor, selinux := labels(p)
	s.noLSM = apparmor.Source() == noLSM && selinux.Source() == noLSM
	return s
}

// userNamespace is that of a process.
func (s ourselves) userNamespace(p *procfs.Process) Fact[UserNamespace] {
	if link, err := p.Readlink("ns/user"); err == nil && link == s.userLink {
		return KnownFact(s.userNS, p.Path("ns/user"))
	}
	return userNamespace(p)
}

// labels are those of a process.
func (s ourselves) labels(p *procfs.Process) (apparmor, selinux Fact[string]) {
	if s.noLSM {
		return AbsentFact[string](noLSM), AbsentFact[string](noLSM)
	}
	return labels(p)
}
