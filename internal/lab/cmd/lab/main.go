// Command lab starts a private containerd with the pods of the lab document,
// runs a command against it and takes everything away again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rtinspect/rtinspect/internal/lab"
)

const usage = `usage: lab run [flags] -- CMD [ARGS]   start a lab, run CMD in it, remove it
       lab up [flags]                  start a lab that stays
       lab down [--name N]             remove a lab, and those left behind
       lab install [flags] [crictl|vm|gvisor]
                                       install or build what a lab needs, and what vm needs (--kernel)
       lab status                      list the labs
       lab vm [vm flags] -- CMD [ARGS] run CMD on a kernel of its own, with cgroup v2 and AppArmor, in a
                                       virtual machine with this machine's files; its writes are lost
flags: --runtime 1.6|2.4  --pods a,b|all|none  --scale PODSxCONTAINERS
       --exec-tools crictl  --name N  -q
       --gvisor (with 2.4: a runtime class gvisor and its pods; needs CAP_SYS_RESOURCE, as lab vm has it)
vm flags: --kernel 6.1|5.10  --memory 3G  --timeout 20m  --out DIR (CMD may write there)  -q
`

// Exit statuses, besides those of the command that runs in the lab.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// errUsage wraps what is wrong with the command line.
var errUsage = errors.New("usage")

func usageError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// app is one call of the command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	quiet          bool
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	status, err := a.dispatch(args)
	switch {
	case err == nil:
		return status
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "lab: %v\n%s", err, usage)
		return exitUsage
	}
	fmt.Fprintf(stderr, "lab: %v\n", err)
	return max(status, exitError)
}

func (a *app) dispatch(args []string) (int, error) {
	if len(args) == 0 {
		return 0, usageError("want a command")
	}
	commands := map[string]func([]string) (int, error){
		"run": a.run, "up": a.up, "down": a.down, "install": a.install, "status": a.status, "vm": a.vm,
		lab.InitCommand: func([]string) (int, error) { return exitError, lab.Init() },
		"help":          func([]string) (int, error) { return 0, flag.ErrHelp },
	}
	if command, ok := commands[strings.TrimLeft(args[0], "-")]; ok {
		return command(args[1:])
	}
	return 0, usageError("no command %q", args[0])
}

// log writes one line of progress.
func (a *app) log(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr, "lab: "+format+"\n", args...)
	}
}

// flags are those of all commands; each registers what it takes.
type flags struct {
	*flag.FlagSet
	runtime, pods, scale, tools, name string
	gvisor                            bool
}

func (a *app) flags(command string, takes ...string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(command, flag.ContinueOnError), runtime: lab.Runtime16, pods: "all"}
	f.SetOutput(io.Discard) // run prints the error and the usage
	f.BoolVar(&a.quiet, "q", false, "")
	known := map[string]*string{
		"runtime": &f.runtime, "pods": &f.pods, "scale": &f.scale, "exec-tools": &f.tools, "name": &f.name,
	}
	for _, name := range takes {
		if name == "gvisor" {
			f.BoolVar(&f.gvisor, name, false, "")
			continue
		}
		f.StringVar(known[name], name, *known[name], "")
	}
	return f
}

func (f *flags) parse(args []string) error {
	err := f.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError("%s: %v", f.Name(), err)
}

// options turns the flags into what the lab is to be.
func (a *app) options(f *flags) (lab.Options, error) {
	o := lab.Options{Name: f.name, Runtime: f.runtime, GVisor: f.gvisor, Log: a.log}
	if o.Runtime != lab.Runtime16 && o.Runtime != lab.Runtime24 {
		return o, usageError("no runtime %q: want %s or %s", o.Runtime, lab.Runtime16, lab.Runtime24)
	}
	if o.GVisor && o.Runtime != lab.Runtime24 {
		return o, usageError("gvisor: want --runtime %s", lab.Runtime24)
	}
	switch f.tools {
	case "":
	case "crictl":
		o.Crictl = true
	default:
		return o, usageError("no tool %q: want crictl", f.tools)
	}
	var err error
	if o.Pods, err = f.chosen(); err != nil {
		return o, err
	}
	o.Scale, err = parseScale(f.scale)
	return o, err
}

// chosen returns the names of the pods that are wanted.
func (f *flags) chosen() ([]string, error) {
	var names []string
	switch {
	case f.pods == "all" && f.gvisor:
		names = lab.PodNames(lab.ClassGVisor)
	case f.pods == "all":
		names = lab.PodNames()
	case f.pods != "none" && f.pods != "":
		names = strings.Split(f.pods, ",")
	}
	manifests, err := lab.Manifests(names, "/")
	if err != nil {
		return nil, usageError("%v", err)
	}
	for _, m := range manifests {
		switch class := m.RuntimeClass(); {
		case class == lab.ClassGVisor && !f.gvisor:
			return nil, usageError("pod %s is of the runtime class %s: want --gvisor", m.Pod.Name, class)
		case class == lab.ClassWritable && f.runtime != lab.Runtime24:
			return nil, usageError("pod %s is of the runtime class %s: want --runtime %s", m.Pod.Name, class, lab.Runtime24)
		}
	}
	return names, nil
}

// parseScale reads PODSxCONTAINERS; empty is none.
func parseScale(text string) (lab.Scale, error) {
	if text == "" {
		return lab.Scale{}, nil
	}
	pods, containers, _ := strings.Cut(text, "x")
	p, err1 := strconv.Atoi(pods)
	c, err2 := strconv.Atoi(containers)
	if err1 != nil || err2 != nil || p < 1 || c < 1 {
		return lab.Scale{}, usageError("scale %q: want PODSxCONTAINERS, as in 10x10", text)
	}
	return lab.Scale{Pods: p, Containers: c}, nil
}

// interruptible is a context that ends with SIGINT, SIGTERM or SIGHUP.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// interrupted is the status of a program that ended by Ctrl-C.
const interrupted = 128 + int(syscall.SIGINT)

// started is the status for an error of starting.
func started(ctx context.Context, err error) (int, error) {
	if ctx.Err() != nil {
		return interrupted, fmt.Errorf("interrupted: %w", err)
	}
	return exitError, err
}

func (a *app) run(args []string) (int, error) {
	f := a.flags("run", "runtime", "pods", "scale", "exec-tools", "name", "gvisor")
	if err := f.parse(args); err != nil {
		return 0, err
	}
	if f.NArg() == 0 {
		return 0, usageError("run: want -- CMD [ARGS]")
	}
	if f.name == "" {
		f.name = fmt.Sprintf("run-%d", os.Getpid())
	}
	o, err := a.options(f)
	if err != nil {
		return 0, err
	}
	ctx, cancel := interruptible()
	defer cancel()
	l, err := lab.Up(ctx, o)
	if err != nil {
		return started(ctx, err)
	}
	status, err := a.command(ctx, l, f.Args())
	a.log("removing lab %s", o.Name)
	return status, errors.Join(err, l.Close())
}

// command runs the command and returns its exit status. Signals are handed on
// to it: when it ends is its own decision, and the lab waits for that.
func (a *app) command(ctx context.Context, l *lab.Lab, args []string) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return interrupted, nil
	}
	// Ours as well, so that the command is looked for in the lab's PATH.
	for _, e := range l.Env() {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return exitError, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	if err := cmd.Start(); err != nil {
		return exitError, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may just have ended
		case err := <-ended:
			return exitStatus(err)
		}
	}
}

// exitStatus is the command's own, as a shell would tell it.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) {
		return exitOK, err
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil
	}
	return exit.ExitCode(), nil
}

func (a *app) up(args []string) (int, error) {
	f := a.flags("up", "runtime", "pods", "scale", "exec-tools", "name", "gvisor")
	f.name = "lab"
	if err := f.parse(args); err != nil {
		return 0, err
	}
	if f.NArg() > 0 {
		return 0, usageError("up: unexpected %q", f.Args())
	}
	o, err := a.options(f)
	if err != nil {
		return 0, err
	}
	ctx, cancel := interruptible()
	defer cancel()
	l, err := lab.Up(ctx, o)
	if err != nil {
		return started(ctx, err)
	}
	for _, e := range l.Env() {
		fmt.Fprintf(a.stdout, "export %s\n", quote(e))
	}
	return exitOK, l.Keep()
}

// quote makes NAME=value safe for a shell.
func quote(assignment string) string {
	name, value, _ := strings.Cut(assignment, "=")
	return name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

func (a *app) down(args []string) (int, error) {
	f := a.flags("down", "name")
	f.name = "lab"
	if err := f.parse(args); err != nil {
		return 0, err
	}
	if f.NArg() > 0 {
		return 0, usageError("down: unexpected %q", f.Args())
	}
	return exitOK, lab.Down(f.name, a.log)
}

func (a *app) install(args []string) (int, error) {
	f := a.flags("install", "runtime", "exec-tools")
	kernel := f.String("kernel", lab.Kernel61, "")
	if err := f.parse(args); err != nil {
		return 0, err
	}
	if err := checkKernel(*kernel); err != nil {
		return 0, err
	}
	withVM := false
	for _, tool := range f.Args() {
		switch tool {
		case "vm":
			withVM = true
		case "gvisor":
			f.gvisor = true
		default:
			f.tools = tool
		}
	}
	o, err := a.options(f)
	if err != nil {
		return 0, err
	}
	ctx, cancel := interruptible()
	defer cancel()
	if err := lab.Install(ctx, o); err != nil || !withVM {
		return exitOK, err
	}
	return exitOK, lab.InstallVM(ctx, *kernel, a.log)
}

func (a *app) status(args []string) (int, error) {
	f := a.flags("status")
	if err := f.parse(args); err != nil {
		return 0, err
	}
	labs, err := lab.List()
	if err != nil {
		return exitError, err
	}
	for _, l := range labs {
		fmt.Fprintf(a.stdout, "%s\t%s\tcontainerd %s\t%d pods\t%s\n", l.Name, l.State, l.Containerd, len(l.Pods), l.Socket)
	}
	return exitOK, nil
}

// Exit statuses of vm, besides those of its command, as of timeout(1).
const (
	exitTimeout = 124
	exitMachine = 125 // the machine did not do it
)

func checkKernel(name string) error {
	if slices.Contains(lab.Kernels(), name) {
		return nil
	}
	return usageError("no kernel %q: want %s", name, strings.Join(lab.Kernels(), " or "))
}

var memorySize = regexp.MustCompile(`^[1-9][0-9]*[MG]$`)

func (a *app) vm(args []string) (int, error) {
	f := a.flags("vm")
	o := lab.VMOptions{Stdout: a.stdout, Stderr: a.stderr, Log: a.log}
	f.StringVar(&o.Kernel, "kernel", lab.Kernel61, "")
	f.StringVar(&o.Memory, "memory", "3G", "")
	f.StringVar(&o.Out, "out", "", "")
	f.DurationVar(&o.Timeout, "timeout", 20*time.Minute, "")
	if err := f.parse(args); err != nil {
		return 0, err
	}
	switch o.Args = f.Args(); {
	case len(o.Args) == 0:
		return 0, usageError("vm: want -- CMD [ARGS]")
	case !memorySize.MatchString(o.Memory):
		return 0, usageError("memory %q: want a size as 3G or 512M", o.Memory)
	case o.Timeout <= 0:
		return 0, usageError("timeout %s: want more than none", o.Timeout)
	}
	if err := checkKernel(o.Kernel); err != nil {
		return 0, err
	}
	ctx, cancel := interruptible()
	defer cancel()
	status, err := lab.RunVM(ctx, o)
	switch {
	case err == nil:
		return status, nil
	case errors.Is(err, lab.ErrTimeout):
		return exitTimeout, err
	case ctx.Err() != nil:
		return started(ctx, err)
	}
	return exitMachine, err
}
