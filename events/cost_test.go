package events

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/events"
	"google.golang.org/protobuf/proto"
)

// BenchmarkEvent is what one event costs from gRPC's message to the reader, without what
// containerd is asked for.
func BenchmarkEvent(b *testing.B) {
	for _, bb := range []struct {
		name, topic string
		message     proto.Message
	}{
		{"image", TopicImageUpdate, &api.ImageUpdate{Name: "docker.io/library/image:latest"}},
		{"snapshot", TopicSnapshotPrepare, &api.SnapshotPrepare{Key: "key", Parent: "parent", Snapshotter: "overlayfs"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newReducer(context.Background(), Options{})
			v := encode(b, bb.topic, bb.message)
			b.ReportAllocs()
			for b.Loop() {
				r.arrive(decode(v))
				if _, ok := r.out.take(); !ok {
					b.Fatal("nothing was told")
				}
			}
		})
	}
}

// TestRank: whatever the order of arrival, what happened to a container is told in the order of cause and effect: the
// lives of its first process one after the other, and the next container with its id last.
func TestRank(t *testing.T) {
	of := func(topic string, pid int, exec string, next bool) *held {
		h := &held{next: next}
		h.Topic, h.Exec = topic, exec
		switch topic {
		case TopicTaskCreate:
			h.Detail = TaskCreate{PID: pid}
		case TopicTaskStart:
			h.Detail = TaskStart{PID: pid}
		case TopicTaskExit, TopicTaskDelete:
			h.Detail = TaskExit{PID: pid}
		case TopicTaskExecStarted:
			h.Detail = ExecStarted{PID: pid}
		}
		return h
	}
	want := []*held{
		of(TopicContainerCreate, 0, "", false),
		of(TopicTaskCreate, 1, "", false),
		of(TopicTaskStart, 1, "", false),
		of(TopicTaskExecStarted, 9, "e", false),
		of(TopicTaskExit, 1, "", false),
		of(TopicTaskDelete, 1, "", false),
		of(TopicTaskCreate, 2, "", false),
		of(TopicTaskStart, 2, "", false),
		of(TopicContainerDelete, 0, "", false),
		of(TopicContainerCreate, 0, "", true),
		of(TopicTaskCreate, 3, "", true),
	}
	for n := range want {
		for m := range want {
			if n == m {
				continue
			}
			c := &container{processes: map[string]*process{"": {pid: 1}}, held: []*held{want[max(n, m)], want[min(n, m)]}}
			if got := c.first(); got != want[min(n, m)] {
				t.Errorf("%s of %d is told before %s of %d", got.Topic, pidOf(got.Event), want[min(n, m)].Topic, pidOf(want[min(n, m)].Event))
			}
		}
	}
}

func TestGraveyard(t *testing.T) {
	g := newGraveyard()
	e := decode(encode(t, TopicTaskExit, &api.TaskExit{ContainerID: "c", ID: "c", Pid: 7}))
	k := key{"k8s.io", "c"}
	if g.knows(k, e) {
		t.Error("it knows what was never there")
	}
	g.bury(k, e.Time.Add(-1), []past{{"", 7, time.Now()}})
	if !g.knows(k, e) {
		t.Error("a late event of a process that is gone is news")
	}
	next := decode(encode(t, TopicContainerCreate, &api.ContainerCreate{ID: "c"}))
	if g.knows(k, next) {
		t.Error("a new container with the id is taken for the old one")
	}
	g.bury(k, e.Time, nil)
	if !g.knows(k, next) {
		t.Error("an event from before the end is news")
	}
	buried := g.graves[k].buried
	for _, tt := range []struct {
		name        string
		id          string
		began, made time.Time
		want        bool
	}{
		{"of a list from before the end", "c", buried.Add(-1), e.Time.Add(-1), true},
		{"of a list from after the end", "c", buried.Add(1), e.Time.Add(-1), false},
		{"made after the end", "c", buried.Add(-1), e.Time.Add(1), false},
		{"with another id", "other", buried.Add(-1), e.Time.Add(-1), false},
	} {
		if got := g.stale(key{"k8s.io", tt.id}, tt.began, tt.made); got != tt.want {
			t.Errorf("a container %s: stale %t, want %t", tt.name, got, tt.want)
		}
	}
	for n := range 2 * mostGone {
		g.bury(key{"k8s.io", string(rune(n))}, e.Time, nil)
	}
	if len(g.graves) != mostGone || len(g.order) != mostGone {
		t.Errorf("%d and %d are remembered, want %d", len(g.graves), len(g.order), mostGone)
	}
}

// TestUntold: the kernel counts the first of several that are killed together twice, which is one kill.
func TestUntold(t *testing.T) {
	folder := t.TempDir()
	counted := func(n int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "memory.events"), fmt.Appendf(nil, "oom_kill %d\n", n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, grouped := range []bool{false, true} {
		p := &process{memory: &memory{levels: []memoryLevel{{folder: folder}}, grouped: grouped}}
		for _, step := range []struct {
			counted         int
			since           time.Duration
			alone, together int
		}{
			{0, time.Hour, 0, 0},
			{1, time.Hour, 1, 1},
			{2, 0, 1, 0},
			{2, time.Hour, 0, 0},
			{4, time.Hour, 2, 1},
		} {
			counted(step.counted)
			p.kills.last = time.Now().Add(-step.since)
			want := step.alone
			if grouped {
				want = step.together
			}
			n, err := p.untold()
			if n != want || err != nil {
				t.Errorf("together %t, %d counted: %d are untold, %v, want %d", grouped, step.counted, n, err, want)
			}
			p.kills.told += uint64(n)
		}
	}
}
