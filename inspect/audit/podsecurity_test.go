package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// asking is what of the restricted level a pod lacks that asks for nothing.
var asking = []string{"allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"}

// labLevels are the levels of the lab's pods in the latest version, with the checks
// that they fail; with a version in front where they differ.
var labLevels = map[string]struct {
	level Level
	fails []string
}{
	"pod-hardened":           {Restricted, nil},
	"pod-default-caps":       {Baseline, asking},
	"pod-default-ns":         {Baseline, asking},
	"pod-no-limits":          {Baseline, asking},
	"pod-oom":                {Baseline, asking}, // ended, judged by what it asked for
	"pod-readonly":           {Baseline, asking},
	"pod-shared-pid":         {Baseline, asking},
	"pod-suspicious":         {Baseline, asking},
	"pod-two-containers":     {Baseline, asking},
	"pod-with-limits":        {Baseline, asking},
	"pod-no-caps":            {Baseline, []string{"allowPrivilegeEscalation", "runAsNonRoot", "seccompProfile_restricted"}},
	"pod-selective-caps":     {Baseline, []string{"allowPrivilegeEscalation", "runAsNonRoot", "seccompProfile_restricted"}},
	"2.4 pod-user-namespace": {Baseline, []string{"allowPrivilegeEscalation", "capabilities_restricted", "seccompProfile_restricted"}},
	// It asks for a user namespace and has none.
	"1.6 pod-user-namespace": {Baseline, asking},
	"pod-added-caps":         {Privileged, append([]string{"capabilities_baseline"}, asking...)},
	"pod-host-path":          {Privileged, append([]string{"hostPathVolumes", "restrictedVolumes"}, asking...)},
	"pod-socket-mounted":     {Privileged, append([]string{"hostPathVolumes", "restrictedVolumes"}, asking...)},
	"pod-socket-folder":      {Privileged, append([]string{"hostPathVolumes", "restrictedVolumes"}, asking...)},
	"pod-privileged":         {Privileged, append([]string{"privileged"}, asking...)},
	"pod-host-ns":            {Privileged, append([]string{"hostNamespaces", "privileged"}, asking...)},
}

// compareLevels wants the levels of the table; of pods without a sandbox among the
// recorded ones, that what is in the table is not passed.
func compareLevels(t *testing.T, version string, s inspect.Snapshot) {
	t.Helper()
	pods := PodLevels(s, PSSVersion{})
	for _, p := range pods {
		_, name, _ := strings.Cut(p.Subject.Name, "/")
		want, ok := labLevels[version+" "+name]
		if !ok {
			want, ok = labLevels[name]
		}
		got := failing(p)
		slices.Sort(got)
		whole := !slices.ContainsFunc(p.Checks, func(c PodCheck) bool { return c.Verdict == Unknown && c.Unseen == "" })
		fails := slices.Sorted(slices.Values(want.fails))
		if !ok || !slices.Equal(got, fails) || p.AtMost != want.level || whole && p.Level != want.level {
			t.Errorf("%s: %s, at most %s, fails %q; want %s, %q", name, p.Level, p.AtMost, got, want.level, fails)
		}
		if sandboxed := slices.ContainsFunc(s.Containers, func(r inspect.Report) bool { return r.ID == p.Subject.ID }); sandboxed != whole {
			t.Errorf("%s: all is known: %v, its sandbox: %v", name, whole, sandboxed)
		}
	}
	if len(pods) != 19 {
		t.Errorf("%d pods", len(pods))
	}
}

func failing(p PodLevel) []string {
	var ids []string
	for _, c := range p.Checks {
		if c.Verdict == Fail {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func TestPodLevels(t *testing.T) {
	for _, node := range nodes {
		t.Run(node, func(t *testing.T) { compareLevels(t, versionOf(node), load(t, node)) })
	}
}

// checkOf returns what a check says of a changed pod. Its sandbox is changed by
// changes that look for one.
func checkOf(t *testing.T, name, id, version string, changes ...change) (PodCheck, PodLevel) {
	t.Helper()
	s := loadPods(t, "2.4", name)
	for _, c := range changes {
		c(&s, pod(t, &s, name))
	}
	v, err := ParsePSSVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	pods := PodLevels(s, v)
	if len(pods) != 1 {
		t.Fatalf("%d pods", len(pods))
	}
	n := slices.IndexFunc(pods[0].Checks, func(c PodCheck) bool { return c.ID == id })
	if n < 0 {
		return PodCheck{}, pods[0]
	}
	return pods[0].Checks[n], pods[0]
}

// ofSandbox changes the sandbox.
func ofSandbox(c change) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) {
		n := slices.IndexFunc(s.Containers, func(r inspect.Report) bool { return r.Kind == inspect.KindSandbox })
		c(s, &s.Containers[n])
	}
}

func asks[T any](f func(*inspect.Report) *inspect.Fact[T], value T) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) { *f(r) = inspect.KnownFact(value, "CRI request") }
}

func request(how func(*inspect.Request)) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) { edit(&r.Request, how) }
}

func mounts(source string) change {
	return request(func(q *inspect.Request) {
		q.Mounts = append(q.Mounts, inspect.RequestedMount{Destination: "/v", Source: source})
	})
}

// ofPod mounts something of the kubelet's folder of the pod.
func ofPod(rest string) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		mounts("/var/lib/kubelet/pods/"+r.Pod.UID+"/"+rest)(s, r)
	}
}

func ended(_ *inspect.Snapshot, r *inspect.Report) {
	no := errors.New("no process runs").Error()
	r.PID = inspect.AbsentFact[int](no)
	r.Capabilities.InForce = inspect.AbsentFact[caps.State](no)
	r.Mounts = inspect.AbsentFact[inspect.Mounts](no)
	r.UserNamespace.InForce = inspect.AbsentFact[inspect.UserNamespace](no)
	r.User.InForce = inspect.AbsentFact[inspect.UserInForce](no)
}

func noRequest(_ *inspect.Snapshot, r *inspect.Report) {
	r.NoNewPrivs.Requested = inspect.AbsentFact[bool]("this runtime does not report the CRI request")
	r.Request = inspect.AbsentFact[inspect.Request]("this runtime does not report the CRI request")
}

func added(names ...string) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.Requested, func(q *inspect.CapabilityRequest) { q.Add = append(q.Add, names...) })
	}
}

func annotated(name, value string) change {
	return ofSandbox(func(_ *inspect.Snapshot, r *inspect.Report) { r.Annotations[name] = value })
}

var (
	userNamespaceAsked = func(r *inspect.Report) *inspect.Fact[bool] { return &r.UserNamespace.Requested }
	selinuxAsked       = func(r *inspect.Report) *inspect.Fact[string] { return &r.SELinux.Requested }
	appArmorAsked      = func(r *inspect.Report) *inspect.Fact[string] { return &r.AppArmor.Requested }
	seccompAsked       = func(r *inspect.Report) *inspect.Fact[inspect.SeccompRequest] { return &r.Seccomp.Requested }
	privilegedAsked    = func(r *inspect.Report) *inspect.Fact[bool] { return &r.Privileged.Requested }
	userAsked          = func(r *inspect.Report) *inspect.Fact[inspect.UserRequest] { return &r.User.Requested }
	userDeclared       = func(r *inspect.Report) *inspect.Fact[inspect.User] { return &r.User.Declared }
)

func unmasked(_ *inspect.Snapshot, r *inspect.Report) {
	edit(&r.Request, func(q *inspect.Request) { q.MaskedPaths, q.ReadonlyPaths = []string{}, []string{} })
}

// unseen stands for a verdict that no node shows.
var unseen = Verdict(99)

// podCases are verdicts of checks over changed pods: of pod-hardened, which passes
// all, unless another is named.
var podCases = []struct {
	check, name, version string
	pod                  string
	change               change
	verdict              Verdict
}{
	{"appArmorProfile", "of the field", "latest", "", asks(appArmorAsked, "Unconfined"), Fail},
	{"appArmorProfile", "one of its own", "latest", "", asks(appArmorAsked, "Localhost/mine"), Pass},
	{"appArmorProfile", "of the annotation", "latest", "", annotated("container.apparmor.security.beta.kubernetes.io/app", "unconfined"), Fail},
	{"appArmorProfile", "of an empty annotation", "latest", "", annotated("container.apparmor.security.beta.kubernetes.io/app", ""), Pass},
	{"appArmorProfile", "in force", "latest", "", label("unconfined"), Fail},
	{"appArmorProfile", "confined", "latest", "", label("cri-containerd.apparmor.d (enforce)"), Pass},
	{"appArmorProfile", "not known", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.AppArmor.InForce = inspect.UnknownFact[string](errRead)
	}, Unknown},
	{"appArmorProfile", "what privileged brings", "latest", "pod-privileged", label("unconfined"), Pass},

	{"capabilities_baseline", "one of the default set", "latest", "", added("CHOWN"), Pass},
	{"capabilities_baseline", "with a prefix", "latest", "", added("CAP_CHOWN"), Fail},
	{"capabilities_baseline", "NET_RAW", "latest", "", added("NET_RAW"), Fail},
	{"capabilities_baseline", "all by default", "latest", "pod-default-caps", nothing, Pass},
	{"capabilities_baseline", "in force beyond", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.InForce, func(s *caps.State) { s.Bounding = s.Bounding.Union(caps.Of(caps.SysAdmin)) })
	}, Fail},
	{"capabilities_baseline", "what privileged brings", "latest", "pod-privileged", nothing, Pass},
	{"capabilities_baseline", "no request", "latest", "", noRequest, Unknown},
	{"capabilities_restricted", "one more", "latest", "", added("CHOWN"), Fail},
	{"capabilities_restricted", "not all dropped", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.Requested, func(q *inspect.CapabilityRequest) { q.Drop = []string{"all"} })
	}, Fail},
	{"capabilities_restricted", "in force beyond", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.InForce, func(s *caps.State) { s.Bounding = s.Bounding.Union(caps.Of(caps.Chown)) })
	}, Fail},
	{"capabilities_restricted", "in force not known", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Capabilities.InForce = inspect.UnknownFact[caps.State](errRead)
	}, Unknown},
	{"capabilities_restricted", "ended", "latest", "", ended, Pass},

	{"hostNamespaces", "of the pod's", "latest", "", ofSandbox(func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Namespaces.Requested, func(q *inspect.NamespaceRequest) { q.IPC = inspect.NamespaceNode })
	}), Fail},
	{"hostNamespaces", "of the container's", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Namespaces.Requested, func(q *inspect.NamespaceRequest) { q.PID = inspect.NamespaceNode })
	}, Fail},
	{"hostNamespaces", "in force", "latest", "", hosts(nsdiff.Net), Fail},
	{"hostNamespaces", "the host name alone", "latest", "", hosts(nsdiff.UTS), Pass},
	{"hostNamespaces", "no sandbox", "latest", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Containers = slices.DeleteFunc(s.Containers, func(r inspect.Report) bool { return r.Kind == inspect.KindSandbox })
	}, Unknown},

	{"hostPathVolumes", "one", "latest", "", mounts("/srv"), Fail},
	{"hostPathVolumes", "of a container that has ended", "latest", "", together(mounts("/srv"), ended), Fail},
	{"hostPathVolumes", "of another pod", "latest", "", mounts("/var/lib/kubelet/pods/other/volumes/kubernetes.io~empty-dir/x"), Fail},
	{"hostPathVolumes", "an image", "latest", "", request(func(q *inspect.Request) {
		q.Mounts = append(q.Mounts, inspect.RequestedMount{Destination: "/v", Image: true})
	}), Pass},
	{"hostPathVolumes", "by a subPath", "latest", "", ofPod("volume-subpaths/x/app/0"), unseen},
	{"hostPathVolumes", "by a subPath and without", "latest", "", together(ofPod("volume-subpaths/x/app/0"), mounts("/srv")), Fail},
	{"hostPathVolumes", "no request", "latest", "", noRequest, Unknown},
	{"hostPathVolumes", "containers may be missing", "latest", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Missing = []string{"default: the list broke off"} }, Unknown},
	{"hostPathVolumes", "no containers", "latest", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Containers = slices.DeleteFunc(s.Containers, func(r inspect.Report) bool { return r.Kind == inspect.KindContainer })
	}, Unknown},

	{"hostPorts", "one", "latest", "", ofSandbox(request(func(q *inspect.Request) { q.Ports = []inspect.RequestedPort{{Container: 80, Host: 80}} })), Fail},
	{"hostPorts", "one of the pod", "latest", "", ofSandbox(request(func(q *inspect.Request) { q.Ports = []inspect.RequestedPort{{Container: 80}} })), Pass},
	{"hostPorts", "no request", "latest", "", ofSandbox(noRequest), Unknown},

	{"hostProbesAndHostLifecycle", "any", "latest", "", nothing, unseen},

	{"privileged", "asked for", "latest", "", asks(privilegedAsked, true), Fail},
	{"privileged", "in force", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) { r.Privileged.InForce = inspect.KnownFact(true, "") }, Fail},
	{"privileged", "in force in a guest", "latest", "", together(guest(inspect.TierVM), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Privileged.InForce = inspect.KnownFact(true, "")
	}), Pass},

	{"procMount", "Unmasked", "latest", "", unmasked, Fail},
	{"procMount", "Unmasked in a user namespace", "latest", "pod-user-namespace", unmasked, Pass},
	{"procMount", "Unmasked in a user namespace that is not there", "latest", "", together(unmasked, asks(userNamespaceAsked, true)), Fail},
	{"procMount", "Unmasked in a user namespace, before", "v1.34", "pod-user-namespace", unmasked, Fail},
	{"procMount", "Unmasked in a user namespace, ended", "latest", "pod-user-namespace", together(unmasked, ended), Pass},
	{"procMount", "privileged", "latest", "pod-privileged", nothing, unseen},
	{"procMount", "in force", "latest", "", withGuard("/proc/sys", inspect.GuardNone), Fail},
	{"procMount_restricted", "Unmasked in a user namespace", "latest", "pod-user-namespace", unmasked, Fail},
	{"procMount_restricted", "Unmasked", "latest", "", unmasked, Fail},

	{"seLinuxOptions", "a type of containers", "latest", "", asks(selinuxAsked, "::container_t:s0:c1,c2"), Pass},
	{"seLinuxOptions", "another type", "latest", "", asks(selinuxAsked, "::spc_t:"), Fail},
	{"seLinuxOptions", "a user", "latest", "", asks(selinuxAsked, "u:::"), Fail},
	{"seLinuxOptions", "a role", "latest", "", asks(selinuxAsked, ":r::"), Fail},
	{"seLinuxOptions", "of the pod", "latest", "", ofSandbox(asks(selinuxAsked, "::spc_t:")), Fail},
	{"seLinuxOptions", "a new type", "v1.31", "", asks(selinuxAsked, "::container_engine_t:"), Pass},
	{"seLinuxOptions", "a new type, before", "v1.30", "", asks(selinuxAsked, "::container_engine_t:"), Fail},
	{"seLinuxOptions", "in force", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.SELinux.InForce = inspect.KnownFact("system_u:system_r:spc_t:s0", "attr")
	}, Fail},

	{"seccompProfile_baseline", "RuntimeDefault", "latest", "", nothing, Pass},
	{"seccompProfile_baseline", "Unconfined", "latest", "pod-default-caps", nothing, unseen},
	{"seccompProfile_baseline", "of the annotation", "v1.18", "", annotated("seccomp.security.alpha.kubernetes.io/pod", "unconfined"), Fail},
	{"seccompProfile_baseline", "of the container's annotation", "v1.18", "", annotated("container.seccomp.security.alpha.kubernetes.io/app", "unconfined"), Fail},
	{"seccompProfile_baseline", "of no container's annotation", "v1.18", "", annotated("container.seccomp.security.alpha.kubernetes.io/x", "unconfined"), Pass},
	{"seccompProfile_baseline", "a default annotation", "v1.18", "", annotated("seccomp.security.alpha.kubernetes.io/pod", "docker/default"), Pass},
	{"seccompProfile_baseline", "an annotation that has no meaning any more", "v1.19", "", annotated("seccomp.security.alpha.kubernetes.io/pod", "unconfined"), Pass},
	{"seccompProfile_restricted", "Unconfined", "latest", "", asks(seccompAsked, inspect.SeccompRequest{Profile: "Unconfined"}), Fail},
	{"seccompProfile_restricted", "Localhost", "latest", "", asks(seccompAsked, inspect.SeccompRequest{Profile: "Localhost"}), Pass},
	{"seccompProfile_restricted", "none", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Seccomp.Requested = inspect.AbsentFact[inspect.SeccompRequest]("none")
	}, Fail},
	{"seccompProfile_restricted", "not in force", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Seccomp.InForce, func(s *inspect.SeccompInForce) { s.Mode = inspect.SeccompDisabled })
	}, Fail},
	{"seccompProfile_restricted", "not in force in a guest", "latest", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Seccomp.InForce, func(s *inspect.SeccompInForce) { s.Mode = inspect.SeccompDisabled })
	}), Pass},

	{"sysctls", "a safe one", "latest", "", ofSandbox(sysctl("net.ipv4.tcp_wmem")), Pass},
	{"sysctls", "a safe one, before", "v1.31", "", ofSandbox(sysctl("net.ipv4.tcp_wmem")), Fail},
	{"sysctls", "a new one", "v1.37", "", ofSandbox(sysctl("net.ipv4.tcp_notsent_lowat")), Pass},
	{"sysctls", "a new one, before", "v1.36", "", ofSandbox(sysctl("net.ipv4.tcp_notsent_lowat")), Fail},
	{"sysctls", "one with slashes", "v1.0", "", ofSandbox(sysctl("net/ipv4/tcp_syncookies")), Pass},
	{"sysctls", "another", "latest", "", ofSandbox(sysctl("kernel.msgmax")), Fail},
	{"sysctls", "not known", "latest", "", ofSandbox(func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Specification = inspect.UnknownFact[inspect.Specification](errRead)
	}), Unknown},

	{"windowsHostProcess", "any", "latest", "", nothing, NotApplicable},

	{"allowPrivilegeEscalation", "asked for", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) { r.NoNewPrivs.Requested = inspect.KnownFact(false, "") }, Fail},
	{"allowPrivilegeEscalation", "in force", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) { r.NoNewPrivs.InForce = inspect.KnownFact(false, "") }, Fail},

	{"restrictedVolumes", "of the host", "latest", "", mounts("/srv"), Fail},
	{"restrictedVolumes", "a secret", "latest", "", ofPod("volumes/kubernetes.io~secret/x"), Pass},
	{"restrictedVolumes", "a local volume", "latest", "", ofPod("volumes/kubernetes.io~local-volume/x"), Pass},
	{"restrictedVolumes", "a git repository", "latest", "", ofPod("volumes/kubernetes.io~git-repo/x"), Fail},
	{"restrictedVolumes", "NFS", "latest", "", ofPod("volumes/kubernetes.io~nfs/x"), unseen},
	{"restrictedVolumes", "a FlexVolume", "latest", "", ofPod("volumes/example.com~driver/x"), unseen},
	{"restrictedVolumes", "a subPath", "latest", "", ofPod("volume-subpaths/x/app/0"), unseen},

	{"runAsNonRoot", "another user", "latest", "", nothing, unseen},
	{"runAsNonRoot", "root", "latest", "", asks(userDeclared, inspect.User{}), Fail},
	{"runAsNonRoot", "root, ended", "latest", "pod-default-caps", ended, Fail},
	{"runAsNonRoot", "root in force", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.User.InForce, func(u *inspect.UserInForce) { u.Inside = inspect.KnownFact(inspect.User{}, "") })
	}, Fail},
	{"runAsNonRoot", "not known", "latest", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.User.InForce = inspect.UnknownFact[inspect.UserInForce](errRead)
	}, Unknown},
	{"runAsNonRoot", "root of a user namespace", "latest", "pod-user-namespace", nothing, Pass},
	{"runAsNonRoot", "root of a user namespace, before", "v1.34", "pod-user-namespace", nothing, Fail},
	{"runAsNonRoot", "root of a user namespace, not known", "latest", "pod-user-namespace", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.UserNamespace.InForce = inspect.UnknownFact[inspect.UserNamespace](errRead)
	}, Unknown},
	{"runAsUser", "0", "latest", "", asks(userAsked, inspect.UserRequest{UID: new(int64)}), Fail},
	{"runAsUser", "0 of the pod", "latest", "", ofSandbox(asks(userAsked, inspect.UserRequest{UID: new(int64)})), Fail},
	{"runAsUser", "the image's", "latest", "pod-default-caps", nothing, Pass},
	{"runAsUser", "0 in a user namespace", "latest", "pod-user-namespace", asks(userAsked, inspect.UserRequest{UID: new(int64)}), Pass},
	{"runAsUser", "0 in a user namespace, before", "v1.34", "pod-user-namespace", asks(userAsked, inspect.UserRequest{UID: new(int64)}), Fail},
}

func sysctl(name string) change {
	return specification(func(s *inspect.Specification) { s.Sysctls = map[string]string{name: "1"} })
}

func TestPodChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, tc := range podCases {
		t.Run(tc.check+"/"+tc.name, func(t *testing.T) {
			name := tc.pod
			if name == "" {
				name = "pod-hardened"
			}
			got, p := checkOf(t, name, tc.check, tc.version, tc.change)
			wantCheck(t, got, p, tc.verdict)
		})
		seen[tc.check+" "+fmt.Sprint(tc.verdict)] = true
	}
	for _, c := range podChecks() {
		if !seen[c.id+" fail"] && c.id != "hostProbesAndHostLifecycle" && c.id != "windowsHostProcess" {
			t.Errorf("no case that fails %s", c.id)
		}
	}
}

func wantCheck(t *testing.T, got PodCheck, p PodLevel, want Verdict) {
	t.Helper()
	verdict := got.Verdict
	if got.Unseen != "" {
		verdict = unseen
	}
	if verdict != want {
		t.Errorf("%s, want %s: %+v", verdict, want, got)
	}
	if (len(got.Causes) > 0) != (want == Unknown) || (got.Reason != "") != (want == NotApplicable) ||
		want == Fail && len(got.Evidence) == 0 || slices.Contains(p.Unseen, got.ID) != (want == unseen) {
		t.Errorf("%+v, unseen %q", got, p.Unseen)
	}
	if want == Fail && p.AtMost >= got.Level {
		t.Errorf("failed, and the pod is at most %s", p.AtMost)
	}
	if want == Unknown && p.Level >= got.Level {
		t.Errorf("unknown, and the pod is %s", p.Level)
	}
}

// TestPodChecksSince: in an old version a check is not there.
func TestPodChecksSince(t *testing.T) {
	for _, c := range podChecks() {
		if c.since == 0 {
			continue
		}
		before, at := PSSVersion{older: latestPSS - c.since + 1}, PSSVersion{older: latestPSS - c.since}
		if slices.Contains(checksOf(Restricted, before), c.id) || !slices.Contains(checksOf(max(c.level, Baseline), at), c.id) {
			t.Errorf("%s is there before %s, or not then", c.id, at)
		}
		if c.replaces != "" && (!slices.Contains(checksOf(Restricted, before), c.replaces) || slices.Contains(checksOf(Restricted, at), c.replaces)) {
			t.Errorf("%s does not take the place of %s", c.id, c.replaces)
		}
	}
}

func TestPSSVersion(t *testing.T) {
	for text, want := range map[string]string{"latest": "v1.37", "v1.37": "v1.37", "1.0": "v1.0", "v1.28": "v1.28"} {
		v, err := ParsePSSVersion(text)
		var again PSSVersion
		if data, _ := v.MarshalText(); err != nil || v.String() != want || again.UnmarshalText(data) != nil || again != v {
			t.Errorf("%s: %s, %v", text, v, err)
		}
	}
	for _, text := range []string{"", "v1.38", "v2.0", "v1", "v1.-1", "v1.03", "v1.+3", "Latest", "v1.28.1", "v1.99999"} {
		if v, err := ParsePSSVersion(text); err == nil {
			t.Errorf("%q: %s", text, v)
		}
	}
}

// TestPodsAreApart: two namespaces of containerd may have the same ids.
func TestPodsAreApart(t *testing.T) {
	s := loadPods(t, "2.4", "pod-hardened")
	other := load(t, "2.4")
	for _, r := range s.Containers {
		r.Namespace = "other"
		r.Privileged.Requested = inspect.KnownFact(true, "")
		other.Containers = append(other.Containers, r)
	}
	for _, p := range PodLevels(other, PSSVersion{})[:19] {
		if p.Subject.Name == "default/pod-hardened" && p.Level != Restricted {
			t.Errorf("%+v", p)
		}
	}
}

// TestUnknownIsNoLevel makes each fact of pods unknown: their level does not rise,
// and no check passes that did not.
func TestUnknownIsNoLevel(t *testing.T) {
	for _, name := range []string{"pod-hardened", "pod-host-ns", "pod-user-namespace"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := loadPods(t, "2.4", name)
			before := PodLevels(s, PSSVersion{})[0]
			for n, r := range s.Containers {
				facts := parse(t, r)
				for _, f := range facts.facts {
					f.erase()
					some := s
					some.Containers = slices.Clone(s.Containers)
					some.Containers[n] = facts.reread(t, r, f)
					compareLevel(t, f.path, before, PodLevels(some, PSSVersion{})[0])
					f.restore()
				}
			}
		})
	}
}

func compareLevel(t *testing.T, what string, before, after PodLevel) {
	t.Helper()
	if after.Level > before.Level {
		t.Errorf("without %s it is %s", what, after.Level)
	}
	for n, c := range before.Checks {
		if now := after.Checks[n].Verdict; now == Pass && c.Verdict != Pass || now == Fail && c.Verdict != Fail {
			t.Errorf("without %s %s is %s and was %s", what, c.ID, now, c.Verdict)
		}
	}
}

func TestPodLevelsOfNothing(t *testing.T) {
	s := inspect.Snapshot{Containers: []inspect.Report{{Container: inspect.Container{Pod: &inspect.Pod{UID: "u"}}}, {}}}
	pods := PodLevels(s, PSSVersion{})
	if len(pods) != 1 || pods[0].Subject.Name != "u" || pods[0].Level != Privileged || pods[0].AtMost != Restricted {
		t.Errorf("%+v", pods)
	}
	for _, c := range pods[0].Checks {
		if c.Verdict == Pass || c.Verdict == Fail {
			t.Errorf("%+v", c)
		}
	}
	if data := string(encode(t, PodLevels(inspect.Snapshot{}, PSSVersion{}))); data != "[]" {
		t.Error(data)
	}
}

func TestAssess(t *testing.T) {
	s := load(t, "2.4")
	for standard, want := range map[Standard]map[string]Verdict{
		CISDocker: {"5.5": Fail, "5.2": NotApplicable, "5.20": Pass, "5.32": Fail},
		NSA:       {"C-0057": Fail, "C-0041": Fail},
	} {
		a := Assess(s, AssessOptions{Standard: standard})
		for _, c := range a.Controls {
			if len(c.Judgments) != len(s.Containers) {
				t.Errorf("%s %s: %d judgments", standard, c.ID, len(c.Judgments))
			}
			if verdict, ok := want[c.ID]; ok && c.Verdict != verdict {
				t.Errorf("%s %s: %s", standard, c.ID, c.Verdict)
			}
			for _, j := range c.Judgments {
				if (j.Verdict == Fail) != (len(j.Rules) > 0) || j.Verdict == NotApplicable && j.Reason == "" || j.Verdict == Pass && j.Reason != "" {
					t.Errorf("%s %s: %+v", standard, c.ID, j)
				}
			}
		}
		var again Assessment
		data := encode(t, a)
		if err := json.Unmarshal(data, &again); err != nil || string(encode(t, again)) != string(data) {
			t.Errorf("%s: read and written again it is another: %v", standard, err)
		}
	}
	host := func(c inspect.Container) bool { return c.Pod.Name == "pod-host-ns" && c.Kind == inspect.KindContainer }
	for _, standard := range []Standard{PSSRestricted, CISDocker} {
		for _, c := range Assess(s, AssessOptions{Standard: standard, Among: host}).Controls {
			if len(c.Judgments) != 1 || !strings.HasPrefix(c.Judgments[0].Subject.Name, "default/pod-host-ns") {
				t.Errorf("%s %s: %+v", standard, c.ID, c.Judgments)
			}
		}
	}
	if a := Assess(s, AssessOptions{Standard: CVE}); len(a.Controls) != 0 || a.Controls == nil || a.Missing == nil || a.MissingSockets == nil {
		t.Errorf("%+v", a)
	}
}

// TestAssessPods: what passes the checks of a level, and only that, has the level.
func TestAssessPods(t *testing.T) {
	for version := range latestPSS + 1 {
		v := PSSVersion{older: version}
		for _, level := range []Level{Baseline, Restricted} {
			standard := map[Level]Standard{Baseline: PSSBaseline, Restricted: PSSRestricted}[level]
			a := Assess(loadPods(t, "2.4", "pod-hardened", "pod-host-ns", "pod-default-caps"), AssessOptions{Standard: standard, Version: v})
			for n, p := range a.Pods {
				passes := true
				for _, c := range a.Controls {
					j := c.Judgments[n]
					passes = passes && (j.Verdict == Pass || j.Verdict == NotApplicable || j.Unseen != "")
				}
				if passes != (p.Level >= level) {
					t.Errorf("%s %s: %s is %s and passes: %v", v, level, p.Subject.Name, p.Level, passes)
				}
			}
		}
	}
}

func TestParseStandard(t *testing.T) {
	for _, name := range StandardNames() {
		if s, err := ParseStandard(name); err != nil || len(Controls(s, PSSVersion{})) == 0 {
			t.Errorf("%s: %s, %v", name, s, err)
		}
	}
	if _, err := ParseStandard("pss"); err == nil || !strings.Contains(err.Error(), "pss-baseline") {
		t.Error(err)
	}
}

// TestControlsGoByTheirReferences: a rule decides on no control that it does not
// refer to.
func TestControlsGoByTheirReferences(t *testing.T) {
	for _, s := range []Standard{CISDocker, NSA} {
		for _, c := range Controls(s, PSSVersion{}) {
			for _, id := range c.Rules {
				r, ok := Lookup(id)
				if !ok || !slices.Contains(r.References, Reference{s, c.ID}) {
					t.Errorf("%s %s is decided by %s, which does not refer to it", s, c.ID, id)
				}
			}
		}
	}
}

// TestStandardsDocument compares docs/standards.md with the controls; -update
// rewrites it.
func TestStandardsDocument(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "standards.md")
	want := standardsDocument()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/standards.md is not what the controls say: run go test ./inspect/audit -run TestStandardsDocument -update")
	}
}

const standardsHead = `# Standards

<!-- Made from the controls by go test ./inspect/audit -run TestStandardsDocument -update. -->

` + "`rtinspect audit --standard`" + ` sums up what was found by the controls of a standard. A control fails where it fails for one container or
pod, is unknown where a fact that decides could not be read, and never passes on what is unknown. Not seen is what leaves no trace on
any node: it is listed, and counts for nothing.

## The Pod Security Standards

They are about what a pod asks for. A node has the CRI request, and the kernel: a check fails where the request breaks it, or where the
kernel has less isolation in force than that. What a privileged container has by being privileged counts for the check of that name
alone. A container that has ended, such as an init container, is judged by its request. The level of a pod is the highest that none of
its checks speaks against; "baseline or restricted" where something is unknown. The checks are those of k8s.io/pod-security-admission
up to v1.37, with their names; [standards-differences.md](standards-differences.md) lists where the node says something else than the pod's manifest.

`

func standardsDocument() string {
	var b strings.Builder
	b.WriteString(standardsHead)
	b.WriteString("| check | level | since | in place of | demands | not seen |\n|---|---|---|---|---|---|\n")
	for _, c := range podChecks() {
		fmt.Fprintf(&b, "| %s | %s | v1.%d | %s | %s | %s |\n", c.id, c.level, c.since, c.replaces, c.title, c.limits)
	}
	for _, part := range []struct {
		standard Standard
		title    string
	}{
		{CISDocker, "CIS Docker Benchmark 1.6\n\nFor all containers, Docker's or not. Its other controls are about images, the daemon and what Docker alone has."},
		{NSA, "Kubernetes Hardening Guidance of NSA and CISA\n\nNumbered as Kubescape's framework NSA does. Its other controls are about the cluster."},
	} {
		b.WriteString("\n## " + part.title + "\n\n| control | demands | rules | note |\n|---|---|---|---|\n")
		for _, c := range Controls(part.standard, PSSVersion{}) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.ID, c.Title, strings.Join(c.Rules, ", "), c.Limits)
		}
	}
	return b.String()
}
