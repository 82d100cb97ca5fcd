package lab

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// VMOptions say what a virtual machine is to be and to run.
type VMOptions struct {
	// Kernel is one of [Kernels].
	Kernel string
	// Memory is the machine's, as 3G or 512M.
	Memory string
	// Timeout is how long the command may take.
	Timeout time.Duration
	// Out is a folder the command can write to, if not empty; to all else that
	// it writes, only the machine is witness.
	Out string
	// Args are the command and its arguments.
	Args []string
	// Stdout and Stderr get what the command writes.
	Stdout, Stderr io.Writer
	// Log is told what happens; it must not be nil.
	Log Log
}

// ErrTimeout is returned for a command that took longer than it may.
var ErrTimeout = errors.New("time limit")

// bootTimeout is how long a machine may take until it starts its command; it
// takes 5 seconds, and several times that when the machine below is busy.
const bootTimeout = 2 * time.Minute

const (
	emulator = "/usr/bin/qemu-system-x86_64"
	firmware = "/usr/share/qemu/qboot.rom" // the one that boots at once
	// apparmorParser is run in the machine, by containerd, where the kernel has AppArmor.
	apparmorParser = "/usr/sbin/apparmor_parser"
	makeFileSystem = "/usr/sbin/mke2fs"
)

// InstallVM makes sure that everything for a virtual machine is there.
func InstallVM(ctx context.Context, kernel string, log Log) error {
	_, err := installVM(ctx, kernel, log)
	return err
}

func installVM(ctx context.Context, name string, log Log) (kernel, error) {
	cache, err := cacheFolder()
	if err != nil {
		return kernel{}, err
	}
	unlock, err := lockCache(cache, log)
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	err = installDebian(ctx, log,
		debianFile{"qemu-system-x86", emulator, "a machine for another kernel"},
		debianFile{"qemu-system-data", firmware, "its firmware"},
		debianFile{"e2fsprogs", makeFileSystem, "its disk"},
		debianFile{"apparmor", apparmorParser, "loads AppArmor profiles on that kernel"},
	)
	if err != nil {
		return kernel{}, err
	}
	return installKernel(ctx, cache, name, log)
}

// RunVM runs a command on a kernel of its own, in a virtual machine whose file
// system is this machine's below a throw-away layer, and returns the command's
// exit status. The machine has cgroup v2 alone, AppArmor, and a root with every
// capability; it has no network. Nothing of it stays, however it ends, even if
// this program is killed: all it has are this program's open files.
func RunVM(ctx context.Context, o VMOptions) (int, error) {
	k, err := installVM(ctx, o.Kernel, o.Log)
	if err != nil {
		return 0, err
	}
	if o.Out != "" {
		if o.Out, err = outFolder(o.Out); err != nil {
			return 0, err
		}
	}
	session, err := newSession(k, o)
	if err != nil {
		return 0, err
	}
	initrd, err := writeInitramfs(k, session)
	if err != nil {
		return 0, err
	}
	defer initrd.Close()
	disk, err := makeDisk(ctx)
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	o.Log("booting kernel %s", k.version)
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &vm{options: o, cancel: cancel}
	m.timer = time.AfterFunc(bootTimeout, func() {
		cancel(fmt.Errorf("the machine did not start the command within %s", bootTimeout))
	})
	complaints, err := m.run(running, k, initrd, disk)
	m.timer.Stop()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return m.result(context.Cause(running), complaints, err)
}

func outFolder(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return path, os.MkdirAll(path, 0o755)
}

// newSession describes the command, with this program's environment and
// working directory, to the machine's first process.
func newSession(k kernel, o VMOptions) (session, error) {
	folder, err := os.Getwd()
	env := append(os.Environ(), "RTINSPECT_VM="+o.Kernel)
	if o.Out != "" {
		env = append(env, "RTINSPECT_VM_OUT="+o.Out)
	}
	return session{Release: k.version, ModuleFolder: k.modules(), Args: o.Args, Env: env, Folder: folder, Out: o.Out}, err
}

// writeInitramfs makes what the kernel starts from: this program as the first
// process, the session, and the modules needed to get at the file systems.
func writeInitramfs(k kernel, s session) (*os.File, error) {
	text, err := os.ReadFile(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	modules, err := withDependencies(string(text), "virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay", "virtio_blk", "ext4", "crc32c_generic")
	if err != nil {
		return nil, err
	}
	program, err := staticProgram()
	if err != nil {
		return nil, err
	}
	var a initramfs
	a.add("init", program)
	for _, file := range modules {
		content, err := os.ReadFile(filepath.Join(k.modules(), file))
		if err != nil {
			return nil, err
		}
		a.add(filepath.Base(file), content)
		s.Modules = append(s.Modules, filepath.Base(file))
	}
	description, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	a.add(sessionFile, description)
	a.end()
	f, err := memoryFile("initramfs")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(a.Bytes())
	return f, err
}

// makeDisk makes a file system for what overlays and user namespaces are put
// upon, as a node's is: neither the shared one nor one in memory would do.
func makeDisk(ctx context.Context) (*os.File, error) {
	f, err := memoryFile("disk")
	if err != nil {
		return nil, err
	}
	mke2fs := exec.CommandContext(ctx, makeFileSystem, "-q", "-F", "-t", "ext4", "/proc/self/fd/3")
	mke2fs.ExtraFiles = []*os.File{f}
	const size = 4 << 30 // of which only what is written takes memory
	if err := errors.Join(f.Truncate(size), run(mke2fs)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// memoryFile is a file in memory that is gone once nobody has it open.
func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// staticProgram is this very program, which has no libraries to find where it
// is the first process.
func staticProgram() ([]byte, error) {
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, errors.New("this program is not linked statically, and could not be a machine's first process: build it with CGO_ENABLED=0")
	}
	return text, nil
}

// vm is a running virtual machine.
type vm struct {
	options VMOptions
	cancel  context.CancelCauseFunc // ends it
	timer   *time.Timer             // of what it does now
	console tail                    // what the kernel says
	status  *int                    // once the command has ended
}

// Numbers of the emulator's open files, in the order of its ExtraFiles.
const (
	initrdFile = 3 + iota
	diskFile
	consoleFile
	messagesFile
)

// run starts the emulator and returns when it is gone, with what it had to say.
func (m *vm) run(ctx context.Context, k kernel, initrd, disk *os.File) (complaints []byte, err error) {
	console, consoleEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer console.Close()
	messages, messagesEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, consoleEnd.Close())
	}
	defer messages.Close()

	// The emulator is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, emulator, emulatorArgs(k, m.options)...)
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{initrd, disk, consoleEnd, messagesEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	if err := errors.Join(err, consoleEnd.Close(), messagesEnd.Close()); err != nil {
		return nil, err
	}
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = io.Copy(&m.console, console) }) // ends with the emulator
	readers.Go(func() { m.cancel(m.receive(messages)) })       // the machine has no more to say
	err = cmd.Wait()
	readers.Wait()
	return stderr.Bytes(), err
}

// result is the command's status, or else why there is none.
func (m *vm) result(cause error, complaints []byte, ended error) (int, error) {
	switch {
	case m.status != nil:
		return *m.status, nil
	case errors.Is(cause, ErrTimeout):
		return 0, cause
	case cause == nil:
		return 0, ended
	}
	said := bytes.ReplaceAll(slices.Concat(complaints, m.console), []byte("\r\n"), []byte("\n"))
	return 0, fmt.Errorf("%w\n%s", cause, lastLines(said, 60)) // a panic with its trace
}

// receive takes the messages of the machine's first process until the command
// has ended.
func (m *vm) receive(messages io.Reader) error {
	decoder := json.NewDecoder(messages)
	for m.status == nil {
		var msg message
		if err := decoder.Decode(&msg); err != nil {
			return fmt.Errorf("the machine ended before the command did: %w", err)
		}
		if err := m.handle(msg); err != nil {
			return err
		}
	}
	return nil
}

func (m *vm) handle(msg message) error {
	if msg.Started {
		m.timer.Stop()
		m.timer = time.AfterFunc(m.options.Timeout, func() {
			m.cancel(fmt.Errorf("%w: the command did not end within %s", ErrTimeout, m.options.Timeout))
		})
	}
	if msg.Error != "" {
		return fmt.Errorf("in the machine: %s", msg.Error)
	}
	m.status = msg.Status
	_, err1 := m.options.Stdout.Write(msg.Stdout)
	_, err2 := m.options.Stderr.Write(msg.Stderr)
	return errors.Join(err1, err2)
}

// Names of the folders the machine is handed.
const (
	shareRoot = "root"
	shareOut  = "out"
)

// emulatorArgs describe a PC with a serial port for the kernel's console, one
// of virtio for the messages, and this machine's files.
func emulatorArgs(k kernel, o VMOptions) []string {
	args := []string{
		"-name", "rtinspect-lab", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Code for a CPU without AVX is emulated faster.
		"-machine", "q35", "-cpu", "Nehalem", "-accel", "tcg,thread=multi,tb-size=1024", "-smp", "2", "-m", o.Memory,
		"-bios", firmware, "-kernel", k.image(), "-initrd", openFile(initrdFile),
		"-append", strings.Join([]string{
			"console=ttyS0 quiet panic=-1",
			"mitigations=off cryptomgr.notests", // for speed
			"no_timer_check",                    // it counts ticks, which come too late when the machine below is busy
			"cgroup_no_v1=all psi=1 apparmor=1",
			"--", InitCommand,
		}, " "),
		"-drive", "if=virtio,format=raw,file.locking=off,cache=unsafe,file=" + openFile(diskFile),
		"-chardev", pipe("console", consoleFile), "-serial", "chardev:console",
		"-chardev", pipe("messages", messagesFile), "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=messages",
	}
	args = append(args, share(shareRoot, "/", "readonly=on")...)
	if o.Out != "" {
		args = append(args, share(shareOut, o.Out, "readonly=off")...)
	}
	return args
}

func openFile(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// pipe makes the end of a pipe a device's. Without append the emulator would
// truncate it, which a pipe refuses.
func pipe(id string, fd int) string {
	return fmt.Sprintf("file,id=%s,path=%s,append=on", id, openFile(fd))
}

func share(tag, folder, access string) []string {
	folder = strings.ReplaceAll(folder, ",", ",,")
	return []string{
		"-fsdev", "local,id=" + tag + ",path=" + folder + ",security_model=none,multidevs=remap," + access,
		"-device", "virtio-9p-pci,fsdev=" + tag + ",mount_tag=" + tag,
	}
}

// tail is the end of what was written to it.
type tail []byte

const tailLength = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	*t = (*t)[max(0, len(*t)-tailLength):]
	return len(p), nil
}
