package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestStartUp: commands that ask no runtime start in 0.6 of the time that ctr needs for its version. The least of many runs in
// turn is compared, which a busy machine hardly moves.
func TestStartUp(t *testing.T) {
	ctr, err := exec.LookPath("ctr")
	if err != nil {
		t.Skip("needs ctr")
	}
	if testing.Short() {
		t.Skip("builds rtinspect: not with -short")
	}
	rtinspect := filepath.Join(t.TempDir(), "rtinspect")
	build := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs,grpcnotrace", "-ldflags", "-s -w", "-o", rtinspect, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	commands := [][]string{{ctr, "--version"}, {rtinspect, "version"}, {rtinspect, "caps", "--mask", "a80425fb"}}
	least := make([]time.Duration, len(commands))
	for n := range 240 {
		i := n / 2 % len(commands) // twice in a row: the first run finds the caches full of another program
		command := commands[i]
		begin := time.Now()
		if err := exec.Command(command[0], command[1:]...).Run(); err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		if took := time.Since(begin); least[i] == 0 || took < least[i] {
			least[i] = took
		}
	}
	for i, command := range commands[1:] {
		ratio := float64(least[i+1]) / float64(least[0])
		t.Logf("%q: %v, %.2f of ctr's %v", command[1:], least[i+1], ratio, least[0])
		if ratio > 0.6 {
			t.Errorf("%q takes %.2f of ctr's time, want at most 0.6", command[1:], ratio)
		}
	}
}
