package events

import (
	"cmp"
	"fmt"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// pastKept is how many ended processes of a container are remembered.
const pastKept = 16

// tell gives out an event about a container.
func (r *reducer) tell(c *container, e Event) {
	e.Namespace, e.Container, e.Time = c.namespace, c.describe(), e.Time.UTC()
	r.emit(e)
}

// take changes the state by a published event that was agreed on, and tells it.
func (r *reducer) take(c *container, h *held) {
	e := h.Event
	switch d := e.Detail.(type) {
	case TaskCreate:
		r.begin(c, d.PID, h)
		r.tell(c, e)
	case TaskStart:
		c.task().start()
		e.Detail = c.startOf(d.PID)
		c.look.truth.Record = nil // it may be large
		r.tell(c, e)
		r.remember(c, c.task())
	case TaskExit:
		p := c.processes[e.Exec]
		if e.Topic == TopicTaskDelete {
			r.tell(c, e)
			r.end(c, "", p)
			return
		}
		r.tellExit(c, e.Exec, p, d, e)
	case ExecStarted:
		p := c.processes[e.Exec]
		if p == nil {
			p = &process{}
			c.processes[e.Exec] = p
		}
		p.pid, p.stage, p.ran, p.wait = d.PID, started, true, c.waits[e.Exec]
		p.member, h.member = h.member, nil
		r.tell(c, e)
	case OOM:
		r.takeOOM(c, h)
	default:
		switch e.Topic {
		case TopicContainerCreate:
			r.tellGone(c, Missed, e.Time) // the one before
			c.told, c.created, c.by = true, time.Time{}, e.Time
			if t := c.look.truth; c.isOf(t) {
				c.created = t.Created
			}
			c.who.Image, c.who.Runtime = cmp.Or(c.who.Image, c.look.truth.Image), cmp.Or(c.who.Runtime, c.look.truth.Runtime)
			r.tell(c, e)
		case TopicTaskExecAdded:
			if w := c.waits[e.Exec]; w != nil {
				w.added = true
			}
			r.tell(c, e)
		case TopicContainerUpdate:
			c.who.labels = inspect.RedactLabels(c.look.truth.Labels)
			r.tell(c, e)
		case TopicContainerDelete:
			r.tell(c, e)
			r.bury(c, e.Time)
		case TopicTaskPaused, TopicTaskResumed:
			c.task().paused = e.Topic == TopicTaskPaused
			r.tell(c, e)
		default:
			r.tell(c, e)
		}
	}
}

// begin makes a task of which only its creation is known.
func (r *reducer) begin(c *container, pid int, h *held) *process {
	p := &process{pid: pid, stage: created, seen: time.Now(), wait: c.waits[""]}
	if h != nil {
		p.member, h.member = h.member, nil
	}
	if p.member == nil && r.session != nil {
		p.member, _ = r.session.inspector.Member(c.id, pid) // nil: the kernel does not tell
	}
	if p.member != nil {
		p.program, _ = p.member.Program() // empty: the kernel does not tell
	}
	c.processes[""] = p
	r.await(c, "")
	if p.wait == nil {
		p.wait = c.waits[""]
	}
	return p
}

func (p *process) start() { p.stage, p.ran = max(p.stage, started), true }

// startOf is what a first process may do as it starts, from the last look.
func (c *container) startOf(pid int) TaskStart {
	s := TaskStart{
		PID:            pid,
		Capabilities:   inspect.UnknownFact[caps.Set](errEnded),
		HostNamespaces: inspect.UnknownFact[[]nsdiff.Kind](errEnded),
		Privileged:     inspect.UnknownFact[bool](errEnded),
		Tier:           inspect.UnknownFact[inspect.Tier](errEnded),
	}
	l := c.look.report
	if l == nil {
		return s
	}
	if first, ok := l.PID.Value(); !ok || first != pid {
		return s
	}
	s.Privileged, s.Tier = l.Privileged.InForce, l.Tier
	s.Capabilities = inspect.UnknownFact[caps.Set](l.Capabilities.InForce.Cause())
	if state, ok := l.Capabilities.InForce.Value(); ok {
		s.Capabilities = inspect.KnownFact(state.Effective, l.Capabilities.InForce.Source())
	}
	s.HostNamespaces = hostNamespaces(l.Namespaces.InForce)
	return s
}

// hostNamespaces are the kinds that are the host's; unknown when one of them is.
func hostNamespaces(f inspect.Fact[[]inspect.Namespace]) inspect.Fact[[]nsdiff.Kind] {
	list, ok := f.Value()
	if !ok {
		return inspect.UnknownFact[[]nsdiff.Kind](f.Cause())
	}
	kinds := []nsdiff.Kind{}
	for _, n := range list {
		switch n.Host.Relation {
		case nsdiff.Same:
			kinds = append(kinds, n.Kind)
		case nsdiff.Unknown:
			return inspect.UnknownFact[[]nsdiff.Kind](fmt.Errorf("%s: %s", n.Kind, n.Host.Cause))
		case nsdiff.Other, nsdiff.Absent:
		}
	}
	return inspect.KnownFact(kinds, f.Source())
}

// tellExit tells of the end of a process; e has the time, the source and whether it
// is confirmed.
func (r *reducer) tellExit(c *container, exec string, p *process, exit TaskExit, e Event) {
	if exec == "" {
		if p != nil && p.stage < started && (p.ran || ranUntil(exit)) {
			source := e.Source
			if source == Published {
				source = Missed
			}
			r.tellStarted(c, p, source, e.Time)
		}
		r.lastMemory(c, p, exit)
	}
	e.Topic, e.Exec, e.Detail = TopicTaskExit, exec, exit
	r.tell(c, e)
	if p == nil {
		c.remember(exec, exit.PID)
		delete(c.waits, exec)
		return
	}
	p.stage = exited
	p.ended = time.Now()
	p.again, p.pause = p.ended.Add(deleteAfter), 0
	p.close()
	if exec != "" {
		r.end(c, exec, p)
	}
	r.busy[c] = true
}

// ranUntil tells whether a first process was started, by how it ended: until it is, it
// waits, and only a signal ends it.
func ranUntil(exit TaskExit) bool {
	code, known := exit.Code.Value()
	return known && code <= 128
}

// end forgets a process.
func (r *reducer) end(c *container, exec string, p *process) {
	c.remember(exec, p.pid)
	p.close()
	if w := c.waits[exec]; w == p.wait {
		delete(c.waits, exec)
	}
	delete(c.processes, exec)
}

func (c *container) remember(exec string, pid int) {
	c.past = append(c.past, past{exec, pid, time.Now()})
	if len(c.past) > pastKept {
		c.past = c.past[1:]
	}
}

// bury forgets the container. What waits already of the next one with its id goes on
// with that.
func (r *reducer) bury(c *container, at time.Time) {
	for exec, p := range c.processes {
		r.end(c, exec, p)
	}
	r.gone.bury(c.key, at, c.past)
	delete(r.busy, c)
	delete(r.state, c.key)
	rest := c.held
	c.held, c.told = nil, false
	if len(rest) == 0 {
		return
	}
	next := r.add(c.key)
	next.touched, next.held = c.touched, rest
	for _, h := range rest {
		h.next = false
		r.meet(next, h)
	}
	r.busy[next] = true
}

// The following tell what containerd did not, as far as it was not told.

func (r *reducer) tellCreated(c *container, source Source, at time.Time) {
	if c.told {
		return
	}
	c.told, c.by = true, time.Time{}
	t := c.look.truth
	if t.Exists {
		c.created = t.Created
		at = t.Created
	}
	c.who.Image, c.who.Runtime = cmp.Or(c.who.Image, t.Image), cmp.Or(c.who.Runtime, t.Runtime)
	r.tell(c, Event{
		Time: at, Topic: TopicContainerCreate, Source: source, Confirmed: Confirmed, Why: byList,
		Detail: ContainerCreate{Image: c.who.Image, Runtime: c.who.Runtime},
	})
}

func (r *reducer) tellTask(c *container, pid int, source Source, at time.Time, h *held) *process {
	p := r.begin(c, pid, h)
	r.tell(c, Event{
		Time: at, Topic: TopicTaskCreate, Source: source, Confirmed: Confirmed, Why: byList, Detail: TaskCreate{PID: pid},
	})
	return p
}

func (r *reducer) tellStarted(c *container, p *process, source Source, at time.Time) {
	p.start()
	r.tell(c, Event{
		Time: at, Topic: TopicTaskStart, Source: source, Confirmed: Confirmed, Why: byList, Detail: c.startOf(p.pid),
	})
	r.remember(c, p)
}

// closeTask tells that the task has ended and was deleted. Truth may tell how it
// ended.
func (r *reducer) closeTask(c *container, source Source, at time.Time, t *runtimeapi.Truth) {
	for exec, p := range c.processes {
		if exec == "" {
			continue
		}
		if p.stage == started {
			r.tellExit(c, exec, p, endOf(p, nil), Event{Time: at, Source: source, Confirmed: Confirmed, Why: "the container's first process has ended"})
			continue
		}
		r.end(c, exec, p)
	}
	p := c.task()
	if p == nil {
		return
	}
	exit := endOf(p, t)
	if p.stage < exited {
		when := at
		if !exit.Time.IsZero() {
			when = exit.Time
		}
		r.tellExit(c, "", p, exit, Event{Time: when, Source: source, Confirmed: Confirmed, Why: "containerd has it no more"})
	}
	r.tell(c, Event{
		Time: at, Topic: TopicTaskDelete, Source: source, Confirmed: Confirmed, Why: "containerd has it no more", Detail: exit,
	})
	r.end(c, "", p)
}

// endOf is how a process ended, as far as it is known.
func endOf(p *process, t *runtimeapi.Truth) TaskExit {
	exit := TaskExit{PID: p.pid, Code: unknownCode()}
	switch {
	case p.wait.known():
		exit.Code, exit.Time = inspect.KnownFact(p.wait.exit.Code, waitSource), p.wait.exit.Time.UTC()
	case t != nil && t.Task.State == runtimeapi.Exited && t.Task.PID == p.pid:
		exit.Code, exit.Time = inspect.KnownFact(t.Task.Exit.Code, "containerd's list of tasks"), t.Task.Exit.Time.UTC()
	}
	return exit
}

func (r *reducer) tellGone(c *container, source Source, at time.Time) {
	if !c.told {
		return
	}
	r.closeTask(c, source, at, nil)
	c.told = false
	r.tell(c, Event{Time: at, Topic: TopicContainerDelete, Source: source, Confirmed: Confirmed, Why: "containerd has it no more"})
}

// apply brings the state to what containerd has, and tells the difference.
func (r *reducer) apply(c *container, t runtimeapi.Truth, source Source) {
	now := time.Now()
	if c.told && !c.isOf(t) {
		r.tellGone(c, source, now)
		if !t.Exists {
			r.bury(c, now)
			return
		}
	}
	if !t.Exists {
		return
	}
	if !c.told {
		c.look = look{truth: t, report: c.look.report}
		r.tellCreated(c, source, now)
	}
	r.applyTask(c, t, source, now)
}

func (r *reducer) applyTask(c *container, t runtimeapi.Truth, source Source, now time.Time) {
	p := c.task()
	if t.Task.Err != nil {
		return // its shim hangs: nothing is known
	}
	if p != nil && (t.Task.State == "" || t.Task.PID != p.pid) {
		r.closeTask(c, source, now, &t)
		p = nil
	}
	if t.Task.State == "" {
		return
	}
	if p == nil {
		p = r.tellTask(c, t.Task.PID, source, now, nil)
	}
	if t.Task.State != runtimeapi.Created && p.stage < started {
		r.tellStarted(c, p, source, now)
	}
	if t.Task.State == runtimeapi.Exited && p.stage < exited {
		exit := endOf(p, &t)
		when := now
		if !exit.Time.IsZero() {
			when = exit.Time
		}
		r.tellExit(c, "", p, exit, Event{Time: when, Source: source, Confirmed: Confirmed, Why: byList})
	}
	if p.stage < exited {
		p.seen = now
		r.await(c, "")
		r.applyPause(c, p, t.Task.State == runtimeapi.Paused, source, now)
	}
}

// applyPause tells that a task was paused or goes on.
func (r *reducer) applyPause(c *container, p *process, paused bool, source Source, now time.Time) {
	if p.stage < started || p.paused == paused {
		return
	}
	p.paused = paused
	e := Event{Time: now, Topic: TopicTaskResumed, Source: source, Confirmed: Confirmed, Why: byList}
	if paused {
		e.Topic = TopicTaskPaused
	}
	r.tell(c, e)
}
