package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

func rule(action, names string, args ...inspect.SeccompArg) inspect.SeccompRule {
	return inspect.SeccompRule{Names: strings.Fields(names), Action: "SCMP_ACT_" + action, Args: args}
}

func arg(index int, op string, value, two uint64) inspect.SeccompArg {
	return inspect.SeccompArg{Index: index, Op: "SCMP_CMP_" + op, Value: value, ValueTwo: two}
}

func profile(action string, rules ...inspect.SeccompRule) inspect.SeccompProfile {
	return inspect.SeccompProfile{DefaultAction: "SCMP_ACT_" + action, Architectures: []string{}, Rules: append([]inspect.SeccompRule{}, rules...)}
}

func declaredCall(t *testing.T, p inspect.SeccompProfile, call string) CallResult {
	t.Helper()
	list := DeclaredCalls(p)
	n := slices.IndexFunc(list, func(r CallResult) bool { return r.Call == call })
	if n < 0 {
		t.Fatalf("%s is not looked at", call)
	}
	return list[n]
}

func TestDeclaredCalls(t *testing.T) {
	const (
		namespaces = 0x7e020000 // what the default profiles keep clone(2) from
		alg        = "socket(AF_ALG)"
		clone      = "clone(CLONE_NEWUSER)"
	)
	x86 := func(p inspect.SeccompProfile) inspect.SeccompProfile {
		p.Architectures = []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}
		return p
	}
	for _, tc := range []struct {
		name    string
		profile inspect.SeccompProfile
		call    string
		want    CallVerdict
	}{
		{"by default", profile("ERRNO"), "mount", CallDenied},
		{"by default, allowed", profile("ALLOW"), "mount", CallAllowed},
		{"by default, logged", profile("LOG"), "mount", CallAllowed},
		{"by default, killed", profile("KILL_PROCESS"), "mount", CallDenied},
		{"by default, a word not known", profile("PRAY"), "mount", CallUnknown},
		{"no default", inspect.SeccompProfile{}, "mount", CallUnknown},
		{"allowed by name", profile("ERRNO", rule("ALLOW", "read mount")), "mount", CallAllowed},
		{"another name", profile("ERRNO", rule("ALLOW", "mount_setattr")), "mount", CallDenied},
		{"denied by name", profile("ALLOW", rule("ERRNO", "mount")), "mount", CallDenied},
		{"a program decides", profile("ERRNO", rule("NOTIFY", "mount")), "mount", CallConditional},
		{"a tracer decides", profile("ERRNO", rule("TRACE", "mount")), "mount", CallConditional},
		{"an action not known", profile("ERRNO", rule("PRAY", "mount")), "mount", CallUnknown},
		{"the first rule without conditions counts", profile("LOG", rule("ERRNO", "mount"), rule("ALLOW", "mount")), "mount", CallDenied},
		{"a rule without conditions outweighs", profile("KILL", rule("ALLOW", "clone", arg(0, "MASKED_EQ", namespaces, 0)), rule("ALLOW", "clone")), clone, CallAllowed},
		{"a rule with the default action is passed over", profile("ERRNO", rule("ERRNO", "mount"), rule("ALLOW", "mount")), "mount", CallAllowed},

		{"clone without namespaces", profile("ERRNO", rule("ALLOW", "clone", arg(0, "MASKED_EQ", namespaces, 0))), clone, CallDenied},
		{"the same for networks", profile("ERRNO", rule("ALLOW", "clone", arg(0, "MASKED_EQ", namespaces, 0))), "clone(CLONE_NEWNET)", CallDenied},
		{"clone without another flag", profile("ERRNO", rule("ALLOW", "clone", arg(0, "MASKED_EQ", cloneNewNet, 0))), clone, CallConditional},
		{"clone with the flag forbidden", profile("ALLOW", rule("ERRNO", "clone", arg(0, "MASKED_EQ", cloneNewUser, cloneNewUser))), clone, CallDenied},
		{"its flags are second on s390", inspect.SeccompProfile{
			DefaultAction: "SCMP_ACT_ERRNO", Architectures: []string{"SCMP_ARCH_S390X"},
			Rules: []inspect.SeccompRule{rule("ALLOW", "clone", arg(1, "MASKED_EQ", namespaces, 0))},
		}, clone, CallDenied},
		{"a condition on what is not known", profile("ERRNO", rule("ALLOW", "clone", arg(3, "EQ", 7, 0))), clone, CallConditional},
		{"both conditions", profile("ERRNO", rule("ALLOW", "clone", arg(0, "MASKED_EQ", cloneNewUser, cloneNewUser), arg(3, "EQ", 7, 0))), clone, CallConditional},
		{"one of two cannot be", profile("ERRNO", rule("ALLOW", "clone", arg(0, "MASKED_EQ", namespaces, 0), arg(3, "EQ", 7, 0))), clone, CallDenied},
		{"two on one argument stand each for itself", profile("ERRNO", rule("ALLOW", "socket", arg(0, "EQ", 1, 0), arg(0, "EQ", 38, 0))), alg, CallConditional},

		{"families below", profile("ERRNO", rule("ALLOW", "socket", arg(0, "LT", 38, 0))), alg, CallDenied},
		{"families up to it", profile("ERRNO", rule("ALLOW", "socket", arg(0, "LE", 38, 0))), alg, CallConditional},
		{"families from it on", profile("ERRNO", rule("ALLOW", "socket", arg(0, "GE", 38, 0))), alg, CallAllowed},
		{"families above", profile("ERRNO", rule("ALLOW", "socket", arg(0, "GT", 38, 0))), alg, CallConditional},
		{"another family", profile("ERRNO", rule("ALLOW", "socket", arg(0, "EQ", 2, 0))), alg, CallDenied},
		{"all but the family", profile("ERRNO", rule("ALLOW", "socket", arg(0, "NE", 38, 0))), alg, CallConditional},
		{"all but another", profile("ERRNO", rule("ALLOW", "socket", arg(0, "NE", 40, 0))), alg, CallAllowed},
		{"the family forbidden, but not with upper bits", profile("ALLOW", rule("ERRNO", "socket", arg(0, "EQ", 38, 0))), alg, CallConditional},
		{"the family forbidden by its lower bits", profile("ALLOW", rule("ERRNO", "socket", arg(0, "MASKED_EQ", 0xffffffff, 38))), alg, CallDenied},
		{"a masked value that cannot be", profile("ALLOW", rule("ERRNO", "socket", arg(0, "MASKED_EQ", 0xf, 38))), alg, CallAllowed},
		{"an operator not known", profile("ERRNO", rule("ALLOW", "socket", arg(0, "HUM", 38, 0))), alg, CallConditional},

		{"by socketcall of 32 bits", x86(profile("ERRNO", rule("ALLOW", "socketcall"))), alg, CallConditional},
		{"which 64 bits have not", profile("ERRNO", rule("ALLOW", "socketcall")), alg, CallDenied},
		{"which is forbidden", x86(profile("ALLOW", rule("ERRNO", "socket socketcall"))), alg, CallDenied},
		{"which is no way to mount", x86(profile("ERRNO", rule("ALLOW", "socketcall"))), "mount", CallDenied},
	} {
		if got := declaredCall(t, tc.profile, tc.call); got.Verdict != tc.want || got.Reason == "" {
			t.Errorf("%s: %s %s, want %s: %s", tc.name, got.Call, got.Verdict, tc.want, got.Reason)
		}
	}
}

// TestRuntimesProfiles evaluates the profiles that containerd made for a pod with
// RuntimeDefault and without capabilities.
func TestRuntimesProfiles(t *testing.T) {
	for _, tc := range []struct{ version, allowed, conditional string }{
		{"1.6", "io_uring_setup mknod mknodat ptrace socket(AF_ALG) socket(AF_VSOCK)", ""},
		{"2.4", "mknod mknodat process_vm_readv process_vm_writev ptrace", "socket(AF_ALG) socket(AF_VSOCK)"},
	} {
		s := load(t, tc.version)
		r := pod(t, &s, "pod-hardened")
		specification, _ := r.Specification.Value()
		p, ok := specification.Seccomp.Value()
		if !ok {
			t.Fatalf("%s: no profile", tc.version)
		}
		for n, declared := range DeclaredCalls(p) {
			want := CallDenied
			switch {
			case slices.Contains(strings.Fields(tc.allowed), declared.Call):
				want = CallAllowed
			case slices.Contains(strings.Fields(tc.conditional), declared.Call):
				want = CallConditional
			}
			if declared.Verdict != want {
				t.Errorf("%s: %s is %s, want %s: %s", tc.version, declared.Call, declared.Verdict, want, declared.Reason)
			}
			if inForce := CallsInForce(*r)[n]; inForce.Verdict != want {
				t.Errorf("%s: %s is %s in force, want %s: %s", tc.version, inForce.Call, inForce.Verdict, want, inForce.Reason)
			}
		}
	}
}

func TestCallsInForce(t *testing.T) {
	cause := errors.New("open /proc/7/status: permission denied")
	filters := func(n int) inspect.SeccompInForce {
		return inspect.SeccompInForce{Mode: inspect.SeccompFilter, Filters: inspect.KnownFact(n, "")}
	}
	allowsPtrace := inspect.KnownFact(inspect.Specification{Seccomp: inspect.KnownFact(profile("ERRNO", rule("ALLOW", "ptrace")), "")}, "")
	for _, tc := range []struct {
		name          string
		inForce       inspect.Fact[inspect.SeccompInForce]
		specification inspect.Fact[inspect.Specification]
		ptrace, mount CallVerdict
	}{
		{"none in force", inspect.KnownFact(inspect.SeccompInForce{Mode: inspect.SeccompDisabled}, ""), allowsPtrace, CallAllowed, CallAllowed},
		{"strict", inspect.KnownFact(inspect.SeccompInForce{Mode: inspect.SeccompStrict}, ""), allowsPtrace, CallDenied, CallDenied},
		{"a mode not known", inspect.KnownFact(inspect.SeccompInForce{Mode: "later"}, ""), allowsPtrace, CallUnknown, CallUnknown},
		{"the profile", inspect.KnownFact(filters(1), ""), allowsPtrace, CallAllowed, CallDenied},
		{"the profile on an older kernel", inspect.KnownFact(inspect.SeccompInForce{Mode: inspect.SeccompFilter, Filters: inspect.AbsentFact[int]("")}, ""), allowsPtrace, CallAllowed, CallDenied},
		{"the profile among others", inspect.KnownFact(filters(2), ""), allowsPtrace, CallConditional, CallDenied},
		{"what is in force is unknown", inspect.UnknownFact[inspect.SeccompInForce](cause), allowsPtrace, CallUnknown, CallUnknown},
		{"a profile without its rules", inspect.KnownFact(filters(1), ""), inspect.KnownFact(inspect.Specification{
			Seccomp: inspect.KnownFact(inspect.SeccompProfile{DefaultAction: "SCMP_ACT_ERRNO", Architectures: []string{}}, ""),
		}, ""), CallUnknown, CallUnknown},
		{"a profile without its architectures", inspect.KnownFact(filters(1), ""), inspect.KnownFact(inspect.Specification{
			Seccomp: inspect.KnownFact(inspect.SeccompProfile{DefaultAction: "SCMP_ACT_ERRNO", Rules: []inspect.SeccompRule{}}, ""),
		}, ""), CallUnknown, CallUnknown},
		{"no profile", inspect.KnownFact(filters(1), ""), inspect.KnownFact(inspect.Specification{Seccomp: inspect.AbsentFact[inspect.SeccompProfile]("")}, ""), CallUnknown, CallUnknown},
		{"a profile that is unknown", inspect.KnownFact(filters(1), ""), inspect.UnknownFact[inspect.Specification](cause), CallUnknown, CallUnknown},
	} {
		r := inspect.Report{Specification: tc.specification}
		r.Seccomp.InForce = tc.inForce
		for call, want := range map[string]CallVerdict{"ptrace": tc.ptrace, "mount": tc.mount} {
			if got := callInForce(&r, call); got.Verdict != want || got.Reason == "" {
				t.Errorf("%s: %s is %s, want %s: %s", tc.name, call, got.Verdict, want, got.Reason)
			}
		}
	}
}

func TestCallsAreInOrder(t *testing.T) {
	if names := Calls(); !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("%q", names)
	}
	for _, u := range unprivilegedCalls {
		if !slices.Contains(Calls(), u.name) {
			t.Errorf("%s is not looked at", u.name)
		}
	}
	for _, r := range dangerousCapabilities() {
		for _, call := range r.calls {
			if !slices.Contains(Calls(), call) {
				t.Errorf("%s: %s is not looked at", r.id, call)
			}
		}
	}
	if r := callInForce(&inspect.Report{}, "nothing"); r.Verdict != CallUnknown {
		t.Error(fmt.Sprint(r))
	}
}
