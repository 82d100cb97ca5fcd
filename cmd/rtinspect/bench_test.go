package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildProgram builds rtinspect as the Makefile does. RTINSPECT_BINARY names
// one that was built before, for where building takes too long.
func buildProgram(b testing.TB) string {
	b.Helper()
	if built := os.Getenv("RTINSPECT_BINARY"); built != "" {
		return built
	}
	file := filepath.Join(b.TempDir(), "rtinspect")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs,grpcnotrace", "-ldflags", "-s -w", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return file
}

// beside runs programs in turn, so that what else the machine does meets all of
// them alike, and reports for each the least and the median time from start to
// end and the largest resident memory. It calls more in each turn.
func beside(b *testing.B, commands map[string][]string, more ...func()) {
	b.Helper()
	var names []string
	for name, args := range commands {
		if _, err := exec.LookPath(args[0]); err != nil {
			b.Logf("%s is left out: %v", name, err)
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	times := map[string][]time.Duration{}
	for b.Loop() {
		for _, name := range names {
			times[name] = append(times[name], execute(b, commands[name]))
		}
		for _, f := range more {
			f()
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, name := range names {
		slices.Sort(times[name])
		b.Logf("%-28s least %7.2f ms  median %7.2f ms  memory %5.1f MiB  (%d runs)", name,
			ms(times[name][0]), ms(times[name][len(times[name])/2]), memory(b, commands[name]), len(times[name]))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkLabSnapshot records the whole node, beside the programs that people
// type instead and beside what no program can do without: reading each file
// once that a value in the snapshot comes from.
func BenchmarkLabSnapshot(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	rtinspect := buildProgram(b)
	files := sources(b, rtinspect)
	var reading []time.Duration
	beside(b, map[string][]string{
		"rtinspect snapshot": {rtinspect, "snapshot"},
		"crictl ps":          {"crictl", "ps"},
		"crictl inspect":     {"sh", "-c", "crictl ps -q | xargs crictl inspect"},
	}, func() { reading = append(reading, readAll(files)) })
	slices.Sort(reading)
	b.Logf("reading %d files            least %7.2f ms  median %7.2f ms", len(files), ms(reading[0]), ms(reading[len(reading)/2]))
}

// sources are the files that the values of a snapshot are from.
func sources(b *testing.B, rtinspect string) []string {
	b.Helper()
	snapshot, _ := exec.CommandContext(b.Context(), rtinspect, "snapshot").Output() // incomplete is an answer
	var files []string
	for _, found := range regexp.MustCompile(`"source":"(/(?:proc|sys)/[^"]*)"`).FindAllSubmatch(snapshot, -1) {
		if info, err := os.Stat(string(found[1])); err == nil && info.Mode().IsRegular() {
			files = append(files, string(found[1]))
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// readAll reads files by all processors, with as few system calls as it takes,
// and returns the time.
func readAll(files []string) time.Duration {
	begin := time.Now()
	var workers sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for w := range n {
		workers.Go(func() {
			buf := make([]byte, 1<<16)
			for i := w; i < len(files); i += n {
				if fd, err := syscall.Open(files[i], syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
					_, _ = syscall.Read(fd, buf)
					_ = syscall.Close(fd)
				}
			}
		})
	}
	workers.Wait()
	return time.Since(begin)
}

// execute returns the time a program took.
func execute(b *testing.B, args []string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	begin := time.Now()
	// Incomplete is an answer: a kernel without securityfs leaves facts of the node unknown.
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != statusIncomplete {
		b.Fatalf("%q: %v", args, err)
	}
	return time.Since(begin)
}

// memory returns the largest resident memory of a program in MiB. Of a program
// that we start ourselves the kernel counts what we had before it was executed;
// GNU time has little.
func memory(b *testing.B, args []string) float64 {
	b.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(b.Context(), "/usr/bin/time", append([]string{"-f", "%M"}, args...)...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != statusIncomplete {
		b.Fatalf("time %q: %v", args, err)
	}
	lines := strings.Fields(stderr.String())
	kib, err := strconv.Atoi(lines[len(lines)-1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// BenchmarkLabStart is the start-up beside the programs that people type instead.
func BenchmarkLabStart(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	rtinspect := buildProgram(b)
	beside(b, map[string][]string{
		"rtinspect version":     {rtinspect, "version"},
		"rtinspect caps --mask": {rtinspect, "caps", "--mask", "a80425fb"},
		"capsh --decode":        {"capsh", "--decode=a80425fb"},
		"ctr --version":         {"ctr", "--version"},
		"crictl --version":      {"crictl", "--version"},
	})
}

// BenchmarkLabNode asks for every container of the node.
func BenchmarkLabNode(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	rtinspect := buildProgram(b)
	beside(b, map[string][]string{
		"rtinspect ps":   {rtinspect, "ps"},
		"rtinspect caps": {rtinspect, "caps"},
		"rtinspect -q":   {rtinspect, "ps", "-q"},
		"crictl ps":      {"crictl", "ps"},
	})
}
