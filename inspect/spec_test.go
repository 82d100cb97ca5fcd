package inspect

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
)

const id = "0c8e401c36f80a2dde19926ad42e767a00330ac91ab9e21da3038e0ca7ac4d6e"

func TestCgroupFits(t *testing.T) {
	other := strings.Replace(id, "0c", "ff", 1)
	for _, tc := range []struct {
		name     string
		cgroup   string
		declared string
		id       string
		want     bool
	}{
		{"cgroupfs driver", "0::/kubepods/burstable/pod25a72a22/" + id + "\n", "", id, true},
		{"systemd driver", "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope\n", "system.slice:cri-containerd:" + id, id, true},
		{"CRI-O below its scope", "0::/kubepods.slice/crio-" + id + ".scope/container\n", "", id, true},
		{"Docker", "0::/system.slice/docker-" + id + ".scope\n", "", id, true},
		{"v1", "4:memory:/kubepods/" + id + "\n3:cpu,cpuacct:/kubepods/" + id + "\n0::/\n", "", id, true},
		{"groups of its own below", "0::/kubepods/" + id + "/init.scope\n", "", id, true},
		{"above our cgroup namespace", "0::/../../kubepods/" + id + "\n", "", id, true},
		{"another container", "0::/kubepods/" + other + "\n", "", id, false},
		{"the host", "0::/\n", "", id, false},
		{"the host with a path that says nothing", "0::/init.scope\n", "/", id, false},
		{"empty", "", "", id, false},
		{"no colons", "garbage\n", "", id, false},
		{"declared path", "0::/mine/here\n", "/mine/here", "job", true},
		{"below the declared path", "0::/mine/here/sub\n", "mine/here", "job", true},
		{"only like the declared path", "0::/mine/here2\n", "/mine/here", "job", false},
		{"short id in another name", "0::/default/job-2\n", "", "job", false},
		{"short id at the end of another scope", "0::/system.slice/nightly-job.scope\n", "", "job", true}, // cannot be told from PREFIX-job.scope
		{"empty id", "0::/x-.scope\n", "", "", false},
	} {
		if got := cgroupFits([]byte(tc.cgroup), tc.declared, tc.id); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestParseSpec(t *testing.T) {
	for _, tc := range []struct{ name, spec, want string }{
		{"garbage", "{", "unexpected EOF"},
		{"no process", `{"linux":{}}`, "no process"},
		{"null", "null", "no process"},
		{"wrong type", `{"process":{"args":1}}`, "args"},
	} {
		if _, err := parseSpec([]byte(tc.spec)); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), specSource) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestDeclare(t *testing.T) {
	const text = `{"process":{
		"user":{"uid":7,"gid":8,"additionalGids":[30,10,30]},
		"args":["a"],"cwd":"/","env":["TOKEN=x","EMPTY"],
		"capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_CHOWN"]},
		"noNewPrivileges":true,"apparmorProfile":"p"},
	"root":{"readonly":true},
	"linux":{"namespaces":[{"type":"user"}],
		"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"},{"action":"SCMP_ACT_ERRNO"}]}}}`
	s, err := parseSpec([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	redactEnv(s.Process.Env)
	declare(&r, s)
	sets, _ := r.Capabilities.Declared.Value()
	if sets.Bounding != caps.Of(caps.Chown, caps.Kill) || sets.Effective != caps.Of(caps.Chown) || sets.Permitted != 0 {
		t.Errorf("capabilities %+v", sets)
	}
	if u, _ := r.User.Declared.Value(); u.UID != 7 || u.GID != 8 || !slices.Equal(u.Groups, []uint32{10, 30}) {
		t.Errorf("user %+v", u)
	}
	for what, f := range map[string]Fact[bool]{
		"no_new_privs": r.NoNewPrivs.Declared, "read-only root": r.ReadonlyRootfs.Declared, "user namespace": r.UserNamespace.Declared,
	} {
		if v, ok := f.Value(); !ok || !v {
			t.Errorf("%s: %v, %v", what, v, ok)
		}
	}
	if f, _ := r.Seccomp.Declared.Value(); f != (SeccompDeclared{DefaultAction: "SCMP_ACT_ERRNO", Rules: 1}) {
		t.Errorf("seccomp %+v", f)
	}
	if p, _ := r.Process.Value(); !slices.Equal(p.Env, []string{"TOKEN=" + redacted, "EMPTY"}) {
		t.Errorf("environment %q", p.Env)
	}
	if r.SELinux.Declared.Known() != Absent {
		t.Errorf("SELinux %v", r.SELinux.Declared.Known())
	}
}

// TestUnknownCapability: a name that we do not know must not be left out.
func TestUnknownCapability(t *testing.T) {
	s, err := parseSpec([]byte(`{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_FROM_THE_FUTURE"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	declare(&r, s)
	if cause := r.Capabilities.Declared.Cause(); cause == nil || !strings.Contains(cause.Error(), "CAP_FROM_THE_FUTURE") {
		t.Errorf("declared: %v, %v", r.Capabilities.Declared.Known(), cause)
	}
}

func TestRequestedCapabilities(t *testing.T) {
	byDefault := KnownFact(caps.DefaultContainerd, "")
	all := KnownFact(caps.UpTo(40), "")
	for _, tc := range []struct {
		name       string
		add, drop  []string
		privileged bool
		want       caps.Set
	}{
		{"nothing", nil, nil, false, caps.DefaultContainerd},
		{"drop all", nil, []string{"ALL"}, false, 0},
		{"drop all in lower case", nil, []string{"all"}, false, 0},
		{"one only", []string{"NET_BIND_SERVICE"}, []string{"ALL"}, false, caps.Of(caps.NetBindService)},
		{"add all but one", []string{"ALL"}, []string{"sys_admin"}, false, caps.UpTo(40).Minus(caps.Of(caps.SysAdmin))},
		{"add and drop the same", []string{"SYS_TIME"}, []string{"SYS_TIME"}, false, caps.DefaultContainerd},
		{"privileged", nil, []string{"ALL"}, true, caps.UpTo(40)},
	} {
		got, ok := resultOf(byDefault, all, CapabilityRequest{Add: tc.add, Drop: tc.drop, Privileged: tc.privileged}).Value()
		if !ok || got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got.Mask(), ok, tc.want.Mask())
		}
	}
	for _, q := range []CapabilityRequest{{Add: []string{"NO_SUCH"}}, {Drop: []string{"NO_SUCH"}}} {
		if f := resultOf(byDefault, all, q); f.Known() != Unknown || !strings.Contains(f.Cause().Error(), "NO_SUCH") {
			t.Errorf("%+v: %v, %v", q, f.Known(), f.Cause())
		}
	}
}

func TestParseRequest(t *testing.T) {
	q, err := parseRequest([]byte(`{"Version":"v1","Metadata":{"ID":"x","SandboxID":"pod","Config":{"linux":{"security_context":{
		"run_as_user":{},"seccomp":{},"namespace_options":{"userns_options":{}},"supplemental_groups":[5]}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	ask(&r, q.security(), Fact[caps.Set]{})
	// What Go leaves out of JSON is zero, and zero is an answer: uid 0,
	// RuntimeDefault, a user namespace for the pod.
	if u, ok := r.User.Requested.Value(); !ok || u.UID == nil || *u.UID != 0 || u.GID != nil || !slices.Equal(u.Groups, []int64{5}) {
		t.Errorf("user %+v, %v", u, ok)
	}
	if s, ok := r.Seccomp.Requested.Value(); !ok || s.Profile != "RuntimeDefault" {
		t.Errorf("seccomp %+v, %v", s, ok)
	}
	if ns, ok := r.UserNamespace.Requested.Value(); !ok || !ns {
		t.Errorf("user namespace %v, %v", ns, ok)
	}
	for _, bad := range []string{"", "{", `{"Version":"v9"}`, `{"Metadata":{}}`} {
		if _, err := parseRequest([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestFactJSON(t *testing.T) {
	for text, fact := range map[string]Fact[int]{
		`{"state":"known","value":0,"source":"/proc/1/status"}`: KnownFact(0, "/proc/1/status"),
		`{"state":"absent","reason":"no AppArmor"}`:             AbsentFact[int]("no AppArmor"),
		`{"state":"unknown","cause":"not collected"}`:           {},
	} {
		data, err := json.Marshal(fact)
		if err != nil || string(data) != text {
			t.Errorf("%s, %v; want %s", data, err, text)
		}
		var back Fact[int]
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); string(again) != text {
			t.Errorf("read back: %s, want %s", again, text)
		}
	}
	for _, bad := range []string{`{}`, `{"state":"safe"}`, `{"state":"known"}`, `{"state":"known","value":"x"}`, `7`} {
		var f Fact[int]
		if err := json.Unmarshal([]byte(bad), &f); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// TestZeroReportIsUnknown: what nobody filled in is unknown, never safe.
func TestZeroReportIsUnknown(t *testing.T) {
	var r Report
	got := map[string]bool{}
	for _, g := range r.Gaps() {
		got[g.Fact] = true
	}
	var walk func(prefix string, v reflect.Type)
	walk = func(prefix string, v reflect.Type) {
		for i := range v.NumField() {
			f := v.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case options == "omitzero": // left out unless it is asked for, with Details
			case strings.HasPrefix(f.Type.Name(), "Fact["):
				if full := prefix + name; !got[full] && full != "capabilities.default" {
					t.Errorf("%s is missing in Gaps", full)
				}
			case f.Type.Kind() == reflect.Struct && f.Anonymous:
				walk(prefix, f.Type)
			case f.Type.Kind() == reflect.Struct && strings.HasPrefix(f.Type.PkgPath(), "github.com/rtinspect"):
				walk(prefix+name+".", f.Type)
			}
		}
	}
	walk("", reflect.TypeFor[Report]())
}

func TestReportJSONReadsBack(t *testing.T) {
	r := *usual()
	r.Drift = []Difference{}
	first, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(first, &back); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("\n%s\n%s", first, second)
	}
}
