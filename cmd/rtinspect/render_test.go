package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// recorded reads what rtinspect printed with -o json for pods of the lab: containerd 1.6.20 and runc 1.1.5 on Linux 6.18.
func recorded[T any](t *testing.T, name string) T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// unreadable is a container of which nothing but its name is known.
func unreadable() inspect.Report {
	cause := errors.New("open /proc/7/status: permission denied")
	r := inspect.Report{Container: inspect.Container{
		ID: "0123456789abcdef", Name: "shut", Kind: inspect.KindContainer, Namespace: "moby",
		State: inspect.UnknownFact[inspect.State](errors.New("the shim does not answer")),
		PID:   inspect.UnknownFact[int](cause),
		Tier:  inspect.UnknownFact[inspect.Tier](cause),
	}}
	r.Capabilities.InForce = inspect.UnknownFact[caps.State](cause)
	r.Capabilities.Reach = inspect.UnknownFact[caps.Reach](cause)
	r.Capabilities.Default = inspect.KnownFact(caps.DefaultContainerd, "the default of containerd since 1.1")
	r.Drift = []inspect.Difference{}
	return r
}

// ended is a container without a process.
func ended() inspect.Report {
	const reason = "no process runs"
	r := unreadable()
	r.Name = "ended"
	r.State = inspect.KnownFact(inspect.StateExited, "runtime")
	r.PID = inspect.AbsentFact[int](reason)
	r.Tier = inspect.AbsentFact[inspect.Tier](reason)
	r.Capabilities.InForce = inspect.AbsentFact[caps.State](reason)
	r.Capabilities.Reach = inspect.AbsentFact[caps.Reach](reason)
	r.Capabilities.Default = inspect.AbsentFact[caps.Set]("no default is known of the runtime \"x\"")
	return r
}

// manyFaces has a value of every kind that the recorded reports do not have.
func manyFaces() inspect.Report {
	uid := int64(1000)
	r := ended()
	r.Name, r.Kind = "faces", inspect.KindSandbox
	r.CreatedAt = time.Date(2026, 11, 23, 19, 0, 0, 0, time.UTC)
	r.User.Requested = inspect.KnownFact(inspect.UserRequest{UID: &uid, Groups: []int64{5, 6}}, "CRI request")
	r.User.Declared = inspect.KnownFact(inspect.User{UID: 0, GID: 4294967294}, "OCI runtime specification")
	r.User.InForce = inspect.KnownFact(inspect.UserInForce{
		UID:    inspect.IDs{Real: 100000, Effective: 100000, Saved: 100000, Filesystem: 100000},
		GID:    inspect.IDs{Real: 1, Effective: 2, Saved: 3, Filesystem: 4},
		Inside: inspect.KnownFact(inspect.User{UID: 0, GID: 2}, ""),
	}, "/proc/9/status")
	r.NoNewPrivs.InForce = inspect.KnownFact(false, "/proc/9/status")
	r.Seccomp.Requested = inspect.KnownFact(inspect.SeccompRequest{Profile: "Localhost", LocalhostRef: "p.json"}, "CRI request")
	r.Seccomp.InForce = inspect.KnownFact(inspect.SeccompInForce{
		Mode: inspect.SeccompFilter, Filters: inspect.KnownFact(3, ""),
	}, "/proc/9/status")
	r.AppArmor.InForce = inspect.KnownFact("", "/proc/9/attr/current")
	r.UserNamespace.InForce = inspect.KnownFact(inspect.UserNamespace{
		UIDMap: nsdiff.IDMap{{Inside: 0, Outside: 100000, Size: 65536}, {Inside: 65536, Outside: 7, Size: 1}},
	}, "/proc/9/ns/user")
	r.Capabilities.Requested = inspect.UnknownFact[inspect.CapabilityRequest](errors.New("no record"))
	r.Capabilities.InForce = inspect.KnownFact(caps.State{AmbientAbsent: true}, "/proc/9/status")
	r.Capabilities.Reach = inspect.KnownFact(caps.State{}.Reach(caps.UserNSOther), "/proc/9/status")
	r.Process = inspect.KnownFact(inspect.Program{Args: []string{"sh", "-c", "a b", "", "it's"}, Cwd: "/"}, "")
	r.Drift = []inspect.Difference{
		{Setting: "user.uid", From: "requested", To: "declared", Want: "1000", Have: "0", Reason: "it is so"},
		{Setting: "capabilities.effective", From: "declared", To: "in force", Want: "00000000a80425fb", Have: "0000000000000000"},
	}
	return r
}

// surprised is a container of which some is not what it should be, and some unknown.
func surprised() inspect.Report {
	r := ended()
	r.Name, r.State, r.PID = "surprised", inspect.KnownFact(inspect.StateRunning, "runtime"), inspect.KnownFact(9, "runtime")
	r.UserNamespace.InForce = inspect.KnownFact(inspect.UserNamespace{
		UIDMap: nsdiff.IDMap{{Inside: 0, Outside: 100000, Size: 65536}}, Setgroups: nsdiff.SetgroupsDeny,
	}, "/proc/9/ns/user")
	denied := errors.New("readlink /proc/9/ns/ipc: permission denied")
	same, other := nsdiff.Match{Relation: nsdiff.Same, Proof: nsdiff.ByFirstProcess}, nsdiff.Match{Relation: nsdiff.Other, Proof: nsdiff.ByInode}
	unknown := nsdiff.Match{Cause: denied.Error()}
	own, pod := inspect.KnownFact(nsdiff.ExpectOwn, "CRI request"), inspect.KnownFact(nsdiff.ExpectPod, "CRI request")
	neighbors := []inspect.Neighbor{{ID: "1", Name: "default/other", Kind: inspect.KindSandbox}, {ID: "2", Name: "default/other/app", Kind: inspect.KindContainer}}
	id := func(k nsdiff.Kind, inode uint64) inspect.Fact[nsdiff.Namespace] {
		return inspect.KnownFact(nsdiff.Namespace{Kind: k, Inode: inode}, "/proc/9/ns")
	}
	r.Namespaces.Requested = inspect.KnownFact(inspect.NamespaceRequest{
		Network: inspect.NamespacePod, PID: inspect.NamespaceTarget, IPC: inspect.NamespaceNode, Target: "0123",
	}, "CRI request")
	r.Namespaces.Declared = inspect.UnknownFact[[]inspect.NamespaceDeclared](errors.New("no specification"))
	r.Namespaces.Lineage = inspect.UnknownFact[nsdiff.Lineage](denied)
	r.Namespaces.InForce = inspect.KnownFact([]inspect.Namespace{
		{Kind: nsdiff.Cgroup, ID: inspect.AbsentFact[nsdiff.Namespace]("this kernel has none"), Verdict: nsdiff.NotApplicable, Reason: "this kernel has none"},
		{Kind: nsdiff.IPC, ID: inspect.UnknownFact[nsdiff.Namespace](denied), Comparison: nsdiff.Comparison{Host: unknown, Initial: unknown}, Expected: pod, Reason: denied.Error()},
		{Kind: nsdiff.Mnt, ID: id(nsdiff.Mnt, 4026532001), Comparison: nsdiff.Comparison{Host: other, Initial: unknown}, With: neighbors[1:], Expected: own, Verdict: nsdiff.Surprise, Reason: "shared with default/other/app"},
		{Kind: nsdiff.Net, ID: id(nsdiff.Net, 4026531833), Comparison: nsdiff.Comparison{Host: same, Initial: other}, Expected: pod, Verdict: nsdiff.Surprise, Reason: "the host's"},
		{Kind: nsdiff.PID, ID: id(nsdiff.PID, 4026532002), Comparison: nsdiff.Comparison{Host: other, Initial: other}, Expected: own, Verdict: nsdiff.AsExpected},
		{Kind: nsdiff.PIDForChildren, ID: id(nsdiff.PID, 4026532003), Comparison: nsdiff.Comparison{Host: other, Initial: other}, Expected: own, Verdict: nsdiff.AsExpected},
		{Kind: nsdiff.User, ID: id(nsdiff.User, 4026532004), Comparison: nsdiff.Comparison{Host: unknown, Initial: other}, Expected: pod, Reason: "denied"},
		{
			Kind: nsdiff.UTS, ID: id(nsdiff.UTS, 4026532005), Comparison: nsdiff.Comparison{Host: other, Initial: other}, With: neighbors,
			Expected: inspect.UnknownFact[nsdiff.Expectation](errors.New("no record")), Reason: "what was asked for is unknown: no record",
		},
	}, "/proc/9/ns")
	r.Cgroup.Requested = inspect.KnownFact(cgroup.Resources{Memory: cgroup.LimitOf(1 << 30), MemorySwap: cgroup.LimitOf(3 << 29)}, "CRI request")
	r.Cgroup.Declared = inspect.KnownFact(cgroup.Resources{Memory: cgroup.Max, CPU: cgroup.CPUMax{Quota: cgroup.Max, Period: 100000}}, "specification")
	r.Cgroup.InForce = inspect.KnownFact(surprisedCgroup(), "/proc/9/cgroup")
	return r
}

// surprisedCgroup is a cgroup of version 2, of which some is unknown.
func surprisedCgroup() cgroup.Process {
	var p cgroup.Process
	p.Mode = cgroup.KnownFact(cgroup.Unified, "mountinfo")
	p.Place = cgroup.Place{Path: "/kubepods.slice/x.scope/init", Inner: "/init", Runtime: "containerd", Driver: cgroup.Systemd}
	p.Folder = cgroup.KnownFact("/sys/fs/cgroup/kubepods.slice/x.scope", "mountinfo")
	denied := errors.New("open /sys/fs/cgroup/x/memory.max: permission denied")
	p.Memory.Max = cgroup.UnknownFact[cgroup.Limit](denied)
	p.Memory.MemorySwapMax = cgroup.AbsentFact[cgroup.Limit]("version 2")
	p.Memory.Current = cgroup.KnownFact(cgroup.Count(100<<20), "memory.current")
	p.CPU.Max = cgroup.KnownFact(cgroup.CPUMax{Quota: cgroup.LimitOf(1500), Period: 1000}, "cpu.max")
	p.CPU.Weight = cgroup.KnownFact(cgroup.Count(79), "cpu.weight")
	p.CPU.Periods = cgroup.KnownFact(cgroup.Count(1000), "cpu.stat")
	p.CPU.Throttled = cgroup.KnownFact(cgroup.Count(250), "cpu.stat")
	p.CPU.ThrottledTime = cgroup.KnownFact(cgroup.Count(1_234_567), "cpu.stat")
	p.CPU.Pressure = cgroup.KnownFact(cgroup.Pressure{Some: cgroup.Stall{Avg10: 12.5}, FullAbsent: true}, "cpu.pressure")
	p.Pids.Current = cgroup.KnownFact(cgroup.Count(60), "pids.current")
	p.Effective.Memory = cgroup.EffectiveOf([]cgroup.Level[cgroup.Limit]{
		{Kind: cgroup.KindContainer, Path: "/kubepods.slice/x.scope", Limit: p.Memory.Max},
		{Kind: cgroup.KindMachine, Path: "/", Limit: cgroup.KnownFact(cgroup.LimitOf(16<<30), "meminfo"), Usage: cgroup.AbsentFact[cgroup.Count]("not counted")},
	})
	p.Effective.CPU = cgroup.EffectiveOf([]cgroup.Level[cgroup.CPUMax]{{Kind: cgroup.KindContainer, Path: "/kubepods.slice/x.scope", Limit: p.CPU.Max}})
	p.Effective.Pids = cgroup.EffectiveOf([]cgroup.Level[cgroup.Limit]{{
		Kind: cgroup.KindSlice, Path: "/kubepods.slice", Limit: cgroup.KnownFact(cgroup.LimitOf(100), "pids.max"), Usage: cgroup.KnownFact(cgroup.Count(99), "pids.current"),
	}})
	return p
}

func sampleOutput(format string) output {
	return output{format: format, headers: true, terminal: terminal{width: 80}}
}

func render(t *testing.T, a answer, o output) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := o.write(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// capsList is what caps makes of reports.
func capsList(reports []inspect.Report) []containerCaps {
	var list []containerCaps
	for _, r := range reports {
		list = append(list, capsOf(r))
	}
	return list
}

// TestTables compares tables and pages with testdata/golden.
func TestTables(t *testing.T) {
	containers := recorded[[]inspect.Container](t, "containers.json")
	reports := append(recorded[[]inspect.Report](t, "reports.json"), unreadable(), ended())
	everything := append(reports, manyFaces())
	listed := append(containers, unreadable().Container, ended().Container)
	table, wide := sampleOutput(formatTable), sampleOutput(formatWide)
	bare, colored := table, table
	bare.headers, bare.whole = false, true
	colored.color = true
	capsAnswer := answer{text: func(w io.Writer, o output) { o.table(w, capsTable(capsList(reports), o)) }}
	capsPages := answer{text: func(w io.Writer, o output) {
		for _, c := range capsList(everything) {
			c.page(w, o)
			say(w, "----\n")
		}
	}}
	isolated := append(recorded[[]inspect.Report](t, "isolation.json"), unreadable(), ended(), surprised())
	pages := func(answerOf func([]inspect.Report, bool) answer) answer {
		return answer{text: func(w io.Writer, o output) {
			for _, r := range isolated {
				answerOf([]inspect.Report{r}, true).text(w, o)
				say(w, "----\n")
			}
		}}
	}
	for name, tc := range map[string]struct {
		a answer
		o output
	}{
		"ns":               {nsAnswer(isolated, false), table},
		"ns-wide":          {nsAnswer(isolated, false), wide},
		"ns-bare":          {nsAnswer(isolated, false), bare},
		"ns-color":         {nsAnswer(isolated, false), colored},
		"ns-page":          {pages(nsAnswer), table},
		"ns-page-wide":     {pages(nsAnswer), wide},
		"cgroup":           {cgroupAnswer(isolated, false), table},
		"cgroup-wide":      {cgroupAnswer(isolated, false), wide},
		"cgroup-color":     {cgroupAnswer(isolated, false), colored},
		"cgroup-page":      {pages(cgroupAnswer), table},
		"cgroup-page-wide": {pages(cgroupAnswer), wide},

		"ps":           {psAnswer(containersOf(listed, false)), table},
		"ps-all-wide":  {psAnswer(containersOf(listed, true)), wide},
		"ps-bare":      {psAnswer(containersOf(listed, true)), bare},
		"ps-color":     {psAnswer(containersOf(listed, true)), colored},
		"pods":         {podsAnswer(podsOf(listed)), table},
		"pods-wide":    {podsAnswer(podsOf(listed)), wide},
		"inspect":      {inspectAnswer(everything), table},
		"inspect-wide": {inspectAnswer(everything), wide},
		"caps":         {capsAnswer, table},
		"caps-wide":    {capsAnswer, wide},
		"caps-color":   {capsAnswer, colored},
		"caps-page":    {capsPages, table},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", render(t, tc.a, tc.o))
		})
	}
}

// TestColumnsStayAligned: colors take no room.
func TestColumnsStayAligned(t *testing.T) {
	listed := []inspect.Container{unreadable().Container, ended().Container}
	o := sampleOutput(formatTable)
	plain := render(t, psAnswer(listed), o)
	o.color = true
	colored := render(t, psAnswer(listed), o)
	if bytes.Equal(plain, colored) {
		t.Fatal("nothing is colored")
	}
	for _, code := range []string{"\x1b[31m", "\x1b[33m", "\x1b[35m", "\x1b[0m"} {
		colored = bytes.ReplaceAll(colored, []byte(code), nil)
	}
	if !bytes.Equal(plain, colored) {
		t.Errorf("without its colors\n%s\nis not\n%s", colored, plain)
	}
}

// hostile is what a container may be called to confuse a terminal.
const hostile = "a\x1b[2J\nroot\r\t\u202egpj.\u2066\u200f\u009b\x7f\xff\u00ad\u2028\U000e0041"

// hostileReport has it in every place that a container controls.
func hostileReport() inspect.Report {
	r := ended()
	r.ID, r.Name, r.Namespace, r.Image, r.Runtime = hostile, hostile, hostile, hostile, hostile
	r.Pod = &inspect.Pod{Name: hostile, Namespace: hostile, UID: hostile, SandboxID: hostile}
	r.Labels = map[string]string{hostile: hostile}
	r.Annotations = map[string]string{hostile: hostile}
	r.Process = inspect.KnownFact(inspect.Program{Args: []string{hostile}, Cwd: hostile, Env: []string{hostile}}, hostile)
	r.AppArmor.InForce = inspect.KnownFact(hostile, hostile)
	r.SELinux.InForce = inspect.AbsentFact[string](hostile)
	r.State = inspect.KnownFact(inspect.State(hostile), hostile)
	r.PID = inspect.UnknownFact[int](errors.New(hostile))
	r.Seccomp.Requested = inspect.KnownFact(inspect.SeccompRequest{Profile: hostile, LocalhostRef: hostile}, hostile)
	r.Seccomp.Declared = inspect.KnownFact(inspect.SeccompDeclared{DefaultAction: hostile}, hostile)
	r.Capabilities.Requested = inspect.KnownFact(inspect.CapabilityRequest{Add: []string{hostile}, Drop: []string{hostile}}, hostile)
	r.Capabilities.Default = inspect.AbsentFact[caps.Set](hostile)
	r.User.Requested = inspect.KnownFact(inspect.UserRequest{Name: hostile}, hostile)
	r.Namespaces.Requested = inspect.KnownFact(inspect.NamespaceRequest{Network: hostile, Target: hostile}, hostile)
	r.Namespaces.Declared = inspect.KnownFact([]inspect.NamespaceDeclared{{Kind: nsdiff.Net, Path: hostile}}, hostile)
	r.Namespaces.InForce = inspect.KnownFact([]inspect.Namespace{{
		Kind: nsdiff.Net, ID: inspect.UnknownFact[nsdiff.Namespace](errors.New(hostile)), Verdict: nsdiff.Surprise, Reason: hostile,
		With: []inspect.Neighbor{{ID: hostile, Name: hostile}},
	}}, hostile)
	p := surprisedCgroup()
	p.Place.Path, p.Place.Inner, p.Folder = hostile, hostile, cgroup.KnownFact(hostile, hostile)
	p.Release = []cgroup.Release{{Controllers: []string{hostile}, Agent: cgroup.KnownFact(hostile, hostile)}}
	p.Mounts = cgroup.KnownFact([]cgroup.Mount{{Point: hostile, Writable: true}}, hostile)
	r.Cgroup.InForce = inspect.KnownFact(p, hostile)
	r.Drift = []inspect.Difference{{Setting: hostile, From: hostile, To: hostile, Want: hostile, Have: hostile, Reason: hostile}}
	return r
}

// TestNothingRaw: nothing that a container controls reaches the terminal as it is, in any format.
func TestNothingRaw(t *testing.T) {
	r := hostileReport()
	sandbox := r.Container
	sandbox.Kind = inspect.KindSandbox
	listed := []inspect.Container{sandbox, r.Container}
	answers := map[string]answer{
		"ps":       psAnswer(listed[1:]),
		"pods":     podsAnswer(podsOf(listed)),
		"inspect":  inspectAnswer([]inspect.Report{r}),
		"ns":       nsAnswer([]inspect.Report{r, r}, false),
		"ns web":   nsAnswer([]inspect.Report{r}, true),
		"cgroup":   cgroupAnswer([]inspect.Report{r, r}, false),
		"cgroup x": cgroupAnswer([]inspect.Report{r}, true),
		"caps": {data: capsList([]inspect.Report{r}), ids: []string{r.ID}, text: func(w io.Writer, o output) {
			o.table(w, capsTable(capsList([]inspect.Report{r}), o))
			capsOf(r).page(w, o)
		}},
	}
	template, err := parseTemplate("{{.name}} {{.}} {{json .}}")
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range answers {
		for _, format := range []string{formatTable, formatWide, formatJSON, formatYAML, formatGoTemplate, "quiet"} {
			o := sampleOutput(format)
			o.quiet = format == "quiet"
			o.template, o.terminal.is, o.whole = template, true, true
			text := string(render(t, a, o))
			if !strings.Contains(text, "gpj.") {
				t.Errorf("%s %s: does not show the name:\n%s", name, format, text)
			}
			for _, line := range strings.Split(text, "\n") {
				if escapeLine(line) != line {
					t.Errorf("%s %s: raw: %q", name, format, line)
				}
				if strings.HasPrefix(line, "root") {
					t.Errorf("%s %s: a forged line: %q", name, format, line)
				}
			}
		}
	}
}

// TestErrorsAreEscaped: neither do messages.
func TestErrorsAreEscaped(t *testing.T) {
	var stderr bytes.Buffer
	v := &invocation{stderr: &stderr}
	status := v.report(errors.Join(errors.New(hostile), &inspect.NotFoundError{Ref: "x", Near: []string{hostile}}))
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if status != statusIncomplete || len(lines) != 3 {
		t.Errorf("status %d, %d lines:\n%s", status, len(lines), &stderr)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "rtinspect: ") || escapeLine(line) != line {
			t.Errorf("raw: %q", line)
		}
	}
}

// TestDataStaysTheSame: escapes in JSON and YAML change no value, and both say the same.
func TestDataStaysTheSame(t *testing.T) {
	valid := strings.ToValidUTF8(hostile, "\ufffd")
	for _, value := range []any{
		map[string]any{"name": valid, valid: []any{valid, 1.5, true, nil}},
		map[string]any{"name": "plain", "text": "- not: a list\n# no comment", "number": "0123"},
		[]any{},
	} {
		for _, format := range []string{formatJSON, formatYAML} {
			text := render(t, answer{data: value}, sampleOutput(format))
			var back any
			unmarshal := json.Unmarshal
			if format == formatYAML {
				unmarshal = func(data []byte, v any) error { return yaml.Unmarshal(data, v) }
			}
			if err := unmarshal(text, &back); err != nil {
				t.Fatalf("%s: %v\n%s", format, err, text)
			}
			if !reflect.DeepEqual(back, value) {
				t.Errorf("%s: got %#v, want %#v\n%s", format, back, value, text)
			}
		}
	}
}

// TestJSONContract: what is printed reads back as the library's types, unchanged, and an empty answer is an empty array.
func TestJSONContract(t *testing.T) {
	reports := append(recorded[[]inspect.Report](t, "reports.json"), unreadable(), ended(), manyFaces())
	text := render(t, inspectAnswer(reports), sampleOutput(formatJSON))
	var back []inspect.Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if again := render(t, inspectAnswer(back), sampleOutput(formatJSON)); !bytes.Equal(again, text) {
		t.Errorf("got\n%s\nwant\n%s", again, text)
	}
	for name, a := range map[string]answer{
		"ps": psAnswer(containersOf(nil, true)), "pods": podsAnswer(podsOf(nil)), "inspect": inspectAnswer(nil),
		"ns": nsAnswer(nil, false), "cgroup": cgroupAnswer(nil, false),
	} {
		if text := render(t, a, sampleOutput(formatJSON)); string(text) != "[]\n" {
			t.Errorf("%s: an empty answer is %q", name, text)
		}
	}
	golden(t, "caps.json", render(t, answer{data: capsList(reports)}, sampleOutput(formatJSON)))
	golden(t, "caps.yaml", render(t, answer{data: capsList(reports[:1])}, sampleOutput(formatYAML)))
	golden(t, "pods.json", render(t, podsAnswer(podsOf(recorded[[]inspect.Container](t, "containers.json"))), sampleOutput(formatJSON)))
}

// TestTemplateNumbers: a large pid is not printed as 4.194304e+06.
func TestTemplateNumbers(t *testing.T) {
	o := sampleOutput(formatGoTemplate)
	var err error
	if o.template, err = parseTemplate("{{.pid}} {{.share}} {{eq .pid 4194304}}"); err != nil {
		t.Fatal(err)
	}
	data := []map[string]any{{"pid": 4194304, "share": 0.5}}
	if got := string(render(t, answer{data: data}, o)); got != "4194304 0.5 true\n" {
		t.Errorf("got %q", got)
	}
}

// TestGapsAreErrors: what a command could not tell is on stderr and in the status.
func TestGapsAreErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want []string
	}{
		"list": {
			listGaps([]inspect.Container{unreadable().Container, ended().Container}),
			[]string{"shut: state: the shim does not answer", "shut: pid: open /proc/7/status: permission denied", "shut: tier: open"},
		},
		"caps": {
			reportGaps([]inspect.Report{unreadable()}, capabilityGap),
			[]string{"shut: state: ", "shut: capabilities.inForce: open /proc/7/status: permission denied", "shut: noNewPrivs.inForce: "},
		},
		"inspect": {reportGaps([]inspect.Report{unreadable()}, everyGap), []string{"shut: seccomp.inForce: "}},
		"ns": {
			reportGaps([]inspect.Report{unreadable(), surprised()}, nsGap),
			[]string{"shut: namespaces.inForce: ", "surprised: namespaces.inForce.ipc.id: ", "surprised: namespaces.inForce.uts.verdict: "},
		},
		"cgroup": {
			reportGaps([]inspect.Report{unreadable(), surprised()}, cgroupGap),
			[]string{"shut: cgroup.inForce: ", "surprised: cgroup.inForce.memory.max: ", "surprised: cgroup.inForce.memory.high: not read"},
		},
	} {
		if tc.err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(tc.err.Error(), want) {
				t.Errorf("%s: %q is not in %q", name, want, tc.err)
			}
		}
		if name == "caps" && strings.Contains(tc.err.Error(), "seccomp") {
			t.Errorf("caps: what it does not answer: %q", tc.err)
		}
	}
	if err := listGaps([]inspect.Container{ended().Container}); err != nil {
		t.Errorf("an ended container: %v", err)
	}
}

// TestSeverity: what nothing is known of is never taken for harmless.
func TestSeverity(t *testing.T) {
	list := holdings(caps.Reach{Now: caps.Of(caps.Chown, 63), OnExec: caps.Of(caps.SysAdmin)})
	if got := worst(list, heldNow); got != caps.DangerUnknown {
		t.Errorf("worst now: %v, want unknown", got)
	}
	if got := worst(list, heldAtAll); got != caps.DangerCritical {
		t.Errorf("worst reachable: %v, want critical", got)
	}
	if got := worst(nil, heldAtAll); got != caps.DangerNone {
		t.Errorf("worst of nothing: %v, want none", got)
	}
	if first := list[0].Name; first != "CAP_SYS_ADMIN" {
		t.Errorf("first: %s, want the most dangerous", first)
	}
}
