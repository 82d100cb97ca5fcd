package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

// mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5). Paths are
// as written there, with spaces as \040.
type mount struct {
	point    string
	fsType   string
	readonly bool // this mount, or its file system as a whole
}

func readMounts(p *procfs.Process) ([]mount, error) {
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		return nil, err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("mountinfo"), err)
	}
	return mounts, nil
}

// parseMounts reads mountinfo, in the order of the file: of two mounts on one
// place the later is on top.
func parseMounts(text string) ([]mount, error) {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(rest) < 2 {
			return nil, fmt.Errorf("line %q: want at least six fields, a dash and two more", line)
		}
		super := rest[len(rest)-1]
		mounts = append(mounts, mount{
			point:    fields[4],
			fsType:   rest[0],
			readonly: hasOption(fields[5], "ro") || len(rest) > 2 && hasOption(super, "ro"),
		})
	}
	return mounts, nil
}

func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
	}
	return false
}

// onTop returns the mount that is seen at a place.
func onTop(mounts []mount, point string) (mount, bool) {
	for _, m := range slices.Backward(mounts) {
		if m.point == point {
			return m, true
		}
	}
	return mount{}, false
}

func readonlyRoot(p *procfs.Process, mounts []mount, err error) Fact[bool] {
	if err != nil {
		return UnknownFact[bool](err)
	}
	root, ok := onTop(mounts, "/")
	if !ok {
		return UnknownFact[bool](fmt.Errorf("%s: no mount on /", p.Path("mountinfo")))
	}
	return KnownFact(root.readonly, p.Path("mountinfo"))
}

// privilegedInForce tells whether a process has all that "privileged" gives:
// every capability in its bounding set, the initial user namespace, no seccomp
// filter, nothing mounted over parts of /proc and a writable /sys. One thing
// that is missing makes it false; one that is unknown, with none missing,
// makes it unknown.
func privilegedInForce(r *Report, allFact Fact[caps.Set], p *procfs.Process, mounts []mount, mountsErr error) Fact[bool] {
	state, stateOK := r.Capabilities.InForce.Value()
	all, allOK := allFact.Value()
	ns, nsOK := r.UserNamespace.InForce.Value()
	seccomp, seccompOK := r.Seccomp.InForce.Value()
	parts := []struct {
		known bool
		has   bool
		cause error
	}{
		{stateOK && allOK, all.Minus(state.Bounding).IsEmpty(), errors.Join(r.Capabilities.InForce.Cause(), allFact.Cause())},
		{nsOK, ns.Initial, r.UserNamespace.InForce.Cause()},
		{seccompOK, seccomp.Mode == SeccompDisabled, r.Seccomp.InForce.Cause()},
		{mountsErr == nil, hostLikeMounts(mounts), mountsErr},
	}
	var unknown error
	for _, part := range parts {
		switch {
		case !part.known:
			unknown = errors.Join(unknown, part.cause)
		case !part.has:
			return KnownFact(false, p.Path(""))
		}
	}
	if unknown != nil {
		return UnknownFact[bool](unknown)
	}
	return KnownFact(true, p.Path(""))
}

// hostLikeMounts tells whether /proc is unmasked and /sys writable.
func hostLikeMounts(mounts []mount) bool {
	for _, m := range mounts {
		if strings.HasPrefix(m.point, "/proc/") && m.fsType != "binfmt_misc" {
			return false
		}
	}
	sys, ok := onTop(mounts, "/sys")
	return ok && !sys.readonly
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
