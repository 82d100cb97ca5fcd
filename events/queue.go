package events

import (
	"strings"
	"sync"
	"time"
)

// topicsCounted bounds the topics that are counted by name when events are given
// up: anybody can make up topics.
const topicsCounted = 100

// queue holds events for a reader that may be slow, in order. It has room for so
// many: then the oldest of low value are given up and counted, and when there are
// none of these, the oldest of all.
type queue struct {
	mu    sync.Mutex
	room  int
	count uint64  // of all that were added: the order between the two
	low   fifo    // what tells of no container and of no gap
	high  fifo    // the rest
	lost  Dropped // what was given up and not told yet
	// more has a token when there may be something to take.
	more chan struct{}
}

func newQueue(room int) *queue { return &queue{room: room, more: make(chan struct{}, 1)} }

// numbered is an event with its place.
type numbered struct {
	Event
	n uint64
}

// fifo is a queue in one slice, whose room is used again.
type fifo struct {
	list []numbered
	head int
}

func (f *fifo) len() int { return len(f.list) - f.head }

func (f *fifo) push(e numbered) {
	if f.head > len(f.list)/2 {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, e)
}

func (f *fifo) pop() numbered {
	e := f.list[f.head]
	f.list[f.head] = numbered{}
	f.head++
	return e
}

// add adds an event. It never waits.
func (q *queue) add(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.low.len()+q.high.len() == q.room {
		q.giveUp()
	}
	q.count++
	f := &q.high
	if isLow(e) {
		f = &q.low
	}
	f.push(numbered{e, q.count})
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// isLow tells which events are given up first: those that no state follows from,
// and claims that nothing speaks for.
func isLow(e Event) bool {
	switch {
	case e.Confirmed == Unconfirmed:
		return true
	case e.Source == Ours:
		return false
	}
	return !strings.HasPrefix(e.Topic, "/tasks/") && !strings.HasPrefix(e.Topic, "/containers/")
}

func (q *queue) giveUp() {
	f := &q.low
	if f.len() == 0 {
		f = &q.high
	}
	e := f.pop().Event
	l := &q.lost
	if l.Count == 0 {
		*l = Dropped{Topics: map[string]uint64{}, From: e.Time, To: e.Time}
	}
	l.Count++
	topic := e.Topic
	if _, known := l.Topics[topic]; !known && len(l.Topics) >= topicsCounted {
		topic = "other"
	}
	l.Topics[topic]++
	if e.Time.Before(l.From) {
		l.From = e.Time
	}
	if e.Time.After(l.To) {
		l.To = e.Time
	}
}

// take returns the next event, without waiting. What was given up is told first, as
// it is older than what is left.
func (q *queue) take() (e Event, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost.Count > 0 {
		e = Event{Time: time.Now().UTC(), Topic: TopicDropped, Source: Ours, Confirmed: Confirmed, Detail: q.lost}
		q.lost = Dropped{}
		return e, true
	}
	f := &q.high
	if q.high.len() == 0 || q.low.len() > 0 && q.low.list[q.low.head].n < q.high.list[q.high.head].n {
		f = &q.low
	}
	if f.len() == 0 {
		return Event{}, false
	}
	return f.pop().Event, true
}
