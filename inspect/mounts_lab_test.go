package inspect_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/inspect"
)

// details returns the report of one container of the lab with its mounts, and the way into its file system.
func details(t *testing.T, i *inspect.Inspector, ref string) (m inspect.Mounts, root string) {
	t.Helper()
	list, err := i.Details(t.Context(), ref)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d, %v", ref, len(list), err)
	}
	for _, g := range list[0].Gaps() {
		t.Errorf("%s: unknown: %s: %v", ref, g.Fact, g.Cause)
	}
	return value(t, "mounts", list[0].Mounts), "/proc/" + strconv.Itoa(value(t, "pid", list[0].PID)) + "/root"
}

func mountOn(t *testing.T, m inspect.Mounts, point string) inspect.ContainerMount {
	t.Helper()
	for _, c := range m.InForce {
		if c.Point == point {
			return c
		}
	}
	t.Fatalf("no mount on %s", point)
	return inspect.ContainerMount{}
}

// TestLabHostPaths maps binds back to the host, and tells the pod's own files from the host's.
func TestLabHostPaths(t *testing.T) {
	i := lab(t)
	m, root := details(t, i, "pod-host-path")
	for point, want := range map[string]struct {
		kind     inspect.MountKind
		path     string // its end, for a path of the lab's
		readonly bool
	}{
		"/host/etc":            {inspect.MountHost, "/etc", true},
		"/host/log":            {inspect.MountHost, "/var/log", false},
		"/etc/hosts":           {inspect.MountKubelet, "/etc-hosts", false},
		"/dev/termination-log": {inspect.MountKubelet, "/containers/app/termination-log", false},
		"/etc/hostname":        {inspect.MountSandbox, "/hostname", false},
		"/etc/resolv.conf":     {inspect.MountSandbox, "/resolv.conf", false},
		"/dev/shm":             {inspect.MountSandbox, "/shm", false},
		"/":                    {inspect.MountRoot, "/rootfs", false},
	} {
		c := mountOn(t, m, point)
		equal(t, point+" kind", c.Kind, want.kind)
		equal(t, point+" readonly", c.Readonly, want.readonly)
		paths := value(t, point, c.Host).Paths
		if len(paths) != 1 || !strings.HasSuffix(paths[0], want.path) || c.Kind == inspect.MountHost && paths[0] != want.path {
			t.Errorf("%s: host paths %q, want %s", point, paths, want.path)
			continue
		}
		// The same file from both sides.
		ours, err := os.Stat(paths[0])
		if err != nil {
			t.Error(err)
			continue
		}
		theirs, err := os.Stat(filepath.Join(root, point))
		if err != nil || !os.SameFile(ours, theirs) {
			t.Errorf("%s is not %s of the host: %v", point, paths[0], err)
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(m.InForce), func(c inspect.ContainerMount) bool { return c.Kind != inspect.MountHost })); n != 2 {
		t.Errorf("%d mounts of the host's, want 2", n)
	}
	c := mountOn(t, mountsOf(t, i, "pod-readonly"), "/tmp")
	equal(t, "/tmp", c.Kind, inspect.MountVolume)
	equal(t, "/tmp", c.Volume, "empty-dir")
}

func mountsOf(t *testing.T, i *inspect.Inspector, ref string) inspect.Mounts {
	t.Helper()
	m, _ := details(t, i, ref)
	return m
}

// TestLabGuardedPaths compares each path with what is found there.
func TestLabGuardedPaths(t *testing.T) {
	i := lab(t)
	for ref, privileged := range map[string]bool{"pod-default-caps": false, "pod-hardened": false, "pod-user-namespace": false, "pod-privileged": true, "pod-host-ns": true} {
		m, root := details(t, i, ref)
		guards := map[inspect.PathGuard]int{}
		for _, c := range slices.Concat(m.Masked, m.ReadonlyPaths) {
			equal(t, ref+" "+c.Path+" declared", value(t, c.Path, c.Declared), !privileged)
			if _, err := os.Lstat(c.Path); err != nil {
				equal(t, ref+" "+c.Path+", which this kernel lacks", c.InForce.Known(), inspect.Absent)
				continue
			}
			guard := value(t, ref+" "+c.Path, c.InForce)
			guards[guard]++
			equal(t, ref+" "+c.Path, guard, found(t, filepath.Join(root, c.Path)))
			if len(c.WritableBelow) > 0 {
				t.Errorf("%s %s: writable below: %v", ref, c.Path, c.WritableBelow)
			}
		}
		switch {
		// Its /sys may be of a file system that is read-only for all.
		case privileged && (guards[inspect.GuardNone] == 0 || guards[inspect.GuardMasked] > 0 || guards[inspect.GuardReplaced] > 0):
			t.Errorf("%s: %v, want none masked", ref, guards)
		case !privileged && (guards[inspect.GuardMasked] == 0 || guards[inspect.GuardReadonly] == 0 || len(guards) != 2):
			t.Errorf("%s: %v, want all guarded", ref, guards)
		}
	}
}

// found looks at a path: an empty folder of no proc or sysfs, or the null device, in its place masks it.
func found(t *testing.T, path string) inspect.PathGuard {
	t.Helper()
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Lstat(path, &st), unix.Statfs(path, &fs)); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(path)
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) == 1 && unix.Minor(st.Rdev) == 3,
		st.Mode&unix.S_IFMT == unix.S_IFDIR && len(entries) == 0 && fs.Type == unix.TMPFS_MAGIC:
		return inspect.GuardMasked
	case fs.Flags&unix.ST_RDONLY != 0:
		return inspect.GuardReadonly
	}
	return inspect.GuardNone
}

// TestLabDevices: a privileged container has the host's devices, any other the six that every container has.
func TestLabDevices(t *testing.T) {
	i := lab(t)
	names := func(ref string) []string {
		m, root := details(t, i, ref)
		var list []string
		for _, d := range value(t, "devices", m.Devices.InForce) {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(root, d.Path), &st); err != nil || int64(unix.Major(st.Rdev)) != d.Major || int64(unix.Minor(st.Rdev)) != d.Minor {
				t.Errorf("%s %+v: %d:%d, %v", ref, d, unix.Major(st.Rdev), unix.Minor(st.Rdev), err)
			}
			list = append(list, d.Path)
		}
		return list
	}
	want := []string{"/dev/full", "/dev/null", "/dev/pts/ptmx", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"}
	for _, ref := range []string{"pod-default-caps", "pod-user-namespace"} {
		if got := names(ref); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", ref, got, want)
		}
	}
	got := names("pod-privileged")
	for _, path := range append(want, "/dev/kmsg") {
		if !slices.Contains(got, path) {
			t.Errorf("pod-privileged has no %s: %v", path, got)
		}
	}
	m := mountsOf(t, i, "pod-privileged")
	if d := value(t, "declared", m.Devices.Declared); len(d.Nodes) == 0 || !d.Rules[len(d.Rules)-1].Allow {
		t.Errorf("pod-privileged declares %+v", d)
	}
	if d := value(t, "declared", mountsOf(t, i, "pod-default-caps").Devices.Declared); len(d.Nodes) != 0 || len(d.Rules) == 0 || d.Rules[0].Allow {
		t.Errorf("pod-default-caps declares %+v", d)
	}
}

// TestLabDetailsOnlyWhenAsked: what costs more is in Details and Snapshot only.
func TestLabDetailsOnlyWhenAsked(t *testing.T) {
	i := lab(t)
	r, err := i.Container(t.Context(), "pod-no-caps")
	if err != nil || r.Mounts.Known() != inspect.Unknown || r.Processes.Known() != inspect.Unknown || len(r.Gaps()) > 0 {
		t.Errorf("mounts %v, processes %v, gaps %v, %v", r.Mounts.Known(), r.Processes.Known(), r.Gaps(), err)
	}
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Containers {
		if state, _ := r.State.Value(); state != inspect.StateRunning {
			equal(t, r.FullName()+" mounts", r.Mounts.Known(), inspect.Absent)
			continue
		}
		value(t, r.FullName()+" mounts", r.Mounts)
		if len(value(t, r.FullName()+" processes", r.Processes).List) == 0 {
			t.Errorf("%s runs without a process", r.FullName())
		}
	}
}
