package caps

import "testing"

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		s    Set
		want string
	}{
		{0, "0x0000000000000000="},
		{Of(Chown, NetRaw), "0x0000000000002001=cap_chown,cap_net_raw"},
		{Of(CheckpointRestore, 41, 63), "0x8000030000000000=cap_checkpoint_restore,41,63"},
	} {
		if got := tc.s.Decode(); got != tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
	}
}

func TestText(t *testing.T) {
	all := UpTo(CheckpointRestore)
	for _, tc := range []struct {
		name            string
		s               State
		text, iab, both string
	}{
		{
			"root",
			State{Effective: all, Permitted: all, Bounding: all},
			"=ep", "", `"=ep"`,
		},
		{
			"no capabilities",
			State{Bounding: all},
			"=", "", "",
		},
		{
			"bounding only",
			State{Bounding: all.Minus(Of(SysModule))},
			"=", "!cap_sys_module", "[!cap_sys_module]",
		},
		{
			"one",
			State{Effective: Of(Chown), Permitted: Of(Chown), Bounding: all},
			"cap_chown=ep", "", `"cap_chown=ep"`,
		},
		{
			"most but one",
			State{Effective: all.Minus(Of(SysModule)), Permitted: all, Bounding: all.Minus(Of(SysModule))},
			"=ep cap_sys_module-e", "!cap_sys_module", `"=ep cap_sys_module-e" [!cap_sys_module]`,
		},
		{
			"two groups",
			State{Effective: Of(Kill), Permitted: Of(Kill, NetRaw), Inheritable: Of(NetRaw), Bounding: all},
			"cap_net_raw=ip cap_kill+ep", "cap_net_raw", `"cap_net_raw=ip cap_kill+ep" [cap_net_raw]`,
		},
		{
			"ambient",
			State{
				Effective: Of(Kill), Permitted: Of(Kill), Inheritable: Of(Kill, Chown, Setuid), Ambient: Of(Kill),
				Bounding: all.Minus(Of(Chown)),
			},
			"cap_kill=eip cap_chown,cap_setuid+i", "!%cap_chown,^cap_kill,cap_setuid",
			`"cap_kill=eip cap_chown,cap_setuid+i" [!%cap_chown,^cap_kill,cap_setuid]`,
		},
		{
			"as many with as without",
			State{Effective: UpTo(19), Permitted: UpTo(39), Bounding: all},
			"=p " + UpTo(19).lower() + "+e cap_checkpoint_restore-p", "",
			`"=p ` + UpTo(19).lower() + `+e cap_checkpoint_restore-p"`,
		},
		{
			"above the last",
			State{Effective: Of(63), Permitted: Of(63, 50), Bounding: all},
			"= 63+ep 50+p", "", `"= 63+ep 50+p"`,
		},
	} {
		if got := tc.s.Text(CheckpointRestore); got != tc.text {
			t.Errorf("%s: text %q, want %q", tc.name, got, tc.text)
		}
		if got := tc.s.IAB(CheckpointRestore); got != tc.iab {
			t.Errorf("%s: IAB %q, want %q", tc.name, got, tc.iab)
		}
		if got := tc.s.TextIAB(CheckpointRestore); got != tc.both {
			t.Errorf("%s: both %q, want %q", tc.name, got, tc.both)
		}
	}
}

// TestTextOlderKernel: what is most depends on how many capabilities the kernel has.
func TestTextOlderKernel(t *testing.T) {
	all := UpTo(AuditRead)
	s := State{Effective: all, Permitted: all, Bounding: all}
	if got := s.Text(AuditRead); got != "=ep" {
		t.Errorf("text %q, want =ep", got)
	}
	if got := s.IAB(AuditRead); got != "" {
		t.Errorf("IAB %q, want none", got)
	}
}
