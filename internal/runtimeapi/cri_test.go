package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// serve connects to a fake runtime.
func serve(t *testing.T, timeout time.Duration, fault fakeruntime.Fault, services ...fakeruntime.Service) *Conn {
	t.Helper()
	address := fakeruntime.Serve(t, fault, services...)
	c, err := dialInTime(t, t.Context(), Options{Endpoint: address, Timeout: hang})
	if err != nil {
		t.Fatal(err)
	}
	c.timeout = timeout // after Dial, which it must not hurry
	return c
}

// list returns the containers by id.
func list(t *testing.T, c *Conn) (map[string]Container, error) {
	t.Helper()
	all, fill, err := c.List(t.Context())
	fill()
	byID := map[string]Container{}
	for _, k := range all {
		byID[k.ID] = k
	}
	if len(byID) != len(all) {
		t.Errorf("%d containers with %d ids", len(all), len(byID))
	}
	return byID, err
}

// wantKnown checks that of the containers these have no error, and returns the
// errors of the others.
func wantKnown(t *testing.T, all map[string]Container, pids map[string]int) map[string]error {
	t.Helper()
	errs := map[string]error{}
	for id, k := range all {
		pid, known := pids[id]
		switch {
		case known && (k.Task.Err != nil || k.SpecErr != nil || k.Task.PID != pid || k.Task.State != Running || len(k.Spec) == 0):
			t.Errorf("%s: %+v, specification %q, %v; want it running as %d", id, k.Task, k.Spec, k.SpecErr, pid)
		case !known && (k.Task.Err == nil || k.Task.PID != 0 || len(k.Spec) != 0 || k.SpecErr == nil || k.Privileged != nil):
			t.Errorf("%s: %+v, specification %q, %v; want all of it unknown", id, k.Task, k.Spec, k.SpecErr)
		case !known:
			errs[id] = k.Task.Err
		}
	}
	for id := range pids {
		if _, ok := all[id]; !ok {
			t.Errorf("%s is missing", id)
		}
	}
	return errs
}

func TestListCRI(t *testing.T) {
	t.Parallel()
	spec := fakeruntime.Spec("/pods/a")
	fake := &fakeruntime.CRI{}
	fake.AddSandbox("pod", fakeruntime.CRIOSandboxInfo(41, spec))
	fake.AddSandbox("spoofed", fakeruntime.CRIOSpoofedInfo(spec))
	fake.Add("a", `{"sandboxID":"pod","pid":42,"runtimeSpec":`+spec+`,"privileged":true,"checkpointedAt":"0001-01-01T00:00:00Z","restored":false}`)
	fake.AddIn(cri.ContainerState_CONTAINER_CREATED, "created", "not asked for")
	fake.AddIn(cri.ContainerState_CONTAINER_EXITED, "exited", "not asked for")
	fake.AddIn(cri.ContainerState_CONTAINER_UNKNOWN, "unknown", "not asked for")
	all, err := list(t, serve(t, hang, nil, fake))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(all)), []string{"a", "created", "exited", "pod", "spoofed", "unknown"}; !slices.Equal(got, want) {
		t.Fatalf("containers %q, want %q", got, want)
	}
	a := all["a"]
	if a.Task != (Task{State: Running, PID: 42}) || string(a.Spec) != spec || a.SpecErr != nil || a.Privileged == nil || !*a.Privileged {
		t.Errorf("a: %+v", a)
	}
	if a.SandboxID != "pod" || a.Sandbox || !a.CRI || a.Runtime != "crun" || a.Image != "registry.example/image:1" ||
		a.Labels[ContainerNameLabel] != "name-of-a" || a.Namespace != "" || a.Created.UnixNano() != 1_700_000_000_000_000_000 {
		t.Errorf("a: %+v", a)
	}
	pod := all["pod"]
	if pod.Task != (Task{State: Running, PID: 41}) || string(pod.Spec) != spec || !pod.Sandbox || pod.SandboxID != "pod" || pod.Privileged != nil ||
		pod.Labels[PodNameLabel] != "web" || pod.Labels[PodNamespaceLabel] != "shop" || pod.Labels[PodUIDLabel] != "uid-of-pod" {
		t.Errorf("pod: %+v", pod)
	}
	// CRI-O's default: no process, which is not an unknown one.
	if s := all["spoofed"]; s.Task != (Task{State: Running}) || string(s.Spec) != spec || s.SpecErr != nil {
		t.Errorf("spoofed: %+v", s)
	}
	for id, want := range map[string]string{"created": Created, "exited": Exited} {
		if k := all[id]; k.Task != (Task{State: want}) || k.SpecErr == nil {
			t.Errorf("%s: %+v", id, k)
		}
	}
	if k := all["unknown"]; k.Task.Err == nil || k.Task.State != "" || !strings.Contains(k.Task.Err.Error(), "CONTAINER_UNKNOWN") {
		t.Errorf("unknown: %+v", k.Task)
	}
}

// TestSandboxWithoutPID: that a missing pid means no process is CRI-O's way
// alone.
func TestSandboxWithoutPID(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ runtime, info string }{
		{"other", fakeruntime.CRIOSpoofedInfo("{}")},
		{"cri-o", fakeruntime.CRIOSandboxInfo(0, "{}")},
		{"cri-o", `{"runtimeSpec":`},
		{"cri-o", ``},
	} {
		fake := &fakeruntime.CRI{Name: tc.runtime}
		fake.AddSandbox("pod", tc.info)
		all, err := list(t, serve(t, hang, nil, fake))
		if k := all["pod"]; err != nil || k.Task.Err == nil || k.Task.PID != 0 {
			t.Errorf("%s, %s: %+v, %v; want an unknown pid", tc.runtime, tc.info, k.Task, err)
		}
	}
}

// TestVerboseFaults: a verbose status that does not tell the pid makes that
// container unknown, and no other.
func TestVerboseFaults(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 16<<20)
	fake := &fakeruntime.CRI{}
	fake.Add("good", fakeruntime.CRIOInfo(7, "{}"))
	fake.Add("good, 16 MiB", fakeruntime.CRIOInfo(8, `{"hostname":"`+big+`"}`))
	fake.Add("largest pid", fakeruntime.CRIOInfo(1<<22, "{}"))
	want := map[string]string{}
	for _, bad := range []struct{ name, info, want string }{
		{"fails", "", "broken storage"},
		{"vanished", "", "could not find container"},
		{"pid as text", `{"pid":"12","runtimeSpec":{}}`, "cannot unmarshal string"},
		{"pid as fraction", `{"pid":1.5,"runtimeSpec":{}}`, "cannot unmarshal number"},
		{"pid too large", `{"pid":99999999999999999999,"runtimeSpec":{}}`, "cannot unmarshal number"},
		{"garbage", `{"pid":`, "unexpected end of JSON"},
		{"not an object", `[12]`, "cannot unmarshal array"},
		{"two values", `{"pid":1}{"pid":2}`, "after top-level value"},
		{"no key", "", "the runtime gave none"},
		{"blank", " \n", "the runtime gave none"},
		{"16 MiB of garbage", big, "invalid character 'x'"},
	} {
		fake.Add(bad.name, bad.info)
		want[bad.name] = bad.want
	}
	fake.Info["no key"] = map[string]string{"version": "1"}
	delete(fake.Info, "vanished")
	all, err := list(t, serve(t, hang, func(_ context.Context, method string, request any) error {
		if method == "ContainerStatus" && fakeruntime.Request(request) == "fails" {
			return status.Error(codes.Internal, "broken storage")
		}
		return nil
	}, fake))
	if err != nil {
		t.Fatal(err)
	}
	errs := wantKnown(t, all, map[string]int{"good": 7, "good, 16 MiB": 8, "largest pid": 1 << 22})
	for id, text := range want {
		err := errs[id]
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "verbose status") || !strings.Contains(err.Error(), "unix:///") {
			t.Errorf("%s: error %v, want %q in it, the call and the socket", id, err, text)
			continue
		}
		if len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", id, len(err.Error()))
		}
		if all[id].Task.State != Running {
			t.Errorf("%s: state %q, want the one of the list", id, all[id].Task.State)
		}
	}
	if !errors.Is(errs["vanished"], errdefs.ErrNotFound) {
		t.Errorf("vanished: %v, want the runtime's class of error", errs["vanished"])
	}
}

// TestVerboseWithoutPID: the rest of it still counts.
func TestVerboseWithoutPID(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.CRI{}
	for id, info := range map[string]string{
		"none":      `{"sandboxID":"pod","runtimeSpec":{}}`,
		"null":      `{"pid":null,"runtimeSpec":{}}`,
		"zero":      fakeruntime.CRIOInfo(0, "{}"),
		"negative":  fakeruntime.CRIOInfo(-1, "{}"),
		"lowest":    `{"pid":-9223372036854775808,"runtimeSpec":{}}`,
		"empty":     `{}`,
		"JSON null": `null`,
	} {
		fake.Add(id, info)
	}
	all, err := list(t, serve(t, hang, nil, fake))
	if err != nil || len(all) != 7 {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	for id, k := range all {
		if k.Task.Err == nil || !strings.Contains(k.Task.Err.Error(), "no pid in it") || k.Task.PID != 0 {
			t.Errorf("%s: %+v", id, k.Task)
		}
		if empty := id == "empty" || id == "JSON null"; empty != (k.SpecErr != nil) {
			t.Errorf("%s: specification %q, %v", id, k.Spec, k.SpecErr)
		}
	}
}

// TestHungStatus: more containers hang than calls are made at once, and the
// others are still answered for.
func TestHungStatus(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.CRI{}
	for n := range statusWorkers + 3 {
		fake.Add(fmt.Sprintf("hung%02d", n), fakeruntime.CRIOInfo(9, "{}"))
	}
	good := map[string]int{}
	for n := range 20 {
		id := fmt.Sprintf("x%02d", n)
		good[id] = 100 + n
		fake.Add(id, fakeruntime.CRIOInfo(good[id], "{}"))
	}
	c := serve(t, time.Second, func(ctx context.Context, method string, request any) error {
		if method == "ContainerStatus" && strings.HasPrefix(fakeruntime.Request(request), "hung") {
			return fakeruntime.Hang(ctx)
		}
		return nil
	}, fake)
	all, err := list(t, c)
	if err != nil {
		t.Fatal(err)
	}
	errs := wantKnown(t, all, good)
	if len(errs) != statusWorkers+3 {
		t.Errorf("%d unknown, want %d", len(errs), statusWorkers+3)
	}
	want := c.Address + ": verbose status: no answer in time (1s at most)"
	for id, err := range errs {
		if err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %q, want %q", id, err, want)
		}
	}
}

func TestHungList(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"ListContainers", "ListPodSandbox"} {
		fake := &fakeruntime.CRI{}
		fake.Add("a", fakeruntime.CRIOInfo(9, "{}"))
		c := serve(t, 50*time.Millisecond, func(ctx context.Context, method string, _ any) error {
			if method == call {
				return fakeruntime.Hang(ctx)
			}
			return nil
		}, fake)
		all, err := list(t, c)
		want := c.Address + ": " + call + ": no answer in time (50ms at most)"
		if len(all) != 0 || err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d containers, error %v; want %q", len(all), err, want)
		}
	}
}

func TestListCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := serve(t, hang, func(server context.Context, method string, _ any) error {
		if method != "ListContainers" {
			return nil
		}
		cancel()
		return fakeruntime.Hang(server)
	}, &fakeruntime.CRI{})
	if all, _, err := c.List(ctx); len(all) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d containers, %v; want that it was canceled", len(all), err)
	}
}

// TestLargeList is an answer of 16 MiB: gRPC's own limit is 4.
func TestLargeList(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.CRI{}
	fake.Add("big", fakeruntime.CRIOInfo(9, "{}"))
	fake.Containers[0].Annotations = map[string]string{"big": strings.Repeat("x", 16<<20)}
	all, err := list(t, serve(t, hang, nil, fake))
	if err != nil {
		t.Fatal(err)
	}
	wantKnown(t, all, map[string]int{"big": 9})
	if n := len(all["big"].Annotations["big"]); n != 16<<20 {
		t.Errorf("an annotation of %d bytes", n)
	}
}

func TestManyContainers(t *testing.T) {
	t.Parallel()
	const n = 5000
	fake := &fakeruntime.CRI{}
	want := map[string]int{}
	for i := range n {
		id := fmt.Sprintf("c%04d", i)
		want[id] = i + 1
		fake.Add(id, fakeruntime.CRIOInfo(i+1, `{"root":{"path":"`+id+`"}}`))
	}
	all, err := list(t, serve(t, hang, nil, fake))
	if err != nil || len(all) != n {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	wantKnown(t, all, want)
	for id, k := range all {
		if !strings.Contains(string(k.Spec), id) {
			t.Fatalf("%s has the specification %s of another", id, k.Spec)
		}
	}
}

// TestDies: the runtime goes away after the list, in the middle of the calls
// for each container.
func TestDies(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.CRI{}
	for n := range 100 {
		fake.Add(fmt.Sprint(n), fakeruntime.CRIOInfo(n+1, "{}"))
	}
	dead := make(chan struct{})
	stop := make(chan func(), 1)
	socket := t.TempDir() + "/s"
	stop <- fakeruntime.ServeAt(t, socket, func(_ context.Context, method string, request any) error {
		if method == "ContainerStatus" && fakeruntime.Request(request) == "50" {
			go func() {
				(<-stop)()
				close(dead)
			}()
		}
		return nil
	}, fake)
	c, err := dialInTime(t, t.Context(), Options{Endpoint: "unix://" + socket, Timeout: hang})
	if err != nil {
		t.Fatal(err)
	}
	all, err := list(t, c)
	if err != nil || len(all) != 100 {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	for id, k := range all {
		if (k.Task.Err == nil) != (k.Task.PID != 0) || k.Task.Err != nil && !errors.Is(k.Task.Err, errdefs.ErrUnavailable) {
			t.Errorf("%s: %+v; want its pid or that the runtime is not available", id, k.Task)
		}
	}
	<-dead
	if all, err := list(t, c); len(all) != 0 || !errors.Is(err, errdefs.ErrUnavailable) || !strings.Contains(err.Error(), c.Address) {
		t.Errorf("after its end: %d containers, %v; want that it is not available", len(all), err)
	}
}
