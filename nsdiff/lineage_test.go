package nsdiff

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// unshared starts a shell script in namespaces of its own, made by unshare(1) with the arguments, and returns the pid of the
// script's last process, which it prints as the host numbers it.
func unshared(t *testing.T, args ...string) int {
	t.Helper()
	path, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare is missing (Debian: util-linux)")
	}
	// The pid in the caller's numbering is what /proc of the caller says: self is the process that opens it.
	cmd := exec.Command(path, append(args, "sh", "-c", "read pid rest </proc/self/stat; echo $pid; exec sleep 1000")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Skipf("this machine does not let us make namespaces: unshare %v: %s", args, strings.TrimSpace(text.String()))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func process(t *testing.T, pid int) Process {
	t.Helper()
	p, err := Reader{}.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func namespace(t *testing.T, s Set, k Kind) Namespace {
	t.Helper()
	ns, err := s.Namespace(k)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestLineage makes nested namespaces and looks at who owns them.
func TestLineage(t *testing.T) {
	own := process(t, os.Getpid())
	ourUser, ourPID := namespace(t, own.Namespaces, User), namespace(t, own.Namespaces, PID)

	// --fork without --mount-proc: /proc/self is in our numbering.
	outer := process(t, unshared(t, "--user", "--map-root-user", "--net", "--pid", "--fork"))
	user := namespace(t, outer.Namespaces, User)
	for k, want := range map[Kind]Namespace{Net: user, PID: user, PIDForChildren: user, User: ourUser} {
		if owner, err := outer.Lineage.Owner(k); err != nil || owner != want {
			t.Errorf("%s belongs to %s, %v; want %s", k, owner, err, want)
		}
	}
	ownIPC, ownErr := own.Lineage.Owner(IPC)
	if owner, err := outer.Lineage.Owner(IPC); owner != ownIPC || (err == nil) != (ownErr == nil) {
		t.Errorf("our ipc belongs to %s, %v, and to %s, %v", owner, err, ownIPC, ownErr)
	}
	if uid, err := outer.Lineage.OwnerUID(); err != nil || int(uid) != os.Getuid() {
		t.Errorf("made by %d, %v; want us, %d", uid, err, os.Getuid())
	}
	parents, _ := outer.Lineage.Parents(PID)
	if len(parents) == 0 || parents[0] != ourPID {
		t.Errorf("above pid are %v, want %s first", parents, ourPID)
	}
	if m, err := outer.IDMaps(); err != nil || len(m.UID) != 1 || m.UID[0] != (IDRange{0, uint32(os.Getuid()), 1}) || m.Setgroups != SetgroupsDeny {
		t.Errorf("id maps: %+v, %v", m, err)
	}

	inner := process(t, unshared(t, "--user", "--map-root-user", "unshare", "--user", "--map-root-user", "--uts"))
	parents, err := inner.Lineage.Parents(User)
	if len(parents) < 2 || parents[1] != ourUser {
		t.Fatalf("above user are %v, %v; want %s second", parents, err, ourUser)
	}
	if owner, err := inner.Lineage.Owner(User); err != nil || owner != parents[0] {
		t.Errorf("user belongs to %s, %v; want %s", owner, err, parents[0])
	}
	if owner, err := inner.Lineage.Owner(UTS); err != nil || owner != namespace(t, inner.Namespaces, User) {
		t.Errorf("uts belongs to %s, %v", owner, err)
	}
	wantWhole := ourUser == Initial(User)
	if whole := err == nil && slices.Contains(parents, Initial(User)); whole != wantWhole {
		t.Errorf("above user are %v, %v; the initial one known: %v", parents, err, wantWhole)
	}
	if _, err := inner.Lineage.Parents(Net); !errors.Is(err, ErrAbsent) {
		t.Errorf("parents of net: %v", err)
	}
}

// TestLineageOfInitial: the initial namespaces have no parents, which is not the same as not knowing them.
func TestLineageOfInitial(t *testing.T) {
	p := process(t, os.Getpid())
	for _, k := range []Kind{User, PID} {
		parents, err := p.Lineage.Parents(k)
		if namespace(t, p.Namespaces, k) == Initial(k) {
			if err != nil || parents == nil || len(parents) != 0 {
				t.Errorf("above the initial %s are %v, %v", k, parents, err)
			}
		} else if !errors.Is(err, syscall.EPERM) || errors.Is(err, ErrAbsent) || len(parents) != 0 {
			t.Errorf("%s, not the initial one, has parents that we may not know: %v, %v", k, parents, err)
		}
	}
	uid, err := p.Lineage.OwnerUID()
	if err != nil || uid != 0 && uid != uint32(os.Getuid()) {
		t.Errorf("our user namespace was made by %d, %v", uid, err)
	}
	owner, err := p.Lineage.Owner(User)
	if namespace(t, p.Namespaces, User) == Initial(User) {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("the owner of the initial user namespace: %s, %v", owner, err)
		}
		if owner, err := p.Lineage.Owner(PID); err != nil || owner != Initial(User) {
			t.Errorf("the owner of the initial pid namespace: %s, %v", owner, err)
		}
		return
	}
	if !errors.Is(err, syscall.EPERM) || errors.Is(err, ErrAbsent) {
		t.Errorf("the owner of our user namespace, which we may not know: %s, %v", owner, err)
	}
	if owner, err := p.Lineage.Owner(Time); !errors.Is(err, syscall.EPERM) && !errors.Is(err, ErrAbsent) {
		t.Errorf("the owner of the time namespace, which we may not know: %s, %v", owner, err)
	}
	if owner, err := p.Lineage.Owner(PID); errors.Is(err, ErrAbsent) || err == nil && owner == Initial(User) {
		t.Errorf("the owner of the pid namespace: %s, %v", owner, err)
	}
}

// TestLineageFromInside runs the test above in a user namespace, which may not know its parent and who owns what is above it.
func TestLineageFromInside(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare is missing (Debian: util-linux)")
	}
	inside := []string{"--user", "--map-root-user"}
	if out, err := exec.Command(unshare, append(inside, "true")...).CombinedOutput(); err != nil {
		t.Skipf("this machine does not let us make a user namespace: %s", out)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(inside, program, "-test.v", "-test.run", "^TestLineageOfInitial$")
	out, err := exec.Command(unshare, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLineageOfInitial") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestLineageUnknown: what may not be opened is unknown, what is absent stays so, and a recorded tree has no lineage.
func TestLineageUnknown(t *testing.T) {
	f := initialFolder()
	delete(f, "ns/time")
	f["ns/uts"] = syscall.EACCES
	s, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ReadLineage(f, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		owner, err := l.Owner(k)
		if (k == Time) != errors.Is(err, ErrAbsent) || (k != Time) != errors.Is(err, syscall.EACCES) || owner != (Namespace{}) {
			t.Errorf("%s: %s, %v", k, owner, err)
		}
	}
	for _, k := range []Kind{PID, User} {
		if parents, err := l.Parents(k); !errors.Is(err, syscall.EACCES) || parents != nil {
			t.Errorf("above %s: %v, %v", k, parents, err)
		}
	}
	if _, err := l.OwnerUID(); !errors.Is(err, syscall.EACCES) {
		t.Errorf("owner's uid: %v", err)
	}

	p, err := recorded(t, "lab").Process(8180)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Lineage.Owner(Net); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("owner in a recorded tree: %v", err)
	}
}

// TestLineageOfAnother: a namespace that is not the one in the set is not described as if it were.
func TestLineageOfAnother(t *testing.T) {
	s, err := Reader{}.Namespaces(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s.put(Net, Namespace{Net, 77}, nil)
	l, err := ReadLineage(ourselves{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if owner, err := l.Owner(Net); err == nil || !strings.Contains(err.Error(), "was net:[77] and is now net:[") {
		t.Errorf("owner %s, %v", owner, err)
	}
}

// ourselves is the folder of the test's own process.
type ourselves struct{ folder }

func (ourselves) Readlink(name string) (string, error)   { return os.Readlink("/proc/self/" + name) }
func (ourselves) OpenFile(name string) (*os.File, error) { return os.Open("/proc/self/" + name) }

func TestProcessJSON(t *testing.T) {
	live := process(t, os.Getpid())
	old, err := recorded(t, "old").Process(300)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Process{live, old, {}} {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Process
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(data) {
			t.Errorf("%s\ncomes back as\n%s, %v", data, again, err)
		}
	}
	var p Process
	if _, err := p.IDMaps(); err == nil {
		t.Error("the zero Process has id maps")
	}
	if _, err := p.Lineage.Parents(PID); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("the zero Process has no parents: %v", err)
	}
}

// TestNoDescriptorsLeft: nothing that was opened stays open.
func TestNoDescriptorsLeft(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	nested := unshared(t, "--user", "--map-root-user", "--pid", "--fork")
	process(t, nested)
	before := count()
	for range 20 {
		process(t, nested)
	}
	if after := count(); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}
