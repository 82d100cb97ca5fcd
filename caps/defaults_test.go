package caps

import (
	"slices"
	"testing"
)

func TestDefaults(t *testing.T) {
	for _, tc := range []struct {
		s    Set
		mask string
		size int
	}{
		{DefaultContainerd, "00000000a80425fb", 14},
		{DefaultCRIO, "00000000000005fb", 9},
		{DefaultPodman, "00000000800405fb", 11},
	} {
		if tc.s.Mask() != tc.mask || tc.s.Len() != tc.size {
			t.Errorf("%s, %d capabilities; want %s, %d", tc.s.Mask(), tc.s.Len(), tc.mask, tc.size)
		}
	}
	var runtimes []string
	for _, d := range Defaults() {
		runtimes = append(runtimes, d.Runtime)
		if d.Set.IsEmpty() || d.Since == "" {
			t.Errorf("%s: %+v", d.Runtime, d)
		}
	}
	if !slices.Equal(runtimes, []string{"containerd", "docker", "cri-o", "podman"}) {
		t.Errorf("runtimes %q", runtimes)
	}
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct {
		s, from Set
		want    Diff
	}{
		{DefaultContainerd, DefaultContainerd, Diff{}},
		{Of(NetBindService), DefaultCRIO, Diff{Removed: DefaultCRIO.Minus(Of(NetBindService))}},
		{DefaultContainerd | Of(SysAdmin, 63), DefaultContainerd, Diff{Added: Of(SysAdmin, 63)}},
		{
			DefaultContainerd, DefaultPodman,
			Diff{Added: Of(NetRaw, Mknod, AuditWrite)},
		},
		{DefaultPodman, DefaultContainerd, Diff{Removed: Of(NetRaw, Mknod, AuditWrite)}},
	} {
		if got := tc.s.Diff(tc.from); got != tc.want {
			t.Errorf("%s from %s: %+v, want %+v", tc.s, tc.from, got, tc.want)
		}
	}
}
