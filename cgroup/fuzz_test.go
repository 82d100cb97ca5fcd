package cgroup

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"max", "0", "134217728", "9223372036854771712", "18446744073709551615", "", "-1", "+1", "1_0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLimit(text)
		legacy, legacyErr := ParseLegacyLimit(text)
		if (err == nil && text != "max") != (legacyErr == nil) {
			t.Errorf("%q: %v, in v1 %v", text, err, legacyErr)
		}
		if err != nil {
			checkSyntax(t, text, err)
			return
		}
		if back, err := ParseLimit(l.String()); err != nil || back != l {
			t.Errorf("%q is %s, which is %s, %v", text, l, back, err)
		}
		if legacyErr == nil && legacy != l && !legacy.IsMax() {
			t.Errorf("%q is %s, in v1 %s", text, l, legacy)
		}
		var back Limit
		data, err := json.Marshal(l)
		if err != nil || json.Unmarshal(data, &back) != nil || back != l {
			t.Errorf("%q is %s, which is %s, %v", text, data, back, err)
		}
	})
}

func FuzzParseCPUMax(f *testing.F) {
	for _, seed := range []string{"max 100000", "50000 100000", "0 1", "1 0", "-1 100000", "max max", "18446744073709551615 18446744073709551615"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseCPUMax(text)
		if err != nil {
			checkSyntax(t, text, err)
			return
		}
		var back CPUMax
		data, err := json.Marshal(m)
		if err != nil || json.Unmarshal(data, &back) != nil || back != m {
			t.Errorf("%q is %s, which is %s, %v", text, data, back, err)
		}
		if back, err := ParseCPUMax(m.String()); err != nil || back != m || m.Less(back) {
			t.Errorf("%q is %s, which is %s, %v", text, m, back, err)
		}
	})
}

func FuzzParseQuota(f *testing.F) {
	f.Add("-1")
	f.Add("50000")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseQuota(text)
		if err != nil {
			checkSyntax(t, text, err)
			return
		}
		if back, err := ParseQuota(strings.Replace(l.String(), "max", "-1", 1)); err != nil || back != l {
			t.Errorf("%q is %s, which is %s, %v", text, l, back, err)
		}
	})
}

func FuzzParseMemberships(f *testing.F) {
	f.Add([]byte("9:name=systemd:/\n4:memory:/a:b\n1:cpu,cpuacct:/x (deleted)\n0::/../y\n"))
	f.Add([]byte("0::/\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseMemberships(data)
		if err != nil {
			checkSyntax(t, string(data), err)
			return
		}
		var text strings.Builder
		for _, m := range list {
			fmt.Fprintln(&text, m)
			if place := Locate(m.Path, ""); place.Inner != "" && !strings.HasSuffix("/"+strings.Join(split(m.Path), "/"), place.Inner) {
				t.Errorf("%q: %+v", m.Path, place)
			}
			if names := split(m.Path); len(kinds(names)) != len(names) {
				t.Errorf("%q: not one kind each", m.Path)
			}
		}
		if text.String() != string(data) {
			t.Errorf("%q is %q", data, text.String())
		}
	})
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte(`35 31 0:32 /x\040y /sys/fs/cgroup/cpu\054 ro,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct` + "\n"))
	f.Add([]byte("41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"))
	escape := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	f.Fuzz(func(t *testing.T, data []byte) {
		mounts, err := ParseMounts(data)
		if err != nil {
			checkSyntax(t, string(data), err)
			return
		}
		var text strings.Builder
		for _, m := range mounts {
			kind, mode := "cgroup", "ro"
			if m.Unified {
				kind = "cgroup2"
			}
			if m.Writable {
				mode = "rw"
			}
			options := strings.Join(append([]string{mode}, m.Controllers...), ",")
			if m.Delegates {
				options += ",nsdelegate"
			}
			fmt.Fprintf(&text, "1 2 0:3 %s %s %s - %s cgroup %s\n", escape.Replace(m.Root), escape.Replace(m.Point), mode, kind, options)
		}
		if back, err := ParseMounts([]byte(text.String())); err != nil || !reflect.DeepEqual(back, mounts) {
			t.Errorf("%q is %+v, which is %+v, %v", data, mounts, back, err)
		}
	})
}

func FuzzParseKeyed(f *testing.F) {
	f.Add("low 0\noom_kill 1\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		values, err := ParseKeyed(data)
		if err != nil {
			checkSyntax(t, data, err)
			return
		}
		var text strings.Builder
		for key, n := range values {
			fmt.Fprintf(&text, "%s %s\n", key, n)
		}
		if back, err := ParseKeyed(text.String()); err != nil || !reflect.DeepEqual(back, values) || len(values) == 0 {
			t.Errorf("%q is %v, which is %v, %v", data, values, back, err)
		}
	})
}

func FuzzParsePressure(f *testing.F) {
	f.Add("some avg10=65.12 avg60=0.00 avg300=100.00 total=348571173\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	f.Add("some avg10=0.01 avg60=0.07 avg300=99.99 total=18446744073709551615\n")
	f.Fuzz(func(t *testing.T, data string) {
		p, err := ParsePressure(data)
		if err != nil {
			checkSyntax(t, data, err)
			return
		}
		var back Pressure
		form, err := json.Marshal(p)
		if p.String() != data || err != nil || json.Unmarshal(form, &back) != nil || back != p {
			t.Errorf("%q is %q, in JSON %s, %v", data, p, form, err)
		}
	})
}

func FuzzParseIOMax(f *testing.F) {
	f.Add("7:0 rbps=1048576 wbps=max riops=max wiops=100\n8:16 rbps=0 wbps=1 riops=2 wiops=3\n")
	f.Fuzz(func(t *testing.T, data string) {
		list, err := ParseIOMax(data)
		if err != nil {
			checkSyntax(t, data, err)
			return
		}
		var text strings.Builder
		for _, m := range list {
			fmt.Fprintln(&text, m)
		}
		if back, err := ParseIOMax(text.String()); err != nil || !reflect.DeepEqual(back, list) {
			t.Errorf("%q is %v, which is %v, %v", data, list, back, err)
		}
	})
}

func FuzzParseIOStat(f *testing.F) {
	f.Add("7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n9:0 \n")
	f.Fuzz(func(t *testing.T, data string) {
		list, err := ParseIOStat(data)
		if err != nil {
			checkSyntax(t, data, err)
			return
		}
		var text strings.Builder
		for _, s := range list {
			fmt.Fprintf(&text, "%s rbytes=%d wbytes=%d rios=%d wios=%d\n", s.Device, s.Rbytes, s.Wbytes, s.Rios, s.Wios)
		}
		if back, err := ParseIOStat(text.String()); err != nil || !reflect.DeepEqual(back, list) {
			t.Errorf("%q is %v, which is %v, %v", data, list, back, err)
		}
	})
}

func FuzzParseThrottle(f *testing.F) {
	f.Add("8:0 1048576\n8:16 5\n")
	f.Add("8:0 Read 1\n8:0 Write 2\nTotal 3\n")
	f.Fuzz(func(t *testing.T, data string) {
		if _, err := parseServiced(data); err != nil {
			checkSyntax(t, data, err)
		}
		limits, err := ParseThrottle(data)
		if err != nil {
			checkSyntax(t, data, err)
			return
		}
		var text strings.Builder
		for d, n := range limits {
			fmt.Fprintln(&text, d, n)
		}
		if back, err := ParseThrottle(text.String()); err != nil || !reflect.DeepEqual(back, limits) {
			t.Errorf("%q is %v, which is %v, %v", data, limits, back, err)
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add("0-3,7")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseList(text)
		if err != nil {
			checkSyntax(t, text, err)
			return
		}
		if string(l) != text || (l.Len() == 0) != (text == "") {
			t.Errorf("%q is %q with %d", text, l, l.Len())
		}
	})
}
