package events

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestQueueOrder(t *testing.T) {
	q := newQueue(10)
	for n, topic := range []string{TopicTaskStart, TopicImageCreate, TopicTaskExit, "/unknown/topic", TopicGap} {
		q.add(Event{Topic: topic, Exec: fmt.Sprint(n)})
	}
	for n := range 5 {
		if e, ok := q.take(); !ok || e.Exec != fmt.Sprint(n) {
			t.Fatalf("event %d: %+v, %v", n, e, ok)
		}
	}
	if e, ok := q.take(); ok {
		t.Fatalf("more than was added: %+v", e)
	}
}

// TestQueueDrops: when there is no room, events of low value go first, the oldest of
// them, and every one is counted.
func TestQueueDrops(t *testing.T) {
	q := newQueue(4)
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	q.add(Event{Topic: TopicTaskExit, Time: at(1)})
	q.add(Event{Topic: TopicImageCreate, Time: at(2)})
	q.add(Event{Topic: TopicSnapshotPrepare, Time: at(3)})
	q.add(Event{Topic: TopicTaskStart, Confirmed: Unconfirmed, Time: at(4)})
	for s := 5; s < 9; s++ {
		q.add(Event{Topic: TopicTaskDelete, Time: at(s)})
	}
	e, _ := q.take()
	d, ok := e.Detail.(Dropped)
	want := map[string]uint64{TopicTaskExit: 1, TopicImageCreate: 1, TopicSnapshotPrepare: 1, TopicTaskStart: 1}
	if !ok || e.Topic != TopicDropped || d.Count != 4 || fmt.Sprint(d.Topics) != fmt.Sprint(want) || !d.From.Equal(at(1)) || !d.To.Equal(at(4)) {
		t.Fatalf("%+v", e)
	}
	for s := 5; s < 9; s++ {
		if e, ok := q.take(); !ok || !e.Time.Equal(at(s)) {
			t.Fatalf("%+v, %v, want that of %d", e, ok, s)
		}
	}
	if e, ok := q.take(); ok {
		t.Fatalf("told twice: %+v", e)
	}
}

// TestQueueTopics: made-up topics do not fill the memory.
func TestQueueTopics(t *testing.T) {
	q := newQueue(1)
	for n := range 1000 {
		q.add(Event{Topic: fmt.Sprintf("/made/up-%d", n)})
	}
	e, _ := q.take()
	d := e.Detail.(Dropped)
	if d.Count != 999 || len(d.Topics) != topicsCounted+1 || d.Topics["other"] != 999-topicsCounted {
		t.Fatalf("%d events, %d topics, %d others", d.Count, len(d.Topics), d.Topics["other"])
	}
}

// TestQueueNotes: that there was a gap is told, however much else is given up.
func TestQueueNotes(t *testing.T) {
	q := newQueue(3)
	q.add(Event{Topic: TopicGap, Source: Ours})
	q.add(Event{Topic: TopicGap, Source: Published}) // not ours
	for range 10 {
		q.add(Event{Topic: TopicTaskExit})
	}
	var topics []string
	for e, ok := q.take(); ok; e, ok = q.take() {
		topics = append(topics, e.Topic)
	}
	if want := []string{TopicDropped, TopicGap, TopicTaskExit, TopicTaskExit}; !slices.Equal(topics, want) {
		t.Errorf("%v, want %v", topics, want)
	}
}

// TestQueueBytes: large events take the room of many, and one that is larger than all has it alone.
func TestQueueBytes(t *testing.T) {
	q := newQueue(1000)
	const size = 16 << 20
	for n := range 10 {
		q.add(Event{Topic: TopicImageCreate, Exec: fmt.Sprint(n), size: size})
	}
	q.add(Event{Topic: TopicTaskExit, size: 2 * mostBytes})
	e, _ := q.take()
	if d, ok := e.Detail.(Dropped); !ok || d.Count != 10 {
		t.Fatalf("%+v", e)
	}
	if e, ok := q.take(); !ok || e.Topic != TopicTaskExit || q.bytes != 0 {
		t.Fatalf("%+v, %v, %d bytes left", e, ok, q.bytes)
	}
}
