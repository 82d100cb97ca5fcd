package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	version "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrNoRuntime says that no container runtime could be reached.
var ErrNoRuntime = errors.New("no container runtime")

const (
	// identifyTimeout is how long a socket may take to say who it is. A runtime
	// answers in a millisecond; a process that hangs is told from it early.
	identifyTimeout = 2 * time.Second
	// defaultTimeout is long enough for containerd to give up on a few hung
	// shims, for which it waits 2 s each.
	defaultTimeout = 10 * time.Second
	// maxMessage bounds an answer. grpc's own 4 MiB is reached at 900
	// containers.
	maxMessage = 256 << 20
	// window is how much a runtime may send before we say that we read it: a
	// node's containers take some MiB, and grpc's 64 KiB many round trips.
	window = 16 << 20
	// maxSocketPath is the longest path of a socket in bytes, see unix(7).
	maxSocketPath = 107
)

// Options say which runtime to talk to. The zero value finds one.
type Options struct {
	// Endpoint is unix:///path. Empty: see Dial.
	Endpoint string
	// HostRoot is where the host's file system is mounted. Empty means /.
	HostRoot string
	// Timeout bounds each call. Zero means 10 s.
	Timeout time.Duration
}

// Conn is a connection to one runtime. Its methods may be used by several
// goroutines at once.
type Conn struct {
	conn    *grpc.ClientConn
	timeout time.Duration

	// Name is containerd, or what the runtime calls itself in the CRI: cri-o,
	// docker.
	Name    string
	Version string
	// Address is unix:///path.
	Address string
	// PeerPID is the process that listens on the socket, in our pid namespace;
	// 0 when it is not visible there. See SO_PEERCRED in unix(7).
	PeerPID int
	// Containerd tells whether it has containerd's own API beside the CRI.
	Containerd bool
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Dial connects to the runtime at o.Endpoint; else at the one that the
// environment variable CONTAINER_RUNTIME_ENDPOINT names; else at that of
// /etc/crictl.yaml; else at the first well-known socket where one answers. The
// error wraps ErrNoRuntime and names each socket tried with its cause.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	list, err := endpoints(o.Endpoint, o.HostRoot)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRuntime, err)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	failed := &DialError{}
	for _, e := range list {
		c, err := dial(ctx, e, o.Timeout)
		if err == nil {
			return c, nil
		}
		failed.Attempts = append(failed.Attempts, Attempt{Address: e.String(), From: e.from, Err: err})
	}
	return nil, failed
}

// Attempt is a socket that was tried.
type Attempt struct {
	// Address is unix:///path, From who named it.
	Address string
	From    string
	Err     error
}

// DialError lists the sockets that were tried, each with its cause. It wraps
// ErrNoRuntime and the causes.
type DialError struct{ Attempts []Attempt }

// Error is one line. Sockets that failed alike stand together.
func (e *DialError) Error() string {
	type cause struct{ from, text string }
	var order []cause
	addresses := map[cause][]string{}
	for _, a := range e.Attempts {
		c := cause{a.From, a.Err.Error()}
		if addresses[c] == nil {
			order = append(order, c)
		}
		addresses[c] = append(addresses[c], a.Address)
	}
	var texts []string
	for _, c := range order {
		texts = append(texts, fmt.Sprintf("%s (%s): %s", strings.Join(addresses[c], ", "), c.from, c.text))
	}
	return ErrNoRuntime.Error() + ": " + strings.Join(texts, "; ")
}

// Unwrap returns ErrNoRuntime and the causes.
func (e *DialError) Unwrap() []error {
	errs := []error{ErrNoRuntime}
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

func dial(ctx context.Context, e endpoint, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(timeout, identifyTimeout))
	defer cancel()
	first, err := connect(ctx, e.path)
	if err != nil {
		return nil, err
	}
	pid, err := peerPID(first)
	if err != nil {
		_ = first.Close()
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+e.path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer(first)),
		grpc.WithNoProxy(),
		grpc.WithAuthority("localhost"),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		_ = first.Close()
		return nil, err
	}
	c := &Conn{conn: conn, timeout: timeout, Address: e.String(), PeerPID: pid}
	if err := c.identify(ctx); err != nil {
		_ = conn.Close()
		_ = first.Close()
		return nil, err
	}
	return c, nil
}

// dialer hands out the connection that was made already, and later new ones.
func dialer(first net.Conn) func(context.Context, string) (net.Conn, error) {
	var once sync.Once
	return func(ctx context.Context, path string) (conn net.Conn, err error) {
		once.Do(func() { conn = first })
		if conn != nil {
			return conn, nil
		}
		return connect(ctx, path)
	}
}

// connect says why a socket cannot be used. grpc alone would hide it behind a
// time-out.
func connect(ctx context.Context, path string) (net.Conn, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, cause{"no such socket", err}
	case errors.Is(err, fs.ErrPermission):
		return nil, cause{"permission denied: run as root", err}
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a folder, not a socket")
	case info.Mode().Type() != fs.ModeSocket:
		return nil, errors.New("is not a socket")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, cause{"connection refused: nothing listens", err}
	case errors.Is(err, fs.ErrPermission):
		return nil, cause{"permission denied: run as root", err}
	case errors.Is(err, unix.EAGAIN):
		return nil, cause{"does not accept the connection: its queue is full", err}
	case errors.Is(err, unix.EPROTOTYPE):
		return nil, cause{"not a container runtime: the socket is of another type", err}
	case errors.Is(err, unix.EINVAL) && len(path) > maxSocketPath:
		return nil, cause{fmt.Sprintf("its path is longer than the %d bytes that Linux allows", maxSocketPath), err}
	}
	return conn, err
}

// cause says in a few words what an error means, and keeps the error.
type cause struct {
	text string
	err  error
}

func (c cause) Error() string { return c.text }
func (c cause) Unwrap() error { return c.err }

// peerPID returns the process that listens at the other end.
func peerPID(conn net.Conn) (int, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T is not a unix socket", conn)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, optErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// identify asks for containerd's own version, then for the CRI's.
func (c *Conn) identify(ctx context.Context) error {
	v, err := version.NewVersionClient(c.conn).Version(ctx, &emptypb.Empty{})
	if err == nil {
		c.Name, c.Version, c.Containerd = "containerd", v.GetVersion(), true
		return nil
	}
	if status.Code(err) != codes.Unimplemented {
		return notARuntime(err)
	}
	r, err := cri.NewRuntimeServiceClient(c.conn).Version(ctx, &cri.VersionRequest{})
	if err == nil {
		c.Name, c.Version = r.GetRuntimeName(), r.GetRuntimeVersion()
		return nil
	}
	if status.Code(err) == codes.Unimplemented {
		return errors.New("not a container runtime: speaks gRPC, but neither containerd's API nor the CRI's version v1")
	}
	return notARuntime(err)
}

func notARuntime(err error) error {
	err = errgrpc.ToNative(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return cause{"accepts the connection but does not answer", err}
	case errors.Is(err, context.Canceled):
		return cause{"canceled before it answered", err}
	case errdefs.IsUnavailable(err):
		return cause{"not a container runtime: does not speak gRPC", err}
	}
	return err
}
