package inspect

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rtinspect/rtinspect/caps"
)

// isEvery tells whether a set has every capability of all, but for those that Linux
// 5.8 and 5.9 split off CAP_SYS_ADMIN, which still allows the same: a runtime that is
// older, as Docker 20.10, does not know their names. See capabilities(7).
func isEvery(set, all caps.Set) bool {
	return all.Minus(set).Minus(caps.Of(caps.Perfmon, caps.BPF, caps.CheckpointRestore)).IsEmpty()
}

// privilegedInForce tells whether a process could take over the host as a
// privileged container can: every capability in its bounding set, in the initial
// user namespace, and no seccomp filter. Masked paths and a read-only /sys do not
// count, as such a process can undo them. One of the three that is missing makes
// it false; one that is unknown, with none missing, makes it unknown.
func privilegedInForce(r *Report, all Fact[caps.Set]) Fact[bool] {
	const source = "bounding set, user namespace and seccomp in force"
	set, setOK := all.Value()
	state, stateOK := r.Capabilities.InForce.Value()
	ns, nsOK := r.UserNamespace.InForce.Value()
	seccomp, seccompOK := r.Seccomp.InForce.Value()
	switch {
	case setOK && stateOK && !isEvery(state.Bounding, set),
		nsOK && !ns.Initial,
		seccompOK && seccomp.Mode != SeccompDisabled:
		return KnownFact(false, source)
	case setOK && stateOK && nsOK && seccompOK:
		return KnownFact(true, source)
	}
	return UnknownFact[bool](errors.Join(all.Cause(), r.Capabilities.InForce.Cause(),
		r.UserNamespace.InForce.Cause(), r.Seccomp.InForce.Cause()))
}

// privilegedDeclared tells whether the specification amounts to privileged.
func privilegedDeclared(r *Report, s *spec, all Fact[caps.Set]) Fact[bool] {
	set, ok := all.Value()
	if !ok {
		return UnknownFact[bool](all.Cause())
	}
	sets, ok := r.Capabilities.Declared.Value()
	if !ok {
		return UnknownFact[bool](r.Capabilities.Declared.Cause())
	}
	return declared(s.amountsToPrivileged(set, sets))
}

// amountsToPrivileged tells whether a specification gives what "privileged"
// gives. The specification has no such word: it is every capability the runtime
// has, in the host's user namespace, every device, no masked path and no
// seccomp filter.
func (s *spec) amountsToPrivileged(all caps.Set, sets CapabilitySets) bool {
	return isEvery(sets.Bounding, all) &&
		!s.hasNamespace(specs.UserNamespace) &&
		s.Linux != nil && s.Linux.Seccomp == nil && len(s.Linux.MaskedPaths) == 0 && s.allDevices()
}

func (s *spec) allDevices() bool {
	if s.Linux.Resources == nil {
		return true
	}
	// Later rules override earlier ones; the last for all devices decides.
	all := true
	for _, d := range s.Linux.Resources.Devices {
		if (d.Type == "" || d.Type == "a") && d.Major == nil && d.Minor == nil {
			all = d.Allow
		}
	}
	return all
}

// allCapabilities is what a privileged container can have at most: the runtime's
// own effective set, or all of the kernel's where the runtime's is unknown.
func allCapabilities(runtime *RuntimeInfo, last Fact[caps.Cap]) Fact[caps.Set] {
	if runtime != nil {
		if _, ok := runtime.Bounding.Value(); ok {
			return runtime.Bounding
		}
	}
	if c, ok := last.Value(); ok {
		return KnownFact(caps.UpTo(c), last.Source())
	}
	return UnknownFact[caps.Set](last.Cause())
}
