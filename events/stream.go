package events

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// ErrNoEvents says that a runtime has no events that could be used: only
// containerd has.
var ErrNoEvents = runtimeapi.ErrNoEvents

// DefaultRoom is how many events wait for the reader unless [Options.Room] says
// otherwise.
const DefaultRoom = 10_000

// Options say what to tell. The zero value is everything that happens from now on
// to the containerd of this machine.
type Options struct {
	// Endpoint, HostRoot and Timeout are as in [inspect.Options].
	Endpoint string
	HostRoot string
	Timeout  time.Duration

	// Topics are patterns, one of which a topic must match, see [MatchTopic].
	Topics []string
	// Namespaces are containerd's. Containers are ids, beginnings of ids, names,
	// pod/name or namespace/pod/name; Pods are names or namespace/name; Labels are
	// the runtime's, all of which a container must have. With one of the last three
	// only events of containers are told.
	Namespaces []string
	Containers []string
	Pods       []string
	Labels     map[string]string

	// NoMarker publishes nothing in containerd. A subscription can then not be proved:
	// a second is waited for instead, where containerd takes a millisecond, and
	// [TopicLive] says so. What happened before containerd registered it, if that took
	// longer, is found by the list 30 seconds later or, when it is over by then, lost.
	NoMarker bool

	// Initial tells what is there already, too, before [TopicLive].
	Initial bool
	// Room is how many events wait for a reader that is slow; zero means
	// [DefaultRoom]. When there is no more, the oldest of low value are given up
	// and counted, see [Dropped].
	Room int
}

// Stream tells what happens until ctx ends or the loop over it does. It ends
// without an error then, and with one when containerd could not be reached at the
// beginning: it wraps [inspect.ErrNoRuntime] or [ErrNoEvents]. Later it waits for
// containerd to come back, and tells of the [Gap].
//
// The first event is [TopicLive], behind what is there already if that is wanted.
// For each container the order is that of cause and effect: an event that comes too
// early waits for what must have happened before, a quarter of a second at most, and
// then that is told as [Missed]. No event is told twice.
//
// containerd's events are taken at once, however slow the reader: see Options.Room.
// It needs root, or who may connect to the socket; what the kernel tells of a
// process needs what package inspect needs.
func Stream(ctx context.Context, o Options) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, pattern := range o.Topics {
			if err := CheckTopic(pattern); err != nil {
				yield(Event{}, err)
				return
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		s, err := open(ctx, o)
		if err != nil {
			if ctx.Err() == nil {
				yield(Event{}, err)
			}
			return
		}
		o.Endpoint = s.conn.Address // never another runtime's
		r := newReducer(ctx, o)
		running.Go(func() { feed(ctx, s, o, r) })
		running.Go(r.run)
		running.Go(func() {
			readLog(ctx, o.HostRoot, func(k kill) { r.post(func() { r.logged(k) }) })
		})
		for ctx.Err() == nil {
			if e, ok := r.out.take(); ok {
				if !yield(e, nil) {
					return
				}
				continue
			}
			select {
			case <-r.out.more:
			case <-ctx.Done():
			}
		}
	}
}

// session is one connection to containerd, with a subscription that is proved.
type session struct {
	//nolint:containedctx // it is what ends the calls of the session
	ctx       context.Context
	cancel    context.CancelFunc
	conn      *runtimeapi.Conn
	inspector *inspect.Inspector
	events    *runtimeapi.Subscription
	proved    time.Time
	// first is the list from right after that.
	first chan list
	// gap tells that there was one before.
	gap bool
}

// list is what containerd lists.
type list struct {
	began  time.Time
	truths []runtimeapi.Truth
	err    error
}

func (s *session) truths() list {
	l := list{began: time.Now()}
	l.truths, l.err = s.conn.Truths(s.ctx)
	return l
}

// source is that of what nobody published and happened at a time.
func (s *session) source(at time.Time) Source {
	if s.gap && at.Before(s.proved) {
		return Reconciled
	}
	return Missed
}

func open(ctx context.Context, o Options) (*session, error) {
	conn, err := runtimeapi.Dial(ctx, runtimeapi.Options{Endpoint: o.Endpoint, HostRoot: o.HostRoot, Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, first: make(chan list, 1)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	opened := make(chan error, 1)
	go func() {
		var err error
		s.inspector, err = inspect.Open(s.ctx, inspect.Options{Endpoint: conn.Address, HostRoot: o.HostRoot, Timeout: o.Timeout})
		opened <- err
	}()
	subscribe := conn.Subscribe
	if o.NoMarker {
		subscribe = conn.SubscribeSilently
	}
	s.events, err = subscribe(s.ctx, filterOf(o).server()...)
	if err != nil {
		s.cancel()
		<-opened
		return nil, errors.Join(err, s.close())
	}
	s.proved = time.Now()
	go func() { s.first <- s.truths() }() // at once: what ends now was there a moment ago
	if err := <-opened; err != nil {
		s.cancel()
		<-s.first
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *session) close() error {
	s.cancel()
	err := s.conn.Close()
	if s.inspector != nil {
		err = errors.Join(err, s.inspector.Close())
	}
	return err
}

// The waits between attempts to reach containerd again, in between a part of the time
// that it has been away: what happens before the next subscription is harder to know.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
	retryPart  = 50
)

// feed takes containerd's events as they come and hands them to the reducer, over
// as many connections as it takes.
func feed(ctx context.Context, s *session, o Options, r *reducer) {
	for {
		err := s.feed(r)
		broke := time.Now()
		r.post(func() { r.disconnected(broke, err) })
		_ = s.close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(max(time.Since(broke)/retryPart, firstRetry), lastRetry)):
			}
			if s, err = open(ctx, o); err == nil {
				s.gap = true
				break
			}
		}
	}
}

// listAgain is how often all is listed once more: events may be lost of which nothing
// else tells.
const listAgain = 30 * time.Second

// list lists what is there until the session ends. It ends the session when the
// first list fails.
func (s *session) list(r *reducer) error {
	for again := false; ; again = true {
		var l list
		if again {
			l = s.truths()
		} else {
			l = <-s.first
		}
		if l.err == nil {
			named, _ := s.inspector.List(s.ctx) // others are named when something happens to them
			r.post(func() { r.listed(s, again, l.began, l.truths, named) })
		} else if !again {
			s.cancel()
			return l.err
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-time.After(listAgain):
		}
	}
}

// feed returns why the session ended. The list of what is there runs beside the
// events.
func (s *session) feed(r *reducer) error {
	var listing sync.WaitGroup
	var listErr error
	defer listing.Wait()
	r.post(func() { r.connected(s) })
	listing.Go(func() { listErr = s.list(r) })
	for {
		e, err := s.events.Next()
		if err != nil {
			s.cancel()
			listing.Wait()
			return errors.Join(listErr, err)
		}
		if !r.deliver(e) {
			return context.Canceled
		}
	}
}
