package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// tree is a container with processes.
func tree(processes inspect.Processes) inspect.ContainerProcesses {
	return inspect.ContainerProcesses{Container: ended().Container, Processes: inspect.KnownFact(processes, "/proc")}
}

// plainProcess returns a process of which everything is known.
func plainProcess(pid, depth int, origin inspect.Origin, args ...string) inspect.Process {
	const source = "/proc/PID"
	return inspect.Process{
		PID: pid, Parent: pid - 1, Depth: depth, Origin: origin, State: "sleeping", Name: "sh",
		Inside:       inspect.KnownFact(pid%100, source),
		Args:         inspect.KnownFact(args, source),
		User:         inspect.KnownFact(inspect.UserInForce{Inside: inspect.KnownFact(inspect.User{}, source)}, source),
		Capabilities: inspect.KnownFact(caps.State{}, source),
		Seccomp:      inspect.KnownFact(inspect.SeccompInForce{Mode: inspect.SeccompFilter, Filters: inspect.KnownFact(1, source)}, source),
		AppArmor:     inspect.AbsentFact[string]("no AppArmor"),
		SELinux:      inspect.AbsentFact[string]("no SELinux"),
		Namespaces:   inspect.AbsentFact[nsdiff.Set]("not compared here"),
		Root:         inspect.KnownFact("/", source),
		Beyond:       []inspect.Excess{},
		Leaks:        inspect.KnownFact([]inspect.Leak{}, source),
	}
}

// suspects have what the recorded processes do not.
func suspects() inspect.ContainerProcesses {
	cause := errors.New("open /proc/203/fd: permission denied")
	more := plainProcess(201, 1, inspect.OriginChild, "sh", "-c", strings.Repeat("long ", 40))
	more.Beyond = []inspect.Excess{
		{Kind: inspect.ExcessCapabilities, What: "effective", Has: caps.DefaultContainerd.String(), First: "none", Whose: "in its own user namespace only"},
		{Kind: inspect.ExcessCapabilities, What: "permitted", Has: "CAP_SYS_ADMIN", First: "none"},
		{Kind: inspect.ExcessNamespace, What: "pid", Has: "pid:[4026531836]", First: "pid:[4026532000]", Whose: "the host's"},
		{Kind: inspect.ExcessSeccomp, Has: "disabled", First: "filter"},
		{Kind: inspect.ExcessLabel, What: "apparmor", Has: "", First: "cri-containerd.apparmor.d (enforce)"},
	}
	leaking := plainProcess(202, 2, inspect.OriginChild, "sleep", "1")
	leaking.Leaks = inspect.KnownFact([]inspect.Leak{
		{What: "fd/0", Path: "/dev/null", Mount: 24, Host: "/dev", Reason: "the host's /dev/null"},
		{What: "fd/7", Path: "/", Mount: 31, Host: "/sys/fs/cgroup"},
		{What: "fd/9", Path: "/gone", Mount: 77},
		{What: "cwd", Path: "/data", Unknown: "on nfs4, which could keep us waiting"},
	}, "/proc/202/fdinfo")
	heir := plainProcess(204, 2, inspect.OriginChild, "sleep", "2")
	heir.Leaks = leaking.Leaks
	shut := plainProcess(203, 1, inspect.OriginExec)
	shut.Args = inspect.UnknownFact[[]string](cause)
	shut.Inside = inspect.UnknownFact[int](cause)
	shut.User = inspect.UnknownFact[inspect.UserInForce](cause)
	shut.Leaks = inspect.UnknownFact[[]inspect.Leak](cause)
	zombie := plainProcess(205, 0, inspect.OriginAdopted)
	zombie.State, zombie.Args = "zombie", inspect.AbsentFact[[]string]("it has ended")
	zombie.Leaks = inspect.AbsentFact[[]inspect.Leak]("it has ended")
	return tree(inspect.Processes{
		List: []inspect.Process{
			plainProcess(200, 0, inspect.OriginFirst, "sh"), more, leaking, heir, shut, zombie,
			plainProcess(206, 0, inspect.OriginOutside, "nsenter", "-a"),
		},
		Ended: 2, Missing: "3 processes could not be told to be of a container or not",
	})
}

// headless is a container whose first process is not known.
func headless() inspect.ContainerProcesses {
	return tree(inspect.Processes{List: []inspect.Process{plainProcess(300, 0, inspect.OriginUnknown, "sh")}, Ended: 1})
}

// closed is a container of whose processes nothing is known.
func closed() inspect.ContainerProcesses {
	return inspect.ContainerProcesses{
		Container: unreadable().Container,
		Processes: inspect.UnknownFact[inspect.Processes](errors.New("open /proc: permission denied")),
	}
}

// TestTop compares trees with testdata/golden.
func TestTop(t *testing.T) {
	list := append(recorded[[]inspect.ContainerProcesses](t, "processes.json"),
		suspects(), headless(), closed(), tree(inspect.Processes{List: []inspect.Process{}}))
	bare, colored := sampleOutput(formatTable), sampleOutput(formatTable)
	bare.headers, bare.whole = false, true
	colored.color = true
	quiet := sampleOutput(formatTable)
	quiet.quiet = true
	for name, o := range map[string]output{
		"top": sampleOutput(formatTable), "top-wide": sampleOutput(formatWide), "top-bare": bare, "top-color": colored, "top-quiet": quiet,
	} {
		golden(t, name+".txt", render(t, topAnswer(list), o))
	}
	golden(t, "top-gaps.txt", []byte(topGaps(append(list, suspects(), closed())).Error()+"\n"))
	if err := topGaps(list[:2]); err != nil {
		t.Errorf("recorded processes without gaps: %v", err)
	}
}

// TestTopNode: of a container that is a node itself, what all processes of an inner container hold is told once, not of each
// process and namespace. The wide answer tells every process.
func TestTopNode(t *testing.T) {
	list := []inspect.Process{plainProcess(100, 0, inspect.OriginFirst, "init")}
	for n := range 20 {
		p := plainProcess(200+n, 1, inspect.OriginChild, "sleep")
		for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "uts"} {
			id := fmt.Sprintf("%s:[%d]", strings.TrimSuffix(kind, "_for_children"), 40+n/10) // two containers
			p.Beyond = append(p.Beyond, inspect.Excess{Kind: inspect.ExcessNamespace, What: kind, Has: id, First: "x", Whose: fmt.Sprintf("inner/%d", n/10)})
		}
		list = append(list, p)
	}
	c := tree(inspect.Processes{List: list})
	text := string(render(t, topAnswer([]inspect.ContainerProcesses{c}), sampleOutput(formatTable)))
	_, below, _ := strings.Cut(text, "Beyond the first process:\n")
	for _, want := range []string{
		"! 200 sh, 201 sh, 202 sh, 203 sh and 6 more: namespaces cgroup:[40] (inner/0),",
		"! 210 sh, 211 sh, 212 sh, 213 sh and 6 more: namespaces cgroup:[41] (inner/1),",
	} {
		if !strings.Contains(below, want) {
			t.Errorf("want %q in\n%s", want, below)
		}
	}
	if n := strings.Count(below, "!"); n != 2 || !strings.Contains(text, " cgroup,ipc,mnt,net,pid,uts namespaces ") {
		t.Errorf("%d notes in\n%s", n, text)
	}
	wide := string(render(t, topAnswer([]inspect.ContainerProcesses{c}), sampleOutput(formatWide)))
	for _, want := range []string{"209 sh: namespace uts: uts:[40] (inner/0)", "219 sh: namespace uts: uts:[41] (inner/1)"} {
		if !strings.Contains(strings.Join(strings.Fields(wide), " "), want) {
			t.Errorf("want %q in\n%s", want, wide)
		}
	}
}

// TestTopJSON: what is printed reads back as the library's types, unchanged; no container is an empty array.
func TestTopJSON(t *testing.T) {
	text := render(t, topAnswer(append(recorded[[]inspect.ContainerProcesses](t, "processes.json"), suspects(), closed())), sampleOutput(formatJSON))
	var back []inspect.ContainerProcesses
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if again := render(t, topAnswer(back), sampleOutput(formatJSON)); !bytes.Equal(again, text) {
		t.Errorf("got\n%s\nwant\n%s", again, text)
	}
	if text := render(t, topAnswer(nil), sampleOutput(formatJSON)); string(text) != "[]\n" {
		t.Errorf("no container: %q", text)
	}
}

// TestBranches draws trees: siblings are joined, what is below the last has no line above it.
func TestBranches(t *testing.T) {
	for _, tc := range []struct {
		depths []int
		want   string
	}{
		{nil, ""},
		{[]int{0, 0}, "|"},
		{[]int{0, 1, 1}, "|├─ |└─ "},
		{[]int{0, 1, 2, 1, 2, 3, 0, 1}, "|├─ |│  └─ |└─ |   └─ |      └─ ||└─ "},
	} {
		var list []inspect.Process
		for _, d := range tc.depths {
			list = append(list, inspect.Process{Depth: d})
		}
		if got := strings.Join(branches(list), "|"); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.depths, got, tc.want)
		}
	}
	var deep []inspect.Process
	for d := range 5000 {
		deep = append(deep, inspect.Process{Depth: d})
	}
	drawn := branches(deep)
	if last := drawn[4999]; last != "(4999 deep) " {
		t.Errorf("a deep tree: %q", last)
	}
	if !strings.HasSuffix(drawn[deepest], "└─ ") {
		t.Errorf("depth %d: %q", deepest, drawn[deepest])
	}
}

// TestTopMarks: what is unknown is never shown as harmless, and what is bad never as unknown.
func TestTopMarks(t *testing.T) {
	base := plainProcess(1, 0, inspect.OriginFirst)
	for want, change := range map[string]func(*inspect.Process){
		"":   func(*inspect.Process) {},
		"! ": func(p *inspect.Process) { p.Origin = inspect.OriginOutside },
		"!":  func(p *inspect.Process) { p.Leaks = inspect.KnownFact([]inspect.Leak{{What: "cwd", Path: "/"}}, "") },
		"?":  func(p *inspect.Process) { p.Leaks = inspect.KnownFact([]inspect.Leak{{What: "cwd", Unknown: "x"}}, "") },
		"?  ": func(p *inspect.Process) {
			p.Seccomp = inspect.UnknownFact[inspect.SeccompInForce](errors.New("no line Seccomp"))
		},
	} {
		p := plainProcess(2, 0, inspect.OriginExec)
		change(&p)
		if got := mark(p, &base).text; got != strings.TrimSpace(want) {
			t.Errorf("%q: marked %q", want, got)
		}
	}
	if got := mark(base, nil).text; got != "?" {
		t.Errorf("without a first process: %q", got)
	}
	p := plainProcess(2, 0, inspect.OriginExec)
	p.Capabilities = inspect.UnknownFact[caps.State](errors.New("denied"))
	if got := beyondCell(p, &base).text; got != "unknown" {
		t.Errorf("capabilities unknown: beyond %q", got)
	}
	q := plainProcess(3, 0, inspect.OriginExec)
	q.Namespaces = inspect.KnownFact(nsdiff.Set{}, "of which none could be read")
	if got := beyondCell(q, &base).text; got != "unknown" {
		t.Errorf("namespaces unknown: beyond %q", got)
	}
	p.Beyond = []inspect.Excess{{Kind: inspect.ExcessSeccomp}}
	if got := beyondCell(p, &base).text; got != "seccomp, rest unknown" {
		t.Errorf("capabilities unknown: beyond %q", got)
	}
}

// TestTopNothingRaw: nothing that a container or its processes control reaches the terminal as it is.
func TestTopNothingRaw(t *testing.T) {
	p := plainProcess(7, 0, inspect.Origin(hostile), hostile)
	p.State, p.Name = hostile, hostile
	p.AppArmor, p.SELinux = inspect.KnownFact(hostile, ""), inspect.UnknownFact[string](errors.New(hostile))
	p.Beyond = []inspect.Excess{{Kind: hostile, What: hostile, Has: hostile, First: hostile, Whose: hostile}}
	leaks := []inspect.Leak{
		{What: hostile, Path: hostile, Host: hostile}, {What: "cwd", Path: hostile, Reason: hostile}, {What: "root", Unknown: hostile},
	}
	p.Leaks = inspect.KnownFact(leaks, hostile)
	bare := p
	bare.Args = inspect.UnknownFact[[]string](errors.New(hostile))
	bare.Leaks = inspect.UnknownFact[[]inspect.Leak](errors.New(hostile))
	c := tree(inspect.Processes{List: []inspect.Process{p, bare}, Missing: hostile})
	c.Container = hostileReport().Container
	template, err := parseTemplate("{{json .}} {{.name}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{formatTable, formatWide, formatJSON, formatYAML, formatGoTemplate} {
		o := sampleOutput(format)
		o.template, o.terminal.is, o.whole = template, true, true
		lines := strings.Split(string(render(t, topAnswer([]inspect.ContainerProcesses{c, closed()}), o)), "\n")
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "gpj.") }) {
			t.Errorf("%s: does not show the name", format)
		}
		for _, line := range lines {
			if escapeLine(line) != line || strings.HasPrefix(line, "root") {
				t.Errorf("%s: raw: %q", format, line)
			}
		}
	}
}

// TestLabTop: a pod's processes as its manifest has them, with a shared pid namespace too.
func TestLabTop(t *testing.T) {
	labManifests(t)
	for _, name := range []string{"app", "sidecar"} {
		ref := "pod-shared-pid/" + name
		page := whole(t, "top", ref, "--no-headers")
		pid := strings.TrimSpace(whole(t, "top", "-q", ref))
		inside := strings.Fields(statusLine(t, "/proc/"+pid+"/status", "NSpid"))
		want := fmt.Sprintf("  %s  %s ", pid, inside[len(inside)-1])
		if inside[len(inside)-1] == "1" || !strings.Contains(page, "\n"+want) || !strings.Contains(page, "  first ") {
			t.Errorf("%s: want %q in\n%s", ref, want, page)
		}
	}
	all := strings.Fields(whole(t, "top", "-q"))
	var list []inspect.ContainerProcesses
	if err := json.Unmarshal([]byte(whole(t, "top", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 15 || len(all) < len(list) {
		t.Errorf("%d processes of %d containers", len(all), len(list))
	}
	// What others do in these pods meanwhile is not ours to judge: the first processes hold nothing beyond themselves, and leak
	// nothing.
	for _, line := range strings.Split(whole(t, "top"), "\n") {
		if fields := strings.Fields(line); slices.Contains(fields, "first") && (fields[0] == "!" || fields[0] == "?") {
			t.Errorf("a first process is marked: %s", line)
		}
	}
	for _, c := range list {
		found, _ := c.Processes.Value()
		for _, p := range found.List {
			leaks, known := p.Leaks.Value()
			if p.Origin == inspect.OriginFirst && (len(p.Beyond) > 0 || len(leaks) > 0 || !known) {
				t.Errorf("%s: the first process: %+v", c.FullName(), p)
			}
		}
	}
}

// TestLabTopExec: what crictl exec runs is told from the container's own processes, with its arguments, which are hidden on
// request, and what it starts is its child.
func TestLabTopExec(t *testing.T) {
	labManifests(t)
	if _, err := exec.LookPath("crictl"); err != nil {
		t.Skip("needs crictl: lab run --exec-tools crictl")
	}
	const ref = "pod-default-ns"
	id := strings.TrimSpace(whole(t, "top", ref, "-o", "go-template={{.id}}"))
	first := strings.TrimSpace(whole(t, "inspect", ref, "-o", "go-template={{.pid.value}}"))
	const script = slept + "; true"
	session := exec.Command("crictl", "exec", id, "sh", "-c", script)
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endSession(t, session, ref, script) })
	shell, child := waitForExec(t, ref, script)
	if shell.Origin != inspect.OriginExec || child.Origin != inspect.OriginChild || child.Parent != shell.PID {
		t.Errorf("%s from process %d, %s from process %d", shell.Origin, shell.Parent, child.Origin, child.Parent)
	}
	page := whole(t, "top", ref, "--no-headers")
	for _, want := range []string{
		`^   ?` + first + ` +1 +0:0 +sleeping +first +- +sleep 3600$`,
		fmt.Sprintf(`^   ?%d +\d+ +0:0 +sleeping +exec +- +sh -c "sleep 4321; true"$`, shell.PID),
		fmt.Sprintf(`^   ?%d +\d+ +0:0 +sleeping +child +- +└─ sleep 4321$`, child.PID),
	} {
		if !regexp.MustCompile("(?m)" + want).MatchString(page) {
			t.Errorf("want %s in\n%s", want, page)
		}
	}
	if strings.Contains(page, "!") || strings.Contains(page, "?") {
		t.Errorf("a session of crictl is marked:\n%s", page)
	}
	if hidden := whole(t, "top", ref, "--redact-args"); strings.Contains(hidden, "4321") || !strings.Contains(hidden, " exec ") {
		t.Errorf("arguments are shown:\n%s", hidden)
	}
}

// waitForExec returns the session's shell and what it started, when it has.
func waitForExec(t *testing.T, ref, script string) (shell, child inspect.Process) {
	t.Helper()
	for range 100 {
		for _, p := range processesOf(t, ref) {
			switch argsLine(p) {
			case "sh -c " + script:
				shell = p
			case slept:
				child = p
			}
		}
		if shell.PID != 0 && child.PID != 0 {
			return shell, child
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("crictl exec started nothing")
	return shell, child
}

// slept is what the session's shell waits for.
const slept = "sleep 4321"

func argsLine(p inspect.Process) string {
	args, _ := p.Args.Value()
	return strings.Join(args, " ")
}

// processesOf asks for the processes of a container, of which some may be ending.
func processesOf(t *testing.T, ref string) []inspect.Process {
	t.Helper()
	var stdout, stderr bytes.Buffer
	run([]string{"top", ref, "-o", "json"}, nil, &stdout, &stderr)
	var list []inspect.ContainerProcesses
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil || len(list) != 1 {
		t.Fatalf("%d containers, %v, %s", len(list), err, &stderr)
	}
	found, _ := list[0].Processes.Value()
	return found.List
}

// endSession ends what the session's shell waits for, and so the shell, which reaps it: whatever loses its parent stays as a zombie
// in this container. It waits until both are gone, for the tests that come after.
func endSession(t *testing.T, session *exec.Cmd, ref, script string) {
	t.Helper()
	for range 100 {
		left := 0
		for _, p := range processesOf(t, ref) {
			line := argsLine(p)
			if line == slept {
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
			}
			if line == slept || line == "sh -c "+script {
				left++
			}
		}
		if left == 0 {
			_ = session.Wait()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("the session is left behind")
	_ = session.Process.Kill()
	_ = session.Wait()
}
