package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
	"github.com/rtinspect/rtinspect/nsdiff"
)

const (
	nodeVariable = "RTINSPECT_TEST_NODE"
	nodeID       = "7e57000000000000000000000000000000000000000000000000000000007e57"
	nodeMemory   = 1536 << 20
	// ofPods is where the lab's bases are, on a disk: an overlay cannot be on another.
	ofPods = "/var/lib/rtinspect-lab"
)

// nodeInit is what kind's does as the first process: no group that limits others may have processes, the root of a cgroup
// namespace neither.
const nodeInit = `mkdir /sys/fs/cgroup/init.scope
echo 0 >/sys/fs/cgroup/init.scope/cgroup.procs
sed 's/[a-z]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
"$0" run --name inner --runtime "$1" --pods pod-with-limits,pod-host-ns,pod-socket-mounted -- "$2" -test.run '^TestLabNestedNode$' -test.v $3`

// TestLabNestedNode: a node that is a container itself, as kind makes them: with a containerd, namespaces and a cgroup of its own.
// The test runs itself inside as well. Both see the same pods: there, the host is the node, which is not the machine; from the
// machine, all of it is in the node's container.
func TestLabNestedNode(t *testing.T) {
	labManifests(t)
	if state := os.Getenv(nodeVariable); state != "" {
		insideNode(t, state)
		return
	}
	if os.Getenv("RTINSPECT_VM") == "" {
		t.Skip("needs a machine with cgroup v2 to throw away: the node gets its root folder; hack/vmtest.sh")
	}
	state := startNode(t)
	var inside []inspect.Report
	data, err := os.ReadFile(filepath.Join(state, "_containers"))
	if err == nil {
		err = json.Unmarshal(data, &inside)
	}
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		data, err := os.ReadFile(filepath.Join(state, "_recorded"))
		if err := errors.Join(err, os.WriteFile(nestedFile("inside"), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("from the machine", outsideNode)
	t.Run("from the machine without a runtime", func(t *testing.T) { kernelOutsideNode(t, inside) })
}

// startNode starts the node and returns once the test inside is done, with the node still there.
func startNode(t *testing.T) (state string) {
	t.Helper()
	lab, err := filepath.Abs("../../bin/lab")
	if err == nil {
		_, err = os.Stat(lab)
	}
	if err != nil {
		t.Fatalf("%v: make bin/lab", err)
	}
	state, err = os.MkdirTemp(ofPods, "_node-") //nolint:usetesting // on the disk of the labs, and no name of one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	root := state + "-root"
	if err := errors.Join(os.Mkdir(root, 0o755), unix.Mount("/", root, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(unix.Unmount(root, unix.MNT_DETACH), os.Remove(root)) }) // never what is in it
	config := filepath.Join(t.TempDir(), "config.json")
	data, err := json.Marshal(nodeSpec(t, root, state, lab))
	if err := errors.Join(err, os.WriteFile(config, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	node := exec.CommandContext(ctx, "ctr", "--namespace", "default", "run", "--rm", "--config", config, nodeID)
	var out bytes.Buffer
	node.Stdout, node.Stderr = &out, &out
	if err := node.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Wait() }()
	t.Cleanup(func() {
		defer cancel()
		if err := os.WriteFile(filepath.Join(state, "_end"), nil, 0o600); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the node: %v\n%s", err, &out)
		}
	})
	for {
		if _, err := os.Stat(filepath.Join(state, "_containers")); err == nil {
			return state
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatal("the node ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// nodeSpec is what Docker makes of kind's: privileged, with a cgroup namespace of its own.
func nodeSpec(t *testing.T, root, state, lab string) specs.Spec {
	t.Helper()
	last, err := caps.Reader{}.LastCap()
	if err != nil {
		t.Fatal(err)
	}
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	flags := ""
	if *update {
		flags = "-update"
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "RTINSPECT_LAB") })
	all := caps.UpTo(last).Names()
	memory := int64(nodeMemory)
	mount := func(kind, source, place string, options ...string) specs.Mount {
		return specs.Mount{Type: kind, Source: source, Destination: place, Options: options}
	}
	spec := specs.Spec{
		Version: "1.2.0", Hostname: "node", Root: &specs.Root{Path: root},
		Process: &specs.Process{
			Args: []string{"sh", "-ec", nodeInit, lab, os.Getenv("RTINSPECT_LAB_RUNTIME"), test, flags}, Cwd: folder,
			Env:          append(env, nodeVariable+"="+ofPods),
			Capabilities: &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all},
		},
		Mounts: []specs.Mount{
			mount("proc", "proc", "/proc"), mount("tmpfs", "tmpfs", "/dev", "nosuid", "mode=755"),
			mount("devpts", "devpts", "/dev/pts", "newinstance", "ptmxmode=0666"), mount("tmpfs", "shm", "/dev/shm"),
			mount("mqueue", "mqueue", "/dev/mqueue"), mount("sysfs", "sysfs", "/sys"), mount("cgroup", "cgroup", "/sys/fs/cgroup", "rw"),
			mount("tmpfs", "run", "/run", "nosuid", "mode=755"), mount("bind", state, ofPods, "rbind", "rw"),
		},
		Linux: &specs.Linux{
			CgroupsPath: "/docker/" + nodeID,
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, Memory: &specs.LinuxMemory{Limit: &memory},
			},
		},
	}
	for _, kind := range []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace,
	} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	return spec
}

// look takes a snapshot, and returns what was not listed, too.
func look(t *testing.T, i *inspect.Inspector, err error) (inspect.Snapshot, error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	return i.Snapshot(t.Context())
}

// reportOf returns that of a container by its name, or id.
func reportOf(t *testing.T, s inspect.Snapshot, name string) inspect.Report {
	t.Helper()
	n := slices.IndexFunc(s.Containers, func(r inspect.Report) bool {
		return r.ID == name || r.FullName() == name && r.Kind == inspect.KindContainer
	})
	if n < 0 {
		t.Fatalf("no container %s", name)
	}
	return s.Containers[n]
}

// kindsOf lists the kinds of a container's namespaces that are so, but for those that are of children.
func kindsOf(r inspect.Report, so func(inspect.Namespace) nsdiff.Relation, want nsdiff.Relation) string {
	list, _ := r.Namespaces.InForce.Value()
	var kinds []string
	for _, n := range list {
		if so(n) == want && n.Kind == n.Kind.Type() {
			kinds = append(kinds, n.Kind.String())
		}
	}
	return strings.Join(kinds, " ")
}

func toHost(n inspect.Namespace) nsdiff.Relation    { return n.Host.Relation }
func toInitial(n inspect.Namespace) nsdiff.Relation { return n.Initial.Relation }

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// memoryOf is a container's own memory limit, the least above, whose that is, and whether there may be another.
func memoryOf(t *testing.T, r inspect.Report) string {
	t.Helper()
	p, ok := r.Cgroup.InForce.Value()
	if !ok {
		t.Fatalf("%s: %v", r.FullName(), r.Cgroup.InForce.Cause())
	}
	own, _ := p.Memory.Max.Value()
	least, _ := p.Effective.Memory.AtMost()
	limit, _ := least.Limit.Value()
	text := fmt.Sprintf("%s, %s by %s", own, limit, least.Kind)
	if err := p.Effective.Memory.Cause(); err != nil {
		if !errors.Is(err, cgroup.ErrHidden) && !strings.Contains(err.Error(), cgroup.ErrHidden.Error()) {
			t.Errorf("%s: %v", r.FullName(), err)
		}
		text += " at most"
	}
	return text
}

// failures are the rules that fail for a container, in their order.
func failures(s inspect.Snapshot, id string) []string {
	var list []string
	for _, subject := range audit.Judge(s, audit.Options{}).Subjects {
		if subject.ID != id {
			continue
		}
		for _, r := range subject.Results {
			if r.Verdict == audit.Fail {
				list = append(list, r.Rule)
			}
		}
	}
	return list
}

func wantFailures(t *testing.T, s inspect.Snapshot, r inspect.Report, want ...string) {
	t.Helper()
	have := failures(s, r.ID)
	for _, rule := range want {
		rule, not := strings.CutPrefix(rule, "no ")
		if slices.Contains(have, rule) == not {
			t.Errorf("%s: fails %q", r.FullName(), have)
		}
	}
}

// nestedFile is where a snapshot with the node is kept.
func nestedFile(from string) string { return filepath.Join("testdata", "node-"+from+".json.gz") }

// TestNestedNode is TestLabNestedNode on what it recorded.
func TestNestedNode(t *testing.T) {
	for from, check := range map[string]func(*testing.T, inspect.Snapshot){
		"inside": func(t *testing.T, s inspect.Snapshot) { t.Helper(); checkInside(t, s) }, "outside": checkOutside,
	} {
		t.Run(from, func(t *testing.T) {
			f, err := os.Open(nestedFile(from))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			plain, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			s, err := inspect.ReadSnapshot(plain)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s)
		})
	}
}

// recordNode writes a snapshot, without what names the machine.
func recordNode(t *testing.T, path string, s inspect.Snapshot) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	boot, _ := s.Node.BootID.Value()
	release, _ := s.Node.Kernel.Value()
	plain, _, _ := strings.Cut(release, "-")
	folder, err1 := filepath.Abs("../..")
	test, err2 := os.Executable()
	cache, err3 := os.UserCacheDir()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.NewReplacer(
		boot, "00000000-0000-4000-8000-000000000000", release, plain, folder, "/src", filepath.Dir(test), "/src/bin", cache, "/var/cache",
	).Replace(string(data)))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close(), os.WriteFile(path, packed.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// insideNode is the test in the node. What it cannot know are the initial network and mount namespaces, before Linux 6.17, and
// what limits the node.
func insideNode(t *testing.T, state string) {
	i, err := inspect.Open(t.Context(), inspect.Options{})
	s, err := look(t, i, err)
	if err != nil {
		t.Error(err)
	}
	limits, host := checkInside(t, s)
	p, _ := limits.Cgroup.InForce.Value()
	if folder, _ := p.Folder.Value(); !isFolder(folder) {
		t.Errorf("limits: folder %q, %v", folder, p.Folder.Cause())
	}
	self, err := caps.Reader{}.Process(1)
	sets, _ := host.Capabilities.InForce.Value()
	if err != nil || sets.Effective != self.Bounding || sets.Bounding != self.Bounding {
		t.Errorf("host-ns: %+v, want all that the node has: %+v, %v", sets, self, err)
	}
	if _, err := inspect.OpenKernel(inspect.Options{}, nil).List(t.Context()); err == nil || !strings.Contains(err.Error(), "no threads of the kernel") {
		t.Errorf("without a runtime: %v", err)
	}
	if *update {
		recordNode(t, filepath.Join(state, "_recorded"), s)
	}
	tellMachine(t, state, []inspect.Report{limits, host})
}

// checkInside wants of a snapshot that was taken in the node what is so there.
func checkInside(t *testing.T, s inspect.Snapshot) (limits, host inspect.Report) {
	t.Helper()
	limits, host, socket := reportOf(t, s, "default/pod-with-limits/app"), reportOf(t, s, "default/pod-host-ns/app"), reportOf(t, s, "default/pod-socket-mounted/app")

	same(t, "host-ns, the host's", kindsOf(host, toHost, nsdiff.Same), "cgroup ipc net pid time user uts")
	same(t, "host-ns, initial", kindsOf(host, toInitial, nsdiff.Same), "time user")
	same(t, "host-ns, not initial or not known", kindsOf(host, toInitial, nsdiff.Other)+" "+kindsOf(host, toInitial, nsdiff.Unknown), "cgroup ipc pid uts mnt net")
	same(t, "limits, the host's", kindsOf(limits, toHost, nsdiff.Same), "time user")

	same(t, "limits, memory", memoryOf(t, limits), "134217728, 134217728 by container at most")
	same(t, "host-ns, memory", memoryOf(t, host), fmt.Sprintf("max, %d by root at most", nodeMemory))
	p, _ := limits.Cgroup.InForce.Value()
	if !p.Place.Own() || p.Place.Container != limits.ID || p.Place.QoS != "burstable" || !strings.HasPrefix(p.Place.Path, "/rtinspect-inner/kubepods/burstable/pod") {
		t.Errorf("limits: %+v", p.Place)
	}
	for _, r := range s.Containers {
		for _, d := range r.Drift {
			// What is asked of a pod, its sandbox does not get on any node.
			if d.Reason == "" && r.Kind == inspect.KindContainer {
				t.Errorf("%s: %+v", r.FullName(), d)
			}
		}
		for _, g := range r.Gaps() {
			if !strings.HasSuffix(g.Fact, ".initial") && !strings.HasPrefix(g.Fact, "cgroup.inForce.effective.") {
				t.Errorf("%s: %s: %v", r.FullName(), g.Fact, g.Cause)
			}
		}
	}
	wantFailures(t, s, host, "privileged", "host-network", "host-pid", "host-ipc", "no-memory-limit", "no unexpected-sharing")
	wantFailures(t, s, limits, "no no-memory-limit", "no host-network", "no privileged")
	wantFailures(t, s, socket, "runtime-socket")
	reached := 0
	for _, k := range s.Sockets {
		if !strings.HasPrefix(k.Path, "/run/rtinspect-lab/inner/") {
			t.Errorf("socket %s is not the node's", k.Path)
		}
		if in, _ := k.Containers.Value(); len(in) == 1 && in[0].ID == socket.ID {
			reached++
		}
	}
	if reached != 1 {
		t.Errorf("%d sockets are reached from pod-socket-mounted only", reached)
	}
	return limits, host
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// tellMachine hands over which containers there are, and waits until they have been looked at.
func tellMachine(t *testing.T, state string, containers []inspect.Report) {
	t.Helper()
	data, err := json.Marshal(containers)
	file := filepath.Join(state, "_containers")
	if err := errors.Join(err, os.WriteFile(file+"_", data, 0o600), os.Rename(file+"_", file)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(state, "_end")); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// outsideNode looks at the node as at any container: both ways to the host agree.
func outsideNode(t *testing.T) {
	i, err := inspect.Open(t.Context(), inspect.Options{})
	s, err := look(t, i, err)
	if err != nil {
		t.Error(err)
	}
	checkOutside(t, s)
	if *update {
		s.Containers = []inspect.Report{reportOf(t, s, nodeID)}
		recordNode(t, nestedFile("outside"), s)
	}
}

// checkOutside wants of a snapshot that was taken from the machine what is so there.
func checkOutside(t *testing.T, s inspect.Snapshot) {
	t.Helper()
	node := reportOf(t, s, nodeID)
	same(t, "the host's", kindsOf(node, toHost, nsdiff.Same), "time user")
	same(t, "initial", kindsOf(node, toInitial, nsdiff.Same), "time user")
	same(t, "neither", kindsOf(node, toHost, nsdiff.Other)+", "+kindsOf(node, toInitial, nsdiff.Other), "cgroup ipc mnt net pid uts, cgroup ipc mnt net pid uts")
	same(t, "memory", memoryOf(t, node), fmt.Sprintf("%d, %[1]d by container", nodeMemory))
	wantFailures(t, s, node, "privileged", "host-root", "no no-memory-limit", "no host-network")
}

// kernelOutsideNode finds the node's containers, too: they have the limits of the node above their own, and none of the machine's
// namespaces that are the node's.
func kernelOutsideNode(t *testing.T, inside []inspect.Report) {
	s, err := look(t, inspect.OpenKernel(inspect.Options{}, nil), nil)
	if err != nil {
		t.Error(err)
	}
	for n, memory := range []string{"134217728, 134217728 by container", fmt.Sprintf("max, %d by outer", nodeMemory)} {
		r := reportOf(t, s, inside[n].ID)
		same(t, r.ID, memoryOf(t, r), memory)
		same(t, r.ID+", the host's", kindsOf(r, toHost, nsdiff.Same), "time user")
		p, _ := r.Cgroup.InForce.Value()
		there, _ := inside[n].Cgroup.InForce.Value()
		same(t, r.ID, p.Place.Path, "/docker/"+nodeID+there.Place.Path)
	}
	wantFailures(t, s, reportOf(t, s, inside[1].ID), "privileged", "no-memory-limit", "no host-network", "no host-pid")
}
