package lab

import (
	"bytes"
	"fmt"
)

// initramfs is a cpio archive of programs and files in one folder, in the form
// the kernel wants. Documentation/driver-api/early-userspace/buffer-format.rst
type initramfs struct{ bytes.Buffer }

func (a *initramfs) add(name string, content []byte) {
	a.entry(name, 0o100755, content)
}

// end must come last.
func (a *initramfs) end() { a.entry("TRAILER!!!", 0, nil) }

func (a *initramfs) entry(name string, mode int, content []byte) {
	// inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum
	fields := []int{0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0}
	a.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(a, "%08x", f)
	}
	a.WriteString(name + "\x00")
	a.align()
	a.Write(content)
	a.align()
}

func (a *initramfs) align() {
	a.Write(make([]byte, -a.Len()&3))
}
