package main

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// terminal is what stdout is.
type terminal struct {
	is    bool
	width int // columns
}

// terminalOf looks at what w writes to. The width is that of the terminal, or else COLUMNS, or 80.
func terminalOf(w io.Writer) terminal {
	t := terminal{width: 80}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		t.width = n
	}
	file, ok := w.(*os.File)
	if !ok {
		return t
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return t
	}
	t.is = true
	if size.Col > 0 {
		t.width = int(size.Col)
	}
	return t
}
