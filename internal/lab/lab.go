// Package lab is a private containerd with the pods of the lab document, for
// tests, benchmarks and demonstrations of rtinspect.
//
// A lab has its own sockets, images, network and cgroups, so that several may
// live side by side, next to a containerd the machine runs itself. It needs
// root. Not for anything that must be kept safe: some of its pods are meant to
// be insecure.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Options says what a lab is to be.
type Options struct {
	// Name tells labs apart; it is part of paths and so has at most 20 of the
	// characters a-z, 0-9 and -.
	Name string
	// Runtime is [Runtime16] or [Runtime24].
	Runtime string
	// Pods are names of the lab's pods; see [PodNames].
	Pods []string
	// Scale adds plain pods.
	Scale Scale
	// Crictl also gives the lab a crictl.
	Crictl bool
	// GVisor gives the runtime, which must be [Runtime24], gVisor beside runc:
	// the handler that the runtime class gvisor names.
	GVisor bool
	// Log is told what happens; it must not be nil.
	Log Log
}

// Lab is a running lab. What is exported is also in its lab.json.
type Lab struct {
	Name       string `json:"name"`
	Runtime    string `json:"runtime"`
	Containerd string `json:"containerd"` // its version
	Runc       string `json:"runc"`       // its version
	Folder     string `json:"folder"`
	Socket     string `json:"socket"`
	TTRPC      string `json:"ttrpc"`
	PID        int    `json:"pid"` // containerd's
	Bridge     string `json:"bridge"`
	Subnet     string `json:"subnet"`
	// CgroupParent is the lab's cgroup, the same in every hierarchy.
	CgroupParent string `json:"cgroupParent"`
	// Cgroups are the folders made for it, one in each hierarchy; all the lab's
	// processes are in them or below.
	Cgroups []string `json:"cgroups"`
	Pods    []Pod    `json:"pods"`
	// GVisor tells that the runtime has gVisor beside runc.
	GVisor bool `json:"gvisor,omitempty"`

	folders folders
	lock    *os.File
	daemon  *daemon
}

var (
	errNotRoot = errors.New("a lab needs root")
	// errNoGVisor: gVisor's shim lowers its own oom_score_adj, and ends where it may not.
	errNoGVisor = errors.New("gVisor needs CAP_SYS_RESOURCE, which this root lacks: a virtual machine's has it, see lab vm")
	// errNoUnified is what containerd would say less plainly.
	errNoUnified = errors.New("a writable cgroup needs cgroup v2 alone: a virtual machine has it, see lab vm")
)

// Up starts a lab, which the caller must Close or Keep. Labs that a killed
// program left behind are removed first.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	if o.GVisor && !hasCapability(unix.CAP_SYS_RESOURCE) {
		return nil, errNoGVisor
	}
	manifests, err := Manifests(o.Pods, "/")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(manifests, func(m Manifest) bool { return m.RuntimeClass() == ClassWritable }) && !unifiedAlone() {
		return nil, errNoUnified
	}
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("lab name %q: want 1 to 20 of a-z, 0-9 and -", o.Name)
	}
	if n := len(o.Pods) + o.Scale.Pods; n > maxPods {
		return nil, fmt.Errorf("%d pods: a lab's network has addresses for %d", n, maxPods)
	}
	tools, err := install(ctx, o)
	if err != nil {
		return nil, err
	}
	return up(ctx, o, tools)
}

func up(ctx context.Context, o Options, t toolset) (*Lab, error) {
	l, err := claim(o)
	if err != nil {
		return nil, err
	}
	l.Containerd, l.Runc = t.containerdVersion, t.runcVersion
	if err := l.start(ctx, o, t); err != nil {
		o.Log("removing lab %s, which did not start", o.Name)
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// claim makes the lab's folder and network its own.
func claim(o Options) (*Lab, error) {
	unlock, err := lockBase()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(o.Log); err != nil {
		return nil, err
	}
	f := folders{o.Name}
	if allExist(f.kept()) {
		return nil, fmt.Errorf("lab %s is up already: lab down --name %s", o.Name, o.Name)
	}
	lock, err := lockLab(f)
	if err != nil {
		return nil, err
	}
	n, err := takeNetwork(f)
	if err != nil {
		return nil, errors.Join(err, remove(f), lock.Close())
	}
	return &Lab{
		Name: o.Name, Runtime: o.Runtime, Folder: f.state(),
		Socket: f.socket(), TTRPC: f.socket() + ".ttrpc",
		Bridge: n.bridge(), Subnet: n.cidr(), CgroupParent: f.cgroup(),
		GVisor: o.GVisor, folders: f, lock: lock,
	}, nil
}

func (l *Lab) start(ctx context.Context, o Options, t toolset) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	manifests, err := l.manifests(o)
	if err != nil {
		return err
	}
	if err := l.configure(t); err != nil {
		return err
	}
	o.Log("starting containerd %s with runc %s", t.containerdVersion, t.runcVersion)
	if l.daemon, err = startContainerd(ctx, l.folders, t, hs); err != nil {
		return err
	}
	l.PID = l.daemon.pid
	if err := run(exec.CommandContext(ctx, t.ctr, "--address", l.Socket, "--namespace", "k8s.io", "images", "import", t.images)); err != nil {
		return err
	}
	if err := l.startPods(ctx, o, hs, manifests); err != nil {
		return err
	}
	for _, h := range hs {
		if dir := filepath.Join(h.path, l.CgroupParent); allExist(dir) {
			l.Cgroups = append(l.Cgroups, dir)
		}
	}
	return l.describe()
}

func (l *Lab) manifests(o Options) ([]Manifest, error) {
	manifests, err := Manifests(o.Pods, l.Socket)
	if err != nil {
		return nil, err
	}
	scaled, err := o.Scale.manifests()
	if err != nil {
		return nil, err
	}
	manifests = append(manifests, scaled...)
	return manifests, writeManifests(l.folders.pods(), manifests)
}

// configure writes containerd's configuration and the links to its programs.
func (l *Lab) configure(t toolset) error {
	f := l.folders
	for _, dir := range []string{f.root(), f.bin(), filepath.Dir(f.socket())} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"ctr": t.ctr, "containerd": t.containerd, "runc": t.runc, "crictl": t.crictl, "runsc": t.runsc} {
		if target == "" {
			continue
		}
		if err := os.Symlink(target, filepath.Join(f.bin(), name)); err != nil {
			return err
		}
	}
	n, _ := readNetwork(f)
	if err := writeCNI(f, n); err != nil {
		return err
	}
	crictlConfig := fmt.Sprintf("runtime-endpoint: unix://%s\nimage-endpoint: unix://%s\ntimeout: 60\n", f.socket(), f.socket())
	if err := writeFile(f.crictl(), []byte(crictlConfig), 0o644); err != nil {
		return err
	}
	if t.runsc != "" {
		if err := writeFile(f.runsc(), []byte(runscConfiguration(f, t)), 0o644); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(f.state(), "config.toml"), []byte(configuration(l.Runtime, f, t)), 0o644)
}

func (l *Lab) startPods(ctx context.Context, o Options, hs []hierarchy, manifests []Manifest) error {
	if len(manifests) == 0 {
		return nil
	}
	o.Log("starting %d pods", len(manifests))
	node, err := thisNode(l.folders, hs)
	if err != nil {
		return err
	}
	conn, err := dial(l.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := starter{node, hs, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)}
	if l.Pods, err = s.start(ctx, manifests); err != nil {
		return err
	}
	return s.settle(ctx, l.Pods)
}

// describe writes the lab's lab.json.
func (l *Lab) describe() error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(l.folders.description(), append(text, '\n'), 0o644)
}

// Env is what a command in the lab gets on top of this program's environment.
// With CONTAINERD_ADDRESS and CONTAINERD_NAMESPACE plain ctr works too, and
// with CRI_CONFIG_FILE crictl reads no configuration of the machine's.
func (l *Lab) Env() []string {
	endpoint := "unix://" + l.Socket
	env := []string{
		"CONTAINER_RUNTIME_ENDPOINT=" + endpoint,
		"IMAGE_SERVICE_ENDPOINT=" + endpoint,
		"CRI_CONFIG_FILE=" + l.folders.crictl(),
		"CONTAINERD_ADDRESS=" + l.Socket,
		"CONTAINERD_NAMESPACE=k8s.io",
		"RTINSPECT_LAB=" + l.Folder,
		"RTINSPECT_LAB_RUNTIME=" + l.Runtime,
		"RTINSPECT_LAB_PODS=" + l.folders.pods(),
		"PATH=" + l.folders.bin() + ":" + os.Getenv("PATH"),
	}
	if l.GVisor {
		env = append(env, "RTINSPECT_LAB_GVISOR=yes")
	}
	return env
}

// Close ends the lab and removes all it has made.
func (l *Lab) Close() error {
	unlock, err := lockBase()
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(remove(l.folders), l.lock.Close())
}

// Keep leaves the lab running when this program ends. [Down] ends it.
func (l *Lab) Keep() error {
	return errors.Join(os.WriteFile(l.folders.kept(), nil, 0o644), l.lock.Close())
}

// Down removes the lab of that name, and those whose program is gone. It is no
// error when there is none.
func Down(name string, log Log) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	unlock, err := lockBase()
	if err != nil {
		return err
	}
	defer unlock()
	names, err := labNames()
	if err != nil {
		return err
	}
	if slices.Contains(names, name) {
		f := folders{name}
		lock, err := lockLab(f)
		if err != nil {
			return fmt.Errorf("lab %s: %w", name, err)
		}
		log("removing lab %s", name)
		if err := errors.Join(remove(f), lock.Close()); err != nil {
			return err
		}
	}
	return errors.Join(sweep(log), removeBases())
}

// Status describes a lab that is there: its description is empty but for the
// name while it starts.
type Status struct {
	Lab
	// State is "up" for a lab that stays, "running" for one that lasts as long
	// as its program, and "left behind" for one whose program was killed.
	State string
}

// List returns the labs that are there.
func List() ([]Status, error) {
	names, err := labNames()
	if err != nil {
		return nil, err
	}
	var out []Status
	for _, name := range names {
		f := folders{name}
		s := Status{Lab: Lab{Name: name}, State: stateOf(f)}
		if text, err := os.ReadFile(f.description()); err == nil {
			if err := json.Unmarshal(text, &s.Lab); err != nil {
				return nil, fmt.Errorf("%s: %w", f.description(), err)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func stateOf(f folders) string {
	if allExist(f.kept()) {
		return "up"
	}
	lock, err := lockFolder(f.state(), lockNow)
	if errors.Is(err, errBusy) {
		return "running"
	}
	if err == nil {
		lock.Close()
	}
	return "left behind"
}
