package cgroup

import (
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	id  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	id2 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uid = "0c4a1d6e-8d5f-4c0b-9a63-1f2e3d4c5b6a"
)

func TestLocate(t *testing.T) {
	under := strings.ReplaceAll(uid, "-", "_")
	for _, tt := range []struct {
		name, path, container string
		want                  Place
		kinds                 string
	}{
		{
			"kubelet, cgroupfs", "/kubepods/burstable/pod" + uid + "/" + id, "",
			Place{Container: id, Driver: Cgroupfs, Pod: uid, QoS: "burstable"},
			"slice qos pod container",
		},
		{
			"guaranteed", "/kubepods/pod" + uid + "/" + id, "",
			Place{Container: id, Driver: Cgroupfs, Pod: uid, QoS: "guaranteed"},
			"slice pod container",
		},
		{
			"kubelet, systemd", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + id + ".scope", "",
			Place{Container: id, Runtime: "containerd", Driver: Systemd, Pod: uid, QoS: "besteffort"},
			"slice qos pod container",
		},
		{
			"guaranteed, systemd, CRI-O", "/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope/container", "",
			Place{Container: id, Inner: "/container", Runtime: "cri-o", Driver: Systemd, Pod: uid, QoS: "guaranteed"},
			"slice pod container group",
		},
		{
			"static pod", "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" + id, "",
			Place{Container: id, Driver: Cgroupfs, Pod: "0123456789abcdef0123456789abcdef", QoS: "burstable"},
			"slice qos pod container",
		},
		{
			"kind", "/docker/" + id2 + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope", "",
			Place{Container: id, Runtime: "containerd", Driver: Systemd, Pod: uid, QoS: "guaranteed"},
			"group container slice slice pod container",
		},
		{
			"the node of kind without systemd", "/docker/" + id2 + "/kubelet/kubepods/pod" + uid + "/" + id, id2,
			Place{Container: id2, Inner: "/kubelet/kubepods/pod" + uid + "/" + id, Runtime: "docker", Driver: Cgroupfs},
			"group container group slice pod container",
		},
		{"docker", "/docker/" + id, "", Place{Container: id, Runtime: "docker", Driver: Cgroupfs}, "group container"},
		{
			"docker, systemd", "/system.slice/docker-" + id + ".scope", "",
			Place{Container: id, Runtime: "docker", Driver: Systemd},
			"slice container",
		},
		{"containerd's CRI without a kubelet", "/k8s.io/" + id, "", Place{Container: id, Driver: Cgroupfs}, "group container"},
		{"nerdctl", "/system.slice/nerdctl-" + id + ".scope", "", Place{Container: id, Runtime: "nerdctl", Driver: Systemd}, "slice container"},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", "", Place{Container: id, Inner: "/container", Runtime: "podman", Driver: Systemd}, "slice container group"},
		{"podman in a service", "/system.slice/web.service/libpod-payload-" + id, "", Place{Container: id, Runtime: "podman", Driver: Cgroupfs}, "slice group container"},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + id + ".scope", "", Place{}, "slice group"},
		{"ctr, without its id", "/default/web", "", Place{}, "group group"},
		{"ctr, with its id", "/default/web/inner", "web", Place{Container: "web", Inner: "/inner", Driver: Cgroupfs}, "group group group"},
		{"another container", "/kubepods/pod" + uid + "/" + id, id2, Place{Driver: Cgroupfs, Pod: uid, QoS: "guaranteed"}, "slice pod container"},
		{"a service", "/system.slice/ssh.service", "", Place{}, "slice group"},
		{"outside of the namespace", "/../../pod" + uid + "/" + id, "", Place{Container: id, Driver: Cgroupfs}, "group group group container"},
		{"a class with a foreign name", "/kubepods/pods/podx", "", Place{}, "slice group group"},
		{"a slice that looks like a pod's", "/kubepods-burstable-podx.slice", "", Place{}, "slice"},
		{"a class alone", "/kubepods.slice/kubepods-burstable.slice", "", Place{}, "slice qos"},
		{"root", "/", "", Place{}, ""},
	} {
		tt.want.Path = tt.path
		if got := Locate(tt.path, tt.container); got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
		var list []string
		for _, kind := range kinds(split(tt.path)) {
			list = append(list, string(kind))
		}
		if got := strings.Join(list, " "); got != tt.kinds {
			t.Errorf("%s: kinds %s, want %s", tt.name, got, tt.kinds)
		}
	}
	for path, want := range map[string]bool{"/docker/" + id: true, "/docker/" + id + "/x": false, "/docker": false} {
		if got := Locate(path, "").Own(); got != want {
			t.Errorf("%s is a container's own: %v", path, got)
		}
	}
}

func TestEffectiveOf(t *testing.T) {
	level := func(kind Kind, limit Fact[Limit]) Level[Limit] { return Level[Limit]{Kind: kind, Limit: limit} }
	n := func(n uint64) Fact[Limit] { return KnownFact(LimitOf(n), "file") }
	none, absent := KnownFact(Max, "file"), AbsentFact[Limit]("no file")
	unknown := UnknownFact[Limit](&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission})
	for _, tt := range []struct {
		levels []Level[Limit]
		want   string
	}{
		{[]Level[Limit]{level(KindContainer, n(5)), level(KindPod, n(3)), level(KindMachine, n(100))}, "3 pod"},
		{[]Level[Limit]{level(KindContainer, n(3)), level(KindPod, n(3)), level(KindMachine, n(3))}, "3 container"},
		{[]Level[Limit]{level(KindContainer, none), level(KindPod, absent), level(KindMachine, n(9))}, "9 machine"},
		{[]Level[Limit]{level(KindContainer, n(0)), level(KindMachine, n(9))}, "0 container"},
		{[]Level[Limit]{level(KindContainer, n(5)), level(KindPod, unknown), level(KindMachine, n(9))}, "at most 5 container"},
		{[]Level[Limit]{level(KindContainer, n(5)), level(KindMachine, unknown)}, "at most 5 container"},
		{[]Level[Limit]{level(KindContainer, unknown), level(KindMachine, none)}, "unknown"},
		{[]Level[Limit]{level(KindContainer, none), {Kind: KindMachine}}, "unknown"},
		{[]Level[Limit]{level(KindContainer, none)}, "unknown"},
		{nil, "unknown"},
	} {
		e := EffectiveOf(tt.levels)
		if got := showLeast(e); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.levels, got, tt.want)
		}
		_, ok := e.Value()
		if unsure := strings.Contains(tt.want, "at most") || tt.want == "unknown"; ok == unsure || ok != (e.Cause() == nil) {
			t.Errorf("%s: known %v, cause %v", tt.want, ok, e.Cause())
		}
		data, err := json.Marshal(e)
		var back Effective[Limit]
		if err != nil || json.Unmarshal(data, &back) != nil || showLeast(back) != tt.want {
			t.Errorf("%s: %s, back %s, %v", tt.want, data, showLeast(back), err)
		}
	}
	e := EffectiveOf([]Level[Limit]{level(KindContainer, unknown), level(KindMachine, n(9))})
	if !errors.Is(e.Cause(), fs.ErrPermission) {
		t.Errorf("cause %v, want the errno in it", e.Cause())
	}
	data := []byte(`{"state":"known","levels":[{"kind":"pod","path":"/","limit":{"state":"unknown","cause":"x"},"usage":{"state":"absent"}}]}`)
	if err := json.Unmarshal(data, &e); !errors.Is(err, ErrSyntax) {
		t.Errorf("a known limit of an unknown level: %v", err)
	}
}

func TestWeightFromShares(t *testing.T) {
	for shares, want := range map[uint64][2]uint64{
		0: {0, 0}, 1: {1, 1}, 2: {1, 1}, 256: {35, 10}, 512: {59, 20}, 1024: {100, 39}, 262144: {10000, 10000}, 1 << 40: {10000, 10000},
	} {
		if now, before := WeightFromShares(shares); now != want[0] || before != want[1] {
			t.Errorf("%d shares are %d or %d, want %v", shares, now, before, want)
		}
	}
	var last uint64
	for shares := uint64(2); shares <= 262144; shares++ {
		now, before := WeightFromShares(shares)
		if now < last || now < 1 || now > 10000 || before < 1 || before > 10000 {
			t.Fatalf("%d shares are %d or %d", shares, now, before)
		}
		last = now
	}
}

func TestDrift(t *testing.T) {
	dir := recorded(t, "v2-cgroupfs")
	v2 := readPID(t, readerOf(dir), 149)
	v1 := readPID(t, readerOf(recorded(t, "v1-hybrid")), 31664)
	systemd := v2
	systemd.CPU.Max = KnownFact(CPUMax{LimitOf(34000), 100000}, "cpu.max")
	old := v2
	old.CPU.Weight = KnownFact(Count(10), "cpu.weight")
	unread := v2
	unread.Memory.Max = UnknownFact[Limit](&fs.PathError{Op: "read", Path: "/m", Err: fs.ErrPermission})
	for _, tt := range []struct {
		name string
		r    Resources
		p    Process
		want []Difference
	}{
		{"nothing asked for", Resources{}, v2, nil},
		{"nothing asked for, nothing known", Resources{}, Process{}, nil},
		{"as asked", Resources{
			Memory: LimitOf(134217728), MemorySwap: LimitOf(134217728), CPU: CPUMax{LimitOf(50000), 100000}, Shares: 256, Pids: LimitOf(100), CPUs: "0",
		}, v2, nil},
		{"as asked, v1", Resources{
			Memory: LimitOf(134217728), MemorySwap: LimitOf(134217728), CPU: CPUMax{LimitOf(50000), 100000}, Shares: 256, Pids: Max, CPUs: "1", Mems: "0",
		}, v1, nil},
		{"the older weight", Resources{Shares: 256}, old, nil},
		{"the same ratio", Resources{CPU: CPUMax{LimitOf(5000), 10000}}, v2, nil},
		{"rounded to pages", Resources{Memory: LimitOf(134217728 + 4095)}, v2, nil},
		{"rounded by systemd", Resources{CPU: CPUMax{LimitOf(33333), 100000}}, systemd, nil},
		{"other memory", Resources{Memory: LimitOf(268435456)}, v2, []Difference{{Setting: "memory", Want: "268435456", Have: "134217728"}}},
		{"no memory limit asked for", Resources{Memory: Max}, v2, []Difference{{Setting: "memory", Want: "max", Have: "134217728"}}},
		{"other swap", Resources{Memory: LimitOf(134217728), MemorySwap: LimitOf(134217728 * 2)}, v2, []Difference{{Setting: "memorySwap", Want: "134217728", Have: "0"}}},
		{"other weight", Resources{Shares: 512}, v2, []Difference{{Setting: "cpuWeight", Want: "59 or 20", Have: "35"}}},
		{"other shares", Resources{Shares: 512}, v1, []Difference{{Setting: "cpuWeight", Want: "512", Have: "256"}}},
		{"other time", Resources{CPU: CPUMax{LimitOf(100000), 100000}}, v2, []Difference{{Setting: "cpu", Want: "100000 100000", Have: "50000 100000"}}},
		{"unlimited time", Resources{CPU: CPUMax{Max, 100000}}, v2, []Difference{{Setting: "cpu", Want: "max 100000", Have: "50000 100000"}}},
		{"unreadable", Resources{Memory: LimitOf(134217728)}, unread, []Difference{{Setting: "memory", Want: "134217728", Have: "unknown", Source: "read /m: permission denied"}}},
		{"absent", Resources{Mems: "1", Pids: LimitOf(5)}, Process{Pids: Pids{Max: AbsentFact[Limit]("no file x")}}, []Difference{
			{Setting: "pids", Want: "5", Have: "absent", Source: "no file x"}, {Setting: "mems", Want: "1", Have: "unknown", Source: "not read"},
		}},
	} {
		got := tt.r.Drift(tt.p)
		for i := range got {
			if strings.HasPrefix(got[i].Source, "/") { // a file in a folder of the test
				got[i].Source = ""
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestFactJSON(t *testing.T) {
	for want, f := range map[string]Fact[Count]{
		`{"state":"known","value":"18446744073709551615","source":"/x"}`: KnownFact[Count](1<<64-1, "/x"),
		`{"state":"known","value":0,"source":"/x"}`:                      KnownFact[Count](0, "/x"),
		`{"state":"absent","reason":"no file /x"}`:                       AbsentFact[Count]("no file /x"),
		`{"state":"unknown","cause":"not read"}`:                         {},
	} {
		data, err := json.Marshal(f)
		if err != nil || string(data) != want {
			t.Errorf("%s, %v; want %s", data, err, want)
		}
		var back Fact[Count]
		if err := json.Unmarshal(data, &back); err != nil || back.Known() != f.Known() || !reflect.DeepEqual(back.value, f.value) {
			t.Errorf("%s reads back as %+v, %v", data, back, err)
		}
	}
	for _, text := range []string{`{}`, `{"state":"known"}`, `{"state":"safe","value":1}`, `{"state":"known","value":-1}`, `1`} {
		var f Fact[Count]
		if err := json.Unmarshal([]byte(text), &f); err == nil || f.Known() != Unknown {
			t.Errorf("%s reads as %+v", text, f)
		}
	}
}
