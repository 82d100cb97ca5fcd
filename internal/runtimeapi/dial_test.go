package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// hang is longer than any test may take on a slow machine: it only tells a hang
// from an answer.
const hang = 30 * time.Second

// listen serves connections until the test ends, one after the other. They stay
// open unless serve closes them.
func listen(t *testing.T, socket string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close() // also keeps it from being collected
			serve(conn)
		}
	}()
}

// fullQueue listens, never accepts, and has a full queue.
func fullQueue(t *testing.T, socket string) {
	t.Helper()
	address := &unix.SockaddrUnix{Name: socket}
	open := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	l := open()
	if err := errors.Join(unix.Bind(l, address), unix.Listen(l, 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		err := unix.Connect(open(), address)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the queue does not fill")
}

func TestDialFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, socket string)
		want string // after "(given): "; all of the line
		is   error
	}{
		{"missing", func(*testing.T, string) {}, "no such socket", fs.ErrNotExist},
		{"no folder", func(t *testing.T, socket string) {
			if err := os.Remove(filepath.Dir(socket)); err != nil {
				t.Fatal(err)
			}
		}, "no such socket", fs.ErrNotExist},
		{"dangling", func(t *testing.T, socket string) {
			if err := os.Symlink("gone.sock", socket); err != nil {
				t.Fatal(err)
			}
		}, "no such socket", fs.ErrNotExist},
		{"loop", func(t *testing.T, socket string) {
			if err := os.Symlink(filepath.Base(socket), socket); err != nil {
				t.Fatal(err)
			}
		}, "stat SOCKET: too many levels of symbolic links", unix.ELOOP},
		{"folder", func(t *testing.T, socket string) {
			if err := os.Mkdir(socket, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "is a folder, not a socket", nil},
		{"file", func(t *testing.T, socket string) {
			if err := os.WriteFile(socket, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "is not a socket", nil},
		{"refused", func(t *testing.T, socket string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}, "connection refused: nothing listens", unix.ECONNREFUSED},
		{"datagram", func(t *testing.T, socket string) {
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}, "not a container runtime: the socket is of another type", unix.EPROTOTYPE},
		{"path too long", func(t *testing.T, socket string) {
			// The folder has a short name by its descriptor.
			dir, err := os.Open(filepath.Dir(socket))
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			fakeruntime.ServeAt(t, fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket)), nil, &fakeruntime.CRI{})
		}, "its path is longer than the 107 bytes that Linux allows", unix.EINVAL},
		{"queue full", fullQueue, "does not accept the connection: its queue is full", unix.EAGAIN},
		{"http", func(t *testing.T, socket string) {
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: hang}
			go func() { _ = s.Serve(l) }()
			t.Cleanup(func() { _ = s.Close() })
		}, "not a container runtime: does not speak gRPC", nil},
		{"closes at once", func(t *testing.T, socket string) {
			listen(t, socket, func(c net.Conn) { _ = c.Close() })
		}, "not a container runtime: does not speak gRPC", nil},
		{"garbage", func(t *testing.T, socket string) {
			listen(t, socket, func(c net.Conn) {
				_, _ = c.Write([]byte("\x00\xff220 mail.example ESMTP\r\n\x1b[31m"))
				_ = c.Close()
			})
		}, "not a container runtime: does not speak gRPC", nil},
		{"garbage, stays open", func(t *testing.T, socket string) {
			listen(t, socket, func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("garbage ", 100))) })
		}, "not a container runtime: does not speak gRPC", nil},
		{"silent", func(t *testing.T, socket string) {
			listen(t, socket, func(net.Conn) {})
		}, "accepts the connection but does not answer", context.DeadlineExceeded},
		{"silent gRPC", func(t *testing.T, socket string) {
			fakeruntime.ServeAt(t, socket, func(ctx context.Context, _ string, _ any) error {
				return fakeruntime.Hang(ctx)
			}, &fakeruntime.CRI{}, &fakeruntime.Containerd{})
		}, "accepts the connection but does not answer", context.DeadlineExceeded},
		{"no services", func(t *testing.T, socket string) {
			fakeruntime.ServeAt(t, socket, nil)
		}, "not a container runtime: speaks gRPC, but neither containerd's API nor the CRI's version v1", nil},
		{
			"old CRI", func(t *testing.T, socket string) { fakeruntime.ServeAt(t, socket, nil, oldCRI{}) },
			"not a container runtime: speaks gRPC, but neither containerd's API nor the CRI's version v1", nil,
		},
		{"refuses to say", func(t *testing.T, socket string) {
			fakeruntime.ServeAt(t, socket, func(context.Context, string, any) error {
				return status.Error(codes.PermissionDenied, "not for you")
			}, &fakeruntime.CRI{})
		}, "not for you", errdefs.ErrPermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(dir, "s")
			if tc.is == unix.EINVAL { //nolint:errorlint // the table's own value
				socket = filepath.Join(dir, strings.Repeat("s", 80))
			}
			tc.make(t, socket)
			c, err := dialInTime(t, t.Context(), Options{Endpoint: "unix://" + socket})
			if err == nil {
				t.Fatalf("connected to %s %s", c.Name, c.Version)
			}
			want := "no container runtime: unix://" + socket + " (given): " + strings.ReplaceAll(tc.want, "SOCKET", socket)
			if err.Error() != want {
				t.Errorf("error\n got %q\nwant %q", err, want)
			}
			if !errors.Is(err, ErrNoRuntime) {
				t.Error("it does not wrap ErrNoRuntime")
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("it does not wrap %v", tc.is)
			}
		})
	}
}

// oldCRI is a runtime with the CRI's version v1alpha2 alone.
type oldCRI struct{}

func (oldCRI) Register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "runtime.v1alpha2.RuntimeService"}, nil)
}

// dialInTime fails the test when Dial hangs.
func dialInTime(t *testing.T, ctx context.Context, o Options) (*Conn, error) { //nolint:revive // t first, as in a helper
	t.Helper()
	type answer struct {
		c   *Conn
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		c, err := Dial(ctx, o)
		answers <- answer{c, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil {
			t.Cleanup(func() { _ = a.c.Close() })
		}
		return a.c, a.err
	case <-time.After(hang):
		t.Fatal("Dial hangs")
		return nil, nil
	}
}

// asNobody calls f on a thread that has nobody's rights in the file system. The
// thread ends with f.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: the user id of a thread is changed with setfsuid")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else gets this thread
		err := unix.Setfsuid(65534)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDialPermission(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name           string
		folder, socket fs.FileMode
	}{
		{"folder", 0o700, 0o666},
		{"socket", 0o755, 0o600},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			socket := filepath.Join(dir, "s")
			fakeruntime.ServeAt(t, socket, nil, &fakeruntime.CRI{})
			for path, mode := range map[string]fs.FileMode{socket: tc.socket, dir: tc.folder, filepath.Dir(dir): 0o755} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			o := Options{Endpoint: "unix://" + socket}
			var err error
			asNobody(t, func() { _, err = Dial(t.Context(), o) })
			if err == nil {
				t.Fatal("connected")
			}
			want := "no container runtime: unix://" + socket + " (given): permission denied: run as root"
			if err.Error() != want {
				t.Errorf("error\n got %q\nwant %q", err, want)
			}
			if !errors.Is(err, ErrNoRuntime) || !errors.Is(err, fs.ErrPermission) {
				t.Error("it does not wrap ErrNoRuntime and fs.ErrPermission")
			}
			if _, err := dialInTime(t, t.Context(), o); err != nil {
				t.Errorf("as root: %v", err)
			}
		})
	}
}

func TestDialCancelled(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		address := fakeruntime.Serve(t, nil, &fakeruntime.CRI{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := dialInTime(t, ctx, Options{Endpoint: address})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNoRuntime) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("while it waits", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		address := fakeruntime.Serve(t, func(server context.Context, _ string, _ any) error {
			cancel()
			return fakeruntime.Hang(server)
		}, &fakeruntime.CRI{}, &fakeruntime.Containerd{})
		_, err := dialInTime(t, ctx, Options{Endpoint: address})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNoRuntime) {
			t.Errorf("error %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "rpc error") {
			t.Errorf("error %q shows gRPC's words", err)
		}
	})
}

func TestDialTimeout(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, func(net.Conn) {})
	_, err := dialInTime(t, t.Context(), Options{Endpoint: "unix://" + socket, Timeout: time.Millisecond})
	if err == nil || !strings.HasSuffix(err.Error(), "accepts the connection but does not answer") {
		t.Errorf("error %v", err)
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		services   []fakeruntime.Service
		is         string
		containerd bool
	}{
		{"CRI-O", []fakeruntime.Service{&fakeruntime.CRI{}}, "cri-o 1.36.0", false},
		{"cri-dockerd", []fakeruntime.Service{&fakeruntime.CRI{Name: "docker"}}, "docker 1.36.0", false},
		{"containerd", []fakeruntime.Service{&fakeruntime.Containerd{}, &fakeruntime.CRI{}}, "containerd v2.4.2", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			address := fakeruntime.Serve(t, nil, tc.services...)
			c, err := dialInTime(t, t.Context(), Options{Endpoint: address})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Name + " " + c.Version; got != tc.is || c.Containerd != tc.containerd {
				t.Errorf("it is %q, containerd %v; want %q, %v", got, c.Containerd, tc.is, tc.containerd)
			}
			if c.Address != address || c.PeerPID != os.Getpid() {
				t.Errorf("address %q, peer %d; want %q, %d", c.Address, c.PeerPID, address, os.Getpid())
			}
		})
	}
}

// TestReconnects: a runtime that was restarted answers again.
func TestReconnects(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	stop := fakeruntime.ServeAt(t, socket, nil, &fakeruntime.CRI{})
	c, err := dialInTime(t, t.Context(), Options{Endpoint: "unix://" + socket, Timeout: hang})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	restarted := &fakeruntime.CRI{}
	restarted.Add("a", fakeruntime.CRIOInfo(7, "{}"))
	fakeruntime.ServeAt(t, socket, nil, restarted)
	for deadline := time.Now().Add(hang); ; runtime.Gosched() {
		list, tasks, err := c.List(t.Context())
		tasks()
		if err == nil && len(list) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d containers, %v", len(list), err)
		}
	}
}
