package audit

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

// Evidence is a fact that a verdict stands on.
type Evidence struct {
	// Fact is the JSON name in the report, with dots: seccomp.inForce. It starts
	// with node for a fact of the node.
	Fact string `json:"fact"`
	// Value is what was found. It may hold names that the container chose.
	Value string `json:"value"`
	// Source is the path or the record that it was read from.
	Source string `json:"source,omitempty"`
}

// truth is of Kleene's three-valued logic. The zero truth is unsure.
type truth uint8

const (
	unsure truth = iota
	no
	yes
)

// claim is a statement about a subject. Whatever claims are made of others, a
// fact that becomes unknown makes none of them true or false that was not.
type claim struct {
	truth    truth
	evidence []Evidence // for a yes or a no; for an unsure one what is known
	causes   []string   // why it is unsure
}

func isTrue(b bool, evidence ...Evidence) claim {
	c := claim{truth: no, evidence: evidence}
	if b {
		c.truth = yes
	}
	return c
}

func unsureOf(fact string, cause error) claim {
	return claim{causes: []string{fact + ": " + cause.Error()}}
}

// fact is what the facts of packages inspect and cgroup have in common.
type fact[T any] interface {
	Value() (T, bool)
	Source() string
	Cause() error
}

// known makes a claim about a value. A fact that is absent makes it false, with
// the reason as evidence.
func known[T any](name string, f fact[T], is func(T) bool) claim {
	if cause := f.Cause(); cause != nil {
		return unsureOf(name, cause)
	}
	value, ok := f.Value()
	if !ok {
		return isTrue(false, Evidence{Fact: name, Value: "none", Source: f.Source()})
	}
	return isTrue(is(value), Evidence{Fact: name, Value: textOf(value), Source: f.Source()})
}

// knownAs is known with a text for the value: what a struct or a set means.
func knownAs[T any](name string, f fact[T], is func(T) bool, text func(T) string) claim {
	value, ok := f.Value()
	if !ok {
		return known(name, f, is)
	}
	return isTrue(is(value), Evidence{Fact: name, Value: text(value), Source: f.Source()})
}

// textOf is fmt.Sprint, and for what is mostly asked less trouble.
func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case inspect.PathGuard:
		return string(v)
	case inspect.Tier:
		return string(v)
	}
	return fmt.Sprint(value)
}

var (
	_ fact[int] = inspect.Fact[int]{}
	_ fact[int] = cgroup.Fact[int]{}
)

// saying replaces the evidence's value: what a number or a struct means.
func (c claim) saying(value string) claim {
	c.evidence = slices.Clone(c.evidence)
	for n := range c.evidence {
		c.evidence[n].Value = value
	}
	return c
}

// with adds evidence that does not decide.
func (c claim) with(evidence ...Evidence) claim {
	c.evidence = merge(c.evidence, evidence)
	return c
}

func not(c claim) claim {
	switch c.truth {
	case yes:
		c.truth = no
	case no:
		c.truth = yes
	case unsure:
	}
	return c
}

// all is true where every claim is. Where one is false that one is the evidence.
func all(claims ...claim) claim {
	result := claim{truth: yes}
	for _, c := range claims {
		switch c.truth {
		case no:
			return c
		case unsure:
			result.truth = unsure
		case yes:
		}
		result.evidence = merge(result.evidence, c.evidence)
		result.causes = merge(result.causes, c.causes)
	}
	return result
}

// either is true where one claim is. The evidence is of all that are true, or of
// all where none is.
func either(claims ...claim) claim {
	result, found := claim{truth: no}, claim{}
	for _, c := range claims {
		switch c.truth {
		case yes:
			found = claim{truth: yes, evidence: merge(found.evidence, c.evidence)}
			continue
		case unsure:
			result.truth = unsure
		case no:
		}
		result.evidence = merge(result.evidence, c.evidence)
		result.causes = merge(result.causes, c.causes)
	}
	if found.truth == yes {
		return found
	}
	return result
}

// unless is true where c is and nothing is known to stand against it: what may or
// may not protect is not taken for protection.
func (c claim) unless(protected claim) claim {
	if c.truth == no {
		return c
	}
	switch protected.truth {
	case yes:
		return not(protected)
	case unsure:
		for _, cause := range protected.causes {
			c.evidence = merge(c.evidence, []Evidence{{Fact: "not known to protect", Value: cause}})
		}
	case no:
		c.evidence = merge(c.evidence, protected.evidence)
	}
	return c
}

// merge joins two lists and keeps each item once.
func merge[T comparable](list, more []T) []T {
	list = slices.Clip(list)
	for _, item := range more {
		if !slices.Contains(list, item) {
			list = append(list, item)
		}
	}
	return list
}
