package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func processRules() []Rule {
	return []Rule{
		{
			ID: "process-beyond", Title: "a process holds more than its container", Severity: High,
			Meaning: "A process in the container's control groups has capabilities, a namespace, a root folder or a label that the first " +
				"process has not, or no filter of system calls: an exec session of the runtime's with more rights, or a process that came in " +
				"from outside. It is high where what it holds is the node's, low where it holds it in a user namespace that it made itself.",
			Remedy:     "Find out who started it: rtinspect top shows where it comes from.",
			References: slices.Concat(docker("5.23"), attack("T1609", "T1611")),
			judge:      judgeBeyond,
		},
		{
			ID: "leaked-file", Title: "a process has a folder or file open outside of its mounts", Severity: High,
			Meaning: "A working folder, root or open file of a process is on a mount that its mount namespace has not, or is a namespace " +
				"that the container is not in: it leads out of the container. runc before 1.1.12 could be made to leave one behind. Files of " +
				"the kernel's own, such as pipes and sockets, and the runtime's /dev/null are no leaks, nor is a namespace where the " +
				"capability to enter it is out of reach.",
			Remedy:     "Stop the container; update runc to 1.1.12.",
			References: slices.Concat(attack("T1611"), cve("CVE-2024-21626")),
			judge:      judgeLeaks,
		},
	}
}

// missingProcesses claims that there may be processes that were not seen.
func missingProcesses(p inspect.Processes) claim {
	if p.Missing != "" {
		return unsureOf("processes", errors.New(p.Missing))
	}
	return isTrue(false, Evidence{Fact: "processes", Value: fmt.Sprintf("none of %d", len(p.List))})
}

func processName(p inspect.Process) string {
	return fmt.Sprintf("processes.%d", p.PID)
}

// sandboxsProcesses is why rules about processes are not applied to a guest.
const sandboxsProcesses = "the processes on the node are the sandbox's: the guest's are in its own kernel"

func judgeBeyond(c *container) outcome {
	if c.guest() {
		return notHere(sandboxsProcesses)
	}
	processes, ok := c.Processes.Value()
	if !ok {
		return found(unsureOf("processes", causeOf(c.Processes)), High)
	}
	severity := Info
	claims := []claim{missingProcesses(processes)}
	first := slices.IndexFunc(processes.List, func(p inspect.Process) bool { return p.Origin == inspect.OriginFirst })
	if first < 0 {
		claims = append(claims, unsureOf("processes", errors.New("the first process is not among them")))
	}
	for n, p := range processes.List {
		for _, e := range p.Beyond {
			level := excessSeverity(e, c)
			severity = max(severity, level)
			claims = append(claims, isTrue(true, Evidence{Fact: processName(p) + ".beyond", Value: excessText(p, e), Source: string(p.Origin)}))
		}
		if first >= 0 && n != first {
			claims = append(claims, uncompared(p, processes.List[first])...)
		}
	}
	result := either(claims...)
	if result.truth == unsure {
		severity = High
	}
	return found(result, severity)
}

// uncompared claims, for each fact that is unknown of a process or of the first,
// that it may hold more.
func uncompared(p, first inspect.Process) []claim {
	if p.Namespaces.Known() == inspect.Absent {
		return nil // it has ended
	}
	name := processName(p)
	var claims []claim
	for _, f := range []struct {
		name  string
		cause error
	}{
		{"capabilities", errors.Join(p.Capabilities.Cause(), first.Capabilities.Cause())},
		{"user", errors.Join(p.User.Cause(), first.User.Cause())},
		{"seccomp", errors.Join(p.Seccomp.Cause(), first.Seccomp.Cause())},
		{"namespaces", errors.Join(p.Namespaces.Cause(), first.Namespaces.Cause())},
		{"apparmor", errors.Join(p.AppArmor.Cause(), first.AppArmor.Cause())},
		{"selinux", errors.Join(p.SELinux.Cause(), first.SELinux.Cause())},
		{"root", errors.Join(p.Root.Cause(), first.Root.Cause())},
	} {
		if f.cause != nil {
			claims = append(claims, unsureOf(name+"."+f.name, f.cause))
		}
	}
	return claims
}

func excessText(p inspect.Process, e inspect.Excess) string {
	what := string(e.Kind)
	if e.What != "" {
		what += " " + e.What
	}
	text := fmt.Sprintf("%s: %s %s, the first process %s", p.Name, what, e.Has, e.First)
	if e.Whose != "" {
		text += " (" + e.Whose + ")"
	}
	return text
}

// excessSeverity is high where the process holds something over the node or over
// another container.
func excessSeverity(e inspect.Excess, c *container) Severity {
	inOwn := strings.Contains(e.Whose, "own user namespace")
	switch e.Kind {
	case inspect.ExcessCapabilities:
		if inOwn || e.What == "bounding" || e.What == "inheritable" || c.initialUser().truth == no {
			return Low
		}
		return dangerOf(e.Has)
	case inspect.ExcessNamespace:
		switch {
		case e.Whose != "":
			return High
		case e.What == nsdiff.User.String():
			return Low
		}
		return Info // one that it made itself
	case inspect.ExcessSeccomp, inspect.ExcessLabel:
		return Medium
	case inspect.ExcessNoNewPrivs, inspect.ExcessUser, inspect.ExcessRoot:
		return Low
	}
	return High
}

// dangerOf is the severity of capabilities by their names.
func dangerOf(names string) Severity {
	set, err := caps.ParseNames(strings.Split(names, ",")...)
	if err != nil {
		return High
	}
	for capability := range set.All() {
		if capability.Info().Danger.AtLeast(caps.DangerHigh) {
			return High
		}
	}
	return Medium
}

func judgeLeaks(c *container) outcome {
	if c.guest() {
		return notHere(sandboxsProcesses)
	}
	processes, ok := c.Processes.Value()
	if !ok {
		return found(unsureOf("processes", causeOf(c.Processes)), High)
	}
	claims := []claim{missingProcesses(processes)}
	for _, p := range processes.List {
		name := processName(p) + ".leaks"
		if cause := p.Leaks.Cause(); cause != nil {
			claims = append(claims, unsureOf(name, cause))
		}
		leaks, _ := p.Leaks.Value()
		for _, l := range leaks {
			switch {
			case l.Unknown != "":
				claims = append(claims, unsureOf(name+"."+l.What, errors.New(l.Unknown)))
			case l.Reason == "":
				claims = append(claims, isTrue(true, Evidence{Fact: name + "." + l.What, Value: leakText(p, l), Source: p.Leaks.Source()}))
			}
		}
	}
	return found(either(claims...), High)
}

func leakText(p inspect.Process, l inspect.Leak) string {
	switch {
	case l.Whose != "":
		return fmt.Sprintf("%s: %s (%s)", p.Name, l.Path, l.Whose)
	case l.IsNamespace():
		return p.Name + ": " + l.Path
	}
	text := fmt.Sprintf("%s: %s on mount %d", p.Name, l.Path, l.Mount)
	if l.Host != "" {
		text += ", the node's " + l.Host
	}
	return text
}
