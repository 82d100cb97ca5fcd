package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
)

// usual is the report of a container without anything special: nothing
// requested but the default, all of it in force.
func usual() *Report {
	set := caps.DefaultContainerd
	r := &Report{}
	r.Tier = KnownFact(TierHostKernel, "")
	r.Capabilities.Requested = requested(CapabilityRequest{Result: requested(set)})
	r.Capabilities.Declared = declared(CapabilitySets{Permitted: set, Effective: set, Bounding: set})
	r.Capabilities.InForce = KnownFact(caps.State{Permitted: set, Effective: set, Bounding: set, NoNewPrivs: caps.NoNewPrivsOff}, "")
	r.User.Requested = notRequested[UserRequest]("user")
	r.User.Declared = declared(User{Groups: []uint32{0, 10}})
	r.User.InForce = KnownFact(UserInForce{Inside: KnownFact(User{Groups: []uint32{0, 10}}, "")}, "")
	r.NoNewPrivs = threeBools(false, false, false)
	r.Seccomp.Requested = requested(SeccompRequest{Profile: "RuntimeDefault"})
	r.Seccomp.Declared = declared(SeccompDeclared{DefaultAction: "SCMP_ACT_ERRNO", Rules: 1})
	r.Seccomp.InForce = KnownFact(SeccompInForce{Mode: SeccompFilter}, "")
	r.AppArmor.Requested = requested("RuntimeDefault")
	r.AppArmor.Declared = declared("cri-containerd.apparmor.d")
	r.AppArmor.InForce = KnownFact("cri-containerd.apparmor.d (enforce)", "")
	r.SELinux.Requested = notRequested[string]("label")
	r.SELinux.Declared = declaredLabel("")
	r.SELinux.InForce = AbsentFact[string](noLSM)
	r.ReadonlyRootfs = threeBools(false, false, false)
	r.Privileged = threeBools(false, false, false)
	r.UserNamespace.Requested = requested(false)
	r.UserNamespace.Declared = declared(false)
	r.UserNamespace.InForce = KnownFact(UserNamespace{Initial: true}, "")
	return r
}

func threeBools(a, b, c bool) Setting[bool, bool, bool] {
	return Setting[bool, bool, bool]{Requested: requested(a), Declared: declared(b), InForce: KnownFact(c, "")}
}

func state(bounding, effective caps.Set) Fact[caps.State] {
	return KnownFact(caps.State{Bounding: bounding, Permitted: effective, Effective: effective}, "")
}

func insideUser(u User) Fact[UserInForce] {
	return KnownFact(UserInForce{Inside: KnownFact(u, "")}, "")
}

func TestDrift(t *testing.T) {
	set := caps.DefaultContainerd
	admin := caps.Of(caps.SysAdmin)
	for _, tc := range []struct {
		name   string
		change func(*Report)
		// want has a line for each difference: setting, levels, and "explained"
		// where there is a reason.
		want []string
	}{
		{name: "usual", change: func(*Report) {}},
		{
			name: "declared wider than requested",
			change: func(r *Report) {
				r.Capabilities.Declared = declared(CapabilitySets{Permitted: set, Effective: set, Bounding: set.Union(admin)})
				r.Capabilities.InForce = state(set.Union(admin), set.Union(admin))
			},
			want: []string{
				"capabilities.bounding requested>declared",
				"capabilities.permitted declared>in force explained", // execve as root
				"capabilities.effective declared>in force explained",
			},
		},
		{
			name:   "in force wider than declared",
			change: func(r *Report) { r.Capabilities.InForce = state(set.Union(admin), set.Union(admin)) },
			want: []string{
				"capabilities.permitted declared>in force",
				"capabilities.effective declared>in force",
				"capabilities.bounding declared>in force",
			},
		},
		{
			name:   "the process gave capabilities up",
			change: func(r *Report) { r.Capabilities.InForce = state(set, 0) },
			want: []string{
				"capabilities.permitted declared>in force explained",
				"capabilities.effective declared>in force explained",
			},
		},
		{
			name: "not root",
			change: func(r *Report) {
				r.User.Declared = declared(User{UID: 1000, GID: 1000})
				r.User.InForce = insideUser(User{UID: 1000, GID: 1000})
				r.Capabilities.InForce = state(set, 0)
			},
			want: []string{
				"capabilities.permitted declared>in force explained",
				"capabilities.effective declared>in force explained",
			},
		},
		{
			name: "not root, and more than execve leaves, with no_new_privs",
			change: func(r *Report) {
				r.User.Declared = declared(User{UID: 1000, GID: 1000})
				r.User.InForce = insideUser(User{UID: 1000, GID: 1000})
				r.NoNewPrivs = threeBools(true, true, true)
				r.Capabilities.InForce = state(set, caps.Of(caps.Chown))
			},
			want: []string{
				"capabilities.permitted declared>in force",
				"capabilities.effective declared>in force",
			},
		},
		{
			name: "not root, with a program that has file capabilities",
			change: func(r *Report) {
				r.User.Declared = declared(User{UID: 1000, GID: 1000})
				r.User.InForce = insideUser(User{UID: 1000, GID: 1000})
				r.Capabilities.InForce = state(set, caps.Of(caps.NetRaw))
			},
			want: []string{
				"capabilities.permitted declared>in force explained",
				"capabilities.effective declared>in force explained",
			},
		},
		{
			name: "a user became root",
			change: func(r *Report) {
				r.User.Declared = declared(User{UID: 1000, GID: 1000})
				r.User.InForce = insideUser(User{UID: 0, GID: 1000})
				r.Capabilities.InForce = state(set, 0)
			},
			want: []string{
				"capabilities.permitted declared>in force explained",
				"capabilities.effective declared>in force explained",
				"user.uid declared>in force",
			},
		},
		{
			name:   "root became a user",
			change: func(r *Report) { r.User.InForce = insideUser(User{UID: 33, GID: 33, Groups: []uint32{33}}) },
			want: []string{
				"user.uid declared>in force explained",
				"user.gid declared>in force explained",
				"user.groups declared>in force explained",
			},
		},
		{
			name: "another user was asked for",
			change: func(r *Report) {
				uid, gid := int64(1000), int64(3000)
				r.User.Requested = requested(UserRequest{UID: &uid, GID: &gid})
			},
			want: []string{"user.uid requested>declared", "user.gid requested>declared"},
		},
		{
			name:   "no_new_privs lost",
			change: func(r *Report) { r.NoNewPrivs = threeBools(true, true, false) },
			want:   []string{"noNewPrivs declared>in force"},
		},
		{
			name:   "no_new_privs turned on by the process",
			change: func(r *Report) { r.NoNewPrivs = threeBools(false, false, true) },
			want:   []string{"noNewPrivs declared>in force explained"},
		},
		{
			name:   "seccomp lost on the way to the specification",
			change: func(r *Report) { r.Seccomp.Declared = AbsentFact[SeccompDeclared](""); r.Seccomp.InForce = off() },
			want:   []string{"seccomp requested>declared"},
		},
		{
			name:   "seccomp lost on the way to the kernel",
			change: func(r *Report) { r.Seccomp.InForce = off() },
			want:   []string{"seccomp declared>in force"},
		},
		{
			name: "a filter nobody declared",
			change: func(r *Report) {
				r.Seccomp.Requested = requested(SeccompRequest{Profile: "Unconfined"})
				r.Seccomp.Declared = AbsentFact[SeccompDeclared]("")
			},
			want: []string{"seccomp declared>in force explained"},
		},
		{
			name: "unknown is not compared",
			change: func(r *Report) {
				r.Seccomp.Declared = UnknownFact[SeccompDeclared](errors.New("x"))
				r.Seccomp.InForce = off()
			},
		},
		{
			name:   "AppArmor only complains",
			change: func(r *Report) { r.AppArmor.InForce = KnownFact("cri-containerd.apparmor.d (complain)", "") },
			want:   []string{"apparmor declared>in force"},
		},
		{
			name:   "AppArmor is another one",
			change: func(r *Report) { r.AppArmor.InForce = KnownFact("unconfined", "") },
			want:   []string{"apparmor declared>in force"},
		},
		{
			name:   "AppArmor does not run",
			change: func(r *Report) { r.AppArmor.InForce = AbsentFact[string](noLSM) },
			want:   []string{"apparmor declared>in force"},
		},
		{
			name:   "AppArmor's label is absent as no process runs",
			change: func(r *Report) { r.AppArmor.InForce = AbsentFact[string]("no process runs") },
		},
		{
			name: "AppArmor was asked for in a kernel without",
			change: func(r *Report) {
				r.AppArmor.Requested = requested("localhost/mine")
				r.AppArmor.Declared = declaredLabel("")
				r.AppArmor.InForce = AbsentFact[string](noLSM)
			},
			want: []string{"apparmor requested>declared explained"},
		},
		{
			name:   "another AppArmor profile was asked for",
			change: func(r *Report) { r.AppArmor.Requested = requested("Localhost/mine") },
			want:   []string{"apparmor requested>declared"},
		},
		{
			name: "no AppArmor was asked for",
			change: func(r *Report) {
				r.AppArmor.Requested = requested("Unconfined")
				r.AppArmor.Declared = declared("unconfined")
				r.AppArmor.InForce = KnownFact("unconfined", "")
			},
		},
		{
			name: "SELinux",
			change: func(r *Report) {
				r.SELinux.Declared = declared("system_u:system_r:container_t:s0:c1,c2")
				r.SELinux.InForce = KnownFact("system_u:system_r:spc_t:s0", "")
			},
			want: []string{"selinux declared>in force"},
		},
		{
			name:   "read-only root lost",
			change: func(r *Report) { r.ReadonlyRootfs = threeBools(true, true, false) },
			want:   []string{"readonlyRootfs declared>in force"},
		},
		{
			name:   "root file system is read-only by itself",
			change: func(r *Report) { r.ReadonlyRootfs = threeBools(false, false, true) },
			want:   []string{"readonlyRootfs declared>in force explained"},
		},
		{
			name:   "privileged without having been asked for",
			change: func(r *Report) { r.Privileged = threeBools(false, true, true) },
			want:   []string{"privileged requested>declared"},
		},
		{
			name:   "user namespace silently not given",
			change: func(r *Report) { r.UserNamespace.Requested = requested(true) },
			want:   []string{"userNamespace requested>declared"},
		},
		{
			name: "user namespace declared and not in force",
			change: func(r *Report) {
				r.UserNamespace.Requested = requested(true)
				r.UserNamespace.Declared = declared(true)
			},
			want: []string{"userNamespace declared>in force"},
		},
		{
			name: "the kernel shows the sandbox of gVisor",
			change: func(r *Report) {
				r.Tier = KnownFact(TierSandbox, "")
				r.Capabilities.InForce = state(^caps.Set(0), ^caps.Set(0))
				r.Seccomp.InForce = off()
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := usual()
			tc.change(r)
			var got []string
			for _, d := range drift(r) {
				line := fmt.Sprintf("%s %s>%s", d.Setting, d.From, d.To)
				if d.Reason != "" {
					line += " explained"
				}
				if d.Want == d.Have {
					t.Errorf("%s: want and have are both %q", line, d.Want)
				}
				got = append(got, line)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func off() Fact[SeccompInForce] { return KnownFact(SeccompInForce{Mode: SeccompDisabled}, "") }

func TestAfterExec(t *testing.T) {
	chown, kill, raw := caps.Of(caps.Chown), caps.Of(caps.Kill), caps.Of(caps.NetRaw)
	for _, tc := range []struct {
		name       string
		declared   CapabilitySets
		uid        uint32
		noNewPrivs bool
		want       caps.Set
	}{
		{"root gets the bounding set", CapabilitySets{Permitted: chown, Effective: 0, Bounding: chown.Union(kill)}, 0, false, chown.Union(kill)},
		{"root gets the inheritable set too", CapabilitySets{Inheritable: raw, Bounding: kill}, 0, false, raw.Union(kill)},
		{"root with no_new_privs gains nothing", CapabilitySets{Permitted: chown, Bounding: chown.Union(kill)}, 0, true, chown},
		{"a user keeps the ambient set", CapabilitySets{Permitted: chown.Union(kill), Inheritable: kill, Ambient: kill, Bounding: chown.Union(kill)}, 1000, false, kill},
		{"a user keeps nothing else", CapabilitySets{Permitted: chown, Effective: chown, Bounding: chown}, 1000, false, 0},
	} {
		got := afterExec(tc.declared, tc.uid, tc.noNewPrivs)
		if got.Permitted != tc.want || got.Effective != tc.want {
			t.Errorf("%s: permitted %s, effective %s; want %s", tc.name, got.Permitted, got.Effective, tc.want)
		}
	}
}
