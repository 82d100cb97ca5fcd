package inspect_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/internal/fakeruntime"
)

const hidden = "hunter2"

// fakeNode serves containers with secrets in every place, one of them broken.
func fakeNode(t testing.TB) *inspect.Inspector {
	t.Helper()
	return openFake(t, inspect.Options{})
}

func openFake(t testing.TB, o inspect.Options) *inspect.Inspector {
	t.Helper()
	own, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	fake := &fakeruntime.Containerd{
		PID:          os.Getpid(),
		PIDNamespace: own.Sys().(*syscall.Stat_t).Ino,
		BreakAfter:   map[string]int{"broken": 1},
	}
	const gone = 1 << 30
	spec := strings.Replace(fakeruntime.Spec("/nowhere"), `"env":["TOKEN=secret"]`, `"env":["TOKEN=`+hidden+`","PATH=/bin"]`, 1)
	spec = strings.Replace(spec, `"root"`, `"mounts":[{"destination":"/share","type":"cifs","source":"//nas/share","options":["password=`+hidden+`"]}],
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":[{\"value\":\"`+hidden+`\"}]}","plain":"a\ufffdb","example.com/token":"`+hidden+`"},"root"`, 1)
	fake.Add("default", "web", gone, spec)
	fake.Add("default", "web-old", 0, spec)
	fake.Add("default", "not-json", gone, `{"process":`)
	fake.Add("broken", "before", 0, spec)
	fake.Add("broken", "after", 0, spec)
	o.Endpoint = fakeruntime.Serve(t, nil, fake)
	i, err := inspect.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func write(t testing.TB, s inspect.Snapshot) []byte {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// again writes, reads and writes, and wants the same bytes.
func again(t testing.TB, s inspect.Snapshot) []byte {
	t.Helper()
	first := write(t, s)
	read, err := inspect.ReadSnapshot(bytes.NewReader(first))
	if err != nil {
		t.Fatalf("%v in\n%s", err, first)
	}
	if second := write(t, read); !bytes.Equal(first, second) {
		t.Errorf("written\n%s\nread and written again\n%s", first, second)
	}
	return first
}

func TestSnapshotRoundTrip(t *testing.T) {
	s, err := fakeNode(t).Snapshot(t.Context())
	if err == nil || len(s.Missing) != 1 || !strings.Contains(err.Error(), s.Missing[0]) {
		t.Errorf("a runtime that breaks off: missing %q, error %v", s.Missing, err)
	}
	if s.Version != inspect.SnapshotVersion || time.Since(s.Time) > time.Minute || s.Time.Location() != time.UTC || len(s.Containers) != 3 {
		t.Errorf("version %d, time %v, %d containers", s.Version, s.Time, len(s.Containers))
	}
	data := again(t, s)
	if strings.Contains(string(data), hidden) {
		t.Errorf("a secret in\n%s", data)
	}
	shown, _ := openFake(t, inspect.Options{ShowSecrets: true}).Snapshot(t.Context())
	if n := strings.Count(string(again(t, shown)), hidden); n < 4 {
		t.Errorf("%d of the secrets with ShowSecrets", n)
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	s := inspect.Snapshot{Version: inspect.SnapshotVersion, Time: time.Unix(1, 5).UTC(), Containers: []inspect.Report{}}
	again(t, s)
	s.Node.Runtime = &inspect.RuntimeInfo{}
	s.Containers = []inspect.Report{{Container: inspect.Container{ID: "a", Kind: inspect.KindSandbox, Pod: &inspect.Pod{}}}}
	again(t, s)
	s.Containers[0].Processes = inspect.KnownFact(inspect.Processes{List: []inspect.Process{{}}}, "")
	s.Containers[0].Mounts = inspect.KnownFact(inspect.Mounts{InForce: []inspect.ContainerMount{{}}}, "")
	again(t, s)
	read, err := inspect.ReadSnapshot(bytes.NewReader(write(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(read.Node.Gaps()), len(s.Node.Gaps()); got != want || want == 0 {
		t.Errorf("%d facts of the node are unknown, %d were", got, want)
	}
	if got, want := len(read.Containers[0].Gaps()), len(s.Containers[0].Gaps()); got != want || want == 0 {
		t.Errorf("%d facts of the container are unknown, %d were", got, want)
	}
}

// TestSnapshotOfBytes: a name that is no text is kept as far as JSON can.
func TestSnapshotOfBytes(t *testing.T) {
	for _, name := range []string{"\xff\xfe", `\ufffd`, "\ufffd", `\\ufffd`, "\\\xff", "\"\xff\"", "<&>\u2028", "\\"} {
		again(t, inspect.Snapshot{
			Version: inspect.SnapshotVersion, Time: time.Unix(1, 0).UTC(),
			Containers: []inspect.Report{{
				Container: inspect.Container{ID: name, Kind: inspect.KindContainer, Labels: map[string]string{name: name}},
				Process:   inspect.KnownFact(inspect.Program{Args: []string{name}}, name),
			}},
		})
	}
}

func TestReadSnapshotRefuses(t *testing.T) {
	const whole = `{"version":1,"time":"2026-01-02T03:04:05Z","node":{},"containers":[],"missing":[]}`
	if _, err := inspect.ReadSnapshot(strings.NewReader(whole + "\n")); err != nil {
		t.Error(err)
	}
	if _, err := inspect.ReadSnapshot(strings.NewReader(strings.Replace(whole, `"node"`, `"later":1,"node"`, 1))); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"":                "not a snapshot: it is empty",
		" \n":             "not a snapshot: it is empty",
		"hello":           "not a snapshot: invalid character",
		"\x00":            "not a snapshot: invalid character",
		"[]":              "not a snapshot: want a JSON object",
		"{}":              "not a snapshot: it has no version",
		"null":            "not a snapshot: it has no version",
		`{"version":"1"}`: "not a snapshot: json: cannot unmarshal string",
		`{"version":1}`:   "not a snapshot: it has no time or no containers",
		`{"version":2,"containers":{"changed":true}}`: "the snapshot's schema has version 2, this program reads version 1",
		`{"version":0}`:      "the snapshot's schema has version 0, this program reads version 1",
		whole[:len(whole)-1]: "the snapshot is cut short",
		whole[:40]:           "the snapshot is cut short",
		whole + whole:        "not a snapshot: invalid character '{' after top-level value",
		whole + "x":          "not a snapshot: invalid character 'x' after top-level value",
		strings.Replace(whole, `"containers":[]`, `"containers":null`, 1):                    "not a snapshot: it has no time or no containers",
		strings.Replace(whole, `"containers":[]`, `"containers":[{}]`, 1):                    `not a snapshot: container 0 has the id "" and the kind ""`,
		strings.Replace(whole, `"containers":[]`, `"containers":[{"id":"a","kind":"b"}]`, 1): `not a snapshot: container 0 has the id "a" and the kind "b"`,
		strings.Replace(whole, "{}", `{"kernel":{"state":"known"}}`, 1):                      "not a snapshot: a known fact without a value",
		strings.Replace(whole, "{}", `{"kernel":{"state":"yes"}}`, 1):                        `not a snapshot: a fact's state is "yes"`,
	} {
		s, err := inspect.ReadSnapshot(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || s.Containers != nil {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	failed := errors.New("input/output error")
	if _, err := inspect.ReadSnapshot(iotest.ErrReader(failed)); !errors.Is(err, failed) {
		t.Errorf("of a reader that fails: %v", err)
	}
}

// TestSnapshotAnswers: names are resolved as on a live node, and what could not
// be listed then is told.
func TestSnapshotAnswers(t *testing.T) {
	i := fakeNode(t)
	s, _ := i.Snapshot(t.Context())
	s, err := inspect.ReadSnapshot(bytes.NewReader(write(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	for _, refs := range [][]string{nil, {"web"}, {"web-old", "web", "web"}, {"we"}, {"nope", "web"}, {""}} {
		live, liveErr := i.Containers(t.Context(), refs...)
		recorded, recordedErr := s.Reports(refs...)
		same(t, live, recorded)
		if liveErr.Error() != recordedErr.Error() {
			t.Errorf("%q: live\n%v\nrecorded\n%v", refs, liveErr, recordedErr)
		}
		details, _ := i.Details(t.Context(), refs...)
		recordedDetails, _ := s.Details(refs...)
		same(t, details, recordedDetails)
		processes, _ := i.Processes(t.Context(), refs...)
		recordedProcesses, _ := s.Processes(refs...)
		same(t, processes, recordedProcesses)
	}
	list, liveErr := i.List(t.Context())
	recorded, recordedErr := s.List()
	same(t, list, recorded)
	if liveErr.Error() != recordedErr.Error() {
		t.Errorf("list: live\n%v\nrecorded\n%v", liveErr, recordedErr)
	}
	if _, err := s.Reports("web", "nope"); !errors.Is(err, inspect.ErrNotFound) {
		t.Error(err)
	}
}

// same wants the same JSON.
func same(t *testing.T, live, recorded any) {
	t.Helper()
	a, errA := json.Marshal(live)
	b, errB := json.Marshal(recorded)
	// The one is written with an escape for the character, the other has it.
	a, b = bytes.ReplaceAll(a, []byte(`\ufffd`), []byte("\ufffd")), bytes.ReplaceAll(b, []byte(`\ufffd`), []byte("\ufffd"))
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("live\n%s\nrecorded\n%s\n%v %v", a, b, errA, errB)
	}
}

// small is a snapshot with a bit of everything.
func small() inspect.Snapshot {
	r := inspect.Report{Container: inspect.Container{
		ID: "a1", Name: "web", Kind: inspect.KindContainer, Pod: &inspect.Pod{Name: "shop", Namespace: "prod"},
		State: inspect.KnownFact(inspect.StateRunning, "runtime"), PID: inspect.KnownFact(7, "runtime"),
		Labels: map[string]string{"a": "b"}, CreatedAt: time.Unix(1, 0).UTC(),
	}}
	r.Capabilities.InForce = inspect.KnownFact(caps.State{Bounding: 1 << 40, NoNewPrivs: caps.NoNewPrivsOn}, "/proc/7/status")
	r.Capabilities.Reach = inspect.KnownFact(caps.Reach{Now: 3}, "/proc/7/status")
	r.User.Requested = inspect.KnownFact(inspect.UserRequest{UID: new(int64)}, "request")
	r.Process = inspect.AbsentFact[inspect.Program]("none")
	r.Mounts = inspect.KnownFact(inspect.Mounts{InForce: []inspect.ContainerMount{{}}}, "/proc/7/mountinfo")
	r.Processes = inspect.KnownFact(inspect.Processes{List: []inspect.Process{{PID: 7}}}, "/proc")
	return inspect.Snapshot{
		Version: inspect.SnapshotVersion, Time: time.Unix(2, 0).UTC(), Missing: []string{"a part"}, Containers: []inspect.Report{r},
		Node: inspect.Node{Kernel: inspect.KnownFact("6.1", "/proc"), LSMs: inspect.KnownFact([]string{"bpf"}, "/sys")},
	}
}

func TestSnapshotRedactArgs(t *testing.T) {
	s := small()
	s.Containers[0].Process = inspect.KnownFact(inspect.Program{Args: []string{"/bin/run", "--key", hidden}}, "")
	processes, _ := s.Containers[0].Processes.Value()
	processes.List[0].Args = inspect.KnownFact([]string{"run --key " + hidden}, "")
	s.RedactArgs()
	text := string(write(t, s))
	if strings.Contains(text, hidden) || !strings.Contains(text, "/bin/run") {
		t.Error(text)
	}
	s.RedactArgs()
	if again := string(write(t, s)); again != text {
		t.Errorf("the second time it is another:\n%s", again)
	}
}

func TestSnapshotSockets(t *testing.T) {
	at := func(path string, named ...string) inspect.Socket {
		return inspect.Socket{
			Path: path, Kind: inspect.SocketContainerd, Verdict: inspect.SocketOK, Listeners: []inspect.Listener{},
			File: inspect.KnownFact(inspect.SocketFile{Inode: 1<<64 - 1, Paths: []inspect.SocketPath{{Path: path, Named: named}}}, path),
		}
	}
	s := small()
	s.Sockets = []inspect.Socket{at("/run/a.sock", "/var/run/a.sock"), at("/run/b.sock"), {Path: "@shim"}}
	s, err := inspect.ReadSnapshot(bytes.NewReader(again(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		ask, want string
		missing   bool
	}{
		{"", "/run/a.sock /run/b.sock @shim", false},
		{"/var/run/a.sock", "/run/a.sock", false},
		{"@shim /run/a.sock", "/run/a.sock @shim", false},
		{"/run/c.sock /run/b.sock", "/run/b.sock", true},
	} {
		list, err := s.FindSockets(strings.Fields(tc.ask)...)
		var paths []string
		for _, k := range list {
			paths = append(paths, k.Path)
		}
		if got := strings.Join(paths, " "); got != tc.want || errors.Is(err, fs.ErrNotExist) != tc.missing {
			t.Errorf("%s: %s, %v", tc.ask, got, err)
		}
	}
	s.MissingSockets = []string{"/proc/net/unix: permission denied"}
	for _, ask := range [][]string{nil, {"/run/b.sock"}} {
		if _, err := s.FindSockets(ask...); err == nil || err.Error() != s.MissingSockets[0] {
			t.Errorf("%q: %v", ask, err)
		}
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(write(f, small()))
	f.Add([]byte(`{"version":1,"time":"2026-01-02T03:04:05Z","containers":[{"id":"a","kind":"sandbox"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := inspect.ReadSnapshot(bytes.NewReader(data))
		if err != nil {
			return
		}
		again(t, s)
		if _, err := s.Reports("a"); err != nil && !errors.Is(err, inspect.ErrNotFound) && !errors.Is(err, inspect.ErrAmbiguous) && len(s.Missing) == 0 {
			t.Error(err)
		}
		_ = s.Node.Gaps()
		for _, r := range s.Containers {
			_ = r.Gaps()
		}
		s.RedactArgs()
		again(t, s)
	})
}

// TestLabSnapshot: a snapshot of the lab is whole but for what this machine does
// not show, reads back, holds no secret and no number that JSON's readers round.
func TestLabSnapshot(t *testing.T) {
	i := lab(t)
	s, err := i.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := again(t, s)
	if strings.Contains(string(data), "not-a-real-token") {
		t.Error("the secret in pod-two-containers' environment is in the snapshot")
	}
	if !strings.Contains(string(data), `API_TOKEN=\u003credacted`) {
		t.Error("pod-two-containers' environment is not in the snapshot")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, "", value)
	for _, g := range s.Node.Gaps() {
		if !slices.Contains([]string{"lsms", "lockdown"}, g.Fact) { // where securityfs is not mounted
			t.Errorf("node: %s is unknown: %v", g.Fact, g.Cause)
		}
	}
	for _, r := range s.Containers {
		for _, g := range r.Gaps() {
			t.Errorf("%s: %s is unknown: %v", r.FullName(), g.Fact, g.Cause)
		}
	}
	t.Logf("%d containers, %d bytes", len(s.Containers), len(data))
}

func checkNumbers(t *testing.T, at string, value any) {
	t.Helper()
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			checkNumbers(t, at+"."+key, item)
		}
	case []any:
		for _, item := range v {
			checkNumbers(t, at+"[]", item)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && (n > 1<<53 || n < -1<<53) {
			t.Errorf("%s: %s is above 2^53", at, v)
		} else if f, floatErr := v.Float64(); err != nil && (floatErr != nil || f > 1<<53 || f < -1<<53) {
			t.Errorf("%s: %s is above 2^53", at, v)
		}
	}
}

// TestWrite: every field is written, as the type says and as encoding/json does.
func TestWrite(t *testing.T) {
	snapshots := map[string]inspect.Snapshot{
		"nothing known": {Version: inspect.SnapshotVersion, Time: time.Unix(0, 0).UTC(), Containers: []inspect.Report{{}, {}}, Missing: []string{"a \xff"}},
		"lab of 1.6":    recorded(t, "audit/testdata/lab-1.6.json.gz"),
		"lab of 2.4":    recorded(t, "audit/testdata/lab-2.4.json.gz"),
		"on Linux 5.10": recorded(t, "audit/testdata/lab-1.6-linux-5.10.json.gz"),
		"on Linux 6.1":  recorded(t, "audit/testdata/lab-2.4-linux-6.1.json.gz"),
	}
	for name, s := range snapshots {
		t.Run(name, func(t *testing.T) {
			type plain inspect.Snapshot
			want, err := json.Marshal(plain(s))
			if err != nil {
				t.Fatal(err)
			}
			var b, got bytes.Buffer
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			if err := json.Compact(&got, b.Bytes()); err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(want), `\ufffd`, "\ufffd")
			written := got.String()
			for n := range min(len(text), len(written)) {
				if text[n] != written[n] {
					t.Fatalf("byte %d: %s\nwant %s", n, written[max(0, n-100):n+1], text[max(0, n-100):n+1])
				}
			}
			equal(t, "length", len(written), len(text))
		})
	}
}

func recorded(t *testing.T, file string) inspect.Snapshot {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s, err := inspect.ReadSnapshot(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWriteSnapshot: what is written while it is collected is what Snapshot returns.
func TestWriteSnapshot(t *testing.T) {
	i := fakeNode(t)
	want, wantErr := i.Snapshot(t.Context())
	var b bytes.Buffer
	var seen []string
	s, err := i.WriteSnapshot(t.Context(), &b, func(r inspect.Report) { seen = append(seen, r.ID) })
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil {
		t.Errorf("error %v, want %v", err, wantErr)
	}
	if s.Containers != nil || !slices.Equal(s.Missing, want.Missing) || len(seen) != len(want.Containers) {
		t.Errorf("%d containers, missing %q, saw %q", len(s.Containers), s.Missing, seen)
	}
	want.Time = s.Time
	var whole bytes.Buffer
	if err := want.Write(&whole); err != nil {
		t.Fatal(err)
	}
	if b.String() != whole.String() {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), whole.String())
	}
}

// TestWriteSnapshotStopped: a file that was cut short is known as such.
func TestWriteSnapshotStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	i := fakeNode(t)
	var b bytes.Buffer
	_, err := i.WriteSnapshot(ctx, writer(func(data []byte) (int, error) {
		cancel()
		return b.Write(data)
	}), func(inspect.Report) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
	if _, err := inspect.ReadSnapshot(&b); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("error %v, want that it is cut short", err)
	}
	full := writer(func([]byte) (int, error) { return 0, syscall.ENOSPC })
	if _, err := i.WriteSnapshot(t.Context(), full, func(inspect.Report) {}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want %v", err, syscall.ENOSPC)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(data []byte) (int, error) { return w(data) }
