package caps

import (
	"errors"
	"strings"
	"testing"
)

func FuzzParseMask(f *testing.F) {
	for _, seed := range []string{"00000000a80425fb", "0x1ffffffffff", "0", "", "-1", "0xZZ", "1_0", "ffffffffffffffffff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseMask(text)
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		if back, err := ParseMask(s.Mask()); err != nil || back != s {
			t.Errorf("%q is %s, which is %s, %v", text, s.Mask(), back.Mask(), err)
		}
		want := strings.ToLower(strings.TrimPrefix(text, "0x"))
		if !strings.HasSuffix(s.Mask(), want) || strings.Trim(strings.TrimSuffix(s.Mask(), want), "0") != "" {
			t.Errorf("%q is %s", text, s.Mask())
		}
	})
}

func FuzzParseNames(f *testing.F) {
	for _, seed := range []string{"CAP_CHOWN", "chown,CAP_63", "ALL", "", "CAP_64", "41", "CAP_ALL", "ALL,bpf"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		names := strings.Split(list, ",")
		s, err := ParseNames(names...)
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		if back, err := ParseNames(s.Names()...); err != nil || back != s {
			t.Errorf("%q is %s, which is %s, %v", names, s, back, err)
		}
		var back Set
		data, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.UnmarshalJSON(data); err != nil || back != s {
			t.Errorf("%q is %s, which is %s, %v", names, data, back, err)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	for _, data := range statuses(f) {
		f.Add(data)
	}
	f.Add([]byte(statusOf(State{Ambient: 1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatus(data)
		if err != nil {
			checkFuzzError(t, err)
			if s != (State{}) {
				t.Errorf("an error and %+v", s)
			}
			return
		}
		if back, err := ParseStatus([]byte(statusOf(s))); err != nil || back != s {
			t.Errorf("%+v comes back as %+v, %v", s, back, err)
		}
		for _, last := range []Cap{0, CheckpointRestore, 63} {
			if s.Text(last) == "" {
				t.Errorf("%+v has no text", s)
			}
			s.TextIAB(last)
		}
	})
}

func FuzzStateJSON(f *testing.F) {
	f.Add([]byte(`{"inheritable":[],"permitted":["CAP_63"],"effective":[],"bounding":["CAP_BPF"],"ambient":null,"noNewPrivs":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, back State
		if s.UnmarshalJSON(data) != nil {
			return
		}
		again, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.UnmarshalJSON(again); err != nil || back != s {
			t.Errorf("%s is %+v, which is %+v, %v", data, s, back, err)
		}
	})
}

// checkFuzzError fails unless err is one line that wraps ErrSyntax.
func checkFuzzError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrSyntax) || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 500 {
		t.Errorf("error %q", err)
	}
}
