package audit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

var update = flag.Bool("update", false, "rewrite docs/rules.md, and in the lab the recorded nodes")

// TestLabFindings compares what is found on the live lab with the table. With
// -update it records the lab.
func TestLabFindings(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	version := os.Getenv("RTINSPECT_LAB_RUNTIME")
	compareFindings(t, version, s)
	if *update {
		if kernel := os.Getenv("RTINSPECT_VM"); kernel != "" {
			version += "-linux-" + kernel
		}
		record(t, version, s)
	}
}

func fixture(node string) string { return filepath.Join("testdata", "lab-"+node+".json.gz") }

// record writes a snapshot without what no rule looks at.
func record(t *testing.T, node string, s inspect.Snapshot) {
	t.Helper()
	folder := filepath.Dir(strings.TrimPrefix(s.Node.Runtime.Endpoint, "unix://"))
	shims := 0
	s.Sockets = slices.DeleteFunc(s.Sockets, func(k inspect.Socket) bool {
		if k.Kind == inspect.SocketShim {
			shims++
			return shims > 1
		}
		return !strings.HasPrefix(k.Path, folder)
	})
	s.Containers = slices.DeleteFunc(s.Containers, func(r inspect.Report) bool {
		return r.Kind == inspect.KindSandbox && !slices.Contains([]string{"pod-default-caps", "pod-hardened", "pod-host-ns", "pod-privileged", "pod-user-namespace", "pod-gvisor"}, r.Pod.Name)
	})
	for n := range s.Containers {
		slim(&s.Containers[n])
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Base(cmp.Or(os.Getenv("RTINSPECT_LAB"), "run"))
	data = bytes.ReplaceAll(data, []byte(run), []byte("run"))
	release, _ := s.Node.Kernel.Value()
	boot, _ := s.Node.BootID.Value()
	plain, _, _ := strings.Cut(release, "-")
	data = bytes.ReplaceAll(data, []byte(release), []byte(plain))
	data = bytes.ReplaceAll(data, []byte(boot), []byte("00000000-0000-4000-8000-000000000000"))
	if _, err := inspect.ReadSnapshot(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	_, err = w.Write(data)
	if err := cmp.Or(err, w.Close(), os.WriteFile(fixture(node), packed.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// slim drops facts of the control groups that no rule looks at.
func slim(r *inspect.Report) {
	p, ok := r.Cgroup.InForce.Value()
	if !ok {
		return
	}
	p.IO, p.HugeTLB, p.Memberships, p.Release = cgroup.IO{}, cgroup.Fact[[]cgroup.HugeTLB]{}, []cgroup.Membership{}, []cgroup.Release{}
	p.Memory.Pressure, p.CPU.Pressure = cgroup.Fact[cgroup.Pressure]{}, cgroup.Fact[cgroup.Pressure]{}
	p.Effective.Swap = cgroup.Effective[cgroup.Limit]{}
	r.Cgroup.InForce = inspect.KnownFact(p, r.Cgroup.InForce.Source())
}

// TestLabLevels compares the levels of the live lab's pods with the table.
func TestLabLevels(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compareLevels(t, os.Getenv("RTINSPECT_LAB_RUNTIME"), s)
}

// TestLabKernelMounts: without a runtime, what is found of the node's folders in a
// container is the same.
func TestLabKernelMounts(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	asked, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close() //nolint:errcheck // nothing is lost
	kernel := inspect.OpenKernel(inspect.Options{}, nil)
	defer kernel.Close() //nolint:errcheck // nothing is lost
	var rules []string
	for _, class := range hostClasses() {
		rules = append(rules, class.id)
	}
	list, err := asked.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	failed := func(i *inspect.Inspector) map[string][]string {
		s, _ := i.Snapshot(t.Context()) // of other runtimes' sockets some may be missing
		found := map[string][]string{}
		s.Containers = slices.DeleteFunc(s.Containers, func(r inspect.Report) bool {
			return !slices.ContainsFunc(list, func(c inspect.Container) bool { return c.ID == r.ID }) // another lab's
		})
		for _, subject := range Judge(s, Options{Rules: rules}).Subjects {
			for _, r := range subject.Results {
				if r.Verdict == Fail {
					found[subject.ID] = append(found[subject.ID], r.Rule)
				}
			}
		}
		return found
	}
	with, without := failed(asked), failed(kernel)
	if len(with) == 0 {
		t.Error("nothing is found")
	}
	for id := range without {
		if _, ours := with[id]; !ours {
			t.Errorf("%s: without a runtime %q, with it nothing", id, without[id])
		}
	}
	for id, want := range with {
		if !slices.Equal(without[id], want) {
			t.Errorf("%s: without a runtime %q, with it %q", id, without[id], want)
		}
	}
}
