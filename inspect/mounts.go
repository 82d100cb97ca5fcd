package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// mount is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5). Paths are
// as written there, with spaces as \040.
type mount struct {
	point    string
	readonly bool // this mount, or its file system as a whole
}

func readMounts(p *procfs.Process) ([]mount, error) {
	data, err := p.ReadFile("mountinfo")
	if err != nil {
		return nil, err
	}
	mounts, err := parseMounts(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("mountinfo"), err)
	}
	return mounts, nil
}

// parseMounts reads mountinfo, in the order of the file: of two mounts on one
// place the later is on top.
func parseMounts(text string) ([]mount, error) {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(rest) < 2 {
			return nil, fmt.Errorf("line %q: want at least six fields, a dash and two more", line)
		}
		super := rest[len(rest)-1] // the source before it may be empty
		mounts = append(mounts, mount{
			point:    fields[4],
			readonly: hasOption(fields[5], "ro") || hasOption(super, "ro"),
		})
	}
	return mounts, nil
}

func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
	}
	return false
}

// onTop returns the mount that is seen at a place.
func onTop(mounts []mount, point string) (mount, bool) {
	for _, m := range slices.Backward(mounts) {
		if m.point == point {
			return m, true
		}
	}
	return mount{}, false
}

// readonlyRoot tells whether the root file system is read-only: the mount that
// is on top at /, or its file system.
func readonlyRoot(p *procfs.Process) Fact[bool] {
	mounts, err := readMounts(p)
	if err != nil {
		return UnknownFact[bool](err)
	}
	root, ok := onTop(mounts, "/")
	if !ok {
		return UnknownFact[bool](fmt.Errorf("%s: no mount on /", p.Path("mountinfo")))
	}
	return KnownFact(root.readonly, p.Path("mountinfo"))
}
