package cgroup

import (
	"errors"
	"testing"
)

func TestListOf(t *testing.T) {
	for text, want := range map[string]List{"0": "0", "3,1,2": "1-3", "0,1": "0-1", "0-1,2-3,7": "0-3,7", "1-2,2-4": "1-4", " 5, 7 ": "5,7"} {
		got, err := ListOf(text)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
		if _, err := ParseList(string(got)); err != nil {
			t.Errorf("%q: the kernel does not write %q", text, got)
		}
	}
	for _, text := range []string{"", ",", "a", "1-", "3-1", "-1", "0-99999999"} {
		if got, err := ListOf(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
