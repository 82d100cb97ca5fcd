package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	nsapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	version "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/events"
)

// space is the namespace of containerd in which these tests work.
const space = "events-test"

// daemon is a containerd of the test's own, without CRI, made of the lab's
// programs: the test may kill it.
type daemon struct {
	t      testing.TB
	dir    string
	root   string // file system of the containers
	cgroup string
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
}

// needLab skips the test outside of the lab.
func needLab(t testing.TB) {
	t.Helper()
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
}

// newDaemon starts a containerd that ends with the test.
func newDaemon(t testing.TB) *daemon {
	t.Helper()
	needLab(t)
	dir, err := os.MkdirTemp("/run", "rtev") //nolint:usetesting // paths of shims' sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, root: filepath.Join(dir, "rootfs"), cgroup: "/" + filepath.Base(dir)}
	t.Cleanup(d.cleanUp)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs busybox-static: %v", err)
	}
	for _, folder := range []string{"bin", "dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(d.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.root, "bin/sh"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(`version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "DIR/sock"
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "DIR/opt"
`, "DIR", dir)
	if strings.HasPrefix(os.Getenv("RTINSPECT_LAB_RUNTIME"), "2") {
		config += "[plugins.\"io.containerd.shim.v1.manager\"]\n  socket_dir = \"" + dir + "/s\"\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.conn, err = grpc.NewClient("unix:"+d.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	d.wait()
	_, err = nsapi.NewNamespacesClient(d.conn).Create(inSpace(t.Context()), &nsapi.CreateNamespaceRequest{Namespace: &nsapi.Namespace{Name: space}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemon) socket() string   { return filepath.Join(d.dir, "sock") }
func (d *daemon) endpoint() string { return "unix://" + d.socket() }

// start starts containerd and does not wait for it.
func (d *daemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the child has it
	d.cmd = exec.Command("containerd", "-c", filepath.Join(d.dir, "config.toml"))
	d.cmd.Env = labEnvironment(d.t)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// labEnvironment is that of the lab's containerd, whose PATH leads to its shim.
func labEnvironment(t testing.TB) []string {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(os.Getenv("RTINSPECT_LAB"), "containerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	environ, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "environ"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00")
}

// wait waits until it answers.
func (d *daemon) wait() {
	d.t.Helper()
	const most = 30 * time.Second
	for began := time.Now(); time.Since(began) < most; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := version.NewVersionClient(d.conn).Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			return
		}
	}
	log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	d.t.Fatalf("containerd does not answer:\n%s", log)
}

// kill kills it with SIGKILL and waits for its end.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// cleanUp ends containerd, its shims and their containers, and removes everything.
func (d *daemon) cleanUp() {
	d.kill()
	if d.conn != nil {
		_ = d.conn.Close()
	}
	mark := []byte(d.dir + "/")
	for range 100 {
		left := 0
		entries, _ := filepath.Glob("/proc/[0-9]*")
		for _, entry := range entries {
			pid, _ := strconv.Atoi(filepath.Base(entry))
			cmdline, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
			groups, _ := os.ReadFile(filepath.Join(entry, "cgroup"))
			if strings.Contains(string(groups), ":"+d.cgroup+"/") || strings.Contains(string(cmdline), string(mark)) && pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				left++
			}
		}
		if left == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], string(mark)) {
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH)
		}
	}
	_ = os.RemoveAll(d.dir)
	folders, _ := filepath.Glob("/sys/fs/cgroup/*" + d.cgroup)
	for _, folder := range append(folders, "/sys/fs/cgroup"+d.cgroup) {
		removeCgroup(folder)
	}
}

func removeCgroup(folder string) {
	_ = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && name != folder {
			removeCgroup(name)
			return fs.SkipDir
		}
		return nil
	})
	_ = os.Remove(folder)
}

// inSpace adds the tests' namespace of containerd, unless there is another already.
func inSpace(ctx context.Context) context.Context {
	if _, other := namespaces.Namespace(ctx); other {
		return ctx
	}
	return namespaces.WithNamespace(ctx, space)
}

// program is what a container is to run.
type program struct {
	args   []string
	memory int64  // limit in bytes; 0 for none
	parent string // cgroup, below the daemon's; empty: directly in that
	labels map[string]string
	caps   []string // CAP_CHOWN when there are none
}

func shell(script string) program { return program{args: []string{"/bin/sh", "-c", script}} }

// create makes a container.
func (d *daemon) create(ctx context.Context, id string, p program) error {
	caps := p.caps
	if caps == nil {
		caps = []string{"CAP_CHOWN"}
	}
	spec := specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: d.root, Readonly: true},
		Process: &specs.Process{
			Args: p.args, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
		},
		Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}},
		Linux: &specs.Linux{
			CgroupsPath: filepath.Join(d.cgroup, p.parent, id),
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
			Resources:   &specs.LinuxResources{},
		},
	}
	if p.memory > 0 {
		spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &p.memory, Swap: &p.memory}
	}
	value, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	o, err := proto.Marshal(&options.Options{BinaryName: runc, Root: filepath.Join(d.dir, "runc")})
	if err != nil {
		return err
	}
	_, err = containers.NewContainersClient(d.conn).Create(inSpace(ctx), &containers.CreateContainerRequest{Container: &containers.Container{
		ID: id, Image: "busybox", Labels: p.labels,
		Runtime: &containers.Container_Runtime{Name: "io.containerd.runc.v2", Options: &anypb.Any{TypeUrl: "containerd.runc.v1.Options", Value: o}},
		Spec:    &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: value},
	}})
	return err
}

// startTask creates the task and starts it.
func (d *daemon) startTask(ctx context.Context, id string) (uint32, error) {
	client := tasks.NewTasksClient(d.conn)
	created, err := client.Create(inSpace(ctx), &tasks.CreateTaskRequest{ContainerID: id})
	if err != nil {
		return 0, err
	}
	_, err = client.Start(inSpace(ctx), &tasks.StartRequest{ContainerID: id})
	return created.GetPid(), err
}

// startSleeping starts containers that do nothing until the test ends.
func (d *daemon) startSleeping(ids ...string) {
	d.t.Helper()
	for _, id := range ids {
		if err := d.create(d.t.Context(), id, shell("sleep 1000")); err != nil {
			d.t.Fatal(err)
		}
		if _, err := d.startTask(d.t.Context(), id); err != nil {
			d.t.Fatal(err)
		}
	}
}

// endTask waits for the end of the task and deletes it.
func (d *daemon) endTask(ctx context.Context, id string) (uint32, error) {
	client := tasks.NewTasksClient(d.conn)
	end, err := client.Wait(inSpace(ctx), &tasks.WaitRequest{ContainerID: id})
	if err != nil {
		return 0, err
	}
	_, err = client.Delete(inSpace(ctx), &tasks.DeleteTaskRequest{ContainerID: id})
	return end.GetExitStatus(), err
}

func (d *daemon) delete(ctx context.Context, id string) error {
	_, err := containers.NewContainersClient(d.conn).Delete(inSpace(ctx), &containers.DeleteContainerRequest{ID: id})
	return err
}

func (d *daemon) killTask(ctx context.Context, id string) error {
	_, err := tasks.NewTasksClient(d.conn).Kill(inSpace(ctx), &tasks.KillRequest{ContainerID: id, Signal: 9, All: true})
	return err
}

// run runs a container from its creation to its end and returns its exit status.
func (d *daemon) run(ctx context.Context, id string, p program) (uint32, error) {
	if err := d.create(ctx, id, p); err != nil {
		return 0, err
	}
	if _, err := d.startTask(ctx, id); err != nil {
		return 0, errors.Join(err, d.delete(ctx, id))
	}
	code, err := d.endTask(ctx, id)
	return code, errors.Join(err, d.delete(ctx, id))
}

// publish publishes an event, as anybody can.
func (d *daemon) publish(ctx context.Context, topic string, m proto.Message) error {
	event, err := anypb.New(m)
	if err != nil {
		return err
	}
	event.TypeUrl = strings.TrimPrefix(event.GetTypeUrl(), "type.googleapis.com/")
	_, err = eventsapi.NewEventsClient(d.conn).Publish(inSpace(ctx), &eventsapi.PublishRequest{Topic: topic, Event: event})
	return err
}

// forward publishes an event whose time and namespace the client says.
func (d *daemon) forward(ctx context.Context, at *timestamppb.Timestamp, topic string, m proto.Message) error {
	event, err := anypb.New(m)
	if err != nil {
		return err
	}
	event.TypeUrl = strings.TrimPrefix(event.GetTypeUrl(), "type.googleapis.com/")
	_, err = eventsapi.NewEventsClient(d.conn).Forward(inSpace(ctx), &eventsapi.ForwardRequest{
		Envelope: &types.Envelope{Timestamp: at, Namespace: space, Topic: topic, Event: event},
	})
	return err
}

// pause has a task wait, resume go on.
func (d *daemon) pause(ctx context.Context, id string) error {
	_, err := tasks.NewTasksClient(d.conn).Pause(inSpace(ctx), &tasks.PauseTaskRequest{ContainerID: id})
	return err
}

func (d *daemon) resume(ctx context.Context, id string) error {
	_, err := tasks.NewTasksClient(d.conn).Resume(inSpace(ctx), &tasks.ResumeTaskRequest{ContainerID: id})
	return err
}

// endExec waits for the end of a process that was run, deletes it and returns its exit status.
func (d *daemon) endExec(ctx context.Context, id, name string) (uint32, error) {
	client := tasks.NewTasksClient(d.conn)
	end, err := client.Wait(inSpace(ctx), &tasks.WaitRequest{ContainerID: id, ExecID: name})
	if err != nil {
		return 0, err
	}
	_, err = client.DeleteProcess(inSpace(ctx), &tasks.DeleteProcessRequest{ContainerID: id, ExecID: name})
	return end.GetExitStatus(), err
}

// exec runs a process in a container and does not wait for its end.
func (d *daemon) exec(ctx context.Context, id, name string, caps []string, args ...string) error {
	value, err := json.Marshal(specs.Process{
		Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
	})
	if err != nil {
		return err
	}
	client := tasks.NewTasksClient(d.conn)
	_, err = client.Exec(inSpace(ctx), &tasks.ExecProcessRequest{
		ContainerID: id, ExecID: name, Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: value},
	})
	if err != nil {
		return err
	}
	_, err = client.Start(inSpace(ctx), &tasks.StartRequest{ContainerID: id, ExecID: name})
	return err
}

// listener reads a stream beside the test.
type listener struct {
	t     testing.TB
	found chan events.Event
	end   context.CancelFunc
	done  chan error
}

// listen begins a stream and waits until it is live.
func listen(t testing.TB, o events.Options) *listener {
	t.Helper()
	return listenTo(t, func(ctx context.Context) iter.Seq2[events.Event, error] { return events.Stream(ctx, o) })
}

func listenTo(t testing.TB, stream func(context.Context) iter.Seq2[events.Event, error]) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{t: t, found: make(chan events.Event, 100_000), end: cancel, done: make(chan error, 1)}
	go func() {
		var end error
		for e, err := range stream(ctx) {
			if err != nil {
				end = err
				break
			}
			l.found <- e
		}
		close(l.found)
		l.done <- end
	}()
	t.Cleanup(cancel)
	for e := range l.found {
		if e.Topic == events.TopicLive {
			return l
		}
	}
	t.Fatalf("the stream ended: %v", <-l.done)
	return nil
}

// until returns the events up to the first that is wanted.
func (l *listener) until(what string, wanted func(events.Event) bool) []events.Event {
	l.t.Helper()
	var list []events.Event
	late := time.After(60 * time.Second)
	for {
		select {
		case e, ok := <-l.found:
			if !ok {
				l.t.Fatalf("the stream ended before %s: %v", what, <-l.done)
			}
			list = append(list, e)
			if wanted(e) {
				return list
			}
		case <-late:
			for _, e := range list {
				l.t.Log(line(e))
			}
			l.t.Fatalf("no %s", what)
		}
	}
}

// rest returns what comes until nothing has come for a while, and ends the stream.
func (l *listener) rest(quiet time.Duration) []events.Event {
	l.t.Helper()
	var list []events.Event
	for {
		select {
		case e, ok := <-l.found:
			if !ok {
				return list
			}
			list = append(list, e)
		case <-time.After(quiet):
			l.end()
			for e := range l.found {
				list = append(list, e)
			}
			if err := <-l.done; err != nil {
				l.t.Fatal(err)
			}
			return list
		}
	}
}

// line shows an event in a test's messages.
func line(e events.Event) string {
	id := ""
	if e.Container != nil {
		id = e.Container.ID
	}
	return fmt.Sprintf("%s %s %s %s %s %s %+v", e.Time.Format("15:04:05.000"), e.Topic, id, e.Source, e.Confirmed, e.Why, e.Detail)
}
