package inspect

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// recordedLab returns the JSON of the recorded lab of package audit.
func recordedLab(t *testing.T, version string) []byte {
	t.Helper()
	packed, err := os.ReadFile("audit/testdata/lab-" + version + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readLab(t *testing.T, data []byte) Snapshot {
	t.Helper()
	s, err := ReadSnapshot(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c Changes) isEmpty() bool {
	return len(c.Node)+len(c.Containers)+len(c.Sockets)+len(c.Doubts) == 0 && !c.Rebooted
}

func TestCompareSame(t *testing.T) {
	for _, version := range []string{"1.6", "2.4"} {
		data := recordedLab(t, version)
		if c := Compare(readLab(t, data), readLab(t, data)); !c.isEmpty() {
			t.Errorf("%s: %+v", version, c)
		}
	}
}

// TestCompareRestarted: when all containers were started again in another boot, nothing of them changed.
func TestCompareRestarted(t *testing.T) {
	data := recordedLab(t, "2.4")
	digit := func(from, to string, skip int) func([]byte) []byte {
		return func(id []byte) []byte {
			for n := skip; n < len(id); n++ {
				if at := strings.IndexByte(from, id[n]); at >= 0 {
					id[n] = to[at]
				}
			}
			return id
		}
	}
	again := slices.Clone(data)
	for _, r := range []struct {
		what   string
		change func([]byte) []byte
	}{
		{`\b[0-9a-f]{64}\b`, digit("0123456789abcdef", "fedcba9876543210", 0)},
		{`"bootID":\{"state":"known","value":"[0-9a-f]+`, digit("0", "1", 36)},
		{`"pid":[0-9]{3,}|"pid":\{"state":"known","value":[0-9]{3,}`, digit("0123456789", "1234567891", 30)},
		{`/proc/[0-9]+/`, digit("0123456789", "1234567891", 0)},
		{`40265322[0-9]+|40265323[0-9]+|40265324[0-9]+`, digit("0123456789", "1234567898", 7)},
		{`"createdAt":"2`, digit("2", "1", 13)},
		{`"(usageUsec|current|peak|periods|throttled)":\{"state":"known","value":[0-9]+`, digit("0123456789", "1234567891", 30)},
	} {
		re := regexp.MustCompile(r.what)
		if !re.Match(again) {
			t.Errorf("nothing matches %s", r.what)
		}
		again = re.ReplaceAllFunc(again, r.change)
	}
	old := readLab(t, data)
	c := Compare(old, readLab(t, again))
	if !c.Rebooted || len(c.Node)+len(c.Sockets) > 0 {
		t.Errorf("rebooted %t, the node %+v, sockets %+v", c.Rebooted, c.Node, c.Sockets)
	}
	if want := []string{"they may be of two nodes: the boot is another one, and they have no container in common"}; !slices.Equal(c.Doubts, want) {
		t.Errorf("doubts %q", c.Doubts)
	}
	ended := 0
	for _, r := range old.Containers {
		if r.PID.Known() == Absent {
			ended++
		}
	}
	replaced := 0
	for _, container := range c.Containers {
		if container.Change != ChangeReplaced {
			continue
		}
		replaced++
		for _, f := range container.Facts {
			t.Errorf("%s: %s %s: %+v > %+v", container.Name, f.Level, f.Fact, f.Old, f.New)
		}
		if container.OldID == container.ID || container.OldID == "" {
			t.Errorf("%s was %q", container.ID, container.OldID)
		}
	}
	if want := len(old.Containers) - ended; replaced != want || len(c.Containers) != want+2*ended {
		t.Errorf("%d replaced of %d, want %d, and %d that have ended new and gone", replaced, len(c.Containers), want, ended)
	}
}

func TestCompareFacts(t *testing.T) {
	data := recordedLab(t, "2.4")
	old := readLab(t, data)
	at := func(s *Snapshot, name string) *Report {
		n := slices.IndexFunc(s.Containers, func(r Report) bool { return r.FullName() == name && r.Kind == KindContainer })
		return &s.Containers[n]
	}
	for _, tt := range []struct {
		name   string
		change func(*Snapshot)
		want   string
	}{
		{"a list", func(s *Snapshot) {
			r := at(s, "default/pod-no-caps/app")
			state, _ := r.Capabilities.InForce.Value()
			state.Effective = caps.Of(caps.SysAdmin)
			r.Capabilities.InForce = KnownFact(state, "")
		}, "changed default/pod-no-caps/app: in force capabilities.effective none > CAP_SYS_ADMIN +CAP_SYS_ADMIN"},
		{"a level", func(s *Snapshot) {
			at(s, "default/pod-hardened/app").ReadonlyRootfs.Declared = KnownFact(false, "")
		}, "changed default/pod-hardened/app: declared readonlyRootfs true > false"},
		{"unknown", func(s *Snapshot) {
			at(s, "default/pod-hardened/app").Seccomp.InForce = UnknownFact[SeccompInForce](errors.New("open: shut"))
		}, "changed default/pod-hardened/app: in force seccomp filters 1; mode filter > unknown open: shut"},
		{"a part that is unknown", func(s *Snapshot) {
			at(s, "default/pod-hardened/app").Seccomp.InForce = KnownFact(SeccompInForce{SeccompFilter, UnknownFact[int](errors.New("odd"))}, "")
		}, "changed default/pod-hardened/app: in force seccomp.filters 1 > unknown odd"},
		{"absent", func(s *Snapshot) {
			at(s, "default/pod-hardened/app").Cgroup.Requested = AbsentFact[cgroup.Resources]("none")
		}, "changed default/pod-hardened/app: requested cgroup"},
		{"the host's namespace", func(s *Snapshot) {
			list, _ := at(s, "default/pod-hardened/app").Namespaces.InForce.Value()
			for n := range list {
				if list[n].Kind == nsdiff.Net {
					list[n].Host.Relation, list[n].With = nsdiff.Same, nil
				}
			}
		}, "changed default/pod-hardened/app: in force namespaces.net its pod's > the host's"},
		{"it has ended", func(s *Snapshot) {
			r := at(s, "default/pod-hardened/app")
			r.PID, r.State = AbsentFact[int]("ended"), KnownFact(StateExited, "")
			r.Capabilities.InForce = AbsentFact[caps.State]("ended")
		}, "changed default/pod-hardened/app:  state running > exited"},
		{"a mount", func(s *Snapshot) {
			m, _ := at(s, "default/pod-hardened/app").Mounts.Value()
			n := slices.IndexFunc(m.InForce, func(c ContainerMount) bool { return c.Point == "/proc/sys" })
			m.InForce[n].Options, m.InForce[n].Readonly = "rw", false
		}, "changed default/pod-hardened/app: in force mounts /proc/sys read-only protected proc (ro,nosuid,nodev,noexec,relatime) > writable protected proc (rw)"},
		{"gone", func(s *Snapshot) {
			s.Containers = slices.DeleteFunc(s.Containers, func(r Report) bool { return r.FullName() == "default/pod-hardened/app" })
		}, "gone default/pod-hardened/app:"},
		{"not seen", func(s *Snapshot) {
			s.Containers = slices.DeleteFunc(s.Containers, func(r Report) bool { return r.FullName() == "default/pod-hardened/app" })
			s.Missing = []string{"default: broke off"}
		}, "containers of the new snapshot may be missing: default: broke off\nnot seen default/pod-hardened/app:"},
		{"the node", func(s *Snapshot) {
			s.Node.Kernel = KnownFact("7.0", "")
		}, "node kernel 6.18.44 > 7.0"},
		{"earlier", func(s *Snapshot) { s.Time = s.Time.Add(-time.Hour) }, "the new snapshot was taken before the old one"},
		{"a socket", func(s *Snapshot) {
			s.Sockets[0].Verdict = SocketOpen
			s.Sockets[0].Listeners[0].PID++
			s.Sockets = append(s.Sockets, Socket{Path: "/run/x", Kind: SocketShim}, Socket{Path: "/run/y", Kind: SocketContainerd})
		}, "changed /run/rtinspect-lab/run/c/containerd.sock: verdict ok > open\nnew /run/y:"},
		{"a socket's container", func(s *Snapshot) {
			s.Sockets[0].Containers = UnknownFact[[]SocketContainer](errors.New("shut"))
		}, "changed /run/rtinspect-lab/run/c/containerd.sock: containers default/pod-socket-folder/app, default/pod-socket-mounted/app > unknown shut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := readLab(t, data)
			tt.change(&changed)
			got := changesText(Compare(old, changed))
			absent := tt.name == "absent" && strings.HasPrefix(got, tt.want) && strings.HasSuffix(got, " > absent ")
			if got != tt.want && !absent {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// changesText is all that changed, a line for each.
func changesText(c Changes) string {
	lines := slices.Clone(c.Doubts)
	facts := func(list []FactChange) string {
		var text []string
		for _, f := range list {
			word := func(c ChangedFact) string {
				if c.State == Present.String() {
					return c.Value
				}
				return c.State + " " + c.Value
			}
			line := f.Level + " " + f.Fact + " " + word(f.Old) + " > " + word(f.New)
			for _, item := range f.Added {
				line += " +" + item
			}
			text = append(text, line)
		}
		return strings.Join(text, "; ")
	}
	for _, f := range c.Node {
		lines = append(lines, "node"+facts([]FactChange{f}))
	}
	for _, container := range c.Containers {
		lines = append(lines, strings.TrimRight(string(container.Change)+" "+container.Name+": "+facts(container.Facts), " "))
	}
	for _, k := range c.Sockets {
		lines = append(lines, strings.TrimRight(string(k.Change)+" "+k.Path+":"+facts(k.Facts), " "))
	}
	if len(lines) == 1 && strings.HasSuffix(lines[0], "> absent") {
		lines[0] += " "
	}
	return strings.Join(lines, "\n")
}
