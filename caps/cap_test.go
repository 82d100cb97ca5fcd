package caps

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
)

func TestCapNames(t *testing.T) {
	for _, tc := range []struct {
		c    Cap
		want string
	}{
		{Chown, "CAP_CHOWN"},
		{DACOverride, "CAP_DAC_OVERRIDE"},
		{NetBindService, "CAP_NET_BIND_SERVICE"},
		{SysAdmin, "CAP_SYS_ADMIN"},
		{Mknod, "CAP_MKNOD"},
		{AuditRead, "CAP_AUDIT_READ"},
		{BPF, "CAP_BPF"},
		{CheckpointRestore, "CAP_CHECKPOINT_RESTORE"},
		{41, "CAP_41"},
		{63, "CAP_63"},
		{200, "CAP_200"},
	} {
		if got := tc.c.String(); got != tc.want {
			t.Errorf("Cap(%d) is %s, want %s", uint8(tc.c), got, tc.want)
		}
	}
}

// TestConstants holds our constants to the numbers of moby/sys/capability: each name, without its underscores, is ours.
func TestConstants(t *testing.T) {
	ours := []Cap{
		Chown, DACOverride, DACReadSearch, Fowner, Fsetid, Kill, Setgid, Setuid, Setpcap, LinuxImmutable, NetBindService,
		NetBroadcast, NetAdmin, NetRaw, IPCLock, IPCOwner, SysModule, SysRawio, SysChroot, SysPtrace, SysPacct, SysAdmin, SysBoot,
		SysNice, SysResource, SysTime, SysTTYConfig, Mknod, Lease, AuditWrite, AuditControl, Setfcap, MACOverride, MACAdmin, Syslog,
		WakeAlarm, BlockSuspend, AuditRead, Perfmon, BPF, CheckpointRestore,
	}
	known := capability.ListKnown()
	if len(ours) != len(known) {
		t.Fatalf("%d constants, moby/sys/capability knows %d", len(ours), len(known))
	}
	for i, c := range known {
		if int(ours[i]) != int(c) || ours[i].String() != "CAP_"+strings.ToUpper(c.String()) {
			t.Errorf("constant %d is %s, want %s", i, ours[i], c)
		}
	}
}

func TestParseCap(t *testing.T) {
	for _, tc := range []struct {
		name string
		want Cap
		err  string
	}{
		{name: "CAP_SYS_ADMIN", want: SysAdmin},
		{name: "cap_sys_admin", want: SysAdmin},
		{name: "Sys_Admin", want: SysAdmin},
		{name: "CAP_0", want: Chown},
		{name: "CAP_63", want: 63},
		{name: "41", want: 41},
		{name: "CAP_64", err: `capability "CAP_64": want a name`},
		{name: "CAP_256", err: `"CAP_256"`},
		{name: "CAP_041", err: `"CAP_041"`},
		{name: "CAP_+1", err: `"CAP_+1"`},
		{name: "CAP_", err: `"CAP_"`},
		{name: "", err: `capability ""`},
		{name: "ALL", err: `"ALL"`},
		{name: "ſys_admin", err: `"ſys_admin"`},
		{name: " CAP_CHOWN", err: `" CAP_CHOWN"`},
		{name: "CAP_CAP_CHOWN", err: `"CAP_CAP_CHOWN"`},
		{name: "CAP_\x1b[2J\n", err: `"CAP_\x1b[2J\n"`},
		{name: strings.Repeat("A", 1000), err: strings.Repeat("A", 60) + `…"`},
	} {
		got, err := ParseCap(tc.name)
		checkError(t, tc.name, err, tc.err)
		if got != tc.want {
			t.Errorf("ParseCap(%q) = %s, want %s", tc.name, got, tc.want)
		}
	}
}

// checkError fails unless err is nil when want is empty, or else is one line with want in it that wraps ErrSyntax.
func checkError(t *testing.T, input string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%.40q: %v", input, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%.40q: no error, want %s", input, want)
		return
	}
	if !errors.Is(err, ErrSyntax) {
		t.Errorf("%.40q: %v does not wrap ErrSyntax", input, err)
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.ContainsAny(text, "\n\x1b") || len(text) > 240 {
		t.Errorf("%.40q: error %q, want one short line with %s", input, text, want)
	}
}
