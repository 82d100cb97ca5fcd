package caps

import (
	"encoding/json"
	"testing"
)

func TestReach(t *testing.T) {
	for _, tc := range []struct {
		name               string
		s                  State
		now, raise, onExec Set
	}{
		{
			name: "root of a default container",
			s: State{
				Effective: DefaultContainerd, Permitted: DefaultContainerd, Bounding: DefaultContainerd, NoNewPrivs: NoNewPrivsOff,
			},
			now: DefaultContainerd,
		},
		{
			name:   "user of a default container, set-user-ID programs work",
			s:      State{Bounding: DefaultContainerd, NoNewPrivs: NoNewPrivsOff},
			onExec: DefaultContainerd,
		},
		{
			name: "user of a default container, with no_new_privs",
			s:    State{Bounding: DefaultContainerd, NoNewPrivs: NoNewPrivsOn},
		},
		{
			name:   "an unknown no_new_privs does not protect",
			s:      State{Bounding: DefaultContainerd},
			onExec: DefaultContainerd,
		},
		{
			name:  "permitted, not effective",
			s:     State{Effective: Of(Chown), Permitted: Of(Chown, Kill), Bounding: Of(Chown), NoNewPrivs: NoNewPrivsOn},
			now:   Of(Chown),
			raise: Of(Kill),
		},
		{
			name:   "inheritable passes the bounding set by",
			s:      State{Inheritable: Of(NetRaw), Bounding: Of(Chown), NoNewPrivs: NoNewPrivsOff},
			onExec: Of(Chown, NetRaw),
		},
		{
			name: "inheritable with no_new_privs",
			s:    State{Inheritable: Of(NetRaw), NoNewPrivs: NoNewPrivsOn},
		},
	} {
		got := tc.s.Reach(UserNSInitial)
		want := Reach{Now: tc.now, Raise: tc.raise, OnExec: tc.onExec, NoNewPrivs: tc.s.NoNewPrivs, UserNS: UserNSInitial}
		if got != want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, want)
		}
		if got.All() != tc.now|tc.raise|tc.onExec {
			t.Errorf("%s: all %s", tc.name, got.All())
		}
	}
}

func TestReachDanger(t *testing.T) {
	s := State{Effective: Of(SysAdmin, NetBroadcast, 63), Bounding: Of(NetRaw)}
	for _, tc := range []struct {
		ns   UserNS
		c    Cap
		want Danger
	}{
		{UserNSInitial, SysAdmin, DangerCritical},
		{UserNSUnknown, SysAdmin, DangerCritical},
		{UserNSOther, SysAdmin, DangerLow},
		{UserNSInitial, NetRaw, DangerMedium},
		{UserNSOther, NetRaw, DangerLow},
		{UserNSOther, NetBroadcast, DangerNone},
		{UserNSInitial, 63, DangerUnknown},
		{UserNSOther, 63, DangerUnknown},
		{UserNSInitial, SysModule, DangerNone},
	} {
		if got := s.Reach(tc.ns).Danger(tc.c); got != tc.want {
			t.Errorf("%s in namespace %s: %s, want %s", tc.c, tc.ns, got, tc.want)
		}
	}
}

func TestReachJSON(t *testing.T) {
	r := State{Effective: Of(Chown), Bounding: Of(Kill)}.Reach(UserNSUnknown)
	r.UserNSError = "readlink /proc/1/ns/user: permission denied"
	const want = `{"now":["CAP_CHOWN"],"raise":[],"onExec":["CAP_KILL"],"noNewPrivs":null,"userNamespace":"unknown",` +
		`"userNamespaceError":"readlink /proc/1/ns/user: permission denied"}`
	got, err := json.Marshal(r)
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	var back Reach
	if err := json.Unmarshal(got, &back); err != nil || back != r {
		t.Errorf("comes back as %+v, %v", back, err)
	}
	var ns UserNS
	checkError(t, "host", ns.UnmarshalText([]byte("host")), `user namespace "host": want unknown, initial or other`)
}

func TestParseUserNS(t *testing.T) {
	for _, tc := range []struct {
		link string
		want UserNS
		err  string
	}{
		{link: "user:[4026531837]", want: UserNSInitial},
		{link: "user:[4026532571]", want: UserNSOther},
		{link: "user:[]", err: `link "user:[]": want user:[inode]`},
		{link: "user:[-1]", err: "want user"},
		{link: "user:[4026531837", err: "want user"},
		{link: "net:[4026531837]", err: "want user"},
		{link: "", err: "want user"},
	} {
		got, err := ParseUserNS(tc.link)
		checkError(t, tc.link, err, tc.err)
		if got != tc.want {
			t.Errorf("%q is %s, want %s", tc.link, got, tc.want)
		}
	}
}
