package events

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// container is what is known of a container, and what waits to be told of it.
type container struct {
	key
	who Container // whose PID is not kept here
	// told tells that its creation was, created is containerd's time of that: it
	// tells it from a later one with the same id.
	told    bool
	created time.Time
	// by is when it was created at the latest: a record made after that is of a later one.
	by time.Time
	// declared is the limit of its memory in the specification.
	declared cgroup.Limit
	// processes are by exec id; the first process has none.
	processes map[string]*process
	// waits are for the ends of processes, also of such as are not told yet.
	waits map[string]*wait
	// past are its processes that have ended and were told.
	past []past

	held    []*held
	touched time.Time // the last event
	// reconcile is set when a newer truth than that of the list is wanted.
	reconcile Source

	looking   bool
	reporting bool // its first process is looked at
	look      look
}

// process is a process that the runtime started.
type process struct {
	pid    int
	stage  stage
	ran    bool            // it is known to have been started
	seen   time.Time       // when it was known to run last
	member *inspect.Member // nil where the kernel does not tell it
	// program is what it ran as it was created: the runtime's, until it is started.
	program string
	wait    *wait
	ended   time.Time // when its end was told
	again   time.Time // when to ask for what follows
	pause   time.Duration
	memory  *memory // nil when not known
	kills   kills
	paused  bool
}

// past is a process that has ended.
type past struct {
	exec string
	pid  int
	at   time.Time // when it was told
}

// is tells whether an event that comes now is of that process, and comes late. An id
// of an exec is given once, a pid again and again.
func (p past) is(exec string, pid int) bool {
	return p.exec == exec && p.pid == pid && (exec != "" || time.Since(p.at) < lateBy)
}

// stage is how far a process was told.
type stage int

const (
	none stage = iota
	created
	started
	exited
)

// wait is containerd's answer to how a process ended.
type wait struct {
	session *session
	added   bool      // that the process was made ready was told
	at      time.Time // of the answer; zero while there is none
	exit    runtimeapi.Exit
	err     error
}

func (w *wait) pending() bool { return w != nil && w.at.IsZero() }
func (w *wait) known() bool   { return w != nil && !w.at.IsZero() && w.err == nil }

func (w *wait) ranUntil() bool {
	return ranUntil(TaskExit{Code: inspect.KnownFact(w.exit.Code, waitSource)})
}

// held is an event that waits.
type held struct {
	Event
	at     time.Time // of its arrival
	next   bool      // it is of the next container with the id
	member *inspect.Member
	kill   *kill // from the kernel's log, not from containerd
	// process is what containerd has of the process that was run; nil while it was not
	// asked, or has not answered.
	process *runtimeapi.TaskTruth
	asking  bool
}

// gone tells whether the process that the event names was there and has ended.
func (h *held) gone() bool {
	return h.member != nil && errors.Is(h.member.Alive(), inspect.ErrNoProcess)
}

// look is what containerd and the kernel told of the container at one time.
type look struct {
	began, ended time.Time
	truth        runtimeapi.Truth
	report       *inspect.Report // nil when it was not wanted or could not be had
	err          error
}

func (r *reducer) add(k key) *container {
	c := &container{
		key: k, who: Container{ID: k.id}, processes: map[string]*process{}, waits: map[string]*wait{},
		past: slices.Clone(r.gone.graves[k].past), // of those before, with the same id
	}
	r.state[k] = c
	return c
}

func (c *container) task() *process { return c.processes[""] }

// close gives back what the kernel holds for it.
func (c *container) close() {
	for _, h := range c.held {
		h.close()
	}
	for _, p := range c.processes {
		p.close()
	}
}

func (h *held) close() {
	if h.member != nil {
		_ = h.member.Close()
		h.member = nil
	}
}

func (p *process) close() {
	if p.member != nil {
		_ = p.member.Close()
		p.member = nil
	}
}

// gone tells whether the kernel says that the process has ended; known is false
// where it does not tell.
func (p *process) gone() (gone, known bool) {
	if p.member == nil {
		return false, false
	}
	err := p.member.Alive()
	return errors.Is(err, inspect.ErrNoProcess), err == nil || errors.Is(err, inspect.ErrNoProcess)
}

// executed tells whether the process has executed the container's program since it was
// created. It is false where the kernel does not tell.
func (p *process) executed() bool {
	if p.member == nil || p.program == "" {
		return false
	}
	program, err := p.member.Program()
	return err == nil && program != p.program
}

// named takes over how the container is called.
func (c *container) named(n inspect.Container) {
	c.who.Name, c.who.Kind, c.who.Pod, c.who.Image, c.who.Runtime = n.Name, n.Kind, n.Pod, n.Image, n.Runtime
	c.who.labels = n.Labels
}

// describe returns the container as events show it.
func (c *container) describe() *Container {
	who := c.who
	if p := c.task(); p != nil {
		who.PID = p.pid
	}
	return &who
}

// isOf tells whether what containerd has is of this container, not of a later one with
// its id.
func (c *container) isOf(t runtimeapi.Truth) bool {
	switch {
	case !t.Exists:
		return false
	case !c.created.IsZero():
		return c.created.Equal(t.Created)
	}
	return c.by.IsZero() || !t.Created.After(c.by)
}

// pidOf returns the process that an event names, 0 for none.
func pidOf(e Event) int {
	switch d := e.Detail.(type) {
	case TaskCreate:
		return d.PID
	case TaskStart:
		return d.PID
	case TaskExit:
		return d.PID
	case ExecStarted:
		return d.PID
	}
	return 0
}

// ofContainer tells whether the state of a container follows from a topic.
func ofContainer(e Event) bool {
	if _, raw := e.Detail.(Raw); raw || e.Container == nil {
		return false
	}
	return strings.HasPrefix(e.Topic, "/tasks/") || strings.HasPrefix(e.Topic, "/containers/")
}

// arrive takes an event of containerd in.
func (r *reducer) arrive(e Event) {
	if !ofContainer(e) {
		r.emit(e)
		return
	}
	k := key{e.Namespace, e.Container.ID}
	c := r.state[k]
	switch {
	case c == nil && r.gone.knows(k, e):
		return // told already
	case c == nil && (len(r.state) >= mostContainers || r.strangers >= mostStrangers):
		r.unconfirmed(e, "not checked: too many containers")
		return
	case c == nil:
		c = r.add(k)
		r.strangers++
	case len(c.held) >= mostHeld:
		r.unconfirmed(e, "not checked: too many events of it wait")
		return
	}
	h := &held{Event: e, at: time.Now()}
	c.touched = h.at
	h.next = c.isNext(h)
	c.held = append(c.held, h)
	r.meet(c, h)
	r.settle(c)
}

func (r *reducer) unconfirmed(e Event, why string) {
	e.Confirmed, e.Why = Unconfirmed, why
	r.emit(e)
}

// isNext tells whether an event is of the next container with the same id: it came
// after the end of the first, which waits for what is still to come of that.
func (c *container) isNext(h *held) bool {
	deleted := slices.ContainsFunc(c.held, func(h *held) bool { return h.Topic == TopicContainerDelete && !h.next })
	if !deleted {
		return false
	}
	if h.Topic == TopicContainerCreate {
		return true
	}
	begun := slices.ContainsFunc(c.held, func(h *held) bool { return h.next })
	pid := pidOf(h.Event)
	return begun && (pid == 0 || (c.task() == nil || c.task().pid != pid) && !c.had(h.Exec, pid))
}

// had tells whether a process was told, and has ended.
func (c *container) had(exec string, pid int) bool {
	return slices.ContainsFunc(c.past, func(p past) bool { return p.is(exec, pid) })
}

// meet opens the process that an event names, and asks for its end, before it can
// be gone.
func (r *reducer) meet(c *container, h *held) {
	switch h.Topic {
	case TopicTaskCreate, TopicTaskStart, TopicTaskExecStarted:
		p := c.processes[h.Exec]
		if p != nil && p.pid == pidOf(h.Event) && p.member != nil || h.member != nil {
			break
		}
		if r.session != nil {
			h.member, _ = r.session.inspector.Member(c.id, pidOf(h.Event)) // nil: the kernel does not tell
		}
	case TopicTaskExecAdded:
	case TopicTaskExit:
		if h.Exec == "" || c.processes[h.Exec] != nil || c.had(h.Exec, pidOf(h.Event)) {
			return
		}
		// It was run before the stream began, and can still be asked for.
	default:
		return
	}
	if p := c.task(); h.Topic == TopicTaskStart && p != nil && p.pid == pidOf(h.Event) {
		r.askReport(c, p.pid)
	}
	if d, ok := h.Detail.(ExecStarted); ok {
		d.Args = inspect.UnknownFact[[]string](errors.New("it ended before it could be read"))
		if h.member != nil {
			d.Args = h.member.Args()
		}
		h.Detail = d
	}
	r.await(c, h.Exec)
}

// await asks containerd how a process ends, unless that is done already.
func (r *reducer) await(c *container, exec string) {
	w := c.waits[exec]
	if r.session == nil || w.pending() && w.session == r.session {
		return
	}
	if p := c.processes[exec]; p != nil && p.stage < exited && p.wait.known() || w == nil && !c.waitsFor(exec) {
		return
	}
	if w.known() && (c.processes[exec] == nil || c.processes[exec].wait != w) {
		return // the answer is not used yet
	}
	s := r.session
	w = &wait{session: s, added: w != nil && w.added}
	c.waits[exec] = w
	if p := c.processes[exec]; p != nil && p.stage < exited && !p.wait.known() {
		p.wait = w
	}
	r.running.Go(func() { // not one of the slots: it lasts as long as the process
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		exit, err := s.conn.Wait(ctx, c.namespace, c.id, exec)
		r.post(func() {
			w.at, w.exit, w.err = time.Now(), exit, err
			r.settle(c)
		})
	})
}

// waitsFor makes room for one more answer. There is none for more than a thousand made-up
// processes at once.
func (c *container) waitsFor(exec string) bool {
	if exec == "" || len(c.waits) < mostHeld {
		return true
	}
	maps.DeleteFunc(c.waits, func(exec string, w *wait) bool {
		return exec != "" && c.processes[exec] == nil && !w.pending() && time.Since(w.at) > hold
	})
	return len(c.waits) < mostHeld
}

// askProcess asks containerd for the process that an event says was run.
func (r *reducer) askProcess(c *container, h *held) {
	if h.asking || r.session == nil {
		return
	}
	s := r.session
	h.asking = true
	r.work(func() func() {
		t := s.conn.TaskTruth(s.ctx, c.namespace, c.id, h.Exec)
		return func() {
			h.asking = false
			if r.session == s {
				h.process = &t
			}
			r.settle(c)
		}
	})
}

// settle tells what can be told of a container, in the order of cause and effect.
func (r *reducer) settle(c *container) {
	if r.state[c.key] != c {
		return // an answer came after its end
	}
	for len(c.held) > 0 {
		h := c.first()
		v, why := r.judge(c, h)
		if v == denied && !c.told && r.behind != r.session && time.Since(h.at) < giveUp {
			v = later // the first list may speak for it
		}
		switch v {
		case later:
			r.deny(c)
			r.busy[c] = true
			return
		case agreed:
			if c.lacks(h) && time.Since(h.at) < c.patience(h) {
				r.busy[c] = true
				return
			}
			c.drop(h)
			h.Confirmed, h.Why = Confirmed, why
			r.fill(c, h)
			r.take(c, h)
		case denied:
			c.drop(h)
			if h.Topic == TopicTaskStart {
				c.look.report = nil // it may be of before the start
			}
			h.Container = c.describe()
			r.unconfirmed(h.Event, why)
		case unchecked:
			c.drop(h)
			h.Container = c.describe()
			r.emit(h.Event)
		case known:
			c.drop(h)
		}
		h.close()
	}
	r.tidy(c)
}

// deny tells of events that contradict what containerd has, though others wait to be
// told before: the longer they wait, the less there is to contradict them.
func (r *reducer) deny(c *container) {
	var last time.Time
	for _, h := range slices.Clone(c.held) {
		if h.at.After(last) {
			last = h.at
		}
		if why := c.contradicts(h); why != "" {
			c.drop(h)
			h.Container = c.describe()
			r.unconfirmed(h.Event, why)
			h.close()
		}
	}
	r.truth(c, last)
}

func (c *container) drop(h *held) {
	c.held = slices.DeleteFunc(c.held, func(other *held) bool { return other == h })
}

// first returns the event that must be told before the others.
func (c *container) first() *held {
	var pids []int
	if p := c.task(); p != nil {
		pids = append(pids, p.pid)
	}
	for _, h := range c.held {
		if pid := pidOf(h.Event); h.Exec == "" && pid != 0 && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return slices.MinFunc(c.held, func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.rank(pids), b.rank(pids)), a.at.Compare(b.at))
	})
}

// rank orders the events of one container: by the lives of its first process, then
// by the topic.
func (h *held) rank(pids []int) int {
	const life = 10
	end := life * (len(pids) + 1)
	rank := 0
	switch {
	case h.Topic == TopicContainerCreate:
	case h.Topic == TopicContainerDelete:
		rank = end
	case h.Exec != "", pidOf(h.Event) == 0:
		rank = life + topicRank(h)
	default:
		rank = life*(1+slices.Index(pids, pidOf(h.Event))) + topicRank(h)
	}
	if h.next {
		rank += end + 1
	}
	return rank
}

func topicRank(h *held) int {
	switch {
	case h.Topic == TopicTaskCreate:
		return 1
	case h.Topic == TopicTaskStart:
		return 2
	case h.Topic == TopicTaskExecAdded:
		return 3
	case h.Topic == TopicTaskExit && h.Exec == "":
		return 5
	case h.Topic == TopicTaskDelete:
		return 6
	}
	return 4
}

// lacks tells whether something that must have happened before was not told.
func (c *container) lacks(h *held) bool {
	p := c.processes[h.Exec]
	switch h.Topic {
	case TopicContainerCreate:
		return false
	case TopicContainerDelete:
		return !c.told || c.task() != nil
	case TopicTaskCreate:
		return !c.told || p != nil
	case TopicTaskStart:
		return !c.told || p == nil || p.pid != pidOf(h.Event)
	case TopicTaskExit:
		return p == nil || p.stage < started
	case TopicTaskDelete:
		return p == nil || p.stage < exited
	case TopicTaskExecStarted, TopicTaskOOM, TopicTaskPaused, TopicTaskResumed:
		return c.task() == nil || c.task().stage < started
	}
	return !c.told
}

// patience is how long an event waits for what was not told before. When all of that is
// an end that containerd has answered, its event is seldom published any more.
func (c *container) patience(h *held) time.Duration {
	p := c.task()
	if h.Topic == TopicTaskDelete && c.told && p != nil && p.stage >= started && p.wait.known() {
		return unpublished
	}
	return hold
}

// fill tells what containerd did not.
func (r *reducer) fill(c *container, h *held) {
	if h.Topic == TopicContainerCreate {
		return
	}
	r.tellCreated(c, Missed, h.Time)
	p := c.processes[h.Exec]
	pid := pidOf(h.Event)
	switch h.Topic {
	case TopicContainerDelete:
		r.closeTask(c, Missed, h.Time, nil)
	case TopicTaskCreate:
		r.closeTask(c, Missed, h.Time, nil)
	case TopicTaskStart:
		if p == nil || p.pid != pid {
			r.closeTask(c, Missed, h.Time, nil)
			r.tellTask(c, pid, Missed, h.Time, h)
		}
	case TopicTaskExit, TopicTaskDelete:
		if h.Exec != "" {
			r.fillExec(c, h, p)
			break
		}
		if p == nil {
			p = r.tellTask(c, pid, Missed, h.Time, h)
		}
		if h.Topic == TopicTaskDelete && p.stage < exited {
			exit := h.Detail.(TaskExit)
			r.tellExit(c, "", p, exit, Event{Time: h.Time, Source: Missed, Confirmed: Confirmed, Why: "it was deleted"})
		}
	case TopicTaskPaused, TopicTaskResumed:
		if p == nil {
			p = r.tellTask(c, c.look.truth.Task.PID, Missed, h.Time, nil)
		}
		if p.stage < started {
			r.tellStarted(c, p, Missed, h.Time)
		}
	case TopicTaskOOM, TopicTaskExecStarted:
		if p := c.task(); p != nil && p.stage < started {
			r.tellStarted(c, p, Missed, h.Time)
		}
	}
}

// fillExec tells that a process was run of which only the end is told, unless it was
// run before the stream began.
func (r *reducer) fillExec(c *container, h *held, p *process) {
	if w := c.waits[h.Exec]; p != nil || w == nil || !w.added {
		return
	}
	r.tell(c, Event{
		Time: h.Time, Topic: TopicTaskExecStarted, Exec: h.Exec, Source: Missed, Confirmed: Confirmed, Why: byAnswer,
		Detail: ExecStarted{PID: pidOf(h.Event), Args: inspect.UnknownFact[[]string](errEnded)},
	})
}

// tidy looks after what containerd may have lost when no event waits.
func (r *reducer) tidy(c *container) {
	if len(c.held) > 0 || r.state[c.key] != c {
		return
	}
	wanted := c.reconcile != ""
	for exec, p := range c.processes {
		switch {
		case p.stage == exited && exec == "":
			wanted = true // the task should be deleted
		case p.stage < exited && p.wait != nil && !p.wait.pending():
			wanted = true // its end was not told
		}
	}
	if wanted {
		r.busy[c] = true
		return
	}
	delete(r.busy, c)
	if !c.told && !c.looking && len(c.processes) == 0 {
		c.close()
		delete(r.state, c.key)
	}
}

// attend goes on with a container that waits.
func (r *reducer) attend(c *container) {
	if r.state[c.key] != c {
		delete(r.busy, c)
		return
	}
	if len(c.held) > 0 {
		r.settle(c)
		return
	}
	now := time.Now()
	if c.reconcile != "" {
		r.reconcile(c)
		return
	}
	for exec, p := range c.processes {
		switch {
		case p.stage < exited && p.wait.known() && now.Sub(p.wait.at) > hold:
			r.endUntold(c, exec, p)
		case p.stage < exited && exec != "" && p.wait != nil && !p.wait.pending() && now.Sub(p.wait.at) > hold:
			r.endUnknown(c, exec, p)
		case p.stage < exited && p.wait != nil && !p.wait.pending() && now.Sub(p.wait.at) > hold,
			p.stage == exited && exec == "" && now.After(p.again):
			r.followUp(c, p)
		}
	}
	r.tidy(c)
}

// reconcile applies a truth that is newer than the list and all events.
func (r *reducer) reconcile(c *container) {
	t, ok := r.raw(c, c.touched)
	hangs := c.look.err != nil && c.look.began.Sub(c.touched) > giveUp
	if !ok && !hangs {
		return
	}
	source := c.reconcile
	c.reconcile = ""
	if ok {
		r.apply(c, t, source)
	}
	r.tidy(c)
	delete(r.unsettled, c)
	if source != Missed && r.state[c.key] == c {
		r.askExecs(c, r.firsts(), source)
	}
	r.isLive()
}

// endUntold tells of an end that containerd answered and did not publish.
func (r *reducer) endUntold(c *container, exec string, p *process) {
	exit := TaskExit{PID: p.pid, Code: inspect.KnownFact(p.wait.exit.Code, waitSource), Time: p.wait.exit.Time.UTC()}
	source := p.wait.session.source(exit.Time)
	r.tellExit(c, exec, p, exit, Event{Time: exit.Time, Source: source, Confirmed: Confirmed, Why: "containerd answered it, but published nothing"})
}

// endUnknown tells of the end of a process that was run, when containerd has it no more
// and nothing told how it ended. What it says of another containerd, or when it cannot
// tell, is no answer: then it is asked again.
func (r *reducer) endUnknown(c *container, exec string, p *process) {
	gone, known := p.gone()
	if errors.Is(p.wait.err, runtimeapi.ErrNoTask) && (gone || !known) {
		now := time.Now()
		r.tellExit(c, exec, p, endOf(p, nil), Event{
			Time: now, Source: p.wait.session.source(p.wait.at.Add(-giveUp)), Confirmed: Confirmed, Why: "containerd has it no more",
		})
		return
	}
	if p.wait.session != r.session || time.Since(p.wait.at) > giveUp {
		r.await(c, exec)
	}
}

// waitSource is where an exit code is from that no event told.
const waitSource = "containerd's answer to tasks.Wait"

// followUp asks whether a task that has ended, or of which nothing is known any
// more, is still there.
func (r *reducer) followUp(c *container, p *process) {
	since := p.again
	if p.stage < exited {
		since = p.wait.at
	}
	t, ok := r.raw(c, since)
	if !ok {
		return
	}
	runs := p.stage < exited && t.Task.State != "" && t.Task.PID == p.pid && t.Task.State != runtimeapi.Exited
	if runs {
		p.seen = c.look.began
	}
	if runs || t.Task.Err != nil {
		p.wait.at = time.Now() // ask again
		r.await(c, "")
		return
	}
	p.pause = min(max(2*p.pause, deleteAfter), deleteSeldom)
	p.again = time.Now().Add(p.pause)
	source := Missed
	if p.stage < exited && r.session != nil {
		end := t.Task.Exit.Time
		if end.IsZero() {
			end = p.seen // or later: nobody could see it run since
		}
		source = r.session.source(end)
	}
	r.apply(c, t, source)
}
