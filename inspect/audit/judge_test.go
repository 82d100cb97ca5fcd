package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

func TestJudgeIsDeterministic(t *testing.T) {
	for _, version := range versions {
		s := load(t, version)
		first := encode(t, Judge(s, Options{}))
		if !bytes.Equal(first, encode(t, Judge(s, Options{}))) || !bytes.Equal(first, encode(t, Judge(load(t, version), Options{}))) {
			t.Errorf("%s: judged again, the report is another", version)
		}
		var again Report
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatal(err)
		}
		if second := encode(t, again); !bytes.Equal(first, second) {
			t.Errorf("%s: read and written again\n%s\n%s", version, first[:2000], second[:2000])
		}
	}
}

// TestSnapshotIsNotChanged: others read it at the same time.
func TestSnapshotIsNotChanged(t *testing.T) {
	s := load(t, "2.4")
	before := encode(t, s)
	Judge(s, Options{})
	if !bytes.Equal(before, encode(t, s)) {
		t.Error("the snapshot is another after it was judged")
	}
}

func TestJudgeOfNothing(t *testing.T) {
	report := Judge(inspect.Snapshot{Containers: []inspect.Report{{}}}, Options{})
	for _, subject := range report.Subjects {
		for _, r := range subject.Results {
			if r.Verdict == Fail {
				t.Errorf("%s: %s %+v", subject, r.Verdict, r)
			}
			if r.Verdict == Unknown && (len(r.Causes) == 0 || slices.Contains(r.Causes, "")) {
				t.Errorf("%s: no cause: %+v", r.Rule, r)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	s := loadPods(t, "2.4", "pod-host-ns")
	rules := func(o Options) (list []string) {
		for _, r := range Judge(s, o).Subjects[1].Results {
			list = append(list, r.Rule)
		}
		return list
	}
	if got := rules(Options{Rules: []string{"host-pid", "cap-sys-ptrace"}}); !slices.Equal(got, []string{"cap-sys-ptrace", "host-pid"}) {
		t.Errorf("%q", got)
	}
	if got := rules(Options{Skip: []string{"host-pid"}}); slices.Contains(got, "host-pid") || len(got) < 50 {
		t.Errorf("%q", got)
	}
	// Without the path, what it would contain is told by itself.
	for _, f := range Judge(s, Options{Rules: []string{"host-pid"}}).Findings() {
		if f.Rule != "host-pid" || len(f.PartOf) != 0 {
			t.Errorf("%+v", f)
		}
	}
}

// TestSameID: two namespaces of containerd may have containers of one id.
func TestSameID(t *testing.T) {
	s := loadPods(t, "2.4", "pod-socket-mounted")
	twin := s.Containers[0]
	twin.Namespace = "moby"
	s.Containers = append(s.Containers, twin)
	for n := range s.Sockets {
		list, _ := s.Sockets[n].Containers.Value()
		for m := range list {
			list[m].Namespace = "k8s.io"
		}
	}
	var got []string
	for _, subject := range Judge(s, Options{Rules: []string{"runtime-socket"}}).Subjects[1:] {
		got = append(got, subject.Namespace+" "+subject.Results[0].Verdict.String())
	}
	if want := []string{"k8s.io fail", "moby pass"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestPaths looks at the legs of a path and at what it contains.
func TestPaths(t *testing.T) {
	s := loadPods(t, "2.4", "pod-host-ns")
	report := Judge(s, Options{})
	findings := report.Findings()
	n := slices.IndexFunc(findings, func(f Finding) bool { return f.Rule == "path-host-process" })
	if n < 0 {
		t.Fatal("no path-host-process")
	}
	f := findings[n]
	if f.Subject.Name != "default/pod-host-ns/app" || f.Subject.Results != nil || len(f.Legs) != 2 {
		t.Fatalf("%+v", f)
	}
	for n, want := range []struct {
		rule     string
		cheapest bool
		evidence string
	}{{"host-pid", true, "the node's"}, {"cap-sys-ptrace", false, "CAP_SYS_PTRACE effective"}} {
		leg := f.Legs[n]
		if leg.Rule != want.rule || leg.Cheapest != want.cheapest || leg.Break == "" ||
			!slices.ContainsFunc(leg.Evidence, func(e Evidence) bool { return strings.Contains(e.Value, want.evidence) && e.Source != "" }) {
			t.Errorf("leg %d: %+v", n, leg)
		}
	}
	var parts []string
	for _, p := range f.Parts {
		parts = append(parts, p.Rule)
	}
	if !slices.Equal(parts, []string{"cap-sys-ptrace", "host-pid"}) {
		t.Errorf("it contains %q", parts)
	}
	for _, r := range report.Subjects[1].Results {
		cheapest := 0
		for _, leg := range r.Legs {
			if leg.Cheapest {
				cheapest++
			}
		}
		if len(r.Legs) > 0 && cheapest != 1 {
			t.Errorf("%s: %d legs are the cheapest", r.Rule, cheapest)
		}
	}
}

// TestFindingsOrder wants the worst first.
func TestFindingsOrder(t *testing.T) {
	findings := Judge(load(t, "1.6"), Options{}).Findings()
	if !slices.IsSortedFunc(findings, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) }) {
		t.Error("not by severity")
	}
	if findings[0].Severity != Critical || findings[0].Subject.String() != "default/pod-host-ns/app" {
		t.Errorf("%+v", findings[0])
	}
	if got := (Subject{Node: true}).String() + ", " + (Subject{Name: "a/b", Kind: inspect.KindSandbox}).String(); got != "the node, a/b (sandbox)" {
		t.Error(got)
	}
}

// TestVersionIsPossible: distributions repair without changing the number.
func TestVersionIsPossible(t *testing.T) {
	for _, r := range Judge(loadPods(t, "1.6", "pod-oom"), Options{}).Subjects[0].Results {
		if possible := r.Rule == "containerd-version"; r.Possible != possible {
			t.Errorf("%s: possible %v", r.Rule, r.Possible)
		}
	}
}

func TestRepairs(t *testing.T) {
	r := repair{"CVE", "1.5.0", []string{"1.7.33", "2.0.10", "2.1.9"}}
	for version, want := range map[string]bool{
		"1.4.13": true, "1.5.0": false, "1.6.99": false, "1.7.32": false, "1.7.33": true, "1.8.0": false, "2.0.9": false, "2.0.10": true, "2.1.8": false, "2.1.9": true,
		"2.2.0": true, "3.0.0": true, "v2.1.10": true, "1.7.33~ds1": true, "2.1.9-rc.1": true, "2.0.9+unknown": false,
	} {
		v, ok := parseVersion(version)
		if !ok || r.repaired(v) != want {
			t.Errorf("%s: %v, %v", version, v, r.repaired(v))
		}
	}
	for _, text := range []string{"", "2", "2.1", "a.b.c", "2.-1.0", "2.1.x", "2.1."} {
		if v, ok := parseVersion(text); ok {
			t.Errorf("%q: %v", text, v)
		}
	}
	for _, r := range repairs {
		for _, text := range r.fixed {
			if _, ok := parseVersion(text); !ok {
				t.Errorf("%s: %q", r.flaw, text)
			}
		}
	}
}

func TestClassOf(t *testing.T) {
	for path, want := range map[string]string{
		"/": "host-root", "/etc": "host-system", "/etc/cron.d/x": "host-system", "/etc/kubernetes": "host-kubernetes", "/etc/cni/net.d": "host-kubernetes",
		"/var": "host-runtime", "/var/lib": "host-runtime", "/var/lib/containerd/x": "host-runtime", "/run": "host-runtime",
		"/var/run/containerd": "host-runtime", "/var/run": "host-runtime", "/run/systemd/private": "host-system", "/var/log/pods": "host-logs",
		"/var/logs": "host-path", "/srv": "host-path", "/home": "host-path", "/usr/libexec/kubernetes": "host-kubernetes", "/usr/lib": "host-programs",
		"/procfs": "host-path", "/proc/1": "host-kernel", "/sys": "host-kernel", "/dev/shm": "host-kernel", "/opt/cni/bin": "host-kubernetes",
	} {
		if got := classOf(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestEnums(t *testing.T) {
	for _, s := range Severities() {
		var again Severity
		if text, _ := s.MarshalText(); again.UnmarshalText(text) != nil || again != s {
			t.Errorf("%s: %s", s, again)
		}
	}
	for v := range NotApplicable + 1 {
		var again Verdict
		if text, _ := v.MarshalText(); again.UnmarshalText(text) != nil || again != v {
			t.Errorf("%s: %s", v, again)
		}
	}
	for v := range CallConditional + 1 {
		var again CallVerdict
		if text, _ := v.MarshalText(); again.UnmarshalText(text) != nil || again != v {
			t.Errorf("%s: %s", v, again)
		}
	}
	var s Severity
	if err := s.UnmarshalText([]byte("dire")); err == nil || Severity(9).String() != "Severity(9)" {
		t.Errorf("%v, %s", err, Severity(9))
	}
}

// TestClaims holds the three-valued logic.
func TestClaims(t *testing.T) {
	claims := map[truth]claim{
		unsure: {causes: []string{"why"}},
		no:     isTrue(false, Evidence{Fact: "no"}),
		yes:    isTrue(true, Evidence{Fact: "yes"}),
	}
	for _, tc := range []struct{ a, b, all, either, unless truth }{
		{no, no, no, no, no},
		{no, unsure, no, unsure, no},
		{no, yes, no, yes, no},
		{unsure, no, no, unsure, unsure},
		{unsure, unsure, unsure, unsure, unsure},
		{unsure, yes, unsure, yes, no},
		{yes, no, no, yes, yes},
		{yes, unsure, unsure, yes, yes},
		{yes, yes, yes, yes, no},
	} {
		a, b := claims[tc.a], claims[tc.b]
		if all, either, unless := all(a, b), either(a, b), a.unless(b); all.truth != tc.all || either.truth != tc.either || unless.truth != tc.unless {
			t.Errorf("%d, %d: all %d, either %d, unless %d", tc.a, tc.b, all.truth, either.truth, unless.truth)
		}
	}
	if not(claims[yes]).truth != no || not(claims[no]).truth != yes || not(claims[unsure]).truth != unsure {
		t.Error("not")
	}
	if all().truth != yes || either().truth != no {
		t.Error("of nothing")
	}
	if c := all(claims[yes], claims[unsure]); len(c.causes) != 1 {
		t.Errorf("no cause: %+v", c)
	}
}

// TestDocs compares docs/rules.md with the rules; -update rewrites it.
func TestDocs(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "rules.md")
	want := rulesDocument()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/rules.md is not what the rules say: run go test ./inspect/audit -run TestDocs -update")
	}
}

const documentHead = `# The rules

<!-- Made from the rules by go test ./inspect/audit -run TestDocs -update. -->

Each rule is judged for every container, or for the node. Its verdict is

- **fail**: it is so, and every fact that shows it is known. *Possible* means that only a version speaks for it, and distributions
  repair without changing the version;
- **pass**: it is not so;
- **unknown**: a fact that decides could not be read; the causes are told. Unknown never passes. What may protect and is not known
  to, does not count as protection;
- **not applicable**: it says nothing here; the reason is told. A container that has ended has no findings.

The severity that stands with a rule is the highest: that of a finding follows from the facts. Capabilities count in the node's user
namespace only. A container on a kernel of its own (gVisor, Kata) is judged by its specification, and what would first have to get
out of that kernel is low. A pod's sandbox container runs the runtime's pause program: rules about what its program could do are not
applied to it.

| severity | means |
|---|---|
| critical | whoever runs code in the container can take over the node |
| high | it takes one more thing that an attacker may well find, or it lays open secrets of the node |
| medium | with one flaw elsewhere it leads out of the container or harms the node and its other containers |
| low | a measure is missing that would stand in the way of an attack |
| info | it is worth to know, and harms nobody by itself |

An attack path is one finding: what its legs are about is shown with it. So is what makes up a privileged container.

References: CIS Docker is the benchmark 1.6, CIS Kubernetes the benchmark 1.11; PSS are the Pod Security Standards, with the names of
the checks in k8s.io/pod-security-admission; NSA is the hardening guidance of NSA and CISA, numbered as Kubescape does; ATT&CK is
MITRE's.
`

// waysOut are the known ways out of a container with the rules about them.
var waysOut = []struct{ way, rules string }{
	{"a container that adds up to privileged", "privileged"},
	{"CAP_SYS_ADMIN: mount, release_agent, a disk", "path-mount path-release-agent path-host-disk cap-sys-admin"},
	{"device files made or given", "path-host-disk block-device device-node cap-mknod"},
	{"CAP_SYS_MODULE", "path-kernel-module cap-sys-module"},
	{"the node's processes, CAP_SYS_PTRACE", "path-host-process host-pid cap-sys-ptrace"},
	{"processes of a stronger container in one pid namespace", "path-neighbor"},
	{"CAP_DAC_READ_SEARCH", "path-file-handle cap-dac-read-search"},
	{"CAP_SYS_RAWIO, /dev/mem", "path-kernel-memory cap-sys-rawio device-node"},
	{"CAP_BPF, CAP_PERFMON", "path-kernel-programs cap-bpf unprivileged-bpf"},
	{"CAP_NET_ADMIN, CAP_NET_RAW", "cap-net-admin cap-net-raw host-network"},
	{"CAP_SYS_BOOT, CAP_SYSLOG, CAP_SYS_TIME and others", "cap-sys-boot added-capabilities"},
	{"inheritable capabilities", "inheritable-capabilities"},
	{"core_pattern, modprobe, binfmt_misc", "path-core-pattern core-pattern kernel-filesystem"},
	{"sysrq-trigger", "sysrq-trigger"},
	{"uevent_helper", "writable-sys"},
	{"debugfs, tracefs, bpffs, efivarfs and others", "kernel-filesystem"},
	{"kcore and what else is hidden", "unmasked-proc mask-missing mask-replaced"},
	{"a runtime's socket, by whatever name or folder", "runtime-socket socket-open"},
	{"abstract sockets of shims", "abstract-socket"},
	{"TCP: Docker 2375, kubelet 10255, the runtime", "runtime-tcp"},
	{"the node's root, /etc, /usr, /boot, keys, cron, units", "host-root host-system host-programs"},
	{"the kubelet's folder, manifests, CNI", "host-kubernetes"},
	{"the runtime's folders, NRI, CDI", "host-runtime"},
	{"/var/log", "host-logs"},
	{"the node's /proc, /sys, /dev", "host-kernel"},
	{"lxcfs", "lxcfs"},
	{"shared mount propagation", "path-mount-propagation mount-propagation"},
	{"writable control groups", "writable-cgroup path-release-agent"},
	{"the node's IPC and UTS namespaces", "host-ipc host-uts"},
	{"root without a user namespace", "root-user user-namespace-missing"},
	{"set-user-ID programs", "no-new-privileges"},
	{"no filter, or one that lets much through; AF_ALG", "seccomp-off seccomp-weak"},
	{"no AppArmor or SELinux, or one that complains", "lsm-off no-lsm"},
	{"a writable root file system", "writable-rootfs"},
	{"no limits", "no-memory-limit no-cpu-limit no-pids-limit limit-changed"},
	{"sysctls", "unsafe-sysctl"},
	{"a working folder or file left open by runc", "working-directory leaked-file"},
	{"a lost label, filter or mask", "wider-than-declared mask-missing"},
	{"a label that has containerd run a command", "log-command"},
	{"CDI, checkpoints, hooks, NVIDIA's toolkit", "cdi-devices unrequested hooks"},
	{"user numbers that overflow", "uid-overflow"},
	{"open folders of containerd", "runtime-folder-open"},
	{"containerd by its version", "containerd-version"},
}

// TestWaysOut wants rules that there are, and every rule but those that are about
// no way out by themselves.
func TestWaysOut(t *testing.T) {
	others := []string{
		"default-capabilities", "host-path", "kernel-addresses", "not-its-process", "process-beyond", "readonly-mount-not-whole",
		"unexpected-sharing", "wider-than-requested", "writable-proc",
	}
	named := map[string]bool{}
	for _, w := range waysOut {
		for id := range strings.FieldsSeq(w.rules) {
			named[id] = true
			if _, ok := Lookup(id); !ok {
				t.Errorf("%s: no rule %s", w.way, id)
			}
		}
	}
	for _, r := range Rules() {
		if named[r.ID] == slices.Contains(others, r.ID) {
			t.Errorf("%s: named %v", r.ID, named[r.ID])
		}
	}
}

func writeWays(b *strings.Builder) {
	b.WriteString("\n## Ways out of a container\n\n| way | rules |\n|---|---|\n")
	for _, w := range waysOut {
		b.WriteString("| " + w.way + " | " + strings.ReplaceAll(w.rules, " ", ", ") + " |\n")
	}
}

const documentTail = `
## What is not seen

These lead out of containers as well, and there is no rule, as no fact of the snapshot shows them:

- containerd's interface and its debug address on TCP by their ports, as they have none of their own: those of the containerd that was
  asked are seen. The kubelet's port 10250, which asks who it is, and whether it lets everybody in all the same.
- The device policy in force (devices.list, or a BPF program): the declared one is judged.
- The version of runc and of NVIDIA's toolkit, and with it CVE-2019-5736, CVE-2024-21626, CVE-2025-31133, CVE-2025-52565 and
  CVE-2025-52881 by number. What they leave behind is seen: leaked files, replaced masks, lost labels.
- An image in which /dev is a link (CVE-2026-41579): images are not read.
- The modes of containerd's folders (CVE-2024-25621) on other places than the usual, but for those above its sockets.
- A hard link to a socket in another folder: sockets are found by their file system and the place in it.
- Flaws of the kernel by its version: a version says little of a distribution's kernel.
- What a profile of AppArmor, or SELinux's policy, allows: only the runtimes' own profiles are known.
- Programs with set-user-ID or file capabilities: root file systems are not searched. What such a program could give counts as
  reachable.
`

func rulesDocument() string {
	var b strings.Builder
	b.WriteString(documentHead)
	section := func(title string, is func(Rule) bool) {
		b.WriteString("\n## " + title + "\n")
		for _, r := range Rules() {
			if is(r) {
				writeRule(&b, r)
			}
		}
	}
	section("Attack paths", func(r Rule) bool { return r.Path })
	section("Containers", func(r Rule) bool { return !r.Path && !r.Node })
	section("The node", func(r Rule) bool { return r.Node })
	writeWays(&b)
	b.WriteString(documentTail)
	return b.String()
}

func writeRule(b *strings.Builder, r Rule) {
	b.WriteString("\n### " + r.ID + "\n\n" + "Up to **" + r.Severity.String() + "**: " + r.Title + ".\n\n" + r.Meaning + "\n\nRemedy: " + r.Remedy + "\n")
	if r.pause != "" {
		b.WriteString("\nNot applied to sandboxes: " + r.pause + ".\n")
	}
	texts := make([]string, 0, len(r.References))
	for _, ref := range r.References {
		texts = append(texts, ref.String())
	}
	b.WriteString("\nReferences: " + strings.Join(texts, ", ") + ".\n")
	if len(r.Covers) > 0 {
		b.WriteString("\nContains the findings of " + strings.Join(r.Covers, ", ") + ".\n")
	}
}

// TestNothingMissing: lists that are empty are lists in JSON too.
func TestNothingMissing(t *testing.T) {
	r := Judge(inspect.Snapshot{}, Options{})
	if r.Missing == nil || r.MissingSockets == nil {
		t.Errorf("%#v, %#v; want empty lists", r.Missing, r.MissingSockets)
	}
}
