package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal of that width, or skips.
func openTerminal(t *testing.T, width uint16) (control, end *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs /dev/ptmx: %v", err)
	}
	t.Cleanup(func() { _ = control.Close() })
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	end, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs /dev/pts: %v", err)
	}
	t.Cleanup(func() { _ = end.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: width}); err != nil {
		t.Fatal(err)
	}
	return control, end
}

// TestTerminal: on a terminal, tables are colored and lists fill its width.
func TestTerminal(t *testing.T) {
	t.Setenv("COLUMNS", "200")
	t.Setenv("NO_COLOR", "")
	for _, width := range []uint16{40, 60} {
		control, end := openTerminal(t, width)
		if got := terminalOf(end); !got.is || got.width != int(width) {
			t.Errorf("%+v, want a terminal of %d columns", got, width)
		}
		var stderr bytes.Buffer
		if status := run([]string{"caps", "--mask", "200000"}, nil, end, &stderr); status != statusWhole {
			t.Fatalf("status %d: %s", status, &stderr)
		}
		buffer := make([]byte, 4000)
		n, err := control.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(buffer[:n]), "\r\n", "\n")
		if !strings.Contains(text, "\n\x1b[31mCAP_SYS_ADMIN\x1b[0m  critical\n") {
			t.Errorf("no color:\n%q", text)
		}
		longest := 0
		for _, line := range strings.Split(text, "\n")[2:] {
			longest = max(longest, len(line))
		}
		if longest > int(width) || longest < int(width)-15 {
			t.Errorf("the longest line has %d characters on %d columns:\n%s", longest, width, text)
		}
	}
	_, end := openTerminal(t, 0)
	if got := terminalOf(end); !got.is || got.width != 200 {
		t.Errorf("a terminal that does not tell its width: %+v, want that of COLUMNS", got)
	}
}
