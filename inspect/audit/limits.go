package audit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rtinspect/rtinspect/cgroup"
)

const podsLimits = "the limits of a pod's sandbox container are the pod's: its containers are judged"

func limitRules() []Rule {
	return []Rule{
		{
			ID: "no-memory-limit", Title: "memory is not limited", Severity: Low, pause: podsLimits,
			Meaning: "Neither the container's nor the pod's control group has a limit: it takes what the node has, until the kernel kills " +
				"something else.",
			Remedy:     "resources.limits.memory.",
			References: slices.Concat(docker("5.11"), nsa("C-0271"), attack("T1499"), man("cgroups(7)")),
			judge: func(c *container) outcome {
				return found(unlimited(c, "memory", func(p cgroup.Process) cgroup.Effective[cgroup.Limit] { return p.Effective.Memory }), Low)
			},
		},
		{
			ID: "no-pids-limit", Title: "the number of processes is not limited", Severity: Low, pause: podsLimits,
			Meaning:    "Neither the container's nor the pod's control group has a limit: a fork bomb takes all pids of the node.",
			Remedy:     "podPidsLimit in the kubelet's configuration, or --pids-limit.",
			References: slices.Concat(k8s("4.2.13"), docker("5.29"), attack("T1499"), man("cgroups(7)")),
			judge: func(c *container) outcome {
				return found(unlimited(c, "pids", func(p cgroup.Process) cgroup.Effective[cgroup.Limit] { return p.Effective.Pids }), Low)
			},
		},
		{
			ID: "no-cpu-limit", Title: "processor time is not limited", Severity: Info, pause: podsLimits,
			Meaning: "Neither the container's nor the pod's control group has a quota. Its weight still keeps it from taking the time of " +
				"others, so that many leave the quota out on purpose.",
			Remedy:     "resources.limits.cpu.",
			References: slices.Concat(nsa("C-0270"), man("cgroups(7)")),
			judge: func(c *container) outcome {
				return found(unlimited(c, "cpu", func(p cgroup.Process) cgroup.Effective[cgroup.CPUMax] { return p.Effective.CPU }), Info)
			},
		},
	}
}

// unlimited claims that no limit is set for the container or its pod. A limit
// above, for all pods of a class or for the node, does not keep it from the others.
func unlimited[T cgroup.Bound[T]](c *container, what string, of func(cgroup.Process) cgroup.Effective[T]) claim {
	name := "cgroup.inForce.effective." + what
	process, ok := c.Cgroup.InForce.Value()
	if !ok {
		return unsureOf("cgroup.inForce", causeOf(c.Cgroup.InForce))
	}
	levels := of(process).Levels()
	shared := slices.IndexFunc(levels, func(l cgroup.Level[T]) bool { return isShared(l.Kind) })
	if shared >= 0 {
		levels = levels[:shared]
	}
	if len(levels) == 0 {
		return unsureOf(name, errors.New("no level of the container's own is known"))
	}
	limited := claim{truth: no}
	for _, l := range levels {
		set := known(name+"."+string(l.Kind), l.Limit, T.Bounds)
		if limit, ok := l.Limit.Value(); ok {
			set = set.saying(fmt.Sprint(limit))
		}
		limited = either(limited, set)
	}
	if c.guest() && limited.truth == no {
		limited = limited.with(c.guestLimits())
	}
	return not(limited)
}

// guestLimits says why limits that were declared may not be in force.
func (c *container) guestLimits() Evidence {
	return Evidence{Fact: "tier", Value: "a limit of the container's own is not put on its sandbox, a pod's is", Source: c.Runtime}
}

// isShared tells the levels that others are below as well.
func isShared(k cgroup.Kind) bool {
	switch k {
	case cgroup.KindOuter, cgroup.KindQoS, cgroup.KindSlice, cgroup.KindRoot, cgroup.KindHidden, cgroup.KindMachine:
		return true
	case cgroup.KindGroup, cgroup.KindContainer, cgroup.KindPod:
	}
	return false
}
