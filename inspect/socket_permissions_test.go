package inspect

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testAccounts have members by both files: carol's main group is docker, bob is
// named in its line. operator has root's group and no login.
func testAccounts(t *testing.T) accounts {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/bash\n" +
			"operator:x:11:0:operator:/root:/sbin/nologin\n" +
			"alice:x:1000:1000::/home/alice:/bin/bash\n" +
			"bob:x:1001:1001::/home/bob:/bin/bash\n" +
			"carol:x:1002:999::/home/carol:/bin/sh\n",
		"group": "root:x:0:\ndocker:x:999:bob\nalice:x:1000:\nbob:x:1001:\nops:x:500:alice,bob\n",
	} {
		writeTest(t, filepath.Join(dir, "etc", name), text)
	}
	a, err := readAccounts(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func writeTest(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// perms reads "0660 0:999".
func perms(t *testing.T, text string, acl ...ACLEntry) Permissions {
	t.Helper()
	p := Permissions{ACL: acl}
	var mode string
	if _, err := fmt.Sscanf(text, "%s %d:%d", &mode, &p.Owner.ID, &p.Group.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Mode.UnmarshalText([]byte(mode)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWho(t *testing.T) {
	named := func(mask Perm, entries ...ACLEntry) []ACLEntry {
		acl := append([]ACLEntry{{ACLOwner, 0, 6}, {ACLOwningGroup, 0, 0}}, entries...)
		return append(acl, ACLEntry{ACLMask, 0, mask}, ACLEntry{ACLOther, 0, 0})
	}
	for _, tc := range []struct {
		name   string
		socket Permissions
		folder Permissions
		want   string
	}{
		{"the lab's", perms(t, "0660 0:0"), perms(t, "0755 0:0"), "only root"},
		{"root alone", perms(t, "0600 0:0"), perms(t, "0755 0:0"), "only root"},
		{"open to all, though less than 0660 as a number", perms(t, "0606 0:0"), perms(t, "0755 0:0"), "every user"},
		{"open to all but the group", perms(t, "0606 0:999"), perms(t, "0755 0:0"), "every user but bob, carol"},
		{"open to all but the owner", perms(t, "0066 1000:0"), perms(t, "0755 0:0"), "every user but alice"},
		{"world-writable", perms(t, "0666 0:0"), perms(t, "0755 0:0"), "every user"},
		{"reading is not connecting", perms(t, "0644 0:999"), perms(t, "0755 0:0"), "only root"},
		{"execute alone is not connecting", perms(t, "0751 0:999"), perms(t, "0755 0:0"), "only root"},
		{"writing alone is", perms(t, "0620 0:999"), perms(t, "0755 0:0"), "members of group docker (bob, carol)"},
		{"Docker's", perms(t, "0660 0:999"), perms(t, "0755 0:0"), "members of group docker (bob, carol)"},
		{"0770", perms(t, "0770 0:999"), perms(t, "0755 0:0"), "members of group docker (bob, carol)"},
		{"set-group-ID and sticky mean nothing", perms(t, "3660 0:0"), perms(t, "0755 0:0"), "only root"},
		{"a group without local members", perms(t, "0660 0:4242"), perms(t, "0755 0:0"), "members of group 4242 (no local ones)"},
		{"another owner", perms(t, "0600 1000:0"), perms(t, "0755 0:0"), "user alice"},
		{"an owner without a name", perms(t, "0600 4711:0"), perms(t, "0755 0:0"), "user 4711"},
		{"owner and group", perms(t, "0660 1000:999"), perms(t, "0755 0:0"), "user alice, members of group docker (bob, carol)"},
		{"the owner may less than the group", perms(t, "0460 1001:999"), perms(t, "0755 0:0"), "members of group docker (carol)"},
		{"shut folder", perms(t, "0666 0:0"), perms(t, "0700 0:0"), "only root"},
		{"readable folder without search", perms(t, "0666 0:0"), perms(t, "0744 0:0"), "only root"},
		{"folder with search alone", perms(t, "0666 0:0"), perms(t, "0711 0:0"), "every user"},
		{"folder of a group", perms(t, "0666 0:0"), perms(t, "0710 0:500"), "members of group ops (alice, bob)"},
		{"folder and socket of two groups", perms(t, "0660 0:999"), perms(t, "0750 0:500"), "members of groups ops and docker (bob)"},
		{"folder of a user, socket of a group", perms(t, "0660 0:999"), perms(t, "0700 1001:0"), "user bob"},
		{"folder shut to the socket's owner", perms(t, "0600 1000:0"), perms(t, "0700 0:0"), "only root"},
		{"folder shut to the group", perms(t, "0660 0:999"), perms(t, "0705 0:999"), "only root"},
		{"folder shut to the group, open to others", perms(t, "0666 0:0"), perms(t, "0705 0:999"), "every user but bob, carol"},
		{"ACL for a user", perms(t, "0660 0:0", named(6, ACLEntry{ACLUser, 1000, 6})...), perms(t, "0755 0:0"), "user alice"},
		{"cut by the mask", perms(t, "0640 0:0", named(4, ACLEntry{ACLUser, 1000, 6})...), perms(t, "0755 0:0"), "only root"},
		{"ACL to read", perms(t, "0660 0:0", named(6, ACLEntry{ACLUser, 1000, 4})...), perms(t, "0755 0:0"), "only root"},
		{"ACL for a group", perms(t, "0660 0:0", named(6, ACLEntry{ACLGroup, 999, 6})...), perms(t, "0755 0:0"), "members of group docker (bob, carol)"},
		{"group's bits are the mask", perms(t, "0660 0:999", named(6)...), perms(t, "0755 0:0"), "only root"},
		{
			"an entry for the user comes before those of groups",
			perms(t, "0660 0:0", named(6, ACLEntry{ACLUser, 1001, 0}, ACLEntry{ACLGroup, 999, 6})...),
			perms(t, "0755 0:0"), "members of group docker (carol)",
		},
		{
			"one of two groups grants",
			perms(t, "0660 0:0", named(6, ACLEntry{ACLGroup, 500, 0}, ACLEntry{ACLGroup, 999, 6})...),
			perms(t, "0755 0:0"), "members of group docker (bob, carol)",
		},
		{
			"a mask of nothing leaves the mode",
			perms(t, "0606 0:0", []ACLEntry{{ACLOwner, 0, 6}, {ACLUser, 1000, 6}, {ACLOwningGroup, 0, 0}, {ACLMask, 0, 0}, {ACLOther, 0, 6}}...),
			perms(t, "0755 0:0"), "every user",
		},
		{
			"folder with an ACL", perms(t, "0666 0:0"),
			perms(t, "0710 0:0", named(1, ACLEntry{ACLUser, 1000, 1})...), "user alice",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := way{
				{Permissions: &tc.folder, want: PermSearch},
				{Permissions: &tc.socket, want: PermWrite},
			}
			got, err := who([]way{w}, testAccounts(t), nil)
			if err != nil || got.String() != tc.want {
				t.Errorf("%v, %v; want %s", got, err, tc.want)
			}
		})
	}
}

// TestWhoWithoutAccounts: who is in which group decides only where a group does.
func TestWhoWithoutAccounts(t *testing.T) {
	for mode, want := range map[string]string{
		"0600 0:0": "only root", "0606 0:0": "every user", "0640 0:999": "only root",
		"0660 0:0": "unknown", "0660 0:999": "unknown", "0600 1000:0": "unknown",
	} {
		p := perms(t, mode)
		w, err := who([]way{{{Permissions: &p, want: PermWrite}}}, accounts{}, os.ErrPermission)
		got := w.String()
		if errors.Is(err, os.ErrPermission) {
			got = "unknown"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
	}
}

func TestRootsGroup(t *testing.T) {
	p := perms(t, "0660 0:0")
	w := []way{{{Permissions: &p, want: PermWrite}}}
	for line, want := range map[string]string{
		"dave:x:1003:0::/home/dave:/bin/bash":    "members of group 0 (dave)",
		"halt:x:7:0:halt:/sbin:/sbin/halt":       "only root",
		"sync:x:4:0:sync:/bin:/bin/sync":         "only root",
		"operator:x:11:0::/:/usr/sbin/nologin":   "only root",
		"operator:x:11:0::/:/bin/bash":           "members of group 0 (operator)",
		"operator:x:1011:0::/:/usr/sbin/nologin": "members of group 0 (operator)",
		"backup:x:990:0::/srv:/usr/sbin/nologin": "members of group 0 (backup)",
		"toor:x:0:0::/root:/bin/sh":              "only root",
	} {
		u, err := parseUserLine(line)
		if err != nil {
			t.Fatal(err)
		}
		got, err := who(w, accounts{users: []user{u}}, nil)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", line, got, err, want)
		}
	}
}

func TestAccounts(t *testing.T) {
	for text, want := range map[string]string{
		"# comment\n\n+::::::\n-bob\nroot:x:0:0:::\n": "",
		"root:x:0:0::/root\n":                         "six more fields",
		"root:x:-1:0:::/bin/sh\n":                     "want the numbers",
		"root:x:0:4294967296:::/bin/sh\n":             "want the numbers",
		":x:0:0:::\n":                                 "want a name",
	} {
		_, err := parseLines(text, parseUserLine)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"root:x:0:\nops:x:5:a,,b": "",
		"root:x:0\n":              "three more fields",
		"root:x:x:\n":             "want the number",
	} {
		_, err := parseLines(text, parseGroupLine)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add("alice:x:1000:1000:Alice:/home/alice:/bin/bash", "docker:x:999:bob,carol")
	f.Add("operator:x:11:0:::/sbin/nologin", "root:x:0:")
	f.Fuzz(func(t *testing.T, userLine, groupLine string) {
		if u, err := parseUserLine(userLine); err == nil {
			line := fmt.Sprintf("%s:x:%d:0:::/sbin/nologin", u.Name, u.ID)
			if len(u.gids) > 0 {
				line = fmt.Sprintf("%s:x:%d:%d:::", u.Name, u.ID, u.gids[0])
			}
			if again, err := parseUserLine(line); err != nil || !reflect.DeepEqual(again, u) {
				t.Errorf("%q: %+v, printed and read again %+v, %v", userLine, u, again, err)
			}
		}
		if g, err := parseGroupLine(groupLine); err == nil {
			line := fmt.Sprintf("%s:x:%d:%s", g.Name, g.ID, strings.Join(g.members, ","))
			if again, err := parseGroupLine(line); err != nil || !reflect.DeepEqual(again, g) {
				t.Errorf("%q: %+v, printed and read again %+v, %v", groupLine, g, again, err)
			}
		}
	})
}

func TestManyGroups(t *testing.T) {
	acl := []ACLEntry{{ACLOwner, 0, 7}, {ACLOwningGroup, 0, 0}}
	for gid := range uint32(1000) {
		acl = append(acl, ACLEntry{ACLGroup, gid + 1, 7})
	}
	acl = append(acl, ACLEntry{ACLMask, 0, 7}, ACLEntry{ACLOther, 0, 0})
	a, b := perms(t, "0770 0:0", acl...), perms(t, "0770 0:0", slices.Clone(acl)...)
	for i := range b.ACL {
		if b.ACL[i].Tag == ACLGroup {
			b.ACL[i].ID += 5000
		}
	}
	_, err := who([]way{{{Permissions: &a, want: PermSearch}, {Permissions: &b, want: PermWrite}}}, accounts{}, nil)
	if !errors.Is(err, errManyGroups) {
		t.Errorf("%v, want %v", err, errManyGroups)
	}
}

// randomACL is a valid one, in the order of the tags.
func randomACL(r *rand.Rand) []ACLEntry {
	acl := []ACLEntry{{ACLOwner, 0, Perm(r.UintN(8))}}
	for uid := range uint32(3) {
		if r.UintN(2) == 0 {
			acl = append(acl, ACLEntry{ACLUser, 1000 + uid, Perm(r.UintN(8))})
		}
	}
	acl = append(acl, ACLEntry{ACLOwningGroup, 0, Perm(r.UintN(8))})
	for gid := range uint32(3) {
		if r.UintN(2) == 0 {
			acl = append(acl, ACLEntry{ACLGroup, 2000 + gid, Perm(r.UintN(8))})
		}
	}
	return append(acl, ACLEntry{ACLMask, 0, Perm(r.UintN(8))}, ACLEntry{ACLOther, 0, Perm(r.UintN(8))})
}

// randomMode lets every other folder be passed: else nearly all is refused.
func randomMode(r *rand.Rand, folder bool) uint32 {
	mode := r.Uint32N(0o1000)
	if folder && r.UintN(2) == 0 {
		mode |= 0o111
	}
	return mode
}

// TestWhoFindsAll compares the sets of groups with all there can be.
func TestWhoFindsAll(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	for range 3000 {
		var w way
		for i := range 3 {
			p := Permissions{Mode: Mode(randomMode(r, i < 2)), Owner: Account{ID: 1000 + r.Uint32N(3)}, Group: Account{ID: 2000 + r.Uint32N(3)}}
			if r.UintN(2) == 0 {
				p.ACL = randomACL(r)
				p.Mode = p.Mode&^0o70 | Mode(p.mask())<<3
			}
			n := need{Permissions: &p, want: PermSearch}
			if i == 2 {
				n.want = PermWrite
			}
			w = append(w, n)
		}
		got, err := who([]way{w}, accounts{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for bits := range 8 {
			var gids []uint32
			for n := range uint32(3) {
				if bits>>n&1 == 1 {
					gids = append(gids, 2000+n)
				}
			}
			told := got.Everyone || slices.ContainsFunc(got.Groups, func(g WhoGroups) bool {
				return !slices.ContainsFunc(g.Groups, func(a Account) bool { return !slices.Contains(gids, a.ID) })
			})
			if w.open(credentials{stranger: true, gids: gids}) && !told {
				t.Fatalf("%v: strangers in %v can pass: told %v", w, gids, got)
			}
		}
		for _, g := range got.Groups {
			var gids []uint32
			for _, a := range g.Groups {
				gids = append(gids, a.ID)
			}
			if !w.open(credentials{stranger: true, gids: gids}) {
				t.Fatalf("%v: strangers in %v cannot pass: told %v", w, gids, got)
			}
		}
		if w.rootOnly() && !got.Nobody() {
			t.Fatalf("%v: root only, yet %v", w, got)
		}
	}
}

// TestPermissionsAsTheKernel compares what the modes, owners and ACLs of random
// sockets and folders say with what the kernel does.
func TestPermissionsAsTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to connect as other users")
	}
	dir := publicDir(t)
	r := rand.New(rand.NewPCG(1, 2))
	var let, refused int
	for n := range 400 {
		socket := randomSocket(t, r, filepath.Join(dir, fmt.Sprint(n)))
		found, err := walk("", socket)
		if err != nil {
			t.Fatal(err)
		}
		s := foundSocket{trails: []*trail{found}}
		for range 6 {
			c := credentials{uid: 1000 + r.Uint32N(4), gids: []uint32{2000 + r.Uint32N(4)}}
			for gid := range uint32(3) {
				if r.UintN(3) == 0 && !c.in(2000+gid) {
					c.gids = append(c.gids, 2000+gid)
				}
			}
			want := s.connectors()[0].open(c)
			err := connectAs(c, socket)
			switch {
			case err == nil && want:
				let++
			case errors.Is(err, unix.EACCES) && !want:
				refused++
			default:
				t.Errorf("uid %d, groups %v: told %v, the kernel says %v\n%s", c.uid, c.gids, want, err, trailText(found))
			}
		}
		found.close()
	}
	t.Logf("%d let in, %d refused", let, refused)
	if let < 200 || refused < 200 {
		t.Error("too few of one kind to tell anything")
	}
}

// publicDir is a new folder that every user can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func randomSocket(t *testing.T, r *rand.Rand, base string) string {
	t.Helper()
	outer, inner := base, filepath.Join(base, "f")
	socket := filepath.Join(inner, "s")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	listenAt(t, socket)
	for _, name := range []string{outer, inner, socket} {
		if err := os.Chown(name, int(1000+r.Uint32N(3)), int(2000+r.Uint32N(3))); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(name, randomMode(r, name != socket)); err != nil {
			t.Fatal(err)
		}
		if r.UintN(2) == 0 {
			continue
		}
		acl := randomACL(r)
		if name != socket && r.UintN(2) == 0 {
			for i := range acl {
				acl[i].Perm |= 1
			}
		}
		if err := unix.Setxattr(name, accessACL, formatACL(acl), 0); err != nil {
			t.Fatalf("setxattr %s: %v: the tests need a file system with ACLs", name, err)
		}
	}
	return socket
}

func listenAt(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// connectAs connects with other credentials.
func connectAs(c credentials, socket string) error {
	return asThread(c, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // nothing was sent
		return unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	})
}

// asThread runs f with other credentials on a thread of its own, which ends with
// it: raw calls set those of one thread.
func asThread(c credentials, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := become(c); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

func become(c credentials) error {
	groups := slices.Clone(c.gids)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)-1), uintptr(unsafe.Pointer(&groups[1%len(groups)])), 0); errno != 0 {
		return errno
	}
	gid, uid := uintptr(c.gids[0]), uintptr(c.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return errno
	}
	return nil
}

func trailText(t *trail) string {
	var b strings.Builder
	for _, p := range append(slices.Clone(t.folders), t.socket) {
		fmt.Fprintf(&b, "%s %v %v\n", p.path, modeText(p.Permissions), p.ACL)
	}
	return b.String()
}
