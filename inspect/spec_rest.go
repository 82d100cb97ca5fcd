package inspect

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Specification is what an OCI runtime specification says beyond the settings
// of a [Report].
type Specification struct {
	// Seccomp is the filter of system calls, absent when there is none.
	Seccomp Fact[SeccompProfile] `json:"seccomp"`
	// Sysctls are the kernel's settings that the runtime makes in the
	// container's namespaces: names as in sysctl(8), with their values.
	Sysctls map[string]string `json:"sysctls"`
	// Hooks are the programs that the runtime runs for the container, as itself
	// and mostly outside of the container, in the order of the specification.
	Hooks []Hook `json:"hooks"`
}

// Hook is a program of an OCI runtime specification. Its arguments and
// environment are not kept, as they may hold secrets.
type Hook struct {
	// Kind says when it runs: prestart, createRuntime, createContainer,
	// startContainer, poststart or poststop.
	Kind string `json:"kind"`
	// Path is the program on the node, for startContainer in the container.
	Path string `json:"path"`
}

// SeccompProfile is a filter in an OCI runtime specification.
type SeccompProfile struct {
	// DefaultAction is what happens to a call that no rule fits: SCMP_ACT_ERRNO.
	DefaultAction string `json:"defaultAction"`
	// Architectures are those that it filters, besides the node's own:
	// SCMP_ARCH_X86. Calls of any other are forbidden.
	Architectures []string `json:"architectures"`
	// Rules are in the order of the specification.
	Rules []SeccompRule `json:"rules"`
}

// SeccompRule says what happens to some calls.
type SeccompRule struct {
	// Names are the calls', which not every architecture has.
	Names []string `json:"names"`
	// Action is SCMP_ACT_ALLOW, SCMP_ACT_ERRNO or another one of libseccomp's.
	Action string `json:"action"`
	// Args are conditions on the arguments. All must be fulfilled; where several
	// are on one argument, runtimes take each for a rule of its own.
	Args []SeccompArg `json:"args,omitempty"`
}

// SeccompArg is a condition on an argument of a call.
type SeccompArg struct {
	// Index is the argument's place, from 0.
	Index int `json:"index"`
	// Op is SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ or another one of libseccomp's.
	Op string `json:"op"`
	// Value is compared with the argument. With SCMP_CMP_MASKED_EQ it is the
	// mask, and ValueTwo what the masked argument is compared with.
	Value    uint64 `json:"value,string"`
	ValueTwo uint64 `json:"valueTwo,string"`
}

// restOfSpec is decoded for a Specification only: the names in seccomp's rules
// are most of a specification.
type restOfSpec struct {
	Hooks *struct {
		Prestart        []specHook `json:"prestart"`
		CreateRuntime   []specHook `json:"createRuntime"`
		CreateContainer []specHook `json:"createContainer"`
		StartContainer  []specHook `json:"startContainer"`
		Poststart       []specHook `json:"poststart"`
		Poststop        []specHook `json:"poststop"`
	} `json:"hooks"`
	Linux *struct {
		Sysctl  map[string]string `json:"sysctl"`
		Seccomp *struct {
			DefaultAction specs.LinuxSeccompAction `json:"defaultAction"`
			Architectures []specs.Arch             `json:"architectures"`
			Syscalls      []specs.LinuxSyscall     `json:"syscalls"`
		} `json:"seccomp"`
	} `json:"linux"`
}

type specHook struct {
	Path string `json:"path"`
}

// specification returns what the container's specification says besides.
func (f *listed) specification() Fact[Specification] {
	if _, err := f.declared(); err != nil {
		return UnknownFact[Specification](err)
	}
	s, err := parseSpecification(f.record.Spec)
	if err != nil {
		return UnknownFact[Specification](err)
	}
	return declared(s)
}

func parseSpecification(data []byte) (Specification, error) {
	var rest restOfSpec
	if err := json.Unmarshal(data, &rest); err != nil {
		return Specification{}, fmt.Errorf("%s: %w", specSource, err)
	}
	s := Specification{Sysctls: map[string]string{}, Hooks: rest.hooks()}
	s.Seccomp = AbsentFact[SeccompProfile]("the " + specSource + " has no filter")
	if rest.Linux == nil {
		return s, nil
	}
	if rest.Linux.Sysctl != nil {
		s.Sysctls = rest.Linux.Sysctl
	}
	if f := rest.Linux.Seccomp; f != nil {
		s.Seccomp = declared(seccompProfile(string(f.DefaultAction), f.Architectures, f.Syscalls))
	}
	return s, nil
}

func (s *restOfSpec) hooks() []Hook {
	list := []Hook{}
	if s.Hooks == nil {
		return list
	}
	add := func(kind string, hooks []specHook) {
		for _, h := range hooks {
			list = append(list, Hook{Kind: kind, Path: h.Path})
		}
	}
	add("prestart", s.Hooks.Prestart)
	add("createRuntime", s.Hooks.CreateRuntime)
	add("createContainer", s.Hooks.CreateContainer)
	add("startContainer", s.Hooks.StartContainer)
	add("poststart", s.Hooks.Poststart)
	add("poststop", s.Hooks.Poststop)
	return list
}

func seccompProfile(action string, architectures []specs.Arch, calls []specs.LinuxSyscall) SeccompProfile {
	p := SeccompProfile{DefaultAction: action, Architectures: []string{}, Rules: make([]SeccompRule, 0, len(calls))}
	for _, a := range architectures {
		p.Architectures = append(p.Architectures, string(a))
	}
	for _, c := range calls {
		rule := SeccompRule{Names: slices.Concat([]string{}, c.Names), Action: string(c.Action)}
		for _, a := range c.Args {
			rule.Args = append(rule.Args, SeccompArg{Index: int(a.Index), Op: string(a.Op), Value: a.Value, ValueTwo: a.ValueTwo})
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}
