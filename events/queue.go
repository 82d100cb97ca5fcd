package events

import (
	"strings"
	"sync"
	"time"
)

// topicsCounted bounds the topics that are counted by name when events are given
// up: anybody can make up topics.
const topicsCounted = 100

// mostBytes bounds what containerd sent of the events that wait: one can have 16 MiB.
const mostBytes = 64 << 20

// queue holds events for a reader that may be slow, in order. It has room for so
// many, and for so many bytes: then the oldest of low value are given up and counted,
// when there are none of these the oldest of the containers, and notes only when there
// is nothing else.
type queue struct {
	mu    sync.Mutex
	room  int
	count uint64 // of all that were added: the order between the lists
	bytes int
	// lists are by value: what tells of no container, the rest, and notes: of gaps
	// and the like.
	lists [3]fifo
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

func (q *queue) len() int { return q.lists[0].len() + q.lists[1].len() + q.lists[2].len() }

// add adds an event. It never waits.
func (q *queue) add(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := q.len(); n >= q.room || n > 0 && q.bytes+e.size > mostBytes; n-- {
		q.giveUp()
	}
	q.count++
	q.bytes += e.size
	q.lists[value(e)].push(numbered{e, q.count})
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// value tells which events are given up first: those that no state follows from, and
// claims that nothing speaks for.
func value(e Event) int {
	switch {
	case e.Confirmed == Unconfirmed:
		return 0
	case e.Source == Ours && (e.Topic == TopicLive || e.Topic == TopicGap || e.Topic == TopicDropped):
		return 2
	case e.Source == Ours, strings.HasPrefix(e.Topic, "/tasks/"), strings.HasPrefix(e.Topic, "/containers/"):
		return 1
	}
	return 0
}

// pop takes the first of a list.
func (q *queue) pop(f *fifo) Event {
	e := f.pop().Event
	q.bytes -= e.size
	return e
}

func (q *queue) giveUp() {
	f := &q.lists[0]
	for n := 1; f.len() == 0; n++ {
		f = &q.lists[n]
	}
	e := q.pop(f)
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
	var first *fifo
	for n := range q.lists {
		if f := &q.lists[n]; f.len() > 0 && (first == nil || f.list[f.head].n < first.list[first.head].n) {
			first = f
		}
	}
	if first == nil {
		return Event{}, false
	}
	return q.pop(first), true
}
