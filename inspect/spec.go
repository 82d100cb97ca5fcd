package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
)

// specSource names the declared level in a Fact.
const specSource = "OCI runtime specification"

// spec is the part of an OCI runtime specification that we use. Decoding all of
// it, above all the names in its seccomp rules, would be the largest cost of a
// report.
type spec struct {
	Process *struct {
		User            specs.User               `json:"user"`
		Args            []string                 `json:"args"`
		Env             []string                 `json:"env"`
		Cwd             string                   `json:"cwd"`
		Capabilities    *specs.LinuxCapabilities `json:"capabilities"`
		NoNewPrivileges bool                     `json:"noNewPrivileges"`
		ApparmorProfile string                   `json:"apparmorProfile"`
		SelinuxLabel    string                   `json:"selinuxLabel"`
	} `json:"process"`
	Root        *specs.Root       `json:"root"`
	Mounts      []specs.Mount     `json:"mounts"`
	Annotations map[string]string `json:"annotations"`
	Linux       *struct {
		Namespaces    []specs.LinuxNamespace `json:"namespaces"`
		MaskedPaths   []string               `json:"maskedPaths"`
		ReadonlyPaths []string               `json:"readonlyPaths"`
		Devices       []specs.LinuxDevice    `json:"devices"`
		CgroupsPath   string                 `json:"cgroupsPath"`
		Resources     *struct {
			declaredLimits
			Devices []specs.LinuxDeviceCgroup `json:"devices"`
		} `json:"resources"`
		Seccomp *struct {
			DefaultAction specs.LinuxSeccompAction `json:"defaultAction"`
			Syscalls      []struct {
				Action specs.LinuxSeccompAction `json:"action"`
			} `json:"syscalls"`
		} `json:"seccomp"`
	} `json:"linux"`
}

// parseSpec decodes an OCI runtime specification.
func parseSpec(data []byte) (*spec, error) {
	var s spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", specSource, err)
	}
	if s.Process == nil {
		return nil, fmt.Errorf("%s: no process in it", specSource)
	}
	return &s, nil
}

// declare fills in the declared level of a report.
func declare(r *Report, s *spec) {
	p := s.Process
	r.Capabilities.Declared = declaredCapabilities(p.Capabilities)
	r.User.Declared = declared(User{UID: p.User.UID, GID: p.User.GID, Groups: sortedGroups(p.User.AdditionalGids)})
	r.NoNewPrivs.Declared = declared(p.NoNewPrivileges)
	r.Seccomp.Declared = declaredSeccomp(s)
	r.AppArmor.Declared = declaredLabel(p.ApparmorProfile)
	r.SELinux.Declared = declaredLabel(p.SelinuxLabel)
	r.ReadonlyRootfs.Declared = declared(s.Root != nil && s.Root.Readonly)
	r.UserNamespace.Declared = declared(s.hasNamespace(specs.UserNamespace))
	r.Namespaces.Declared = declaredNamespaces(s)
	r.Cgroup.Declared = declaredResources(s)
	r.Process = declared(Program{Args: p.Args, Cwd: p.Cwd, Env: p.Env})
}

func declared[T any](value T) Fact[T] { return KnownFact(value, specSource) }

// declaredLabel is absent when the specification asks for none.
func declaredLabel(label string) Fact[string] {
	if label == "" {
		return AbsentFact[string]("the " + specSource + " names none")
	}
	return declared(label)
}

// declaredCapabilities reads the five sets. A specification without them gives
// none: runc then starts the process with empty sets.
func declaredCapabilities(c *specs.LinuxCapabilities) Fact[CapabilitySets] {
	if c == nil {
		return declared(CapabilitySets{})
	}
	var sets CapabilitySets
	var errs []error
	for _, part := range []struct {
		set   *caps.Set
		names []string
	}{
		{&sets.Inheritable, c.Inheritable},
		{&sets.Permitted, c.Permitted},
		{&sets.Effective, c.Effective},
		{&sets.Bounding, c.Bounding},
		{&sets.Ambient, c.Ambient},
	} {
		set, err := caps.ParseNames(part.names...)
		*part.set = set
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return UnknownFact[CapabilitySets](fmt.Errorf("%s: %w", specSource, err))
	}
	return declared(sets)
}

func declaredSeccomp(s *spec) Fact[SeccompDeclared] {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return AbsentFact[SeccompDeclared]("the " + specSource + " has no filter")
	}
	f := s.Linux.Seccomp
	d := SeccompDeclared{DefaultAction: string(f.DefaultAction)}
	for _, rule := range f.Syscalls {
		if rule.Action != f.DefaultAction {
			d.Rules++
		}
	}
	return declared(d)
}

func (s *spec) hasNamespace(kind specs.LinuxNamespaceType) bool {
	return s.Linux != nil && slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

func (s *spec) cgroupsPath() string {
	if s == nil || s.Linux == nil {
		return ""
	}
	return s.Linux.CgroupsPath
}

// protectedPaths returns what the specification hides and makes read-only.
func (s *spec) protectedPaths() (masked, readonly []string) {
	if s == nil || s.Linux == nil {
		return nil, nil
	}
	return s.Linux.MaskedPaths, s.Linux.ReadonlyPaths
}

func (s *spec) declaredMounts(err error) Fact[[]DeclaredMount] {
	if err != nil {
		return UnknownFact[[]DeclaredMount](err)
	}
	list := make([]DeclaredMount, 0, len(s.Mounts))
	for _, m := range s.Mounts {
		list = append(list, DeclaredMount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options})
	}
	return declared(list)
}

func (s *spec) declaredDevices(err error) Fact[DevicesDeclared] {
	if err != nil {
		return UnknownFact[DevicesDeclared](err)
	}
	d := DevicesDeclared{Nodes: []Device{}, Rules: []DeviceRule{}}
	if s.Linux == nil {
		return declared(d)
	}
	for _, n := range s.Linux.Devices {
		d.Nodes = append(d.Nodes, Device{Path: n.Path, Type: n.Type, Major: n.Major, Minor: n.Minor})
	}
	if s.Linux.Resources == nil {
		return declared(d)
	}
	for _, r := range s.Linux.Resources.Devices {
		d.Rules = append(d.Rules, DeviceRule{Allow: r.Allow, Type: cmp.Or(r.Type, "a"), Major: r.Major, Minor: r.Minor, Access: r.Access})
	}
	return declared(d)
}

// cgroupFits tells whether /proc/PID/cgroup is that of a container: one of the
// ids, or the path the specification names, is in it. A process in the
// container may have made groups below its own, so it need not be the last
// component. See cgroups(7).
func cgroupFits(cgroup []byte, declaredPath string, ids ...string) bool {
	for line := range strings.Lines(string(cgroup)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && pathFits(parts[2], declaredPath, ids) {
			return true
		}
	}
	return false
}

func pathFits(p, declaredPath string, ids []string) bool {
	for name := range strings.SplitSeq(p, "/") {
		for _, id := range ids {
			if id != "" && isGroupOf(name, id) {
				return true
			}
		}
	}
	// With systemd the path is slice:prefix:name, and name was looked for above.
	if declaredPath == "" || strings.Contains(declaredPath, ":") {
		return false
	}
	want := path.Clean("/" + declaredPath)
	return want != "/" && strings.Contains(p+"/", want+"/")
}

// isGroupOf takes the group's name as the cgroupfs driver makes it (ID, crio-ID),
// and as systemd's does (cri-containerd-ID.scope, crio-ID.scope, docker-ID.scope).
func isGroupOf(name, id string) bool {
	if name == id || groupID(name) == id {
		return true
	}
	scope, ok := strings.CutSuffix(name, ".scope")
	return ok && strings.HasSuffix(scope, "-"+id) && !isMonitor(scope)
}

// groupID returns the id of 64 digits in a group's name, empty when there is
// none.
func groupID(name string) string { return cgroup.Locate(name, "").Container }

// isMonitor tells the group of conmon, which watches over a container of CRI-O or
// Podman from outside.
func isMonitor(scope string) bool {
	return strings.HasPrefix(scope, "crio-conmon-") || strings.HasPrefix(scope, "libpod-conmon-")
}
