package cgroup

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// View is what a [Reader] sees of the machine at one time, for the cgroups of many processes. What they have in common is read
// once: which hierarchies are mounted, what the machine has, and the values of the cgroups above those of the containers. Make
// another one to see what changed. It may be used by several goroutines at once.
type View struct {
	sys     string
	source  string // where mounts was read
	mounts  []Mount
	err     error // why mounts is not known
	self    []Membership
	machine machine
	// aboves are what was read in cgroups above others, by their paths.
	mutex  sync.Mutex
	aboves map[string]*remembered
}

// remembered is what was read in one cgroup: in one above others once for all below it.
type remembered struct {
	sync.Mutex
	facts map[string]any
}

// remember returns what read gives of a folder, or what it gave before. What names it.
func remember[T any](f *folder, what string, read func() T) T {
	if !f.found() {
		return read()
	}
	f.read.Lock()
	defer f.read.Unlock()
	if before, ok := f.read.facts[what].(T); ok {
		return before
	}
	value := read()
	if f.read.facts == nil {
		f.read.facts = map[string]any{}
	}
	f.read.facts[what] = value
	return value
}

// View reads our own mounts and memberships, and what the machine has. Everyone may. What cannot be read is unknown in what
// [View.Read] returns.
func (r Reader) View() *View {
	v := &View{sys: within(r.Sys), machine: readMachine(procfs.FS{Proc: r.Proc})}
	self, err := procfs.FS{Proc: r.Proc}.OpenSelf()
	if err != nil {
		v.err = err
		return v
	}
	defer self.Close()                                        //nolint:errcheck // opened for reading: nothing can be lost
	v.source = procfs.FS{Proc: r.Proc}.Path("self/mountinfo") // our pid is another one each time
	mounts := mountsOf(self)
	v.mounts, _ = mounts.Value()
	v.err = mounts.Cause()
	v.self, _ = memberships(self) // needed only where a mount shows more than our namespace
	return v
}

// Read is [Reader.Process] for a folder of Reader.Proc that the caller keeps open. Container is the id of the container that the
// process must be of, as its runtime tells; empty means that the names in the path tell. When none of them is it,
// Place.Container is empty.
func (v *View) Read(p Folder, container string) (Process, error) {
	list, err := memberships(p)
	if err != nil {
		return Process{}, err
	}
	process := v.read(list, container)
	process.Mounts = mountsOf(p)
	again, err := memberships(p)
	if err != nil {
		return Process{}, err
	}
	if !slices.EqualFunc(list, again, func(a, b Membership) bool { return a.String() == b.String() }) {
		return Process{}, fmt.Errorf("%w: from %s to %s", ErrMoved, clip(list[0].String()), clip(again[0].String()))
	}
	return process, nil
}

// above returns what is remembered of a cgroup that is above others.
func (v *View) above(path string) *remembered {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.aboves == nil {
		v.aboves = map[string]*remembered{}
	}
	if v.aboves[path] == nil {
		v.aboves[path] = &remembered{}
	}
	return v.aboves[path]
}
