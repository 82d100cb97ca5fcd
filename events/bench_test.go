package events_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/events"

	"github.com/rtinspect/rtinspect/events"
)

// reading is what one reader of events has got under a load.
type reading struct {
	name   string
	mu     sync.Mutex
	topics map[string]int
	delays []time.Duration
	of     map[string][]time.Duration // by topic
	last   time.Time
}

func newReading(name string) *reading {
	return &reading{name: name, topics: map[string]int{}, of: map[string][]time.Duration{}}
}

func (r *reading) add(topic string, at time.Time) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics[topic]++
	r.delays = append(r.delays, now.Sub(at))
	r.of[topic] = append(r.of[topic], now.Sub(at))
	r.last = now
}

// reset forgets what was read, and returns it.
func (r *reading) reset() *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := &reading{name: r.name, topics: r.topics, delays: r.delays, of: r.of, last: r.last}
	r.topics, r.delays, r.of = map[string]int{}, nil, map[string][]time.Duration{}
	return old
}

func (r *reading) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.delays)
}

func (r *reading) String() string {
	return fmt.Sprintf("%-20s %6d events, %s", r.name, len(r.delays), delay(r.delays))
}

// delay tells of half of them and of all but a few.
func delay(d []time.Duration) string {
	slices.Sort(d)
	at := func(part float64) time.Duration {
		if len(d) == 0 {
			return 0
		}
		return d[int(part*float64(len(d)-1))]
	}
	return fmt.Sprintf("delay median %8.3f ms, 99th of 100 %8.3f ms", ms(at(0.5)), ms(at(0.99)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// readLines reads the lines of a program, of which parse takes the topic and the time.
func readLines(b *testing.B, name string, parse func(string) (string, time.Time, bool), args ...string) *reading {
	b.Helper()
	r := newReading(name)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if topic, at, ok := parse(lines.Text()); ok {
				r.add(topic, at)
			}
		}
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		_ = cmd.Wait()
	})
	return r
}

// parseCtr reads a line of ctr events: 2026-01-02 03:04:05.6 +0000 UTC NAMESPACE TOPIC {…}.
func parseCtr(line string) (string, time.Time, bool) {
	f := strings.SplitN(line, " ", 7)
	if len(f) < 7 {
		return "", time.Time{}, false
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", strings.Join(f[:4], " "))
	return f[5], at, err == nil && !strings.HasPrefix(f[5], "/rtinspect")
}

func parseOurs(line string) (string, time.Time, bool) {
	var e struct {
		Time  time.Time
		Topic string
	}
	err := json.Unmarshal([]byte(line), &e)
	return e.Topic, e.Time, err == nil && !strings.HasPrefix(e.Topic, "/rtinspect")
}

// BenchmarkLabEvents reads events beside ctr, under the same load in one run: many that a client publishes, then real
// containers that several clients run.
func BenchmarkLabEvents(b *testing.B) {
	d := newDaemon(b)
	const many = 20_000
	objects, bytes := allocated(func() { d.publishMany(b, many) }) // what publishing alone takes here
	program := filepath.Join(b.TempDir(), "rtinspect")
	build := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs,grpcnotrace", "-o", program, "../cmd/rtinspect")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	ours := newReading("events.Stream")
	readers := []*reading{
		readLines(b, "ctr events", parseCtr, "ctr", "-a", d.socket(), "events"),
		readLines(b, "rtinspect events", parseOurs, program, "events", "-o", "json", "-r", d.endpoint()),
		ours,
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	live := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range events.Stream(ctx, events.Options{Endpoint: d.endpoint(), Room: 1_000_000}) {
			switch {
			case err != nil:
				b.Error(err)
				close(live)
				return
			case e.Topic == events.TopicLive:
				close(live)
			case e.Source != events.Ours:
				ours.add(e.Topic, e.Time)
			}
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()
	<-live
	for ready := false; !ready; time.Sleep(50 * time.Millisecond) { // ctr does not say when it is
		if err := d.publish(ctx, events.TopicImageDelete, &api.ImageDelete{Name: "ready"}); err != nil {
			b.Fatal(err)
		}
		ready = readers[0].count() > 0 && readers[1].count() > 0
	}
	time.Sleep(200 * time.Millisecond)
	for _, r := range readers {
		r.reset()
	}
	b.ReportMetric(0, "ns/op")

	began := time.Now()
	var published time.Duration
	moreObjects, moreBytes := allocated(func() {
		d.publishMany(b, many)
		published = time.Since(began)
		settle(readers)
	})
	b.Logf("events.Stream allocates %.1f objects and %.0f bytes for each event that is published, with gRPC",
		(moreObjects-objects)/many, (moreBytes-bytes)/many)
	b.Logf("%d events published in %v, %.0f a second", many, published.Round(time.Millisecond), many/published.Seconds())
	for _, r := range readers {
		r = r.reset()
		b.Logf("%s, all read after %v", r, r.last.Sub(began).Round(time.Millisecond))
		if len(r.delays) != many {
			b.Errorf("%s read %d events of %d", r.name, len(r.delays), many)
		}
	}

	const containers, clients = 100, 4
	began = time.Now()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := client; i < containers; i += clients {
				if _, err := d.run(context.Background(), fmt.Sprintf("bench-%d", i), shell("exit 0")); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.Logf("%d containers in %v", containers, time.Since(began).Round(time.Millisecond))
	settle(readers)
	var report strings.Builder // in one piece: of more than ten the testing package tells only the first
	for _, r := range readers {
		r = r.reset()
		fmt.Fprintf(&report, "%s\n", r)
		for _, topic := range life {
			fmt.Fprintf(&report, "    %-20s %6d of %d, %s\n", topic, r.topics[topic], containers, delay(r.of[topic]))
		}
	}
	b.Log(report.String())
}

// allocated returns how many objects and bytes were allocated meanwhile.
func allocated(do func()) (objects, bytes float64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs), float64(after.TotalAlloc - before.TotalAlloc)
}

// settle waits until no more is read.
func settle(readers []*reading) {
	for counts := []int{}; ; time.Sleep(2 * time.Second) {
		var now []int
		for _, r := range readers {
			now = append(now, r.count())
		}
		if slices.Equal(counts, now) {
			return
		}
		counts = now
	}
}
