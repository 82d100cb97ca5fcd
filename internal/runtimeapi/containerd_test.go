package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// TestHungShim: containerd's list of tasks leaves out those whose shim does not
// answer. They are unknown, not without a task, and the others are known.
func TestHungShim(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{Unlisted: map[string]bool{}}
	const hung = taskWorkers + 3
	for n := range hung {
		id := fmt.Sprintf("hung%02d", n)
		fake.Add("default", id, 9, "{}")
		fake.Unlisted[id] = true
	}
	good := map[string]int{}
	for n := range 20 {
		id := fmt.Sprintf("x%02d", n)
		good[id] = 100 + n
		fake.Add("default", id, uint32(good[id]), "{}")
	}
	fake.Add("default", "late", 50, "{}") // started after the list was made
	fake.Unlisted["late"] = true
	good["late"] = 50
	fake.Add("default", "no task", 0, "{}")
	c := serve(t, time.Second, func(ctx context.Context, method string, request any) error {
		if r, ok := request.(*tasks.GetRequest); ok && method == "Get" && strings.HasPrefix(r.GetContainerID(), "hung") {
			return fakeruntime.Hang(ctx)
		}
		return nil
	}, fake)
	all, err := list(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if k := all["no task"]; k.Task != (Task{}) {
		t.Errorf("no task: %+v", k.Task)
	}
	want := "its shim does not answer containerd: " + c.Address + ": tasks.Get: no answer in time (1s at most)"
	for id, k := range all {
		switch {
		case strings.HasPrefix(id, "hung"):
			if k.Task.Err == nil || k.Task.Err.Error() != want || !errors.Is(k.Task.Err, context.DeadlineExceeded) || k.Task.PID != 0 || k.Task.State != "" {
				t.Errorf("%s: %+v, want %q", id, k.Task, want)
			}
		case id != "no task" && k.Task != (Task{State: Running, PID: good[id]}):
			t.Errorf("%s: %+v, want it running as %d", id, k.Task, good[id])
		}
	}
	if len(all) != hung+len(good)+1 {
		t.Errorf("%d containers, want %d", len(all), hung+len(good)+1)
	}
}

// TestTaskStates: a pid counts with a state only, and an ended task has none.
func TestTaskStates(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	want := map[string]Task{
		"CREATED": {State: Created, PID: 7},
		"RUNNING": {State: Running, PID: 7},
		"STOPPED": {State: Exited},
		"PAUSED":  {State: Paused, PID: 7},
		"PAUSING": {State: Paused, PID: 7},
		"UNKNOWN": {},
		"99":      {},
	}
	for name := range want {
		fake.Add("default", name, 7, "{}")
		state, ok := task.Status_value[name]
		if !ok {
			state = 99
		}
		in := fake.Tasks["default"]
		in[len(in)-1].Status = task.Status(state)
	}
	all, err := list(t, serve(t, hang, nil, fake))
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	for name, task := range want {
		got := all[name].Task
		if (got.Err != nil) != (task.State == "") {
			t.Errorf("%s: error %v", name, got.Err)
		}
		if got.Err != nil && !strings.Contains(got.Err.Error(), name) {
			t.Errorf("%s: error %q, want the state in it", name, got.Err)
		}
		if got.State != task.State || got.PID != task.PID {
			t.Errorf("%s: %+v, want %+v", name, got, task)
		}
	}
}

// TestTaskWithoutPID: a task that runs and has no pid is not one without a
// process.
func TestTaskWithoutPID(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	fake.Add("default", "a", 7, "{}")
	fake.Tasks["default"][0].Pid = 0
	all, err := list(t, serve(t, hang, nil, fake))
	if k := all["a"].Task; err != nil || k.State != Running || k.PID != 0 || k.Err == nil || !strings.Contains(k.Err.Error(), "no pid") {
		t.Errorf("%+v, %v", k, err)
	}
}

// TestTaskListFails: each task is asked for then.
func TestTaskListFails(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	fake.Add("default", "a", 7, "{}")
	fake.Add("default", "none", 0, "{}")
	c := serve(t, hang, func(_ context.Context, _ string, request any) error {
		if _, ok := request.(*tasks.ListTasksRequest); ok {
			return status.Error(codes.Internal, "no list today")
		}
		return nil
	}, fake)
	all, err := list(t, c)
	if err != nil || all["a"].Task != (Task{State: Running, PID: 7}) || all["none"].Task != (Task{}) {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestNamespaceFails: of several containerd namespaces one cannot be listed at
// all, one breaks off, one has a task that fails.
func TestNamespaceFails(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{BreakAfter: map[string]int{"broken": 2}}
	for _, ns := range []string{"a", "denied", "b", "broken", "empty-handed", "c"} {
		for n := range 3 {
			fake.Add(ns, fmt.Sprintf("%s%d", ns, n), uint32(n+1), "{}")
		}
	}
	fake.Tasks["empty-handed"] = nil
	c := serve(t, hang, func(ctx context.Context, method string, request any) error {
		ns, _ := namespaces.Namespace(ctx)
		if ns == "denied" && method == "ListStream" {
			return status.Error(codes.PermissionDenied, "not for you")
		}
		if _, ok := request.(*tasks.GetRequest); ok && ns == "empty-handed" {
			return status.Error(codes.Unknown, "shim gone")
		}
		return nil
	}, fake)
	all, fill, err := c.List(t.Context())
	fill()
	var ids []string
	for _, k := range all {
		ids = append(ids, k.Namespace+"/"+k.ID)
		if k.Namespace == "empty-handed" {
			if k.Task.Err == nil || !strings.Contains(k.Task.Err.Error(), "shim gone") {
				t.Errorf("%s: %+v", k.ID, k.Task)
			}
		} else if k.Task.Err != nil || k.Task.State != Running {
			t.Errorf("%s: %+v", k.ID, k.Task)
		}
	}
	want := []string{
		"a/a0", "a/a1", "a/a2", "b/b0", "b/b1", "b/b2",
		"empty-handed/empty-handed0", "empty-handed/empty-handed1", "empty-handed/empty-handed2", "c/c0", "c/c1", "c/c2",
	}
	if !slices.Equal(ids, want) {
		t.Errorf("containers\n got %q\nwant %q", ids, want)
	}
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{
		"containerd namespace denied: " + c.Address + ": containers.ListStream: ", "not for you",
		"containerd namespace broken: " + c.Address + ": containers.ListStream: ", "the list broke off",
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q, want %q in it", err, text)
		}
	}
	if !errors.Is(err, errdefs.ErrPermissionDenied) || !errors.Is(err, errdefs.ErrInternal) {
		t.Errorf("error %v: want both causes", err)
	}
	if strings.Count(err.Error(), "namespace ") != 2 {
		t.Errorf("error %q: want two namespaces in it", err)
	}
}

func TestNamespaceHangs(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	fake.Add("hung", "h", 1, "{}")
	fake.Add("good", "g", 7, "{}")
	c := serve(t, time.Second, func(ctx context.Context, _ string, _ any) error {
		if ns, _ := namespaces.Namespace(ctx); ns == "hung" {
			return fakeruntime.Hang(ctx)
		}
		return nil
	}, fake)
	all, err := list(t, c)
	if len(all) != 1 || all["g"].Task != (Task{State: Running, PID: 7}) {
		t.Errorf("%+v", all)
	}
	want := "containerd namespace hung: " + c.Address + ": containers.ListStream: no answer in time (1s at most)"
	if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestNamespacesFail(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	fake.Add("a", "a", 1, "{}")
	c := serve(t, hang, func(ctx context.Context, method string, _ any) error {
		if _, ok := namespaces.Namespace(ctx); !ok && method == "List" {
			return status.Error(codes.Internal, "no database")
		}
		return nil
	}, fake)
	all, err := list(t, c)
	if len(all) != 0 || !errors.Is(err, errdefs.ErrInternal) || !strings.Contains(err.Error(), "namespaces.List: no database") {
		t.Errorf("%d containers, %v", len(all), err)
	}
}

// TestEnded: of containers without a task the CRI says whether they have ended;
// where it does not, that is unknown.
func TestEnded(t *testing.T) {
	t.Parallel()
	fake := &fakeruntime.Containerd{}
	beside := &fakeruntime.CRI{}
	for id, state := range map[string]cri.ContainerState{
		"created": cri.ContainerState_CONTAINER_CREATED,
		"exited":  cri.ContainerState_CONTAINER_EXITED,
		"running": cri.ContainerState_CONTAINER_RUNNING,
		"lost":    cri.ContainerState_CONTAINER_UNKNOWN,
	} {
		fake.Add(criNamespace, id, 0, "{}")
		beside.AddIn(state, id, "")
	}
	fake.Add(criNamespace, "not listed", 0, "{}")
	for _, k := range fake.Containers[criNamespace] {
		k.Labels = map[string]string{criKind: "container"}
	}
	check := func(c *Conn, want map[string]Task, text string) {
		t.Helper()
		all, err := list(t, c)
		if err != nil || len(all) != 5 {
			t.Fatalf("%d containers, %v", len(all), err)
		}
		for id, k := range all {
			task, ok := want[id]
			switch {
			case ok && k.Task != task:
				t.Errorf("%s: %+v, want %+v", id, k.Task, task)
			case !ok && (k.Task.Err == nil || k.Task.State != "" || !strings.Contains(k.Task.Err.Error(), text)):
				t.Errorf("%s: %+v, want that it is unknown: %q", id, k.Task, text)
			}
		}
	}
	check(serve(t, hang, nil, fake, beside), map[string]Task{"created": {State: Created}, "exited": {State: Exited}, "not listed": {}},
		"containerd has no task of it, but the CRI says")
	check(serve(t, hang, nil, fake), nil, "ListContainers: ")
}

func TestServer(t *testing.T) {
	t.Parallel()
	s, err := serve(t, hang, nil, &fakeruntime.Containerd{PID: 12, PIDNamespace: 4026531836}).Server(t.Context())
	if err != nil || s != (Server{PID: 12, PIDNamespace: 4026531836}) {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = serve(t, hang, nil, &fakeruntime.Containerd{}).Server(t.Context())
	if s != (Server{}) || !errors.Is(err, errdefs.ErrNotImplemented) || !strings.Contains(err.Error(), "introspection") {
		t.Errorf("without introspection: %+v, %v", s, err)
	}
}
