package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func TestParseStat(t *testing.T) {
	for stat, want := range map[string][2]int{
		"7 (sleep) S 3 7 5 0 -1 4194304\n":      {3, 5},
		"7 (a) Z 9 9 9 (b)) S 3 7 5 0 -1\n":     {3, 5},
		"7 (\n) 1 1 1 1) R 0 0 0 0 -1 4194304":  {0, 0},
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0\n": {0, 0},
	} {
		if parent, session, err := parseStat(stat); err != nil || parent != want[0] || session != want[1] {
			t.Errorf("%q: %d, %d, %v; want %v", stat, parent, session, err, want)
		}
	}
	for _, bad := range []string{"", "7 (sleep) S 3 7", "7 sleep S 3 7 5 0", "7 (sleep) S x 7 5 0", "7 (sleep) S 3 7 x 0", "7 (sleep) S -3 7 5"} {
		if parent, session, err := parseStat(bad); err == nil {
			t.Errorf("%q: %d, %d", bad, parent, session)
		}
	}
}

func TestParseArgs(t *testing.T) {
	for cmdline, want := range map[string][]string{
		"":                       nil,
		"sleep\x0060\x00":        {"sleep", "60"},
		"sh\x00\x00-c\x00":       {"sh", "", "-c"},
		"nginx: master process ": {"nginx: master process "},
		"\x00":                   {""},
	} {
		if got := parseArgs([]byte(cmdline)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", cmdline, got, want)
		}
	}
	for in, want := range map[string]string{
		"mysql|-psecret|x":          "mysql|<redacted>|<redacted>",
		"mysqld --password=x --y|z": "mysqld <redacted>|<redacted>",
		"":                          "",
		"sleep":                     "sleep",
	} {
		args := strings.Split(in, "|")
		if redactArgs(args); strings.Join(args, "|") != want {
			t.Errorf("%q: %q, want %q", in, args, want)
		}
	}
}

func TestParseInside(t *testing.T) {
	if n, err := parseInside([]byte("NSpid:\t100\t20\t3\n")); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "NSpid:\n", "NSpid:\tx\n", "NStgid:\t1\n"} {
		if n, err := parseInside([]byte(bad)); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
	for state, want := range map[string]string{"S (sleeping)": "sleeping", "Z (zombie)": stateZombie, "D (disk sleep)": "disk sleep", "": ""} {
		if got := stateWord([]byte("State:\t" + state + "\n")); got != want {
			t.Errorf("%s: %q", state, got)
		}
	}
}

// container is one of a list, as a runtime gives it.
func container(id string, pid int, cri bool) listed {
	record := &runtimeapi.Container{ID: id, CRI: cri, Task: runtimeapi.Task{State: "running", PID: pid}}
	return listed{Container: Container{ID: id, Name: id, Kind: KindContainer}, record: record}
}

func TestOwners(t *testing.T) {
	const a, b = "aaaa", "bbbb"
	all := []listed{container(a, 1, true), container(b, 2, true), container("web-1", 3, false), container("by-path", 4, false)}
	all[3].spec, _ = parseSpec([]byte(`{"process":{},"linux":{"cgroupsPath":"/batch/job"}}`))
	all[2].specErr = errors.New("broken")
	g := newGroupIndex(all)
	for cgroup, want := range map[string]string{
		"0::/kubepods/burstable/podx/aaaa\n":                                 a,
		"0::/kubepods.slice/kubepods-podx.slice/cri-containerd-aaaa.scope\n": a,
		"0::/kubepods/aaaa/init.scope/deeper\n":                              a,
		"0::/kubepods/aaaa/inner/docker-bbbb.scope\n":                        b,
		"0::/system.slice/nerdctl-web-1.scope\n":                             "web-1",
		"0::/batch/job/task\n":                                               "by-path",
		"0::/batch/jobs\n":                                                   "",
		"0::/aaaaa\n":                                                        "",
		"0::/\n":                                                             "",
		"0::/../../aaaa\n":                                                   a,
		"4:memory:/kubepods/aaaa\n3:pids:/kubepods/bbbb\n0::/\n":             a + " " + b,
		"4:memory:/kubepods/aaaa\n3:pids:/kubepods/aaaa\n0::/\n":             a,
		"1:name=systemd:/a:b/aaaa\n":                                         a,
		"garbage\n":                                                          "",
	} {
		var got []string
		for _, f := range g.owners(cgroup) {
			got = append(got, f.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", cgroup, got, want)
		}
		for _, f := range g.owners(cgroup) {
			if !f.ownsCgroup([]byte(cgroup)) {
				t.Errorf("%q: what opens a container's first process thinks otherwise", cgroup)
			}
		}
	}
}

func TestArrange(t *testing.T) {
	list := []Process{{PID: 5, Parent: 4}, {PID: 9, Parent: 1, Origin: OriginFirst}, {PID: 4, Parent: 9}, {PID: 3, Parent: 9}, {PID: 2, Parent: 1}, {PID: 6, Parent: 3}}
	var got []string
	for _, p := range arrange(list) {
		got = append(got, strings.Repeat(" ", p.Depth)+strconv.Itoa(p.PID))
	}
	if want := []string{"9", " 3", "  6", " 4", "  5", "2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Read at different times, pids may even have been reused in a circle. None must be lost.
	if got := arrange([]Process{{PID: 7, Parent: 7}}); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if got := arrange([]Process{{PID: 7, Parent: 8}, {PID: 8, Parent: 7}}); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestOrigin(t *testing.T) {
	f, pause := &listed{}, &listed{}
	proc := t.TempDir()
	for pid, inside := range map[string]string{"20": "1", "30": "30"} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "status"), []byte("NSpid:\t"+pid+"\t"+inside+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &scan{
		Inspector: &Inspector{fs: procfs.FS{Proc: proc}},
		owners:    map[int][]*listed{10: {f}, 11: {f}, 20: {pause}, 21: {pause}},
	}
	process := func(pid, parent, session int) scanned {
		return scanned{session: session, process: Process{PID: pid, Parent: parent}}
	}
	first := process(10, 3, 10)
	for _, tc := range []struct {
		name string
		r    scanned
		want Origin
	}{
		{"the first", first, OriginFirst},
		{"its child", process(11, 10, 10), OriginChild},
		{"an exec session", process(12, 3, 12), OriginExec},
		{"its child", process(13, 11, 12), OriginChild},
		{"an orphan that the shim took", process(14, 3, 10), OriginAdopted},
		{"an orphan that pause took", process(15, 20, 10), OriginAdopted},
		{"of a process of another container that is gone", process(15, 21, 10), OriginOutside},
		{"of a shell of the host", process(16, 30, 30), OriginOutside},
		{"of a process that is not shown", process(17, 0, 17), OriginOutside},
	} {
		if got := s.origin(f, &tc.r, &first); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	exec := process(12, 3, 12)
	if got := s.origin(f, &exec, nil); got != OriginUnknown {
		t.Errorf("without a first process: %s", got)
	}
	f.Runtime = "io.containerd.runsc.v1"
	for _, r := range []scanned{exec, process(11, 10, 10), process(16, 30, 30)} {
		if got := s.origin(f, &r, &first); got != OriginSandbox {
			t.Errorf("in gVisor process %d is %s", r.process.PID, got)
		}
	}
	if got := s.origin(f, &first, &first); got != OriginFirst {
		t.Errorf("gVisor's own process: %s", got)
	}
}

func TestBeyond(t *testing.T) {
	set := func(mnt, user string) Fact[nsdiff.Set] {
		var s nsdiff.Set
		text := fmt.Sprintf(`{"mnt":{"state":"known","value":{"kind":"mnt","inode":%s}},"user":{"state":"known","value":{"kind":"user","inode":%s}}}`, mnt, user)
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return KnownFact(s, "")
	}
	const initial = "4026531837"
	first := Process{
		User:         KnownFact(UserInForce{UID: IDs{1000, 1000, 1000, 1000}}, ""),
		Capabilities: KnownFact(caps.State{Bounding: caps.DefaultContainerd, NoNewPrivs: caps.NoNewPrivsOn}, ""),
		Seccomp:      KnownFact(SeccompInForce{Mode: SeccompFilter}, ""),
		AppArmor:     KnownFact("cri-containerd.apparmor.d (enforce)", ""),
		SELinux:      AbsentFact[string](noLSM),
		Namespaces:   set("7", initial),
		Root:         KnownFact("/", ""),
	}
	for _, tc := range []struct {
		name   string
		change func(*Process)
		want   string
	}{
		{"the same", func(*Process) {}, ""},
		{"less", func(p *Process) {
			p.Capabilities = KnownFact(caps.State{NoNewPrivs: caps.NoNewPrivsOn}, "")
			p.Seccomp = KnownFact(SeccompInForce{Mode: SeccompStrict}, "")
		}, ""},
		{"another user", func(p *Process) { p.User = KnownFact(UserInForce{UID: IDs{5, 5, 5, 5}}, "") }, ""},
		{"root", func(p *Process) { p.User = KnownFact(UserInForce{UID: IDs{1000, 1000, 0, 1000}}, "") }, "user uid 1000 1000 0 1000/1000 "},
		{"capabilities", func(p *Process) {
			s := caps.State{Bounding: caps.DefaultContainerd, Effective: caps.Of(caps.Cap(0)), NoNewPrivs: caps.NoNewPrivsOn}
			p.Capabilities = KnownFact(s, "")
		}, "capabilities effective CAP_CHOWN/none "},
		{"no no_new_privs", func(p *Process) {
			p.Capabilities = KnownFact(caps.State{NoNewPrivs: caps.NoNewPrivsOff}, "")
		}, "noNewPrivs  off/on "},
		{"no seccomp", func(p *Process) { p.Seccomp = KnownFact(SeccompInForce{Mode: SeccompDisabled}, "") }, "seccomp  disabled/filter "},
		{"unconfined", func(p *Process) { p.AppArmor = KnownFact("unconfined", "") }, "label apparmor unconfined/cri-containerd.apparmor.d (enforce) "},
		{"another namespace", func(p *Process) { p.Namespaces = set("8", initial) }, "namespace mnt mnt:[8]/mnt:[7] "},
		{"a user namespace", func(p *Process) {
			p.Namespaces = set("7", "4026532999")
			p.Capabilities = KnownFact(caps.State{Ambient: 1, NoNewPrivs: caps.NoNewPrivsOn}, "")
		}, "capabilities ambient CAP_CHOWN/none in its own user namespace only; namespace user user:[4026532999]/user:[4026531837] "},
		{"another root", func(p *Process) { p.Root = KnownFact("/srv", "") }, "root  /srv// "},
		{"unknown", func(p *Process) { *p = Process{} }, ""},
	} {
		p := first
		tc.change(&p)
		var got []string
		for _, e := range beyond(&p, &first) {
			got = append(got, fmt.Sprintf("%s %s %s/%s %s", e.Kind, e.What, e.Has, e.First, e.Whose))
		}
		if strings.Join(got, "; ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	// A process of the host's in a container with a user namespace: its capabilities hold everywhere.
	p, own := first, first
	own.Namespaces = set("7", "4026532999")
	p.Capabilities = KnownFact(caps.State{Effective: 1, NoNewPrivs: caps.NoNewPrivsOn}, "")
	if list := beyond(&p, &own); len(list) != 2 || list[0].Kind != ExcessCapabilities || list[0].Whose != "" {
		t.Errorf("capabilities of the initial user namespace: %+v", list)
	}
	if beyond(&first, &first) == nil {
		t.Error("nothing beyond must be an empty list in JSON, not null")
	}
}

// TestZombie: it is a process of the container, and has hardly any facts left.
func TestZombie(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &unix.Siginfo{}, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	p, err := procfs.FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, _, err := readProcess(&heldProcess{Process: p}, false)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != stateZombie || r.Parent != os.Getpid() || r.Args.Known() != Absent || r.Namespaces.Known() != Absent || r.Leaks.Known() != Absent {
		t.Errorf("%+v", r)
	}
	var g gaps
	addProcess(&g, &r)
	if len(g) > 0 {
		t.Errorf("unknown: %+v", g)
	}
}

// TestMissing: what hidepid hides may be of any container.
func TestMissing(t *testing.T) {
	dir := t.TempDir()
	i := &Inspector{fs: procfs.FS{Proc: dir}, distrust: errors.New("a test")}
	all := []listed{container("aaaa", 7, true)}
	read := func() Processes {
		t.Helper()
		p, _ := newScan(i, all).processesOf(&all[0]).Value()
		return p
	}
	for _, pid := range []string{"1", "7"} {
		if err := os.Mkdir(filepath.Join(dir, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, pid, "cgroup"), []byte("0::/\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if p := read(); p.Missing != "" {
		t.Errorf("whole: %q", p.Missing)
	}
	if err := os.Remove(filepath.Join(dir, "7", "cgroup")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "7", "cgroup"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p := read(); !strings.Contains(p.Missing, "1 processes") || !strings.Contains(p.Missing, "is a directory") {
		t.Errorf("unreadable: %q", p.Missing)
	}
	if err := os.RemoveAll(filepath.Join(dir, "7")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "1"), filepath.Join(dir, "2")); err != nil {
		t.Fatal(err)
	}
	c := ContainerProcesses{Processes: KnownFact(read(), "")}
	if g := c.Gaps(); !slices.ContainsFunc(g, func(g Gap) bool { return strings.Contains(g.Cause.Error(), "hidepid") }) {
		t.Errorf("without process 1: %+v", g)
	}
}

func TestProcessesJSON(t *testing.T) {
	p, err := procfs.FS{}.OpenSelf()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	process, _, err := readProcess(&heldProcess{Process: p}, false)
	if err != nil {
		t.Fatal(err)
	}
	process.Leaks = KnownFact([]Leak{{What: "fd/3", Path: "/", Mount: 3}, {What: "cwd", Path: "/", Unknown: "on nfs"}}, "")
	r := Report{Processes: KnownFact(Processes{List: []Process{process}}, "x")}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), `"mounts"`) {
		t.Error("what was not asked for is in JSON")
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Report{r, back} {
		name := fmt.Sprintf("processes.%d.leaks.cwd", os.Getpid())
		if !slices.ContainsFunc(r.Gaps(), func(g Gap) bool { return g.Fact == name && g.Cause.Error() == "on nfs" }) {
			t.Errorf("a leak that is unknown is no gap: %v", r.Gaps())
		}
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%v\n%s\n%s", err, data, again)
	}
}

// asNobody runs a test of this program as another user.
func asNobody(t *testing.T, test string, env ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: becomes another user")
	}
	program := filepath.Join(t.TempDir(), "test")
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(program); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-test.run=^"+test+"$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnprivileged: without rights over a process, what everyone may know is told and the rest is unknown.
func TestUnprivileged(t *testing.T) {
	const variable = "RTINSPECT_TEST_PID"
	if os.Getenv(variable) == "" {
		asNobody(t, "TestUnprivileged", variable+"="+strconv.Itoa(os.Getpid()))
		return
	}
	pid, err := strconv.Atoi(os.Getenv(variable))
	if err != nil {
		t.Fatal(err)
	}
	p, err := procfs.FS{}.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, _, err := readProcess(&heldProcess{Process: p}, false)
	if err != nil {
		t.Fatal(err)
	}
	r.Leaks = newLeakFinder(&Inspector{}, hostMounts{}).find(&heldProcess{Process: p}, &r, nil)
	for what, known := range map[string]Known{
		"user": r.User.Known(), "capabilities": r.Capabilities.Known(), "seccomp": r.Seccomp.Known(), "args": r.Args.Known(), "inside": r.Inside.Known(),
	} {
		if known != Present {
			t.Errorf("%s: %s", what, known)
		}
	}
	var g gaps
	addProcess(&g, &r)
	unknown := map[string]error{}
	for _, gap := range g {
		unknown[strings.TrimPrefix(gap.Fact, "processes."+strconv.Itoa(pid)+".")] = gap.Cause
	}
	for _, what := range []string{"root", "leaks", "namespaces.mnt", "namespaces.user"} {
		if !errors.Is(unknown[what], fs.ErrPermission) {
			t.Errorf("%s: %v, want a permission that is missing", what, unknown[what])
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("7 (sleep) S 3 7 5 0 -1 4194304\n")
	f.Add("7 (a) S 1 (b)) Z 3 7 5\n")
	f.Fuzz(func(t *testing.T, stat string) {
		parent, session, err := parseStat(stat)
		if err != nil {
			return
		}
		text := fmt.Sprintf("7 (%s) S %d 0 %d", stat, parent, session)
		p, s, err := parseStat(text)
		if err != nil || p != parent || s != session {
			t.Errorf("%q reads back as %d, %d, %v", text, p, s, err)
		}
	})
}

func FuzzParseArgs(f *testing.F) {
	f.Add([]byte("sh\x00-c\x00\x00"))
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		args := parseArgs(cmdline)
		if len(args) == 0 {
			if len(cmdline) > 0 {
				t.Errorf("no arguments from %q", cmdline)
			}
			return
		}
		if back := parseArgs([]byte(strings.Join(args, "\x00") + "\x00")); !reflect.DeepEqual(back, args) {
			t.Errorf("%q reads back as %q", args, back)
		}
		redactArgs(args)
	})
}
