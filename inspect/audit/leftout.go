package audit

import "github.com/rtinspect/rtinspect/inspect"

// leftOut makes facts unknown that lack a list which a collected one always has,
// if an empty one: a record that leaves it out does not say that there is nothing
// in it. The given report is not changed.
func leftOut(r *inspect.Report) *inspect.Report {
	mounts, ok := r.Mounts.Value()
	noMounts := ok && (mounts.InForce == nil || mounts.Masked == nil || mounts.ReadonlyPaths == nil)
	processes, ok := r.Processes.Value()
	noProcesses := ok && processes.List == nil
	s, ok := r.Specification.Value()
	noSpecification := ok && (s.Sysctls == nil || s.Hooks == nil || lacksRules(s.Seccomp))
	q, ok := r.Request.Value()
	noRequest := ok && (q.Mounts == nil || q.MaskedPaths == nil || q.ReadonlyPaths == nil || q.Ports == nil)
	if !noMounts && !noProcesses && !noSpecification && !noRequest {
		return r
	}
	less := *r
	if noMounts {
		less.Mounts = inspect.UnknownFact[inspect.Mounts](errNotCollected)
	}
	if noProcesses {
		less.Processes = inspect.UnknownFact[inspect.Processes](errNotCollected)
	}
	if noSpecification {
		less.Specification = inspect.UnknownFact[inspect.Specification](errNotCollected)
	}
	if noRequest {
		less.Request = inspect.UnknownFact[inspect.Request](errNotCollected)
	}
	return &less
}

func lacksRules(f inspect.Fact[inspect.SeccompProfile]) bool {
	p, ok := f.Value()
	return ok && (p.Rules == nil || p.Architectures == nil)
}
