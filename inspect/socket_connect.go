package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// nobody is the user and the group that stand for no one in particular.
const nobody = 65534

// ConnectResult is what came of a connection that was tried.
type ConnectResult struct {
	// Permitted: modes, owners and ACLs did not keep nobody out.
	Permitted bool `json:"permitted"`
	// Connected: the connection was made, and closed at once.
	Connected bool `json:"connected"`
	// Error is why it was not.
	Error string `json:"error,omitempty"`
}

// connectResult tells what an errno of connect(2) means. The kernel looks at the
// permissions before it looks for who listens.
func connectResult(errno unix.Errno) Fact[ConnectResult] {
	const source = "connect(2) as user 65534"
	switch errno {
	case 0:
		return KnownFact(ConnectResult{Permitted: true, Connected: true}, source)
	case unix.EACCES, unix.EPERM:
		return KnownFact(ConnectResult{Error: errno.Error()}, source)
	case unix.ECONNREFUSED, unix.EAGAIN, unix.EPROTOTYPE:
		return KnownFact(ConnectResult{Permitted: true, Error: errno.Error()}, source)
	default:
		return UnknownFact[ConnectResult](errno)
	}
}

// connect tries every socket in one child process.
func (f *finder) connect(ctx context.Context) {
	var addresses []string
	var tried []*foundSocket
	for _, s := range f.sockets {
		address, err := s.address(f.options.HostRoot)
		if err != nil {
			s.Nobody = UnknownFact[ConnectResult](err)
			continue
		}
		addresses = append(addresses, address)
		tried = append(tried, s)
	}
	if len(tried) == 0 {
		return
	}
	results, err := connectAsNobody(ctx, f.options.Connect, addresses)
	for i, s := range tried {
		if err != nil {
			s.Nobody = UnknownFact[ConnectResult](err)
			continue
		}
		s.Nobody = connectResult(results[i])
	}
}

// address is where the socket is for our own process.
func (s *foundSocket) address(hostRoot string) (string, error) {
	if cause := s.File.Cause(); cause != nil {
		return "", cause
	}
	if !s.Abstract {
		return filepath.Join("/", hostRoot, s.Path), nil
	}
	theirs, ok := s.netns.Value()
	if !ok {
		return "", s.netns.Cause()
	}
	ours, err := os.Readlink(procfs.FS{}.Path("self/ns/net"))
	if err != nil {
		return "", err
	}
	if ours != theirs {
		return "", errors.New("it listens in another network namespace than ours")
	}
	return s.Path, nil
}

// connectAsNobody runs the command with the addresses and returns the errno of
// each. The child has none of our streams, and no environment.
func connectAsNobody(ctx context.Context, command, addresses []string) ([]unix.Errno, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close() //nolint:errcheck // opened for reading
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close() //nolint:errcheck // opened for reading
	child, err := os.StartProcess(command[0], append(append([]string{}, command...), addresses...), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []*os.File{null, write, write},
		Sys:   &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}},
	})
	_ = write.Close() // ours; the child has its own
	if err != nil {
		return nil, fmt.Errorf("start a process as user %d: %w", nobody, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
	defer stop()
	answer, readErr := io.ReadAll(io.LimitReader(read, maxConnectAnswer))
	state, err := child.Wait()
	if err := errors.Join(ctx.Err(), readErr, err); err != nil {
		return nil, err
	}
	if !state.Success() {
		return nil, fmt.Errorf("the process that connects ended with %s: %.200q", state, answer)
	}
	return parseErrnos(string(answer), len(addresses))
}

// maxConnectAnswer is more than any number of sockets takes.
const maxConnectAnswer = 1 << 20

// parseErrnos reads what ConnectSockets wrote.
func parseErrnos(text string, count int) ([]unix.Errno, error) {
	var list []unix.Errno
	for line := range strings.Lines(text) {
		n, err := strconv.ParseUint(strings.TrimSuffix(line, "\n"), 10, 12)
		if err != nil {
			return nil, fmt.Errorf("the process that connects wrote %.200q: want a number a line", line)
		}
		list = append(list, unix.Errno(n))
	}
	if len(list) != count {
		return nil, fmt.Errorf("the process that connects wrote %d lines: want %d", len(list), count)
	}
	return list, nil
}

// ConnectSockets is the other end of [SocketOptions.Connect]: it connects to each
// address, closes, and writes the errno in decimal, a line each. It sends and
// reads nothing, and gives up all capabilities before. It does it as user and
// group 65534 only, and in no other group: the error says that it is not.
func ConnectSockets(addresses []string, w io.Writer) error {
	runtime.LockOSThread() // capabilities are a thread's
	defer runtime.UnlockOSThread()
	groups, err := unix.Getgroups()
	if err != nil {
		return err
	}
	if unix.Geteuid() != nobody || unix.Getegid() != nobody || len(groups) > 0 {
		return fmt.Errorf("want user and group %d and no other group", nobody)
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	for _, address := range addresses {
		if _, err := fmt.Fprintf(w, "%d\n", int(connectOnce(address))); err != nil {
			return err
		}
	}
	return nil
}

// connectOnce connects without waiting. A path goes by way of a handle, as that
// of a socket's address has at most 107 bytes.
func connectOnce(address string) unix.Errno {
	if !strings.HasPrefix(address, "@") {
		fd, err := unix.Open(address, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return errnoOf(err)
		}
		defer unix.Close(fd) //nolint:errcheck // a handle only
		address = ownFile(fd)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was sent
	return errnoOf(unix.Connect(fd, &unix.SockaddrUnix{Name: address}))
}

// errnoOf is 0 for nil. What is no errno was refused before the kernel saw it.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EINVAL
}
