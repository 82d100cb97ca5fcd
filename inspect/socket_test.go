package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// socketNode is a host root with real sockets and a recorded /proc.
type socketNode struct {
	t    *testing.T
	root string
	unix []unixSocket
}

func newSocketNode(t *testing.T) *socketNode {
	t.Helper()
	n := &socketNode{t: t, root: publicDir(t)}
	n.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\n")
	n.file("etc/group", "root:x:0:\ndocker:x:999:bob\n")
	n.process(1, "systemd", "mnt:[1]", "net:[1]")
	return n
}

func (n *socketNode) file(name, text string) {
	n.t.Helper()
	writeTest(n.t, filepath.Join(n.root, name), text)
}

func (n *socketNode) link(target, name string) {
	n.t.Helper()
	name = filepath.Join(n.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(target, name)); err != nil {
		n.t.Fatal(err)
	}
}

// process records a process that has sockets open.
func (n *socketNode) process(pid int, comm, mounts, network string, inodes ...int) {
	n.t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	n.file(dir+"comm", comm+"\n")
	n.file(dir+"stat", fmt.Sprintf("%d (%s) S 1\n", pid, comm))
	n.link(mounts, dir+"ns/mnt")
	n.link(network, dir+"ns/net")
	n.link("/dev/null", dir+"fd/0")
	for i, inode := range inodes {
		n.link(fmt.Sprintf("socket:[%d]", inode), fmt.Sprintf("%sfd/%d", dir, i+1))
	}
}

// listens records a listening socket of the network namespace of some processes.
func (n *socketNode) listens(inode uint64, name string, pids ...int) {
	n.t.Helper()
	n.unix = append(n.unix, unixSocket{flags: accepts, kind: 1, inode: inode, name: name, bound: true})
	for _, pid := range pids {
		n.file(fmt.Sprintf("proc/%d/net/unix", pid), formatUnixSockets(n.unix))
	}
}

// socket makes a socket of a mode and an owner.
func (n *socketNode) socket(name string, mode uint32) {
	n.t.Helper()
	name = filepath.Join(n.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		n.t.Fatal(err)
	}
	listenAt(n.t, name)
	if err := unix.Chmod(name, mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n *socketNode) find(paths ...string) ([]Socket, error) {
	n.t.Helper()
	if n.unix == nil {
		n.file("proc/1/net/unix", unixHeader)
	}
	return FindSockets(n.t.Context(), SocketOptions{HostRoot: n.root, Paths: paths})
}

// one finds the only socket there is.
func (n *socketNode) one(paths ...string) Socket {
	n.t.Helper()
	list, err := n.find(paths...)
	if err != nil || len(list) != 1 {
		n.t.Fatalf("%+v, %v; want one socket", list, err)
	}
	return list[0]
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the files must be root's")
	}
}

func TestFindSockets(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/containerd/containerd.sock", 0o660)
	n.socket("run/containerd/containerd.sock.ttrpc", 0o660)
	n.socket("opt/rt/custom.sock", 0o660)
	n.socket("run/user/1000/docker.sock", 0o660)
	n.socket("run/unrelated.sock", 0o666)
	n.socket("run/nri/nri.sock", 0o600)
	n.link("/run", "var/run")
	n.listens(11, "/run/containerd/containerd.sock")
	n.listens(12, "/opt/rt/custom.sock")
	n.listens(19, "/run/containerd/containerd.sock.ttrpc")
	n.listens(13, "/run/unrelated.sock")
	n.listens(14, "@/containerd-shim/abc.sock")
	n.listens(15, "@unrelated")
	n.listens(16, "@made-by-a-shim")
	n.listens(17, "/gone/docker.sock")
	n.listens(18, "containerd.sock", 1, 70, 71, 72)
	n.process(70, "containerd", "mnt:[1]", "net:[1]", 11, 12, 18, 19)
	n.process(71, "containerd-shim", "mnt:[1]", "net:[1]", 16)
	n.process(72, "containerd", "mnt:[2]", "net:[1]", 13) // in a container, or somebody's lie
	n.file("proc/74/comm", "containerd\n")
	n.file("proc/74/stat", "74 (containerd) Z 1\n") // it has ended: nothing else can be read
	n.unix = nil
	n.process(73, "dockerd", "mnt:[3]", "net:[3]", 31)
	n.listens(31, "/run/user/1000/docker.sock", 73)

	list, err := n.find()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%s %s %v %d", s.Path, s.Kind, s.Type.Known(), len(s.Listeners)))
	}
	want := []string{
		"/opt/rt/custom.sock containerd known 1",
		"/run/containerd/containerd.sock containerd known 1",
		"/run/containerd/containerd.sock.ttrpc containerd-ttrpc known 1",
		"/run/nri/nri.sock nri absent 0",
		"/run/user/1000/docker.sock docker known 1",
		"@/containerd-shim/abc.sock shim known 0",
		"@made-by-a-shim shim known 1",
		"containerd.sock containerd known 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if l := list[0].Listeners; len(l) != 1 || l[0] != (Listener{PID: 70, Name: "containerd"}) {
		t.Errorf("listeners %v", l)
	}
	last := list[len(list)-1]
	if last.Verdict != SocketUnknown || !strings.Contains(last.Reason, "relative path") {
		t.Errorf("%s: %s", last.Verdict, last.Reason)
	}
}

// TestHiddenNamespaces: where process 1 may not be looked into, a process of the
// same network namespace tells which it is, and no socket is there twice.
// TestMovedSocket: a socket keeps its name when its file is moved. That of a runtime is unknown then, and not left out.
func TestMovedSocket(t *testing.T) {
	n := newSocketNode(t)
	n.listens(11, "/run/containerd/containerd.sock")
	n.listens(12, "/run/docker.sock", 1, 70, 71)
	n.process(70, "containerd", "mnt:[1]", "net:[1]", 11)
	n.process(71, "dockerd", "mnt:[2]", "net:[1]", 12) // its files are others
	n.file("proc/71/status", "NSpid:\t71\t1\n")
	n.socket("run/elsewhere.sock", 0o666)
	s := n.one()
	if s.Path != "/run/containerd/containerd.sock" || s.Verdict != SocketUnknown || !strings.Contains(s.Reason, "is not there any more") {
		t.Errorf("%s is %s: %s", s.Path, s.Verdict, s.Reason)
	}
	if s.File.Known() != Unknown || s.Connect.Known() != Unknown || s.Type.Known() != Present || len(s.Listeners) != 1 {
		t.Errorf("%+v", s)
	}
	roundTrip(t, s)
}

func TestHiddenNamespaces(t *testing.T) {
	const name = "@/containerd-shim/abc.sock"
	hide := func(n *socketNode) {
		for _, ns := range []string{"net", "mnt"} {
			if err := os.Remove(filepath.Join(n.root, "proc/1/ns", ns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	netns := func(n *socketNode) Fact[string] {
		t.Helper()
		found, err := findSockets(t.Context(), SocketOptions{HostRoot: n.root}, nil)
		if err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v; want one socket", found, err)
		}
		return found[0].netns
	}
	n := newSocketNode(t)
	hide(n)
	n.listens(14, name, 1)
	if f := netns(n); f.Known() != Unknown {
		t.Errorf("nothing tells the network namespace: %v", f)
	}
	n.process(70, "containerd", "mnt:[1]", "net:[1]", 14)
	n.file("proc/70/net/unix", formatUnixSockets(n.unix))
	if f := netns(n); f.Known() != Present {
		t.Errorf("by a runtime: %v", f)
	}
	n = newSocketNode(t)
	hide(n)
	n.process(80, "rtinspect", "mnt:[1]", "net:[1]")
	n.link("80", "proc/self")
	n.listens(14, name, 1, 80)
	if f := netns(n); f.Known() != Present {
		t.Errorf("by ourselves: %v", f)
	}
}

// TestSocketOnce: one socket by several paths is one.
func TestSocketOnce(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/containerd/containerd.sock", 0o660)
	n.link("/run", "var/run")
	n.link("../run/containerd/containerd.sock", "opt/link.sock")
	if err := errors.Join(
		os.Mkdir(filepath.Join(n.root, "hard"), 0o755),
		os.Link(filepath.Join(n.root, "run/containerd/containerd.sock"), filepath.Join(n.root, "hard/link.sock")),
	); err != nil {
		t.Fatal(err)
	}
	s := n.one("/var/run/containerd/containerd.sock", "/opt/link.sock", "/opt/link.sock", "/hard/link.sock", "/run/containerd/containerd.sock", "/run/containerd/../containerd/containerd.sock")
	file, _ := s.File.Value()
	var got []string
	for _, p := range file.Paths {
		got = append(got, fmt.Sprint(p.Path, p.Named))
	}
	want := []string{
		"/run/containerd/containerd.sock[/var/run/containerd/containerd.sock /opt/link.sock /run/containerd/../containerd/containerd.sock]",
		"/hard/link.sock[]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSocketVerdicts(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name   string
		make   func(n *socketNode)
		want   SocketVerdict
		reason string
	}{
		{"the lab's", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
		}, SocketOK, "mode 0660 root:root: only root can connect, as nobody else is in its group"},
		{"root alone", func(n *socketNode) {
			n.socket("run/x.sock", 0o600)
		}, SocketOK, "mode 0600 root:root: only root can connect"},
		{"open to all", func(n *socketNode) {
			n.socket("run/x.sock", 0o606)
		}, SocketOpen, "mode 0606 root:root: every user can connect"},
		{"of a group", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chown("run/x.sock", 0, 999)
		}, SocketOpen, "mode 0660 root:docker: members of group docker (bob) can connect"},
		{"an owner who may not connect can change the mode", func(n *socketNode) {
			n.socket("run/x.sock", 0o060)
			n.chown("run/x.sock", 1001, 0)
		}, SocketOpen, "bob owns it and can change its mode"},
		{"in a shut folder", func(n *socketNode) {
			n.socket("run/x.sock", 0o666)
			n.chmod("run", 0o700)
		}, SocketOK, "mode 0666 root:root, but only root gets through the folder /run (mode 0700 root:root)"},
		{"in a folder of root's group", func(n *socketNode) {
			n.socket("run/x.sock", 0o666)
			n.chmod("run", 0o750)
		}, SocketOK, "mode 0666 root:root, but only root gets through the folder /run (mode 0750 root:root)"},
		{"in a folder that all may write", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chmod("run", 0o777)
		}, SocketOpen, "every user can put another socket in its place: folder /run has mode 0777 root:root"},
		{"in a folder that can be written but not searched", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chmod("run", 0o702)
		}, SocketOK, "mode 0660 root:root: only root can connect"},
		{"in a sticky folder", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chmod("run", 0o1777)
		}, SocketOK, "only root can connect"},
		{"somebody's folder in a sticky folder", func(n *socketNode) {
			n.socket("tmp/bob/x.sock", 0o660)
			n.chmod("tmp", 0o1777)
			n.chown("tmp/bob", 1001, 1001)
		}, SocketOpen, "user bob can put another socket in its place: folder /tmp has mode 1777 root:root; user bob can put another socket in its place: folder /tmp/bob has mode 0755 bob:1001"},
		{"in a folder of the group", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chown("run", 0, 999)
			n.chmod("run", 0o770)
		}, SocketOpen, "members of group docker (bob) can put another socket in its place: folder /run has mode 0770 root:docker"},
		{"in a folder whose owner may not write, but can change that", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.chown("run", 1001, 0)
			n.chmod("run", 0o555)
		}, SocketOpen, "user bob can put another socket in its place: folder /run has mode 0555 bob:root"},
		{"a writable folder below a shut one", func(n *socketNode) {
			n.socket("run/in/x.sock", 0o660)
			n.chmod("run/in", 0o777)
			n.chmod("run", 0o700)
		}, SocketOK, "mode 0660 root:root: only root can connect"},
		{"with an ACL", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			n.acl("run/x.sock", []ACLEntry{{ACLOwner, 0, 6}, {ACLUser, 1001, 6}, {ACLOwningGroup, 0, 0}, {ACLMask, 0, 6}, {ACLOther, 0, 0}})
		}, SocketOpen, "mode 0660 root:root with an ACL: user bob can connect"},
		{"accounts that cannot be read", func(n *socketNode) {
			n.socket("run/x.sock", 0o660)
			if err := os.Remove(filepath.Join(n.root, "etc/group")); err != nil {
				n.t.Fatal(err)
			}
		}, SocketUnknown, "etc/group: no such file or directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newSocketNode(t)
			tc.make(n)
			for _, name := range []string{"/run/x.sock", "/run/in/x.sock", "/tmp/bob/x.sock"} {
				if _, err := os.Lstat(filepath.Join(n.root, name)); err != nil {
					continue
				}
				s := n.one(name)
				if s.Verdict != tc.want || !strings.Contains(s.Reason, tc.reason) {
					t.Errorf("%s: %s\nwant %s: %s", s.Verdict, s.Reason, tc.want, tc.reason)
				}
				roundTrip(t, s)
			}
		})
	}
}

// TestReplacedLink: who can change a link that leads to the socket can lead its
// users elsewhere.
func TestReplacedLink(t *testing.T) {
	needRoot(t)
	n := newSocketNode(t)
	n.socket("run/x.sock", 0o600)
	n.link("/run/x.sock", "open/link.sock")
	n.chmod("open", 0o777)
	if s := n.one("/run/x.sock"); s.Verdict != SocketOK {
		t.Errorf("by its own path: %s: %s", s.Verdict, s.Reason)
	}
	s := n.one("/open/link.sock")
	if s.Verdict != SocketOpen || !strings.Contains(s.Reason, "folder /open has mode 0777") {
		t.Errorf("%s: %s", s.Verdict, s.Reason)
	}
}

func (n *socketNode) chmod(name string, mode uint32) {
	n.t.Helper()
	if err := unix.Chmod(filepath.Join(n.root, name), mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n *socketNode) chown(name string, uid, gid int) {
	n.t.Helper()
	if err := os.Chown(filepath.Join(n.root, name), uid, gid); err != nil {
		n.t.Fatal(err)
	}
}

func (n *socketNode) acl(name string, acl []ACLEntry) {
	n.t.Helper()
	if err := unix.Setxattr(filepath.Join(n.root, name), accessACL, formatACL(acl), 0); err != nil {
		n.t.Fatal(err)
	}
}

// roundTrip holds the JSON form: it reads back to what was written.
func roundTrip(t *testing.T, s Socket) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Socket
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%s\nread and written again\n%s", data, again)
	}
}

// TestNamedPaths: what is named wrongly is an error of one line each, beside
// the sockets that were found.
func TestNamedPaths(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/x.sock", 0o600)
	n.listens(70, "/run/x.sock", 1)
	n.file("run/file", "")
	n.link("loop", "run/loop")
	n.link("../../../../run/x.sock", "run/up")
	for path, want := range map[string]struct {
		is   error
		text string
	}{
		"/run/none.sock":     {fs.ErrNotExist, `socket "/run/none.sock": open ` + n.root + "/run/none.sock: no such file or directory"},
		"/none/none.sock":    {fs.ErrNotExist, "open " + n.root + "/none: no such file"},
		"/run":               {ErrNotSocket, `socket "/run": is a folder, not a socket`},
		"/":                  {ErrNotSocket, `socket "/": is a folder, not a socket`},
		"/run/file":          {ErrNotSocket, `socket "/run/file": is a regular file, not a socket`},
		"/run/x.sock/y":      {unix.ENOTDIR, "/run/x.sock/y: not a directory"},
		"run/x.sock":         {nil, `socket "run/x.sock": want an absolute path`},
		"":                   {nil, `socket "": want an absolute path`},
		"/run/\x00":          {nil, `socket "/run/\x00": want an absolute path`},
		"@none":              {fs.ErrNotExist, `socket "@none": no abstract socket of this name listens`},
		"/run/x.sock\n/etc/": {unix.ENOENT, `socket "/run/x.sock\n/etc/": open`},
	} {
		list, err := n.find(path, "/run/x.sock")
		if len(list) != 1 || list[0].Path != "/run/x.sock" {
			t.Errorf("%q beside a socket: %+v", path, list)
		}
		if err == nil || !strings.Contains(err.Error(), want.text) || want.is != nil && !errors.Is(err, want.is) {
			t.Errorf("%q: %v\nwant %q, %v", path, err, want.text, want.is)
		}
		if path != "/run/x.sock\n/etc/" && strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%q: more than a line: %v", path, err)
		}
	}
	if s := n.one("/run/up"); s.Path != "/run/x.sock" {
		t.Errorf("a link that leads above the root: %s", s.Path)
	}
	if s := n.one("/run/x.sock"); s.Kind != SocketOther || s.Type != KnownFact(SocketStream, "net/unix") {
		t.Errorf("a socket of no runtime's: %s, %+v", s.Kind, s.Type)
	}
	if s := n.one("/run/loop"); s.Verdict != SocketUnknown || !strings.Contains(s.Reason, "too many levels of symbolic links") {
		t.Errorf("a loop: %s: %s", s.Verdict, s.Reason)
	}
}

// TestWellKnownFolder: Docker makes a folder where a container mounts a socket
// that is not there.
func TestWellKnownFolder(t *testing.T) {
	n := newSocketNode(t)
	if err := os.MkdirAll(filepath.Join(n.root, "run/docker.sock"), 0o755); err != nil {
		t.Fatal(err)
	}
	list, err := n.find()
	if len(list) != 0 || !errors.Is(err, ErrNotSocket) {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestUnreadableProcesses: what may not be seen of processes is an error, and
// what is found by names is told.
func TestUnreadableProcesses(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/containerd/containerd.sock", 0o660)
	n.listens(11, "/run/containerd/containerd.sock", 1)
	n.file("proc/70/comm", "containerd\n") // no fd: as ENOENT stands for any errno here
	list, err := n.find()
	if len(list) != 1 || list[0].Kind != SocketContainerd {
		t.Errorf("%+v", list)
	}
	if err == nil || !strings.Contains(err.Error(), "the sockets of 1 processes are found by their names only: open "+n.root+"/proc/70/fd") {
		t.Errorf("%v", err)
	}
}

// TestUnsearchable: a folder that we may not pass leaves the socket unknown, with
// path and errno.
func TestUnsearchable(t *testing.T) {
	needRoot(t)
	n := newSocketNode(t)
	n.socket("run/in/x.sock", 0o666)
	n.chmod("run/in", 0o700)
	n.find("/run/in/x.sock") //nolint:errcheck // makes the recorded /proc
	var list []Socket
	err := asThread(credentials{uid: 1000, gids: []uint32{2000}}, func() (err error) {
		list, err = FindSockets(t.Context(), SocketOptions{HostRoot: n.root, Paths: []string{"/run/in/x.sock"}})
		return err
	})
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	s := list[0]
	want := "open " + n.root + "/run/in/x.sock: permission denied; only root gets through the folder /run/in (mode 0700 root:root)"
	if s.Verdict != SocketUnknown || s.Reason != want || !errors.Is(s.File.Cause(), fs.ErrPermission) {
		t.Errorf("%s: %s; want unknown: %s", s.Verdict, s.Reason, want)
	}
	if s.Connect.Known() != Unknown || s.Control.Known() != Unknown {
		t.Errorf("connect %v, control %v; want unknown", s.Connect.Known(), s.Control.Known())
	}
}

func TestAbstractVerdict(t *testing.T) {
	n := newSocketNode(t)
	n.listens(14, "@/containerd-shim/abc.sock", 1)
	s := n.one()
	if s.Verdict != SocketOpen || !strings.Contains(s.Reason, "every process of its network namespace") || !s.Abstract {
		t.Errorf("%+v", s)
	}
	roundTrip(t, s)
}

func TestSocketKinds(t *testing.T) {
	for _, name := range wellKnownSockets {
		if _, ok := kindByName(name); !ok {
			t.Errorf("%s: no kind", name)
		}
	}
	for name, want := range map[string]SocketKind{
		"/run/containerd/s/" + strings.Repeat("0a", 32): SocketShim,
		"/run/containerd/s/" + strings.Repeat("0a", 31): SocketOther,
		"/run/x/containerd.sock":                        SocketContainerd,
		"/run/notcontainerd.sock":                       SocketOther,
		"/run/containerd.sock.ttrpc":                    SocketContainerdTTRPC,
		"/run/containerd/debug.sock":                    SocketContainerdDebug,
		"/run/debug.sock":                               SocketOther,
		"@/containerd-shim/k8s.io/abc/shim.sock@":       SocketShim,
		"docker.sock":                                   SocketOther,
	} {
		if got, _ := kindByName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestReach looks a socket up in the mounts of containers.
func TestReach(t *testing.T) {
	const rootfs = "900 899 0:70 / / rw - overlay overlay rw\n"
	at := location{device: "0:25", path: "/containerd/containerd.sock"}
	for _, tc := range []struct {
		name, mounts string
		want         []string
	}{
		{"not there", rootfs, nil},
		{"the socket", rootfs + "901 900 0:25 /containerd/containerd.sock /run/c.sock rw - tmpfs tmpfs rw\n", []string{"/run/c.sock"}},
		{"renamed with a space", rootfs + "901 900 0:25 /containerd/containerd.sock /a\\040b rw - tmpfs tmpfs rw\n", []string{"/a b"}},
		{"its folder", rootfs + "901 900 0:25 /containerd /host ro - tmpfs tmpfs rw\n", []string{"/host/containerd.sock"}},
		{"the whole file system", rootfs + "901 900 0:25 / /host/run rw - tmpfs tmpfs rw\n", []string{"/host/run/containerd/containerd.sock"}},
		{"its file system as the root", "900 899 0:25 / / rw - tmpfs tmpfs rw\n", []string{"/containerd/containerd.sock"}},
		{"twice", rootfs + "901 900 0:25 /containerd /a rw - tmpfs tmpfs rw\n902 900 0:25 / /b rw - tmpfs tmpfs rw\n", []string{"/a/containerd.sock", "/b/containerd/containerd.sock"}},
		{"another file system", rootfs + "901 900 0:26 /containerd /host rw - tmpfs tmpfs rw\n", nil},
		{"a folder beside it", rootfs + "901 900 0:25 /contain /host rw - tmpfs tmpfs rw\n", nil},
		{"a folder below", rootfs + "901 900 0:25 /containerd/containerd.sock/x /host rw - tmpfs tmpfs rw\n", nil},
		{"a former socket of that name", rootfs + "901 900 0:25 /containerd/containerd.sock//deleted /run/c.sock rw - tmpfs tmpfs rw\n", nil},
		{"mounted over", rootfs + "901 900 0:25 /containerd /host rw - tmpfs tmpfs rw\n902 901 0:80 / /host rw - tmpfs tmpfs rw\n", nil},
		{"mounted over above", rootfs + "901 900 0:25 /containerd /a/host rw - tmpfs tmpfs rw\n902 900 0:80 / /a rw - tmpfs tmpfs rw\n", nil},
		{"the socket itself mounted over", rootfs + "901 900 0:25 /containerd /host rw - tmpfs tmpfs rw\n902 901 0:5 /null /host/containerd.sock rw - devtmpfs udev rw\n", nil},
		{"something else mounted beside", rootfs + "901 900 0:25 /containerd /host rw - tmpfs tmpfs rw\n902 901 0:5 / /host/containerd rw - tmpfs x rw\n", []string{"/host/containerd.sock"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table, err := parseMounts(tc.mounts)
			if err != nil {
				t.Fatal(err)
			}
			s := foundSocket{at: []Fact[location]{KnownFact(at, "")}}
			ways, ok := s.ways(socketsOf([]*foundSocket{&s}).confines(KnownFact(table, ""), Fact[string]{})).Value()
			var got []string
			for _, w := range ways {
				got = append(got, w.Path)
			}
			if !ok || !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestReachUnknown: what cannot be read never counts as out of reach.
func TestReachUnknown(t *testing.T) {
	cause := errors.New("permission denied")
	known := confines{mounts: KnownFact(mountTable{}, ""), netns: KnownFact("net:[1]", "")}
	blind := confines{mounts: UnknownFact[mountTable](cause), netns: UnknownFact[string](cause)}
	file := foundSocket{at: []Fact[location]{KnownFact(location{"0:1", "/x"}, "")}}
	lost := foundSocket{at: []Fact[location]{UnknownFact[location](cause)}}
	abstract := foundSocket{Socket: Socket{Abstract: true, Path: "@x"}, netns: KnownFact("net:[1]", "")}
	hidden := foundSocket{Socket: Socket{Abstract: true, Path: "@x"}, netns: UnknownFact[string](cause)}
	elsewhere := foundSocket{Socket: Socket{Abstract: true, Path: "@x"}, netns: KnownFact("net:[2]", "")}
	for _, tc := range []struct {
		name string
		s    foundSocket
		c    confines
		want string
	}{
		{"known", file, known, "0 ways"},
		{"the container's mounts", file, blind, "unknown"},
		{"the socket's place", lost, known, "unknown"},
		{"shared network", abstract, known, "1 ways"},
		{"another network", elsewhere, known, "0 ways"},
		{"the container's network", abstract, blind, "unknown"},
		{"the socket's network", hidden, known, "unknown"},
	} {
		ways := tc.s.ways(tc.c)
		got := "unknown"
		if list, ok := ways.Value(); ok {
			got = fmt.Sprintf("%d ways", len(list))
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestReachGuest: the mounts of a sandbox's process are not its guest's. What the specification shares with the guest counts, by
// whatever path, and whether the sandbox lets it connect is not known.
func TestReachGuest(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/containerd/containerd.sock", 0o660)
	n.link("/run", "var/run")
	n.file("srv/x", "")
	n.file("proc/1/mountinfo", "24 1 0:25 / / rw - ext4 /dev/vda rw\n25 24 0:26 / /srv/nfs rw - nfs4 server:/ rw\n")
	n.file("proc/1/net/unix", unixHeader)
	i := newInspector(Options{HostRoot: n.root})
	found, err := i.findSockets(t.Context(), SocketOptions{})
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	for source, want := range map[string]string{
		"":                                     "none",
		"/srv":                                 "none",
		"/srv/x":                               "none",
		"/run/containerd/s":                    "none", // there is none
		"/run/containerd/containerd.sock":      "is declared at /in",
		"/var/run/containerd/containerd.sock":  "is declared at /in",
		"/var/run":                             "is declared at /in",
		"/":                                    "is declared at /in",
		"/srv/nfs/run":                         "could keep us waiting",
		"/var/run/containerd/containerd.sock/": "is declared at /in",
	} {
		f := &listed{gvisor: true, record: &runtimeapi.Container{}, spec: &spec{}}
		if source != "" {
			f.spec.Mounts = []specs.Mount{{Type: "proc", Source: "proc", Destination: "/proc"}, {Type: "bind", Source: source, Destination: "/in"}}
		}
		c := confines{mounts: KnownFact(mountTable{}, ""), netns: KnownFact("net:[1]", "")}
		i.confineGuest(f, &c, i.hostMounts)
		ways := found[0].ways(c)
		got := fmt.Sprint(ways.Cause())
		if list, ok := ways.Value(); ok && len(list) == 0 {
			got = "none"
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	f := &listed{gvisor: true, record: &runtimeapi.Container{}, specErr: ErrKernelOnly}
	c := confines{mounts: KnownFact(mountTable{}, ""), netns: KnownFact("net:[1]", "")}
	if i.confineGuest(f, &c, i.hostMounts); !errors.Is(found[0].ways(c).Cause(), ErrKernelOnly) {
		t.Error("a guest without a specification is known not to reach the socket")
	}
	abstract := foundSocket{Socket: Socket{Abstract: true, Path: "@x"}, netns: KnownFact("net:[1]", "")}
	if list, ok := abstract.ways(c).Value(); !ok || len(list) > 0 {
		t.Error("a guest reaches an abstract socket of its sandbox's network namespace")
	}
}

// TestSocketsOfTheRuntime: the socket by which we talk is one of them, wherever
// it is, and a container whose process is not known may reach it.
func TestSocketsOfTheRuntime(t *testing.T) {
	n := newSocketNode(t)
	n.file("proc/1/net/unix", unixHeader)
	fake := &fakeruntime.Containerd{Unlisted: map[string]bool{"hung": true}}
	fake.Add("default", "hung", 4242, fakeruntime.Spec("/nowhere"))
	socket := filepath.Join(n.root, "opt/odd")
	if err := os.Mkdir(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	fakeruntime.ServeAt(t, socket, nil, fake)
	i, err := Open(t.Context(), Options{HostRoot: n.root, Endpoint: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	list, err := i.Sockets(t.Context(), SocketOptions{HostRoot: "/elsewhere"})
	if err != nil || len(list) != 1 || list[0].Path != "/opt/odd" {
		t.Fatalf("%+v, %v", list, err)
	}
	containers, _ := list[0].Containers.Value()
	if len(containers) != 1 || containers[0].Name != "hung" || containers[0].Ways.Known() != Unknown {
		t.Errorf("%+v; want the container of the hung shim as unknown", containers)
	}
	roundTrip(t, list[0])
}

// TestLocate: the place in the file system is that of mountinfo.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	listenAt(t, socket)
	found, err := walk("", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer found.close()
	own, err := ownMounts()
	if err != nil {
		t.Fatal(err)
	}
	at, err := locate(found.socket, own)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	on := &foundSocket{at: []Fact[location]{KnownFact(at, "")}}
	for _, w := range own.ways(at, socketsOf([]*foundSocket{on}).confines(KnownFact(own, ""), Fact[string]{}).mounted) {
		paths = append(paths, w.Path)
	}
	if !slices.Contains(paths, socket) {
		t.Errorf("%+v is seen at %q, not at %s", at, paths, socket)
	}
	if _, err := locate(found.socket, mountTable{}); err == nil {
		t.Error("a mount that is not in the table was found")
	}
}

func TestModeText(t *testing.T) {
	for _, bad := range []string{"", "660", "06600", "0668", "066x"} {
		if err := new(Mode).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("mode %q was taken", bad)
		}
	}
	if reflect.TypeFor[Mode]().Kind() != reflect.Uint16 || Mode(0o606).String() != "0606" {
		t.Error("0606 is printed with four digits")
	}
}

// init is the program that connects, when the test starts itself as one.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "connect-sockets" {
		if err := ConnectSockets(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // the child has no other way to say it
		}
		os.Exit(0) //nolint:forbidigo // it is no test
	}
}

func TestConnect(t *testing.T) {
	needRoot(t)
	dir := publicDir(t)
	long := filepath.Join(dir, strings.Repeat("a-long-folder", 10))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{"ok": 0o660, "open": 0o606, "stale": 0o666, "packets": 0o666, "hidden/s": 0o666, "long": 0o606} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		switch filepath.Base(name) {
		case "packets":
			l, err := net.Listen("unixpacket", name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		case "stale":
			if err := unix.Mknod(name, unix.S_IFSOCK|0o666, 0); err != nil {
				t.Fatal(err)
			}
		default:
			listenAt(t, name)
		}
		if err := unix.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "hidden"), 0o700), os.Rename(filepath.Join(dir, "long"), filepath.Join(long, "long"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]ConnectResult{
		"ok":       {Error: "permission denied"},
		"open":     {Permitted: true, Connected: true},
		"stale":    {Permitted: true, Error: "connection refused"},
		"packets":  {Permitted: true, Error: "protocol wrong type for socket"},
		"hidden/s": {Error: "permission denied"},
		filepath.Join(filepath.Base(long), "long"): {Permitted: true, Connected: true},
	} {
		list, err := FindSockets(t.Context(), SocketOptions{
			Paths: []string{filepath.Join(dir, name)}, Connect: []string{"/proc/self/exe", "connect-sockets"},
		})
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %+v, %v", name, list, err)
		}
		s := list[0]
		got, ok := s.Nobody.Value()
		if !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, s.Nobody.Cause(), want)
		}
		told, _ := s.Connect.Value()
		if told.Everyone != want.Permitted {
			t.Errorf("%s: told that everyone can: %v, the kernel says %v", name, told.Everyone, want.Permitted)
		}
		roundTrip(t, s)
	}
}

// TestConnectedAllTheSame: what the kernel does counts more than what was read.
func TestConnectedAllTheSame(t *testing.T) {
	n := newSocketNode(t)
	n.socket("run/x.sock", 0o600)
	n.find("/run/x.sock") //nolint:errcheck // makes the recorded /proc
	found, err := findSockets(t.Context(), SocketOptions{HostRoot: n.root, Paths: []string{"/run/x.sock"}}, nil)
	if err != nil || len(found) != 1 {
		t.Fatal(err)
	}
	s := found[0]
	s.Connect, s.Control = KnownFact(Who{}, ""), KnownFact([]SocketControl{}, "")
	if s.conclude(); s.Verdict != SocketOK {
		t.Errorf("%s: %s", s.Verdict, s.Reason)
	}
	s.Nobody = connectResult(0)
	if s.conclude(); s.Verdict != SocketOpen || !strings.HasSuffix(s.Reason, "yet user nobody did connect") {
		t.Errorf("%s: %s", s.Verdict, s.Reason)
	}
}

// TestConnectFails: a test that could not be made is unknown, never "refused".
func TestConnectFails(t *testing.T) {
	needRoot(t)
	n := newSocketNode(t)
	n.socket("run/x.sock", 0o660)
	n.find("/run/x.sock") //nolint:errcheck // makes the recorded /proc
	for name, tc := range map[string]struct {
		command []string
		want    string
	}{
		"no such program": {[]string{"/none"}, "start a process as user 65534"},
		"it fails":        {[]string{"/bin/false"}, "ended with exit status 1"},
		"it says nothing": {[]string{"/bin/true"}, "wrote 0 lines: want 1"},
		"it babbles":      {[]string{"/bin/echo"}, "want a number a line"},
	} {
		list, err := FindSockets(t.Context(), SocketOptions{HostRoot: n.root, Paths: []string{"/run/x.sock"}, Connect: tc.command})
		if err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		f := list[0].Nobody
		if f.Known() != Unknown || !strings.Contains(f.Cause().Error(), tc.want) {
			t.Errorf("%s: %v, %v; want %q", name, f.Known(), f.Cause(), tc.want)
		}
		if list[0].Verdict != SocketOK {
			t.Errorf("%s: the modes decide all the same: %s", name, list[0].Reason)
		}
	}
	if err := ConnectSockets(nil, new(strings.Builder)); err == nil {
		t.Error("ConnectSockets ran as root")
	}
}
