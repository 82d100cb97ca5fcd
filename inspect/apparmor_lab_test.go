package inspect_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// appArmor opens an inspector on a lab whose kernel has AppArmor.
func appArmor(t *testing.T) *inspect.Inspector {
	t.Helper()
	i := lab(t)
	if _, err := os.Stat("/sys/kernel/security/apparmor/profiles"); err != nil {
		t.Skip("needs a kernel with AppArmor: hack/vmtest.sh")
	}
	return i
}

// checkProfile compares what was declared with the specification's form, and what is in force with the kernel's.
func checkProfile(t *testing.T, r inspect.Report, declared, inForce string) {
	t.Helper()
	got, _ := r.AppArmor.Declared.Value()
	equal(t, r.FullName()+": declared", got, declared)
	equal(t, r.FullName()+": in force", value(t, "AppArmor in force", r.AppArmor.InForce), inForce)
}

// TestLabAppArmor: containers are confined by the runtime's profile, by one that they ask for, and, privileged, by none.
func TestLabAppArmor(t *testing.T) {
	i := appArmor(t)
	const own = "k8s-nginx-restrictive" // as the node has it, which is up to who starts the lab
	profiles, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil || !strings.Contains(string(profiles), own+" (enforce)") {
		t.Fatalf("profile %s is not loaded: %v", own, err)
	}
	equal(t, "the node's mode", value(t, "AppArmor's mode", i.Node().AppArmorMode), "enforce")
	const runtimes = "cri-containerd.apparmor.d"
	checkProfile(t, isolation(t, i, "pod-default-caps"), runtimes, runtimes+" (enforce)")
	checkProfile(t, isolation(t, i, "pod-hardened"), own, own+" (enforce)")
	checkProfile(t, isolation(t, i, "pod-privileged"), "", "unconfined")
}

// TestLabAppArmorNotAsDeclared: a profile that only complains, and one that was removed below a running container, confine
// nothing, whatever the specification says.
func TestLabAppArmorNotAsDeclared(t *testing.T) {
	i := appArmor(t)
	const profile, id = "rtinspect-test", "rtinspect-apparmor"
	parser := func(args ...string) {
		cmd := exec.Command("apparmor_parser", args...)
		cmd.Stdin = strings.NewReader("profile " + profile + " { file, signal, }\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("apparmor_parser %q: %v: %s", args, err, out)
		}
	}
	ctr := func(args ...string) {
		if out, err := exec.Command("ctr", args...).CombinedOutput(); err != nil {
			t.Errorf("ctr %q: %v: %s", args, err, out)
		}
	}
	parser("--add")
	ctr("run", "--detach", "--apparmor-profile", profile, "docker.io/library/busybox:latest", id, "sleep", "1000")
	t.Cleanup(func() {
		ctr("tasks", "delete", "--force", id)
		ctr("containers", "delete", id)
	})
	for _, step := range []struct{ change, inForce, drift string }{
		{"", profile + " (enforce)", ""},
		{"--Complain", profile + " (complain)", "declared rtinspect-test (enforce), in force rtinspect-test (complain)"},
		{"--remove", "unconfined", "declared rtinspect-test (enforce), in force unconfined"},
	} {
		if step.change == "--Complain" {
			parser("--replace", step.change)
		} else if step.change != "" {
			parser(step.change)
		}
		r := isolation(t, i, id)
		checkProfile(t, r, profile, step.inForce)
		drift := ""
		for _, d := range r.Drift {
			if d.Setting == "apparmor" {
				drift = d.From + " " + d.Want + ", " + d.To + " " + d.Have
			}
		}
		equal(t, "drift", drift, step.drift)
	}
}

// TestLabEveryCapability: a privileged container holds all that the kernel has.
func TestLabEveryCapability(t *testing.T) {
	i := lab(t)
	self, err := caps.Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	all := caps.Set(1)<<(last+1) - 1
	if missing := all.Minus(self.Bounding); missing != 0 {
		t.Skipf("needs a root with every capability: this one has no %s; hack/vmtest.sh", missing)
	}
	s := value(t, "capabilities", isolation(t, i, "pod-privileged").Capabilities.InForce)
	equal(t, "bounding", s.Bounding, all)
	equal(t, "effective", s.Effective, all)
}

// TestLabBothWaysToTheHost: what the node's first process has, and what the machine began with, is the same in every container.
func TestLabBothWaysToTheHost(t *testing.T) {
	i := lab(t)
	if _, err := os.Readlink("/proc/1/ns/mnt"); err != nil {
		t.Skipf("needs /proc/1/ns to be readable: %v; hack/vmtest.sh", err)
	}
	reports, err := i.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, r := range reports {
		list, _ := r.Namespaces.InForce.Value()
		for _, n := range list {
			if n.Host.Proof != nsdiff.ByFirstProcess {
				t.Errorf("%s: %s: the host's by %q, %s", r.FullName(), n.Kind, n.Host.Proof, n.Host.Cause)
			}
			if n.Initial.Proof != nsdiff.ByInode && n.Initial.Proof != nsdiff.ByKernelThread {
				t.Errorf("%s: %s: initial by %q, %s", r.FullName(), n.Kind, n.Initial.Proof, n.Initial.Cause)
			}
			compared++
			equal(t, r.FullName()+": "+n.Kind.String(), n.Initial.Relation, n.Host.Relation)
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
