package inspect

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const tcpHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func tcpLine(local, state string, inode uint64) string {
	return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0 100 0 0 10 0\n", local, state, inode)
}

func TestParseTCP(t *testing.T) {
	text := tcpHeader + tcpLine("0100007F:0947", "0A", 7) + tcpLine("0100007F:0947", "01", 8) + tcpLine("00000000000000000000000001000000:280A", "0A", 9)
	want := []tcpSocket{{netip.MustParseAddrPort("127.0.0.1:2375"), 7}, {netip.MustParseAddrPort("[::1]:10250"), 9}}
	if got, err := parseTCP(text); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{
		"", "sl\n", "x" + tcpHeader, tcpHeader + "  0: 0100007F:0947", tcpHeader + "  0: a b c\n", tcpHeader + tcpLine("0100007F", "0A", 1),
		tcpHeader + tcpLine("0100007F:947", "0A", 1), tcpHeader + tcpLine("0100007:0947", "0A", 1), tcpHeader + tcpLine("0100007G:0947", "0A", 1),
		strings.Replace(tcpHeader+tcpLine("0100007F:0947", "0A", 77), " 77 ", " -1 ", 1),
	} {
		if got, err := parseTCP(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzParseTCP: what parses must print and parse back to the same.
func FuzzParseTCP(f *testing.F) {
	f.Add(tcpHeader + tcpLine("0100007F:0947", "0A", 7))
	f.Add(tcpHeader + tcpLine("00000000000000000000000001000000:280A", "0A", 9))
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseTCP(text)
		if err != nil {
			return
		}
		again := tcpHeader
		for _, s := range list {
			again += tcpLine(formatTCPAddress(s.address), "0A", s.inode)
		}
		if second, err := parseTCP(again); err != nil || !slices.Equal(list, second) {
			t.Errorf("%v, then %v, %v", list, second, err)
		}
	})
}

func formatTCPAddress(a netip.AddrPort) string {
	var b strings.Builder
	for word := range slices.Chunk(a.Addr().AsSlice(), 4) {
		if isLittle() {
			slices.Reverse(word)
		}
		fmt.Fprintf(&b, "%X", word)
	}
	return fmt.Sprintf("%s:%04X", strings.ToUpper(b.String()), a.Port())
}

func isLittle() bool {
	a, err := parseTCPAddress("0100007F:0000")
	return err == nil && a.Addr().IsLoopback()
}

// TestTCPLive finds a socket of our own as the runtime's, and not when it is not.
func TestTCPLive(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing is lost
	h := hostAt("")
	own, err := h.OpenSelf()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close() //nolint:errcheck // opened for reading
	want := TCPListener{Address: listener.Addr().(*net.TCPAddr).AddrPort(), Runtime: true}
	runtime := &RuntimeInfo{PID: KnownFact(own.PID(), "")}
	found := readTCP(h.FS, runtime)
	list, ok := found.Value()
	if !ok {
		t.Skipf("cannot read the node's sockets: %v", found.Cause())
	}
	if !slices.Contains(list, want) {
		t.Errorf("%v, want %v among them", list, want)
	}
	if list, _ := readTCP(h.FS, nil).Value(); slices.ContainsFunc(list, func(l TCPListener) bool { return l.Address == want.Address }) {
		t.Errorf("%v: %v is no runtime's", list, want)
	}
	unknown := &RuntimeInfo{PID: UnknownFact[int](errNotCollected)}
	if readTCP(h.FS, unknown).Known() != Unknown {
		t.Error("which sockets are the runtime's is not known")
	}
}

func TestTCP(t *testing.T) {
	tcp := func(n Node) string { return fact(n.TCP) }
	docker := tcpHeader + tcpLine("00000000:0947", "0A", 7) + tcpLine("00000000:0050", "0A", 8)
	tryNode(t, map[string]nodeCase{
		"Docker's":       {map[string]string{"proc/1/net/tcp": docker, "proc/1/net/tcp6": tcpHeader}, tcp, `[{"address":"0.0.0.0:2375","port":"docker"}]`},
		"without IPv6":   {map[string]string{"proc/1/net/tcp": tcpHeader}, tcp, `[]`},
		"not to be read": {nil, tcp, "unknown: open ROOT/proc/1/net/tcp"},
		"broken":         {map[string]string{"proc/1/net/tcp": tcpHeader, "proc/1/net/tcp6": "x\n"}, tcp, "unknown: ROOT/proc/1/net/tcp6: want the header"},
	})
}
