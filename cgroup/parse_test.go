package cgroup

import (
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func checkSyntax(t *testing.T, text string, err error) {
	t.Helper()
	if !errors.Is(err, ErrSyntax) || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 500 {
		t.Errorf("%q: %v, want one short line that wraps ErrSyntax", text, err)
	}
}

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"max": Max, "0": LimitOf(0), "134217728": LimitOf(134217728), "18446744073709551615": LimitOf(1<<64 - 1),
	} {
		if got, err := ParseLimit(text); err != nil || got != want || got.String() != text {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MAX", "max\n", "-1", "+1", "1_0", "0x1", "1 ", "18446744073709551616", "absent"} {
		_, err := ParseLimit(text)
		checkSyntax(t, text, err)
	}
}

func TestParseLegacyLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"9223372036854771712": Max, // pages of 4 KiB
		"9223372036854759424": Max, // 16 KiB
		"9223372036854710272": Max, // 64 KiB
		"9223372036854775807": Max, // before Linux 3.19
		"9223372036854710271": LimitOf(9223372036854710271),
		"134217728":           LimitOf(134217728),
		"0":                   LimitOf(0),
	} {
		if got, err := ParseLegacyLimit(text); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "max", "-1", "1.5", "00", "01"} {
		_, err := ParseLegacyLimit(text)
		checkSyntax(t, text, err)
	}
}

func TestLimitZero(t *testing.T) {
	var l Limit
	if _, ok := l.Value(); ok || l.IsMax() || l.Bounds() || l.String() != "absent" {
		t.Errorf("the zero limit is %s", l)
	}
	var f Fact[Limit]
	if f.Known() != Unknown || f.Cause() == nil {
		t.Errorf("the zero fact is %s, %v", f.Known(), f.Cause())
	}
	var e Effective[Limit]
	if _, ok := e.Value(); ok || e.Cause() == nil {
		t.Error("the zero effective limit is known")
	}
}

func TestLimitJSON(t *testing.T) {
	for want, l := range map[string]Limit{
		"null": {}, `"max"`: Max, "0": LimitOf(0), "9007199254740992": LimitOf(1 << 53), `"9007199254740993"`: LimitOf(1<<53 + 1),
		`"18446744073709551615"`: LimitOf(1<<64 - 1),
	} {
		data, err := json.Marshal(l)
		var back Limit
		if err != nil || string(data) != want || json.Unmarshal(data, &back) != nil || back != l {
			t.Errorf("%s is %s, back %s, %v", l, data, back, err)
		}
	}
	for _, text := range []string{`"5"`, `"min"`, "-1", "1.5", "9007199254740993", "true", `""`, `"0x5"`, "{}", "1e3"} {
		var l Limit
		if err := json.Unmarshal([]byte(text), &l); err == nil || l != (Limit{}) {
			t.Errorf("%s is read as %s", text, l)
		}
	}
}

func TestParseCPUMax(t *testing.T) {
	for text, cores := range map[string]float64{"50000 100000": 0.5, "1000 1000000": 0.001, "250000 100000": 2.5} {
		m, err := ParseCPUMax(text)
		if got, ok := m.Cores(); err != nil || !ok || got != cores || m.String() != text {
			t.Errorf("%q is %s, %v cores, %v", text, m, got, err)
		}
	}
	m, err := ParseCPUMax("max 100000")
	if _, ok := m.Cores(); err != nil || ok || m.Bounds() {
		t.Errorf("max is %s, %v", m, err)
	}
	for _, text := range []string{"", "max", "50000", "50000 0", "50000  100000", "50000 max", "-1 100000", "50000 100000 1", "absent 1"} {
		_, err := ParseCPUMax(text)
		checkSyntax(t, text, err)
	}
	for text, want := range map[string]Limit{"-1": Max, "50000": LimitOf(50000), "0": LimitOf(0)} {
		if got, err := ParseQuota(text); err != nil || got != want {
			t.Errorf("quota %q is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-2", "max", "+5"} {
		_, err := ParseQuota(text)
		checkSyntax(t, text, err)
	}
}

func TestCPUMaxLess(t *testing.T) {
	half := CPUMax{LimitOf(50000), 100000}
	for _, tt := range []struct {
		a, b CPUMax
		want bool
	}{
		{half, CPUMax{LimitOf(60000), 100000}, true},
		{half, CPUMax{LimitOf(5000), 10000}, false},
		{half, CPUMax{Max, 100000}, true},
		{CPUMax{Max, 100000}, half, false},
		{CPUMax{}, half, false},
		{CPUMax{LimitOf(1<<63 + 1), 1 << 63}, CPUMax{LimitOf(1<<63 + 2), 1 << 63}, true}, // more than 64 bits, and floats
	} {
		if got := tt.a.Less(tt.b); got != tt.want {
			t.Errorf("%s less than %s is %v", tt.a, tt.b, got)
		}
	}
}

func TestCPUMaxJSON(t *testing.T) {
	for want, m := range map[string]CPUMax{
		"null": {}, `{"quota":50000,"period":100000,"cores":0.5}`: {LimitOf(50000), 100000},
		`{"quota":"max","period":100000,"cores":"max"}`: {Max, 100000},
	} {
		data, err := json.Marshal(m)
		var back CPUMax
		if err != nil || string(data) != want || json.Unmarshal(data, &back) != nil || back != m {
			t.Errorf("%s is %s, back %s, %v", m, data, back, err)
		}
	}
	for _, text := range []string{`{}`, `{"quota":1}`, `{"period":1}`, `{"quota":1,"period":0}`, `1`, `{"quota":-1,"period":1}`} {
		var m CPUMax
		if err := json.Unmarshal([]byte(text), &m); err == nil || m != (CPUMax{}) {
			t.Errorf("%s reads as %s", text, m)
		}
	}
}

func TestParseMemberships(t *testing.T) {
	const text = "9:name=systemd:/\n4:memory:/a:b/c d\n1:cpu,cpuacct:/x (deleted)\n0::/../y\n"
	got, err := ParseMemberships([]byte(text))
	want := []Membership{
		{Hierarchy: 9, Controllers: []string{"name=systemd"}, Path: "/"},
		{Hierarchy: 4, Controllers: []string{"memory"}, Path: "/a:b/c d"},
		{Hierarchy: 1, Controllers: []string{"cpu", "cpuacct"}, Path: "/x", Removed: true},
		{Path: "/../y"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for controller, path := range map[string]string{"memory": "/a:b/c d", "cpuacct": "/x", "pids": "/../y", "": "/../y"} {
		if m, ok := memberOf(got, controller); !ok || m.Path != path {
			t.Errorf("%q is in %+v, %v", controller, m, ok)
		}
	}
	for _, text := range []string{
		"", "\n", "0::/x", "0::\n", "0:cpu:/\n", "1::/\n", "-1:cpu:/\n", "01:cpu:/\n", "1:cpu\n", "1:cpu:x\n", "0::/\n0::/\n", "\x1b[2J",
		strings.Repeat("x", 9000),
	} {
		_, err := ParseMemberships([]byte(text))
		checkSyntax(t, text, err)
	}
}

func TestParseMounts(t *testing.T) {
	got, err := ParseMounts([]byte("21 28 0:19 / /proc rw shared:5 master:1 - proc proc rw\n" +
		`35 31 0:32 /docker/x\040y /cg\134roup\134 ro,nosuid - cgroup cgroup rw,cpu,cpuacct,clone_children,release_agent=/bin/x` + "\n" +
		"41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n40 31 0:37 / /s rw - cgroup systemd ro,xattr,name=systemd\n"))
	want := []Mount{
		{Point: `/cg\roup\`, Root: "/docker/x y", Controllers: []string{"cpu", "cpuacct"}},
		{Point: "/sys/fs/cgroup", Root: "/../..", Unified: true, Writable: true, Delegates: true},
		{Point: "/s", Root: "/", Controllers: []string{"name=systemd"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseMounts(nil); err != nil || len(got) != 0 || got == nil {
		t.Errorf("no mounts: %v, %v", got, err)
	}
	for _, text := range []string{"\n", "35 31 0:32 / /x rw cgroup cgroup rw\n", "35 31 0:32 / /x rw - cgroup cgroup rw", "35 31 0:32 x y rw - cgroup2 c rw\n"} {
		_, err := ParseMounts([]byte(text))
		checkSyntax(t, text, err)
	}
	for want, mounts := range map[Mode][]Mount{
		"":      {},
		Unified: {{Unified: true}, {Controllers: []string{"name=systemd"}}},
		Hybrid:  {{Unified: true}, {Controllers: []string{"cpu"}}},
		Legacy:  {{Controllers: []string{"name=systemd"}}, {Controllers: []string{"cpu"}}},
	} {
		if got := ModeOf(mounts); got != want {
			t.Errorf("%+v is %q, want %q", mounts, got, want)
		}
	}
}

func TestParseKeyed(t *testing.T) {
	got, err := ParseKeyed("low 0\noom_kill 18446744073709551615\n")
	if err != nil || got["oom_kill"] != 1<<64-1 || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "\n", "low 0", "low\n", "low 0\nlow 0\n", " 0\n", "low 0 1\n", "low -1\n", "low  1\n"} {
		_, err := ParseKeyed(text)
		checkSyntax(t, text, err)
	}
}

func TestParsePressure(t *testing.T) {
	const some = "some avg10=65.12 avg60=0.00 avg300=100.00 total=348571173\n"
	p, err := ParsePressure(some)
	if err != nil || !p.FullAbsent || p.Some != (Stall{65.12, 0, 100, 348571173}) || p.String() != some {
		t.Errorf("%+v, %v", p, err)
	}
	data, _ := json.Marshal(p)
	if want := `{"some":{"avg10":65.12,"avg60":0,"avg300":100,"totalUsec":348571173},"full":null}`; string(data) != want {
		t.Errorf("%s, want %s", data, want)
	}
	for _, text := range []string{
		"", "some\n", some + some, some + "full\n", strings.TrimSpace(some), "full" + some[4:], strings.Replace(some, "65.12", "NaN", 1),
		strings.Replace(some, "65.12", "101.00", 1), strings.Replace(some, "65.12", "65.1", 1), strings.Replace(some, "65.12", "-0.00", 1), strings.Replace(some, "total=", "total=0", 1), strings.Replace(some, "65.12", "-1.00", 1),
		strings.Replace(some, "total=348571173", "total=", 1), some + "full" + some[4:] + "x\n",
	} {
		_, err := ParsePressure(text)
		checkSyntax(t, text, err)
	}
}

func TestPressureOff(t *testing.T) {
	for errno, want := range map[syscall.Errno]Known{syscall.EOPNOTSUPP: Absent, syscall.EACCES: Unknown} {
		p := absentWhenOff(UnknownFact[Pressure](&fs.PathError{Op: "read", Path: "/x/cpu.pressure", Err: errno}))
		if p.Known() != want {
			t.Errorf("%v: %s, want %s", errno, p.Known(), want)
		}
	}
}

func TestParseIO(t *testing.T) {
	for _, text := range []string{
		"8:0", "8:0\n", "8:0 rbps=1\n", "8:0 rbps=max wbps=max riops=max\n", "x rbps=max wbps=max riops=max wiops=max\n",
		"8:0 rbps=max rbps=max wbps=max riops=max wiops=max\n", "8:0 rbps=-1 wbps=max riops=max wiops=max\n",
		"8:0 rbps=1 wbps=1 riops=1 wiops=1\n8:0 rbps=1 wbps=1 riops=1 wiops=1\n", "8:0 rbps=1 wbps=1 riops=1 wiops=1 x=1\n",
	} {
		list, err := ParseIOMax(text)
		checkSyntax(t, text, err)
		if list != nil {
			t.Errorf("%q: %v beside an error", text, list)
		}
	}
	// Some kernels write devices without numbers as the first two here.
	stat, err := ParseIOStat("7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=5.5\n9:0 \n")
	if want := []IOStat{{Device{8, 0}, 1, 2, 3, 4}}; err != nil || !slices.Equal(stat, want) {
		t.Errorf("%v, %v, want %v", stat, err, want)
	}
	for _, text := range []string{"8:0", "rbytes=1\n", "8:0 rbytes=x\n", "8:0 rbytes=1 7:0\n", "8:0 rbytes=1\n8:0 rbytes=1\n", "8\n"} {
		_, err := ParseIOStat(text)
		checkSyntax(t, text, err)
	}
	limits, err := ParseThrottle("8:0 100\n8:16 5\n")
	if err != nil || len(limits) != 2 || limits[Device{8, 16}] != 5 {
		t.Errorf("%v, %v", limits, err)
	}
	for _, text := range []string{"8:0 1", "8:0\n", "8:0 1\n8:0 2\n", "8 1\n", "8:0 max\n"} {
		_, err := ParseThrottle(text)
		checkSyntax(t, text, err)
	}
	served, err := parseServiced("8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Total 3\nTotal 3\n")
	if err != nil || served[Device{8, 0}] != (serviced{1, 2}) {
		t.Errorf("%v, %v", served, err)
	}
	for _, text := range []string{"", "8:0 Read 1\n", "Total 1\nTotal 1\n", "8:0 Read x\nTotal 1\n", "8:0 Read\nTotal 1\n", "Total 0"} {
		_, err := parseServiced(text)
		checkSyntax(t, text, err)
	}
}

func TestParseList(t *testing.T) {
	for text, n := range map[string]int{"": 0, "0": 1, "0-3": 4, "0-3,7": 5, "1,3-4,1000": 4} {
		if l, err := ParseList(text); err != nil || l.Len() != n {
			t.Errorf("%q has %d, %v", text, l.Len(), err)
		}
	}
	for _, text := range []string{",", "0,", "3-0", "0-0", "0-3,2", "0-3,4", "1,0", "-1", "a", "01", "0 1", "99999999999"} {
		_, err := ParseList(text)
		checkSyntax(t, text, err)
	}
}

func TestMeminfo(t *testing.T) {
	got, err := meminfo("MemTotal")("MemTotal:       24684084 kB\nSwapTotal: 0 kB\n")
	if err != nil || got != LimitOf(24684084*1024) {
		t.Errorf("%s, %v", got, err)
	}
	for _, text := range []string{"", "MemTotal: 1 MB\n", "MemTotal: x kB\n", "MemTotal: 1 kB", "MemTotal: 18446744073709551615 kB\n"} {
		_, err := meminfo("MemTotal")(text)
		checkSyntax(t, text, err)
	}
	for _, text := range []string{"", "cpu 1\n", "cpux 1\n"} {
		_, err := onlineCPUs(text)
		checkSyntax(t, text, err)
	}
}
