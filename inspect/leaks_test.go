package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func TestIsAnonymous(t *testing.T) {
	for link, want := range map[string]bool{
		"pipe:[12]": true, "socket:[12]": true, "anon_inode:[eventpoll]": true, "anon_inode:bpf-map": true, "net:[4026531833]": false,
		"pid_for_children:[1]": false, "/pipe:[12]": false, "/etc": false, "(unreachable)/x": false, "": false,
		"user:[4026531837]":  false,                    // told by whose it is
		"/memfd:x (deleted)": false, "/dmabuf:": false, // told by their mounts
	} {
		if got := isAnonymous(link); got != want {
			t.Errorf("%q: %v", link, got)
		}
	}
	memory := leakFinder{memory: map[int]bool{0: true}}
	for _, tc := range []struct {
		path, info string
		mount      int
		want       bool
	}{
		{"/memfd:x (deleted)", "", 0, true},
		{"/memfd:x (deleted)", "", 5, false},
		{"/x", "", 0, false},
		{"/dmabuf:", "pos:\t0\nmnt_id:\t9\nsize:\t32768\ncount:\t2\nexp_name:\tsystem-heap\n", 9, true},
		{"/dmabuf:", "pos:\t0\nmnt_id:\t9\n", 9, false},
	} {
		if got := memory.isMemory(Leak{Path: tc.path, Mount: tc.mount}, []byte(tc.info)); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func FuzzParseMountID(f *testing.F) {
	f.Add([]byte("pos:\t0\nflags:\t0100002\nmnt_id:\t325\nino:\t6\n"))
	f.Fuzz(func(t *testing.T, info []byte) {
		id, err := parseMountID(info)
		if err != nil {
			return
		}
		if back, err := parseMountID(fmt.Appendf(nil, "pos:\t0\nmnt_id:\t%d\n", id)); err != nil || back != id {
			t.Errorf("%d reads back as %d, %v", id, back, err)
		}
	})
}

// TestHarmlessFiles: whatever the kernel keeps on mounts of its own is no leak.
func TestHarmlessFiles(t *testing.T) {
	memory, err := unix.MemfdCreate("x", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	l, err := net.Listen("unix", "@rtinspect-test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	folder, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	p, err := procfs.FS{}.OpenSelf()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	leaks, ok := newLeakFinder(&Inspector{}, hostMounts{}).find(&heldProcess{Process: p}, heldBy(t, p), nil).Value()
	for _, leak := range leaks {
		// The test may have been started with files of another namespace.
		if leak.What != "fd/0" && leak.What != "fd/1" && leak.What != "fd/2" {
			t.Errorf("%+v", leak)
		}
	}
	if !ok {
		t.Error("unknown")
	}
}

// heldBy is what is known of a process besides its leaks.
func heldBy(t *testing.T, p *procfs.Process) *Process {
	t.Helper()
	r, _, err := readProcess(&heldProcess{Process: p}, false)
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

// TestNamespaceFiles: an open file of another namespace is a leak, one of the process's own or of the first process's is none.
func TestNamespaceFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes namespaces")
	}
	var files []*os.File
	for _, kind := range []string{"net", "uts", "ipc"} {
		f, err := os.Open("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = files // 3, 4 and 5
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWUTS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	p, err := procfs.FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	self, err := procfs.FS{}.OpenSelf()
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	r := heldBy(t, p)
	hidden := *r
	hidden.Namespaces = UnknownFact[nsdiff.Set](fs.ErrPermission)
	for name, tc := range map[string]struct {
		process *Process
		first   *heldProcess
		want    string
	}{
		"other than its own":      {r, nil, "fd/3 net fd/4 uts"},
		"the first process's":     {r, &heldProcess{Process: self}, ""},
		"its own are not known":   {&hidden, nil, "fd/3 unknown fd/4 unknown fd/5 unknown"},
		"but the first process's": {&hidden, &heldProcess{Process: self}, ""},
	} {
		leaks, _ := newLeakFinder(&Inspector{}, hostMounts{}).find(&heldProcess{Process: p}, tc.process, tc.first).Value()
		var got []string
		for _, l := range leaks {
			kind, _, _ := strings.Cut(l.Path, ":")
			if l.Unknown != "" {
				kind = "unknown"
			}
			if !slices.Contains([]string{"fd/0", "fd/1", "fd/2"}, l.What) {
				got = append(got, l.What+" "+kind)
			}
		}
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("%s: %s, want %s", name, text, tc.want)
		}
	}
}

// TestHeldMounts: the mounts of several processes in one mount namespace are read once, and not taken for those of another.
func TestHeldMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a mount namespace")
	}
	start := func(args ...string) *procfs.Process {
		cmd := exec.Command(args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		p, err := procfs.FS{}.Open(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	a, b := start("sleep", "1000"), start("sleep", "1000")
	other := start("unshare", "-m", "--propagation", "private", "sleep", "1000")
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if link, err := other.Readlink("ns/mnt"); err != nil || time.Since(begin) > 10*time.Second {
			t.Fatal(err)
		} else if ours, _ := a.Readlink("ns/mnt"); link != ours {
			break
		}
	}
	h := &heldMounts{Inspector: &Inspector{}, held: map[mountView]*heldProcess{}}
	l := leakFinder{others: h}
	var tables []mountTable
	for _, p := range []*procfs.Process{a, b, other} {
		namespace, _, err := sharesMounts(&heldProcess{Process: p}, nil)
		if err != nil {
			t.Fatal(err)
		}
		table, err := l.mountsFor(&heldProcess{Process: p}, nil, namespace, false)
		if err != nil || len(table.list) == 0 {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	if &tables[0].list[0] != &tables[1].list[0] {
		t.Error("the mounts of one namespace were read twice")
	}
	if &tables[0].list[0] == &tables[2].list[0] || len(h.held) != 2 {
		t.Errorf("two namespaces are %d", len(h.held))
	}
	if h.close() {
		t.Error("none of them has ended")
	}
}

// TestExplainNamespace: a namespace is harmless only for who can never enter it.
func TestExplainNamespace(t *testing.T) {
	bounding := caps.State{Bounding: caps.Of(caps.SysAdmin, caps.Chown)}
	inheritable := caps.State{Inheritable: caps.Of(caps.SysAdmin)}
	for _, tc := range []struct {
		path     string
		state    Fact[caps.State]
		harmless bool
	}{
		{"net:[4026531833]", KnownFact(caps.State{Effective: caps.Of(caps.Chown)}, "x"), true},
		{"net:[4026531833]", KnownFact(bounding, "x"), false},
		{"mnt:[4026531833]", KnownFact(inheritable, "x"), false},
		{"net:[4026531833]", UnknownFact[caps.State](fs.ErrPermission), false},
		{"user:[4026531833]", KnownFact(caps.State{}, "x"), false},
	} {
		if got := (leakFinder{}).explain(Leak{Path: tc.path}, tc.state); (got.Reason != "") != tc.harmless {
			t.Errorf("%s, %+v: %+v", tc.path, tc.state, got)
		}
	}
}

// TestLeaks: files on a file system that was unmounted, one of them with the name of a memory file.
func TestLeaks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a mount namespace")
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec",
		`mount -t tmpfs tmpfs $0; echo >"$0/memfd:x (deleted)"; exec 5<"$0/memfd:x (deleted)" 6</; cd $0; umount -l $0; echo ready; exec sleep 1000`, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	p, err := procfs.FS{}.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	leaks, _ := newLeakFinder(&Inspector{}, hostMounts{}).find(&heldProcess{Process: p}, heldBy(t, p), nil).Value()
	got := map[string]string{}
	for _, l := range leaks {
		got[l.What] = l.Path + l.Host + l.Reason + l.Unknown
	}
	if got["cwd"] != "/" || got["fd/5"] != "/memfd:x (deleted)" {
		t.Errorf("%v", got)
	}
	for _, what := range []string{"root", "fd/6"} {
		if text, found := got[what]; found {
			t.Errorf("%s is in its mounts: %s", what, text)
		}
	}
}

// TestMayWait: a working folder on a network file system is not even opened.
func TestMayWait(t *testing.T) {
	own := table(t, "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /data rw - nfs4 server:/x rw\n")
	host := newHostMounts(table(t, "1 0 0:1 / / rw - ext4 o rw\n2 1 0:2 / /srv rw - 9p x rw\n"), "", nil)
	l := leakFinder{host: host}
	dir := t.TempDir()
	for path, want := range map[string]string{"/data/x": "nfs4", "/srv": "9p"} {
		p := recorded(t, nil)
		f := Leak{What: "cwd", Path: path}
		if _, _, err := l.mountOf(p, f, own); err == nil || !strings.Contains(err.Error(), want+", which could keep us waiting") {
			t.Errorf("%s: %v", path, err)
		}
	}
	unknown := leakFinder{host: hostMounts{err: fs.ErrPermission}}
	if _, _, err := unknown.mountOf(recorded(t, nil), Leak{What: "cwd", Path: dir}, own); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("without the host's mounts: %v", err)
	}
	if _, _, err := l.mountOf(recorded(t, nil), Leak{What: "cwd", Path: dir}, own); err == nil || strings.Contains(err.Error(), "waiting") {
		t.Errorf("elsewhere it is looked at, and not there in this record: %v", err)
	}
}

func TestExplain(t *testing.T) {
	host := newHostMounts(table(t, "1 0 0:1 / / rw - ext4 o rw\n24 1 0:6 / /dev rw - devtmpfs d rw\n25 1 0:7 / /srv rw - ext4 d rw\n"), "", nil)
	for _, tc := range []struct {
		leak           Leak
		host, harmless string
	}{
		{Leak{Path: "/dev/null", Mount: 24}, "/dev", hostNull},
		{Leak{Path: "/dev/sda", Mount: 24}, "/dev", ""},
		{Leak{Path: "/dev/null", Mount: 25}, "/srv", ""},
		{Leak{Path: "/etc", Mount: 1}, "/", ""},
		{Leak{Path: "/etc", Mount: 9}, "", ""},
	} {
		if got := (leakFinder{host: host}).explain(tc.leak, Fact[caps.State]{}); got.Host != tc.host || got.Reason != tc.harmless {
			t.Errorf("%+v: %+v", tc.leak, got)
		}
	}
}
