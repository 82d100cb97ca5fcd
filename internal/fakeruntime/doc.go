// Package fakeruntime serves the CRI and containerd's API on a socket, for
// tests of faults that no real runtime can be made to have on demand: answers
// that hang, lie, break off or are too large. What a healthy runtime does is
// tested on real ones, never here.
//
// The verbose status follows CRI-O 1.36: server/container_status.go (type
// containerInfo) and server/sandbox_status.go (createSandboxInfo) of
// github.com/cri-o/cri-o at f954a17e505f8931e91004403b5f5eac71ab6085. What
// containerd leaves out follows its plugins/services/tasks, as measured on
// 2.4.2: tasks.List has no entry for a task whose shim hangs, and no error.
package fakeruntime

import (
	"context"
	"net"
	"path"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
)

// Service is a part of a fake runtime.
type Service interface{ Register(*grpc.Server) }

// Fault is called before each answer with the short name of the method
// (ListContainers) and the request. The error it returns is the answer; it may
// wait for the end of ctx first. A nil Fault has none.
type Fault func(ctx context.Context, method string, request any) error

// Hang waits until the caller gives up or the test ends.
func Hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Serve serves on a new socket until the test ends and returns its address,
// unix:///path.
func Serve(t testing.TB, fault Fault, services ...Service) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ServeAt(t, socket, fault, services...)
	return "unix://" + socket
}

// ServeAt serves on a socket at a path until the test ends, or until the
// function it returns is called.
func ServeAt(t testing.TB, socket string, fault Fault, services ...Service) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if fault == nil {
		fault = func(context.Context, string, any) error { return nil }
	}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, answer grpc.UnaryHandler) (any, error) {
			if err := fault(ctx, path.Base(info.FullMethod), request); err != nil {
				return nil, err
			}
			return answer(ctx, request)
		}),
		grpc.StreamInterceptor(func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, answer grpc.StreamHandler) error {
			if err := fault(stream.Context(), path.Base(info.FullMethod), nil); err != nil {
				return err
			}
			return answer(service, stream)
		}),
	)
	for _, s := range services {
		s.Register(server)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends with the listener
	}()
	stop = func() {
		server.Stop()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}
