package runtimeapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	events "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

// bus is a containerd that never sends an event of its own: it passes on what is published, or nothing.
type bus struct {
	events.UnimplementedEventsServer
	deaf      bool
	published chan *types.Envelope
}

func newBus(deaf bool) *bus { return &bus{deaf: deaf, published: make(chan *types.Envelope, 100)} }

func (b *bus) Register(s *grpc.Server) { events.RegisterEventsServer(s, b) }

func (b *bus) Publish(_ context.Context, r *events.PublishRequest) (*emptypb.Empty, error) {
	if !b.deaf {
		// A time that is none: whoever forwards an event may say so.
		b.published <- &types.Envelope{Topic: r.GetTopic(), Event: r.GetEvent(), Timestamp: &timestamppb.Timestamp{Seconds: 1 << 60}}
	}
	return &emptypb.Empty{}, nil
}

func (b *bus) Subscribe(_ *events.SubscribeRequest, stream events.Events_SubscribeServer) error {
	for {
		select {
		case e := <-b.published:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// within fails when something takes longer than is sensible.
func within(t *testing.T, most time.Duration, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(most):
		t.Fatalf("%s takes longer than %v", what, most)
	}
}

// TestSubscribeInTime: a containerd that takes a subscription and never sends anything ends it after the time limit, as the
// stream itself has none.
func TestSubscribeInTime(t *testing.T) {
	c := serve(t, 200*time.Millisecond, nil, &fakeruntime.Containerd{}, newBus(true))
	within(t, 10*time.Second, "subscribing", func() {
		_, err := c.Subscribe(t.Context())
		if err == nil || !strings.Contains(err.Error(), "events.Subscribe: no answer in time (200ms at most)") {
			t.Errorf("%v", err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	c.timeout = time.Hour
	time.AfterFunc(50*time.Millisecond, cancel)
	within(t, 10*time.Second, "ending it", func() {
		if _, err := c.Subscribe(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended: %v", err)
		}
	})
}

// TestSubscribeRefused: where nothing may be published, the subscription cannot be proved, and says at once why.
func TestSubscribeRefused(t *testing.T) {
	refuse := func(_ context.Context, method string, _ any) error {
		if method == "Publish" {
			return status.Error(codes.PermissionDenied, "not for you")
		}
		return nil
	}
	c := serve(t, time.Hour, refuse, &fakeruntime.Containerd{}, newBus(false))
	within(t, 10*time.Second, "subscribing", func() {
		if _, err := c.Subscribe(t.Context()); err == nil || !strings.Contains(err.Error(), "events.Publish") || !strings.Contains(err.Error(), "not for you") {
			t.Errorf("%v", err)
		}
	})
	s, err := c.SubscribeSilently(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.end()
}

// TestSubscribe: the marker comes back and is not told, what is published after it is, with a time that can be one.
func TestSubscribe(t *testing.T) {
	b := newBus(false)
	c := serve(t, 10*time.Second, nil, &fakeruntime.Containerd{}, b)
	s, err := c.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.published <- &types.Envelope{Topic: markerTopic + "of another"}
	b.published <- &types.Envelope{Topic: "/images/create", Namespace: "n", Timestamp: &timestamppb.Timestamp{Seconds: 1 << 60}}
	e, err := s.Next()
	if err != nil || e.Topic != "/images/create" || e.Namespace != "n" || time.Since(e.Time) > time.Minute {
		t.Errorf("%+v, %v", e, err)
	}
}
