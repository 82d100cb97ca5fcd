package caps

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// statuses returns the recorded status files by name.
func statuses(t testing.TB) map[string][]byte {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/status.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, f := range archive.Files {
		files[f.Name] = f.Data
	}
	return files
}

func TestParseStatus(t *testing.T) {
	const all41, all38, all37 = 0x1ffffffffff, 0x3fffffffff, 0x1fffffffff
	want := map[string]State{
		"linux-6.18/root": {
			Permitted: DefaultContainerd, Effective: DefaultContainerd, Bounding: DefaultContainerd, NoNewPrivs: NoNewPrivsOn,
		},
		"linux-6.18/user":    {Bounding: DefaultContainerd, NoNewPrivs: NoNewPrivsOff},
		"linux-6.18/kthread": {Permitted: all41, Effective: all41, Bounding: all41, NoNewPrivs: NoNewPrivsOff},
		"linux-4.9/root":     {Permitted: all38, Effective: all38, Bounding: all38},
		"linux-3.10/root":    {Permitted: all37, Effective: all37, Bounding: all37, AmbientAbsent: true},
	}
	files := statuses(t)
	if len(files) != len(want) {
		t.Errorf("%d files, want %d", len(files), len(want))
	}
	for name, data := range files {
		got, err := ParseStatus(data)
		if err != nil || got != want[name] {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want[name])
		}
	}
}

// TestParseStatusFields tells the five sets apart.
func TestParseStatusFields(t *testing.T) {
	status := "Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t0000000000000004\n" +
		"CapBnd:\t0000000000000008\nCapAmb:\t8000000000000000\nNoNewPrivs:\t0\n"
	want := State{
		Inheritable: 1, Permitted: 2, Effective: 4, Bounding: 8, Ambient: 1 << 63, NoNewPrivs: NoNewPrivsOff,
	}
	if got, err := ParseStatus([]byte(status)); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got := statusOf(want); got != strings.TrimPrefix(status, "Name:\tx\n") {
		t.Errorf("statusOf: %q", got)
	}
}

// statusOf prints the lines of a state as the kernel does.
func statusOf(s State) string {
	text := fmt.Sprintf("CapInh:\t%s\nCapPrm:\t%s\nCapEff:\t%s\nCapBnd:\t%s\n",
		s.Inheritable.Mask(), s.Permitted.Mask(), s.Effective.Mask(), s.Bounding.Mask())
	if !s.AmbientAbsent {
		text += "CapAmb:\t" + s.Ambient.Mask() + "\n"
	}
	switch s.NoNewPrivs {
	case NoNewPrivsUnknown:
	case NoNewPrivsOff:
		text += "NoNewPrivs:\t0\n"
	case NoNewPrivsOn:
		text += "NoNewPrivs:\t1\n"
	}
	return text
}

func TestParseStatusErrors(t *testing.T) {
	good := statusOf(State{Effective: 1, NoNewPrivs: NoNewPrivsOn})
	for _, tc := range []struct {
		name, old, new, want string
	}{
		{"no CapInh", "CapInh", "X", "status: no CapInh line"},
		{"no CapPrm", "CapPrm", "X", "status: no CapPrm line"},
		{"no CapEff", "CapEff", "X", "status: no CapEff line"},
		{"no CapBnd", "CapBnd", "X", "status: no CapBnd line"},
		{"longer key", "CapEff:", "CapEffX:", "status: no CapEff line"},
		{"double", "CapBnd", "CapEff", "status: a second CapEff line"},
		{"double NoNewPrivs", "NoNewPrivs:\t1\n", "NoNewPrivs:\t1\nNoNewPrivs:\t1\n", "a second NoNewPrivs line"},
		{"letters", "CapEff:\t00", "CapEff:\tzz", `status: CapEff "zz00000000000001": want 16 hexadecimal digits`},
		{"prefix", "CapEff:\t00", "CapEff:\t0x", `CapEff "0x00000000000001"`},
		{"short", "CapAmb:\t00", "CapAmb:\t0", `CapAmb "000000000000000": want 16`},
		{"long", "CapAmb:\t00", "CapAmb:\t000", `CapAmb "00000000000000000": want 16`},
		{"empty", "CapInh:\t0000000000000000", "CapInh:\t", `CapInh "": want 16`},
		{"no tab", "CapEff:\t", "CapEff: ", `line "CapEff: 0000000000000001\n": want CapEff, a colon, a tab`},
		{"carriage return", "CapEff:\t0000000000000001", "CapEff:\t0000000000000001\r", `CapEff "0000000000000001\r"`},
		{"NoNewPrivs 2", "NoNewPrivs:\t1", "NoNewPrivs:\t2", `NoNewPrivs "2": want 0 or 1`},
		{"NoNewPrivs cut", "NoNewPrivs:\t1\n", "NoNewPrivs:\t1", `line "NoNewPrivs:\t1": want NoNewPrivs`},
		{"NoNewPrivs cut before", "NoNewPrivs:\t1\n", "NoNewPrivs:", `line "NoNewPrivs:": want NoNewPrivs`},
		{"nothing", good, "", "status: no CapInh line"},
	} {
		bad := strings.Replace(good, tc.old, tc.new, 1)
		if bad == good {
			t.Fatalf("%s changed nothing", tc.name)
		}
		s, err := ParseStatus([]byte(bad))
		checkError(t, tc.name, err, tc.want)
		if s != (State{}) {
			t.Errorf("%s: an error and %+v", tc.name, s)
		}
	}
}

func TestStateJSON(t *testing.T) {
	for _, tc := range []struct {
		s    State
		want string
	}{
		{
			State{Effective: Of(Chown), Permitted: Of(Chown), NoNewPrivs: NoNewPrivsOn},
			`{"inheritable":[],"permitted":["CAP_CHOWN"],"effective":["CAP_CHOWN"],"bounding":[],"ambient":[],"noNewPrivs":true}`,
		},
		{
			State{Bounding: Of(63), NoNewPrivs: NoNewPrivsOff},
			`{"inheritable":[],"permitted":[],"effective":[],"bounding":["CAP_63"],"ambient":[],"noNewPrivs":false}`,
		},
		{
			State{AmbientAbsent: true},
			`{"inheritable":[],"permitted":[],"effective":[],"bounding":[],"ambient":null,"noNewPrivs":null}`,
		},
	} {
		got, err := json.Marshal(tc.s)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s, %v; want %s", got, err, tc.want)
		}
		var back State
		if err := json.Unmarshal(got, &back); err != nil || back != tc.s {
			t.Errorf("%s comes back as %+v, %v", got, back, err)
		}
	}
}

// TestStateJSONMissing: what a record does not say is not empty.
func TestStateJSONMissing(t *testing.T) {
	for input, want := range map[string]string{
		`{}`:   "want inheritable, permitted, effective and bounding",
		`null`: "want inheritable, permitted, effective and bounding",
		`{"permitted":[],"effective":[],"bounding":[]}`:                                         "want inheritable",
		`{"inheritable":[],"effective":[],"bounding":[]}`:                                       "want inheritable",
		`{"inheritable":[],"permitted":[],"bounding":[]}`:                                       "want inheritable",
		`{"inheritable":[],"permitted":[],"effective":[]}`:                                      "want inheritable",
		`{"inheritable":[],"permitted":[],"bounding":[],"effective":null}`:                      "want inheritable",
		`{"inheritable":[],"permitted":[],"bounding":[],"effective":["X"]}`:                     `capability "X"`,
		`{"inheritable":[],"permitted":[],"bounding":[],"effective":[],"noNewPrivs":"unknown"}`: `noNewPrivs "\"unknown\""`,
	} {
		var s State
		checkError(t, input, s.UnmarshalJSON([]byte(input)), want)
	}
	if _, err := json.Marshal(NoNewPrivs(9)); err == nil {
		t.Error("NoNewPrivs(9) has a JSON form")
	}
}
