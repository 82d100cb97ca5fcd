package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

func TestParseUserRefuses(t *testing.T) {
	const good = "Uid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nGroups:\t9 8 8 \n"
	u, err := parseUser([]byte(good))
	if err != nil || u.UID != (IDs{0, 1, 2, 3}) || u.GID != (IDs{4, 5, 6, 7}) || fmt.Sprint(u.Groups) != "[8 9]" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{
		"", "Uid:\t0\t1\t2\n", strings.Replace(good, "Uid", "uid", 1), strings.Replace(good, "4\t5", "4\tx", 1),
		strings.Replace(good, "9 8", "9 4294967296", 1), strings.Replace(good, "Groups", "Group", 1), strings.Replace(good, "\t0\t", "\t-1\t", 1),
	} {
		if u, err := parseUser([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}

func TestParseSeccomp(t *testing.T) {
	for text, want := range map[string]struct {
		mode    SeccompMode
		filters Known
		err     string
	}{
		"Seccomp:\t0\nSeccomp_filters:\t0\n": {mode: SeccompDisabled, filters: Present},
		"Seccomp:\t2\nSeccomp_filters:\t3\n": {mode: SeccompFilter, filters: Present},
		"Seccomp:\t1\n":                      {mode: SeccompStrict, filters: Absent}, // before Linux 5.9
		"":                                   {err: "no line Seccomp"},
		"Seccomp:\t3\n":                      {err: "want 0, 1 or 2"},
		"Seccomp:\t\n":                       {err: "want 0, 1 or 2"},
		"Seccomp:\t2\nSeccomp_filters:\tx\n": {err: "want a number"},
	} {
		s, err := parseSeccomp([]byte(text))
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%q: %v, want %s", text, err, want.err)
			}
			continue
		}
		if err != nil || s.Mode != want.mode || s.Filters.Known() != want.filters {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestLabels(t *testing.T) {
	for _, tc := range []struct {
		name              string
		files             map[string]string
		apparmor, selinux string // empty: absent
	}{
		{"AppArmor", map[string]string{"attr/apparmor/current": "cri-containerd.apparmor.d (enforce)\n", "attr/current": "cri-containerd.apparmor.d (enforce)\n"}, "cri-containerd.apparmor.d (enforce)", ""},
		{"AppArmor before Linux 5.8", map[string]string{"attr/current": "unconfined\n"}, "unconfined", ""},
		{"a nested profile", map[string]string{"attr/current": ":ns:a//&:b:c (enforce)\n"}, ":ns:a//&:b:c (enforce)", ""},
		{"SELinux", map[string]string{"attr/current": "system_u:system_r:container_t:s0:c1,c2\x00"}, "", "system_u:system_r:container_t:s0:c1,c2"},
		{"neither", nil, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			apparmor, selinux := labels(recorded(t, tc.files))
			for what, f := range map[string]struct {
				fact Fact[string]
				want string
			}{"apparmor": {apparmor, tc.apparmor}, "selinux": {selinux, tc.selinux}} {
				v, ok := f.fact.Value()
				if v != f.want || ok != (f.want != "") || f.fact.Known() == Unknown {
					t.Errorf("%s: %q, %v", what, v, f.fact.Known())
				}
			}
		})
	}
}

// recorded makes a process folder of files written for a test.
func recorded(t *testing.T, files map[string]string) *procfs.Process {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "7")
	if err := os.MkdirAll(filepath.Join(dir, "attr", "apparmor"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := procfs.FS{Proc: root}.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func FuzzParseStatusLines(f *testing.F) {
	f.Add([]byte("Uid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nGroups:\t9 8 \nSeccomp:\t2\nSeccomp_filters:\t1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if u, err := parseUser(data); err == nil {
			text := fmt.Sprintf("Uid: %d %d %d %d\nGid: %d %d %d %d\nGroups: %s\n", u.UID.Real, u.UID.Effective, u.UID.Saved, u.UID.Filesystem,
				u.GID.Real, u.GID.Effective, u.GID.Saved, u.GID.Filesystem, strings.Trim(fmt.Sprint(u.Groups), "[]"))
			back, err := parseUser([]byte(text))
			if err != nil || back.UID != u.UID || back.GID != u.GID || fmt.Sprint(back.Groups) != fmt.Sprint(u.Groups) {
				t.Errorf("%q reads back as %+v, %v; want %+v", text, back, err, u)
			}
		}
		if s, err := parseSeccomp(data); err == nil && s.Mode == "" {
			t.Errorf("no mode and no error from %q", data)
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"capabilities":{"bounding":["CAP_CHOWN"]},"user":{"uid":1}},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSpec(data)
		if err != nil {
			return
		}
		var r Report
		declare(&r, s)
		if r.Capabilities.Declared.Known() == Absent || r.User.Declared.Known() != Present {
			t.Errorf("capabilities %v, user %v", r.Capabilities.Declared.Known(), r.User.Declared.Known())
		}
		if sets, ok := r.Capabilities.Declared.Value(); ok {
			s.amountsToPrivileged(^sets.Bounding, sets)
		}
		cgroupFits([]byte("0::/a\n"), s.cgroupsPath(), "a")
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"Version":"v1","Metadata":{"Config":{"linux":{"security_context":{"capabilities":{"add_capabilities":["ALL"]},"apparmor":{"profile_type":2,"localhost_ref":"p"}}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := parseRequest(data)
		if err != nil {
			return
		}
		var r Report
		ask(&r, q.security(), Fact[caps.Set]{})
		if r.NoNewPrivs.Requested.Known() != Present {
			t.Error("no_new_privs is not known")
		}
	})
}

// TestOurselves: taking our own maps and the lack of a security module for
// another process's gives the same as reading the process.
func TestOurselves(t *testing.T) {
	p, err := procfs.FS{}.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	known := readOurselves(procfs.FS{})
	for _, s := range []ourselves{known, {}, {userLink: "user:[1]"}} {
		if got, want := fmt.Sprint(s.userNamespace(p)), fmt.Sprint(userNamespace(p)); got != want {
			t.Errorf("user namespace %s, want %s", got, want)
		}
		apparmor, selinux := s.labels(p)
		wantApparmor, wantSELinux := labels(p)
		if fmt.Sprint(apparmor, selinux) != fmt.Sprint(wantApparmor, wantSELinux) {
			t.Errorf("labels %v %v, want %v %v", apparmor, selinux, wantApparmor, wantSELinux)
		}
	}
}
