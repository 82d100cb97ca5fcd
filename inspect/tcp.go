package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// TCPListener is a TCP socket of the node's network namespace that listens.
type TCPListener struct {
	// Address is where: 127.0.0.1:2375, [::]:10250.
	Address netip.AddrPort `json:"address"`
	// Port says whose port it is by its number, empty for others. Any program may
	// listen there.
	Port SocketKind `json:"port,omitempty"`
	// Runtime tells that the runtime that was asked has it open.
	Runtime bool `json:"runtime,omitempty"`
}

// knownPorts are those of interfaces by which containers are started or told of.
// containerd has none of its own.
var knownPorts = map[uint16]SocketKind{
	2375:  SocketDocker,
	2376:  SocketDocker,
	10250: SocketKubelet,
	10255: SocketKubelet,
}

// readTCP reads the listening sockets of the node's network namespace that are the
// runtime's or on a known port. Of the runtime's process it looks at the open
// files, which needs root.
func readTCP(fs procfs.FS, runtime *RuntimeInfo) Fact[[]TCPListener] {
	first, err := fs.Open(1)
	if err != nil {
		return UnknownFact[[]TCPListener](err)
	}
	defer first.Close() //nolint:errcheck // opened for reading
	var all []tcpSocket
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		data, err := first.ReadFile(name)
		if errors.Is(err, iofs.ErrNotExist) && name == "net/tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return UnknownFact[[]TCPListener](err)
		}
		list, err := parseTCP(string(data))
		if err != nil {
			return UnknownFact[[]TCPListener](fmt.Errorf("%s: %w", first.Path(name), err))
		}
		all = append(all, list...)
	}
	owned, err := runtimesSockets(fs, runtime)
	if err != nil {
		return UnknownFact[[]TCPListener](err)
	}
	list := []TCPListener{}
	for _, s := range all {
		l := TCPListener{Address: s.address, Port: knownPorts[s.address.Port()], Runtime: owned[s.inode]}
		if l.Port != "" || l.Runtime {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b TCPListener) int { return a.Address.Compare(b.Address) })
	return KnownFact(slices.Compact(list), first.Path("net/tcp"))
}

// runtimesSockets are the sockets that the runtime has open.
func runtimesSockets(fs procfs.FS, runtime *RuntimeInfo) (map[uint64]bool, error) {
	if runtime == nil {
		return nil, nil
	}
	pid, ok := runtime.PID.Value()
	if !ok {
		return nil, runtime.PID.Cause()
	}
	p, err := fs.Open(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close() //nolint:errcheck // opened for reading
	return socketInodes(p)
}

// tcpSocket is a listening line of /proc/PID/net/tcp or tcp6. See
// proc_pid_net(5).
type tcpSocket struct {
	address netip.AddrPort
	inode   uint64
}

// parseTCP reads the listening sockets of /proc/PID/net/tcp or tcp6.
func parseTCP(text string) ([]tcpSocket, error) {
	header, body, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(strings.TrimSpace(header), "sl ") {
		return nil, errors.New("want the header of a list of sockets")
	}
	if body != "" && !strings.HasSuffix(body, "\n") {
		return nil, errors.New("the last line is cut off")
	}
	const listens = "0A" // TCP_LISTEN
	var list []tcpSocket
	for line := range strings.Lines(body) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			return nil, fmt.Errorf("line %q: want 10 fields or more", strings.TrimSpace(line))
		}
		if fields[3] != listens {
			continue
		}
		address, err := parseTCPAddress(fields[1])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode %q: want a number", fields[9])
		}
		list = append(list, tcpSocket{address, inode})
	}
	return list, nil
}

// parseTCPAddress reads 0100007F:B54D: words of 32 bits, whose bytes are in the
// machine's order, and the port.
func parseTCPAddress(text string) (netip.AddrPort, error) {
	bad := fmt.Errorf("address %q: want 8 or 32 hexadecimal digits, a colon and 4 more", text)
	host, port, ok := strings.Cut(text, ":")
	if !ok || len(host) != 8 && len(host) != 32 || len(port) != 4 || !isHex(host) || !isHex(port) {
		return netip.AddrPort{}, bad
	}
	number, _ := strconv.ParseUint(port, 16, 16)
	bytes := make([]byte, 0, 16)
	for ; host != ""; host = host[8:] {
		word, _ := strconv.ParseUint(host[:8], 16, 32)
		bytes = binary.NativeEndian.AppendUint32(bytes, uint32(word))
	}
	address, _ := netip.AddrFromSlice(bytes)
	return netip.AddrPortFrom(address, uint16(number)), nil
}
