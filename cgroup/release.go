package cgroup

// Release says whether the kernel runs a program, as root on the host, when a cgroup of a v1 hierarchy becomes empty. Who can
// write both files in a container escapes from it. Cgroup v2 has no such thing. See "Release notification" in cgroups(7).
type Release struct {
	// Controllers are those of the hierarchy.
	Controllers []string `json:"controllers"`
	// Notify says that it happens for the process's cgroup, from notify_on_release.
	Notify Fact[bool] `json:"notifyOnRelease"`
	// Agent is the program, from release_agent in the root of the hierarchy; empty for none. It is unknown when the root is not
	// visible.
	Agent Fact[string] `json:"releaseAgent"`
}

func readRelease(l *lineage, controllers []string) Release {
	r := Release{
		Controllers: controllers,
		Notify:      read(l.leaf(), "notify_on_release", line(parseSwitch)),
		Agent:       read(l.root(), "release_agent", line(func(text string) (string, error) { return text, nil })),
	}
	if l.above.Known() != Absent {
		r.Agent = UnknownFact[string](l.above.Cause())
	}
	return r
}
