package inspect

// Gap is a fact that is unknown.
type Gap struct {
	// Fact is the JSON name, with dots: capabilities.inForce.
	Fact string `json:"fact"`
	// Cause says why.
	Cause error `json:"-"`
}

// Gaps returns the container's facts that are unknown, in the order of its
// fields.
func (c Container) Gaps() []Gap {
	var g gaps
	add(&g, "state", c.State)
	add(&g, "pid", c.PID)
	add(&g, "tier", c.Tier)
	return g
}

// Gaps returns the report's facts that are unknown, in the order of its fields.
// A report without any is whole.
func (r Report) Gaps() []Gap {
	g := gaps(r.Container.Gaps())
	addSetting(&g, "capabilities", r.Capabilities.Setting)
	if q, ok := r.Capabilities.Requested.Value(); ok {
		add(&g, "capabilities.requested.result", q.Result)
	}
	add(&g, "capabilities.reach", r.Capabilities.Reach)
	if reach, ok := r.Capabilities.Reach.Value(); ok && reach.UserNSError != "" {
		add(&g, "capabilities.reach.userNamespace", r.UserNamespace.InForce)
	}
	addSetting(&g, "user", r.User)
	if u, ok := r.User.InForce.Value(); ok {
		add(&g, "user.inForce.inside", u.Inside)
	}
	addSetting(&g, "noNewPrivs", r.NoNewPrivs)
	addSetting(&g, "seccomp", r.Seccomp)
	addSetting(&g, "apparmor", r.AppArmor)
	addSetting(&g, "selinux", r.SELinux)
	addSetting(&g, "readonlyRootfs", r.ReadonlyRootfs)
	addSetting(&g, "privileged", r.Privileged)
	addSetting(&g, "userNamespace", r.UserNamespace)
	add(&g, "process", r.Process)
	return g
}

type gaps []Gap

func add[T any](g *gaps, name string, f Fact[T]) {
	if cause := f.Cause(); cause != nil {
		*g = append(*g, Gap{Fact: name, Cause: cause})
	}
}

func addSetting[R, D, E any](g *gaps, name string, s Setting[R, D, E]) {
	add(g, name+".requested", s.Requested)
	add(g, name+".declared", s.Declared)
	add(g, name+".inForce", s.InForce)
}
