package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Level is the limit of one cgroup on the way from a process to the machine's root.
type Level[T any] struct {
	// Kind is what the cgroup stands for.
	Kind Kind `json:"kind"`
	// Path is the cgroup's path in its hierarchy.
	Path string `json:"path"`
	// Limit is its own limit. For the machine, it is what there is: its memory, its processors.
	Limit Fact[T] `json:"limit"`
	// Usage is what it and all below it use, which is what the kernel compares with Limit. It is absent for processor time.
	Usage Fact[Count] `json:"usage"`
}

// Bound is a limit that can be compared: [Limit] or [CPUMax].
type Bound[T any] interface {
	// Bounds tells whether it is a limit at all.
	Bounds() bool
	// Less tells whether it is tighter than another.
	Less(T) bool
}

// Effective is the limit that holds for a process: the least of its own cgroup's and of all above. The zero Effective is
// unknown.
//
// Its JSON form is {"state":"known","least":…,"levels":[…]} or {"state":"unknown","atMost":…,"cause":"…","levels":[…]}, where
// least and atMost are one of levels.
type Effective[T Bound[T]] struct {
	levels []Level[T]
	least  int // an index of levels; -1 when no level has a known limit
}

// EffectiveOf returns the limit that follows from levels, the process's own first. Of equal limits the first counts. A level
// without a limit, "max" or absent, is passed over; one that is unknown makes the result unknown, for a tighter limit may hide
// there.
func EffectiveOf[T Bound[T]](levels []Level[T]) Effective[T] {
	e := Effective[T]{levels: levels, least: -1}
	var least T
	for i, level := range levels {
		limit, ok := level.Limit.Value()
		if ok && limit.Bounds() && (e.least < 0 || limit.Less(least)) {
			e.least, least = i, limit
		}
	}
	return e
}

// Levels returns all levels that were considered, the process's own first.
func (e Effective[T]) Levels() []Level[T] { return e.levels }

// Value returns the level that sets the limit; ok is false when that is unknown, see [Effective.Cause] and [Effective.AtMost].
func (e Effective[T]) Value() (level Level[T], ok bool) {
	if e.Cause() != nil {
		return Level[T]{}, false
	}
	return e.levels[e.least], true
}

// AtMost returns the level with the least limit that is known. It is an upper bound when the effective limit is unknown, and
// that limit when it is known. ok is false when no level has a known limit.
func (e Effective[T]) AtMost() (level Level[T], ok bool) {
	if len(e.levels) == 0 || e.least < 0 {
		return Level[T]{}, false
	}
	return e.levels[e.least], true
}

// Cause returns why the limit is unknown: the causes of every level that is, each once. It is nil when the limit is known.
func (e Effective[T]) Cause() error {
	var causes []error
	for _, level := range e.levels {
		err := level.Limit.Cause()
		if err != nil && !slices.ContainsFunc(causes, func(before error) bool { return before.Error() == err.Error() }) {
			causes = append(causes, err)
		}
	}
	if len(causes) == 0 && (len(e.levels) == 0 || e.least < 0) {
		return errNotRead
	}
	return errors.Join(causes...)
}

// effectiveJSON is the form; of what is read, all but the state and the levels follows from the levels.
type effectiveJSON[T any] struct {
	// State is known or unknown. Least is the level that sets the limit.
	State  string     `json:"state"`
	Least  *Level[T]  `json:"least,omitempty"`
	AtMost *Level[T]  `json:"atMost,omitempty"`
	Cause  string     `json:"cause,omitempty"`
	Levels []Level[T] `json:"levels"`
}

// MarshalJSON returns the form that the type describes.
func (e Effective[T]) MarshalJSON() (b []byte, err error) {
	cause, name := e.Cause(), "least"
	b = append(make([]byte, 0, 300*(len(e.levels)+1)), `{"state":"known"`...)
	if cause != nil {
		b, name = append(b[:0], `{"state":"unknown"`...), "atMost"
	}
	if e.least >= 0 && len(e.levels) > 0 {
		if b, err = e.levels[e.least].appendJSON(append(b, `,"`+name+`":`...)); err != nil {
			return nil, err
		}
	}
	if cause != nil {
		b = appendMember(b, "cause", cause.Error())
	}
	b = append(b, `,"levels":[`...)
	for i := range e.levels {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = e.levels[i].appendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, `]}`...), nil
}

func (l *Level[T]) appendJSON(b []byte) (_ []byte, err error) {
	b = appendText(append(b, `{"kind":`...), string(l.Kind))
	b = appendText(append(b, `,"path":`...), l.Path)
	if b, err = l.Limit.appendJSON(append(b, `,"limit":`...)); err != nil {
		return nil, err
	}
	if b, err = l.Usage.appendJSON(append(b, `,"usage":`...)); err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// UnmarshalJSON takes the form that the type describes. It goes by the levels and refuses a state that does not follow from
// them; the error wraps [ErrSyntax] then.
func (e *Effective[T]) UnmarshalJSON(data []byte) error {
	var form effectiveJSON[T]
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	parsed := EffectiveOf(form.Levels)
	if (form.State == Present.String()) != (parsed.Cause() == nil) {
		return fmt.Errorf("%w: effective limit: state %q does not follow from the levels", ErrSyntax, clip(form.State))
	}
	*e = parsed
	return nil
}
