package inspect

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestReadonlyRoot(t *testing.T) {
	const rest = " rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	for _, tc := range []struct {
		name, mountinfo string
		known           Known
		want            bool
	}{
		{"writable", "22 1 8:1 / /" + rest, Present, false},
		{"read-only mount", "22 1 8:1 / / ro,relatime - overlay overlay rw,lowerdir=/x\n", Present, true},
		{"read-only file system", "22 1 8:1 / / rw,relatime - overlay overlay ro,lowerdir=/x\n", Present, true},
		{"an option that only looks like it", "22 1 8:1 / / rw,relatime - overlay overlay rw,errors=remount-ro\n", Present, false},
		{"empty source", "22 1 8:1 / / rw - tmpfs  ro\n", Present, true},
		{"mounted over", "22 1 8:1 / / ro - ext4 /dev/sda1 rw\n23 22 8:2 / /" + rest, Present, false},
		{"no root", "22 1 8:1 / /etc" + rest, Unknown, false},
		{"empty", "", Unknown, false},
		{"garbage", "22 1 8:1\n", Unknown, false},
		{"no dash", "22 1 8:1 / / rw,relatime ext4 /dev/sda1 rw\n", Unknown, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := readonlyRoot(&heldProcess{Process: recorded(t, map[string]string{"mountinfo": tc.mountinfo})})
			if v, _ := f.Value(); f.Known() != tc.known || v != tc.want {
				t.Errorf("%v %v (%v), want %v %v", f.Known(), v, f.Cause(), tc.known, tc.want)
			}
		})
	}
}

func TestParseMount(t *testing.T) {
	for line, want := range map[string]Mount{
		`36 35 98:0 /mnt1 /mnt\1340402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: {
			ID: 36, Parent: 35, Device: "98:0", Root: "/mnt1", Point: `/mnt\0402`, Options: "rw,noatime", Master: 1,
			Type: "ext3", Source: "/dev/root", SuperOptions: "rw,errors=continue",
		},
		`1 0 0:1 / /a\040b\011c\012d\134e ro shared:7 propagate_from:9 unbindable new:thing - fuse.x\040y a\040b ro`: {
			ID: 1, Parent: 0, Device: "0:1", Root: "/", Point: "/a b\tc\nd\\e", Options: "ro", Shared: 7, PropagateFrom: 9, Unbindable: true,
			Type: "fuse.x y", Source: "a b", SuperOptions: "ro",
		},
		"42 27 0:4 net:[4026532177] /run/netns/x rw - nsfs nsfs rw": {
			ID: 42, Parent: 27, Device: "0:4", Root: "net:[4026532177]", Point: "/run/netns/x", Options: "rw", Type: "nsfs", Source: "nsfs", SuperOptions: "rw",
		},
		"42 27 0:4 /- /- rw - - - rw": {ID: 42, Parent: 27, Device: "0:4", Root: "/-", Point: "/-", Options: "rw", Type: "-", Source: "-", SuperOptions: "rw"},
	} {
		if got, err := parseMount(line); err != nil || got != want {
			t.Errorf("%s\n %+v, %v\n want %+v", line, got, err, want)
		}
	}
	for _, bad := range []string{
		"x 35 98:0 / / rw - ext3 /dev/root rw", "36 -1 98:0 / / rw - ext3 /dev/root rw", "36 35 98 / / rw - ext3 /dev/root rw",
		"36 35 98:x / / rw - ext3 /dev/root rw", "36 35 98:0 / a rw - ext3 /dev/root rw", "36 35 98:0  / rw - ext3 /dev/root rw",
		"36 35 98:0 / / rw shared: - ext3 /dev/root rw", "36 35 98:0 / / rw shared:0 - ext3 /dev/root rw",
		"36 35 98:0 / / rw - ext3 /dev/root", "36 35 98:0 / / rw - ext3 /dev/root rw more", "",
	} {
		if got, err := parseMount(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// TestMountAt: what was mounted over is not seen, whatever the order of the file.
func TestMountAt(t *testing.T) {
	table, err := parseMounts(`10 1 8:1 / / rw - ext4 a rw
11 10 8:2 / /a/b rw - ext4 b rw
12 10 8:3 / /a rw - ext4 c rw
13 12 8:4 / /a/b/c rw - ext4 d rw
14 10 8:5 / /ab rw - ext4 e rw
15 14 8:6 / /ab rw - ext4 f rw
`)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 10, "/x": 10, "/a": 12, "/a/b": 12, "/a/b/c/d": 13, "/ab": 15, "/ab/a": 15, "/abc": 10} {
		if m, ok := table.at(path); !ok || m.ID != want {
			t.Errorf("%s: mount %d, want %d", path, m.ID, want)
		}
	}
	for _, m := range table.list {
		if got, want := table.visible(m), m.ID != 11 && m.ID != 14; got != want {
			t.Errorf("mount %d is visible: %v", m.ID, got)
		}
	}
}

// TestMountinfoOfAnySize: a node with many pods has thousands of mounts.
func TestMountinfoOfAnySize(t *testing.T) {
	var text strings.Builder
	text.WriteString("1 0 8:1 / / rw - ext4 a rw\n")
	for n := 2; n < 40_000; n++ {
		fmt.Fprintf(&text, "%d 1 0:%d / /run/%d rw - tmpfs tmpfs rw,mode=755\n", n, n, n)
	}
	p := recorded(t, map[string]string{"mountinfo": text.String()})
	table, err := readMounts(p)
	if m, ok := table.at("/run/39999/x"); err != nil || len(table.list) != 39_999 || !ok || m.ID != 39_999 {
		t.Errorf("%d mounts, %d at the last, %v", len(table.list), m.ID, err)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	f.Add(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 unbindable - ext3 /dev/root rw,errors=continue` + "\n37 36 0:1 / / ro - tmpfs  ro\n")
	if own, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(own))
	}
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseMounts(text)
		if err != nil {
			return
		}
		var printed strings.Builder
		for _, m := range table.list {
			printed.WriteString(printMount(m))
			table.visible(m)
		}
		back, err := parseMounts(printed.String())
		if err != nil || !reflect.DeepEqual(back.list, table.list) {
			t.Errorf("%q reads back as %+v, %v; want %+v", printed.String(), back.list, err, table.list)
		}
	})
}

func printMount(m Mount) string {
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	optional := ""
	for _, o := range []struct {
		tag string
		n   int
	}{{"shared", m.Shared}, {"master", m.Master}, {"propagate_from", m.PropagateFrom}} {
		if o.n != 0 {
			optional += fmt.Sprintf(" %s:%d", o.tag, o.n)
		}
	}
	if m.Unbindable {
		optional += " unbindable"
	}
	return fmt.Sprintf("%d %d %s %s %s %s%s - %s %s %s\n", m.ID, m.Parent, m.Device, escape.Replace(m.Root), escape.Replace(m.Point),
		m.Options, optional, escape.Replace(m.Type), escape.Replace(m.Source), m.SuperOptions)
}

// TestAtNowhere: no mount is on the way to what is no path.
func TestAtNowhere(t *testing.T) {
	table, err := parseMounts("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /a rw - ext4 /dev/sda2 rw\n3 2 8:3 / /a/b rw - ext4 /dev/sda3 rw\n")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"": 1, "a": 1, "(unreachable)/a": 1, "/": 1, "/ab": 1, "/a": 2, "/a/": 2, "/a/c": 2, "/a/b": 3, "/a/b/c": 3, "/a/bc": 2} {
		if m, ok := table.at(path); !ok || m.ID != want {
			t.Errorf("%q: %d, want %d", path, m.ID, want)
		}
	}
}
