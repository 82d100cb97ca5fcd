package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// TestKernelGVisor: without a runtime gVisor is known by its program, on a mount that the node has and its process has not. A program
// of that name in a container, or in the mounts of the node, is none.
func TestKernelGVisor(t *testing.T) {
	const id = "5979d7cb4321337b3b172359c046d081f91c0c7c822887d19f2b8a1a885b6c92"
	program := filepath.Join(t.TempDir(), "runsc")
	writeTest(t, program, "")
	writeTest(t, program+"-like", "")
	here, elsewhere := mountLine(mountOfTest(t, program)), mountLine(999999)
	for _, tt := range []struct {
		name, exe, host, own string
		want                 bool
	}{
		{"gVisor", program, here, elsewhere, true},
		{"on a mount of its own", program, elsewhere, here, false},
		{"in the node's mount namespace", program, here, here, false},
		{"nobody's mount", program, elsewhere, elsewhere, false},
		{"another program", program + "-like", here, elsewhere, false},
		{"not readable", program + "-none", here, elsewhere, false},
		{"the node's mounts are not known", program, "", elsewhere, false},
		{"its mounts are not known", program, here, "", false},
	} {
		root := t.TempDir()
		process := func(pid, parent int, mounts, exe string, args ...string) {
			dir := filepath.Join(root, "proc", fmt.Sprint(pid))
			group := "/user.slice"
			if pid > 2 {
				group = "/kubepods/pod1/" + id
			}
			writeTest(t, filepath.Join(dir, "cgroup"), "0::"+group+"\n")
			writeTest(t, filepath.Join(dir, "status"), fmt.Sprintf("Name:\texe\nState:\tS (sleeping)\nNSpid:\t%d\t1\n", pid))
			writeTest(t, filepath.Join(dir, "stat"), fmt.Sprintf("%d (exe) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, parent, pid))
			writeTest(t, filepath.Join(dir, "cmdline"), strings.Join(args, "\x00")+"\x00")
			if mounts != "" {
				writeTest(t, filepath.Join(dir, "mountinfo"), mounts)
			}
			if err := os.Symlink(exe, filepath.Join(dir, "exe")); err != nil {
				t.Fatal(err)
			}
		}
		process(1, 0, tt.host, "/sbin/init", "init")
		process(310, 239, tt.own, tt.exe, "runsc-gofer", "--root=/run")
		process(325, 239, tt.own, tt.exe, "runsc-sandbox", "--root=/run")
		process(400, 325, tt.own, tt.exe, "runsc-sandbox") // a guest's: it has a parent in the container

		list, _ := OpenKernel(Options{HostRoot: root}, nil).List(t.Context())
		if len(list) != 1 {
			t.Fatalf("%s: %+v, want one container", tt.name, list)
		}
		pid, _ := list[0].PID.Value()
		tier, known := list[0].Tier.Value()
		if wantPID := map[bool]int{true: 325, false: 310}[tt.want]; pid != wantPID || known != tt.want || list[0].Guest() != tt.want {
			t.Errorf("%s: process %d, want %d; tier %q", tt.name, pid, wantPID, tier)
		}
	}
}

// mountOfTest is the number of the mount that a file is on.
func mountOfTest(t *testing.T, file string) int {
	t.Helper()
	self, err := procfs.FS{}.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := self.MountID(fmt.Sprintf("fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mountLine(id int) string { return fmt.Sprintf("%d 1 0:32 / / rw - ext4 /dev/vda rw\n", id) }
