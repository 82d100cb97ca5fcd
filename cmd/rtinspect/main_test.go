package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output of sessions and tables")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rtinspect": main})
}

// TestSessions runs the sessions of testdata/script, which hold both streams and the exit status.
func TestSessions(t *testing.T) {
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Setup: func(env *testscript.Env) error {
			env.Setenv("TESTDATA", data)
			return nil
		},
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status, "serve": serve, "unpack": unpack},
	})
}

// status runs rtinspect and compares its exit status: status 2 rtinspect ps --nope. Its streams are checked with stdout and
// stderr, as after exec.
func status(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.String()[len("exit status "):]
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// serve listens on a socket as something that is no container runtime: serve silent PATH, serve http PATH.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := net.Listen("unix", ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	if args[0] == "http" {
		go func() { _ = http.Serve(listener, http.NotFoundHandler()) }() //nolint:gosec // it lives as long as the test
		return
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close() // at the end: one that nothing refers to is closed when it is collected
		}
	}()
}

// unpack unpacks a recorded node of package audit: unpack lab-2.4 node.json.
func unpack(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Open(filepath.Join(ts.Getenv("TESTDATA"), "../../../inspect/audit/testdata", args[0]+".json.gz"))
	ts.Check(err)
	defer f.Close() //nolint:errcheck // opened for reading
	r, err := gzip.NewReader(f)
	ts.Check(err)
	data, err := io.ReadAll(r)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// process runs rtinspect as a process of its own: this test's program, which is rtinspect when it is called so.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "rtinspect"
	return cmd
}

// golden compares with a file of testdata/golden.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}
