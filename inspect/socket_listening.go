package inspect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SocketType is what a socket carries, see unix(7).
type SocketType string

// The types that listen.
const (
	SocketStream    SocketType = "stream"
	SocketSeqpacket SocketType = "seqpacket"
)

// unixSocket is a line of /proc/PID/net/unix: a socket of the process's network
// namespace. See proc_pid_net(5).
type unixSocket struct {
	flags uint32
	kind  uint16
	inode uint64
	// name is the path that it was bound to, or @ and an abstract name, in which
	// each NUL is an @ too. Its owner chose it: it may hold any byte, and lines
	// made to look like other sockets'.
	name  string
	bound bool // to a name
}

// accepts is __SO_ACCEPTCON: the socket listens.
const accepts = 0x10000

func (s unixSocket) listens() bool  { return s.flags == accepts && s.bound }
func (s unixSocket) abstract() bool { return strings.HasPrefix(s.name, "@") }

func (s unixSocket) socketType() SocketType {
	switch s.kind {
	case 1:
		return SocketStream
	case 5:
		return SocketSeqpacket
	}
	return SocketType(fmt.Sprintf("type %d", s.kind))
}

const unixHeader = "Num       RefCount Protocol Flags    Type St Inode Path\n"

// parseUnixSockets reads /proc/PID/net/unix. What does not begin as a line does
// is the rest of a name with a newline in it.
func parseUnixSockets(text string) ([]unixSocket, error) {
	body, ok := strings.CutPrefix(text, unixHeader)
	if !ok {
		return nil, errors.New("want the header of /proc/net/unix")
	}
	if body != "" && !strings.HasSuffix(body, "\n") {
		return nil, errors.New("the last line is cut off")
	}
	var list []unixSocket
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		s, err := parseUnixSocket(line)
		if err == nil {
			list = append(list, s)
			continue
		}
		if len(list) == 0 || !list[len(list)-1].bound {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		list[len(list)-1].name += "\n" + line
	}
	return list, nil
}

// parseUnixSocket reads Num: RefCount Protocol Flags Type St Inode Path, as
// unix_seq_show in net/unix/af_unix.c writes it.
func parseUnixSocket(line string) (unixSocket, error) {
	const fixed = len(" 00000000 00000000 00000000 0000 00 ")
	colon := strings.IndexByte(line, ':')
	if colon < 1 || !isHex(line[:colon]) || len(line) < colon+1+fixed {
		return unixSocket{}, errors.New("want an address, five fields of fixed width and an inode")
	}
	head, tail := line[colon+1:colon+1+fixed], line[colon+1+fixed:]
	var s unixSocket
	for i, width := range []int{8, 8, 8, 4, 2} {
		if head[0] != ' ' || !isHex(head[1:1+width]) {
			return unixSocket{}, fmt.Errorf("field %d: want %d hexadecimal digits", i+2, width)
		}
		n, _ := strconv.ParseUint(head[1:1+width], 16, 32)
		switch i {
		case 2:
			s.flags = uint32(n)
		case 3:
			s.kind = uint16(n)
		}
		head = head[1+width:]
	}
	if head != " " {
		return unixSocket{}, errors.New("want a space before the inode")
	}
	digits, name, named := strings.Cut(strings.TrimLeft(tail, " "), " ")
	inode, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return unixSocket{}, fmt.Errorf("inode %q: want a number", digits)
	}
	s.inode = inode
	s.name, s.bound = name, named
	return s, nil
}

func isHex(text string) bool {
	return text != "" && strings.Trim(text, "0123456789abcdefABCDEF") == ""
}
