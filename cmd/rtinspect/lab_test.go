package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/inspect"
)

// manifest is what the tests read of a pod of the lab.
type manifest struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		SecurityContext securityContext
		Containers      []struct {
			Name            string
			Command, Args   []string
			SecurityContext securityContext
		}
	}
}

type securityContext struct {
	Privileged               bool
	RunAsUser                *int
	RunAsGroup               *int
	AllowPrivilegeEscalation *bool
	ReadOnlyRootFilesystem   bool
	SeccompProfile           *struct{ Type string }
	Capabilities             struct{ Add, Drop []string }
}

// labManifests reads the pods of the lab, and skips the test outside of it.
func labManifests(t *testing.T) []manifest {
	t.Helper()
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	files, err := filepath.Glob(filepath.Join(os.Getenv("RTINSPECT_LAB_PODS"), "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in RTINSPECT_LAB_PODS: %v", err)
	}
	var list []manifest
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest
		if err := yaml.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if m.Metadata.Namespace == "" {
			m.Metadata.Namespace = "default"
		}
		list = append(list, m)
	}
	return list
}

// whole runs rtinspect and wants a whole answer and nothing on stderr.
func whole(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, strings.NewReader(""), &stdout, &stderr); status != statusWhole || stderr.Len() > 0 {
		t.Fatalf("%q: status %d, stderr\n%s", args, status, &stderr)
	}
	return stdout.String()
}

// labBounding is the bounding set of the lab's containerd.
func labBounding(t *testing.T) string {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if filepath.Base(args[0]) == "containerd" && strings.Contains(string(cmdline), os.Getenv("RTINSPECT_LAB")+"/") {
			return statusLine(t, filepath.Join(folder, "status"), "CapBnd")
		}
	}
	t.Fatal("the lab's containerd is not there")
	return ""
}

// statusLine returns a value of /proc/PID/status.
func statusLine(t *testing.T, file, key string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^` + key + `:\s*(.*)$`).FindSubmatch(data)
	if match == nil {
		t.Fatalf("%s: no %s", file, key)
	}
	return string(match[1])
}

// bits are the numbers of the capabilities that the lab's pods add, from capability.h.
var bits = map[string]uint{"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "SYS_PTRACE": 19}

// expectedBounding is what a manifest asks for.
func expectedBounding(t *testing.T, sc securityContext) string {
	t.Helper()
	if sc.Privileged {
		return labBounding(t)
	}
	mask := uint64(0xa80425fb)
	if slices.Contains(sc.Capabilities.Drop, "ALL") {
		mask = 0
	}
	for _, name := range sc.Capabilities.Add {
		bit, ok := bits[name]
		if !ok {
			t.Fatalf("add %s to this test", name)
		}
		mask |= 1 << bit
	}
	return fmt.Sprintf("%016x", mask)
}

// TestLabManifests: what caps and inspect say of each container is what its manifest asks for and what /proc has.
func TestLabManifests(t *testing.T) {
	for _, m := range labManifests(t) {
		for _, c := range m.Spec.Containers {
			ref := m.Metadata.Namespace + "/" + m.Metadata.Name + "/" + c.Name
			if m.Metadata.Name == "pod-oom" {
				continue // it has ended: TestLabEnded
			}
			t.Run(ref, func(t *testing.T) { checkContainer(t, m, c.SecurityContext, ref) })
		}
	}
}

func checkContainer(t *testing.T, m manifest, sc securityContext, ref string) {
	// At once, as each look at a container takes its time on a slow machine.
	pid, settings, _ := strings.Cut(whole(t, "inspect", ref, "-o", "go-template={{.pid.value}} {{.user.inForce.value.inside.value.uid}} "+
		"{{.noNewPrivs.inForce.value}} {{.seccomp.inForce.value.mode}} {{.readonlyRootfs.inForce.value}} {{.privileged.inForce.value}}"), " ")
	uid, settings, _ := strings.Cut(settings, " ")
	user := sc.RunAsUser
	if user == nil {
		user = m.Spec.SecurityContext.RunAsUser
	}
	bounding := expectedBounding(t, sc)
	held := bounding
	if user != nil && *user != 0 {
		held = fmt.Sprintf("%016x", 0)
	}
	page := whole(t, "caps", ref)
	byPID := whole(t, "caps", "--pid", pid)
	for set, want := range map[string]string{
		"effective": held, "permitted": held, "bounding": bounding,
		"inheritable": statusLine(t, "/proc/"+pid+"/status", "CapInh"), "ambient": statusLine(t, "/proc/"+pid+"/status", "CapAmb"),
	} {
		line := regexp.MustCompile(`(?m)^` + set + ` +` + want + ` `)
		if !line.MatchString(page) || !line.MatchString(byPID) {
			t.Errorf("%s: want %s in\n%s\nand with --pid %s in\n%s", set, want, page, pid, byPID)
		}
	}
	if got, want := statusLine(t, "/proc/"+pid+"/status", "CapEff"), held; got != want {
		t.Errorf("the lab itself: CapEff %s, want %s", got, want)
	}

	profile := sc.SeccompProfile
	if profile == nil {
		profile = m.Spec.SecurityContext.SeccompProfile
	}
	seccomp := "disabled"
	if profile != nil && profile.Type == "RuntimeDefault" && !sc.Privileged {
		seccomp = "filter"
	}
	noNewPrivs := sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	want := fmt.Sprintf("%v %s %v %v\n", noNewPrivs, seccomp, sc.ReadOnlyRootFilesystem, sc.Privileged)
	if settings != want {
		t.Errorf("no_new_privs, seccomp, read-only root, privileged: got %q, want %q", settings, want)
	}
	if user != nil && uid != fmt.Sprint(*user) {
		t.Errorf("user %s, want %d", uid, *user)
	}
}

// TestLabLists: ps and pods list every pod of the manifests, in every format.
func TestLabLists(t *testing.T) {
	manifests := labManifests(t)
	table := whole(t, "ps", "--all", "--no-headers")
	var all []inspect.Container
	if err := json.Unmarshal([]byte(whole(t, "ps", "-a", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]inspect.Container{}
	for _, c := range all {
		names[c.FullName()] = c
	}
	pods := whole(t, "pods", "--no-trunc")
	for _, m := range manifests {
		for _, c := range m.Spec.Containers {
			full := m.Metadata.Namespace + "/" + m.Metadata.Name + "/" + c.Name
			found, ok := names[full]
			if !ok {
				t.Errorf("%s is not in the JSON of ps", full)
				continue
			}
			row := fmt.Sprintf(`(?m)^%s +%s +%s +%s +k8s.io `, found.ID[:13], c.Name, m.Metadata.Name, m.Metadata.Namespace)
			if !regexp.MustCompile(row).MatchString(table) {
				t.Errorf("%s: no row in\n%s", full, table)
			}
		}
		row := fmt.Sprintf(`(?m)^%s +%s +[0-9a-f]{64} `, m.Metadata.Name, m.Metadata.Namespace)
		if !regexp.MustCompile(row).MatchString(pods) {
			t.Errorf("%s: no row in\n%s", m.Metadata.Name, pods)
		}
	}
	if quiet := strings.Fields(whole(t, "ps", "-aq")); len(quiet) != len(all) || quiet[0] != all[0].ID {
		t.Errorf("ps -aq: %q", quiet)
	}
	if ids := strings.Fields(whole(t, "pods", "-q")); len(ids) != len(manifests) {
		t.Errorf("pods -q: %d ids for %d pods", len(ids), len(manifests))
	}
	if again := whole(t, "ps", "--all", "--no-headers"); again != table {
		t.Errorf("the order changed:\n%s\nwas\n%s", again, table)
	}
}

// TestLabEnded: a container that has ended is listed with --all only, and has no process.
func TestLabEnded(t *testing.T) {
	labManifests(t)
	if strings.Contains(whole(t, "ps"), "pod-oom") {
		t.Error("ps lists a container that has ended")
	}
	if got := whole(t, "caps", "pod-oom"); !strings.Contains(got, "capabilities in force: absent: no process runs") {
		t.Errorf("caps of a container that has ended:\n%s", got)
	}
}

// TestLabRefs: every way to name a container, and every way to fail.
func TestLabRefs(t *testing.T) {
	labManifests(t)
	id := strings.TrimSpace(whole(t, "inspect", "-q", "pod-selective-caps"))
	for _, ref := range []string{id, id[:13], "pod-selective-caps/app", "default/pod-selective-caps/app", "pod-selective-caps"} {
		if got := strings.TrimSpace(whole(t, "caps", "-q", ref)); got != id {
			t.Errorf("%s: %s, want %s", ref, got, id)
		}
	}
	for ref, want := range map[string]string{
		"app":                    `^rtinspect: container "app": ambiguous: .*pod-`,
		"nope":                   `^rtinspect: container "nope": not found`,
		"pod-selective-cap":      `not found: did you mean .*pod-selective-caps`,
		"other/pod-no-caps/app":  `not found`,
		"":                       `^rtinspect: container "": not found`,
		"\x1b[2J\nrtinspect: ok": `^rtinspect: container "\\x1b\[2J\\nrtinspect: ok": not found`,
	} {
		for _, command := range []string{"caps", "inspect"} {
			var stdout, stderr bytes.Buffer
			status := run([]string{command, ref, "-o", "json"}, nil, &stdout, &stderr)
			lines := strings.Count(stderr.String(), "\n")
			if status != statusIncomplete || stdout.String() != "[]\n" || lines != 2 || !regexp.MustCompile(want).MatchString(stderr.String()) {
				t.Errorf("%s %q: status %d, stdout %q, stderr\n%swant %s", command, ref, status, &stdout, &stderr, want)
			}
		}
	}
	// One bad name does not spoil the others.
	var stdout, stderr bytes.Buffer
	if status := run([]string{"caps", "-q", "nope", id[:13]}, nil, &stdout, &stderr); status != statusIncomplete || stdout.String() != id+"\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, &stdout, &stderr)
	}
}

// TestLabSecrets: values of the environment are shown on demand only.
func TestLabSecrets(t *testing.T) {
	labManifests(t)
	for _, args := range [][]string{{"-o", "wide"}, {"-o", "json"}, {"-o", "yaml"}, {"-o", "go-template={{json .}}"}, {}} {
		hidden := whole(t, append([]string{"inspect", "team-a/pod-two-containers/app"}, args...)...)
		if strings.Contains(hidden, "not-a-real-token") {
			t.Errorf("%q shows a secret", args)
		}
	}
	shown := whole(t, "inspect", "team-a/pod-two-containers/app", "-o", "wide", "--show-secrets")
	if !strings.Contains(shown, "API_TOKEN=not-a-real-token") {
		t.Errorf("--show-secrets shows none:\n%s", shown)
	}
}

// TestLabCrictl: ps and crictl ps tell the same.
func TestLabCrictl(t *testing.T) {
	labManifests(t)
	if _, err := exec.LookPath("crictl"); err != nil {
		t.Skip("needs crictl: lab run --exec-tools crictl")
	}
	out, err := exec.Command("crictl", "ps", "--all", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs struct {
		Containers []struct {
			ID       string
			Metadata struct{ Name string }
			State    string
			Labels   map[string]string
		}
	}
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range theirs.Containers {
		state := strings.ToLower(strings.TrimPrefix(c.State, "CONTAINER_"))
		want = append(want, strings.Join([]string{c.ID, c.Metadata.Name, c.Labels["io.kubernetes.pod.name"], state}, " "))
	}
	got := strings.Split(strings.TrimSpace(whole(t, "ps", "-a", "-o", "go-template={{.id}} {{.name}} {{.pod.name}} {{.state.value}}")), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// completed returns what bash completes a line to. Completion gives up after a
// second rather than keep a person waiting: then it is asked again.
func completed(t *testing.T, line string) string {
	t.Helper()
	var got string
	for range 10 {
		if got = shell(t, "bash", "--norc", "-c", bashDriver+"line "+line); got != "" {
			break
		}
	}
	return got
}

// TestLabCompletion: the shell completes containers.
func TestLabCompletion(t *testing.T) {
	labManifests(t)
	if got := completed(t, "rtinspect caps pod-sel"); got != "pod-selective-caps/app" {
		t.Errorf("bash: %q", got)
	}
	id := strings.TrimSpace(whole(t, "inspect", "-q", "pod-no-caps"))
	if got := completed(t, "rtinspect inspect -o json "+id[:13]); got != id {
		t.Errorf("bash: %q, want %s", got, id)
	}
}
