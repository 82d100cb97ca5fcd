package inspect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// formatUnixSockets writes the form of the kernel, with what is not kept as 0.
func formatUnixSockets(list []unixSocket) string {
	var b strings.Builder
	b.WriteString(unixHeader)
	for _, s := range list {
		fmt.Fprintf(&b, "0000000000000000: 00000002 00000000 %08X %04X 01 %5d", s.flags, s.kind, s.inode)
		if s.bound {
			b.WriteString(" " + s.name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestParseUnixSockets(t *testing.T) {
	text := unixHeader +
		"000000008f2d0a38: 00000003 00000000 00000000 0001 03   637\n" +
		"00000000f5ccbc5c: 00000002 00000000 00010000 0001 01 51234 /run/containerd/containerd.sock\n" +
		"0000000000000000: 00000002 00000000 00010000 0005 01 4294967296 /run/a b\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01    12 @/containerd-shim/x.sock@\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01    13 /tmp/two\nlines\n" +
		"\n" +
		"0000000000000000: 00000002 00000000 00000000 0002 01    14 /run/datagram\n" +
		"ffff8880: 00000002 00000000 00010000 0001 01    15 \n" +
		"00000000: x\n"
	want := []unixSocket{
		{inode: 637, kind: 1},
		{flags: accepts, kind: 1, inode: 51234, name: "/run/containerd/containerd.sock", bound: true},
		{flags: accepts, kind: 5, inode: 1 << 32, name: "/run/a b", bound: true},
		{flags: accepts, kind: 1, inode: 12, name: "@/containerd-shim/x.sock@", bound: true},
		{flags: accepts, kind: 1, inode: 13, name: "/tmp/two\nlines\n", bound: true},
		{kind: 2, inode: 14, name: "/run/datagram", bound: true},
		{flags: accepts, kind: 1, inode: 15, name: "\n00000000: x", bound: true},
	}
	got, err := parseUnixSockets(text)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if got[5].listens() || !got[4].listens() || got[0].listens() {
		t.Error("only those with __SO_ACCEPTCON and a name listen")
	}
	const good = "0: 00000002 00000000 00010000 0001 01    12 /x\n"
	for bad, want := range map[string]string{
		"":                         "want the header",
		good:                       "want the header",
		unixHeader + good[:20]:     "cut off",
		unixHeader + "\n":          "want an address",
		unixHeader + "x" + good:    "want an address",
		unixHeader + good[2:]:      "want an address",
		unixHeader + "0: 0" + "\n": "want an address",
		unixHeader + strings.Replace(good, "00010000", "0001000x", 1): "field 4",
		unixHeader + strings.Replace(good, " 0001 ", "  001 ", 1):     "field 5",
		unixHeader + strings.Replace(good, "   12", "   -1", 1):       `inode "-1"`,
	} {
		if _, err := parseUnixSockets(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", bad, err, want)
		}
	}
}

func FuzzParseUnixSockets(f *testing.F) {
	f.Add(unixHeader)
	f.Add(formatUnixSockets([]unixSocket{
		{flags: accepts, kind: 1, inode: 5, name: "/run/x y\n0: z", bound: true},
		{inode: 7},
		{flags: accepts, kind: 5, inode: 9, name: "@a@b", bound: true},
	}))
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseUnixSockets(text)
		if err != nil {
			return
		}
		again, err := parseUnixSockets(formatUnixSockets(list))
		if err != nil || !slices.Equal(again, list) {
			t.Errorf("%q: %+v, printed and read again %+v, %v", text, list, again, err)
		}
	})
}
