package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// tree is the JSON form of something, in which facts can be erased.
type tree struct {
	root  any
	facts []*erasable
}

// erasable is a fact in a tree: what is known, or a comparison, or a verdict.
type erasable struct {
	path   string
	object map[string]any
	whole  map[string]any // as it was
	limits map[string]any // the effective limit that it is a level of
	saved  map[string]any
}

func parse(t testing.TB, value any) *tree {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var r tree
	if err := d.Decode(&r.root); err != nil {
		t.Fatal(err)
	}
	r.walk("", r.root, nil)
	return &r
}

func (r *tree) walk(path string, value any, limits map[string]any) {
	switch v := value.(type) {
	case []any:
		for n, item := range v {
			r.walk(fmt.Sprintf("%s.%d", path, n), item, limits)
		}
	case map[string]any:
		if _, ok := v["levels"]; ok {
			limits = v
		}
		_, related := v["relation"].(string)
		_, judged := v["verdict"].(string)
		if v["state"] == "known" || related || judged {
			r.facts = append(r.facts, &erasable{path: path, object: v, whole: maps.Clone(v), limits: limits, saved: maps.Clone(limits)})
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "least" || key == "atMost" {
				continue // it is one of the levels once more
			}
			r.walk(path+"."+key, v[key], limits)
		}
	}
}

// erase makes a fact unknown.
func (f *erasable) erase() {
	const why = "erased"
	_, isLimit := f.object["levels"]
	switch {
	case isLimit:
		clear(f.object)
		f.object["state"], f.object["cause"], f.object["levels"] = "unknown", why, []any{}
	case f.object["state"] == "known":
		clear(f.object)
		f.object["state"], f.object["cause"] = "unknown", why
	case f.object["relation"] != nil:
		clear(f.object)
		f.object["relation"], f.object["cause"] = "unknown", why
	default:
		f.object["verdict"], f.object["reason"] = "unknown", why
	}
	if f.limits != nil && strings.HasSuffix(f.path, ".limit") {
		delete(f.limits, "least")
		f.limits["state"], f.limits["cause"] = "unknown", why
	}
}

func (f *erasable) restore() {
	clear(f.object)
	maps.Copy(f.object, f.whole)
	if f.limits != nil {
		clear(f.limits)
		maps.Copy(f.limits, f.saved)
	}
}

// as reads the tree back.
func as[T any](t testing.TB, r *tree) T {
	t.Helper()
	data, err := json.Marshal(r.root)
	if err != nil {
		t.Fatal(err)
	}
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// reread returns a report with the part that a fact is in as the tree has it: all
// of it would take long.
func (r *tree) reread(t testing.TB, report inspect.Report, f *erasable) inspect.Report {
	t.Helper()
	part, _, _ := strings.Cut(strings.TrimPrefix(f.path, "."), ".")
	data := encode(t, map[string]any{part: r.root.(map[string]any)[part]})
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func verdicts(s inspect.Snapshot) map[string]Verdict {
	list := map[string]Verdict{}
	for _, subject := range Judge(s, Options{}).Subjects {
		for _, r := range subject.Results {
			list[r.Rule] = r.Verdict
		}
	}
	return list
}

// protected are the rules that something known on the node, or another rule, keeps
// from failing: where that is unknown they fail.
var protected = []string{"cap-sys-module", "cap-sys-rawio", "seccomp-weak", "host-path", "unmasked-proc"}

// worse says what must not become of a verdict when facts become unknown.
func worse(rule string, before, after Verdict) bool {
	switch before {
	case Fail, Unknown:
		return after == Pass || before == Fail && after == NotApplicable
	case Pass:
		return after == Fail && !slices.Contains(protected, rule)
	case NotApplicable:
	}
	return false
}

func compareVerdicts(t testing.TB, what string, before, after map[string]Verdict) {
	t.Helper()
	for rule, was := range before {
		if worse(rule, was, after[rule]) {
			t.Errorf("%s: %s was %s, is %s without %s", what, rule, was, after[rule], what)
		}
	}
}

// erased are the pods whose facts are made unknown: the others differ from them in
// what these have among themselves.
var erased = map[string][]string{
	"1.6": {"pod-user-namespace"},
	"2.4": {"pod-added-caps", "pod-hardened", "pod-host-ns", "pod-host-path", "pod-socket-folder", "pod-user-namespace"},
}

// TestUnknownNeverPasses makes each fact of the lab's pods unknown, one after the
// other, and those of the node.
func TestUnknownNeverPasses(t *testing.T) {
	for _, version := range versions {
		s := load(t, version)
		for _, r := range s.Containers {
			if !slices.Contains(erased[version], r.Pod.Name) {
				continue
			}
			t.Run(version+"/"+r.Pod.Name+"/"+string(r.Kind)+"/"+r.Name, func(t *testing.T) {
				t.Parallel()
				one := s
				one.Containers = []inspect.Report{r}
				before := verdicts(one)
				facts := parse(t, r)
				if len(facts.facts) < 20 && r.PID.Known() == inspect.Present {
					t.Errorf("%d facts", len(facts.facts))
				}
				for _, f := range facts.facts {
					f.erase()
					one.Containers = []inspect.Report{facts.reread(t, r, f)}
					compareVerdicts(t, f.path, before, verdicts(one))
					f.restore()
				}
			})
		}
		t.Run(version+"/node", func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"pod-privileged", "pod-hardened", "pod-socket-mounted"} {
				one := s
				one.Containers = []inspect.Report{*pod(t, &s, name)}
				before := verdicts(one)
				node, sockets := parse(t, one.Node), parse(t, one.Sockets)
				for _, f := range slices.Concat(node.facts, sockets.facts) {
					f.erase()
					one.Node, one.Sockets = as[inspect.Node](t, node), as[[]inspect.Socket](t, sockets)
					compareVerdicts(t, f.path, before, verdicts(one))
					f.restore()
				}
			}
		})
	}
}

// alwaysThere are lists that a collected fact always has, and the rules that pass by
// what is, or is not, in them.
var alwaysThere = map[string][]string{
	"mounts.value.inForce": {"host-system", "host-root", "writable-sys", "writable-cgroup", "kernel-filesystem", "mount-propagation", "readonly-mount-not-whole", "lxcfs"},
	"mounts.value.masked":  {"unmasked-proc", "mask-replaced", "mask-missing"},
	"mounts.value.readonlyPaths": {
		"core-pattern", "sysrq-trigger", "writable-proc", "mask-replaced", "mask-missing",
	},
	"processes.value.list":                            {"process-beyond", "leaked-file"},
	"specification.value.sysctls":                     {"unsafe-sysctl"},
	"specification.value.hooks":                       {"hooks"},
	"specification.value.seccomp.value.rules":         {"seccomp-weak"},
	"specification.value.seccomp.value.architectures": {"seccomp-weak"},
	"request.value.mounts":                            {"unrequested"},
	"request.value.devices":                           {"unrequested"},
}

// TestLeftOutNeverPasses takes lists out of a record, which then does not say that
// there is nothing in them.
func TestLeftOutNeverPasses(t *testing.T) {
	for _, name := range []string{"pod-default-caps", "pod-privileged", "pod-hardened"} {
		s := loadPods(t, "2.4", name)
		r := *pod(t, &s, name)
		for path, rules := range alwaysThere {
			if name == "pod-hardened" && !strings.Contains(path, "seccomp") {
				continue // user 1000 passes for other reasons
			}
			whole := parse(t, r)
			object := whole.root.(map[string]any)
			keys := strings.Split(path, ".")
			for _, key := range keys[:len(keys)-1] {
				object, _ = object[key].(map[string]any)
			}
			if object == nil {
				continue // no such fact in this one
			}
			delete(object, keys[len(keys)-1])
			s.Containers = []inspect.Report{as[inspect.Report](t, whole)}
			got := verdicts(s)
			for _, id := range rules {
				if got[id] == Pass {
					t.Errorf("%s: %s passes without %s", name, id, path)
				}
			}
		}
	}
}

// FuzzJudge erases facts at random, of a pod and of the node: nothing panics, the
// report is the same each time, and what was unknown or failed does not pass.
func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(128))
	f.Add(uint64(3), uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, share uint8) {
		random := rand.New(rand.NewPCG(seed, 0))
		names := []string{"pod-added-caps", "pod-hardened", "pod-host-ns", "pod-host-path", "pod-oom", "pod-socket-folder", "pod-user-namespace"}
		s := loadPods(t, versions[seed%2], names[random.IntN(len(names))])
		s.Containers = s.Containers[:1]
		before := verdicts(s)
		all := parse(t, s)
		for _, fact := range all.facts {
			if random.IntN(256) <= int(share) {
				fact.erase()
			}
		}
		some := as[inspect.Snapshot](t, all)
		compareVerdicts(t, "some facts of "+s.Containers[0].FullName(), before, verdicts(some))
		if first, second := encode(t, Judge(some, Options{})), encode(t, Judge(some, Options{})); !bytes.Equal(first, second) {
			t.Errorf("judged twice:\n%s\n%s", first, second)
		}
	})
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
