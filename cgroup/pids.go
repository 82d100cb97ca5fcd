package cgroup

// Pids is what the pids controller limits and counts: processes and threads, of the cgroup and all below it.
type Pids struct {
	// Max is how many there may be, from pids.max.
	Max Fact[Limit] `json:"max"`
	// Current is how many there are, from pids.current. It may be above Max, which only stops new ones.
	Current Fact[Count] `json:"current"`
	// Peak is how many there were at most. From pids.peak, available from Linux 6.1.
	Peak Fact[Count] `json:"peak"`
	// MaxEvents counts forks that failed at the limit, from pids.events; before Linux 6.11 without the cgroups below.
	MaxEvents Fact[Count] `json:"maxEvents"`
}

// readPids reads the values of one cgroup; v1 and v2 have the same files.
func readPids(f *folder) Pids {
	limit, usage := pidsLevel(f, false)
	return Pids{
		Max:       limit,
		Current:   usage,
		Peak:      read(f, "pids.peak", line(ParseCount)),
		MaxEvents: pick(keyed(f, "pids.events"), "max"),
	}
}

// pidsLevel reads what bounds the processes of a cgroup.
func pidsLevel(f *folder, _ bool) (limit Fact[Limit], usage Fact[Count]) {
	return read(f, "pids.max", line(ParseLimit)), read(f, "pids.current", line(ParseCount))
}
