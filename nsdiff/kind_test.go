package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	want := []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}
	kinds := Kinds()
	if len(kinds) != len(want) {
		t.Fatalf("%d kinds, want %d", len(kinds), len(want))
	}
	for i, k := range kinds {
		if k.String() != want[i] {
			t.Errorf("kind %d is %s, want %s", i, k, want[i])
		}
		if back, err := ParseKind(k.String()); err != nil || back != k {
			t.Errorf("%s comes back as %s, %v", k, back, err)
		}
	}
	// The kernel has no more than these.
	entries, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := ParseKind(e.Name()); err != nil {
			t.Error(err)
		}
	}
}

func TestKindErrors(t *testing.T) {
	for _, name := range []string{"", "none", "NET", "network", "net ", "mount\n"} {
		if k, err := ParseKind(name); k != 0 || !errors.Is(err, ErrSyntax) {
			t.Errorf("%q is %s, %v", name, k, err)
		}
	}
	for _, k := range []Kind{0, 11, 255} {
		if _, err := k.MarshalText(); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", k, err)
		}
		if _, err := (Set{}).Namespace(k); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s of a set: %v", k, err)
		}
		if Initial(k) != (Namespace{}) {
			t.Errorf("%s has the initial namespace %s", k, Initial(k))
		}
	}
	if got := Kind(77).String(); got != "Kind(77)" {
		t.Error(got)
	}
}

func TestParse(t *testing.T) {
	for link, want := range map[string]Namespace{
		"net:[4026531833]":         {Net, 4026531833},
		"cgroup:[1]":               {Cgroup, 1},
		"time:[9007199254740991]":  {Time, 1<<53 - 1},
		"pid:[4026531836]":         Initial(PID),
		"user:[4026531837]":        Initial(User),
		"pid_for_children:[1]":     {},
		"time_for_children:[1]":    {},
		"net:[9007199254740992]":   {},
		"net:[0]":                  {},
		"net:[01]":                 {},
		"net:[+1]":                 {},
		"net:[-1]":                 {},
		"net:[1_0]":                {},
		"net:[1":                   {},
		"net:1]":                   {},
		"net:[[1]]":                {},
		"net:1":                    {},
		"net[1]":                   {},
		"net:[1] ":                 {},
		" net:[1]":                 {},
		"net:[1]\n":                {},
		"":                         {},
		"none:[1]":                 {},
		"anon_inode:[eventfd]":     {},
		"socket:[4026531833]":      {},
		"/proc/1/ns/net":           {},
		"net:[4026531833] deleted": {},
	} {
		ns, err := Parse(link)
		if ns != want || (err == nil) != (want != Namespace{}) {
			t.Errorf("%q is %s, %v; want %s", link, ns, err, want)
		}
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v does not wrap ErrSyntax", link, err)
		}
	}
}

func TestNamespaceJSON(t *testing.T) {
	data, err := json.Marshal(Namespace{Net, 4026531833})
	if want := `{"kind":"net","inode":4026531833}`; err != nil || string(data) != want {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
	for _, text := range []string{`{}`, `{"kind":"net"}`, `{"inode":1}`, `{"kind":"pid_for_children","inode":1}`, `{"kind":"net","inode":9007199254740992}`} {
		var ns Namespace
		if err := json.Unmarshal([]byte(text), &ns); err == nil || ns != (Namespace{}) {
			t.Errorf("%s is %s, %v", text, ns, err)
		}
	}
}

// TestInitial compares the numbers with the kernel's header.
func TestInitial(t *testing.T) {
	const header = `
	IPC_NS_INIT_INO = 0xEFFFFFFFU,
	UTS_NS_INIT_INO = 0xEFFFFFFEU,
	USER_NS_INIT_INO = 0xEFFFFFFDU,
	PID_NS_INIT_INO = 0xEFFFFFFCU,
	CGROUP_NS_INIT_INO = 0xEFFFFFFBU,
	TIME_NS_INIT_INO = 0xEFFFFFFAU,
	NET_NS_INIT_INO = 0xEFFFFFF9U,
	MNT_NS_INIT_INO = 0xEFFFFFF8U,`
	for _, k := range Kinds() {
		line := strings.ToUpper(k.Type().String()) + "_NS_INIT_INO = 0x" + fmt.Sprintf("%X", Initial(k).Inode) + "U,"
		if !strings.Contains(header, line) {
			t.Errorf("%s: %s is not in include/uapi/linux/nsfs.h", k, line)
		}
		if Initial(k).Kind != k.Type() {
			t.Errorf("%s: %s", k, Initial(k))
		}
	}
}
