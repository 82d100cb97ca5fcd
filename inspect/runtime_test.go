package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/fakeruntime"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

func wantCause(t *testing.T, what string, cause, is error, text string) {
	t.Helper()
	if is != nil && !errors.Is(cause, is) {
		t.Errorf("%s: %v does not wrap %v", what, cause, is)
	}
	if cause == nil || !strings.Contains(cause.Error(), text) {
		t.Errorf("%s: %v, want %q in it", what, cause, text)
	}
}

func wantValue[T comparable](t *testing.T, what string, f Fact[T], want T) {
	t.Helper()
	if got, ok := f.Value(); !ok || got != want {
		t.Errorf("%s: %v, %v (%s); want %v", what, got, f.Known(), f.Cause(), want)
	}
}

// pids of recorded processes, apart from that of the test.
func pids() (selective, userns int) { return os.Getpid() + 1, os.Getpid() + 2 }

// TestRecorded: everything fits, and everything is known.
func TestRecorded(t *testing.T) {
	h := newHost(t)
	a, b := pids()
	fake := &fakeruntime.CRI{}
	h.add(fake, "selective", a)
	h.add(fake, "userns", b)
	fake.AddSandbox("pod", fakeruntime.CRIOSpoofedInfo(h.files["selective/spec.json"]))
	i := h.open(nil, fake)
	wantValue(t, "last capability", i.Node().LastCap, caps.Cap(40))
	wantValue(t, "runtime's pid", i.Node().Runtime.PID, os.Getpid())
	wantValue(t, "runtime's bounding set", i.Node().Runtime.Bounding, caps.Set(0x1fffeffffff))
	all := reports(t, i)
	for _, tc := range []struct {
		name    string
		pid     int
		caps    caps.Set
		uid     uint32
		initial bool
		tier    Tier
	}{
		{"selective", a, 0x400, 0, true, TierHostKernel},
		{"userns", b, 0xa80425fb, 65536, false, TierUserNamespace},
	} {
		r := all[h.id(tc.name)]
		if gaps := gapsOf(r); len(gaps) != 0 {
			t.Errorf("%s: unknown are %v", tc.name, gaps)
		}
		wantValue(t, "state", r.State, StateRunning)
		wantValue(t, "pid", r.PID, tc.pid)
		wantValue(t, "tier", r.Tier, tc.tier)
		state, _ := r.Capabilities.InForce.Value()
		if state.Bounding != tc.caps || state.Effective != tc.caps || state.Permitted != tc.caps || state.Inheritable != 0 || state.Ambient != 0 {
			t.Errorf("%s: capabilities %+v", tc.name, state)
		}
		user, _ := r.User.InForce.Value()
		same := IDs{tc.uid, tc.uid, tc.uid, tc.uid}
		inside, ok := user.Inside.Value()
		if user.UID != same || user.GID != same || !slices.Equal(user.Groups, []uint32{tc.uid}) || !ok || inside.UID != 0 || inside.GID != 0 {
			t.Errorf("%s: user %+v", tc.name, user)
		}
		ns, ok := r.UserNamespace.InForce.Value()
		if !ok || ns.Initial != tc.initial || len(ns.UIDMap) != 1 || ns.UIDMap[0].Outside != tc.uid {
			t.Errorf("%s: user namespace %+v", tc.name, ns)
		}
		seccomp, ok := r.Seccomp.InForce.Value()
		if filters, known := seccomp.Filters.Value(); !ok || seccomp.Mode != SeccompDisabled || !known || filters != 0 {
			t.Errorf("%s: seccomp %+v", tc.name, seccomp)
		}
		wantValue(t, "no new privileges", r.NoNewPrivs.InForce, false)
		wantValue(t, "read-only root", r.ReadonlyRootfs.InForce, false)
		wantValue(t, "privileged", r.Privileged.InForce, false)
		if r.AppArmor.InForce.Known() != Absent || r.SELinux.InForce.Known() != Absent {
			t.Errorf("%s: labels %v, %v; want absent", tc.name, r.AppArmor.InForce, r.SELinux.InForce)
		}
		if r.User.Requested.Known() != Absent {
			t.Errorf("%s: requested user %v; this runtime does not report requests", tc.name, r.User.Requested)
		}
		wantValue(t, "privileged requested", r.Privileged.Requested, false)
		for _, d := range r.Drift {
			if d.Reason == "" {
				t.Errorf("%s: drift %+v", tc.name, d)
			}
		}
	}

	s, _ := i.Snapshot(t.Context()) // what is listening was not recorded
	if len(s.Missing) != 0 {
		t.Fatal(s.Missing)
	}
	for _, r := range s.Containers {
		if r.Kind == KindSandbox && (r.PID.Known() != Absent || len(gapsOf(r)) != 0) {
			t.Errorf("sandbox that has no process: pid %v, unknown are %v", r.PID, gapsOf(r))
		}
	}
}

// TestBrokenFiles: a file that cannot be read or understood makes unknown what
// it tells, names its path, and leaves the rest of that container and all of the
// others as they are.
func TestBrokenFiles(t *testing.T) {
	without := func(key string) func(string) string {
		return func(text string) string {
			lines := slices.Collect(strings.Lines(text))
			return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") }), "")
		}
	}
	all := func(text string) func(string) string { return func(string) string { return text } }
	status := []string{"capabilities.inForce", "capabilities.reach", "noNewPrivs.inForce", "privileged.inForce", "seccomp.inForce", "user.inForce"}
	// NoNewPrivs is read with the capabilities.
	sets := []string{"capabilities.inForce", "capabilities.reach", "noNewPrivs.inForce", "privileged.inForce"}
	maps := []string{"capabilities.reach.userNamespace", "tier", "user.inForce.inside", "userNamespace.inForce"}
	for _, tc := range []struct {
		name string
		file string
		edit func(string) string // nil: removed
		want []string
		is   error
	}{
		{"status missing", "status", nil, status, fs.ErrNotExist},
		{"status empty", "status", all(""), status, nil},
		{"status garbage", "status", all("\x00\xff\x1b[31m\n:\n"), status, nil},
		{"no CapEff", "status", without("CapEff"), sets, nil},
		{"bad CapBnd", "status", func(s string) string { return strings.Replace(s, "CapBnd:\t0000", "CapBnd:\tzzzz", 1) }, sets, nil},
		{"no NoNewPrivs", "status", without("NoNewPrivs"), []string{"noNewPrivs.inForce"}, nil},
		{"no Seccomp", "status", without("Seccomp"), []string{"seccomp.inForce"}, nil},
		{"bad Seccomp", "status", func(s string) string { return strings.Replace(s, "Seccomp:\t0", "Seccomp:\t7", 1) }, []string{"seccomp.inForce"}, nil},
		{"no Uid", "status", without("Uid"), []string{"user.inForce"}, nil},
		{"no Groups", "status", without("Groups"), []string{"user.inForce"}, nil},
		{"bad Gid", "status", func(s string) string { return strings.Replace(s, "Gid:\t0", "Gid:\t-1", 1) }, []string{"user.inForce"}, nil},
		{"uid_map missing", "uid_map", nil, maps, fs.ErrNotExist},
		{"uid_map garbage", "uid_map", all("0 0\n"), maps, nil},
		{"gid_map missing", "gid_map", nil, maps, fs.ErrNotExist},
		{"gid_map garbage", "gid_map", all("0 99999999999 1\n"), maps, nil},
		{"ns/user missing", "ns/user", nil, maps, fs.ErrNotExist},
		{"mountinfo missing", "mountinfo", nil, []string{"readonlyRootfs.inForce"}, fs.ErrNotExist},
		{"mountinfo garbage", "mountinfo", all("1 2 3\n"), []string{"readonlyRootfs.inForce"}, nil},
		{"mountinfo cut", "mountinfo", func(s string) string { return s[:len(s)*2/3] }, []string{"readonlyRootfs.inForce"}, nil},
		{"no root", "mountinfo", all("173 171 0:70 / /proc rw - proc proc rw\n"), []string{"readonlyRootfs.inForce"}, nil},
		{"cgroup missing", "cgroup", nil, nothingInForce, fs.ErrNotExist},
		{"stat missing", "stat", nil, nothingInForce, fs.ErrNotExist},
		{"stat garbage", "stat", all("7 sleep"), nothingInForce, nil},
		{"all missing", "", nil, nothingInForce, ErrNoProcess},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			broken, good := pids()
			fake := &fakeruntime.CRI{}
			h.add(fake, "selective", broken)
			h.add(fake, "userns", good)
			i := h.open(nil, fake)
			before := reports(t, i)

			path := h.proc(broken, tc.file)
			if tc.edit != nil {
				h.edit(broken, tc.file, tc.edit)
			} else if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if tc.file == "" {
				path = strconv.Itoa(broken)
			}
			after := reports(t, i)
			wantGaps(t, after[h.id("selective")], before[h.id("selective")], tc.want, tc.is, path)
			wantSame(t, facts(t, after[h.id("userns")]), facts(t, before[h.id("userns")]), nil)

			// List says of pid and tier what the report says.
			list, err := i.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if got, want := gapNames(gapsOf(c)), gapNames(after[c.ID].Container.Gaps()); !slices.Equal(got, want) {
					t.Errorf("%s: List has unknown %q, the report %q", c.ID, got, want)
				}
			}
		})
	}
}

// wantGaps checks what is unknown in a report, the causes, and that the rest is
// as before.
func wantGaps(t *testing.T, after, before Report, want []string, is error, path string) {
	t.Helper()
	gaps := gapsOf(after)
	if got := gapNames(gaps); !slices.Equal(got, want) {
		t.Errorf("unknown\n got %q\nwant %q", got, want)
	}
	for _, g := range gaps {
		wantCause(t, g.Fact, g.Cause, is, path)
	}
	if slices.Contains(want, "noNewPrivs.inForce") {
		want = append(want[:len(want):len(want)], "capabilities.inForce", "capabilities.reach") // it is in them too
	}
	wantSame(t, facts(t, after), facts(t, before), want)
}

// wantSame compares facts, apart from those that are, or are in, one of gaps.
func wantSame(t *testing.T, after, before map[string]string, gaps []string) {
	t.Helper()
	for name, fact := range before {
		if slices.ContainsFunc(gaps, func(g string) bool { return g == name || strings.HasPrefix(g, name+".") }) {
			continue
		}
		if after[name] != fact {
			t.Errorf("%s\n was %s\n  is %s", name, fact, after[name])
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d facts, %d before", len(after), len(before))
	}
}

// TestForbiddenFiles: what we may not read.
func TestForbiddenFiles(t *testing.T) {
	for file, want := range map[string][]string{
		"status":    {"capabilities.inForce", "capabilities.reach", "noNewPrivs.inForce", "privileged.inForce", "seccomp.inForce", "user.inForce"},
		"gid_map":   {"capabilities.reach.userNamespace", "tier", "user.inForce.inside", "userNamespace.inForce"},
		"mountinfo": {"readonlyRootfs.inForce"},
		"cgroup":    nothingInForce,
		"stat":      nothingInForce,
		"":          nothingInForce, // the folder, as with hidepid=1
	} {
		t.Run("file "+file, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			pid, _ := pids()
			fake := &fakeruntime.CRI{}
			h.add(fake, "selective", pid)
			i := h.open(nil, fake)
			found, err := i.list(t.Context(), true)
			if err != nil || len(found) != 1 {
				t.Fatalf("%d containers, %v", len(found), err)
			}
			before := i.collector(nil).report(&found[0])
			for path, mode := range map[string]fs.FileMode{h.root: 0o755, filepath.Dir(h.root): 0o755, h.proc(pid, file): 0} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { _ = os.Chmod(h.proc(pid, file), 0o755) }) // so that it can be removed
			var after Report
			withFilesOfNobody(t, func() { after = i.collector(nil).report(&found[0]) })
			wantGaps(t, after, before, want, fs.ErrPermission, h.proc(pid, file))
		})
	}
}

// TestReportOfZombie: a process that ended after it was opened. Its status and cgroup
// are still there, and none of them counts.
func TestReportOfZombie(t *testing.T) {
	h := newHost(t)
	pid, _ := pids()
	fake := &fakeruntime.CRI{}
	h.add(fake, "selective", pid)
	h.edit(pid, "stat", func(s string) string { return strings.Replace(s, "(sleep) S", "(sleep) Z", 1) })
	r := reports(t, h.open(nil, fake))[h.id("selective")]
	wantNothingInForce(t, r, ErrNoProcess, fmt.Sprintf("process %d has ended", pid))
}

// child starts a process that sleeps until the test ends.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// TestLiesAboutPIDs: real processes, none of which is the container's.
func TestLiesAboutPIDs(t *testing.T) {
	gone := child(t)
	_ = gone.Process.Kill()
	_ = gone.Wait()
	sleeping := child(t).Process.Pid
	const cgroup = "/kubepods/pod1/container"
	wrong := func(pid int) string { return fmt.Sprintf("process %d, which the runtime names, is in cgroup ", pid) }
	type lie struct {
		pid  int
		is   error
		text string
	}
	lies := map[string]lie{
		"init":           {1, ErrNotTheContainer, wrong(1)},
		"ourselves":      {os.Getpid(), ErrNotTheContainer, wrong(os.Getpid())},
		"other process":  {sleeping, ErrNotTheContainer, wrong(sleeping)},
		"gone":           {gone.Process.Pid, ErrNoProcess, strconv.Itoa(gone.Process.Pid)},
		"beyond pid_max": {1<<22 + 1, ErrNoProcess, "4194305"},
		"beyond 32 bits": {1<<32 + 1, ErrNoProcess, "4294967297"}, // must not become 1
		"beyond all":     {math.MaxInt64, ErrNoProcess, "9223372036854775807"},
	}
	if stat, err := os.ReadFile("/proc/2/stat"); err == nil && strings.HasPrefix(string(stat), "2 (kthreadd)") {
		lies["kernel thread"] = lie{2, ErrNotTheContainer, wrong(2)}
	} else {
		t.Log("no kernel threads in this pid namespace: not tested")
	}
	fake := &fakeruntime.CRI{}
	for id, l := range lies {
		fake.Add(id, fakeruntime.CRIOInfo(l.pid, fakeruntime.Spec(cgroup)))
	}
	i := openFake(t, Options{}, nil, fake)
	if i.distrust != nil {
		t.Fatal(i.distrust) // else each would be unknown for that reason
	}
	all := reports(t, i)
	list, err := i.List(t.Context())
	if err != nil || len(all) != len(lies) || len(list) != len(lies) {
		t.Fatalf("%d reports, %d containers, %v", len(all), len(list), err)
	}
	for id, l := range lies {
		wantNothingInForce(t, all[id], l.is, l.text)
		if user, ok := all[id].User.Declared.Value(); !ok || user.UID != 1000 {
			t.Errorf("%s: what the runtime declared is %v", id, all[id].User.Declared)
		}
	}
	for _, c := range list {
		wantCause(t, c.ID+": pid", c.PID.Cause(), lies[c.ID].is, lies[c.ID].text)
		wantCause(t, c.ID+": tier", c.Tier.Cause(), lies[c.ID].is, lies[c.ID].text)
	}
}

// TestOneHangs: one status that hangs leaves the other whole.
func TestOneHangs(t *testing.T) {
	h := newHost(t)
	a, b := pids()
	fake := &fakeruntime.CRI{}
	h.add(fake, "selective", a)
	h.add(fake, "userns", b)
	i := openFake(t, Options{HostRoot: h.root, Timeout: time.Second}, func(ctx context.Context, _ string, request any) error {
		if fakeruntime.Request(request) == h.id("userns") {
			return fakeruntime.Hang(ctx)
		}
		return nil
	}, fake)
	all := reports(t, i)
	if gaps := gapsOf(all[h.id("selective")]); len(gaps) != 0 {
		t.Errorf("the other has unknown %v", gaps)
	}
	hung := all[h.id("userns")]
	wantValue(t, "state", hung.State, StateRunning)
	for _, cause := range []error{hung.PID.Cause(), hung.Capabilities.InForce.Cause(), hung.Capabilities.Declared.Cause(), hung.Process.Cause()} {
		wantCause(t, "hung", cause, context.DeadlineExceeded, "verbose status: no answer in time (1s at most)")
	}
}

// TestOtherPIDNamespace: numbers that do not count in our proc file system are
// never looked up there, even where a process fits.
func TestOtherPIDNamespace(t *testing.T) {
	const ours, theirs = 4026531836, 4026532999
	reader := os.Getpid() + 9
	for _, tc := range []struct {
		name     string
		change   func(h recordedHost) // of the recorded host
		services []fakeruntime.Service
		is       error
		text     []string // none: it is believed
	}{
		{name: "CRI, same namespace"},
		{name: "CRI, another", change: func(h recordedHost) {
			h.copy("runtime", reader)
			h.link(strconv.Itoa(reader), "proc/self")
			h.link(fmt.Sprintf("pid:[%d]", theirs), filepath.Join("proc", strconv.Itoa(os.Getpid()), "ns/pid"))
		}, text: []string{"cri-o counts its pids in pid:[4026532999]", "shows pid:[4026531836]", "run in the runtime's pid namespace"}},
		{name: "CRI, its process is not shown", change: func(h recordedHost) {
			h.copy("runtime", reader)
			h.link(strconv.Itoa(reader), "proc/self")
			_ = os.RemoveAll(h.proc(os.Getpid(), ""))
		}, is: ErrNoProcess, text: []string{fmt.Sprint(os.Getpid())}},
		{name: "CRI, its link is missing", change: func(h recordedHost) {
			h.copy("runtime", reader)
			h.link(strconv.Itoa(reader), "proc/self")
			_ = os.Remove(h.proc(os.Getpid(), "ns/pid"))
		}, is: fs.ErrNotExist, text: []string{fmt.Sprintf("/%d/ns/pid", os.Getpid())}},
		{name: "we are not shown", change: func(h recordedHost) { _ = os.Remove(h.path("proc/self")) }, is: fs.ErrNotExist, text: []string{"proc/self"}},
		{name: "containerd, same", services: []fakeruntime.Service{&fakeruntime.Containerd{PID: os.Getpid(), PIDNamespace: ours}}},
		{
			name: "containerd, another", services: []fakeruntime.Service{&fakeruntime.Containerd{PID: os.Getpid(), PIDNamespace: theirs}},
			text: []string{"containerd counts its pids in pid:[4026532999]", "shows pid:[4026531836]"},
		},
		{name: "containerd, does not say", services: []fakeruntime.Service{&fakeruntime.Containerd{PID: os.Getpid()}}},
		{
			name: "containerd, no introspection", services: []fakeruntime.Service{&fakeruntime.Containerd{}},
			is: errdefs.ErrNotImplemented, text: []string{"introspection"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			pid, _ := pids()
			id := h.id("selective")
			if tc.services == nil {
				fake := &fakeruntime.CRI{}
				h.add(fake, "selective", pid)
				tc.services = []fakeruntime.Service{fake}
			} else {
				h.copy("selective", pid)
				tc.services[0].(*fakeruntime.Containerd).Add("default", id, uint32(pid), h.files["selective/spec.json"])
			}
			if tc.change != nil {
				tc.change(h)
			}
			i := h.open(nil, tc.services...)
			r := reports(t, i)[id]
			info := i.Node().Runtime
			if tc.text == nil {
				wantValue(t, "pid", r.PID, pid)
				wantValue(t, "runtime's pid", info.PID, os.Getpid())
				if gaps := gapsOf(r); len(gaps) != 0 {
					t.Errorf("unknown are %v", gaps)
				}
				return
			}
			for _, text := range tc.text {
				wantNothingInForce(t, r, ErrNotTheContainer, text)
				wantCause(t, "runtime's pid", info.PID.Cause(), tc.is, text)
				wantCause(t, "runtime's bounding set", info.Bounding.Cause(), tc.is, text)
			}
			list, err := i.List(t.Context())
			if err != nil || len(list) != 1 || list[0].PID.Known() != Unknown || list[0].Tier.Known() != Unknown {
				t.Errorf("List: %+v, %v", list, err)
			}
		})
	}
}

// TestInPod is an inspector in a pid namespace of its own, with the host's /proc
// and the socket of a runtime of the host: it cannot tell whose the pids are.
func TestInPod(t *testing.T) {
	const variable = "RTINSPECT_TEST_IN_POD"
	if endpoint := os.Getenv(variable); endpoint != "" {
		i, err := Open(t.Context(), Options{Endpoint: endpoint})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		text := "the process that listens on " + endpoint + " is not in our pid namespace"
		if _, err := os.Readlink("/proc/1/ns/pid"); err != nil {
			text = err.Error() // the namespace of /proc is not known either
		}
		if i.conn.PeerPID != 0 {
			t.Errorf("we see the runtime as process %d", i.conn.PeerPID)
		}
		wantNothingInForce(t, reports(t, i)["a"], ErrNotTheContainer, text)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: a pid namespace is made")
	}
	fake := &fakeruntime.CRI{}
	// This process is there, and its cgroup may fit: it must not count.
	fake.Add("a", fakeruntime.CRIOInfo(os.Getpid(), fakeruntime.Spec("/a")))
	cmd := exec.Command(os.Args[0], "-test.run=^TestInPod$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+fakeruntime.Serve(t, nil, fake))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs a pid namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInPod") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReusedPID: a process that was opened ends, and its number goes to another.
func TestReusedPID(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a pid is chosen with ns_last_pid")
	}
	first := child(t)
	pid := first.Process.Pid
	p, err := procfs.FS{}.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	all := KnownFact(caps.UpTo(40), "test")
	var alive Report
	c := (&Inspector{options: Options{Parts: PartStatus | PartMounts}}).collector(nil)
	if err := c.enforce(&alive, &listed{}, &heldProcess{Process: p}, all); err != nil || alive.Capabilities.InForce.Known() != Present {
		t.Fatalf("while it runs: %v, %v", alive.Capabilities.InForce, err)
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	if !takePID(t, pid) {
		t.Skipf("pid %d could not be taken again on this machine", pid)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
		t.Fatalf("the new process is not there by path: %v", err)
	}
	var r Report
	if err := c.enforce(&r, &listed{}, &heldProcess{Process: p}, all); !errors.Is(err, ErrNoProcess) {
		t.Errorf("error %v, want %v", err, ErrNoProcess)
	}
	for name, fact := range facts(t, r) {
		if !strings.HasPrefix(fact, "unknown ") {
			t.Errorf("%s is %s", name, fact)
		}
	}
	wantCause(t, "capabilities", r.Capabilities.InForce.Cause(), ErrNoProcess, fmt.Sprintf("/proc/%d/status", pid))

	// A runtime that still names the number: the new process is not in the
	// container's cgroup.
	fake := &fakeruntime.CRI{}
	fake.Add("a", fakeruntime.CRIOInfo(pid, fakeruntime.Spec("/kubepods/pod1/container")))
	wantNothingInForce(t, reports(t, openFake(t, Options{}, nil, fake))["a"], ErrNotTheContainer, strconv.Itoa(pid))
}

// takePID starts a process with a number; it fails when others keep taking it.
func takePID(t *testing.T, pid int) bool {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skipf("cannot choose a pid: %v", err)
		}
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if cmd.Process.Pid == pid {
			t.Cleanup(end)
			return true
		}
		end()
	}
	return false
}
