package main

import (
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// TestSayGuests: the containers with a kernel of their own are named once, and nothing is said without one.
func TestSayGuests(t *testing.T) {
	of := func(name string, tier inspect.Fact[inspect.Tier]) inspect.Container {
		return inspect.Container{Name: name, Tier: tier}
	}
	plain := of("plain", inspect.KnownFact(inspect.TierHostKernel, ""))
	unknown := of("unknown", inspect.UnknownFact[inspect.Tier](inspect.ErrKernelOnly))
	o := output{headers: true}
	o.terminal.width = 200
	for _, tc := range []struct {
		list []inspect.Container
		want string
	}{
		{[]inspect.Container{plain, unknown}, ""},
		{
			[]inspect.Container{of("a\x1b[2J", inspect.KnownFact(inspect.TierSandbox, "")), plain, of("vm", inspect.KnownFact(inspect.TierVM, ""))},
			"\nIn a sandbox, with a kernel of its own: a\\x1b[2J, vm. What is in force is of the sandbox's process on the node, not of what runs in it.\n",
		},
	} {
		var b strings.Builder
		if sayGuests(&b, o, tc.list...); b.String() != tc.want {
			t.Errorf("%q, want %q", b.String(), tc.want)
		}
		b.Reset()
		if sayGuests(&b, output{}, tc.list...); b.Len() > 0 {
			t.Errorf("without headers %q", b.String())
		}
	}
}
