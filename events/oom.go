package events

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

const (
	// pollEvery is how often the kernel's counts are read: it tells of kills of
	// which the shim does not, and containerd tells of most before.
	pollEvery = time.Second
	// sameKill is for how long an announcement may be of a kill that was told.
	sameKill = 2 * time.Second
	// killed is the exit status of a process that SIGKILL ended.
	killed = 128 + 9
)

// memory is a container's cgroup in the hierarchy of the memory controller, with
// those above it.
type memory struct {
	levels  []memoryLevel // the container's own first
	grouped bool          // all processes of the container are killed together
}

// kills are those of a process's cgroup that were told.
type kills struct {
	told     uint64
	last     time.Time // of the last one
	early    int       // those that containerd has not published yet
	unlogged int       // those that the kernel's log has not told yet
}

// memoryLevel is a cgroup whose limit may be reached.
type memoryLevel struct {
	Hit
	folder  string
	limited bool
	hits    uint64 // how often its limit was, when last read
	known   bool
}

// memoryOf returns nil when the cgroup is not known, or does not count kills.
func memoryOf(report *inspect.Report) *memory {
	p, ok := report.Cgroup.InForce.Value()
	if !ok {
		return nil
	}
	folder, ok := p.Folder.Value()
	if !ok {
		return nil
	}
	m := &memory{}
	m.grouped, _ = p.Memory.OOMGroup.Value()
	for _, l := range p.Effective.Memory.Levels() {
		if l.Kind == cgroup.KindMachine || l.Kind == cgroup.KindHidden {
			break
		}
		limit, known := l.Limit.Value()
		level := memoryLevel{Hit: Hit{Cgroup: l.Path, Kind: l.Kind, Limit: limit}, folder: folder, limited: known && limit.Bounds()}
		level.hits, level.known = readHits(folder)
		m.levels = append(m.levels, level)
		folder = filepath.Dir(folder)
	}
	if len(m.levels) == 0 {
		return nil
	}
	if _, err := m.kills(); err != nil {
		return nil
	}
	return m
}

// kills counts the processes that were killed in the container.
func (m *memory) kills() (uint64, error) { return readKills(m.levels[0].folder) }

func readKills(folder string) (uint64, error) {
	n, err := readCount(filepath.Join(folder, "memory.events"), "oom_kill")
	if errors.Is(err, fs.ErrNotExist) {
		return readCount(filepath.Join(folder, "memory.oom_control"), "oom_kill")
	}
	return n, err
}

// readHits counts how often a cgroup's own limit was reached; known is false where
// the kernel does not count it: in v1 with a limit of memory and swap together, from
// Linux 6.13 on.
func readHits(folder string) (n uint64, known bool) {
	n, err := readCount(filepath.Join(folder, "memory.events.local"), "oom")
	if err == nil {
		return n, true
	}
	alone, err := readNumber(filepath.Join(folder, "memory.failcnt"))
	if err != nil {
		return 0, false
	}
	withSwap, err := readNumber(filepath.Join(folder, "memory.memsw.failcnt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, false
	}
	return alone + withSwap, true
}

// peaked tells whether a cgroup's usage was ever as high as its limit. Only v1 is
// asked: it does not count each time.
func (l memoryLevel) peaked() bool {
	limit, ok := l.Limit.Value()
	if !ok {
		return false
	}
	for _, pair := range []struct{ peak, limit string }{
		{"memory.max_usage_in_bytes", ""},
		{"memory.memsw.max_usage_in_bytes", "memory.memsw.limit_in_bytes"},
	} {
		if pair.limit != "" {
			n, err := readNumber(filepath.Join(l.folder, pair.limit))
			if err != nil {
				continue
			}
			limit = n
		}
		if peak, err := readNumber(filepath.Join(l.folder, pair.peak)); err == nil && peak >= limit {
			return true
		}
	}
	return false
}

func readCount(file, key string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	counts, err := cgroup.ParseKeyed(string(data))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	n, ok := counts[key]
	if !ok {
		return 0, fmt.Errorf("%s: this kernel does not count %s: %w", file, key, fs.ErrNotExist)
	}
	return uint64(n), nil
}

func readNumber(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := cgroup.ParseCount(string(trimLine(data)))
	return uint64(n), err
}

func trimLine(data []byte) []byte {
	if n := len(data); n > 0 && data[n-1] == '\n' {
		return data[:n-1]
	}
	return data
}

// hit tells whose limit was reached since the last time: that of the only level
// whose count has grown; in v1, where not every time is counted, of the only one whose
// usage was ever as high; or of the only one that cannot be read any more.
func (m *memory) hit() inspect.Fact[Hit] {
	var grown, peaked, unreadable []memoryLevel
	for n := range m.levels {
		l := &m.levels[n]
		if !l.limited {
			continue
		}
		hits, known := readHits(l.folder)
		switch {
		case !known || !l.known:
			unreadable = append(unreadable, *l)
			continue
		case hits > l.hits:
			grown = append(grown, *l)
			l.hits = hits
		}
		if l.peaked() {
			peaked = append(peaked, *l)
		}
	}
	for _, found := range []struct {
		levels []memoryLevel
		source string
	}{
		{grown, "the count of how often the limit was reached"},
		{peaked, "the highest usage so far"},
		{unreadable, "the limits above were not reached"},
	} {
		switch len(found.levels) {
		case 0:
			continue
		case 1:
			return inspect.KnownFact(found.levels[0].Hit, found.source)
		}
		return inspect.UnknownFact[Hit](fmt.Errorf("it may have been that of %s or of %s", found.levels[0].Cgroup, found.levels[1].Cgroup))
	}
	return inspect.AbsentFact[Hit]("no limit of a cgroup was reached: the node was short of memory")
}

// remember finds the cgroup of a first process that has started.
func (r *reducer) remember(c *container, p *process) {
	if l := c.look.report; l != nil {
		if pid, ok := l.PID.Value(); ok && pid == p.pid {
			r.watchMemory(c, p, l)
			return
		}
	}
	s := r.session
	if s == nil || p.stage == exited {
		return
	}
	r.work(func() func() {
		report, err := s.inspector.One(s.ctx, c.namespace, c.id)
		return func() {
			if pid, ok := report.PID.Value(); err == nil && ok && pid == p.pid && c.task() == p && p.memory == nil {
				p.memory = memoryOf(&report)
				p.known()
			}
		}
	})
}

// watchMemory begins to count for a process that has just started: no kill in its
// cgroup was told.
func (r *reducer) watchMemory(c *container, p *process, report *inspect.Report) {
	if p.memory = memoryOf(report); p.memory == nil {
		return
	}
	p.memory.levels[0].hits = 0
	p.kills.early += r.tellKills(c, p, time.Now())
}

// known takes the kills so far for told: they were before the stream, or before the
// first look at a process of which the start was not seen.
func (p *process) known() {
	if p.memory == nil {
		return
	}
	if n, err := p.memory.kills(); err == nil {
		p.kills.told = n
	}
}

// pollMemory reads the counts of all containers beside the reducer.
func (r *reducer) pollMemory() {
	if r.polling {
		return
	}
	type place struct {
		c *container
		p *process
	}
	var places []place
	for _, c := range r.state {
		if p := c.task(); p != nil && p.memory != nil && p.stage == started {
			places = append(places, place{c, p})
		}
	}
	if len(places) == 0 {
		return
	}
	folders := make([]string, len(places))
	for n, at := range places {
		folders[n] = at.p.memory.levels[0].folder
	}
	r.polling = true
	r.work(func() func() {
		counts := make([]uint64, len(folders))
		for n, folder := range folders {
			counts[n], _ = readKills(folder) // 0: nothing new is known
		}
		return func() {
			r.polling = false
			for n, at := range places {
				if at.c.task() == at.p && counts[n] > at.p.kills.told {
					at.p.kills.early += r.tellKills(at.c, at.p, time.Now())
				}
			}
		}
	})
}

// tellKills tells of each kill that the kernel has counted and nobody told, and
// returns how many.
func (r *reducer) tellKills(c *container, p *process, at time.Time) int {
	n, err := p.untold()
	if err != nil || n == 0 {
		return 0
	}
	hit := p.memory.hit()
	for range n {
		r.tellOOM(c, p, hit, Event{Time: at, Source: Kernel, Confirmed: Confirmed, Why: byKernel})
	}
	p.kills.unlogged += n
	return n
}

// untold returns how many kills the kernel has counted and nobody told. All
// processes of a cgroup that are killed together are one kill, of which the kernel
// counts the first process twice, not at once.
func (p *process) untold() (int, error) {
	counted, err := p.memory.kills()
	if err != nil || counted <= p.kills.told {
		return 0, err
	}
	if !p.memory.grouped {
		return int(counted - p.kills.told), nil
	}
	if time.Since(p.kills.last) < sameKill {
		p.kills.told = counted
		return 0, nil
	}
	p.kills.told = counted - 1
	return 1, nil
}

func (r *reducer) tellOOM(c *container, p *process, hit inspect.Fact[Hit], e Event) {
	o := OOM{
		Cgroup: inspect.UnknownFact[string](errEnded),
		Kills:  inspect.UnknownFact[cgroup.Count](errEnded),
		Hit:    hit,
	}
	p.kills.told++
	p.kills.last = time.Now()
	if m := p.memory; m != nil {
		own := m.levels[0]
		o.Cgroup = inspect.KnownFact(own.Cgroup, own.folder)
		o.Kills = inspect.KnownFact(cgroup.Count(p.kills.told), own.folder)
	}
	e.Topic, e.Detail = TopicTaskOOM, o
	r.tell(c, e)
}

var errEnded = errors.New("it ended before it could be read")

// judgeOOM compares containerd's announcement with the kernel's count. On version 1
// it is made to every container below the limit, whoever was killed.
func (r *reducer) judgeOOM(c *container, h *held) (verdict, string) {
	waited := time.Since(h.at) >= hold
	p := c.task()
	switch {
	case h.kill != nil && p != nil && p.kills.unlogged > 0:
		p.kills.unlogged--
		return known, ""
	case h.kill != nil && p != nil && p.memory == nil && !waited:
		return later, "" // until its limits are known
	case h.kill != nil && p != nil:
		return agreed, "the kernel's log has it"
	case (p == nil || p.stage < started || p.memory == nil) && !waited:
		return later, ""
	case p == nil:
		return denied, "no task of it is known"
	}
	if p.memory != nil {
		n, err := p.untold()
		switch {
		case n > 0:
			return agreed, byKernel
		case p.kills.early > 0:
			p.kills.early--
			return known, ""
		case p.kills.told > 0 && time.Since(p.kills.last) < sameKill:
			return known, ""
		case err == nil && !waited:
			return later, "" // it is announced before it is done and counted
		case err == nil:
			return denied, "the kernel has counted no kill in its cgroup"
		}
	}
	if p.wait.pending() && !waited {
		return later, ""
	}
	if p.kills.told > 0 {
		return known, ""
	}
	if p.wait.known() && p.wait.exit.Code == killed && p.memory != nil && p.memory.hit().Known() != inspect.Absent {
		return agreed, byAnswer
	}
	return denied, "the kernel's count cannot be read any more"
}

// takeOOM tells of the kill that containerd announced, and of others with it.
func (r *reducer) takeOOM(c *container, h *held) {
	p := c.task()
	if h.kill != nil {
		r.tellOOM(c, p, r.hitOf(c, *h.kill), h.Event)
		p.kills.early++
		return
	}
	if p.memory == nil {
		r.tellOOM(c, p, inspect.UnknownFact[Hit](errEnded), h.Event)
		return
	}
	p.kills.unlogged++
	r.tellOOM(c, p, p.memory.hit(), h.Event)
	p.kills.early += r.tellKills(c, p, h.Time)
}

// awaitsOOM tells whether an end waits for the announcement of a kill, which can
// come after it: the cgroup is gone, and the kernel's count with it.
func (c *container) awaitsOOM(h *held, p *process, exit TaskExit) bool {
	code, _ := exit.Code.Value()
	if h.Exec != "" || code != killed || p.kills.told > 0 || p.memory == nil || time.Since(h.at) > hold/2 {
		return false
	}
	_, err := p.memory.kills()
	return err != nil
}

// lastMemory tells of kills before the end that may follow from them.
func (r *reducer) lastMemory(c *container, p *process, exit TaskExit) {
	if p == nil || p.memory == nil {
		return
	}
	at := exit.Time
	if at.IsZero() {
		at = time.Now()
	}
	p.kills.early += r.tellKills(c, p, at)
}
