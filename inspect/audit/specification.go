package audit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rtinspect/rtinspect/inspect"
)

func specificationRules() []Rule {
	return []Rule{
		{
			ID: "unsafe-sysctl", Title: "kernel settings are changed for the container", Severity: High,
			Meaning: "The specification sets sysctls other than those that Kubernetes calls safe: they may weaken the pod or, where they are " +
				"not of a namespace, the node. A value with + is high: CRI-O's helper took it for more settings, of the node's.",
			Remedy:     "Remove it from securityContext.sysctls.",
			References: slices.Concat(baseline("sysctls"), attack("T1611"), cve("CVE-2022-0811")),
			judge:      judgeSysctls,
		},
		{
			ID: "hooks", Title: "the runtime runs programs for the container", Severity: High,
			Meaning: "Hooks of the specification run as the runtime, mostly outside of the container. A CRI request has none: they come from " +
				"NRI plugins, CDI or the runtime's configuration. With a hook of NVIDIA's toolkit and LD_PRELOAD in the environment it is " +
				"high and possible: the hook took the variable over and ran the image's code; so it may with any hook before the repair.",
			Remedy:     "Find out who adds them. For NVIDIA's toolkit, update to 1.17.8.",
			References: cve("CVE-2024-0132", "CVE-2025-23266"),
			judge:      judgeHooks,
		},
		{
			ID: "cdi-devices", Title: "annotations ask for CDI devices", Severity: Low,
			Meaning: "An annotation cdi.k8s.io/… makes the runtime add devices, mounts and hooks that are in no request: what they are is in " +
				"/etc/cdi and /run/cdi of the node. Whoever may write annotations, in an image's checkpoint too, chooses them.",
			Remedy:     "Ask for the device by resources.limits and a device plugin; update containerd.",
			References: cve("CVE-2026-53492"),
			judge:      judgeCDI,
		},
		{
			ID: "log-command", Title: "a label makes containerd run a command", Severity: High,
			Meaning: "The label containerd.io/restart.loguri with binary:// names a program that containerd runs as root when it restarts the " +
				"container. Before their repair it was taken from an image's labels too.",
			Remedy:     "Remove the label; update containerd to 1.7.33, 2.0.10, 2.1.9, 2.2.5 or 2.3.2.",
			References: slices.Concat(attack("T1611"), cve("CVE-2026-53488")),
			judge:      judgeLogCommand,
		},
		{
			ID: "working-directory", Title: "the working folder is an open file of the runtime's", Severity: High,
			Meaning: "The declared working folder is below /proc/…/fd: with runc before 1.1.12 the first process starts in a folder of the " +
				"node's that runc had open. No program needs that.",
			Remedy:     "Treat the image as hostile; update runc to 1.1.12.",
			References: slices.Concat(attack("T1611"), cve("CVE-2024-21626")),
			judge: func(c *container) outcome {
				cwd := derive(c.Process, func(p inspect.Program) string { return p.Cwd })
				return found(known("process.cwd", cwd, inFileTable().MatchString), High)
			},
		},
		{
			ID: "uid-overflow", Title: "another user was declared than root, and it is root", Severity: High,
			Meaning: "The specification names a user other than 0, and the kernel has user ID 0: containerd before 1.6.38, 1.7.27 and 2.0.4 " +
				"let a large number in the image become 0.",
			Remedy:     "securityContext.runAsUser with a number below 2^31; update containerd.",
			References: cve("CVE-2024-40635"),
			judge:      judgeOverflow,
		},
	}
}

var inFileTable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/proc/[^/]+(/task/[^/]+)?/fd(/|$)`) })

func judgeSysctls(c *container) outcome {
	s, ok := c.Specification.Value()
	if !ok {
		return found(unsureOf("specification", causeOf(c.Specification)), High)
	}
	severity := Medium
	var evidence []Evidence
	safe := safeSysctls(latestPSS)
	for _, name := range sortedKeys(s.Sysctls) {
		value := s.Sysctls[name]
		plus := strings.Contains(name+value, "+")
		if slices.Contains(safe, strings.ReplaceAll(name, "/", ".")) && !plus {
			continue
		}
		if plus {
			severity = High
		}
		evidence = append(evidence, Evidence{Fact: "specification.sysctls." + name, Value: value, Source: c.Specification.Source()})
	}
	if len(evidence) == 0 {
		evidence = []Evidence{{Fact: "specification.sysctls", Value: fmt.Sprintf("%d, all of them safe", len(s.Sysctls)), Source: c.Specification.Source()}}
		return found(isTrue(false, evidence...), severity)
	}
	return found(isTrue(true, evidence...), severity)
}

func sortedKeys(values map[string]string) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func judgeHooks(c *container) outcome {
	s, ok := c.Specification.Value()
	if !ok {
		return found(unsureOf("specification", causeOf(c.Specification)), High)
	}
	if len(s.Hooks) == 0 {
		return found(isTrue(false, Evidence{Fact: "specification.hooks", Value: "none", Source: c.Specification.Source()}), Info)
	}
	var evidence []Evidence
	nvidia := false
	for _, h := range s.Hooks {
		evidence = append(evidence, Evidence{Fact: "specification.hooks", Value: h.Kind + " " + h.Path, Source: c.Specification.Source()})
		nvidia = nvidia || strings.Contains(h.Path, "nvidia")
	}
	result := found(isTrue(true, evidence...), Info)
	preload := known("process.env", c.Process, func(p inspect.Program) bool {
		return slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "LD_PRELOAD=") })
	}).saying("LD_PRELOAD is set")
	if nvidia && preload.truth != no {
		result = found(result.with(preload.evidence...), High)
		result.possible = true
	}
	return result
}

// isTold claims that the runtime was asked for the container's labels and
// annotations: what no runtime tells is not known to be none.
func (c *container) isTold(fact string) claim {
	if c.snapshot.Node.Runtime == nil {
		return unsureOf(fact, errors.New("no runtime was asked"))
	}
	return isTrue(true)
}

func judgeLogCommand(c *container) outcome {
	const name = "labels.containerd.io/restart.loguri"
	if r := c.snapshot.Node.Runtime; r != nil && c.Namespace == "" {
		return notHere("only containerd keeps such a label, and the runtime is " + r.Name)
	}
	if told := c.isTold(name); told.truth != yes {
		return found(told, High)
	}
	value := c.Labels["containerd.io/restart.loguri"]
	evidence := Evidence{Fact: name, Value: value, Source: "runtime"}
	if value == "" {
		evidence.Value = "none"
	}
	return found(isTrue(strings.HasPrefix(value, "binary:"), evidence), High)
}

func judgeCDI(c *container) outcome {
	if told := c.isTold("annotations"); told.truth != yes {
		return found(told, Low)
	}
	var evidence []Evidence
	for _, name := range sortedKeys(c.Annotations) {
		if strings.HasPrefix(name, "cdi.k8s.io/") {
			evidence = append(evidence, Evidence{Fact: "annotations." + name, Value: c.Annotations[name], Source: "runtime"})
		}
	}
	if len(evidence) == 0 {
		return found(isTrue(false, Evidence{Fact: "annotations", Value: "none of cdi.k8s.io", Source: "runtime"}), Low)
	}
	return found(isTrue(true, evidence...), Low)
}

func judgeOverflow(c *container) outcome {
	if c.guest() {
		return notHere("the user that the guest's kernel has is not seen")
	}
	other := not(known("user.declared", c.User.Declared, func(u inspect.User) bool { return u.UID == 0 }))
	user, ok := c.User.InForce.Value()
	if !ok {
		return found(all(other, unsureOf("user.inForce", causeOf(c.User.InForce))), High)
	}
	root := known("user.inForce.inside", user.Inside, func(u inspect.User) bool { return u.UID == 0 })
	return found(all(other, root), High)
}
