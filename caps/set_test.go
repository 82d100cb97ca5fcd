package caps

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestParseMask(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Set
		err  string
	}{
		{text: "00000000a80425fb", want: 0xa80425fb},
		{text: "0x00000000a80425fb", want: 0xa80425fb},
		{text: "A80425FB", want: 0xa80425fb},
		{text: "0", want: 0},
		{text: "ffffffffffffffff", want: ^Set(0)},
		{text: "0xffffffffffffffff", want: ^Set(0)},
		{text: "0xZZ", err: `mask "0xZZ": want 1 to 16 hexadecimal digits`},
		{text: "00000000000000001", err: `mask "00000000000000001": want`},
		{text: "", err: `mask "": want`},
		{text: "0x", err: `mask "0x": want`},
		{text: "-1", err: `mask "-1": want`},
		{text: "+1", err: `mask "+1": want`},
		{text: "1_0", err: `mask "1_0": want`},
		{text: "0x1_0", err: `mask "0x1_0": want`},
		{text: "0X1", err: `mask "0X1": want`},
		{text: "0x0x1", err: `mask "0x0x1": want`},
		{text: "1 ", err: `mask "1 ": want`},
		{text: "1\n", err: `mask "1\n": want`},
		{text: "１", err: `want 1 to 16`},
		{text: strings.Repeat("0", 100_000), err: `…"`},
	} {
		got, err := ParseMask(tc.text)
		checkError(t, tc.text, err, tc.err)
		if got != tc.want {
			t.Errorf("ParseMask(%.40q) = %s, want %s", tc.text, got.Mask(), tc.want.Mask())
		}
	}
}

func TestParseNames(t *testing.T) {
	for _, tc := range []struct {
		names []string
		want  Set
		err   string
	}{
		{want: 0},
		{names: []string{"CAP_CHOWN", "net_raw", "Cap_Kill"}, want: Of(Chown, NetRaw, Kill)},
		{names: []string{"CHOWN", "CHOWN"}, want: Of(Chown)},
		{names: []string{"ALL"}, want: 0x1ffffffffff},
		{names: []string{"all", "CAP_63"}, want: 0x1ffffffffff | 1<<63},
		{names: []string{"CHOWN", "SYS_ADMN", "X"}, err: `capability "SYS_ADMN": want a name`},
		{names: []string{""}, err: `capability ""`},
		{names: []string{"CAP_ALL"}, err: `capability "CAP_ALL"`},
		{names: []string{"CHOWN,KILL"}, err: `capability "CHOWN,KILL"`},
	} {
		got, err := ParseNames(tc.names...)
		checkError(t, strings.Join(tc.names, " "), err, tc.err)
		if got != tc.want {
			t.Errorf("ParseNames(%q) = %s, want %s", tc.names, got, tc.want)
		}
	}
}

func TestSetAlgebra(t *testing.T) {
	s, u := Of(Chown, Kill, 63), Of(Kill, NetRaw)
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"union", s.Union(u), Of(Chown, Kill, NetRaw, 63)},
		{"intersection", s.Intersect(u), Of(Kill)},
		{"difference", s.Minus(u), Of(Chown, 63)},
		{"has", s.Has(63), true},
		{"has not", s.Has(NetRaw), false},
		{"has none above 63", (^Set(0)).Has(64), false},
		{"length", s.Len(), 3},
		{"empty", Set(0).IsEmpty(), true},
		{"not empty", s.IsEmpty(), false},
		{"string", s.String(), "CAP_CHOWN,CAP_KILL,CAP_63"},
		{"string of none", Set(0).String(), "none"},
		{"mask", s.Mask(), "8000000000000021"},
		{"up to 0", UpTo(0), Set(1)},
		{"up to 40", UpTo(40), Set(0x1ffffffffff)},
		{"up to 63", UpTo(63), ^Set(0)},
		{"up to 200", UpTo(200), ^Set(0)},
		{"known", Known().Len(), 41},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestSetAll(t *testing.T) {
	s := Of(63, Kill, Chown)
	if got := slices.Collect(s.All()); !slices.Equal(got, []Cap{Chown, Kill, 63}) {
		t.Errorf("All: %v", got)
	}
	for c := range s.All() {
		if c != Chown {
			t.Errorf("first is %s", c)
		}
		break
	}
}

func TestSetJSON(t *testing.T) {
	for _, tc := range []struct {
		s    Set
		want string
	}{
		{0, `[]`},
		{Of(NetRaw, Chown), `["CAP_CHOWN","CAP_NET_RAW"]`},
		{Of(SysAdmin, 63), `["CAP_SYS_ADMIN","CAP_63"]`},
	} {
		got, err := json.Marshal(tc.s)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s is %s, %v; want %s", tc.s, got, err, tc.want)
		}
		var back Set
		if err := json.Unmarshal(got, &back); err != nil || back != tc.s {
			t.Errorf("%s comes back as %s, %v", got, back, err)
		}
	}
	var older Set
	if err := json.Unmarshal([]byte(`["CAP_40"]`), &older); err != nil || older != Of(CheckpointRestore) {
		t.Errorf("CAP_40 is %s, %v", older, err)
	}
	for input, want := range map[string]string{
		`null`:            `capabilities "null": want a JSON array`,
		`"CAP_CHOWN"`:     `want a JSON array`,
		`{}`:              `want a JSON array`,
		`[1]`:             `want a JSON array`,
		`["CHOWN"]`:       `capability "CHOWN": want CAP_CHOWN`,
		`["cap_chown"]`:   `capability "cap_chown": want CAP_CHOWN`,
		`["CAP_CHOWNED"]`: `capability "CAP_CHOWNED": want a name`,
		`["41"]`:          `capability "41": want CAP_41`,
		`["ALL"]`:         `capability "ALL": want a name`,
		`["CAP_64"]`:      `capability "CAP_64": want a name`,
	} {
		s := Of(Kill)
		checkError(t, input, s.UnmarshalJSON([]byte(input)), want)
		if s != Of(Kill) {
			t.Errorf("%s changed the set to %s", input, s)
		}
	}
}
