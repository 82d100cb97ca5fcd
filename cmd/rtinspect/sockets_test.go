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

// sampleSockets are three of a node, one of each verdict; what is text in them goes through text.
func sampleSockets(text func(string) string) []inspect.Socket {
	const source = "modes, owners and ACLs"
	root := inspect.Account{Name: text("root")}
	alice, docker := inspect.Account{ID: 1000, Name: text("alice")}, inspect.Account{ID: 998, Name: text("docker")}
	folder := func(path string) inspect.SocketFolder {
		return inspect.SocketFolder{Path: text(path), Permissions: inspect.Permissions{Mode: 0o755, Owner: root, Group: root}}
	}
	ok := inspect.Socket{
		Path: text("/run/containerd/containerd.sock"), Kind: inspect.SocketContainerd,
		Verdict: inspect.SocketOK, Reason: text("mode 0660 root:root: only root can connect"),
		Type:      inspect.KnownFact(inspect.SocketStream, "net/unix"),
		Listeners: []inspect.Listener{{PID: 812, Name: text("containerd")}},
		File: inspect.KnownFact(inspect.SocketFile{
			Permissions: inspect.Permissions{Mode: 0o660, Owner: root, Group: root}, Device: "0:25", Inode: 1432,
			Paths: []inspect.SocketPath{
				{Path: text("/run/containerd/containerd.sock"), Folders: []inspect.SocketFolder{folder("/"), folder("/run"), folder("/run/containerd")}},
			},
		}, text("/run/containerd/containerd.sock")),
		Connect:    inspect.KnownFact(inspect.Who{}, source),
		Control:    inspect.KnownFact([]inspect.SocketControl{}, source),
		Nobody:     inspect.KnownFact(inspect.ConnectResult{Error: text("permission denied")}, ""),
		Containers: inspect.KnownFact([]inspect.SocketContainer{}, ""),
	}
	file := inspect.Permissions{Mode: 0o660, Owner: root, Group: docker, ACL: []inspect.ACLEntry{
		{Tag: inspect.ACLOwner, Perm: 6}, {Tag: inspect.ACLUser, ID: 1000, Perm: 6}, {Tag: inspect.ACLGroup, ID: 998, Perm: 6}, {Tag: inspect.ACLMask, Perm: 6},
	}}
	who := inspect.Who{
		Users:  []inspect.Account{alice},
		Groups: []inspect.WhoGroups{{Groups: []inspect.Account{docker}, Members: []inspect.Account{{ID: 1001, Name: text("bob")}}}},
	}
	shared := folder("/run/docker")
	shared.Permissions = inspect.Permissions{Mode: 0o775, Owner: root, Group: docker}
	denied := errors.New("open " + text("/proc/4012/ns/net") + ": permission denied")
	open := inspect.Socket{
		Path: text("/run/docker/docker.sock"), Kind: inspect.SocketDocker,
		Verdict: inspect.SocketOpen, Reason: text("mode 0660 root:docker and its ACL: user alice, members of group docker (bob) can connect"),
		Type:      inspect.KnownFact(inspect.SocketStream, "net/unix"),
		Listeners: []inspect.Listener{{PID: 1, Name: text("systemd")}, {PID: 1034, Name: text("dockerd")}},
		File: inspect.KnownFact(inspect.SocketFile{Permissions: file, Device: "0:25", Inode: 1 << 60, Paths: []inspect.SocketPath{
			{Path: text("/run/docker/docker.sock"), Named: []string{text("/var/run/docker.sock")}, Folders: []inspect.SocketFolder{folder("/"), folder("/run"), shared}},
		}}, text("/run/docker/docker.sock")),
		Connect: inspect.KnownFact(who, source),
		Control: inspect.KnownFact([]inspect.SocketControl{{Path: shared.Path, Permissions: shared.Permissions, Who: inspect.Who{Groups: who.Groups}}}, source),
		Nobody:  inspect.KnownFact(inspect.ConnectResult{Permitted: true, Error: text("connection refused")}, ""),
		Containers: inspect.KnownFact([]inspect.SocketContainer{
			{ID: "5f60cc01b021", Name: text("ci/runner/docker"), Ways: inspect.KnownFact([]inspect.SocketWay{
				{Path: text("/host/run/docker.sock")}, {Path: text("/var/run/docker.sock")},
			}, "")},
			{ID: "1e2db7fbb6f7", Name: text("shop/web/app"), Ways: inspect.UnknownFact[[]inspect.SocketWay](denied)},
		}, ""),
	}
	shut := errors.New("open " + text("/run/user/1000/podman") + ": permission denied")
	unknown := inspect.Socket{
		Path: text("/run/user/1000/podman/podman.sock"), Kind: inspect.SocketPodman,
		Verdict: inspect.SocketUnknown, Reason: shut.Error(), Listeners: []inspect.Listener{},
		Type: inspect.AbsentFact[inspect.SocketType](text("nothing was seen to listen on it")), File: inspect.UnknownFact[inspect.SocketFile](shut),
		Connect: inspect.UnknownFact[inspect.Who](shut), Control: inspect.UnknownFact[[]inspect.SocketControl](shut),
		Nobody: inspect.AbsentFact[inspect.ConnectResult](text("not tried")),
		Containers: inspect.KnownFact([]inspect.SocketContainer{
			{ID: "5f60cc01b021", Name: text("ci/runner/docker"), Ways: inspect.UnknownFact[[]inspect.SocketWay](shut)},
			{ID: "1e2db7fbb6f7", Name: text("shop/web/app"), Ways: inspect.UnknownFact[[]inspect.SocketWay](shut)},
		}, ""),
	}
	return []inspect.Socket{ok, open, unknown}
}

// TestSockets compares tables with testdata/golden.
func TestSockets(t *testing.T) {
	list := sampleSockets(func(text string) string { return text })
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
		a := socketsAnswer(sampleSockets(func(string) string { return hostile }), inspect.SocketOptions{Connect: []string{"true"}})
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
	args := []string{"sockets", "--connect", "-r", filepath.Join(dir, "none.sock"), "-o", "json", path, dir, dir + "/missing"}
	status := run(args, nil, &stdout, &stderr)
	var list []inspect.Socket
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil || len(list) != 1 || status != statusIncomplete {
		t.Fatalf("status %d, %d sockets, %v\n%s", status, len(list), err, &stderr)
	}
	if s := list[0]; s.Path != path || s.Containers.Known() != inspect.Unknown || s.File.Known() != inspect.Present || s.Nobody.Known() == inspect.Absent {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{dir + `": is a folder, not a socket`, `missing": `, "no container runtime"} {
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
