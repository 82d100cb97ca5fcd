package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// forbidden are the system calls that do more than read. Go's runtime signals
// its own threads, which is looked at below.
const forbidden = "ptrace,process_vm_readv,process_vm_writev,setns,unshare,mount,umount2,pivot_root,chroot,move_mount,open_tree," +
	"fsopen,mount_setattr,kill,tkill,tgkill,rt_sigqueueinfo,rt_tgsigqueueinfo,pidfd_send_signal,pidfd_getfd,execve,execveat," +
	"unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,mknod,mknodat,chmod,fchmod," +
	"fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate,utimensat,setxattr,lsetxattr,fsetxattr,bpf,init_module,finit_module," +
	"setuid,setgid,setreuid,setregid,setresuid,setresgid,setgroups,capset,reboot,kexec_load,sethostname,swapon,open,openat,openat2,creat"

// TestLabOnlyReads runs every command under strace: nothing is executed in a
// container, no namespace entered, nothing traced, signaled, mounted or opened
// for writing.
func TestLabOnlyReads(t *testing.T) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("needs the lab: make test")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace")
	}
	rtinspect := buildProgram(t)
	for _, args := range [][]string{
		{"ps", "--all", "-o", "wide"},
		{"pods"},
		{"inspect", "pod-default-caps", "pod-privileged", "pod-user-namespace"},
		{"caps"},
		{"caps", "pod-shared-pid/app"},
		{"caps", "--pid", strconv.Itoa(os.Getpid())},
		{"caps", "--mask", "a80425fb"},
		{"version"},
		{"completion", "bash"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "calls")
			cmd := exec.Command("strace", append([]string{"-f", "-qq", "-e", "trace=" + forbidden, "-e", "signal=none", "-o", file, rtinspect}, args...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			calls := strings.Split(strings.TrimSpace(string(data)), "\n")
			if len(calls) == 0 || !strings.Contains(calls[0], "execve(") {
				t.Fatalf("strace began with %q, not with our own execve", calls[0])
			}
			own, _, _ := strings.Cut(calls[0], " ")
			for _, call := range calls[1:] {
				if !harmless(call, own) {
					t.Error(call)
				}
			}
		})
	}
}

var (
	readOnlyOpen = regexp.MustCompile(`^\d+ +open(at|at2)?\(.*\b(O_RDONLY|O_PATH)\b`)
	writingFlag  = regexp.MustCompile(`O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND`)
	resumed      = regexp.MustCompile(`^\d+ +<\.\.\. \w+ resumed>`)
)

// harmless takes an open for reading, and the signals by which Go's runtime
// stops its own threads.
func harmless(call, own string) bool {
	switch {
	case resumed.MatchString(call):
		return true // the second half of a call that was looked at
	case strings.Contains(call, "???( <detached"):
		return true // a thread that ended as strace took hold of it
	case readOnlyOpen.MatchString(call):
		return !writingFlag.MatchString(call)
	}
	return strings.Contains(call, " tgkill("+own+", ")
}

// TestHarmless: the check of TestLabOnlyReads can fail.
func TestHarmless(t *testing.T) {
	for call, want := range map[string]bool{
		`7 openat(AT_FDCWD, "/proc/9", O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY) = 3`: true,
		`7 openat(3, "status", O_RDONLY|O_CLOEXEC <unfinished ...>`:                true,
		`7 <... openat resumed>)             = 3`:                                  true,
		`9 tgkill(7, 8, SIGURG)              = 0`:                                  true,
		`9 tgkill(70, 8, SIGURG)             = 0`:                                  false,
		`7 kill(9, SIGTERM)                  = 0`:                                  false,
		`7 openat(AT_FDCWD, "/x", O_RDWR|O_CLOEXEC) = 3`:                           false,
		`7 openat(AT_FDCWD, "/x", O_RDONLY|O_CREAT, 0666) = 3`:                     false,
		`7 setns(3, CLONE_NEWNET)            = 0`:                                  false,
		`7 execve("/bin/sh", ["sh"], 0x0)    = 0`:                                  false,
	} {
		if got := harmless(call, "7"); got != want {
			t.Errorf("%v, want %v: %s", got, want, call)
		}
	}
}
