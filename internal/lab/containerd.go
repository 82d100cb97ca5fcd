package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// startTimeout is how long containerd may take until it answers; it takes
// under a second, but 15 times that and more on an emulated machine.
const startTimeout = 5 * time.Minute

// config16 and config24 are containerd's configuration. They differ in form
// more than in content: version 4 turned the server's sections into plugins
// and split the CRI plugin in two.
const (
	config16 = `version = 2
root = "{root}/containerd"
state = "{state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {restrict_oom}
  disable_apparmor = {disable_apparmor}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{lab}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        Root = "{lab}/runc"
        SystemdCgroup = false
`
	config24 = `version = 4
root = "{root}/containerd"
state = "{state}"
imports = []
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[debug]
  level = "warn"
[plugins."io.containerd.server.v1.grpc"]
  address = "{socket}"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{socket}.ttrpc"
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{lab}/s"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = {restrict_oom}
  disable_apparmor = {disable_apparmor}
  netns_mounts_under_state_dir = true
  cdi_spec_dirs = ["{lab}/cdi"]
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{lab}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        Root = "{lab}/runc"
        SystemdCgroup = false
`
	// handlerWritable is added to config24 where there is cgroup v2 alone:
	// elsewhere containerd refuses it.
	handlerWritable = `    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc-cgroup-writable]
      runtime_type = "io.containerd.runc.v2"
      cgroup_writable = true
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc-cgroup-writable.options]
        BinaryName = "{runc}"
        Root = "{lab}/runc"
        SystemdCgroup = false
`
	// handlerRunsc is added to config24 where gVisor is wanted.
	handlerRunsc = `    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]
      runtime_type = "io.containerd.runsc.v1"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc.options]
        TypeUrl = "io.containerd.runsc.v1.options"
        ConfigPath = "{runsc_config}"
`
	// configRunsc is gVisor's own configuration. systrap is its usual platform,
	// which needs no hardware.
	configRunsc = `binary_name = "{runsc}"
root = "{lab}/runsc"
[runsc_config]
  platform = "systrap"
`
)

// configuration returns containerd's configuration for a lab.
func configuration(runtime string, f folders, t toolset) string {
	config := config16
	if runtime == Runtime24 {
		config = config24
	}
	if runtime == Runtime24 && unifiedAlone() {
		config += handlerWritable
	}
	if t.runsc != "" {
		config += handlerRunsc
	}
	return strings.NewReplacer(
		"{root}", f.root(),
		"{lab}", f.state(),
		"{state}", f.containerd(),
		"{socket}", f.socket(),
		"{pause}", pauseImage,
		"{cni}", t.cni,
		"{runc}", t.runc,
		"{runsc_config}", f.runsc(),
		"{snapshotter}", snapshotter(rootBase),
		"{restrict_oom}", fmt.Sprint(!hasCapability(unix.CAP_SYS_RESOURCE)),
		"{disable_apparmor}", fmt.Sprint(apparmorProfiles() == nil),
	).Replace(config)
}

// runscConfiguration returns gVisor's configuration for a lab.
func runscConfiguration(f folders, t toolset) string {
	return strings.NewReplacer("{lab}", f.state(), "{runsc}", t.runsc).Replace(configRunsc)
}

// snapshotter is overlayfs, but where the folder is on an overlay itself, as
// in a container, and overlayfs would refuse it.
func snapshotter(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err == nil && s.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// hasCapability reports whether this program, and so containerd, has c. Without
// CAP_SYS_RESOURCE no process may get a lower oom_score_adj than its parent.
func hasCapability(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// daemon is a running containerd.
type daemon struct {
	pid    int
	exited chan struct{} // closed once it has ended
}

// startContainerd starts containerd in a session of its own, so that a Ctrl-C
// in the terminal is ours alone, and returns when it answers.
func startContainerd(ctx context.Context, f folders, t toolset, hs []hierarchy) (*daemon, error) {
	log, err := os.Create(f.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(t.containerd, "--config", filepath.Join(f.state(), "config.toml"))
	cmd.Env = append(os.Environ(), "PATH="+strings.Join([]string{filepath.Dir(t.shim), filepath.Dir(t.runscShim), os.Getenv("PATH")}, ":"))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	d := &daemon{pid: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(d.exited)
	}()
	err = errors.Join(join(f, hs, d.pid), os.WriteFile(f.pid(), []byte(strconv.Itoa(d.pid)), 0o644))
	if err != nil {
		_ = cmd.Process.Kill()
		<-d.exited
		return nil, err
	}
	if err := d.waitReady(ctx, f); err != nil {
		text, _ := os.ReadFile(f.log())
		return nil, fmt.Errorf("%w\n%s", err, lastLines(text, 10))
	}
	return d, nil
}

// waitReady returns once containerd's CRI says that it and its network work.
func (d *daemon) waitReady(ctx context.Context, f folders) error {
	deadline := time.After(startTimeout)
	var last error
	for {
		if last = ready(ctx, f.socket()); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.exited:
			return errors.New("containerd ended while starting")
		case <-deadline:
			return fmt.Errorf("containerd does not get ready: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, socket string) error {
	if _, err := os.Stat(socket); err != nil {
		return err
	}
	conn, err := dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := cri.NewRuntimeServiceClient(conn).Status(ctx, &cri.StatusRequest{})
	if err != nil {
		return err
	}
	for _, c := range answer.GetStatus().GetConditions() {
		if !c.Status && (c.Type == "RuntimeReady" || c.Type == "NetworkReady") {
			return fmt.Errorf("not %s: %s", c.Type, c.Message)
		}
	}
	return nil
}

func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
