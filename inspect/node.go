package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

// readNode reads what every report needs of the machine.
func readNode(fs procfs.FS) Node {
	return Node{Kernel: readKernel(fs), LastCap: readLastCap(fs)}
}

// add reads the rest, which takes a hundred small reads.
func (n *Node) add(h host) {
	n.BootID = readSysctl(h, "kernel/random/boot_id", parseBootID)
	n.Cgroups = readCgroupMode(h)
	n.LSMs = readLSMs(h)
	n.Lockdown = readLockdown(h)
	n.AppArmorMode = readAppArmorMode(h)
	n.SELinuxEnforce = readSELinuxEnforce(h)
	n.AFALG = readAFALG(h, n.Kernel)
	n.TCP = readTCP(h.FS, n.Runtime)
	n.Folders = readRuntimeFolders(h, n.Runtime)
	n.Sysctls = readSysctls(h)
}

// Gaps returns the node's facts that are unknown, in the order of its fields.
func (n Node) Gaps() []Gap {
	var g gaps
	add(&g, "kernel", n.Kernel)
	add(&g, "bootID", n.BootID)
	add(&g, "lastCap", n.LastCap)
	add(&g, "cgroups", n.Cgroups)
	add(&g, "lsms", n.LSMs)
	add(&g, "lockdown", n.Lockdown)
	add(&g, "appArmorMode", n.AppArmorMode)
	add(&g, "seLinuxEnforce", n.SELinuxEnforce)
	add(&g, "afALG", n.AFALG)
	add(&g, "tcp", n.TCP)
	add(&g, "folders", n.Folders)
	s := n.Sysctls
	add(&g, "sysctls.maxUserNamespaces", s.MaxUserNamespaces)
	add(&g, "sysctls.unprivilegedUsernsClone", s.UnprivilegedUsernsClone)
	add(&g, "sysctls.apparmorRestrictUnprivilegedUserns", s.AppArmorRestrictUnprivilegedUserns)
	add(&g, "sysctls.unprivilegedBPFDisabled", s.UnprivilegedBPFDisabled)
	add(&g, "sysctls.ioUringDisabled", s.IOUringDisabled)
	add(&g, "sysctls.kptrRestrict", s.KptrRestrict)
	add(&g, "sysctls.dmesgRestrict", s.DmesgRestrict)
	add(&g, "sysctls.ptraceScope", s.PtraceScope)
	add(&g, "sysctls.kexecLoadDisabled", s.KexecLoadDisabled)
	add(&g, "sysctls.modulesDisabled", s.ModulesDisabled)
	add(&g, "sysctls.ipUnprivilegedPortStart", s.IPUnprivilegedPortStart)
	add(&g, "sysctls.corePattern", s.CorePattern)
	if r := n.Runtime; r != nil {
		add(&g, "runtime.pid", r.PID)
		add(&g, "runtime.bounding", r.Bounding)
	}
	return g
}

func readLastCap(fs procfs.FS) Fact[caps.Cap] {
	last, err := caps.Reader{Proc: fs.Proc}.LastCap()
	if err != nil {
		return UnknownFact[caps.Cap](err)
	}
	return KnownFact(last, fs.Path("sys/kernel/cap_last_cap"))
}

func readKernel(fs procfs.FS) Fact[string] {
	const name = "sys/kernel/osrelease"
	release, err := fs.ReadFile(name)
	if err != nil {
		return UnknownFact[string](err)
	}
	return KnownFact(strings.TrimSpace(string(release)), fs.Path(name))
}

// meetRuntime fills in the runtime of the node, and returns why its pids cannot
// be looked up in our proc file system: they count in its own pid namespace,
// and elsewhere the same numbers are other processes.
func (i *Inspector) meetRuntime(ctx context.Context) error {
	info := &RuntimeInfo{Name: i.conn.Name, Version: i.conn.Version, Endpoint: i.conn.Address}
	i.node.Runtime = info
	ours, err := pidNamespace(i.fs)
	var theirs string
	if err == nil {
		theirs, err = i.runtimePIDNamespace(ctx, info)
	}
	switch {
	case err != nil:
		err = untold{fmt.Errorf("whether %s counts its pids as %s does is unknown: %w", info.Name, i.fs.Path(""), err)}
	case theirs != ours:
		err = fmt.Errorf("%w: %s counts its pids in %s, %s shows %s: run in the runtime's pid namespace",
			ErrNotTheContainer, info.Name, theirs, i.fs.Path(""), ours)
	}
	if err != nil {
		info.PID = UnknownFact[int](err)
		info.Bounding = UnknownFact[caps.Set](err)
		return err
	}
	state, err := caps.Reader{Proc: i.fs.Proc}.Process(info.pid())
	if err != nil {
		info.Bounding = UnknownFact[caps.Set](err)
		return nil
	}
	info.Bounding = KnownFact(state.Bounding, info.PID.Source())
	return nil
}

// untold is why processes cannot be told to be the containers', which is an
// ErrNotTheContainer without its words: they may well be.
type untold struct{ error }

func (untold) Is(target error) bool { return target == ErrNotTheContainer }

func (u untold) Unwrap() error { return u.error }

func (r *RuntimeInfo) pid() int {
	pid, _ := r.PID.Value()
	return pid
}

// runtimePIDNamespace returns the pid namespace in which the runtime counts, and
// fills in its pid. containerd says it itself; of other runtimes it is that of
// the process that listens on the socket.
func (i *Inspector) runtimePIDNamespace(ctx context.Context, info *RuntimeInfo) (string, error) {
	if i.conn.Containerd {
		server, err := i.conn.Server(ctx)
		if err != nil {
			return "", err
		}
		if server.PIDNamespace != 0 {
			info.PID = KnownFact(server.PID, "containerd introspection")
			return fmt.Sprintf("pid:[%d]", server.PIDNamespace), nil
		}
	}
	peer := i.conn.PeerPID
	if peer == 0 {
		return "", fmt.Errorf("the process that listens on %s is not in our pid namespace", info.Endpoint)
	}
	info.PID = KnownFact(peer, "SO_PEERCRED of the socket")
	p, err := i.fs.Open(peer)
	if err != nil {
		return "", err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	return p.Readlink("ns/pid")
}

// pidNamespace returns the pid namespace whose numbers a proc file system shows.
// That is ours when it shows us under one number only; in a namespace above
// ours (the host's /proc in a pod) it is that of its first process.
func pidNamespace(fs procfs.FS) (string, error) {
	p, err := fs.OpenSelf()
	if err != nil {
		return "", err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	status, err := p.ReadFile("status")
	if err != nil {
		return "", err
	}
	numbers, ok := statusLine(status, "NSpid") // since Linux 4.1
	if ok && len(strings.Fields(numbers)) == 1 {
		return p.Readlink("ns/pid")
	}
	first, err := fs.Open(1)
	if err != nil {
		return "", err
	}
	defer first.Close() //nolint:errcheck // opened for reading
	return first.Readlink("ns/pid")
}
