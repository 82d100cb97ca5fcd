package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// podCheck is a check of the Pod Security Standards.
type podCheck struct {
	id    string
	level Level
	// since is the minor version of Kubernetes that it is asked for from.
	since int
	// replaces is the check of the baseline level that it takes the place of.
	replaces string
	title    string
	// limits says what of it a node does not show.
	limits string
	// container claims that a container breaks it, pod that the pod does.
	container func(c *container, version int) breach
	pod       func(p *podFacts, version int) breach
}

const (
	overridden = "what the pod sets and each container sets otherwise has no effect"
	unmounted  = "a volume that no container mounts leaves no trace"
	plugins    = "what a device plugin, or a claim whose volume is a folder of the host, mounts looks like a hostPath volume"
)

// podChecks are in the order of their ids, those of the baseline level first. Each
// does what the function of that id in k8s.io/pod-security-admission does.
func podChecks() []podCheck {
	return []podCheck{
		{
			id: "appArmorProfile", level: Baseline, title: "AppArmor is not switched off", limits: overridden,
			container: appArmorBreach, pod: appArmorAnnotation,
		},
		{
			id: "capabilities_baseline", level: Baseline, title: "no capabilities are added but those of the default set",
			container: addedBreach,
		},
		{
			id: "hostNamespaces", level: Baseline, title: "the host's network, processes and IPC are not shared",
			container: namespaceBreach, pod: func(p *podFacts, v int) breach { return p.ofSandbox(namespaceBreach, v) },
		},
		{
			id: "hostPathVolumes", level: Baseline, title: "no hostPath volumes", limits: unmounted + "; " + plugins,
			container: func(c *container, _ int) breach { return c.volumes(hostPathKind) },
		},
		{
			id: "hostPorts", level: Baseline, title: "no ports of the host", limits: "those of init containers have no effect",
			pod: hostPortBreach,
		},
		{
			id: "hostProbesAndHostLifecycle", level: Baseline, since: 34, title: "no host in probes and lifecycle hooks",
			limits: "only the kubelet knows of probes and hooks",
			pod: func(*podFacts, int) breach {
				return breach{unseen: "only the kubelet knows of probes and lifecycle hooks"}
			},
		},
		{
			id: "privileged", level: Baseline, title: "no privileged containers",
			container: privilegedBreach,
		},
		{
			id: "procMount", level: Baseline, title: "/proc is masked", limits: "of a privileged container the request tells nothing",
			container: func(c *container, v int) breach {
				if v >= 35 {
					return c.unlessNamespaced(procMountBreach(c, v))
				}
				return procMountBreach(c, v)
			},
		},
		{
			id: "seLinuxOptions", level: Baseline, title: "SELinux options only of containers' types",
			container: selinuxBreach, pod: func(p *podFacts, v int) breach { return p.ofSandbox(selinuxBreach, v) },
		},
		{
			id: "seccompProfile_baseline", level: Baseline, title: "seccomp is not switched off",
			limits:    "the kubelet asks for Unconfined where the pod asks for nothing, too",
			container: unconfinedBreach, pod: seccompAnnotation,
		},
		{
			id: "sysctls", level: Baseline, title: "only safe sysctls", limits: "those that the runtime adds count too",
			pod: sysctlBreach,
		},
		{
			id: "windowsHostProcess", level: Baseline, title: "no HostProcess containers",
			pod: func(*podFacts, int) breach { return breach{not: "this is Linux"} },
		},

		{
			id: "allowPrivilegeEscalation", level: Restricted, since: 8, title: "allowPrivilegeEscalation is false",
			container: escalationBreach,
		},
		{
			id: "capabilities_restricted", level: Restricted, since: 22, replaces: "capabilities_baseline",
			title: "ALL capabilities are dropped, and only NET_BIND_SERVICE is added", container: keptBreach,
		},
		{
			id: "procMount_restricted", level: Restricted, since: 35, replaces: "procMount", title: "/proc is masked, in a user namespace too",
			limits: "of a privileged container the request tells nothing", container: procMountBreach,
		},
		{
			id: "restrictedVolumes", level: Restricted, replaces: "hostPathVolumes", title: "only volumes of harmless kinds",
			limits:    unmounted + "; " + plugins + "; of some kinds a claim's volume, which is allowed, looks like one of the pod's own",
			container: func(c *container, _ int) breach { return c.volumes(volumeKind) },
		},
		{
			id: "runAsNonRoot", level: Restricted, title: "runAsNonRoot is true",
			limits:    "of a container that does not run as root the field leaves no trace",
			container: rootBreach,
		},
		{
			id: "runAsUser", level: Restricted, since: 23, title: "runAsUser is not 0",
			limits:    "an image's user 0, given as a number, looks like the field",
			container: userBreach, pod: func(p *podFacts, v int) breach { return p.ofSandbox(userBreach, v) },
		},
		{
			id: "seccompProfile_restricted", level: Restricted, since: 19, replaces: "seccompProfile_baseline",
			title: "a seccomp profile is set", container: unfilteredBreach,
		},
	}
}

// ofSandbox applies a check of containers to the sandbox, which is asked for with
// what the pod sets for all.
func (p *podFacts) ofSandbox(check func(*container, int) breach, version int) breach {
	if p.sandbox == nil {
		return breach{claim: unsureOf("sandbox", errNotCollected)}
	}
	b := check(p.sandbox, version)
	b.evidence = named("sandbox", b.evidence)
	return b
}

// requested makes a claim about a part of the CRI request. Where there is none it
// is unsure; what the request leaves out makes it false.
func requested[T any](c *container, name string, f inspect.Fact[T], is func(T) bool) claim {
	// Every request says something of it.
	if c.NoNewPrivs.Requested.Known() != inspect.Present {
		return unsureOf(name, causeOf(c.NoNewPrivs.Requested))
	}
	return known(name, f, is)
}

// inForce makes a claim about what the kernel has in force. Of a container that has
// ended that is nothing, and of a guest it is the sandbox's.
func (c *container) inForce(is func() claim) claim {
	if c.PID.Known() == inspect.Absent || c.guest() {
		return claim{truth: no}
	}
	return is()
}

// besides is inForce but for what privileged brings, which has a check of its own.
func (c *container) besides(is func() claim) claim {
	return c.inForce(func() claim { return all(is(), not(c.asksPrivileged())) })
}

func (c *container) asksPrivileged() claim {
	return known("privileged.requested", c.Privileged.Requested, isSet)
}

func broken(claims ...claim) breach { return breach{claim: either(claims...)} }

func privilegedBreach(c *container, _ int) breach {
	return broken(
		requested(c, "privileged.requested", c.Privileged.Requested, isSet),
		c.inForce(func() claim { return known("privileged.inForce", c.Privileged.InForce, isSet) }),
	)
}

func namespaceBreach(c *container, _ int) breach {
	claims := []claim{requested(c, "namespaces.requested", c.Namespaces.Requested, func(q inspect.NamespaceRequest) bool {
		return slices.Contains([]inspect.NamespaceMode{q.Network, q.PID, q.IPC}, inspect.NamespaceNode)
	}).saying(c.namespaceText())}
	for _, k := range []nsdiff.Kind{nsdiff.Net, nsdiff.PID, nsdiff.IPC} {
		claims = append(claims, c.inForce(func() claim { return c.namespace(k) }))
	}
	return broken(claims...)
}

func (c *container) namespaceText() string {
	q, _ := c.Namespaces.Requested.Value()
	return fmt.Sprintf("network %s, pid %s, ipc %s", q.Network, q.PID, q.IPC)
}

// baselineCapabilities may be added, with just these names.
var baselineCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

func (c *container) adds(allowed ...string) claim {
	return requested(c, "capabilities.requested", c.Capabilities.Requested, func(q inspect.CapabilityRequest) bool {
		return slices.ContainsFunc(q.Add, func(name string) bool { return !slices.Contains(allowed, name) })
	}).saying(c.capabilityText())
}

func (c *container) capabilityText() string {
	q, ok := c.Capabilities.Requested.Value()
	if !ok {
		return "none"
	}
	return fmt.Sprintf("drop %s; add %s", strings.Join(q.Drop, " "), strings.Join(q.Add, " "))
}

// holds claims that its bounding set has more than some capabilities.
func (c *container) holds(allowed caps.Set) claim {
	return c.besides(func() claim {
		claim := known("capabilities.inForce", c.Capabilities.InForce, func(s caps.State) bool { return !s.Bounding.Minus(allowed).IsEmpty() })
		if s, ok := c.Capabilities.InForce.Value(); ok {
			claim = claim.saying("bounding " + s.Bounding.Minus(allowed).String())
		}
		return claim
	})
}

func addedBreach(c *container, _ int) breach {
	byDefault, ok := c.Capabilities.Default.Value()
	if !ok {
		byDefault = caps.DefaultContainerd
	}
	allowed, _ := caps.ParseNames(baselineCapabilities...)
	return broken(c.adds(baselineCapabilities...), c.holds(byDefault.Union(allowed)))
}

func keptBreach(c *container, _ int) breach {
	return broken(
		c.adds("NET_BIND_SERVICE"),
		requested(c, "capabilities.requested", c.Capabilities.Requested, func(q inspect.CapabilityRequest) bool {
			return !slices.Contains(q.Drop, "ALL")
		}).saying(c.capabilityText()),
		c.holds(caps.Of(caps.NetBindService)),
	)
}

func escalationBreach(c *container, _ int) breach {
	return broken(
		not(requested(c, "noNewPrivs.requested", c.NoNewPrivs.Requested, isSet)),
		c.inForce(func() claim { return not(known("noNewPrivs.inForce", c.NoNewPrivs.InForce, isSet)) }),
	)
}

func appArmorBreach(c *container, _ int) breach {
	return broken(
		requested(c, "apparmor.requested", c.AppArmor.Requested, isUnconfinedLabel),
		c.besides(func() claim {
			return known("apparmor.inForce", c.AppArmor.InForce, func(label string) bool { return label == "unconfined" })
		}),
	)
}

const (
	appArmorKey         = "container.apparmor.security.beta.kubernetes.io/"
	seccompPodKey       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainerKey = "container.seccomp.security.alpha.kubernetes.io/"
)

func appArmorAnnotation(p *podFacts, _ int) breach {
	return p.annotation(func(name, value string) bool {
		return strings.HasPrefix(name, appArmorKey) && value != "" && value != "runtime/default" && !strings.HasPrefix(value, "localhost/")
	})
}

// seccompAnnotation: before 1.19 there was no field.
func seccompAnnotation(p *podFacts, version int) breach {
	if version >= 19 {
		return broken()
	}
	return p.annotation(func(name, value string) bool {
		return (name == seccompPodKey || p.isAnnotated(name)) &&
			value != "runtime/default" && value != "docker/default" && !strings.HasPrefix(value, "localhost/")
	})
}

// isAnnotated tells the annotations of containers that there are.
func (p *podFacts) isAnnotated(name string) bool {
	of, ok := strings.CutPrefix(name, seccompContainerKey)
	return ok && slices.ContainsFunc(p.containers, func(c *container) bool { return c.Name == of })
}

// annotation claims that the pod has an annotation that it should not: the sandbox
// is asked for with all of the pod's.
func (p *podFacts) annotation(bad func(name, value string) bool) breach {
	if p.sandbox == nil {
		return breach{claim: unsureOf("sandbox.annotations", errNotCollected)}
	}
	if asked := requested(p.sandbox, "sandbox.annotations", p.sandbox.NoNewPrivs.Requested, isSet); asked.truth == unsure {
		return breach{claim: asked}
	}
	var claims []claim
	for _, name := range sortedKeys(p.sandbox.Annotations) {
		value := p.sandbox.Annotations[name]
		if bad(name, value) {
			claims = append(claims, isTrue(true, Evidence{Fact: "sandbox.annotations." + name, Value: value, Source: "runtime"}))
		}
	}
	return broken(claims...)
}

func unconfinedBreach(c *container, version int) breach {
	if version < 19 {
		return broken()
	}
	asked := requested(c, "seccomp.requested", c.Seccomp.Requested, func(q inspect.SeccompRequest) bool { return q.Profile == "Unconfined" })
	if asked.truth == yes {
		return breach{unseen: "Unconfined was asked for, which is also what the kubelet asks for where the pod asks for nothing"}
	}
	return broken(asked)
}

func unfilteredBreach(c *container, _ int) breach {
	profiled := requested(c, "seccomp.requested", c.Seccomp.Requested, func(q inspect.SeccompRequest) bool { return q.Profile != "Unconfined" })
	return broken(not(profiled).saying(requestText(c.Seccomp.Requested)), c.besides(func() claim {
		return c.unfiltered()
	}))
}

func selinuxBreach(c *container, version int) breach {
	types := []string{"", "container_t", "container_init_t", "container_kvm_t"}
	if version >= 31 {
		types = append(types, "container_engine_t")
	}
	return broken(
		requested(c, "selinux.requested", c.SELinux.Requested, func(label string) bool {
			parts := strings.SplitN(label, ":", 4) // user, role, type, level
			return len(parts) < 3 || parts[0] != "" || parts[1] != "" || !slices.Contains(types, parts[2])
		}),
		c.besides(func() claim { return known("selinux.inForce", c.SELinux.InForce, isUnconfinedType) }),
	)
}

func procMountBreach(c *container, _ int) breach {
	privileged := c.asksPrivileged()
	if privileged.truth == yes {
		return breach{unseen: "the container is privileged, for which nothing is masked in any case"}
	}
	open := either(
		requested(c, "request", c.Request, func(q inspect.Request) bool { return len(q.MaskedPaths)+len(q.ReadonlyPaths) == 0 }).
			saying(c.maskText()),
		c.inForce(func() claim { return c.writable("/proc/sys") }),
	)
	return broken(all(open, not(privileged)))
}

func (c *container) maskText() string {
	q, _ := c.Request.Value()
	return fmt.Sprintf("%d paths masked, %d read-only", len(q.MaskedPaths), len(q.ReadonlyPaths))
}

// unlessNamespaced lets pass what is in a user namespace of its own.
func (c *container) unlessNamespaced(b breach) breach {
	own := requested(c, "userNamespace.requested", c.UserNamespace.Requested, isSet)
	if c.PID.Known() != inspect.Absent && !c.guest() {
		own = not(known("userNamespace.inForce", c.UserNamespace.InForce, func(ns inspect.UserNamespace) bool { return ns.Initial }))
	}
	if own.truth == yes {
		return broken()
	}
	b.claim = all(b.claim, not(own))
	return b
}

// rootBreach: the kubelet starts no container as root that has runAsNonRoot.
func rootBreach(c *container, version int) breach {
	root := either(
		c.declaredRoot(),
		c.inForce(func() claim { return c.insideRoot() }),
	)
	b := breach{claim: root}
	if root.truth == no {
		b.unseen = "it does not run as root: whether runAsNonRoot is set leaves no trace"
	}
	if version >= 35 {
		return c.unlessNamespaced(b)
	}
	return b
}

// insideRoot claims that the container's own root runs it.
func (c *container) insideRoot() claim {
	user, ok := c.User.InForce.Value()
	if !ok {
		return unsureOf("user.inForce", causeOf(c.User.InForce))
	}
	return known("user.inForce.inside", user.Inside, func(u inspect.User) bool { return u.UID == 0 })
}

func userBreach(c *container, version int) breach {
	b := broken(requested(c, "user.requested", c.User.Requested, func(q inspect.UserRequest) bool { return q.UID != nil && *q.UID == 0 }).
		saying(c.userText()))
	if version >= 35 {
		return c.unlessNamespaced(b)
	}
	return b
}

func (c *container) userText() string {
	q, _ := c.User.Requested.Value()
	if q.UID == nil {
		return "no user ID"
	}
	return fmt.Sprintf("user ID %d", *q.UID)
}

func hostPortBreach(p *podFacts, _ int) breach {
	if p.sandbox == nil {
		return breach{claim: unsureOf("sandbox.request", errNotCollected)}
	}
	used := requested(p.sandbox, "sandbox.request.ports", p.sandbox.Request, func(q inspect.Request) bool { return len(hostPorts(q)) > 0 })
	if q, ok := p.sandbox.Request.Value(); ok {
		used = used.saying(strings.Join(hostPorts(q), " "))
	}
	return broken(used)
}

func hostPorts(q inspect.Request) []string {
	var list []string
	for _, p := range q.Ports {
		if p.Host != 0 {
			list = append(list, fmt.Sprintf("%s:%d", p.HostIP, p.Host))
		}
	}
	return list
}

// sysctlsSince are the safe ones by the minor version that they came with.
var sysctlsSince = map[int][]string{
	0: {
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start",
	},
	27: {"net.ipv4.ip_local_reserved_ports"},
	29: {"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"},
	32: {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"},
	37: {"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"},
}

// safeSysctls are those of a version, in order.
func safeSysctls(version int) []string {
	var list []string
	for since, names := range sysctlsSince {
		if since <= version {
			list = append(list, names...)
		}
	}
	slices.Sort(list)
	return list
}

func sysctlBreach(p *podFacts, version int) breach {
	if p.sandbox == nil {
		return breach{claim: unsureOf("sandbox.specification", errNotCollected)}
	}
	const name = "sandbox.specification.sysctls"
	s, ok := p.sandbox.Specification.Value()
	if !ok {
		return breach{claim: unsureOf(name, causeOf(p.sandbox.Specification))}
	}
	safe := safeSysctls(version)
	var claims []claim
	for _, key := range sortedKeys(s.Sysctls) {
		is := !slices.Contains(safe, strings.ReplaceAll(key, "/", "."))
		claims = append(claims, isTrue(is, Evidence{Fact: name + "." + key, Value: s.Sysctls[key], Source: p.sandbox.Specification.Source()}))
	}
	return broken(claims...)
}

// volumes applies a check to what is asked to be mounted.
func (c *container) volumes(check func(c *container, m inspect.RequestedMount) (bad bool, unseen string)) breach {
	q, ok := c.Request.Value()
	if !ok {
		return breach{claim: unsureOf("request.mounts", causeOf(c.Request))}
	}
	var b breach
	claims := []claim{{truth: no}}
	for _, m := range q.Mounts {
		if m.Image {
			continue
		}
		bad, unseen := check(c, m)
		if unseen != "" {
			b.unseen = unseen
			continue
		}
		claims = append(claims, isTrue(bad, Evidence{Fact: "request.mounts." + m.Destination, Value: "the node's " + m.Source, Source: c.Request.Source()}))
	}
	b.claim = either(claims...)
	if b.truth == yes {
		b.unseen = ""
	}
	return b
}

const subPath = "a volume is mounted by a subPath, for which the request does not name the volume's kind"

// hostPathKind takes what is not in the pod's own folder.
func hostPathKind(c *container, m inspect.RequestedMount) (bad bool, unseen string) {
	if strings.Contains(m.Source, "/volume-subpaths/") && c.podsOwn(m.Source) {
		return false, subPath
	}
	return !c.podsOwn(m.Source), ""
}

// allowedVolumes are the kubelet's names of the kinds that may be used, and of
// that of local volumes, which only a claim can have.
var allowedVolumes = []string{"configmap", "csi", "downward-api", "empty-dir", "projected", "secret", "local-volume"}

// volumeKind looks for the kubelet's name of the volume's kind: the folder after
// volumes in that of the pod.
func volumeKind(c *container, m inspect.RequestedMount) (bad bool, unseen string) {
	if bad, unseen = hostPathKind(c, m); bad || unseen != "" {
		return bad, unseen
	}
	_, rest, ok := strings.Cut(m.Source, "/pods/"+c.Pod.UID+"/volumes/")
	kind, _, _ := strings.Cut(rest, "/")
	kind = strings.TrimPrefix(kind, "kubernetes.io~")
	switch {
	case !ok, slices.Contains(allowedVolumes, kind): // /etc/hosts and the like
		return false, ""
	case kind == "git-repo": // no claim can have it
		return true, ""
	}
	return false, fmt.Sprintf("a volume of the kind %s may be the pod's own or that of a claim", kind)
}
