package events

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

const (
	// DefaultEvery is how often what is in force is looked at, unless
	// [WatchOptions.Every] says otherwise.
	DefaultEvery = 10 * time.Second
	// mostJudgments bounds what waits to be judged.
	mostJudgments = 1_000
	// judgeTries is how often containerd is asked for a container while it is away.
	judgeTries = 5
)

// WatchOptions say what to tell and by what to judge.
type WatchOptions struct {
	Options
	// Audit are the rules.
	Audit audit.Options
	// Every is how often what is in force for running containers is looked at; zero
	// means [DefaultEvery].
	Every time.Duration
}

// Trigger is why a container was judged.
type Trigger string

// The triggers.
const (
	// TriggerStart: its first process has started.
	TriggerStart Trigger = "start"
	// TriggerExec: another process was run in it.
	TriggerExec Trigger = "exec"
	// TriggerChange: what is in force for it has changed.
	TriggerChange Trigger = "change"
)

// Findings is the detail of TopicFinding: what the rules say of a container.
type Findings struct {
	Trigger Trigger `json:"trigger"`
	// Findings are all of them as the container starts, and those that are new later:
	// see [audit.Report.Findings]. Of a container from before the watch none counts as
	// new that it had at the beginning.
	Findings []audit.Finding `json:"findings"`
	// Fixed are the rules that had a finding before, and have none now.
	Fixed []string `json:"fixed"`
	// Process is the one that was run, with its arguments and what it holds beyond
	// the container's first; nil when it had ended before it could be looked at.
	Process *inspect.Process `json:"process,omitempty"`
	// Changes are what is not as it was.
	Changes []inspect.Change `json:"changes,omitempty"`
	// Unjudged says why it could not be judged, or its process not be looked at;
	// empty when it was.
	Unjudged string `json:"unjudged,omitempty"`
}

func (Findings) detail() {}

// Watch tells what [Stream] does and judges, by the rules of package inspect/audit,
// each container as it starts, each process that is run in one, and each change of
// what is in force for a running one: capabilities, ids, seccomp, labels, namespaces,
// mounts, limits, found by a light look from time to time. An event with TopicFinding
// follows, for a start also when nothing was found. Rules about the node are left out.
// A container from before is judged at the beginning, and nothing told of that: what it
// holds already is no event.
//
// A process that ends within a few milliseconds cannot be looked at: its event says so.
func Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		w := newWatcher(o)
		ended := make(chan error, 1)
		running.Go(func() { ended <- w.follow(ctx) })
		running.Go(func() { w.judge(ctx) })
		for ctx.Err() == nil {
			if e, ok := w.out.take(); ok {
				if !yield(e, nil) {
					return
				}
				continue
			}
			select {
			case <-w.out.more:
			case err := <-ended:
				if err != nil {
					yield(Event{}, err)
				}
				return
			}
		}
	}
}

// watcher judges what a stream tells.
type watcher struct {
	options WatchOptions
	filter  filter
	out     *queue

	mu      sync.Mutex
	waiting []judgment // to be judged, and containers that are gone
	more    chan struct{}

	// What follows belongs to the judging goroutine.
	known     map[key]*watched
	inspector *inspect.Inspector
}

// judgment is something to judge, or without a trigger a container from before the watch,
// of which nothing is told, or with gone one to be forgotten.
type judgment struct {
	Event
	trigger Trigger
	gone    bool
	changes []inspect.Change
}

func (j judgment) key() key { return key{j.Namespace, j.Container.ID} }

// watched is a container that runs.
type watched struct {
	Event   // the last one
	pid     int
	imprint *inspect.Imprint
	found   map[string]audit.Verdict // by rule
	// untold is when that was found, of which nothing was told; zero when it was.
	untold time.Time
}

func newWatcher(o WatchOptions) *watcher {
	if o.Every <= 0 {
		o.Every = DefaultEvery
	}
	if o.Room <= 0 {
		o.Room = DefaultRoom
	}
	return &watcher{
		options: o, filter: filterOf(o.Options), out: newQueue(o.Room), more: make(chan struct{}, 1), known: map[key]*watched{},
	}
}

// follow takes the stream's events, and hands on what is to be judged.
func (w *watcher) follow(ctx context.Context) error {
	o := w.options.Options
	for _, pattern := range o.Topics {
		if err := CheckTopic(pattern); err != nil {
			return err
		}
	}
	o.Initial = true
	if len(o.Topics) > 0 { // the judgments need the containers' own
		o.Topics = append(slices.Clone(o.Topics), "/tasks")
	}
	for e, err := range Stream(ctx, o) {
		if err != nil {
			return err
		}
		if w.filter.wants(e) && (e.Source != Initial || w.options.Initial) {
			w.out.add(e)
		}
		w.consider(e)
	}
	return nil
}

// consider hands on what an event gives to judge.
func (w *watcher) consider(e Event) {
	if e.Container == nil || e.Confirmed != Confirmed || !w.filter.wantsContainer(e.Container) {
		return
	}
	j := judgment{Event: e}
	switch {
	case e.Topic == TopicTaskStart && e.Source != Initial:
		j.trigger = TriggerStart
	case e.Topic == TopicTaskStart:
	case e.Topic == TopicTaskExecStarted && e.Source != Initial:
		j.trigger = TriggerExec
	case e.Topic == TopicTaskExit && e.Exec == "":
		j.gone = true
	default:
		return
	}
	w.add(j)
}

func (w *watcher) add(j judgment) {
	w.mu.Lock()
	full := j.trigger != "" && len(w.waiting) >= mostJudgments
	if !full {
		w.waiting = append(w.waiting, j)
	}
	w.mu.Unlock()
	if full {
		w.tell(j, Findings{Unjudged: "too many wait to be judged"})
		return
	}
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// judge judges what waits, until ctx ends.
func (w *watcher) judge(ctx context.Context) {
	defer w.forgetInspector()
	look := time.NewTicker(w.options.Every)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			w.lookAgain(ctx)
		case <-w.more:
		}
		w.mu.Lock()
		batch := w.waiting
		w.waiting = nil
		w.mu.Unlock()
		w.judgeAll(ctx, batch)
	}
}

func (w *watcher) open(ctx context.Context) (*inspect.Inspector, error) {
	if w.inspector != nil {
		return w.inspector, nil
	}
	o := w.options
	i, err := inspect.Open(ctx, inspect.Options{Endpoint: o.Endpoint, HostRoot: o.HostRoot, Timeout: o.Timeout})
	if err == nil {
		w.inspector = i
	}
	return i, err
}

func (w *watcher) forgetInspector() {
	if w.inspector != nil {
		_ = w.inspector.Close()
		w.inspector = nil
	}
}

// judgeAll judges together what has come together.
func (w *watcher) judgeAll(ctx context.Context, batch []judgment) {
	wanted := map[key]bool{}
	for _, j := range batch {
		if !j.gone {
			wanted[j.key()] = true
		}
	}
	s, err := w.collect(ctx, wanted)
	if ctx.Err() != nil {
		return
	}
	reports := map[key]inspect.Report{}
	for _, r := range s.Containers {
		reports[key{r.Namespace, r.ID}] = r
	}
	verdicts := map[key][]audit.Finding{}
	if len(reports) > 0 {
		for _, f := range audit.Judge(s, w.options.Audit).Findings() {
			k := key{f.Subject.Namespace, f.Subject.ID}
			verdicts[k] = append(verdicts[k], f)
		}
	}
	for _, j := range batch {
		switch r, ok := reports[j.key()]; {
		case j.gone:
			delete(w.known, j.key())
		case j.trigger == "":
			k := &watched{Event: j.Event, pid: j.Container.PID}
			w.known[j.key()] = k
			if pid, runs := r.PID.Value(); ok && runs && pid == k.pid {
				k.untold, k.found = time.Now(), rulesOf(verdicts[j.key()])
				w.imprint(k)
			}
		case ok:
			w.conclude(j, r, verdicts[j.key()])
		case err != nil:
			w.tell(j, Findings{Unjudged: err.Error()})
		default:
			w.tell(j, Findings{Unjudged: errEnded.Error()})
		}
	}
}

// collect collects the containers that are to be judged. One that is gone is left out.
func (w *watcher) collect(ctx context.Context, wanted map[key]bool) (inspect.Snapshot, error) {
	s := inspect.Snapshot{Version: inspect.SnapshotVersion, Time: time.Now().UTC()}
	if len(wanted) == 0 {
		return s, nil
	}
	var err error
	for try := range judgeTries {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		var i *inspect.Inspector
		if i, err = w.open(ctx); err != nil {
			continue
		}
		s.Containers, err = i.DetailsOf(ctx, func(c inspect.Container) bool { return wanted[key{c.Namespace, c.ID}] })
		if len(s.Containers) == 0 && err != nil {
			w.forgetInspector() // the connection may be that of a containerd that was killed
			continue
		}
		s.Node = i.Node()
		var socketsErr error
		if s.Sockets, socketsErr = i.Sockets(ctx, inspect.SocketOptions{HostRoot: w.options.HostRoot}); socketsErr != nil {
			s.MissingSockets = []string{socketsErr.Error()}
		}
		return s, err
	}
	return s, err
}

// conclude tells what was found of one container.
func (w *watcher) conclude(j judgment, r inspect.Report, all []audit.Finding) {
	f := Findings{Trigger: j.trigger, Findings: []audit.Finding{}, Fixed: []string{}, Changes: j.changes}
	first := j.Container.PID
	if pid, ok := r.PID.Value(); !ok || pid != first {
		f.Unjudged = errEnded.Error()
		w.tell(j, f)
		return
	}
	k := w.known[j.key()]
	if k == nil || k.pid != first {
		k = &watched{pid: first}
		w.known[j.key()] = k
	}
	k.Event = j.Event
	if !k.untold.IsZero() && j.trigger == TriggerExec && !j.Time.After(k.untold) {
		k.found, k.untold = nil, time.Time{} // what it adds may be among them
	}
	found := rulesOf(all)
	for _, finding := range all {
		if before, ok := k.found[finding.Rule]; !ok || before != finding.Verdict || j.trigger == TriggerStart {
			f.Findings = append(f.Findings, finding)
		}
	}
	for rule := range k.found {
		if _, still := found[rule]; !still {
			f.Fixed = append(f.Fixed, rule)
		}
	}
	slices.Sort(f.Fixed)
	k.found = found
	if j.trigger == TriggerExec {
		f.Process, f.Unjudged = processOf(r, j)
	}
	w.imprint(k)
	w.tell(j, f)
}

func rulesOf(findings []audit.Finding) map[string]audit.Verdict {
	found := map[string]audit.Verdict{}
	for _, f := range findings {
		found[f.Rule] = f.Verdict
	}
	return found
}

// imprint takes what is in force, unless that is known.
func (w *watcher) imprint(k *watched) {
	if k.imprint != nil || w.inspector == nil {
		return
	}
	if s, err := w.inspector.Imprint(k.Container.ID, k.pid); err == nil {
		k.imprint = &s
	}
}

// processOf finds the process that was run.
func processOf(r inspect.Report, j judgment) (*inspect.Process, string) {
	pid := pidOf(j.Event)
	list, ok := r.Processes.Value()
	if !ok {
		return nil, cmp.Or(r.Processes.Cause(), errEnded).Error()
	}
	for n := range list.List {
		if list.List[n].PID == pid {
			return &list.List[n], ""
		}
	}
	return nil, errEnded.Error()
}

// lookAgain compares what is in force for each container with what it was.
func (w *watcher) lookAgain(ctx context.Context) {
	if len(w.known) == 0 {
		return
	}
	i, err := w.open(ctx)
	if err != nil {
		return // containerd is away; the stream tells of the gap
	}
	for _, k := range w.known {
		s, err := i.Imprint(k.Container.ID, k.pid)
		if err != nil {
			continue // it has ended, as the stream will tell, or is not ours to read
		}
		before := k.imprint
		k.imprint = &s
		if before == nil {
			continue
		}
		if changes := before.Changes(s); len(changes) > 0 {
			e := k.Event
			e.Time, e.Source, e.Exec = time.Now().UTC(), Kernel, ""
			w.add(judgment{Event: e, trigger: TriggerChange, changes: changes})
		}
	}
}

func (w *watcher) tell(j judgment, f Findings) {
	f.Trigger = j.trigger
	if f.Findings == nil {
		f.Findings, f.Fixed = []audit.Finding{}, []string{}
	}
	e := Event{
		Time: time.Now().UTC(), Topic: TopicFinding, Namespace: j.Namespace, Container: j.Container, Exec: j.Exec,
		Source: Ours, Confirmed: Confirmed, Detail: f,
	}
	if w.filter.wants(e) {
		w.out.add(e)
	}
}
