package nsdiff

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"net:[4026531833]", "pid_for_children:[1]", "user:[0]", "mnt:[-1]", "uts:[01]", "net:[9007199254740992]", "net:[1]\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, link string) {
		ns, err := Parse(link)
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		if ns.String() != link {
			t.Errorf("%q prints as %q", link, ns)
		}
		data, err := json.Marshal(ns)
		if err != nil {
			t.Fatal(err)
		}
		var back Namespace
		if err := json.Unmarshal(data, &back); err != nil || back != ns {
			t.Errorf("%s comes back from %s as %s, %v", ns, data, back, err)
		}
	})
}

func FuzzParseIDMap(f *testing.F) {
	for _, seed := range []string{"         0          0 4294967295\n", "0 1000 1\n1 100000 65536\n", "0 4294967295 5\n", "0 0 0\n", "", "1 0 4294967295\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseIDMap(data)
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		if back, err := ParseIDMap([]byte(m.String())); err != nil || back.String() != m.String() {
			t.Errorf("%v comes back as %v, %v", m, back, err)
		}
		for _, r := range m {
			for _, id := range []uint32{r.Inside, r.Inside + r.Size - 1} {
				if out, ok := m.Outside(id); ok {
					if _, ok := m.Inside(out); !ok {
						t.Errorf("%v: %d is outside %d, which is not inside", m, id, out)
					}
				}
			}
		}
	})
}

func FuzzParseSetgroups(f *testing.F) {
	for _, seed := range []string{"allow\n", "deny\n", "allow", "", "maybe\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSetgroups(data)
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		if strings.TrimSuffix(string(data), "\n") != string(s) {
			t.Errorf("%q is %q", data, s)
		}
	})
}

func FuzzSetJSON(f *testing.F) {
	f.Add([]byte(`{"net":{"state":"known","value":{"kind":"net","inode":1}},"time":{"state":"absent","reason":"x"},"user":{"state":"unknown","cause":"y"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, back Set
		if json.Unmarshal(data, &s) != nil {
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatal(err)
		}
		for _, k := range Kinds() {
			a, aErr := s.Namespace(k)
			b, bErr := back.Namespace(k)
			if a != b || (aErr == nil) != (bErr == nil) || errors.Is(aErr, ErrAbsent) != errors.Is(bErr, ErrAbsent) {
				t.Errorf("%s: %s, %v comes back as %s, %v", k, a, aErr, b, bErr)
			}
		}
	})
}

func FuzzIsKernelThread(f *testing.F) {
	f.Add("kthreadd", "S 0 0 0 0 -1 2129984")
	f.Add(") S 0 0 0 0 -1 2129984 (", "S 1 2 2 0 -1 4194560")
	f.Fuzz(func(t *testing.T, name, rest string) {
		if strings.Contains(rest, ")") {
			t.Skip("the kernel writes no parenthesis after the name")
		}
		// Whatever a program calls itself, it does not change what it is.
		if isKernelThread([]byte("2 ("+name+") "+rest)) != isKernelThread([]byte("2 (x) "+rest)) {
			t.Errorf("the name %q makes a difference before %q", name, rest)
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
