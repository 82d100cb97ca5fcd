package runtimeapi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		address string
		path    string // empty: refused
	}{
		{"unix:///run/containerd/containerd.sock", "/run/containerd/containerd.sock"},
		{"/run/crio/crio.sock", "/run/crio/crio.sock"},
		{"unix:////run//a/../crio.sock", "/run/crio.sock"},
		{"unix:///run/with space:and?query", "/run/with space:and?query"},
		{"", ""},
		{"unix://", ""},
		{"unix://run/crio.sock", ""},
		{"unix:run/crio.sock", ""},
		{"unix:/run/crio.sock", ""},
		{"run/crio.sock", ""},
		{"./crio.sock", ""},
		{"tcp://127.0.0.1:1234", ""},
		{"npipe:////./pipe/containerd", ""},
		{"http:///run/crio.sock", ""},
		{"UNIX:///run/crio.sock", ""},
		{" unix:///run/crio.sock", ""},
		{"unix:///run/a\x00b", ""},
	} {
		err := CheckAddress(tc.address)
		path, pathErr := socketPath(tc.address)
		if (err == nil) != (pathErr == nil) || path != tc.path {
			t.Errorf("%q: path %q, %v, CheckAddress %v; want %q", tc.address, path, pathErr, err, tc.path)
		}
		if (err == nil) != (tc.path != "") {
			t.Errorf("%q: error %v", tc.address, err)
		}
		if err != nil && !strings.Contains(err.Error(), "want unix:///path/to/socket") {
			t.Errorf("%q: error %q does not say what is wanted", tc.address, err)
		}
	}
}

// node is a host's file system with runtimes on some of its sockets.
type node struct {
	t    *testing.T
	root string
}

func newNode(t *testing.T) node {
	t.Helper()
	t.Setenv(EndpointVariable, "")
	return node{t, t.TempDir()}
}

// serve makes a runtime that calls itself name and returns its address.
func (n node) serve(path, name string) string {
	n.t.Helper()
	socket := filepath.Join(n.root, path)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		n.t.Fatal(err)
	}
	fakeruntime.ServeAt(n.t, socket, nil, &fakeruntime.CRI{Name: name})
	return "unix://" + socket
}

func (n node) configure(config string) {
	n.t.Helper()
	file := filepath.Join(n.root, crictlConfig)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
		n.t.Fatal(err)
	}
}

// dial says who answered.
func (n node) dial(endpoint string) (string, error) {
	n.t.Helper()
	c, err := dialInTime(n.t, n.t.Context(), Options{Endpoint: endpoint, HostRoot: n.root})
	if err != nil {
		return "", err
	}
	return c.Name, nil
}

func (n node) wantName(endpoint, want string) {
	n.t.Helper()
	if got, err := n.dial(endpoint); got != want || err != nil {
		n.t.Errorf("%q answered, %v; want %q", got, err, want)
	}
}

// TestPrecedence takes the sources away one by one, the first first.
func TestPrecedence(t *testing.T) {
	n := newNode(t)
	given := n.serve("given.sock", "given")
	t.Setenv(EndpointVariable, n.serve("env.sock", "env"))
	n.serve("srv/crictl.sock", "crictl")
	n.configure("timeout: 2\nruntime-endpoint: unix:///srv/crictl.sock\nimage-endpoint: unix:///other.sock\n")
	n.serve("run/crio/crio.sock", "well-known")

	n.wantName(given, "given")
	n.wantName("", "env")
	t.Setenv(EndpointVariable, "")
	n.wantName("", "crictl")
	n.configure("timeout: 2\n")
	n.wantName("", "well-known")
	if err := os.Remove(filepath.Join(n.root, crictlConfig)); err != nil {
		t.Fatal(err)
	}
	n.wantName("", "well-known")
}

// TestNamedNeverFallsBack: whoever named a socket gets that one or an error.
func TestNamedNeverFallsBack(t *testing.T) {
	n := newNode(t)
	n.serve("run/containerd/containerd.sock", "well-known")
	n.wantName("", "well-known")
	gone := filepath.Join(n.root, "gone.sock")

	check := func(endpoint, from string) {
		t.Helper()
		name, err := n.dial(endpoint)
		if err == nil {
			t.Fatalf("%s answered", name)
		}
		want := "no container runtime: unix://" + gone + " (" + from + "): no such socket"
		if err.Error() != want || !errors.Is(err, ErrNoRuntime) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error\n got %q\nwant %q", err, want)
		}
	}
	check("unix://"+gone, "given")
	check(gone, "given")
	t.Setenv(EndpointVariable, "unix://"+gone)
	check("", "from CONTAINER_RUNTIME_ENDPOINT")
	t.Setenv(EndpointVariable, "")
	n.configure("runtime-endpoint: unix:///gone.sock\n")
	check("", "from "+filepath.Join(n.root, crictlConfig))
}

func TestNamedBadly(t *testing.T) {
	n := newNode(t)
	n.serve("run/containerd/containerd.sock", "well-known")
	config := filepath.Join(n.root, crictlConfig)

	check := func(endpoint, want string) {
		t.Helper()
		name, err := n.dial(endpoint)
		if err == nil {
			t.Fatalf("%s answered", name)
		}
		if err.Error() != "no container runtime: "+want || !errors.Is(err, ErrNoRuntime) {
			t.Errorf("error\n got %q\nwant %q", err, want)
		}
	}
	check("tcp://127.0.0.1:1", `runtime endpoint "tcp://127.0.0.1:1": want unix:///path/to/socket (given)`)
	t.Setenv(EndpointVariable, "run/x.sock")
	check("", `runtime endpoint "run/x.sock": want unix:///path/to/socket, an absolute path (from CONTAINER_RUNTIME_ENDPOINT)`)
	t.Setenv(EndpointVariable, "")
	n.configure("runtime-endpoint: npipe:////./pipe/x\n")
	check("", `runtime endpoint "npipe:////./pipe/x": want unix:///path/to/socket (from `+config+`)`)
}

func TestBadCrictlConfig(t *testing.T) {
	n := newNode(t)
	n.serve("run/containerd/containerd.sock", "well-known")
	config := filepath.Join(n.root, crictlConfig)
	for _, tc := range []struct {
		name, config string
		want         []string
	}{
		{"a tab", "timeout: 10\n\truntime-endpoint: unix:///x\n", []string{config, "line 2"}},
		{"no colon", "timeout: 10\ndebug: false\nruntime-endpoint\n", []string{config, "line 4"}},
		{"a list", "runtime-endpoint: [unix:///x]\n", []string{config, "runtime-endpoint", "string"}},
		{"no map", "- runtime-endpoint: unix:///x\n", []string{config}},
		{"not text", "\x00\x01\x02", []string{config}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := node{t, n.root}
			n.configure(tc.config)
			name, err := n.dial("")
			if err == nil {
				t.Fatalf("%s answered", name)
			}
			if !errors.Is(err, ErrNoRuntime) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q: want one line that wraps ErrNoRuntime", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q: want %q in it", err, want)
				}
			}
		})
	}
}

func TestUnreadableCrictlConfig(t *testing.T) {
	n := newNode(t)
	n.serve("run/containerd/containerd.sock", "well-known")
	n.configure("runtime-endpoint: unix:///x\n")
	config := filepath.Join(n.root, crictlConfig)
	for path, mode := range map[string]fs.FileMode{config: 0, n.root: 0o755, filepath.Dir(n.root): 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	asNobody(t, func() { _, err = Dial(t.Context(), Options{HostRoot: n.root}) })
	if !errors.Is(err, ErrNoRuntime) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), config) {
		t.Errorf("error %v: want the file that is not readable", err)
	}
	if err := errors.Join(os.Remove(config), os.Mkdir(config, 0o755)); err != nil {
		t.Fatal(err)
	}
	_, err = n.dial("")
	if !errors.Is(err, ErrNoRuntime) || !errors.Is(err, unix.EISDIR) || !strings.Contains(err.Error(), config) {
		t.Errorf("error %v: want the folder", err)
	}
}

// TestCrictlConfigNamesVarRun: /var/run of a host is an absolute link, which in
// a pod leads into the pod.
func TestCrictlConfigNamesVarRun(t *testing.T) {
	n := newNode(t)
	n.serve("run/crio/crio.sock", "crio")
	if err := errors.Join(os.Mkdir(filepath.Join(n.root, "var"), 0o755), os.Symlink("/run", filepath.Join(n.root, "var/run"))); err != nil {
		t.Fatal(err)
	}
	n.configure("runtime-endpoint: unix:///var/run/crio/crio.sock\n")
	n.wantName("", "crio")
}

func TestWellKnown(t *testing.T) {
	n := newNode(t)
	_, err := n.dial("")
	if err == nil {
		t.Fatal("connected")
	}
	var want []string
	for _, path := range wellKnown {
		want = append(want, "unix://"+filepath.Join(n.root, path))
	}
	if got := "no container runtime: " + strings.Join(want, ", ") + " (well-known): no such socket"; err.Error() != got {
		t.Errorf("error\n got %q\nwant %q", err, got)
	}
	var dialErr *DialError
	if !errors.As(err, &dialErr) || len(dialErr.Attempts) != len(wellKnown) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %#v: want a cause for each socket", err)
	}

	// From the last to the first: each that is added is before those there.
	for _, path := range slices.Backward(wellKnown) {
		n.serve(path, path)
		n.wantName("", path)
	}
}

// TestWellKnownFaults: a socket nobody answers on does not keep the next from
// being found.
func TestWellKnownFaults(t *testing.T) {
	n := newNode(t)
	n.serve("run/k3s/containerd/containerd.sock", "k3s")
	for _, dir := range []string{"run/containerd/containerd.sock", "run/crio"} {
		if err := os.MkdirAll(filepath.Join(n.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "run/crio/crio.sock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.wantName("", "k3s")
}
