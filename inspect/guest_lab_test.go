package inspect_test

import (
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// TestLabGVisor: what the node's kernel tells of containers in gVisor is of gVisor's process, the same for all of a pod, and is
// told as that. What each of them has is in its specification.
func TestLabGVisor(t *testing.T) {
	i := lab(t)
	if os.Getenv("RTINSPECT_LAB_GVISOR") == "" {
		t.Skip("needs the lab with gVisor: hack/vmtest.sh")
	}
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reports := map[string]inspect.Report{}
	pids := map[string]int{}
	for _, r := range s.Containers {
		if !strings.HasPrefix(r.Pod.Name, "pod-gvisor") {
			continue
		}
		gvisorsProcess(t, r)
		pid, _ := r.PID.Value()
		if of, seen := pids[r.Pod.Name]; seen && of != pid {
			t.Errorf("%s: process %d, and another of its pod has %d", r.FullName(), pid, of)
		}
		pids[r.Pod.Name] = pid
		if r.Kind == inspect.KindContainer {
			reports[r.FullName()] = r
		}
	}
	if len(pids) != 2 || len(reports) != 3 {
		t.Fatalf("pods %v, %d containers", pids, len(reports))
	}

	app, sidecar := reports["default/pod-gvisor/app"], reports["default/pod-gvisor/sidecar"]
	for _, c := range []struct {
		r        inspect.Report
		bounding caps.Set
		uid      uint32
		nnp      bool
	}{
		{app, caps.DefaultContainerd, 0, false},
		{sidecar, 0, 1000, true},
	} {
		declared, _ := c.r.Capabilities.Declared.Value()
		user, _ := c.r.User.Declared.Value()
		nnp, known := c.r.NoNewPrivs.Declared.Value()
		if declared.Bounding != c.bounding || user.UID != c.uid || nnp != c.nnp || !known {
			t.Errorf("%s: declared %s, user %d, no_new_privs %t", c.r.FullName(), declared.Bounding, user.UID, nnp)
		}
	}
	// The guest's own kernel says so too, but for CAP_NET_RAW, which gVisor keeps to itself unless told otherwise.
	if got := askGuest(t, app.ID); got != caps.DefaultContainerd.Minus(caps.Of(caps.NetRaw)) {
		t.Errorf("the app's kernel gives it %s", got)
	}
	limits, _ := sidecar.Cgroup.Declared.Value()
	inForce, _ := sidecar.Cgroup.InForce.Value()
	if limits.Memory != cgroup.LimitOf(128<<20) || !isMax(inForce.Memory.Max) {
		t.Errorf("the sidecar's memory: declared %s, in force %v", limits.Memory, inForce.Memory.Max)
	}
}

// TestLabGVisorKernel: without a runtime a pod in gVisor is one container, with the same first process, and its files are no leaks.
func TestLabGVisorKernel(t *testing.T) {
	i := lab(t)
	if os.Getenv("RTINSPECT_LAB_GVISOR") == "" {
		t.Skip("needs the lab with gVisor: hack/vmtest.sh")
	}
	listed, err := i.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[int]bool{}, map[int]bool{}
	for _, c := range listed {
		if pid, _ := c.PID.Value(); c.Guest() {
			want[pid] = true
		}
	}
	list, err := inspect.OpenKernel(inspect.Options{}, nil).Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if !c.Guest() {
			continue
		}
		pid, _ := c.PID.Value()
		got[pid] = true
		processes, _ := c.Processes.Value()
		for n, p := range processes.List {
			if (p.Origin == inspect.OriginFirst) != (n == 0) || n > 0 && p.Origin != inspect.OriginSandbox || len(p.Beyond) > 0 || p.Leaks.Known() != inspect.Absent {
				t.Errorf("%s: process %d: %s, %v, %v", c.ID, p.PID, p.Origin, p.Beyond, p.Leaks)
			}
		}
	}
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("gVisor's first processes %v, want %v", got, want)
	}
}

// gvisorsProcess wants a container's facts to be those of gVisor's process, and to be told as such.
func gvisorsProcess(t *testing.T, r inspect.Report) {
	t.Helper()
	name := string(r.Kind) + " " + r.FullName()
	if tier, _ := r.Tier.Value(); tier != inspect.TierSandbox || r.Tier.Source() != "io.containerd.runsc.v1" || !r.Guest() {
		t.Errorf("%s: tier %v from %s", name, tier, r.Tier.Source())
	}
	pid, _ := r.PID.Value()
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); !strings.HasPrefix(string(line), "runsc-sandbox\x00") {
		t.Errorf("%s: process %d is %q, %v", name, pid, line, err)
	}
	const sentry = 0x8001f
	state, _ := r.Capabilities.InForce.Value()
	seccomp, _ := r.Seccomp.InForce.Value()
	user, known := r.UserNamespace.InForce.Value()
	if state.Effective != sentry || state.Bounding != sentry || seccomp.Mode != inspect.SeccompFilter || user.Initial || !known {
		t.Errorf("%s: in force %s, seccomp %s, user namespace %+v", name, state.Effective, seccomp.Mode, user)
	}
	for _, d := range r.Drift {
		if d.To == "in force" {
			t.Errorf("%s: drift %+v", name, d)
		}
	}
	list, _ := r.Namespaces.InForce.Value()
	for _, ns := range list {
		if ns.Verdict != nsdiff.NotApplicable {
			t.Errorf("%s: namespace %s is %s", name, ns.Kind, ns.Verdict)
		}
	}
	mounts, _ := r.Mounts.Value()
	if mounts.Devices.InForce.Known() != inspect.Absent {
		t.Errorf("%s: devices %v", name, mounts.Devices.InForce)
	}
	processes, _ := r.Processes.Value()
	for n, p := range processes.List {
		want := inspect.OriginSandbox
		if n == 0 {
			want = inspect.OriginFirst
		}
		if p.Origin != want || len(p.Beyond) > 0 || p.Leaks.Known() == inspect.Present {
			t.Errorf("%s: process %d: %s, %v, %v", name, p.PID, p.Origin, p.Beyond, p.Leaks)
		}
	}
	if len(processes.List) < 2 {
		t.Errorf("%s: %d processes", name, len(processes.List))
	}
	for _, gap := range r.Gaps() {
		t.Errorf("%s: %s: %v", name, gap.Fact, gap.Cause)
	}
}

func isMax(f cgroup.Fact[cgroup.Limit]) bool {
	limit, ok := f.Value()
	return ok && limit == cgroup.Max
}

// askGuest returns the bounding set that the guest's own kernel tells.
func askGuest(t *testing.T, id string) caps.Set {
	t.Helper()
	out, err := exec.Command("crictl", "exec", id, "grep", "CapBnd", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	set, err := caps.ParseMask(strings.TrimSpace(strings.TrimPrefix(string(out), "CapBnd:")))
	if err != nil {
		t.Fatal(err)
	}
	return set
}
