package inspect

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Imprint is what is in force for a process, in the kernel's words by the names of
// facts: to be compared with a later one of the same process, which is cheaper than
// two reports. What cannot be read is left out of it, and in Unread with its cause.
type Imprint struct {
	Values map[string]string
	Unread map[string]string
}

// Change is one fact that is not what it was. A Was or Is of "" is none: a mount
// that came or went.
type Change struct {
	// Fact is the JSON name in a report, or mounts and the place of the mount.
	Fact string `json:"fact"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// Imprint takes that of a container's process, see [Inspector.Member]: its sets of
// capabilities, ids, seccomp mode, labels, namespaces, mounts, and the limits of its
// cgroup. It takes about a hundred small reads. The error wraps [ErrNoProcess] when
// the process has ended.
func (i *Inspector) Imprint(id string, pid int) (Imprint, error) {
	m, err := i.Member(id, pid)
	if err != nil {
		return Imprint{}, err
	}
	defer m.Close() //nolint:errcheck // opened for reading
	s := Imprint{map[string]string{}, map[string]string{}}
	p := m.process
	s.status(p)
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		link, err := p.Readlink("ns/" + kind)
		s.add("namespaces."+kind, link, err)
	}
	apparmor, selinux := labels(p)
	s.fact("apparmor", apparmor)
	s.fact("selinux", selinux)
	s.mounts(p)
	s.limits(i.cgroups, p, id)
	return s, m.Alive()
}

func (s Imprint) add(fact, value string, err error) {
	if err != nil {
		s.Unread[fact] = err.Error()
		return
	}
	s.Values[fact] = value
}

func (s Imprint) fact(name string, f Fact[string]) {
	if v, ok := f.Value(); ok {
		s.Values[name] = v
	} else if err := f.Cause(); err != nil {
		s.Unread[name] = err.Error()
	}
}

// statusFacts are the lines of /proc/PID/status that may change.
var statusFacts = map[string]string{
	"CapInh": "capabilities.inheritable", "CapPrm": "capabilities.permitted", "CapEff": "capabilities.effective",
	"CapBnd": "capabilities.bounding", "CapAmb": "capabilities.ambient", "Uid": "user.uid", "Gid": "user.gid",
	"NoNewPrivs": "noNewPrivs", "Seccomp": "seccomp.mode", "Seccomp_filters": "seccomp.filters",
}

func (s Imprint) status(p *procfs.Process) {
	status, err := p.ReadFile("status")
	if err != nil {
		s.Unread["capabilities"] = err.Error()
		return
	}
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(string(line), ":")
		if fact := statusFacts[key]; fact != "" {
			s.Values[fact] = strings.Join(strings.Fields(value), " ")
		}
	}
}

func (s Imprint) mounts(p *procfs.Process) {
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		s.Unread["mounts"] = err.Error()
		return
	}
	table, err := parseMounts(string(data))
	if err != nil {
		s.Unread["mounts"] = err.Error()
		return
	}
	for _, m := range table.list {
		fact := "mounts " + m.Point
		s.Values[fact] = strings.TrimSpace(s.Values[fact] + " " + m.Type + " " + m.Source + " " + m.Root + " " + m.Options)
	}
}

func (s Imprint) limits(r cgroup.Reader, p *procfs.Process, id string) {
	c, err := r.View().Read(p, id)
	if err != nil {
		s.Unread["cgroup"] = err.Error()
		return
	}
	limitFact(s, "cgroup.memory.max", c.Memory.Max)
	limitFact(s, "cgroup.memory.swapMax", c.Memory.SwapMax)
	limitFact(s, "cgroup.cpu.max", c.CPU.Max)
	limitFact(s, "cgroup.pids.max", c.Pids.Max)
	limitFact(s, "cgroup.cpuset.cpus", c.CPUSet.CPUs)
	s.Values["cgroup.path"] = c.Place.Path
}

func limitFact[T interface{ String() string }](s Imprint, name string, f cgroup.Fact[T]) {
	if v, ok := f.Value(); ok {
		s.Values[name] = v.String()
	} else if err := f.Cause(); err != nil {
		s.Unread[name] = err.Error()
	}
}

// Changes returns what differs in a later imprint, by fact. What could not be read
// one of the two times is left out.
func (s Imprint) Changes(later Imprint) []Change {
	list := []Change{}
	for fact, was := range s.Values {
		if is, ok := later.Values[fact]; is != was && (ok || later.gone(fact)) {
			list = append(list, Change{fact, was, is})
		}
	}
	for fact, is := range later.Values {
		if _, ok := s.Values[fact]; !ok && s.gone(fact) {
			list = append(list, Change{fact, "", is})
		}
	}
	slices.SortFunc(list, func(a, b Change) int { return cmp.Compare(a.Fact, b.Fact) })
	return list
}

// gone tells whether a fact is not there, rather than not read.
func (s Imprint) gone(fact string) bool {
	for unread := range s.Unread {
		if fact == unread || strings.HasPrefix(fact, unread+".") || strings.HasPrefix(fact, unread+" ") {
			return false
		}
	}
	return true
}
