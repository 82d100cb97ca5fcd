package events

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

// kill is a process that the kernel killed for memory, as its log tells.
type kill struct {
	hit    string // the cgroup whose limit was reached; empty: the node was short of memory
	victim string // the cgroup of the process
}

// readLog hands over each kill that the kernel writes to its log, from now on until
// ctx ends. It tells before all counts do, and of which cgroup the limit was; but no
// more than ten within five seconds. See Documentation/ABI/testing/dev-kmsg; without
// CAP_SYSLOG, or the device, as in most containers, the counts alone are left.
func readLog(ctx context.Context, hostRoot string, found func(kill)) {
	f, err := os.OpenFile(filepath.Join("/", hostRoot, "dev/kmsg"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()                                      //nolint:errcheck // opened for reading
	defer context.AfterFunc(ctx, func() { f.Close() })() //nolint:errcheck // it ends the read
	if _, err := f.Seek(0, 2); err != nil {
		return
	}
	record := make([]byte, 8192) // as long as one can be
	for ctx.Err() == nil {
		n, err := f.Read(record)
		if errors.Is(err, syscall.EPIPE) { // some were overwritten
			continue
		}
		if err != nil {
			return
		}
		if k, ok := parseKill(string(record[:n])); ok {
			found(k)
		}
	}
}

// parseKill reads a record such as
//
//	6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=C,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=sh,pid=7,uid=0
//
// The names of cgroups that a container made may hold anything: one in which the
// words of the record are found is refused.
func parseKill(record string) (kill, bool) {
	prefix, text, _ := strings.Cut(record, ";")
	text, ok := strings.CutPrefix(text, "oom-kill:constraint=")
	if !ok || !ofKernel(prefix) {
		return kill{}, false
	}
	const victimWord = ",task_memcg="
	if strings.Count(text, victimWord) != 1 {
		return kill{}, false
	}
	head, tail, _ := strings.Cut(text, victimWord)
	victim, _, ok := strings.Cut(tail, ",task=")
	if !ok {
		return kill{}, false
	}
	k := kill{victim: victim}
	if strings.HasPrefix(text, "CONSTRAINT_MEMCG,") {
		_, k.hit, ok = strings.Cut(head, ",oom_memcg=")
	}
	return k, ok
}

// ofKernel tells whether the kernel itself wrote a record. Whoever may write to the log
// may write anything, but not as facility 0: see syslog(2) and devkmsg_emit in the
// kernel's printk.c.
func ofKernel(prefix string) bool {
	number, _, _ := strings.Cut(prefix, ",")
	n, err := strconv.Atoi(number)
	return err == nil && n >= 0 && n>>3 == 0
}

// logged takes in what the kernel's log tells.
func (r *reducer) logged(k kill) {
	for _, c := range r.state {
		if !c.owns(k.victim) {
			continue
		}
		e := Event{Time: time.Now().UTC(), Topic: TopicTaskOOM, Namespace: c.namespace, Source: Kernel, Detail: OOM{}}
		h := &held{Event: e, at: time.Now(), kill: &k}
		c.held = append(c.held, h)
		r.settle(c)
		return
	}
}

// owns tells whether a cgroup is the container's, or one below it.
func (c *container) owns(path string) bool {
	if p := c.task(); p != nil && p.memory != nil {
		own := p.memory.levels[0].Cgroup
		return path == own || strings.HasPrefix(path, own+"/")
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == c.id || strings.HasSuffix(name, "-"+c.id+".scope") {
			return true
		}
	}
	return false
}

// hitOf names the limit that the kernel's log tells of. A container that has ended already left its limits behind where they
// are those of a cgroup above it, which its pod's sandbox has too.
func (r *reducer) hitOf(c *container, k kill) inspect.Fact[Hit] {
	const source = "the kernel's log"
	if k.hit == "" {
		return inspect.AbsentFact[Hit]("no limit of a cgroup was reached: the node was short of memory")
	}
	if hit, ok := c.limitOf(k.hit); ok {
		return inspect.KnownFact(hit, source)
	}
	for _, other := range r.state {
		if hit, ok := other.limitOf(k.hit); ok {
			return inspect.KnownFact(hit, source)
		}
	}
	hit := Hit{Cgroup: k.hit}
	if k.hit == k.victim && c.owns(k.hit) {
		hit.Kind, hit.Limit = cgroup.KindContainer, c.declared
	}
	return inspect.KnownFact(hit, source)
}

// limitOf returns the limit of a cgroup that the container is in or below.
func (c *container) limitOf(name string) (Hit, bool) {
	p := c.task()
	if p == nil || p.memory == nil {
		return Hit{}, false
	}
	for _, l := range p.memory.levels {
		if l.Cgroup == name {
			return l.Hit, true
		}
	}
	return Hit{}, false
}
