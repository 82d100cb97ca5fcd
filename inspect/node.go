package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

// readNode reads what /proc tells of the machine.
func readNode(fs procfs.FS) Node {
	var n Node
	n.Kernel = readKernel(fs)
	last, err := caps.Reader{Proc: fs.Proc}.LastCap()
	if err != nil {
		n.LastCap = UnknownFact[caps.Cap](err)
		return n
	}
	n.LastCap = KnownFact(last, fs.Path("sys/kernel/cap_last_cap"))
	return n
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
	if err == nil {
		var theirs string
		theirs, err = i.runtimePIDNamespace(ctx, info)
		if err == nil && theirs != ours {
			err = fmt.Errorf("%s counts its pids in %s, %s shows %s: run in the runtime's pid namespace",
				info.Name, theirs, i.fs.Path(""), ours)
		}
	}
	if err != nil {
		info.PID = UnknownFact[int](err)
		info.Bounding = UnknownFact[caps.Set](err)
		return fmt.Errorf("%w: %w", ErrNotTheContainer, err)
	}
	state, err := caps.Reader{Proc: i.fs.Proc}.Process(info.pid())
	if err != nil {
		info.Bounding = UnknownFact[caps.Set](err)
		return nil
	}
	info.Bounding = KnownFact(state.Bounding, info.PID.Source())
	return nil
}

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
