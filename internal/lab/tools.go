package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed cmd/pause/main.go
var pauseSource []byte

// toolset is a runtime's programs, and the images made for it.
type toolset struct {
	containerd, shim, ctr, runc string
	cni                         string // folder of the CNI plugins
	images                      string // tar of the pause and busybox images
	crictl                      string // empty unless asked for
	runsc, runscShim            string // of gVisor, empty unless asked for
	// versions as the programs tell them
	containerdVersion, runcVersion string
}

// Log is told each step of the work, in one short line.
type Log func(format string, args ...any)

const (
	debianCNI     = "/usr/lib/cni"
	debianBusybox = "/usr/bin/busybox"
)

// Install makes sure that everything for such a lab is there: its runtime, and
// crictl and gVisor where they are wanted. It installs Debian's packages and
// builds what has to be built; what is there already is used as it is.
func Install(ctx context.Context, o Options) error {
	_, err := install(ctx, o)
	return err
}

func install(ctx context.Context, o Options) (t toolset, err error) {
	log := o.Log
	cache, err := cacheFolder()
	if err != nil {
		return t, err
	}
	unlock, err := lockCache(cache, log)
	if err != nil {
		return t, err
	}
	defer unlock()
	switch o.Runtime {
	case Runtime16:
		t, err = debianRuntime(ctx, log)
	case Runtime24:
		t, err = builtRuntime(ctx, cache, log)
	default:
		return t, fmt.Errorf("no runtime %q: want %s or %s", o.Runtime, Runtime16, Runtime24)
	}
	if err != nil {
		return t, err
	}
	t.cni = debianCNI
	if t.images, err = localImages(ctx, cache, log); err != nil {
		return t, err
	}
	if o.Crictl {
		if t.crictl, err = builtCrictl(ctx, cache, log); err != nil {
			return t, err
		}
	}
	if o.GVisor {
		t.runsc, t.runscShim, err = builtGVisor(ctx, cache, log)
	}
	return t, err
}

func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep what is built: %w", err)
	}
	dir := filepath.Join(base, "rtinspect-lab")
	return dir, os.MkdirAll(dir, 0o755)
}

// lockCache keeps two labs from installing or building at once.
func lockCache(cache string, log Log) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f, lockNow); err != nil {
		log("waiting for another lab to finish its installation")
		if err := flock(f, unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	return func() { f.Close() }, nil
}

// debianRuntime is Debian's containerd and runc.
func debianRuntime(ctx context.Context, log Log) (toolset, error) {
	t := toolset{
		containerd: "/usr/bin/containerd",
		shim:       "/usr/bin/containerd-shim-runc-v2",
		ctr:        "/usr/bin/ctr",
		runc:       "/usr/sbin/runc",
	}
	err := installDebian(ctx, log,
		debianFile{"containerd", t.containerd, "the container runtime"},
		debianFile{"containerd", t.ctr, "its command"},
		debianFile{"runc", t.runc, "starts the containers"},
		debianFile{"containernetworking-plugins", debianCNI + "/bridge", "the pods' network"},
		debianFile{"busybox-static", debianBusybox, "the programs in the containers"},
	)
	if err != nil {
		return t, err
	}
	if t.containerdVersion, err = versionOf(ctx, t.containerd); err != nil {
		return t, err
	}
	if !strings.HasPrefix(t.containerdVersion, containerd16) {
		return t, fmt.Errorf("%s is version %s, and the lab's runtime %s is Debian 12's %sx",
			t.containerd, t.containerdVersion, Runtime16, containerd16)
	}
	t.runcVersion, err = versionOf(ctx, t.runc)
	return t, err
}

// builtRuntime is containerd and runc built from their Go modules.
func builtRuntime(ctx context.Context, cache string, log Log) (toolset, error) {
	dir := filepath.Join(cache, "containerd-"+containerd24+"-runc-"+runc24)
	t := toolset{
		containerd:        filepath.Join(dir, "containerd"),
		shim:              filepath.Join(dir, "containerd-shim-runc-v2"),
		ctr:               filepath.Join(dir, "ctr"),
		runc:              filepath.Join(dir, "runc"),
		containerdVersion: strings.TrimPrefix(containerd24, "v"),
		runcVersion:       strings.TrimPrefix(runc24, "v"),
	}
	err := installDebian(ctx, log,
		debianFile{"containernetworking-plugins", debianCNI + "/bridge", "the pods' network"},
		debianFile{"busybox-static", debianBusybox, "the programs in the containers"},
	)
	if err != nil {
		return t, err
	}
	const module = "github.com/containerd/containerd/v2/cmd/"
	if !allExist(t.containerd, t.shim, t.ctr) {
		log("building containerd %s (minutes the first time)", containerd24)
		err := goInstall(ctx, dir, []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags", "-s -w",
			module+"containerd@"+containerd24, module+"containerd-shim-runc-v2@"+containerd24, module+"ctr@"+containerd24)
		if err != nil {
			return t, err
		}
	}
	if allExist(t.runc) {
		return t, nil
	}
	err = installDebian(ctx, log,
		debianFile{"libseccomp-dev", "/usr/include/seccomp.h", "builds runc"},
		debianFile{"gcc", "/usr/bin/gcc", "builds runc"},
		debianFile{"pkg-config", "/usr/bin/pkg-config", "builds runc"},
		debianFile{"libc6-dev", "/usr/include/stdio.h", "builds runc"},
	)
	if err != nil {
		return t, err
	}
	log("building runc %s", runc24)
	return t, goInstall(ctx, dir, []string{"CGO_ENABLED=1"}, "-trimpath", "-tags", "seccomp", "-ldflags", "-s -w",
		"github.com/opencontainers/runc@"+runc24)
}

func allExist(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool {
		_, err := os.Stat(p)
		return err != nil
	})
}

// goInstall runs go install into dir. Programs appear there whole or not at
// all, and neither a surrounding module nor the user's flags have a say.
func goInstall(ctx context.Context, dir string, env []string, args ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := goCommand(ctx, work, append(env, "GOBIN="+work), append([]string{"install"}, args...)...); err != nil {
		return err
	}
	return moveInto(dir, work)
}

// moveInto moves all files of the folder from to the folder dir.
func moveInto(dir, from string) error {
	built, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, b := range built {
		if err := os.Rename(filepath.Join(from, b.Name()), filepath.Join(dir, b.Name())); err != nil {
			return err
		}
	}
	return nil
}

func goCommand(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "PWD="+dir)
	cmd.Env = append(cmd.Env, env...)
	return run(cmd)
}

// run runs a command quietly; its error has what the command said last.
func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(out.Bytes(), 15))
	}
	return nil
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// builtCrictl builds crictl in a module of our own that requires cri-tools: go
// install would first ask for the list of all its versions, which a module
// proxy need not have.
func builtCrictl(ctx context.Context, cache string, log Log) (string, error) {
	dir := filepath.Join(cache, "crictl-"+crictl)
	path := filepath.Join(dir, "crictl")
	if allExist(path) {
		return path, nil
	}
	log("building crictl %s (minutes the first time)", crictl)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	module := "module lab.invalid/crictl\n\ngo 1.26.2\n\nrequire sigs.k8s.io/cri-tools " + crictl + "\n"
	if err := os.WriteFile(filepath.Join(work, "go.mod"), []byte(module), 0o644); err != nil {
		return "", err
	}
	built := filepath.Join(work, "crictl")
	err = goCommand(ctx, work, []string{"CGO_ENABLED=0"}, "build", "-mod=mod", "-trimpath", "-ldflags",
		"-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version="+crictl, "-o", built, "sigs.k8s.io/cri-tools/cmd/crictl")
	if err != nil {
		return "", err
	}
	return path, os.Rename(built, path)
}

// builtGVisor builds gVisor's runtime and its shim.
func builtGVisor(ctx context.Context, cache string, log Log) (runsc, shim string, err error) {
	dir := filepath.Join(cache, "gvisor-"+gvisor)
	runsc, shim = filepath.Join(dir, "runsc"), filepath.Join(dir, "containerd-shim-runsc-v1")
	if allExist(runsc, shim) {
		return runsc, shim, nil
	}
	log("building gVisor %s (minutes the first time)", gvisor)
	err = goInstall(ctx, dir, []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags", "-s -w",
		"gvisor.dev/gvisor/runsc@"+gvisor, "gvisor.dev/gvisor/shim@"+gvisor)
	if err != nil {
		return "", "", err
	}
	return runsc, shim, os.Rename(filepath.Join(dir, "shim"), shim)
}

// localImages returns the tar of the lab's images, made when the pause program
// or busybox have changed.
func localImages(ctx context.Context, cache string, log Log) (string, error) {
	busybox, err := os.ReadFile(debianBusybox)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, part := range [][]byte{pauseSource, busybox, []byte(imageRecipe)} {
		h.Write(part)
	}
	dir := filepath.Join(cache, fmt.Sprintf("images-%x", h.Sum(nil)[:6]))
	path := filepath.Join(dir, "images.tar")
	if allExist(path) {
		return path, nil
	}
	log("making the pause and busybox images")
	pause, err := buildPause(ctx, dir)
	if err != nil {
		return "", err
	}
	applets, err := exec.CommandContext(ctx, debianBusybox, "--list").Output()
	if err != nil {
		return "", fmt.Errorf("%s --list: %w", debianBusybox, err)
	}
	return path, writeImages(path, pause, busybox, strings.Fields(string(applets)))
}

func buildPause(ctx context.Context, dir string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "main.go"), pauseSource, 0o644); err != nil {
		return nil, err
	}
	err = goCommand(ctx, work, []string{"CGO_ENABLED=0"}, "build", "-trimpath", "-ldflags", "-s -w", "-o", "pause", "main.go")
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(work, "pause"))
}

// versionOf asks a program for its version, the third word of what containerd
// and runc answer.
func versionOf(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(first)
	if len(words) < 3 {
		return "", fmt.Errorf("%s --version says %q", program, first)
	}
	return words[2], nil
}
