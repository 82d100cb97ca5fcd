package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

// CallVerdict says whether a filter lets a system call through.
type CallVerdict uint8

// The verdicts on a call. The zero value is CallUnknown.
const (
	// CallUnknown: the filter, or a part of it, is not known.
	CallUnknown CallVerdict = iota
	// CallAllowed: the kernel decides as without a filter.
	CallAllowed
	// CallDenied: the call fails or kills the process.
	CallDenied
	// CallConditional: some arguments or some way to call it are let through, or
	// another program decides.
	CallConditional
)

var callVerdictNames = []string{"unknown", "allowed", "denied", "conditional"}

// String returns "unknown", "allowed", "denied" or "conditional".
func (v CallVerdict) String() string { return enumName("CallVerdict", callVerdictNames, uint8(v)) }

// MarshalText returns the text of [CallVerdict.String].
func (v CallVerdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText takes a text of [CallVerdict.String].
func (v *CallVerdict) UnmarshalText(text []byte) error {
	return parseEnum("verdict on a call", callVerdictNames, text, (*uint8)(v))
}

// CallResult says what a filter does with a call that matters.
type CallResult struct {
	// Call is the call's name, with the arguments that matter: one of [Calls].
	Call    string      `json:"call"`
	Verdict CallVerdict `json:"verdict"`
	// Reason says what it follows from.
	Reason string `json:"reason"`

	source string
}

// watched is a call that matters, with what is known of its arguments.
type watched struct {
	name string // of CallResult
	call string // the system call's
	args []argument
	// indirect is a call of some 32-bit architectures that does the same with
	// arguments in memory, which a filter does not see.
	indirect string
}

// argument says which bits of an argument are known, and what they are. Of a set
// of flags only one is: each flag that matters has a watched call of its own.
type argument struct {
	index       int
	mask, value uint64
}

// The bits of clone(2) and unshare(2) that make namespaces, and their sum.
const (
	cloneNewUser = 0x10000000
	cloneNewNet  = 0x40000000
)

// The address families of socket(2), from include/linux/socket.h.
const (
	familyALG   = 38
	familyVSOCK = 40
)

func family(n uint64) []argument { return []argument{{index: 0, mask: 1<<32 - 1, value: n}} }

func bit(b uint64) []argument { return []argument{{index: 0, mask: b, value: b}} }

// watchedCalls are in the order of their names.
var watchedCalls = []watched{
	{name: "add_key", call: "add_key"},
	{name: "bpf", call: "bpf"},
	{name: "clone(CLONE_NEWNET)", call: "clone", args: bit(cloneNewNet)},
	{name: "clone(CLONE_NEWUSER)", call: "clone", args: bit(cloneNewUser)},
	{name: "clone3", call: "clone3"},
	{name: "delete_module", call: "delete_module"},
	{name: "finit_module", call: "finit_module"},
	{name: "fsmount", call: "fsmount"},
	{name: "fsopen", call: "fsopen"},
	{name: "init_module", call: "init_module"},
	{name: "io_uring_setup", call: "io_uring_setup"},
	{name: "ioperm", call: "ioperm"},
	{name: "iopl", call: "iopl"},
	{name: "kexec_file_load", call: "kexec_file_load"},
	{name: "kexec_load", call: "kexec_load"},
	{name: "keyctl", call: "keyctl"},
	{name: "mknod", call: "mknod"},
	{name: "mknodat", call: "mknodat"},
	{name: "mount", call: "mount"},
	{name: "mount_setattr", call: "mount_setattr"},
	{name: "move_mount", call: "move_mount"},
	{name: "open_by_handle_at", call: "open_by_handle_at"},
	{name: "open_tree", call: "open_tree"},
	{name: "perf_event_open", call: "perf_event_open"},
	{name: "pidfd_getfd", call: "pidfd_getfd"},
	{name: "pivot_root", call: "pivot_root"},
	{name: "process_vm_readv", call: "process_vm_readv"},
	{name: "process_vm_writev", call: "process_vm_writev"},
	{name: "ptrace", call: "ptrace"},
	{name: "reboot", call: "reboot"},
	{name: "request_key", call: "request_key"},
	{name: "setns", call: "setns"},
	{name: "socket(AF_ALG)", call: "socket", args: family(familyALG), indirect: "socketcall"},
	{name: "socket(AF_VSOCK)", call: "socket", args: family(familyVSOCK), indirect: "socketcall"},
	{name: "umount2", call: "umount2"},
	{name: "unshare(CLONE_NEWNET)", call: "unshare", args: bit(cloneNewNet)},
	{name: "unshare(CLONE_NEWUSER)", call: "unshare", args: bit(cloneNewUser)},
	{name: "userfaultfd", call: "userfaultfd"},
}

// Calls returns the names of the system calls that matter for isolation, in
// order. Some have the argument that matters: unshare(CLONE_NEWUSER).
func Calls() []string {
	names := make([]string, 0, len(watchedCalls))
	for _, w := range watchedCalls {
		names = append(names, w.name)
	}
	return names
}

// DeclaredCalls says what a profile lets through of [Calls], in that order. It is
// what libseccomp and runc make of the profile; whether it is in force is another
// question, see [CallsInForce].
func DeclaredCalls(p inspect.SeccompProfile) []CallResult {
	list := make([]CallResult, 0, len(watchedCalls))
	for _, w := range watchedCalls {
		list = append(list, w.declared(p))
	}
	return list
}

// CallsInForce says what a container can call of [Calls], in that order: what its
// declared profile lets through, where that is what the kernel has in force.
func CallsInForce(r inspect.Report) []CallResult {
	list := make([]CallResult, 0, len(watchedCalls))
	for _, w := range watchedCalls {
		list = append(list, w.inForce(&r))
	}
	return list
}

// callInForce is [CallsInForce] for one of the watched calls.
func callInForce(r *inspect.Report, name string) CallResult {
	n := slices.IndexFunc(watchedCalls, func(w watched) bool { return w.name == name })
	if n < 0 {
		return CallResult{Call: name, Reason: "not among the calls that are looked at"}
	}
	return watchedCalls[n].inForce(r)
}

// inForce compares the profile with what the kernel tells of the filters.
func (w watched) inForce(r *inspect.Report) CallResult {
	have, ok := r.Seccomp.InForce.Value()
	if !ok {
		return CallResult{Call: w.name, Reason: causeOf(r.Seccomp.InForce).Error()}
	}
	source := r.Seccomp.InForce.Source()
	switch have.Mode {
	case inspect.SeccompDisabled:
		return CallResult{Call: w.name, Verdict: CallAllowed, Reason: "no filter is in force", source: source}
	case inspect.SeccompStrict:
		return CallResult{Call: w.name, Verdict: CallDenied, Reason: "mode strict allows read, write, _exit and sigreturn", source: source}
	case inspect.SeccompFilter:
		result := w.filtered(r, have)
		result.source = source
		return result
	}
	return CallResult{Call: w.name, Reason: fmt.Sprintf("mode %q is not known", have.Mode)}
}

func (w watched) filtered(r *inspect.Report, have inspect.SeccompInForce) CallResult {
	specification, ok := r.Specification.Value()
	if !ok {
		return CallResult{Call: w.name, Reason: "a filter is in force, and its rules are not known: " + causeOf(r.Specification).Error()}
	}
	profile, ok := specification.Seccomp.Value()
	if !ok {
		return CallResult{Call: w.name, Reason: "a filter is in force, and its rules are not known: " + causeOf(specification.Seccomp).Error()}
	}
	if lacksRules(specification.Seccomp) {
		return CallResult{Call: w.name, Reason: "a filter is in force, and its rules are not known: " + errNotCollected.Error()}
	}
	result := w.declared(profile)
	filters, ok := have.Filters.Value()
	switch {
	case result.Verdict != CallAllowed:
		return result
	case ok && filters > 1:
		result.Verdict = CallConditional
		result.Reason += fmt.Sprintf("; %d filters are in force, of which the others may forbid it", filters)
	}
	return result
}

// effect is what an action does.
type effect uint8

const (
	effectUnknown effect = iota
	effectAllow
	effectDeny
	effectAsk // another program decides
)

func effectOf(action string) effect {
	switch action {
	case "SCMP_ACT_ALLOW", "SCMP_ACT_LOG":
		return effectAllow
	case "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP":
		return effectDeny
	case "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY":
		return effectAsk
	}
	return effectUnknown
}

// declared says what a profile does with the call, on the node's architecture and
// by the other ways that it leaves open.
func (w watched) declared(p inspect.SeccompProfile) CallResult {
	result := w.direct(p)
	if w.indirect == "" || result.Verdict == CallAllowed || !slices.ContainsFunc(p.Architectures, hasIndirect) {
		return result
	}
	around := watched{name: w.name, call: w.indirect}.direct(p)
	if around.Verdict != CallAllowed && around.Verdict != CallConditional {
		return result
	}
	return CallResult{
		Call: w.name, Verdict: CallConditional,
		Reason: fmt.Sprintf("%s; but %s(2) of 32-bit programs is let through, whose arguments a filter does not see", result.Reason, w.indirect),
	}
}

// hasIndirect takes the architectures with socketcall(2) and ipc(2).
func hasIndirect(arch string) bool {
	return slices.Contains([]string{"SCMP_ARCH_X86", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PPC", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPSEL"}, arch)
}

// direct finds the rules for a call as libseccomp does: a rule without
// conditions outweighs those with, of several the first. Rules with the default
// action are passed over by runtimes, as libseccomp refuses them.
func (w watched) direct(p inspect.SeccompProfile) CallResult {
	var matched, possible []string // actions
	for _, rule := range p.Rules {
		if rule.Action == p.DefaultAction || !slices.Contains(rule.Names, w.call) {
			continue
		}
		if len(rule.Args) == 0 {
			return w.result(rule.Action, "a rule for all of its arguments")
		}
		for _, conditions := range alternatives(rule.Args) {
			switch w.meets(p, conditions) {
			case yes:
				matched = append(matched, rule.Action)
			case unsure:
				possible = append(possible, rule.Action)
			case no:
			}
		}
	}
	switch {
	case len(matched) > 0 && same(append(matched, possible...)):
		return w.result(matched[0], "a rule for these arguments")
	case len(matched) == 0 && same(append(possible, p.DefaultAction)):
		return w.result(p.DefaultAction, "the default action")
	}
	actions := merge(matched, possible)
	if len(matched) == 0 {
		actions = merge(actions, []string{p.DefaultAction})
	}
	slices.Sort(actions)
	result := CallResult{Call: w.name, Verdict: CallConditional, Reason: "by its arguments " + strings.Join(actions, " or ")}
	if slices.ContainsFunc(actions, func(a string) bool { return effectOf(a) == effectUnknown }) {
		result.Verdict = CallUnknown
	}
	return result
}

// same tells whether all actions have one effect.
func same(actions []string) bool {
	return !slices.ContainsFunc(actions, func(a string) bool { return effectOf(a) != effectOf(actions[0]) })
}

func (w watched) result(action, why string) CallResult {
	r := CallResult{Call: w.name, Reason: why + ", " + action}
	switch effectOf(action) {
	case effectAllow:
		r.Verdict = CallAllowed
	case effectDeny:
		r.Verdict = CallDenied
	case effectAsk:
		r.Verdict, r.Reason = CallConditional, r.Reason+": another program decides"
	case effectUnknown:
		r.Reason = fmt.Sprintf("the action %q is not known", action)
	}
	return r
}

// alternatives takes conditions apart as runtimes do: where several are on one
// argument, each stands for itself.
func alternatives(args []inspect.SeccompArg) [][]inspect.SeccompArg {
	seen := map[int]bool{}
	double := false
	for _, a := range args {
		double = double || seen[a.Index]
		seen[a.Index] = true
	}
	if !double {
		return [][]inspect.SeccompArg{args}
	}
	list := make([][]inspect.SeccompArg, 0, len(args))
	for _, a := range args {
		list = append(list, []inspect.SeccompArg{a})
	}
	return list
}

// meets tells whether the call's arguments meet all conditions.
func (w watched) meets(p inspect.SeccompProfile, conditions []inspect.SeccompArg) truth {
	result := yes
	for _, condition := range conditions {
		switch w.meetsOne(p, condition) {
		case no:
			return no
		case unsure:
			result = unsure
		case yes:
		}
	}
	return result
}

func (w watched) meetsOne(p inspect.SeccompProfile, condition inspect.SeccompArg) truth {
	for _, a := range w.args {
		if w.at(p, a) == condition.Index {
			return a.meets(condition)
		}
	}
	return unsure
}

// at is the place of an argument. clone(2) has its flags second on s390.
func (w watched) at(p inspect.SeccompProfile, a argument) int {
	s390 := slices.ContainsFunc(p.Architectures, func(arch string) bool { return strings.HasPrefix(arch, "SCMP_ARCH_S390") })
	if w.call == "clone" && s390 {
		return 1
	}
	return a.index
}

// meets compares the bits that are known. A filter sees 64 bits of an argument of
// which the kernel uses 32: the upper ones are the caller's choice, so that a rule
// that forbids one value does not hold, and one that allows only some does.
func (a argument) meets(condition inspect.SeccompArg) truth {
	switch condition.Op {
	case "SCMP_CMP_EQ":
		return a.equals(^uint64(0), condition.Value)
	case "SCMP_CMP_MASKED_EQ":
		return a.equals(condition.Value, condition.ValueTwo)
	case "SCMP_CMP_NE":
		return not(claim{truth: a.equals(^uint64(0), condition.Value)}).truth
	case "SCMP_CMP_LT":
		return a.below(condition.Value)
	case "SCMP_CMP_GE":
		return not(claim{truth: a.below(condition.Value)}).truth
	case "SCMP_CMP_LE":
		return not(claim{truth: a.above(condition.Value)}).truth
	case "SCMP_CMP_GT":
		return a.above(condition.Value)
	}
	return unsure
}

// equals compares the masked argument.
func (a argument) equals(mask, want uint64) truth {
	switch {
	case (a.value^want)&a.mask&mask != 0, want&^mask != 0:
		return no
	case mask&^a.mask == 0:
		return yes
	}
	return unsure
}

// below and above compare the least and the greatest value that it can have.
func (a argument) below(n uint64) truth {
	switch {
	case a.value >= n:
		return no
	case a.value|^a.mask < n:
		return yes
	}
	return unsure
}

func (a argument) above(n uint64) truth {
	switch {
	case a.value > n:
		return yes
	case a.value|^a.mask <= n:
		return no
	}
	return unsure
}
