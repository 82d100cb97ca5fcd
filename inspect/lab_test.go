package inspect_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

// manifest is what these tests need of a pod's manifest. What a container must
// look like is worked out from it, not recorded.
type manifest struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		HostUsers       *bool     `json:"hostUsers"`
		RestartPolicy   string    `json:"restartPolicy"`
		SecurityContext *security `json:"securityContext"`
		Containers      []struct {
			Name            string    `json:"name"`
			SecurityContext *security `json:"securityContext"`
		} `json:"containers"`
	} `json:"spec"`
}

type security struct {
	Privileged               bool   `json:"privileged"`
	RunAsUser                *int64 `json:"runAsUser"`
	ReadOnlyRootFilesystem   bool   `json:"readOnlyRootFilesystem"`
	AllowPrivilegeEscalation *bool  `json:"allowPrivilegeEscalation"`
	Capabilities             *struct {
		Add  []string `json:"add"`
		Drop []string `json:"drop"`
	} `json:"capabilities"`
	SeccompProfile *struct {
		Type string `json:"type"`
	} `json:"seccompProfile"`
}

// lab opens an inspector on the lab, or skips.
func lab(t *testing.T) *inspect.Inspector {
	t.Helper()
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func manifests(t *testing.T) []manifest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("RTINSPECT_LAB_PODS"), "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in the lab: %v", err)
	}
	var list []manifest
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest
		if err := yaml.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		if m.Metadata.Namespace == "" {
			m.Metadata.Namespace = "default"
		}
		list = append(list, m)
	}
	return list
}

// wanted is what a container must have in force.
type wanted struct {
	bounding, effective caps.Set
	uid                 uint32
	noNewPrivs          bool
	seccomp             inspect.SeccompMode
	readonly            bool
	privileged          bool
	userNamespace       bool
}

func want(t *testing.T, m manifest, own *security) wanted {
	t.Helper()
	pod, sc := m.Spec.SecurityContext, own
	if pod == nil {
		pod = &security{}
	}
	if sc == nil {
		sc = &security{}
	}
	w := wanted{bounding: caps.DefaultContainerd, seccomp: inspect.SeccompDisabled, readonly: sc.ReadOnlyRootFilesystem}
	if c := sc.Capabilities; c != nil {
		if slices.Contains(c.Drop, "ALL") {
			w.bounding = 0
		}
		add, err := caps.ParseNames(c.Add...)
		if err != nil {
			t.Fatal(err)
		}
		w.bounding = w.bounding.Union(add)
	}
	if sc.Privileged {
		// The lab's containerd is started by this test's parent: what it has, we have.
		self, err := caps.Reader{}.Process(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		w.bounding, w.privileged = self.Bounding, true
	}
	if p := cmpOr(sc.SeccompProfile, pod.SeccompProfile); p != nil && p.Type == "RuntimeDefault" && !sc.Privileged {
		w.seccomp = inspect.SeccompFilter
	}
	if uid := cmpOr(sc.RunAsUser, pod.RunAsUser); uid != nil {
		w.uid = uint32(*uid)
	}
	if a := sc.AllowPrivilegeEscalation; a != nil {
		w.noNewPrivs = !*a
	}
	if w.uid == 0 {
		w.effective = w.bounding
	}
	// Debian's containerd 1.6 ignores the request.
	w.userNamespace = m.Spec.HostUsers != nil && !*m.Spec.HostUsers && os.Getenv("RTINSPECT_LAB_RUNTIME") != "1.6"
	return w
}

func cmpOr[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func TestLabInForce(t *testing.T) {
	i := lab(t)
	for _, m := range manifests(t) {
		for _, c := range m.Spec.Containers {
			ref := m.Metadata.Namespace + "/" + m.Metadata.Name + "/" + c.Name
			t.Run(ref, func(t *testing.T) {
				r, err := i.Container(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if m.Metadata.Name == "pod-oom" {
					checkEnded(t, r)
					return
				}
				check(t, r, want(t, m, c.SecurityContext))
			})
		}
	}
}

func check(t *testing.T, r inspect.Report, w wanted) {
	t.Helper()
	for _, g := range r.Gaps() {
		t.Errorf("unknown: %s: %v", g.Fact, g.Cause)
	}
	s := value(t, "capabilities", r.Capabilities.InForce)
	equal(t, "bounding", s.Bounding.Mask(), w.bounding.Mask())
	equal(t, "effective", s.Effective.Mask(), w.effective.Mask())
	equal(t, "permitted", s.Permitted.Mask(), w.effective.Mask())
	equal(t, "uid", value(t, "uid inside", value(t, "user", r.User.InForce).Inside).UID, w.uid)
	equal(t, "no_new_privs", value(t, "no_new_privs", r.NoNewPrivs.InForce), w.noNewPrivs)
	equal(t, "seccomp", value(t, "seccomp", r.Seccomp.InForce).Mode, w.seccomp)
	equal(t, "read-only root", value(t, "read-only root", r.ReadonlyRootfs.InForce), w.readonly)
	equal(t, "privileged requested", value(t, "privileged", r.Privileged.Requested), w.privileged)
	equal(t, "privileged declared", value(t, "privileged", r.Privileged.Declared), w.privileged)
	equal(t, "privileged in force", value(t, "privileged", r.Privileged.InForce), w.privileged)
	equal(t, "own user namespace", !value(t, "user namespace", r.UserNamespace.InForce).Initial, w.userNamespace)
	checkReach(t, r, w)
	checkDrift(t, r, w)
}

func checkReach(t *testing.T, r inspect.Report, w wanted) {
	t.Helper()
	reach := value(t, "reach", r.Capabilities.Reach)
	var onExec caps.Set
	if !w.noNewPrivs {
		onExec = w.bounding.Minus(w.effective)
	}
	equal(t, "reach now", reach.Now, w.effective)
	equal(t, "reach on exec", reach.OnExec, onExec)
	ns := caps.UserNSInitial
	if w.userNamespace {
		ns = caps.UserNSOther
	}
	equal(t, "reach's user namespace", reach.UserNS, ns)
}

// checkDrift: nothing differs without a reason, apart from a user namespace that
// was asked for and not given.
func checkDrift(t *testing.T, r inspect.Report, w wanted) {
	t.Helper()
	var got []string
	for _, d := range r.Drift {
		if d.Reason == "" {
			got = append(got, fmt.Sprintf("%s: %s %s, %s %s", d.Setting, d.From, d.Want, d.To, d.Have))
		}
	}
	var wantDrift []string
	asked := value(t, "user namespace requested", r.UserNamespace.Requested)
	if asked && !w.userNamespace {
		wantDrift = []string{"userNamespace: requested true, declared false"}
	}
	if !slices.Equal(got, wantDrift) {
		t.Errorf("drift %q, want %q", got, wantDrift)
	}
}

func checkEnded(t *testing.T, r inspect.Report) {
	t.Helper()
	equal(t, "state", value(t, "state", r.State), inspect.StateExited)
	if r.PID.Known() != inspect.Absent || r.Capabilities.InForce.Known() != inspect.Absent {
		t.Errorf("a container that ended has pid %v, capabilities %v; want absent",
			r.PID.Known(), r.Capabilities.InForce.Known())
	}
}

func value[T any](t *testing.T, what string, f inspect.Fact[T]) T {
	t.Helper()
	v, ok := f.Value()
	if !ok {
		t.Fatalf("%s: %s: %s %v", what, f.Known(), f.Source(), f.Cause())
	}
	return v
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestLabList: the list has every pod's sandbox and containers, once, in a
// stable order, with live processes.
func TestLabList(t *testing.T) {
	i := lab(t)
	list, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, c := range list {
		got = append(got, string(c.Kind)+" "+c.FullName())
		if state, _ := c.State.Value(); state != inspect.StateRunning {
			continue
		}
		pid := value(t, c.FullName(), c.PID)
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			t.Errorf("%s: %v", c.FullName(), err)
		}
	}
	for _, m := range manifests(t) {
		pod := m.Metadata.Namespace + "/" + m.Metadata.Name
		want = append(want, "sandbox "+pod)
		for _, c := range m.Spec.Containers {
			want = append(want, "container "+pod+"/"+c.Name)
		}
	}
	again, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(list, again, func(a, b inspect.Container) bool { return a.ID == b.ID }) {
		t.Error("the order is not stable")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("list\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLabResolve(t *testing.T) {
	i := lab(t)
	byPod, err := i.Resolve(t.Context(), "pod-no-caps")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{byPod.ID, byPod.ID[:12], "pod-no-caps/app", "default/pod-no-caps/app", "default/pod-no-caps"} {
		c, err := i.Resolve(t.Context(), ref)
		if err != nil || c.ID != byPod.ID {
			t.Errorf("%s: %s, %v; want %s", ref, c.ID, err, byPod.ID)
		}
	}
	for ref, want := range map[string]struct {
		err  error
		text string
	}{
		"app":                  {inspect.ErrAmbiguous, "more"},
		"pod-two-containers":   {inspect.ErrAmbiguous, "pod-two-containers/sidecar"},
		"pod-no-cap":           {inspect.ErrNotFound, "did you mean pod-no-caps"},
		"":                     {inspect.ErrNotFound, `container ""`},
		"kube-system/none/app": {inspect.ErrNotFound, "not found"},
	} {
		if _, err := i.Resolve(t.Context(), ref); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%q: %v; want %v with %q", ref, err, want.err, want.text)
		}
	}
}

// TestLabHungShim stops the shim of one pod. containerd leaves its task out of
// the list without an error; that container must come out unknown, neither
// ended nor safe, and all others whole.
func TestLabHungShim(t *testing.T) {
	i := lab(t)
	victim, err := i.Resolve(t.Context(), "pod-suspicious")
	if err != nil {
		t.Fatal(err)
	}
	shim := parent(t, value(t, "pid", victim.PID))
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(shim, unix.SIGCONT) })

	snapshot, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var seen bool
	for _, r := range snapshot.Containers {
		if r.Pod.Name != "pod-suspicious" {
			if gaps := r.Gaps(); len(gaps) > 0 {
				t.Errorf("%s: %v", r.FullName(), gaps)
			}
			continue
		}
		if r.ID != victim.ID {
			continue
		}
		seen = true
		if r.State.Known() != inspect.Unknown || !strings.Contains(r.State.Cause().Error(), "shim does not answer") {
			t.Errorf("state %v, %v; want unknown as its shim does not answer", r.State.Known(), r.State.Cause())
		}
		if r.Capabilities.InForce.Known() != inspect.Unknown || r.PID.Known() != inspect.Unknown {
			t.Errorf("pid %v, capabilities %v; want unknown", r.PID.Known(), r.Capabilities.InForce.Known())
		}
		if _, ok := r.Capabilities.Declared.Value(); !ok {
			t.Error("what was declared is known all the same")
		}
	}
	if !seen {
		t.Error("the container of the hung shim is missing")
	}
	if reports, err := i.Containers(t.Context()); err != nil || !slices.ContainsFunc(reports, func(r inspect.Report) bool { return r.ID == victim.ID }) {
		t.Errorf("the container of the hung shim is not among the running or unknown ones (%v)", err)
	}
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var ppid int
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "PPid:\t%d", &ppid); err == nil {
			return ppid
		}
	}
	t.Fatal("no PPid")
	return 0
}
