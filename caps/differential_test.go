package caps

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests in this file compare with libcap's own tools and library on many random values. The seeds are fixed: a failure
// can be seen again.

// tool returns the path of a program of libcap, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing (Debian: libcap2-bin)", name)
	}
	return path
}

// randomSet returns a set of any density, from none to all.
func randomSet(r *rand.Rand) Set {
	s := Set(r.Uint64())
	switch r.IntN(7) {
	case 0:
		return s & Set(r.Uint64()) & Set(r.Uint64()) & Set(r.Uint64())
	case 1:
		return s | Set(r.Uint64()) | Set(r.Uint64()) | Set(r.Uint64())
	case 2:
		return Set(1) << r.IntN(64)
	case 3:
		return ^(Set(1) << r.IntN(64))
	case 4:
		return UpTo(Cap(r.IntN(64)))
	case 5:
		return s << r.IntN(64)
	}
	return s
}

func TestDecodeAgainstCapsh(t *testing.T) {
	capsh := tool(t, "capsh")
	r := rand.New(rand.NewPCG(1, 2))
	sets := []Set{0, ^Set(0), Known(), DefaultContainerd, DefaultCRIO, DefaultPodman}
	for range 10_000 {
		sets = append(sets, randomSet(r))
	}
	args := make([]string, len(sets))
	for i, s := range sets {
		args[i] = "--decode=" + s.Mask()
	}
	out, err := exec.Command(capsh, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(sets) {
		t.Fatalf("capsh printed %d lines for %d masks", len(lines), len(sets))
	}
	for i, s := range sets {
		if got := s.Decode(); got != lines[i] {
			t.Fatalf("mask %s:\ngot  %s\nwant %s", s.Mask(), got, lines[i])
		}
	}
}

// randomState returns a state with sets that have nothing, much or all in common. What is ambient is inheritable, as libcap
// and the kernel see to.
func randomState(r *rand.Rand) State {
	var s State
	for _, set := range []*Set{&s.Inheritable, &s.Permitted, &s.Effective, &s.Bounding, &s.Ambient} {
		*set = randomSet(r)
	}
	if r.IntN(2) == 0 {
		s.Effective &= s.Permitted
	}
	if r.IntN(3) == 0 {
		s.Effective = s.Permitted
	}
	if r.IntN(3) == 0 {
		s.Inheritable = 0
	}
	if r.IntN(10) == 0 {
		s.Permitted, s.Effective = s.Permitted<<r.IntN(64), 0
	}
	s.Ambient &= s.Inheritable
	return s
}

// TestTextAgainstLibcap compares with cap_to_text(3) and cap_iab_to_text(3), as kernels with fewer and more capabilities.
func TestTextAgainstLibcap(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("cc is missing (Debian: gcc)")
	}
	if _, err := os.Stat("/usr/include/sys/capability.h"); err != nil {
		t.Skipf("the headers of libcap are missing (Debian: libcap-dev): %v", err)
	}
	program := filepath.Join(t.TempDir(), "libcap")
	if out, err := exec.Command(cc, "-o", program, "testdata/libcap.c", "-lcap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, last := range []Cap{WakeAlarm, AuditRead, CheckpointRestore, 45, 63} {
		t.Run(fmt.Sprint("last ", last), func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, uint64(last)))
			states := make([]State, 10_000)
			var input bytes.Buffer
			for i := range states {
				s := randomState(r)
				states[i] = s
				fmt.Fprintf(&input, "%x %x %x %x %x\n", uint64(s.Inheritable), uint64(s.Permitted), uint64(s.Effective),
					uint64(s.Bounding), uint64(s.Ambient))
			}
			cmd := exec.Command(program)
			cmd.Env = append(os.Environ(), fmt.Sprint("LAST=", uint8(last)))
			cmd.Stdin = &input
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(lines) != len(states) {
				t.Fatalf("%d lines for %d states", len(lines), len(states))
			}
			for i, s := range states {
				if got := s.Text(last) + "\t" + s.IAB(last); got != lines[i] {
					t.Fatalf("%+v:\ngot  %s\nwant %s", s, got, lines[i])
				}
			}
		})
	}
}

// getpcaps returns what getpcaps prints for each pid, without the pid. Processes that ended are left out.
func getpcaps(t *testing.T, pids []int, flags ...string) map[int]string {
	t.Helper()
	args := flags
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	out, err := exec.Command(tool(t, "getpcaps"), args...).CombinedOutput()
	lines := make(map[int]string)
	for line := range strings.Lines(string(out)) {
		number, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if pid, convErr := strconv.Atoi(number); ok && convErr == nil {
			lines[pid] = strings.TrimPrefix(text, " ")
		}
	}
	if len(lines) == 0 {
		t.Fatalf("getpcaps: %v\n%s", err, out)
	}
	return lines
}

func lastCap(t *testing.T) Cap {
	t.Helper()
	last, err := Reader{}.LastCap()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// compareProcesses fails for every process whose sets did not change meanwhile and for which getpcaps says something else. It
// returns how many it compared.
func compareProcesses(t *testing.T, pids []int) int {
	t.Helper()
	last := lastCap(t)
	before := make(map[int]State)
	for _, pid := range pids {
		if s, err := (Reader{}).Process(pid); err == nil {
			before[pid] = s
		}
	}
	text, iab := getpcaps(t, pids), getpcaps(t, pids, "--iab")
	compared := 0
	for _, pid := range pids {
		s, err := Reader{}.Process(pid)
		wantText, ok := text[pid]
		wantIAB, okIAB := iab[pid]
		if err != nil || s != before[pid] || !ok || !okIAB {
			continue // ended or changed while we looked
		}
		compared++
		if got := s.Text(last); got != wantText {
			t.Errorf("process %d %+v:\ngot  %s\nwant %s", pid, s, got, wantText)
		}
		if got := s.TextIAB(last); got != wantIAB {
			t.Errorf("process %d %+v with --iab:\ngot  %s\nwant %s", pid, s, got, wantIAB)
		}
	}
	return compared
}

func TestEveryProcessAgainstGetpcaps(t *testing.T) {
	tool(t, "getpcaps")
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	compared := compareProcesses(t, pids)
	t.Logf("%d of %d processes compared", compared, len(pids))
	if compared == 0 {
		t.Error("no process compared")
	}
}

// TestUserNamespaceAgainstGetpcaps looks at processes in a user namespace of their own, as root there and as nobody.
func TestUserNamespaceAgainstGetpcaps(t *testing.T) {
	tool(t, "getpcaps")
	var pids []int
	for _, ids := range [][]syscall.SysProcIDMap{nil, {{ContainerID: 0, HostID: os.Getuid(), Size: 1}}} {
		cmd := exec.Command("sleep", "100")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Skipf("user namespaces cannot be made here: %v", err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	for i, want := range []Set{0, UpTo(lastCap(t))} {
		_, reach, err := Reader{}.Reach(pids[i])
		if err != nil || reach.UserNS != UserNSOther || reach.Now != want {
			t.Errorf("process %d: %+v, %v; want %s in another namespace", i, reach, err, want)
		}
	}
	if compared := compareProcesses(t, pids); compared != len(pids) {
		t.Errorf("%d of %d processes compared", compared, len(pids))
	}
}

// TestRandomProcessesAgainstGetpcaps gives threads of this process sets of their own, and compares what the kernel made of
// them: 10,000 threads, not all at the same time. A thread has a status file like a process.
func TestRandomProcessesAgainstGetpcaps(t *testing.T) {
	tool(t, "getpcaps")
	own, err := Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !own.Effective.Has(Setpcap) {
		t.Skip("CAP_SETPCAP is missing: it takes root to give threads other bounding sets")
	}
	rounds := 20
	if testing.Short() {
		rounds = 1
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range rounds {
		compareThreads(t, r, own, 500)
	}
}

// randomStateWithin returns a state that a process with the sets of own can give itself.
func randomStateWithin(r *rand.Rand, own State) State {
	s := randomState(r)
	s.Permitted &= own.Permitted
	s.Effective &= s.Permitted
	s.Bounding &= own.Bounding
	s.Inheritable &= own.Bounding
	s.Ambient &= s.Permitted & s.Inheritable
	s.NoNewPrivs = NoNewPrivsOff + NoNewPrivs(r.IntN(2))
	return s
}

// compareThreads compares n threads with random sets within those of own.
func compareThreads(t *testing.T, r *rand.Rand, own State, n int) {
	t.Helper()
	done := make(chan struct{})
	defer close(done)
	var pids []int
	for range n {
		want := randomStateWithin(r, own)
		tid := startThread(t, own, want, done)
		if got, err := (Reader{}).Process(tid); err != nil || got != want {
			t.Fatalf("thread %d: %+v, %v; want %+v", tid, got, err, want)
		}
		pids = append(pids, tid)
	}
	if compared := compareProcesses(t, pids); compared != n {
		t.Errorf("%d of %d threads compared", compared, n)
	}
}

// TestReachAgainstKernel executes programs as root from threads with random sets, and compares what they get: nothing beyond
// the reach, and, as any program of root is a privileged one, all of it.
func TestReachAgainstKernel(t *testing.T) {
	own, err := Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !own.Effective.Has(Setpcap) || os.Getuid() != 0 {
		t.Skip("user ID 0 with CAP_SETPCAP is missing")
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		before := randomStateWithin(r, own)
		after, err := execWith(own, before)
		if err != nil {
			t.Fatalf("%+v: %v", before, err)
		}
		held := before.Effective.Union(before.Permitted)
		if got, want := before.Reach(UserNSInitial).All(), held.Union(after.Permitted); got != want {
			t.Fatalf("%+v:\nreach %s\nwant  %s", before, got, want)
		}
	}
}

// execWith returns the state of a program that a thread with the sets of s executes.
func execWith(own, s State) (after State, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err = setCapabilities(own, s); err != nil {
			return
		}
		var status []byte
		if status, err = exec.Command("cat", "/proc/self/status").Output(); err != nil {
			return
		}
		after, err = ParseStatus(status)
	}()
	<-done
	return after, err
}

// startThread starts a thread with the sets of s, which lasts until done is closed, and returns its number.
func startThread(t *testing.T, own, s State, done <-chan struct{}) int {
	t.Helper()
	started := make(chan error)
	var tid int
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		tid = unix.Gettid()
		err := setCapabilities(own, s)
		started <- err
		<-done
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return tid
}

// setCapabilities gives the calling thread, which has the sets of own, those of s.
func setCapabilities(own, s State) error {
	if s.NoNewPrivs == NoNewPrivsOn {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
		}
	}
	if err := capset(own.Effective, own.Permitted, s.Inheritable); err != nil {
		return err
	}
	for c := range own.Bounding.Minus(s.Bounding).All() {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("PR_CAPBSET_DROP %s: %w", c, err)
		}
	}
	if err := capset(s.Effective, s.Permitted, s.Inheritable); err != nil {
		return err
	}
	for c := range s.Ambient.All() {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("PR_CAP_AMBIENT_RAISE %s: %w", c, err)
		}
	}
	return nil
}

func capset(effective, permitted, inheritable Set) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}
