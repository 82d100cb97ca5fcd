package events

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

const (
	// hold is how long an event waits for what must have happened before it.
	hold = 250 * time.Millisecond
	// unpublished is how long the deletion of a task waits for the event of an end that
	// is known.
	unpublished = 25 * time.Millisecond
	// tickEvery is how often waiting containers are looked at.
	tickEvery = 10 * time.Millisecond
	// lookEvery is how often one container is asked for again.
	lookEvery = 100 * time.Millisecond
	// giveUp is how long an event waits for a containerd that does not answer.
	giveUp = 5 * time.Second
	// deleteAfter is when a task that has ended should have been deleted: from
	// then on containerd is asked, ever more seldom up to deleteSeldom.
	deleteAfter  = time.Second
	deleteSeldom = time.Minute
	// lookers bounds the calls to containerd under way.
	lookers = 16
	// mostContainers bounds the state, mostHeld the events that wait for one
	// container, mostGone what is remembered of those that are gone: made-up
	// events must not fill the memory.
	mostContainers = 20_000
	// mostStrangers bounds those of them that nothing speaks for yet.
	mostStrangers = 2_000
	mostHeld      = 1_000
	mostGone      = 4_096
	// lateBy is how late an event can come of a process whose end was told already.
	lateBy = 10 * time.Second
)

// reducer owns the state of all containers: one goroutine takes events, answers of
// containerd and looks at the kernel in, and gives events out.
type reducer struct {
	//nolint:containedctx // it is what ends the goroutines of the reducer
	ctx    context.Context
	filter filter
	// unproved tells that no subscription is, see [Options.NoMarker].
	unproved bool
	// initial tells that what is there already is wanted.
	initial bool
	out     *queue
	in      chan input
	slots   chan struct{}
	running sync.WaitGroup

	session *session // nil while there is no connection
	// live tells that TopicLive was told: the first list is complete and none of
	// it is unsettled.
	live      bool
	complete  bool
	behind    *session // whose first list is taken over
	unsettled map[*container]bool
	broke     time.Time
	cause     error

	state map[key]*container
	// busy are the containers that wait for something.
	busy map[*container]bool
	// strangers are the containers that nothing speaks for yet, as counted last, and
	// those that have come since.
	strangers int
	gone      graveyard
	polling   bool // a look at the memory of all containers is under way
}

type key struct{ namespace, id string }

// input is an event, or something to do.
type input struct {
	event runtimeapi.Envelope
	do    func()
}

func newReducer(ctx context.Context, o Options) *reducer {
	if o.Room <= 0 {
		o.Room = DefaultRoom
	}
	return &reducer{
		ctx: ctx, filter: filterOf(o), unproved: o.NoMarker, initial: o.Initial, out: newQueue(o.Room),
		in: make(chan input, 1024), slots: make(chan struct{}, lookers),
		state: map[key]*container{}, unsettled: map[*container]bool{}, busy: map[*container]bool{}, gone: newGraveyard(),
	}
}

// deliver hands an event over. It returns false when the reducer has ended.
func (r *reducer) deliver(e runtimeapi.Envelope) bool {
	select {
	case r.in <- input{event: e}:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// post has the reducer do something.
func (r *reducer) post(do func()) {
	select {
	case r.in <- input{do: do}:
	case <-r.ctx.Done():
	}
}

// work runs a job beside the reducer, which then does what it returns.
func (r *reducer) work(job func() func()) {
	r.running.Go(func() {
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		done := job()
		<-r.slots
		r.post(done)
	})
}

func (r *reducer) run() {
	defer r.close()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	ticking := true
	for {
		if waiting := len(r.busy) > 0; waiting != ticking {
			ticking, r.strangers = waiting, 0
			if tick.Stop(); waiting {
				tick.Reset(tickEvery)
			}
		}
		select {
		case in := <-r.in:
			if in.do != nil {
				in.do()
			} else {
				r.arrive(decode(in.event))
			}
		case <-tick.C:
			r.tick()
		case <-poll.C:
			r.pollMemory()
		case <-r.ctx.Done():
			return
		}
	}
}

// tick goes on with what waits.
func (r *reducer) tick() {
	r.strangers = 0
	for c := range r.busy {
		r.attend(c)
		if !c.told {
			r.strangers++
		}
	}
}

func (r *reducer) close() {
	r.running.Wait()
	for _, c := range r.state {
		c.close()
	}
}

// emit gives an event out.
func (r *reducer) emit(e Event) {
	if e.Source == Initial && !r.initial || !r.filter.wants(e) {
		return
	}
	r.out.add(e)
}

// connected begins a session, and tells of the gap before it.
func (r *reducer) connected(s *session) {
	r.session = s
	if r.broke.IsZero() {
		return
	}
	r.emit(Event{
		Time: s.proved.UTC(), Topic: TopicGap, Source: Ours, Confirmed: Confirmed,
		Detail: Gap{From: r.broke.UTC(), To: s.proved.UTC(), Cause: r.cause.Error()},
	})
	for _, c := range r.state { // their answers died with the last session
		c.looking = false
		for exec, p := range c.processes {
			if exec != "" && p.stage < exited {
				r.await(c, exec)
			}
		}
	}
}

func (r *reducer) disconnected(at time.Time, cause error) {
	r.session, r.cause = nil, cause
	if cause == nil {
		r.cause = errors.New("containerd ended the stream")
	}
	r.broke = at
}

// listed takes over what containerd lists at the beginning of a session, and again
// from time to time. A container of which an event came meanwhile is asked for singly:
// the list may be older.
func (r *reducer) listed(s *session, again bool, began time.Time, truths []runtimeapi.Truth, named []inspect.Container) {
	if r.session != s {
		return
	}
	source := Initial
	switch {
	case r.complete && again:
		source = Missed
	case r.complete:
		source = Reconciled
	}
	names := map[key]inspect.Container{}
	for _, n := range named {
		names[key{n.Namespace, n.ID}] = n
	}
	found := map[key]bool{}
	for _, t := range truths {
		k := key{t.Namespace, t.ID}
		found[k] = true
		c := r.state[k]
		if !r.filter.wantsNamespace(t.Namespace) || c == nil && r.gone.stale(k, began, t.Created) {
			continue
		}
		if c == nil {
			c = r.add(k)
		}
		if n, ok := names[k]; ok {
			c.named(n)
		}
		r.compare(c, t, began, source)
	}
	for k, c := range r.state {
		if !found[k] {
			r.compare(c, runtimeapi.Truth{Namespace: k.namespace, ID: k.id}, began, source)
		}
	}
	r.complete, r.behind = true, s
	if !again {
		first := r.firsts()
		for _, c := range r.state {
			if c.reconcile == "" {
				r.askExecs(c, first, source)
			}
		}
	}
	r.isLive()
}

// firsts are the first processes of all containers.
func (r *reducer) firsts() map[int]bool {
	first := map[int]bool{}
	for _, c := range r.state {
		if p := c.task(); p != nil {
			first[p.pid] = true
		}
	}
	return first
}

// askExecs asks for the processes that were run in a container before the session, where
// the kernel does not say that there are none: its shim has no process besides first ones.
func (r *reducer) askExecs(c *container, first map[int]bool, source Source) {
	p := c.task()
	if p == nil || p.stage != started || r.session == nil || source == Missed {
		return
	}
	if p.member != nil {
		siblings, err := p.member.Siblings()
		if err == nil && !slices.ContainsFunc(siblings, func(pid int) bool { return !first[pid] }) {
			return
		}
	}
	s := r.session
	if !r.live {
		r.unsettled[c] = true
	}
	r.work(func() func() {
		execs, _ := s.conn.Execs(s.ctx, c.namespace, c.id) // one that is not known can be asked for as it ends
		return func() {
			if r.session == s && r.state[c.key] == c && c.task() == p {
				r.ran(c, execs, source)
			}
			delete(r.unsettled, c)
			r.isLive()
		}
	})
}

// ran takes over the processes that were run in a container.
func (r *reducer) ran(c *container, execs []runtimeapi.Exec, source Source) {
	now := time.Now()
	for _, e := range execs {
		if c.processes[e.ID] != nil || c.had(e.ID, e.PID) || slices.ContainsFunc(c.held, func(h *held) bool { return h.Exec == e.ID }) {
			continue
		}
		p := &process{pid: e.PID, stage: started, ran: true, seen: now}
		d := ExecStarted{PID: e.PID, Args: inspect.UnknownFact[[]string](errEnded)}
		if p.member, _ = r.session.inspector.Member(c.id, e.PID); p.member != nil { // nil: the kernel does not tell
			d.Args = p.member.Args()
		}
		c.processes[e.ID] = p
		r.await(c, e.ID)
		p.wait = c.waits[e.ID]
		r.tell(c, Event{Time: now, Topic: TopicTaskExecStarted, Exec: e.ID, Source: source, Confirmed: Confirmed, Why: byList, Detail: d})
	}
}

// compare applies the truth, or asks for a newer one: where an event came meanwhile,
// and where the start is told, which takes a look at the process.
func (r *reducer) compare(c *container, t runtimeapi.Truth, began time.Time, source Source) {
	p := c.task()
	runs := t.Task.State == runtimeapi.Running || t.Task.State == runtimeapi.Paused
	starts := runs && (p == nil || p.pid != t.Task.PID || p.stage < started)
	if c.touched.After(began) || len(c.held) > 0 || starts && (r.live || r.initial) {
		c.reconcile = source
		if c.touched.Before(began) {
			c.touched = began
		}
		r.foretell(c, t, began, source)
		r.busy[c] = true
		if !r.live {
			r.unsettled[c] = true
		}
		return
	}
	r.apply(c, t, source)
	r.tidy(c)
}

// foretell tells of what a list shows and events that wait go on from: what they tell of
// may be over when containerd is asked again, and then nothing else speaks for it.
func (r *reducer) foretell(c *container, t runtimeapi.Truth, began time.Time, source Source) {
	if c.told || !t.Exists || r.gone.stale(c.key, began, t.Created) || c.holds(TopicContainerCreate, 0) {
		return
	}
	c.look = look{truth: t, report: c.look.report} // of no time: it is asked for again
	r.tellCreated(c, source, began)
	pid := t.Task.PID
	if t.Task.State == "" || c.task() != nil || c.had("", pid) || c.holds(TopicTaskCreate, pid) {
		return
	}
	if c.holds(TopicTaskExit, pid) || c.holds(TopicTaskDelete, pid) {
		r.tellTask(c, pid, source, began, nil)
	}
}

// holds tells whether an event about a first process waits; with the process 0 it is one
// about the container.
func (c *container) holds(topic string, pid int) bool {
	return slices.ContainsFunc(c.held, func(h *held) bool {
		return h.Topic == topic && h.Exec == "" && pidOf(h.Event) == pid && !h.next
	})
}

// isLive tells, once, that what was there before is told.
func (r *reducer) isLive() {
	if !r.live && r.complete && len(r.unsettled) == 0 {
		r.live = true
		e := Event{Time: time.Now().UTC(), Topic: TopicLive, Source: Ours, Confirmed: Confirmed}
		if r.unproved {
			e.Confirmed, e.Why = Unchecked, "nothing was published to prove the subscription"
		}
		r.emit(e)
	}
}

// graveyard remembers containers that are gone, so that what comes late of them is
// not taken for news.
type graveyard struct {
	graves map[key]grave
	order  []key
}

type grave struct {
	at     time.Time // by containerd's event, where there was one
	buried time.Time
	past   []past
}

func newGraveyard() graveyard { return graveyard{graves: map[key]grave{}} }

func (g *graveyard) bury(k key, at time.Time, p []past) {
	if _, again := g.graves[k]; !again {
		g.order = append(g.order, k)
	}
	g.graves[k] = grave{at, time.Now(), p}
	if len(g.order) > mostGone {
		delete(g.graves, g.order[0])
		g.order = g.order[1:]
	}
}

// stale tells whether a container of a list went while the list was on its way,
// and is not a new one with its name.
func (g *graveyard) stale(k key, began, made time.Time) bool {
	grave, ok := g.graves[k]
	return ok && grave.buried.After(began) && !made.After(grave.at)
}

// knows tells whether an event is of the life of a container that is gone.
func (g *graveyard) knows(k key, e Event) bool {
	grave, ok := g.graves[k]
	if !ok {
		return false
	}
	if !e.Time.After(grave.at) {
		return true
	}
	pid := pidOf(e)
	return pid != 0 && slices.ContainsFunc(grave.past, func(p past) bool { return p.is(e.Exec, pid) })
}
