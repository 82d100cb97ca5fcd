package inspect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func table(t testing.TB, text string) mountTable {
	t.Helper()
	m, err := parseMounts(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// recordedMounts are those of a container and of its host.
func recordedMounts(t *testing.T) (container mountTable, host hostMounts) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/mounts.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "container":
			container = table(t, string(f.Data))
		case "host":
			host = newHostMounts(table(t, string(f.Data)), "/proc/1/mountinfo", nil)
		}
	}
	return container, host
}

func TestRecordedMounts(t *testing.T) {
	container, host := recordedMounts(t)
	exists := pathExists{proc: "/nowhere", sys: "/nowhere", known: &sync.Map{}}
	report := Mounts{Masked: checkPaths(container, defaultMasked, nil, nil, exists)}
	guards := guardPoints(report)
	guards["/proc/sys"] = MountProtected
	pod := podPlaces{&Pod{UID: "PODUID"}, []string{"other", "SANDBOXID"}}
	want := map[string]string{
		"/": "root", "/proc": "kernel", "/sys": "kernel", "/sys/fs/cgroup/memory": "kernel", "/dev": "own", "/dev/pts": "own",
		"/host/etc": "host /etc", "/host/log": "host /var/log",
		"/etc/hosts":           "kubelet /var/lib/rtinspect-lab/lab/kubelet/pods/PODUID/etc-hosts",
		"/dev/termination-log": "kubelet /var/lib/rtinspect-lab/lab/kubelet/pods/PODUID/containers/app/termination-log",
		"/etc/hostname":        "sandbox /var/lib/rtinspect-lab/lab/containerd/io.containerd.grpc.v1.cri/sandboxes/SANDBOXID/hostname",
		"/dev/shm":             "sandbox /run/rtinspect-lab/lab/state/io.containerd.grpc.v1.cri/sandboxes/SANDBOXID/shm",
		"/proc/acpi":           "mask", "/proc/keys": "mask", "/sys/firmware": "mask", "/proc/sys": "protected",
	}
	for _, m := range container.list {
		c := containerMount(container, m, host, guards, pod)
		text, ok := want[m.Point]
		if !ok {
			continue
		}
		delete(want, m.Point)
		view, _ := c.Host.Value()
		got := string(c.Kind)
		if slices.Contains([]MountKind{MountHost, MountKubelet, MountSandbox}, c.Kind) {
			got += " " + strings.Join(view.Paths, " ")
		}
		if got != text || c.Hidden || c.WritableBelow != nil {
			t.Errorf("%s: %s, hidden %v, writable below %v; want %s", m.Point, got, c.Hidden, c.WritableBelow, text)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the record: %v", want)
	}
	// Of another pod, the same files are the host's.
	for _, point := range []string{"/etc/hosts", "/dev/shm"} {
		m, _ := container.at(point)
		if c := containerMount(container, m, host, guards, podPlaces{&Pod{UID: "other"}, []string{"other"}}); c.Kind != MountHost {
			t.Errorf("%s of another pod: %s", point, c.Kind)
		}
	}
	// Nothing is told of the host when its mounts are unknown.
	m, _ := container.at("/host/etc")
	c := containerMount(container, m, hostMounts{err: fs.ErrPermission}, guards, pod)
	if c.Kind != "" || !errors.Is(c.Host.Cause(), fs.ErrPermission) {
		t.Errorf("%s, %v", c.Kind, c.Host.Cause())
	}
}

func TestHostPaths(t *testing.T) {
	host := newHostMounts(table(t, `1 0 0:30 /@ / rw - btrfs /dev/sda rw
2 1 0:30 /@home /home rw - btrfs /dev/sda rw
3 1 0:30 / /mnt/top rw - btrfs /dev/sda rw
4 1 8:1 / /data rw shared:9 - ext4 /dev/sdb rw
5 1 8:1 /a /again rw - ext4 /dev/sdb rw
6 1 8:1 /a/b /over rw - ext4 /dev/sdb rw
7 6 0:50 / /over/c rw - tmpfs tmpfs rw
8 1 0:51 / /gone rw - tmpfs tmpfs rw
9 8 0:52 / /gone rw - tmpfs tmpfs rw
10 1 0:4 net:[4026532177] /run/netns/x rw - nsfs nsfs rw
`), "", nil)
	for _, tc := range []struct {
		device, root string
		want         string
		deleted      bool
	}{
		{device: "0:30", root: "/@home/u", want: "/home/u /mnt/top/@home/u"},
		{device: "0:30", root: "/@/etc", want: "/etc /mnt/top/@/etc"},
		{device: "0:30", root: "/@homes", want: "/mnt/top/@homes"},
		{device: "8:1", root: "/", want: "/data"},
		{device: "8:1", root: "/ab", want: "/data/ab"},
		{device: "8:1", root: "/a/b", want: "/over /again/b /data/a/b"},
		{device: "8:1", root: "/a/b/c", want: "/again/b/c /data/a/b/c"}, // hidden at /over/c
		{device: "8:1", root: "/x//deleted", want: "/data/x", deleted: true},
		{device: "0:51", root: "/", want: ""}, // mounted over
		{device: "0:4", root: "net:[4026532177]", want: "/run/netns/x"},
		{device: "0:99", root: "/", want: ""},
	} {
		v, ok := host.view(Mount{Device: tc.device, Root: tc.root}).Value()
		if got := strings.Join(v.Paths, " "); !ok || got != tc.want || v.Deleted != tc.deleted || v.Paths == nil {
			t.Errorf("%s %s: %q deleted %v, want %q", tc.device, tc.root, got, v.Deleted, tc.want)
		}
	}
	v, _ := host.view(Mount{Device: "8:1", Root: "/", Shared: 9, Master: 3}).Value()
	if !slices.Equal(v.Peers, []string{"/data"}) || v.Masters != nil {
		t.Errorf("peers %q, masters %q", v.Peers, v.Masters)
	}
	v, _ = host.view(Mount{Device: "8:1", Root: "/", Shared: 3, Master: 9}).Value()
	if v.Peers != nil || !slices.Equal(v.Masters, []string{"/data"}) {
		t.Errorf("peers %q, masters %q", v.Peers, v.Masters)
	}
}

func TestPodMount(t *testing.T) {
	pod := podPlaces{&Pod{UID: "u-1"}, []string{"", "s"}}
	for path, want := range map[string]string{
		"/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~empty-dir/tmp":             "volume empty-dir",
		"/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~projected/kube-api-access": "volume projected",
		"/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/pv/mount":              "volume csi",
		"/var/lib/kubelet/pods/u-1/volume-subpaths/tmp/app/0":                       "volume subpath",
		"/var/lib/kubelet/pods/u-1/etc-hosts":                                       "kubelet ",
		"/var/lib/kubelet/pods/u-2/etc-hosts":                                       " ",
		"/var/lib/kubelet/pods/u-1":                                                 " ",
		"/var/lib/containerd/x/sandboxes/s/hostname":                                "sandbox ",
		"/run/containers/storage/overlay-containers/s/userdata/resolv.conf":         "sandbox ",
		"/run/containers/storage/overlay-containers/other/userdata/resolv.conf":     " ",
		"/var/lib/containers/storage/overlay-containers/s":                          " ",
		"/etc": " ",
	} {
		if kind, volume := pod.mount(path); string(kind)+" "+volume != want {
			t.Errorf("%s: %s %s, want %s", path, kind, volume, want)
		}
	}
	if kind, _ := (podPlaces{pod: &Pod{}}).mount("/var/lib/kubelet/pods//etc-hosts"); kind != "" {
		t.Errorf("a pod without a UID: %s", kind)
	}
}

// TestSubPath: a folder of the host stays one when it is mounted by a subPath.
func TestSubPath(t *testing.T) {
	pod := podPlaces{&Pod{UID: "u"}, nil}
	const place = "/var/lib/kubelet/pods/u/volume-subpaths/v/app/0"
	for _, tc := range []struct {
		paths []string
		want  string
	}{
		{[]string{place, "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/v/sub"}, "volume empty-dir"},
		{[]string{place}, "volume subpath"},
		{[]string{place, "/var/log/pods"}, "host "},
		{[]string{place, "/var/lib/kubelet/pods/other/volumes/kubernetes.io~empty-dir/v"}, "host "},
	} {
		if kind, volume := pod.kind(tc.paths); string(kind)+" "+volume != tc.want {
			t.Errorf("%q: %s %s, want %s", tc.paths, kind, volume, tc.want)
		}
	}
}

// TestSandboxesOf: without a runtime it may be any container of the pod.
func TestSandboxesOf(t *testing.T) {
	of := func(id, uid, sandbox string) listed {
		f := listed{}
		f.ID, f.Pod = id, &Pod{UID: uid, SandboxID: sandbox}
		return f
	}
	all := []listed{of("a", "u", ""), of("b", "u", ""), of("c", "v", ""), of("d", "", ""), {}}
	for want, f := range map[string]listed{"a b": all[0], "c": all[2], "": all[3], "s": of("e", "u", "s")} {
		if got := strings.Join(sandboxesOf(&f, all), " "); got != want {
			t.Errorf("%s: %q, want %q", f.ID, got, want)
		}
	}
	if got := sandboxesOf(&all[4], all); got != nil {
		t.Errorf("%q", got)
	}
}

func TestWritableBelow(t *testing.T) {
	container := table(t, `10 1 0:1 / / ro - overlay overlay rw
11 10 8:1 /srv /data ro - ext4 /dev/sda rw
12 11 8:1 /srv/a /data/a rw - ext4 /dev/sda rw
13 11 8:1 /srv/b /data/b ro - ext4 /dev/sda rw
14 13 0:2 / /data/b/t rw - tmpfs tmpfs rw
15 11 0:3 / /data/c rw - tmpfs tmpfs rw
16 15 0:4 / /data/c ro - tmpfs tmpfs ro
17 10 0:5 / /database rw - tmpfs tmpfs rw
18 10 0:6 / /sys ro - sysfs sysfs ro
19 18 0:7 / /sys/fs/cgroup rw - tmpfs tmpfs rw
20 10 8:1 /w /writable rw - ext4 /dev/sda rw
21 20 0:8 / /writable/x rw - tmpfs tmpfs rw
`)
	host := newHostMounts(table(t, "1 0 8:1 / / rw - ext4 /dev/sda rw\n"), "", nil)
	for point, want := range map[string]string{"/": "", "/data": "/data/a /data/b/t", "/data/b": "/data/b/t", "/sys": "", "/writable": ""} {
		m, _ := container.at(point)
		if got := strings.Join(containerMount(container, m, host, nil, podPlaces{}).WritableBelow, " "); got != want {
			t.Errorf("%s: %q, want %q", point, got, want)
		}
	}
	if m := container.list[5]; !containerMount(container, m, host, nil, podPlaces{}).Hidden {
		t.Error("what was mounted over is not hidden")
	}
}

// TestGuards: the kernel of the test has the paths that it makes.
func TestGuards(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"proc/keys", "proc/scsi/x", "proc/sys", "sys/firmware"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exists := pathExists{proc: filepath.Join(dir, "proc"), sys: filepath.Join(dir, "sys"), known: &sync.Map{}}
	const root, proc = "1 0 0:1 / / rw - overlay overlay rw\n", "2 1 0:2 / /proc rw - proc proc rw\n"
	const sys = "3 1 0:3 / /sys rw - sysfs sysfs ro\n"
	for _, tc := range []struct{ name, mounts, path, want string }{
		{"untouched", root + proc, "/proc/keys", "none"},
		{"masked file", root + proc + "4 2 0:9 /null /proc/keys rw - tmpfs tmpfs rw\n", "/proc/keys", "masked"},
		{"masked file in a user namespace", root + proc + "4 2 0:9 /null /proc/keys rw - devtmpfs devtmpfs rw\n", "/proc/keys", "masked"},
		{"masked folder", root + proc + "4 2 0:9 / /proc/scsi ro - tmpfs tmpfs ro\n", "/proc/scsi", "masked"},
		{"below a masked folder", root + proc + "4 2 0:9 / /proc/scsi ro - tmpfs tmpfs ro\n", "/proc/scsi/x", "masked"},
		{"a writable folder is no mask", root + proc + "4 2 0:9 / /proc/scsi rw - tmpfs tmpfs rw\n", "/proc/scsi", "replaced"},
		{"another file instead of null", root + proc + "4 2 0:2 /sys/kernel/core_pattern /proc/keys rw - proc proc rw\n", "/proc/keys", "replaced"},
		{"another file of tmpfs", root + proc + "4 2 0:9 /nul /proc/keys rw - tmpfs tmpfs rw\n", "/proc/keys", "replaced"},
		{"FUSE over it", root + proc + "4 2 0:9 / /proc/keys rw - fuse.lxcfs lxcfs rw\n", "/proc/keys", "replaced"},
		{"another file made read-only", root + proc + "4 2 0:2 /keys /proc/sys ro - proc proc rw\n", "/proc/sys", "replaced"},
		{"read-only", root + proc + "4 2 0:2 /sys /proc/sys ro - proc proc rw\n", "/proc/sys", "read-only"},
		{"remounted writable", root + proc + "4 2 0:2 /sys /proc/sys rw - proc proc rw\n", "/proc/sys", "none"},
		{"all of proc read-only", root + "2 1 0:2 / /proc ro - proc proc rw\n", "/proc/sys", "read-only"},
		{"the file system read-only", root + sys, "/sys/firmware", "read-only"},
		{"mask below a later mount", root + proc + "4 2 0:9 / /proc/scsi ro - tmpfs tmpfs ro\n5 2 0:2 / /proc rw - proc proc rw\n", "/proc/scsi", "none"},
		{"mask mounted over", root + proc + "4 2 0:9 / /proc/scsi ro - tmpfs tmpfs ro\n5 4 0:2 /scsi /proc/scsi rw - proc proc rw\n", "/proc/scsi", "none"},
		{"not in this kernel", root + proc, "/proc/timer_list", "absent"},
		{"no proc", root, "/proc/keys", "absent"},
		{"only processes", root + "2 1 0:2 / /proc rw - proc proc rw,subset=pid\n", "/proc/keys", "absent"},
		{"neither proc nor sys", root + proc, "/etc/shadow", "unknown"},
		{"masked elsewhere", root + "4 1 0:9 /null /etc/shadow rw - tmpfs tmpfs rw\n", "/etc/shadow", "masked"},
		{"no root", proc, "/proc/keys", "unknown"},
	} {
		f := guardOf(table(t, tc.mounts), tc.path, exists)
		got := f.Known().String()
		if v, ok := f.Value(); ok {
			got = string(v)
		}
		if got != tc.want {
			t.Errorf("%s: %s (%s%v), want %s", tc.name, got, f.Source(), f.Cause(), tc.want)
		}
	}
	checks := checkPaths(table(t, root+proc+"4 2 0:2 /sys /proc/sys ro - proc proc rw\n5 4 0:9 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\n"),
		[]string{"/proc/sys"}, []string{"/proc/keys"}, nil, exists)
	if len(checks) != 2 || checks[1].Path != "/proc/sys" || !slices.Equal(checks[1].WritableBelow, []string{"/proc/sys/fs/binfmt_misc"}) {
		t.Errorf("%+v", checks)
	}
	if a, _ := checks[0].Declared.Value(); !a {
		t.Error("/proc/keys is declared")
	}
	if b, ok := checks[1].Declared.Value(); b || !ok {
		t.Error("/proc/sys is not declared")
	}
	if c := checkPaths(table(t, root), []string{"/proc/sys"}, nil, fs.ErrInvalid, exists); !errors.Is(c[0].Declared.Cause(), fs.ErrInvalid) {
		t.Errorf("without a specification: %+v", c)
	}
}

// TestDevicesAreLeftAlone where looking could hang: the process is not even looked at.
func TestDevicesAreLeftAlone(t *testing.T) {
	for _, tc := range []struct{ mounts, want string }{
		{"1 0 0:1 / / rw - fuse.sshfs x rw\n2 1 0:2 / /dev rw - tmpfs tmpfs rw\n", "/ is on fuse.sshfs"},
		{"1 0 0:1 / / rw - nfs4 x rw\n2 1 0:2 / /dev rw - tmpfs tmpfs rw\n", "/ is on nfs4"},
		{"1 0 0:1 / / rw - overlay x rw\n2 1 0:2 / /dev rw - fuse x rw\n", "/dev is on fuse"},
		{"1 0 0:1 / / rw - overlay x rw\n", "/dev is on overlay"},
		{"2 1 0:2 / /dev rw - tmpfs tmpfs rw\n", "no mount on /"},
	} {
		if f := devices(nil, table(t, tc.mounts)); f.Known() != Unknown || !strings.Contains(f.Cause().Error(), tc.want) {
			t.Errorf("%q: %v %v, want %s", tc.mounts, f.Known(), f.Cause(), tc.want)
		}
	}
}
