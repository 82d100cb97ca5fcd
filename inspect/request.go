package inspect

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/rtinspect/rtinspect/caps"
)

// requestSource names the requested level in a Fact.
const requestSource = "CRI request"

// request is the part that we use of containerd's record of a CRI request: the
// metadata of a container or a sandbox, which hold the request as it came. The
// JSON names are those of the Go types in k8s.io/cri-api. What it leaves out is
// false, zero or not asked for.
type request struct {
	SandboxID string
	Config    *struct {
		Metadata    requestName       `json:"metadata"`
		Annotations map[string]string `json:"annotations"`
		Mounts      []requestedMount  `json:"mounts"`
		Ports       []requestedPort   `json:"port_mappings"`
		Devices     []requestedDevice `json:"devices"`
		CDI         []requestedCDI    `json:"CDI_devices"`
		Linux       *struct {
			SecurityContext *securityContext    `json:"security_context"`
			Resources       *requestedResources `json:"resources"`
		} `json:"linux"`
	}
}

type securityContext struct {
	Capabilities *struct {
		Add  []string `json:"add_capabilities"`
		Drop []string `json:"drop_capabilities"`
	} `json:"capabilities"`
	Privileged       bool              `json:"privileged"`
	NamespaceOptions *namespaceOptions `json:"namespace_options"`
	SELinux          *struct {
		User  string `json:"user"`
		Role  string `json:"role"`
		Type  string `json:"type"`
		Level string `json:"level"`
	} `json:"selinux_options"`
	RunAsUser          *int64Value      `json:"run_as_user"`
	RunAsGroup         *int64Value      `json:"run_as_group"`
	RunAsUsername      string           `json:"run_as_username"`
	ReadonlyRootfs     bool             `json:"readonly_rootfs"`
	SupplementalGroups []int64          `json:"supplemental_groups"`
	NoNewPrivs         bool             `json:"no_new_privs"`
	AppArmor           *securityProfile `json:"apparmor"`
	AppArmorName       string           `json:"apparmor_profile"` // before CRI of Kubernetes 1.23
	Seccomp            *securityProfile `json:"seccomp"`
	SeccompPath        string           `json:"seccomp_profile_path"` // the same
	MaskedPaths        []string         `json:"masked_paths"`
	ReadonlyPaths      []string         `json:"readonly_paths"`
}

type int64Value struct {
	Value int64 `json:"value"`
}

// securityProfile is the CRI's SecurityProfile.
type securityProfile struct {
	Type profileType `json:"profile_type"`
	Ref  string      `json:"localhost_ref"`
}

// profileType is the CRI's SecurityProfile_ProfileType.
type profileType int32

func (t profileType) String() string {
	switch t {
	case 0:
		return "RuntimeDefault"
	case 1:
		return "Unconfined"
	case 2:
		return "Localhost"
	}
	return fmt.Sprintf("profile type %d", int32(t))
}

// parseRequest decodes containerd's record.
func parseRequest(data []byte) (*request, error) {
	var versioned struct {
		Version  string
		Metadata *request
	}
	if err := json.Unmarshal(data, &versioned); err != nil {
		return nil, fmt.Errorf("%s: %w", requestSource, err)
	}
	if versioned.Metadata == nil || versioned.Metadata.Config == nil {
		return nil, fmt.Errorf("%s: containerd's record (version %q) has no configuration", requestSource, versioned.Version)
	}
	return versioned.Metadata, nil
}

// requestName is the name a client gave in a request.
type requestName struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"` // of a sandbox only, as UID
	UID       string `json:"uid"`
}

// name is empty where there is no request.
func (q *request) name() requestName {
	if q.Config == nil {
		return requestName{}
	}
	return q.Config.Metadata
}

// security returns what was asked for; an empty one when nothing was.
func (q *request) security() securityContext {
	if q.Config.Linux == nil || q.Config.Linux.SecurityContext == nil {
		return securityContext{}
	}
	return *q.Config.Linux.SecurityContext
}

// ask fills in the requested level of a report.
func ask(r *Report, sc securityContext, all Fact[caps.Set]) {
	r.Capabilities.Requested = askedCapabilities(r.Capabilities.Default, all, sc)
	r.User.Requested = askedUser(sc)
	r.NoNewPrivs.Requested = requested(sc.NoNewPrivs)
	r.Seccomp.Requested = askedSeccomp(sc)
	r.AppArmor.Requested = askedAppArmor(sc)
	r.SELinux.Requested = askedSELinux(sc)
	r.ReadonlyRootfs.Requested = requested(sc.ReadonlyRootfs)
	r.Privileged.Requested = requested(sc.Privileged)
	r.UserNamespace.Requested = requested(sc.namespaces().userNamespace())
	r.Namespaces.Requested = askedNamespaces(sc)
}

func requested[T any](value T) Fact[T] { return KnownFact(value, requestSource) }

func notRequested[T any](what string) Fact[T] {
	return AbsentFact[T]("the " + requestSource + " names no " + what)
}

func askedUser(sc securityContext) Fact[UserRequest] {
	u := UserRequest{Name: sc.RunAsUsername, Groups: append([]int64{}, sc.SupplementalGroups...)}
	if sc.RunAsUser != nil {
		u.UID = &sc.RunAsUser.Value
	}
	if sc.RunAsGroup != nil {
		u.GID = &sc.RunAsGroup.Value
	}
	if u.UID == nil && u.GID == nil && u.Name == "" && len(u.Groups) == 0 {
		return notRequested[UserRequest]("user: it is the image's")
	}
	return requested(u)
}

func askedSeccomp(sc securityContext) Fact[SeccompRequest] {
	if p := sc.Seccomp; p != nil {
		return requested(SeccompRequest{Profile: p.Type.String(), LocalhostRef: p.Ref})
	}
	switch path := sc.SeccompPath; path {
	case "":
		return notRequested[SeccompRequest]("profile: the runtime's unset_seccomp_profile, or none, applies")
	case "runtime/default", "docker/default":
		return requested(SeccompRequest{Profile: "RuntimeDefault"})
	case "unconfined":
		return requested(SeccompRequest{Profile: "Unconfined"})
	default:
		return requested(SeccompRequest{Profile: "Localhost", LocalhostRef: strings.TrimPrefix(path, "localhost/")})
	}
}

func askedAppArmor(sc securityContext) Fact[string] {
	p := sc.AppArmor
	switch {
	case p == nil && sc.AppArmorName == "":
		return notRequested[string]("profile: the runtime's default applies")
	case p == nil:
		return requested(sc.AppArmorName)
	case p.Ref != "":
		return requested(p.Type.String() + "/" + strings.TrimPrefix(p.Ref, "localhost/"))
	}
	return requested(p.Type.String())
}

func askedSELinux(sc securityContext) Fact[string] {
	o := sc.SELinux
	if o == nil || o.User+o.Role+o.Type+o.Level == "" {
		return notRequested[string]("label")
	}
	return requested(strings.Join([]string{o.User, o.Role, o.Type, o.Level}, ":"))
}

func askedCapabilities(byDefault, all Fact[caps.Set], sc securityContext) Fact[CapabilityRequest] {
	q := CapabilityRequest{Add: []string{}, Drop: []string{}, Privileged: sc.Privileged}
	if c := sc.Capabilities; c != nil {
		q.Add = append(q.Add, c.Add...)
		q.Drop = append(q.Drop, c.Drop...)
	}
	q.Result = resultOf(byDefault, all, q)
	return requested(q)
}

// resultOf returns the set containerd makes of a request: the default, or all
// with "add ALL", or none with "drop ALL"; then what is added, then what is
// dropped. Privileged gives what containerd has itself.
func resultOf(byDefault, all Fact[caps.Set], q CapabilityRequest) Fact[caps.Set] {
	if q.Privileged {
		return all
	}
	set, ok := byDefault.Value()
	if !ok {
		return byDefault
	}
	add, addAll, err := parseRequested(q.Add)
	if err != nil {
		return UnknownFact[caps.Set](err)
	}
	drop, dropAll, err := parseRequested(q.Drop)
	if err != nil {
		return UnknownFact[caps.Set](err)
	}
	if addAll {
		if set, ok = all.Value(); !ok {
			return all
		}
	}
	if dropAll {
		set = 0
	}
	return requested(set.Union(add).Minus(drop))
}

// parseRequested takes the names of a request apart from ALL.
func parseRequested(names []string) (set caps.Set, all bool, err error) {
	var rest []string
	for _, name := range names {
		if strings.EqualFold(name, "ALL") {
			all = true
			continue
		}
		rest = append(rest, name)
	}
	set, err = caps.ParseNames(rest...)
	if err != nil {
		return 0, all, fmt.Errorf("%s: %w", requestSource, err)
	}
	return set, all, nil
}
