package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// init is the program that connects, when --connect starts the test's own program as one.
func init() {
	if len(os.Args) > 1 && os.Args[1] == connectCommand {
		main()
	}
}

// sampleSockets have each verdict; what is text in them is name.
func sampleSockets(name string) []inspect.Socket {
	cause := errors.New("open " + name + ": permission denied")
	const source = "modes, owners and ACLs"
	owned := inspect.Permissions{Mode: 0o660, Owner: inspect.Account{Name: "root"}, Group: inspect.Account{ID: 998, Name: name}}
	owned.ACL = []inspect.ACLEntry{{Tag: inspect.ACLOwner, Perm: 6}, {Tag: inspect.ACLUser, ID: 1000, Perm: 6}, {Tag: inspect.ACLMask, Perm: 6}}
	who := inspect.Who{Users: []inspect.Account{{ID: 1000}}, Groups: []inspect.WhoGroups{{Groups: []inspect.Account{owned.Group}}}}
	open := inspect.Socket{
		Path: name, Kind: inspect.SocketDocker, Verdict: inspect.SocketOpen, Reason: name + ": user 1000 can connect",
		Type: inspect.KnownFact(inspect.SocketStream, ""), Listeners: []inspect.Listener{{PID: 9, Name: name}},
		File: inspect.KnownFact(inspect.SocketFile{Permissions: owned, Device: "0:25", Inode: 1 << 60, Paths: []inspect.SocketPath{
			{Path: name, Named: []string{name}, Folders: []inspect.SocketFolder{{Path: "/", Permissions: owned}}},
		}}, name),
		Connect: inspect.KnownFact(who, source),
		Control: inspect.KnownFact([]inspect.SocketControl{{Path: name, Permissions: owned, Who: who}}, source),
		Nobody:  inspect.KnownFact(inspect.ConnectResult{Permitted: true, Error: name}, ""),
		Containers: inspect.KnownFact([]inspect.SocketContainer{
			{ID: "a", Name: name, Ways: inspect.KnownFact([]inspect.SocketWay{{Path: name}, {Path: "/c.sock"}}, "")},
			{ID: "b", Name: "default/b/app", Ways: inspect.UnknownFact[[]inspect.SocketWay](cause)},
		}, ""),
	}
	ok := open
	ok.Verdict, ok.Reason, ok.Kind = inspect.SocketOK, "only root can connect", inspect.SocketContainerd
	ok.Connect, ok.Control = inspect.KnownFact(inspect.Who{}, source), inspect.KnownFact([]inspect.SocketControl{}, source)
	ok.Containers = inspect.KnownFact([]inspect.SocketContainer{}, "")
	unknown := inspect.Socket{
		Path: name + "2", Kind: inspect.SocketOther, Verdict: inspect.SocketUnknown, Reason: cause.Error(), Listeners: []inspect.Listener{},
		Type: inspect.AbsentFact[inspect.SocketType]("nothing listens"), File: inspect.UnknownFact[inspect.SocketFile](cause),
		Connect: inspect.UnknownFact[inspect.Who](cause), Control: inspect.UnknownFact[[]inspect.SocketControl](cause),
		Nobody:     inspect.AbsentFact[inspect.ConnectResult]("not tried"),
		Containers: inspect.UnknownFact[[]inspect.SocketContainer](errors.New("no container runtime")),
	}
	return []inspect.Socket{ok, open, unknown}
}

// TestSockets compares tables with testdata/golden.
func TestSockets(t *testing.T) {
	list := sampleSockets("/run/x.sock")
	colored, quiet := sampleOutput(formatTable), sampleOutput(formatTable)
	colored.color, quiet.quiet = true, true
	tried := inspect.SocketOptions{Connect: []string{"true"}}
	for name, o := range map[string]output{"sockets-wide": sampleOutput(formatWide), "sockets-color": colored, "sockets-quiet": quiet} {
		golden(t, name+".txt", render(t, socketsAnswer(list, tried), o))
	}
	golden(t, "sockets.txt", render(t, socketsAnswer(list, inspect.SocketOptions{}), sampleOutput(formatTable)))
	golden(t, "sockets-gaps.txt", []byte(socketGaps(list).Error()+"\n"))
	if text := render(t, socketsAnswer(nil, tried), sampleOutput(formatJSON)); string(text) != "[]\n" {
		t.Errorf("no socket: %q", text)
	}
}

// TestSocketsNothingRaw: no path, name or message reaches the terminal as it is.
func TestSocketsNothingRaw(t *testing.T) {
	for _, format := range []string{formatTable, formatWide, formatJSON, formatYAML} {
		a := socketsAnswer(sampleSockets(hostile), inspect.SocketOptions{Connect: []string{"true"}})
		for line := range strings.SplitSeq(string(render(t, a, sampleOutput(format))), "\n") {
			if escapeLine(line) != line || strings.HasPrefix(line, "root") {
				t.Errorf("%s: raw: %q", format, line)
			}
		}
	}
}

// TestSocketsWithoutRuntime: who can connect is told all the same; that the containers are unknown is told once, and each bad
// path is a line.
func TestSocketsWithoutRuntime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var stdout, stderr bytes.Buffer
	args := []string{"sockets", "--connect", "-r", filepath.Join(dir, "none.sock"), "-o", "json", path, dir, dir + "/missing", "relative"}
	status := run(args, nil, &stdout, &stderr)
	var list []inspect.Socket
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil || len(list) != 1 || status != statusIncomplete {
		t.Fatalf("status %d, %d sockets, %v\n%s", status, len(list), err, &stderr)
	}
	if s := list[0]; s.Path != path || s.Containers.Known() != inspect.Unknown || s.File.Known() != inspect.Present || s.Nobody.Known() == inspect.Absent {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{dir + `": is a folder, not a socket`, `missing": `, `"relative": want an absolute path`, "no container runtime"} {
		if strings.Count(stderr.String(), want) != 1 {
			t.Errorf("%q is not once in stderr\n%s", want, &stderr)
		}
	}
}

// TestLabSockets: the lab's containerd is as the lab wants it, and two pods reach it.
func TestLabSockets(t *testing.T) {
	labManifests(t)
	path := os.Getenv("RTINSPECT_LAB") + "/c/containerd.sock"
	want := "ok  containerd  " + path + "  0660 root:root  only root  default/pod-socket-folder/app at /host/runtime/containerd.sock, " +
		"default/pod-socket-mounted/app at /run/containerd/containerd.sock\n"
	if page := whole(t, "sockets", path, "--no-headers"); page != want {
		t.Errorf("got\n%swant\n%s", page, want)
	}
}
