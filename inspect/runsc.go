package inspect

import (
	"path"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// runsc is what gVisor's program is called, runscSandbox the first argument of
// the process that is the guest's kernel, which is the one that a runtime names.
// Its other processes open files for that one.
const (
	runsc        = "runsc"
	runscSandbox = "runsc-sandbox"
)

// isRunsc tells gVisor's own processes from those of a container, without a
// runtime: they run a program runsc that is on a mount of the node's, which they
// themselves have left behind. A container can call a program so as well, but its
// programs are on mounts of its own.
//
// From /proc/PID/exe, which needs PTRACE_MODE_READ_FSCREDS, and mountinfo. What
// cannot be read is no proof.
func isRunsc(p *procfs.Process, host func() hostMounts) bool {
	link, err := p.Readlink("exe")
	if err != nil || path.Base(strings.TrimSuffix(link, " (deleted)")) != runsc {
		return false
	}
	mount, err := p.MountID("exe")
	if err != nil || !host().has(mount) {
		return false
	}
	own, err := readMounts(p)
	return err == nil && !own.has(mount)
}

// markGuest tells of a container that the kernel showed whether it is in gVisor:
// its first process is gVisor's then. It makes the sandbox's process the first.
func (i *Inspector) markGuest(f *listed, group []*member, host func() hostMounts) {
	if f.record.Task.Err != nil || !i.runs(f.record.Task.PID, host, "") {
		return
	}
	f.gvisor = true
	for _, m := range started(group) {
		if i.runs(m.pid, host, runscSandbox) {
			f.record.Task.PID = m.pid
			return
		}
	}
}

// runs tells whether a process is gVisor's and has the wanted first argument; an
// empty one stands for any.
func (i *Inspector) runs(pid int, host func() hostMounts, want string) bool {
	p, err := i.fs.Open(pid)
	if err != nil {
		return false
	}
	defer p.Close() //nolint:errcheck // opened for reading
	if !isRunsc(p, host) {
		return false
	}
	args, ok := readArgs(p, false).Value()
	return want == "" || ok && slices.Index(args, want) == 0
}
