package nsdiff

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Namespace identifies a namespace on one machine until it is rebooted, or until the namespace's last process leaves it.
// Namespaces compare with ==. The zero Namespace is none.
//
// In JSON, the keys are kind and inode. Inodes are below 2^53.
type Namespace struct {
	// Kind is the type of the namespace: never PIDForChildren or TimeForChildren, which are places of pid and time
	// namespaces. See [Kind.Type].
	Kind Kind `json:"kind"`
	// Inode is its number in the kernel's nsfs file system.
	Inode uint64 `json:"inode"`
}

// maxInode keeps inodes exact in every reader of JSON. The kernel's are below 2^32.
const maxInode = 1<<53 - 1

// Parse returns the namespace that a link in /proc/PID/ns names, such as net:[4026531833]. The error wraps [ErrSyntax] when
// link is not exactly what the kernel writes.
func Parse(link string) (Namespace, error) {
	name, rest, _ := strings.Cut(link, ":")
	digits := strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	kind, kindErr := ParseKind(name)
	inode, inodeErr := strconv.ParseUint(digits, 10, 64)
	ns := Namespace{Kind: kind, Inode: inode}
	if kindErr != nil || inodeErr != nil || !ns.valid() || ns.String() != link {
		return Namespace{}, fmt.Errorf("%w: namespace %q: want a kind and a number such as net:[4026531833]", ErrSyntax, clip(link))
	}
	return ns, nil
}

func (n Namespace) valid() bool {
	return n.Kind.valid() && n.Kind == n.Kind.Type() && n.Inode > 0 && n.Inode <= maxInode
}

// String returns the text of the links in /proc/PID/ns, such as net:[4026531833].
func (n Namespace) String() string {
	return n.Kind.String() + ":[" + strconv.FormatUint(n.Inode, 10) + "]"
}

// UnmarshalJSON sets n from an object with kind and inode. The error wraps [ErrSyntax] when they cannot be a namespace's: an
// inode that is missing is not 0.
func (n *Namespace) UnmarshalJSON(data []byte) error {
	type plain Namespace
	var in plain
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if !Namespace(in).valid() {
		return fmt.Errorf("%w: namespace %q: want the kind of a namespace and its inode", ErrSyntax, clip(string(data)))
	}
	*n = Namespace(in)
	return nil
}

// Initial returns the initial namespace for a kind: the one that the kernel makes when it starts. Its number is fixed, see
// enum init_ns_ino in include/uapi/linux/nsfs.h. For net and mnt it is fixed since Linux 6.17 only: on an older kernel no
// namespace has this number, and which one is the initial must be seen elsewhere, see [Host]. The zero Namespace is returned
// for a Kind that is none of the constants.
func Initial(k Kind) Namespace {
	inodes := [kindCount + 1]uint64{
		IPC:    0xEFFFFFFF,
		UTS:    0xEFFFFFFE,
		User:   0xEFFFFFFD,
		PID:    0xEFFFFFFC,
		Cgroup: 0xEFFFFFFB,
		Time:   0xEFFFFFFA,
		Net:    0xEFFFFFF9,
		Mnt:    0xEFFFFFF8,
	}
	if !k.valid() {
		return Namespace{}
	}
	return Namespace{Kind: k.Type(), Inode: inodes[k.Type()]}
}
