package psa

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
	"github.com/rtinspect/rtinspect/internal/lab"
)

// latest is the newest version of the standards that both sides know.
const latest = 37

// The words for what a side says.
const (
	passes = "passes"
	fails  = "fails"
	unseen = "not seen"
	// refused: the kubelet does not start such a pod.
	refused = "refused"
)

// difference is where the node says something else than the manifest.
type difference struct{ check, pods, manifest, node string }

// listed are the differences of docs/standards-differences.md, with how often each
// was met.
func listed(t *testing.T) map[difference]int {
	t.Helper()
	data, err := os.ReadFile("../../docs/standards-differences.md")
	if err != nil {
		t.Fatal(err)
	}
	list := map[difference]int{}
	row := regexp.MustCompile(`(?m)^\| ([a-zA-Z_]+) \| (\S+) \| (passes|fails) \| (passes|fails|not seen|refused) \| \S.* \|$`)
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		list[difference{m[1], m[2], m[3], m[4]}] = 0
	}
	if len(list) == 0 {
		t.Fatal("no difference is listed")
	}
	return list
}

// ledger holds differences against the list.
type ledger struct {
	*testing.T
	list   map[difference]int
	others map[difference][]string
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{t, listed(t), map[difference][]string{}}
}

// note takes what both sides say of a pod. The list has patterns of the pods'
// names.
func (l *ledger) note(check, pod, version, manifest, node string) {
	if manifest == node {
		return
	}
	found := false
	for d := range l.list {
		if d.check == check && d.manifest == manifest && d.node == node && fits(d.pods, pod) {
			l.list[d]++
			found = true
		}
	}
	if !found {
		d := difference{check, pod, manifest, node}
		l.others[d] = append(l.others[d], version)
	}
}

// fits takes regular expressions but that * stands for anything, and \| for |,
// which would end the cell of a table.
func fits(pattern, pod string) bool {
	pattern = strings.NewReplacer("*", ".*", `\|`, "|").Replace(pattern)
	return regexp.MustCompile("^(" + pattern + ")$").MatchString(pod)
}

// close fails for differences that are not listed, and for those in the list of
// these pods that were not met.
func (l *ledger) close(mine func(pods string) bool) {
	l.Helper()
	for d, where := range l.others {
		l.Errorf("%s of %s: the manifest %s, the node %s: %s", d.check, d.pods, d.manifest, d.node, strings.Join(where, " "))
	}
	for d, n := range l.list {
		if n == 0 && mine(d.pods) {
			l.Errorf("listed and not met: %+v", d)
		}
	}
}

// fixture is a pod of k8s.io/pod-security-admission.
type fixture struct {
	level   api.Level
	version int
	// name is the file's with its folder: pass/base. In front of it stands
	// mounted/ where the pod's volumes are mounted, and root/ where the image's
	// user is root.
	name  string
	pod   *corev1.Pod
	image lab.Image
}

// fixtures reads those that a Linux node could run.
func fixtures(t *testing.T) []fixture {
	t.Helper()
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := os.DirFS(filepath.Join(strings.TrimSpace(string(module)), "test/testdata"))
	files, err := fs.Glob(root, "*/v1.*/*/*.yaml")
	if err != nil || len(files) < 4000 {
		t.Fatalf("%d fixtures: %v", len(files), err)
	}
	var list []fixture
	for _, file := range files {
		parts := strings.Split(file, "/")
		f := fixture{level: api.Level(parts[0]), name: parts[2] + "/" + strings.TrimSuffix(parts[3], ".yaml"), pod: new(corev1.Pod), image: pause}
		if _, err := fmt.Sscanf(parts[1], "v1.%d", &f.version); err != nil {
			t.Fatal(err)
		}
		text, err := fs.ReadFile(root, file)
		if err == nil {
			err = yaml.UnmarshalStrict(text, f.pod)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if os := f.pod.Spec.OS; os != nil && os.Name == corev1.Windows {
			continue
		}
		defaults(f.pod)
		list = append(list, f)
		root := f
		root.name, root.image = "root/"+f.name, lab.Image{ID: pause.ID}
		list = append(list, root)
		if len(f.pod.Spec.Volumes) > 0 {
			f.name, f.pod = "mounted/"+f.name, mountAll(f.pod)
			list = append(list, f)
		}
	}
	return list
}

// defaults sets what the API server sets and the translation needs. All pods get
// one name: it is not looked at, and equal pods are then equal.
func defaults(pod *corev1.Pod) {
	pod.Name, pod.Namespace = "", "default"
	pod.Spec.TerminationGracePeriodSeconds = new(int64(30))
	for n := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[n]; v.VolumeSource == (corev1.VolumeSource{}) {
			v.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
}

func mountAll(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	for _, v := range pod.Spec.Volumes {
		c := &pod.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return pod
}

// evaluator is upstream's for one check, or for all.
type evaluator struct{ policy.Evaluator }

func newEvaluator(t *testing.T, checks ...policy.Check) evaluator {
	t.Helper()
	e, err := policy.NewEvaluator(checks, nil)
	if err != nil {
		t.Fatal(err)
	}
	return evaluator{e}
}

// says returns what upstream says of a pod; empty where there is no such check in
// the version.
func (e evaluator) says(level api.Level, version int, pod *corev1.Pod) string {
	lv := api.LevelVersion{Level: level, Version: api.MajorMinorVersion(1, version)}
	results := e.EvaluatePod(lv, &pod.ObjectMeta, &pod.Spec)
	switch {
	case len(results) == 0:
		return ""
	case policy.AggregateCheckResults(results).Allowed:
		return passes
	}
	return fails
}

// nodeSays returns what the node says of a check.
func nodeSays(t *testing.T, p audit.PodLevel, id string) string {
	t.Helper()
	n := slices.IndexFunc(p.Checks, func(c audit.PodCheck) bool { return c.ID == id })
	if n < 0 {
		return ""
	}
	switch c := p.Checks[n]; {
	case c.Unseen != "":
		return unseen
	case c.Verdict == audit.Fail:
		return fails
	case c.Verdict == audit.Unknown:
		return "unknown"
	}
	return passes
}

// TestFixtures compares each check, and the levels, for every fixture in its
// version.
func TestFixtures(t *testing.T) {
	list := fixtures(t)
	node := newFakeNode()
	for _, f := range list {
		node.add(t, f)
	}
	s := node.snapshot(t)
	all := newEvaluator(t, policy.DefaultChecks()...)
	single := map[string]evaluator{}
	for _, c := range policy.DefaultChecks() {
		single[string(c.ID)] = newEvaluator(t, c)
	}
	l := newLedger(t)
	for version := range latest + 1 {
		v, err := audit.ParsePSSVersion(fmt.Sprintf("v1.%d", version))
		if err != nil {
			t.Fatal(err)
		}
		pods := map[types.UID]audit.PodLevel{}
		for _, p := range audit.PodLevels(s, v) {
			pods[types.UID(p.Subject.Name)] = p
		}
		compared := map[string]bool{}
		for _, f := range list {
			if f.version != version {
				continue
			}
			where := fmt.Sprintf("%s:v1.%d", f.level, version)
			p, runs := pods[types.UID("default/"+string(node.uid(t, f)))]
			if runs == node.refused[node.uid(t, f)] {
				t.Fatalf("%s: on the node: %v", f.name, runs)
			}
			if !runs {
				noteRefused(l, single, f, where)
				continue
			}
			compare(t, l, single, f, p, where, compared)
			compareLevels(t, all, single, f, p, where)
		}
		for id := range single {
			if since := compared[id]; !since && version == latest {
				t.Errorf("%s was not compared", id)
			}
		}
	}
	l.close(func(pods string) bool { return !strings.HasPrefix(pods, "lab-") })
}

func compare(t *testing.T, l *ledger, single map[string]evaluator, f fixture, p audit.PodLevel, where string, compared map[string]bool) {
	t.Helper()
	for id, e := range single {
		manifest, node := e.says(api.LevelRestricted, f.version, f.pod), nodeSays(t, p, id)
		if (manifest == "") != (node == "") {
			t.Errorf("%s of %s in %s: the manifest %q, the node %q", id, f.name, where, manifest, node)
		}
		compared[id] = compared[id] || manifest != ""
		l.note(id, f.name, where, manifest, node)
	}
}

// compareLevels: the checks of a level are the same on both sides, and a level is
// met where none of them fails.
func compareLevels(t *testing.T, all evaluator, single map[string]evaluator, f fixture, p audit.PodLevel, where string) {
	t.Helper()
	v, err := audit.ParsePSSVersion(fmt.Sprintf("v1.%d", f.version))
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []struct {
		standard audit.Standard
		ours     audit.Level
		theirs   api.Level
	}{{audit.PSSBaseline, audit.Baseline, api.LevelBaseline}, {audit.PSSRestricted, audit.Restricted, api.LevelRestricted}} {
		manifest, node := passes, passes
		for _, c := range audit.Controls(level.standard, v) {
			if single[c.ID].says(api.LevelRestricted, f.version, f.pod) == fails {
				manifest = fails
			}
			if nodeSays(t, p, c.ID) == fails {
				node = fails
			}
		}
		if theirs := all.says(level.theirs, f.version, f.pod); theirs != manifest {
			t.Errorf("%s in %s: upstream says that %s %s, by our choice of its checks it %s", f.name, where, level.theirs, theirs, manifest)
		}
		if met := p.Level >= level.ours; met != (node == passes) || p.Level != p.AtMost {
			t.Errorf("%s in %s: %s to %s, and by its checks it %s %s", f.name, where, p.Level, p.AtMost, node, level.theirs)
		}
	}
}

// noteRefused notes what a pod fails that the kubelet does not start. With root in
// the image that is expected of those that must not run as root.
func noteRefused(l *ledger, single map[string]evaluator, f fixture, where string) {
	for id, e := range single {
		if e.says(api.LevelRestricted, f.version, f.pod) == fails && !strings.HasPrefix(f.name, "root/") {
			l.note(id, f.name, where, fails, refused)
		}
	}
}

// TestChecks: both sides have the same checks.
func TestChecks(t *testing.T) {
	var ours, theirs []string
	for _, s := range []audit.Standard{audit.PSSBaseline, audit.PSSRestricted} {
		for _, c := range audit.Controls(s, audit.PSSVersion{}) {
			ours = append(ours, c.ID)
		}
	}
	newest := 0
	for _, c := range policy.DefaultChecks() {
		theirs = append(theirs, string(c.ID))
		for _, v := range c.Versions {
			newest = max(newest, v.MinimumVersion.Minor())
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if ours = slices.Compact(ours); !slices.Equal(ours, theirs) {
		t.Errorf("ours   %q\ntheirs %q", ours, theirs)
	}
	if newest > latest || (audit.PSSVersion{}).String() != fmt.Sprintf("v1.%d", latest) {
		t.Errorf("they have checks of v1.%d, we up to %s", newest, audit.PSSVersion{})
	}
}

// TestLab compares the lab's recorded nodes, on which the kernel has its say too,
// with what upstream says of the manifests.
func TestLab(t *testing.T) {
	manifests, err := lab.Manifests(lab.PodNames(), "/run/containerd/containerd.sock")
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger(t)
	for _, recorded := range []string{"lab-1.6", "lab-2.4"} {
		s := read(t, recorded)
		for version := range latest + 1 {
			v, err := audit.ParsePSSVersion(fmt.Sprintf("v1.%d", version))
			if err != nil {
				t.Fatal(err)
			}
			levels := audit.PodLevels(s, v)
			for _, m := range manifests {
				name := cmp.Or(m.Pod.Namespace, "default") + "/" + m.Pod.Name
				n := slices.IndexFunc(levels, func(p audit.PodLevel) bool { return p.Subject.Name == name })
				if n < 0 {
					t.Fatalf("no pod %s", name)
				}
				compareLab(t, l, m.Pod, levels[n], version, recorded)
			}
		}
	}
	l.close(func(pods string) bool { return strings.HasPrefix(pods, "lab-") })
}

func compareLab(t *testing.T, l *ledger, pod *corev1.Pod, p audit.PodLevel, version int, recorded string) {
	t.Helper()
	for _, c := range policy.DefaultChecks() {
		manifest := newEvaluator(t, c).says(api.LevelRestricted, version, pod)
		node := nodeSays(t, p, string(c.ID))
		if node == "unknown" {
			continue // of most pods the sandbox was not recorded
		}
		l.note(string(c.ID), recorded+"/"+pod.Name, fmt.Sprintf("v1.%d", version), manifest, node)
	}
}

func read(t *testing.T, name string) inspect.Snapshot {
	t.Helper()
	data, err := os.ReadFile("../../inspect/audit/testdata/" + name + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s, err := inspect.ReadSnapshot(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// text is the JSON form.
func text(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
