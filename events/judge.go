package events

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// verdict is what becomes of an event.
type verdict int

const (
	// later: more must be known first.
	later verdict = iota
	// agreed: something besides it speaks for it.
	agreed
	// denied: nothing does.
	denied
	// unchecked: there is nothing to check it against.
	unchecked
	// known: it was told already.
	known
)

// The reasons for agreement.
const (
	byList   = "containerd lists it"
	byKernel = "the kernel agrees"
	byAnswer = "containerd answered how it ended"
)

// truth returns what containerd told of a container after a time, and asks for it when
// that is not known yet. What it has of a later one with the id is nothing of this.
func (r *reducer) truth(c *container, after time.Time) (runtimeapi.Truth, bool) {
	t, ok := r.raw(c, after)
	if ok && c.told && !c.isOf(t) {
		t = runtimeapi.Truth{Namespace: c.namespace, ID: c.id}
	}
	return t, ok
}

// raw returns it whichever it is of.
func (r *reducer) raw(c *container, after time.Time) (runtimeapi.Truth, bool) {
	if c.look.err == nil && c.look.began.After(after) {
		return c.look.truth, true
	}
	r.ask(c, c.look.err != nil)
	return runtimeapi.Truth{}, false
}

// ask looks at a container beside the reducer.
func (r *reducer) ask(c *container, again bool) {
	if c.looking || r.session == nil || again && time.Since(c.look.ended) < lookEvery {
		return
	}
	s := r.session
	report := c.wantsReport()
	c.looking = true
	r.work(func() func() {
		l := look{began: time.Now()}
		l.truth, l.err = s.conn.Truth(s.ctx, c.namespace, c.id)
		if l.err == nil && l.truth.Exists && report {
			l.report = s.report(l.truth)
		}
		l.ended = time.Now()
		return func() {
			if r.session != s {
				return
			}
			c.looking = false
			r.looked(c, l)
		}
	})
}

// report looks at what containerd has recorded of a container, and at its first process.
func (s *session) report(t runtimeapi.Truth) *inspect.Report {
	record := *t.Record
	record.Task = runtimeapi.Task{State: t.Task.State, PID: t.Task.PID, Err: t.Task.Err}
	if t.Task.State == runtimeapi.Exited {
		record.Task.PID = 0
	}
	one := s.inspector.OneOf(s.ctx, record)
	return &one
}

// askReport looks at the first process of a container of which the record is known
// already, beside the reducer and without a question to containerd.
func (r *reducer) askReport(c *container, pid int) {
	t := c.look.truth
	if c.reporting || r.session == nil || t.Record == nil || !c.told || !c.isOf(t) || c.look.shows(pid) {
		return
	}
	s := r.session
	t.Task = runtimeapi.TaskTruth{State: runtimeapi.Running, PID: pid}
	c.reporting = true
	r.work(func() func() {
		report := s.report(t)
		return func() {
			c.reporting = false
			if !c.look.shows(pid) {
				c.look.report = report
			}
			r.settle(c)
		}
	})
}

// shows tells whether the look saw a process as the container's first.
func (l look) shows(pid int) bool {
	if l.report == nil {
		return false
	}
	first, ok := l.report.PID.Value()
	return ok && first == pid
}

// wantsReport tells whether the container is to be named, or its first process
// looked at as it starts.
func (c *container) wantsReport() bool {
	p := c.task()
	return c.who.Name == "" || c.reconcile != "" || p != nil && p.stage == created ||
		slices.ContainsFunc(c.held, func(h *held) bool { return h.Topic == TopicTaskStart })
}

// looked takes a look in.
func (r *reducer) looked(c *container, l look) {
	c.look = l
	if l.report != nil && (!c.told || c.isOf(l.truth)) {
		c.named(l.report.Container)
		if declared, ok := l.report.Cgroup.Declared.Value(); ok {
			c.declared = declared.Memory
		}
	}
	if len(c.held) > 0 {
		r.settle(c)
		return
	}
	if r.busy[c] {
		r.attend(c)
		return
	}
	r.tidy(c)
}

// judge says what becomes of the first event that waits.
func (r *reducer) judge(c *container, h *held) (verdict, string) {
	v, why := r.judgeTopic(c, h)
	if v == later && c.look.err != nil && time.Since(h.at) > giveUp && r.session != nil {
		return denied, "it could not be checked: " + c.look.err.Error()
	}
	return v, why
}

// contradicts says why an event cannot be true by a look that began after it came;
// empty when it may be.
func (c *container) contradicts(h *held) string {
	if c.look.err != nil || !c.look.began.After(h.at) || h.next {
		return ""
	}
	t := c.look.truth
	if c.told && !c.isOf(t) {
		return ""
	}
	same := t.Task.State != "" && t.Task.PID == pidOf(h.Event)
	switch {
	case h.Topic == TopicContainerDelete && t.Exists:
		return "containerd still has the container"
	case h.Topic == TopicTaskDelete && same:
		return "containerd still has the task"
	case h.Topic == TopicTaskExit && h.Exec == "" && same && t.Task.State != runtimeapi.Exited:
		return "containerd says that it is " + t.Task.State
	}
	return ""
}

func (r *reducer) judgeTopic(c *container, h *held) (verdict, string) {
	switch h.Topic {
	case TopicContainerCreate:
		return r.judgeCreate(c, h)
	case TopicContainerUpdate:
		return r.judgeUpdate(c, h)
	case TopicContainerDelete:
		return r.judgeGone(c, h)
	case TopicTaskCreate:
		return r.judgeTask(c, h)
	case TopicTaskStart:
		return r.judgeStart(c, h)
	case TopicTaskExit:
		return r.judgeExit(c, h)
	case TopicTaskDelete:
		return r.judgeDelete(c, h)
	case TopicTaskOOM:
		return r.judgeOOM(c, h)
	case TopicTaskExecAdded:
		return r.judgeExecAdded(c, h)
	case TopicTaskExecStarted:
		return r.judgeExec(c, h)
	case TopicTaskPaused:
		return r.judgeState(c, h, runtimeapi.Paused)
	case TopicTaskResumed:
		return r.judgeState(c, h, runtimeapi.Running)
	}
	return r.judgeExistence(c, h)
}

// evident tells whether the container or its task is known to have been there, now
// that containerd has no record of it any more.
func (r *reducer) evident(c *container, h *held) (bool, string) {
	if (h.member != nil || slices.ContainsFunc(c.held, func(h *held) bool { return h.member != nil })) && !r.hasTwin(c) {
		return true, byKernel
	}
	for _, w := range c.waits {
		if w.known() {
			return true, byAnswer
		}
	}
	return false, ""
}

// hasTwin tells whether there is a container with the same id in another namespace of
// containerd: by its cgroup, a process may be of either.
func (r *reducer) hasTwin(c *container) bool {
	for k, other := range r.state {
		if k.id == c.id && other != c && other.told {
			return true
		}
	}
	return false
}

func (r *reducer) judgeCreate(c *container, h *held) (verdict, string) {
	t, ok := r.raw(c, h.at)
	if !ok {
		return later, ""
	}
	if t.Exists && c.told && c.isOf(t) {
		return known, ""
	}
	if t.Exists && !t.Created.After(h.Time) {
		return agreed, byList
	}
	if c.told {
		return known, ""
	}
	if ok, why := r.evident(c, h); ok {
		return agreed, why
	}
	if time.Since(h.at) < hold {
		return later, ""
	}
	return denied, "containerd has no such container"
}

func (r *reducer) judgeGone(c *container, h *held) (verdict, string) {
	_, ok := r.truth(c, h.at)
	switch {
	case !ok:
		return later, ""
	case c.contradicts(h) != "":
		return denied, c.contradicts(h)
	case c.told:
		return agreed, "containerd has it no more"
	}
	if ok, why := r.evident(c, h); ok {
		return agreed, why
	}
	return denied, "no such container was known"
}

// judgeTask judges the creation of a task.
func (r *reducer) judgeTask(c *container, h *held) (verdict, string) {
	pid := pidOf(h.Event)
	p := c.task()
	if p != nil && p.pid == pid || c.had("", pid) {
		return known, ""
	}
	if p == nil && c.told && h.member != nil && !r.hasTwin(c) && h.member.First() {
		return agreed, byKernel
	}
	return r.judgePID(c, h, p)
}

// judgePID compares the process that an event names with that of the task.
func (r *reducer) judgePID(c *container, h *held, p *process) (verdict, string) {
	w := c.waits[h.Exec]
	if w.known() && (p == nil || p.wait != w) {
		if why := w.contradicts(h); why != "" {
			return denied, why
		}
		return agreed, byAnswer
	}
	t, ok := r.truth(c, h.at)
	pid := pidOf(h.Event)
	switch {
	case !ok:
		return later, ""
	case t.Task.PID == pid && t.Task.State != "":
		return agreed, byList
	case h.member != nil && t.Task.Err != nil:
		return agreed, byKernel
	case t.Task.Err != nil:
		return denied, "it could not be checked: " + t.Task.Err.Error()
	case t.Task.State != "":
		return denied, fmt.Sprintf("containerd says that the first process is %d", t.Task.PID)
	case h.gone() && !r.hasTwin(c):
		return agreed, byKernel // it has ended and was deleted meanwhile
	case w.pending() && time.Since(h.at) < hold:
		return later, ""
	case h.member != nil && !r.hasTwin(c):
		return agreed, byKernel
	}
	return denied, "containerd has no task of it"
}

func (r *reducer) judgeStart(c *container, h *held) (verdict, string) {
	pid := pidOf(h.Event)
	p := c.task()
	if p != nil && p.pid == pid && p.stage >= started || c.had("", pid) {
		return known, ""
	}
	if c.reporting {
		return later, "" // as it is looked at
	}
	if p != nil && p.pid == pid {
		if p.executed() && c.look.shows(pid) {
			return agreed, byKernel
		}
		if p.wait.known() && p.wait.ranUntil() {
			return agreed, byAnswer
		}
	}
	t, ok := r.truth(c, h.at)
	if !ok {
		return later, ""
	}
	if t.Task.PID == pid {
		switch t.Task.State {
		case runtimeapi.Running, runtimeapi.Paused, runtimeapi.Exited:
			return agreed, byList
		case runtimeapi.Created:
			return denied, "containerd says that it was not started yet"
		}
	}
	if p != nil && p.pid == pid && t.Task.State == "" && t.Task.Err == nil {
		// It has ended meanwhile.
		if ok, why := r.evident(c, h); ok || p.member != nil {
			return agreed, orKernel(why)
		}
	}
	return r.judgePID(c, h, p)
}

func orKernel(why string) string {
	if why == "" {
		return byKernel
	}
	return why
}

func (r *reducer) judgeExit(c *container, h *held) (verdict, string) {
	exit := h.Detail.(TaskExit)
	if c.had(h.Exec, exit.PID) {
		return known, ""
	}
	p := c.processes[h.Exec]
	if p == nil || p.pid != exit.PID {
		if h.Exec != "" && p == nil {
			return r.judgeExecExit(c, h)
		}
		if h.Exec != "" {
			return denied, fmt.Sprintf("the process of that name is %d", p.pid)
		}
		return r.judgePID(c, h, p)
	}
	if p.stage == exited {
		return known, ""
	}
	if c.awaitsOOM(h, p, exit) {
		return later, ""
	}
	if why := otherCode(p, h); why != "" {
		return denied, why
	}
	if p.wait.known() {
		return agreed, byAnswer
	}
	if gone, known := p.gone(); known && !gone {
		return denied, fmt.Sprintf("process %d still runs", p.pid)
	} else if known {
		if p.wait.pending() && time.Since(h.at) < hold {
			return later, "" // its code will be known at once
		}
		return agreed, byKernel
	}
	if h.Exec != "" {
		return r.judgeExecExit(c, h)
	}
	t, ok := r.truth(c, h.at)
	switch {
	case !ok:
		return later, ""
	case t.Task.Err != nil:
		return denied, "it could not be checked: " + t.Task.Err.Error()
	case c.contradicts(h) != "":
		return denied, c.contradicts(h)
	}
	return agreed, byList
}

// otherCode says that a process ended otherwise than an event tells.
func otherCode(p *process, h *held) string {
	if p == nil || !p.wait.known() {
		return ""
	}
	return p.wait.contradicts(h)
}

func (w *wait) contradicts(h *held) string {
	exit, ok := h.Detail.(TaskExit)
	if !ok {
		return ""
	}
	if code, _ := exit.Code.Value(); code != w.exit.Code {
		return fmt.Sprintf("containerd answered that it ended with %d", w.exit.Code)
	}
	return ""
}

// judgeExecExit judges the end of a process in a container of which the kernel tells
// nothing: only containerd's answer does.
func (r *reducer) judgeExecExit(c *container, h *held) (verdict, string) {
	w := c.waits[h.Exec]
	switch {
	case w.known() && w.contradicts(h) != "":
		return denied, w.contradicts(h)
	case w.known():
		return agreed, byAnswer
	case w.pending() && time.Since(h.at) < hold:
		return later, ""
	}
	return denied, "nothing is known of such a process"
}

func (r *reducer) judgeDelete(c *container, h *held) (verdict, string) {
	pid := pidOf(h.Event)
	p := c.task()
	if h.Exec != "" { // it is not of the task, and the end of that process is told
		return r.judgeExistence(c, h)
	}
	if c.had("", pid) {
		return known, ""
	}
	if p == nil && c.told && !slices.ContainsFunc(c.held, func(o *held) bool { return o.Topic == TopicTaskCreate || o.Topic == TopicTaskStart }) {
		if w := c.waits[""]; !w.known() {
			return denied, "no such task was known"
		}
	}
	if p != nil && p.pid != pid {
		return r.judgePID(c, h, p)
	}
	if why := otherCode(p, h); why != "" {
		return denied, why
	}
	t, ok := r.truth(c, h.at)
	switch {
	case !ok:
		return later, ""
	case t.Task.Err != nil:
		return denied, "it could not be checked: " + t.Task.Err.Error()
	case c.contradicts(h) != "":
		return denied, c.contradicts(h)
	case p != nil && p.wait.pending() && time.Since(h.at) < hold:
		return later, "" // its code will be known at once
	case p != nil:
		return agreed, "containerd has it no more"
	}
	if ok, why := r.evident(c, h); ok {
		return agreed, why
	}
	return denied, "no such task was known"
}

// judgeExec judges the start of a process in a container.
func (r *reducer) judgeExec(c *container, h *held) (verdict, string) {
	if h.Exec == "" {
		return denied, "it names no process"
	}
	p := c.processes[h.Exec]
	pid := pidOf(h.Event)
	if p != nil && p.pid == pid && p.stage >= started || c.had(h.Exec, pid) {
		return known, ""
	}
	w := c.waits[h.Exec]
	if w.known() {
		return agreed, byAnswer
	}
	if h.process == nil {
		r.askProcess(c, h)
		return later, ""
	}
	switch t := *h.process; {
	case t.Err != nil && h.member != nil && !r.hasTwin(c):
		return agreed, byKernel
	case t.Err != nil:
		return denied, "it could not be checked: " + t.Err.Error()
	case t.State == runtimeapi.Created:
		return denied, "containerd says that it was not started yet"
	case t.State != "" && t.PID == pid:
		return agreed, byList
	case t.State != "":
		return denied, fmt.Sprintf("containerd says that it is process %d", t.PID)
	case h.gone() && !r.hasTwin(c):
		return agreed, byKernel // it has ended and was deleted meanwhile
	case w.pending() && time.Since(h.at) < hold:
		return later, ""
	}
	return denied, "containerd has no such process"
}

// judgeExecAdded judges that a process was made ready to be run.
func (r *reducer) judgeExecAdded(c *container, h *held) (verdict, string) {
	if v, why := r.judgeExistence(c, h); v != unchecked {
		return v, why
	}
	w := c.waits[h.Exec]
	switch {
	case h.Exec == "":
		return denied, "it names no process"
	case w != nil && w.added || slices.ContainsFunc(c.past, func(p past) bool { return p.exec == h.Exec }):
		return known, ""
	case c.processes[h.Exec] != nil:
		return agreed, byList
	case w.known():
		return agreed, byAnswer
	case h.process == nil:
		r.askProcess(c, h)
		return later, ""
	}
	switch t := *h.process; {
	case t.Err != nil:
		return denied, "it could not be checked: " + t.Err.Error()
	case t.State != "":
		return agreed, byList
	case c.startsExec(h):
		return agreed, byKernel
	case time.Since(h.at) < hold:
		return later, ""
	}
	return denied, "containerd has no such process"
}

// startsExec tells whether the start of a process waits that was in the container, and has ended meanwhile.
func (c *container) startsExec(h *held) bool {
	return slices.ContainsFunc(c.held, func(o *held) bool {
		return o.Topic == TopicTaskExecStarted && o.Exec == h.Exec && o.gone()
	})
}

// updateSlack is how long before its event an update may have been written.
const updateSlack = 5 * time.Second

// judgeUpdate compares an update of a container with what containerd has.
func (r *reducer) judgeUpdate(c *container, h *held) (verdict, string) {
	t, ok := r.truth(c, h.at)
	switch {
	case !ok:
		return later, ""
	case !t.Exists:
		return denied, "containerd has no such container"
	case t.Updated.Before(h.at.Add(-updateSlack)):
		return denied, "containerd has not updated it"
	case t.Updated.After(h.Time):
		return unchecked, ""
	case !maps.Equal(inspect.RedactLabels(t.Labels), h.Detail.(ContainerUpdate).Labels):
		return denied, "containerd has other labels"
	}
	return agreed, byList
}

func (r *reducer) judgeState(c *container, h *held, want string) (verdict, string) {
	t, ok := r.truth(c, h.at)
	p := c.task()
	switch {
	case !ok:
		return later, ""
	case t.Task.State == "":
		return denied, "containerd has no task of it"
	case t.Task.State != want:
		return denied, "containerd says that it is " + t.Task.State
	case want == runtimeapi.Running && (p == nil || !p.paused):
		return denied, "it was not paused"
	case want == runtimeapi.Paused && p != nil && p.paused:
		return known, ""
	}
	return agreed, byList
}

// judgeExistence judges what can be no more than possible, as checkpoints.
func (r *reducer) judgeExistence(c *container, h *held) (verdict, string) {
	if c.told || c.task() != nil {
		return unchecked, ""
	}
	t, ok := r.truth(c, h.at)
	switch {
	case !ok:
		return later, ""
	case !t.Exists:
		return denied, "containerd has no such container"
	}
	return unchecked, ""
}

var errNotAsked = errors.New("it ended while nobody could ask")

// unknownCode is the exit code of a process that ended unseen.
func unknownCode() inspect.Fact[uint32] { return inspect.UnknownFact[uint32](errNotAsked) }
