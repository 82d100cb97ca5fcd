package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// InitCommand is the argument with which a machine's kernel starts this
// program as its first process.
const InitCommand = "vm-init"

// sessionFile is the session's name in the initramfs.
const sessionFile = "session.json"

// session is what the first process is to do.
type session struct {
	Release      string   // the kernel's
	Modules      []string // files to load first, in this order
	ModuleFolder string   // of all modules, in the shared file system
	Args, Env    []string
	Folder       string
	Out          string // may be empty
}

// message is what the first process tells the program that started the
// machine; the one with a status or an error is the last.
type message struct {
	Started        bool   `json:",omitempty"`
	Stdout, Stderr []byte `json:",omitempty"`
	Status         *int   `json:",omitempty"`
	Error          string `json:",omitempty"`
}

// Init is the first process of a virtual machine. It returns, with an error,
// only where it is no such process; the machine goes off when it is done.
func Init() error {
	if os.Getpid() != 1 {
		return errors.New("only a machine's first process can do that")
	}
	err := initialize()
	fmt.Fprintf(os.Stderr, "lab: %v\n", err) // the console: nobody else listens
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// initialize returns only if it cannot even tell of an error.
func initialize() error {
	text, err := os.ReadFile("/" + sessionFile)
	if err != nil {
		return err
	}
	var s session
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if err := loadModules(s.Modules); err != nil {
		return err
	}
	if err := mountAll([]mountPoint{{"proc", "/proc", "proc", 0, ""}, {"sys", "/sys", "sysfs", 0, ""}, {"dev", "/dev", "devtmpfs", 0, ""}}); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	r := &reporter{encoder: json.NewEncoder(port)}
	status, err := s.run(r)
	last := message{Status: &status}
	if err != nil {
		last = message{Error: err.Error()}
	}
	r.send(last)
	for {
		_ = unix.Pause() // the other side pulls the plug; to Go a select without cases may be a deadlock, and the end of the machine
	}
}

func loadModules(files []string) error {
	for _, file := range files {
		content, err := os.ReadFile("/" + file)
		if err != nil {
			return err
		}
		if err := unix.InitModule(content, ""); err != nil {
			return fmt.Errorf("load module %s: %w", file, err)
		}
	}
	return nil
}

// openPort opens the port the messages go to, which shows up a moment after
// its module was loaded.
func openPort() (*os.File, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		f, err := os.OpenFile("/dev/vport0p1", os.O_WRONLY, 0)
		if err == nil || time.Now().After(deadline) {
			return f, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reporter sends messages, from several goroutines.
type reporter struct {
	sync.Mutex
	encoder *json.Encoder
}

func (r *reporter) send(m message) {
	r.Lock()
	defer r.Unlock()
	if err := r.encoder.Encode(m); err != nil {
		fmt.Fprintf(os.Stderr, "lab: send a message: %v\n", err)
	}
}

// pass sends what is read, until the end.
func (r *reporter) pass(from io.Reader, wrap func([]byte) message) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			r.send(wrap(buffer[:n]))
		}
		if err != nil {
			return
		}
	}
}

// run makes the machine ready and runs the command.
func (s session) run(r *reporter) (int, error) {
	if err := switchRoot(); err != nil {
		return 0, err
	}
	if err := s.prepare(); err != nil {
		return 0, err
	}
	status, err := s.command(r)
	if err != nil {
		return 0, err
	}
	if s.Out != "" {
		err = unix.Unmount(s.Out, 0)
	}
	return status, err
}

type mountPoint struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func mountAll(mounts []mountPoint) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err)
		}
	}
	return nil
}

// plan9 are the mount options of a shared folder.
const plan9 = "trans=virtio,version=9p2000.L,msize=512000,cache="

// switchRoot makes the shared file system the root, below a layer in memory
// that takes all writes.
func switchRoot() error {
	err := mountAll([]mountPoint{
		{shareRoot, "/lower", "9p", unix.MS_RDONLY, plan9 + "loose"},
		{"upper", "/layer", "tmpfs", 0, "mode=755"},
	})
	if err != nil {
		return err
	}
	for _, dir := range []string{"/layer/upper", "/layer/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	err = mountAll([]mountPoint{
		{"root", "/new", "overlay", 0, "lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work"},
		{"/proc", "/new/proc", "", unix.MS_MOVE, ""},
		{"/sys", "/new/sys", "", unix.MS_MOVE, ""},
		{"/dev", "/new/dev", "", unix.MS_MOVE, ""},
	})
	if err != nil {
		return err
	}
	// As switch_root(8) does it: pivot_root(2) refuses to leave an initramfs.
	if err := os.Chdir("/new"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// prepare does what else a distribution's first process does.
func (s session) prepare() error {
	const private = unix.MS_NOSUID | unix.MS_NODEV
	mounts := []mountPoint{
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"shm", "/dev/shm", "tmpfs", private, "mode=1777"},
		{"mqueue", "/dev/mqueue", "mqueue", private | unix.MS_NOEXEC, ""},
		{"run", "/run", "tmpfs", private, "mode=755"},
		// An overlay's upper folder cannot be on another overlay, and files in memory know no id-mapped mounts.
		{"/dev/vda", rootBase, "ext4", 0, ""},
		{"securityfs", "/sys/kernel/security", "securityfs", private | unix.MS_NOEXEC, ""},
		{"bpf", "/sys/fs/bpf", "bpf", private | unix.MS_NOEXEC, "mode=700"},
		{"tracefs", "/sys/kernel/tracing", "tracefs", private | unix.MS_NOEXEC, ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", private | unix.MS_NOEXEC, ""},
		{"cgroup2", cgroupRoot, "cgroup2", private | unix.MS_NOEXEC, "nsdelegate,memory_recursiveprot"},
	}
	if s.Out != "" {
		mounts = append(mounts, mountPoint{shareOut, s.Out, "9p", 0, plan9 + "mmap"})
	}
	if err := mountAll(mounts); err != nil {
		return err
	}
	for name, target := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		if err := os.Symlink("/proc/self/fd"+target, "/dev/"+name); err != nil {
			return err
		}
	}
	if err := delegateAll(); err != nil {
		return err
	}
	if err := linkModules(s.Release, s.ModuleFolder); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	if err := unix.Sethostname([]byte("rtinspect-lab")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	const files = 1 << 20
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files})
}

const cgroupRoot = "/sys/fs/cgroup"

// Groups of the first process and of the command, named as systemd's are.
const (
	initScope    = cgroupRoot + "/init.scope"
	sessionScope = cgroupRoot + "/session.scope"
)

// delegateAll moves this process out of the root group, as a group below which
// others are limited must have no processes, and hands every controller on.
func delegateAll() error {
	for _, dir := range []string{initScope, sessionScope} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(initScope, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	var all []string
	for _, c := range controllers(cgroupRoot) {
		all = append(all, "+"+c)
	}
	return os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte(strings.Join(all, " ")), 0)
}

// linkModules puts the kernel's modules where modprobe looks for them.
func linkModules(release, folder string) error {
	if err := os.MkdirAll("/lib/modules", 0o755); err != nil {
		return err
	}
	err := os.Symlink(folder, filepath.Join("/lib/modules", release))
	if errors.Is(err, os.ErrExist) {
		return nil // this very kernel is installed
	}
	return err
}

// command runs the command and ends everything it left behind, so that its
// output has an end too.
func (s session) command(r *reporter) (int, error) {
	group, err := os.Open(sessionScope)
	if err != nil {
		return 0, err
	}
	defer group.Close()
	stdout, stdoutEnd, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	stderr, stderrEnd, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	// The command is looked for in the caller's PATH.
	if err := s.setenv(); err != nil {
		return 0, err
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Env = s.Folder, s.Env
	cmd.Stdout, cmd.Stderr = stdoutEnd, stderrEnd
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	r.send(message{Started: true})
	err = cmd.Start()
	if err := errors.Join(err, stdoutEnd.Close(), stderrEnd.Close()); err != nil {
		return 0, err
	}
	var readers sync.WaitGroup
	readers.Go(func() { r.pass(stdout, func(p []byte) message { return message{Stdout: p} }) })
	readers.Go(func() { r.pass(stderr, func(p []byte) message { return message{Stderr: p} }) })
	status := reap(cmd.Process.Pid)
	killAll()
	readers.Wait()
	return exitCode(status), nil
}

func (s session) setenv() error {
	if err := os.Chdir(s.Folder); err != nil {
		return err
	}
	for _, e := range s.Env {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// reap collects every process that ends until that one does.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		if ended, err := unix.Wait4(-1, &status, 0, nil); err == nil && ended == pid {
			return status
		}
	}
}

// killAll kills every process but this one, until none is left.
func killAll() {
	for {
		_ = unix.Kill(-1, unix.SIGKILL) // there may be none
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			return
		}
	}
}

// exitCode is the status as a shell tells it.
func exitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
