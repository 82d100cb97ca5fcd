package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestParseIDMap(t *testing.T) {
	for text, want := range map[string]IDMap{
		"         0          0 4294967295\n":                                   {{0, 0, 4294967295}},
		"         0     131072      65536\n":                                   {{0, 131072, 65536}},
		"         0       1000          1\n         1     100000      65536\n": {{0, 1000, 1}, {1, 100000, 65536}},
		"         0 4294967295      65536\n":                                   {{0, 4294967295, 65536}}, // not in the reader's namespace
		"4294967294 4294967294          1\n":                                   {{4294967294, 4294967294, 1}},
		"":                                                                     {},
		"0 0\n":                                                                nil,
		"0 0 1 1\n":                                                            nil,
		"0 0 1":                                                                nil,
		"0 0 0\n":                                                              nil,
		"\n":                                                                   nil,
		"-1 0 1\n":                                                             nil,
		"0 0 4294967296\n":                                                     nil,
		"1 0 4294967295\n":                                                     nil,
		"0 1 4294967295\n":                                                     nil,
		"0x0 0 1\n":                                                            nil,
		"0 0 1\nx\n":                                                           nil,
		"4294967295 0 1\n":                                                     nil,
		strings.Repeat("0 0 1\n", 2) + "0 0 1":                                 nil,
	} {
		m, err := ParseIDMap([]byte(text))
		if fmt.Sprintf("%#v", m) != fmt.Sprintf("%#v", want) || (err == nil) != (want != nil) {
			t.Errorf("%q is %#v, %v; want %#v", text, m, err, want)
		}
		if err == nil && m.String() != text {
			t.Errorf("%q prints as %q", text, m)
		}
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v does not wrap ErrSyntax", text, err)
		}
	}
}

func TestIDMap(t *testing.T) {
	m := IDMap{{0, 1000, 1}, {1, 100000, 65535}, {70000, noID, 10}}
	for inside, outside := range map[uint32]int64{0: 1000, 1: 100000, 65535: 165534, 65536: -1, 69999: -1, 70000: -1, 70009: -1, noID: -1} {
		got, ok := m.Outside(inside)
		if ok != (outside >= 0) || ok && int64(got) != outside {
			t.Errorf("inside %d is outside %d, %v; want %d", inside, got, ok, outside)
		}
	}
	for outside, inside := range map[uint32]int64{1000: 0, 100000: 1, 165534: 65535, 165535: -1, 0: -1, 999: -1, 1001: -1, noID: -1} {
		got, ok := m.Inside(outside)
		if ok != (inside >= 0) || ok && int64(got) != inside {
			t.Errorf("outside %d is inside %d, %v; want %d", outside, got, ok, inside)
		}
	}
	for _, tc := range []struct {
		m    IDMap
		want bool
	}{{IDMap{{0, 0, noID}}, true}, {IDMap{{0, 0, 65536}}, false}, {IDMap{{0, 0, 1}, {1, 1, noID - 1}}, false}, {m, false}, {nil, false}} {
		if tc.m.Identity() != tc.want {
			t.Errorf("%v: identity %v", tc.m, !tc.want)
		}
	}
}

func TestReadIDMaps(t *testing.T) {
	full := "         0          0 4294967295\n"
	for _, tc := range []struct {
		f    folder
		want string
		is   error
	}{
		{folder{"uid_map": full, "gid_map": full, "setgroups": "allow\n"}, `{"uidMap":[{"inside":0,"outside":0,"size":4294967295}],"gidMap":[{"inside":0,"outside":0,"size":4294967295}],"setgroups":"allow"}`, nil},
		{folder{"uid_map": "", "gid_map": "0 1000 1\n", "setgroups": "deny\n"}, `{"uidMap":[],"gidMap":[{"inside":0,"outside":1000,"size":1}],"setgroups":"deny"}`, nil},
		{folder{"uid_map": "", "gid_map": ""}, `{"uidMap":[],"gidMap":[]}`, nil},
		{folder{"uid_map": full, "gid_map": syscall.EACCES}, "", fs.ErrPermission},
		{folder{"uid_map": full, "gid_map": full, "setgroups": syscall.EACCES}, "", fs.ErrPermission},
		{folder{"uid_map": full, "gid_map": full, "setgroups": "maybe\n"}, "", ErrSyntax},
		{folder{"uid_map": "x\n"}, "", ErrSyntax},
		{folder{}, "", ErrAbsent},
	} {
		m, err := ReadIDMaps(tc.f)
		if !errors.Is(err, tc.is) {
			t.Errorf("%v: %v, want %v", tc.f, err, tc.is)
		}
		data, _ := json.Marshal(m)
		if err == nil && string(data) != tc.want {
			t.Errorf("%v: %s, want %s", tc.f, data, tc.want)
		}
	}
}

// TestOwnIDMaps compares with the files, and our own user with what they make of it.
func TestOwnIDMaps(t *testing.T) {
	p, err := Reader{}.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.IDMaps()
	if err != nil {
		t.Fatal(err)
	}
	for name, ids := range map[string]IDMap{"uid_map": m.UID, "gid_map": m.GID} {
		data, err := os.ReadFile("/proc/self/" + name)
		if err != nil || ids.String() != string(data) {
			t.Errorf("%s: %q, want %q, %v", name, ids, data, err)
		}
	}
	if _, ok := m.UID.Outside(uint32(os.Getuid())); !ok {
		t.Errorf("our own user %d is not in %v", os.Getuid(), m.UID)
	}
}
