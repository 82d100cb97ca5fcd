package inspect_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// TestLabSockets: the lab's containerd is found by its process, is as the lab
// wants it, and is reached from the two pods that mount it.
func TestLabSockets(t *testing.T) {
	i := lab(t)
	list, err := i.Sockets(t.Context(), inspect.SocketOptions{Connect: []string{"/proc/self/exe", "connect-sockets"}})
	if err != nil {
		t.Error(err)
	}
	path := strings.TrimPrefix(i.Node().Runtime.Endpoint, "unix://")
	s := socketAt(t, list, path)
	equal(t, "kind", s.Kind, inspect.SocketContainerd)
	equal(t, "verdict", s.Verdict, inspect.SocketOK)
	equal(t, "reason", s.Reason, "mode 0660 root:root: only root can connect, as nobody else is in its group")
	equal(t, "mode", value(t, "file", s.File).Mode, 0o660)
	equal(t, "as nobody", value(t, "nobody", s.Nobody), inspect.ConnectResult{Error: "permission denied"})
	runtime := value(t, "runtime's pid", i.Node().Runtime.PID)
	if !slices.Contains(s.Listeners, inspect.Listener{PID: runtime, Name: "containerd"}) {
		t.Errorf("listeners %v: want process %d", s.Listeners, runtime)
	}
	checkReached(t, i, s, map[string]string{
		"default/pod-socket-mounted/app": "/run/containerd/containerd.sock",
		"default/pod-socket-folder/app":  "/host/runtime/containerd.sock",
	})
	ttrpc := socketAt(t, list, path+".ttrpc")
	equal(t, "kind", ttrpc.Kind, inspect.SocketContainerdTTRPC)
	checkReached(t, i, ttrpc, map[string]string{"default/pod-socket-folder/app": "/host/runtime/containerd.sock.ttrpc"})
}

func socketAt(t *testing.T, list []inspect.Socket, path string) inspect.Socket {
	t.Helper()
	n := slices.IndexFunc(list, func(s inspect.Socket) bool { return s.Path == path })
	if n < 0 {
		t.Fatalf("%s is not among the sockets", path)
	}
	return list[n]
}

// checkReached wants the socket in some containers and in no others, and looks
// there whether it is the same one.
func checkReached(t *testing.T, i *inspect.Inspector, s inspect.Socket, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, c := range value(t, "containers", s.Containers) {
		var paths []string
		for _, w := range value(t, c.Name, c.Ways) {
			paths = append(paths, w.Path)
			sameSocket(t, i, c.ID, w.Path, s.Path)
		}
		got[c.Name] = strings.Join(paths, " ")
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is reached in %v, want %v", s.Path, got, want)
	}
}

func sameSocket(t *testing.T, i *inspect.Inspector, id, inside, outside string) {
	t.Helper()
	c, err := i.Resolve(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.Stat(filepath.Join(fmt.Sprintf("/proc/%d/root", value(t, id, c.PID)), inside))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(outside)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(a, b) {
		t.Errorf("%s in %s is not %s", inside, c.FullName(), outside)
	}
}

// TestLabShims: every pod's shim listens on a socket of its own, which only root
// may use and no container reaches.
func TestLabShims(t *testing.T) {
	i := lab(t)
	list, err := i.Sockets(t.Context(), inspect.SocketOptions{})
	if err != nil {
		t.Error(err)
	}
	containers, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if state, _ := c.State.Value(); c.Kind != inspect.KindSandbox || state != inspect.StateRunning {
			continue
		}
		shim := parent(t, value(t, c.FullName(), c.PID))
		n := slices.IndexFunc(list, func(s inspect.Socket) bool {
			return s.Kind == inspect.SocketShim && slices.ContainsFunc(s.Listeners, func(l inspect.Listener) bool { return l.PID == shim })
		})
		if n < 0 {
			t.Errorf("%s: no socket of its shim %d", c.FullName(), shim)
			continue
		}
		s := list[n]
		if s.Verdict != inspect.SocketOK {
			t.Errorf("%s: %s: %s", s.Path, s.Verdict, s.Reason)
		}
		checkReached(t, i, s, map[string]string{})
	}
}

// TestLabAbstractSocket: an abstract socket of the node is reached from the pods
// in its network namespace.
func TestLabAbstractSocket(t *testing.T) {
	i := lab(t)
	name := fmt.Sprintf("@/containerd-shim/test/%d.sock", os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	list, err := i.Sockets(t.Context(), inspect.SocketOptions{Paths: []string{name}})
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	var got, want []string
	for _, c := range value(t, "containers", list[0].Containers) {
		for _, w := range value(t, c.Name, c.Ways) {
			got = append(got, c.Name+" "+w.Path)
		}
	}
	for _, m := range manifests(t) {
		if m.Metadata.Name == "pod-host-ns" {
			want = append(want, m.Metadata.Namespace+"/"+m.Metadata.Name+"/"+m.Spec.Containers[0].Name+" "+name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("reached in %q, want %q", got, want)
	}
	equal(t, "verdict", list[0].Verdict, inspect.SocketOpen)
}
