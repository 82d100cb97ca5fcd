package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// tracedCommands returns command lines of every command: for all containers, for
// some, for a process, and from a snapshot.
func tracedCommands(t *testing.T) [][]string {
	pid := strings.TrimSpace(whole(t, "inspect", "pod-with-limits", "-o", "go-template={{.pid.value}}"))
	socket := strings.TrimPrefix(os.Getenv("CONTAINER_RUNTIME_ENDPOINT"), "unix://")
	file := labSnapshot(t)
	var list [][]string
	for _, format := range []string{formatTable, formatWide, formatJSON} {
		for _, args := range [][]string{
			{"ps", "--all"},
			{"pods"},
			{"inspect"},
			{"inspect", "pod-default-caps", "pod-privileged", "pod-user-namespace"},
			{"inspect", "--snapshot", file},
			{"caps"},
			{"caps", "pod-shared-pid/app"},
			{"ns"},
			{"ns", "pod-host-ns"},
			{"ns", "--pid", pid},
			{"ns", "--snapshot", file},
			{"cgroup"},
			{"cgroup", "pod-with-limits"},
			{"cgroup", "--pid", pid},
			{"top"},
			{"top", "pod-shared-pid/app"},
			{"top", "--snapshot", file},
			{"audit"},
			{"audit", "pod-privileged", "pod-hardened"},
			{"audit", "--snapshot", file},
			{"explain"},
			{"explain", "privileged"},
			{"events", "--since-start=false", "--timeout", "5s"},
			{"events", "--since-start=false", "--timeout", "5s", "--audit"},
			{"events", "--no-marker", "--since-start=false", "--timeout", "5s"},
			{"diff", file, file},
			{"sockets"},
			{"sockets", socket},
			{"sockets", "--connect", socket},
		} {
			list = append(list, append(args, "-o", format))
		}
	}
	list = append(list, withFlags(t, file)...)
	list = append(list, [][]string{
		{"caps", "--pid", strconv.Itoa(os.Getpid())},
		{"caps", "--mask", "a80425fb"},
		{"snapshot"},
		{"snapshot", "-o", "yaml"},
		{"snapshot", "--snapshot", file},
		{"version"},
		{"completion", "bash"},
		{"help", "ps"},
		{completeCommand, "caps", "pod-"},
	}...)
	for _, name := range []string{"ps", "inspect", "caps", "ns", "cgroup", "top", "sockets", "audit", "snapshot"} {
		list = append(list, []string{name, "--runtime-endpoint", "none"})
	}
	return list
}

// readsAll are command lines that read, together, all that any command does. An
// emulated machine, where tracing takes long, has time for no others.
func readsAll() [][]string {
	return [][]string{
		{"snapshot"},
		{"snapshot", "--runtime-endpoint", "none"},
		{"sockets", "--connect", strings.TrimPrefix(os.Getenv("CONTAINER_RUNTIME_ENDPOINT"), "unix://")},
		{"events", "--audit", "--since-start=false", "--count", "3", "--timeout", "2m"},
	}
}

// withFlags are command lines with the flags that no other has: each flag of each command is given once, see untraced.
func withFlags(t *testing.T, file string) [][]string {
	t.Helper()
	baseline := filepath.Join(t.TempDir(), "accepted.yaml")
	var stdout, stderr bytes.Buffer
	if status := run([]string{"audit", "--snapshot", file, "--write-baseline", baseline}, nil, &stdout, &stderr); status > statusIncomplete {
		t.Fatalf("status %d\n%s\n%s", status, &stdout, &stderr)
	}
	list := [][]string{
		{"ps", "--no-headers", "--no-trunc", "--color", "always", "--timeout", "5s"},
		{"pods", "--no-headers", "--no-trunc"},
		{"inspect", "--show-secrets"},
		{"caps", "--no-headers", "--no-trunc", "--default", "docker"},
		{"ns", "--no-headers", "--no-trunc"},
		{"cgroup", "--no-headers", "--no-trunc"},
		{"top", "--no-headers", "--no-trunc", "--redact-args"},
		{"top", "--host-root", "/proc/self/root"},
		{"sockets", "--no-headers"},
		{"audit", "--standard", "pss-restricted", "--pss-version", "v1.25"},
		{"audit", "--standard", "cis-docker", "-o", "junit"},
		{"audit", "--baseline", baseline, "-o", "sarif"},
		{"audit", "--snapshot", file, "--write-baseline", outputFile},
		{"audit", "-o", "html", "--severity", "info"},
		{"audit", "--rule", "privileged", "--no-trunc"},
		{"audit", "--skip-rule", "privileged", "--exit-code", "--fail-on", "info", "--fail-on-unknown"},
		{"events", "--since-start=false", "--count", "1", "--no-trunc", "--severity", "info", "--audit"},
		{"events", "--since-start=false", "--filter", "/tasks/start", "--until", "/tasks/start", "--pod", "pod-with-limits"},
		{"events", "--since-start=false", "--container", "pod-with-limits", "--timeout", "2s"},
		{"explain", "--no-headers"},
		{"version", "-o", formatJSON},
		{"snapshot", "--redact-args"},
		{"diff", file, file, "--no-trunc", "--severity", "info", "--exit-code"},
	}
	for _, name := range []string{"ps", "pods", "inspect", "caps", "ns", "cgroup", "top", "sockets", "explain"} {
		list = append(list, []string{name, "-q"})
	}
	for _, name := range []string{"ps", "pods", "caps", "cgroup", "sockets"} {
		list = append(list, []string{name, "--snapshot", file})
	}
	return list
}

// outputFile stands for a file of the test's own that the command writes.
const outputFile = "OUTPUT"

// untraced returns the flags of commands that are in no command line; those of all commands need be in one only.
func untraced(lines [][]string) []string {
	var missing []string
	ofAll := map[string]bool{"runtime-endpoint": true, "host-root": true, "snapshot": true, "timeout": true, "color": true}
	for _, c := range (&invocation{}).commands() {
		for _, flag := range c.Flags {
			given := slices.ContainsFunc(lines, func(args []string) bool {
				return (args[0] == c.Name || ofAll[flag.Names()[0]]) && slices.ContainsFunc(args[1:], func(arg string) bool {
					name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
					return strings.HasPrefix(arg, "-") && slices.Contains(flag.Names(), name)
				})
			})
			if !given && c.Name != connectCommand {
				missing = append(missing, c.Name+" --"+flag.Names()[0])
			}
		}
	}
	return missing
}

// TestLabOnlyReads runs every command under strace: nothing is executed in a
// container, no namespace entered, nothing traced, signaled, mounted or opened
// for writing.
func TestLabOnlyReads(t *testing.T) {
	labManifests(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace")
	}
	rtinspect := buildProgram(t)
	lines := readsAll()
	if os.Getenv("RTINSPECT_VM") == "" {
		lines = tracedCommands(t)
		everyCommand(t, lines)
		if missing := untraced(lines); len(missing) > 0 {
			t.Errorf("no command line has %s", strings.Join(missing, ", "))
		}
	}
	for _, args := range lines {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			output := filepath.Join(t.TempDir(), "output")
			args := slices.Clone(args)
			if n := slices.Index(args, outputFile); n >= 0 {
				args[n] = output
			}
			calls := traced(t, rtinspect, args)
			tr := traceOf(calls, slices.Contains(args, "--connect"))
			if slices.Contains(args, output) {
				tr.output = output
			}
			for _, call := range calls[1:] {
				if !tr.harmless(call) {
					t.Error(call)
				}
			}
			if tr.child == "" {
				return
			}
			for _, call := range connecting {
				if n := tr.count(calls, call); n != 1 {
					t.Errorf("the child process makes %d calls %s, want 1", n, call)
				}
			}
			if !slices.ContainsFunc(calls, givingUp.MatchString) {
				t.Error("the child process keeps its capabilities")
			}
		})
	}
}

// everyCommand wants a command line of each command.
func everyCommand(t *testing.T, lines [][]string) {
	t.Helper()
	for _, c := range (&invocation{}).commands() {
		if c.Name != connectCommand && !slices.ContainsFunc(lines, func(args []string) bool { return args[0] == c.Name }) {
			t.Errorf("%s is not looked at", c.Name)
		}
	}
}

// traced runs rtinspect under strace and returns the forbidden calls that it
// makes, its own execve first.
func traced(t *testing.T, rtinspect string, args []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calls")
	cmd := exec.Command("strace", append([]string{"-f", "--seccomp-bpf", "-qq", "-e", "trace=" + forbidden, "-e", "signal=none", "-o", file, rtinspect}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Of the node something may be unknown, as with securityfs: it was tried to be read.
	status := statusIncomplete
	if slices.Contains(args, "--exit-code") {
		status = statusFindings
	}
	if err := cmd.Run(); cmd.ProcessState.ExitCode() > status || cmd.ProcessState.ExitCode() == statusUsage || stdout.Len() == 0 {
		t.Fatalf("%v, %d bytes on stdout\n%s", err, stdout.Len(), &stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Split(strings.TrimSpace(string(data)), "\n")
	if !strings.Contains(calls[0], "execve(") {
		t.Fatalf("strace began with %q, not with our own execve", calls[0])
	}
	return calls
}

// trace tells the processes of one command apart.
type trace struct {
	own   string // our pid
	child string // that of the process that connects, "" for none
	// output is the file that it was told to write, "" for none.
	output string
}

// traceOf finds the processes. The one that connects leaves our groups first.
func traceOf(calls []string, connect bool) trace {
	own, _, _ := strings.Cut(calls[0], " ")
	tr := trace{own: own}
	for _, call := range calls {
		if pid, rest, _ := strings.Cut(call, " "); connect && strings.HasPrefix(strings.TrimSpace(rest), "setgroups(") {
			tr.child = pid
			return tr
		}
	}
	if connect {
		tr.child = "none" // to be missed
	}
	return tr
}

// connecting are the calls of the process that connects: it becomes nobody and runs
// our own program. Nothing else may be in them.
var connecting = []*regexp.Regexp{
	regexp.MustCompile(`^\d+ +setgroups\(0, NULL[) ]`),
	regexp.MustCompile(`^\d+ +setgid\(65534[) ]`),
	regexp.MustCompile(`^\d+ +setuid\(65534[) ]`),
	regexp.MustCompile(`^\d+ +execve\("/proc/self/exe", \["/proc/self/exe", "__connect", "--", `),
}

// givingUp is what it calls then, in any of its threads: it keeps no capability.
var givingUp = regexp.MustCompile(`^\d+ +capset\(\{[^{}]*, pid=0\}, \{effective=0, permitted=0, inheritable=0\}`)

// count counts the calls of the process that connects.
func (tr trace) count(calls []string, pattern *regexp.Regexp) int {
	n := 0
	for _, call := range calls {
		if strings.HasPrefix(call, tr.child+" ") && pattern.MatchString(call) {
			n++
		}
	}
	return n
}

var (
	readOnlyOpen = regexp.MustCompile(`^\d+ +open(at|at2)?\(.*\b(O_RDONLY|O_PATH)\b`)
	writingFlag  = regexp.MustCompile(`O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND`)
	unseen       = regexp.MustCompile(`^\d+ +\?\?\?\(( <(detached|unfinished)|\) += \?)`)
	resumed      = regexp.MustCompile(`^\d+ +<\.\.\. \w+ resumed>`)
)

// noSignal is how Go's runtime asks whether the kernel knows handles of processes.
var noSignal = regexp.MustCompile(`^\d+ +pidfd_send_signal\(\d+, 0, NULL, 0[) ]`)

// harmless takes an open for reading, the signals by which Go's runtime stops the
// threads of its own process, and what the process that connects is there for.
func (tr trace) harmless(call string) bool {
	pid, _, _ := strings.Cut(call, " ")
	switch {
	case resumed.MatchString(call):
		return true // the second half of a call that was looked at
	case unseen.MatchString(call):
		return true // a thread that ended as strace took hold of it
	case tr.output != "" && strings.Contains(call, ` openat(AT_FDCWD, "`+tr.output+`", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0`):
		return true
	case readOnlyOpen.MatchString(call):
		return !writingFlag.MatchString(call)
	case strings.Contains(call, " tgkill("+tr.own+", "):
		return true
	case tr.child == "":
		return false
	}
	return noSignal.MatchString(call) || givingUp.MatchString(call) || strings.Contains(call, " tgkill("+tr.child+", ") ||
		pid == tr.child && slices.ContainsFunc(connecting, func(r *regexp.Regexp) bool { return r.MatchString(call) })
}

// TestHarmless: the check of TestLabOnlyReads can fail.
func TestHarmless(t *testing.T) {
	reads, connects := trace{own: "7"}, trace{own: "7", child: "12"}
	for call, want := range map[string]bool{
		`7 openat(AT_FDCWD, "/proc/9", O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY) = 3`: true,
		`7 openat(3, "status", O_RDONLY|O_CLOEXEC <unfinished ...>`:                true,
		`7 <... openat resumed>)             = 3`:                                  true,
		`9 tgkill(7, 8, SIGURG)              = 0`:                                  true,
		`9 ???( <detached ...>`:                                                    true,
		`9 ???()                             = ?`:                                  true,
		`9 tgkill(70, 8, SIGURG)             = 0`:                                  false,
		`7 kill(9, SIGTERM)                  = 0`:                                  false,
		`7 openat(AT_FDCWD, "/x", O_RDWR|O_CLOEXEC) = 3`:                           false,
		`7 openat(AT_FDCWD, "/x", O_RDONLY|O_CREAT, 0666) = 3`:                     false,
		`7 setns(3, CLONE_NEWNET)            = 0`:                                  false,
		`7 execve("/bin/sh", ["sh"], 0x0)    = 0`:                                  false,
	} {
		if got, also := reads.harmless(call), connects.harmless(call); got != want || also != want {
			t.Errorf("%v, with --connect %v, want %v: %s", got, also, want, call)
		}
	}
	const program = `execve("/proc/self/exe", ["/proc/self/exe", "__connect", "--", "/run/a.sock"], 0x1 /* 0 vars */) = 0`
	for call, want := range map[string]bool{
		`12 setgroups(0, NULL)                = 0`: true,
		`12 setgid(65534 <unfinished ...>`:         true,
		`12 setuid(65534)                     = 0`: true,
		`12 ` + program: true,
		`12 capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=0, permitted=0, inheritable=0}) = 0`: true,
		`13 tgkill(12, 14, SIGURG)            = 0`:                                                               true,
		`7 pidfd_send_signal(13, 0, NULL, 0)  = 0`:                                                               true,
		`12 setgroups(1, [0])                 = 0`:                                                               false,
		`12 setgid(0)                         = 0`:                                                               false,
		`12 setuid(0)                         = 0`:                                                               false,
		`12 setuid(655340)                    = 0`:                                                               false,
		`7 setuid(65534)                      = 0`:                                                               false,
		`7 ` + program: false,
		`12 ` + strings.Replace(program, "/proc/self/exe", "/bin/sh", 1):                                                               false,
		`12 ` + strings.Replace(program, "__connect", "snapshot", 1):                                                                   false,
		`12 execveat(3, "", ["/proc/self/exe", "__connect", "--"], 0x1) = 0`:                                                           false,
		`12 capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=1<<CAP_CHOWN, permitted=1<<CAP_CHOWN, inheritable=0}) = 0`: false,
		`12 capset({version=_LINUX_CAPABILITY_VERSION_3, pid=9}, {effective=0, permitted=0, inheritable=0}) = 0`:                       false,
		`12 setns(3, CLONE_NEWNET)            = 0`:                                                                                     false,
		`12 kill(9, SIGTERM)                  = 0`:                                                                                     false,
		`7 pidfd_send_signal(13, SIGKILL, NULL, 0) = 0`:                                                                                false,
		`12 openat(AT_FDCWD, "/x", O_WRONLY|O_CLOEXEC) = 3`:                                                                            false,
	} {
		if got := connects.harmless(call); got != want {
			t.Errorf("with --connect %v, want %v: %s", got, want, call)
		}
		if reads.harmless(call) {
			t.Errorf("harmless without --connect: %s", call)
		}
	}
}
