package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Known says how much is known of a fact.
type Known uint8

// The zero Known is Unknown, so a fact nobody filled in is never taken for safe.
const (
	// Unknown: it could not be read; the fact has the cause.
	Unknown Known = iota
	// Absent: this kernel, this version of cgroups or this cgroup has none.
	Absent
	// Present: it was read; the fact has the value.
	Present
)

// String returns "known", "absent" or "unknown", the words of the JSON form.
func (k Known) String() string {
	switch k {
	case Present:
		return "known"
	case Absent:
		return "absent"
	case Unknown:
	}
	return "unknown"
}

// Fact is a value that was read from a file, is absent, or is unknown with its cause. The zero Fact is unknown.
//
// Its JSON form is that of facts in package inspect: {"state":"known","value":…,"source":"…"},
// {"state":"absent","reason":"…"} or {"state":"unknown","cause":"…"}.
type Fact[T any] struct {
	known  Known
	value  T
	source string
	cause  error
}

// KnownFact returns a fact that was read from the file source.
func KnownFact[T any](value T, source string) Fact[T] {
	return Fact[T]{known: Present, value: value, source: source}
}

// AbsentFact returns a fact that does not exist here, with the reason.
func AbsentFact[T any](reason string) Fact[T] { return Fact[T]{known: Absent, source: reason} }

// UnknownFact returns a fact that could not be read. The cause is not nil.
func UnknownFact[T any](cause error) Fact[T] { return Fact[T]{cause: cause} }

// Known tells whether the fact is known, absent or unknown.
func (f Fact[T]) Known() Known { return f.known }

// Value returns the value; ok is false when the fact is absent or unknown, and the value is then the zero T: do not use it.
func (f Fact[T]) Value() (value T, ok bool) { return f.value, f.known == Present }

// Source returns the file a known value was read from, and why a fact is absent.
func (f Fact[T]) Source() string { return f.source }

// Cause returns why the fact is unknown, or nil when it is not. It names the path and wraps the kernel's errno; of a fact read
// back from JSON only the text is left.
func (f Fact[T]) Cause() error {
	if f.known != Unknown {
		return nil
	}
	if f.cause == nil {
		return errNotRead
	}
	return f.cause
}

var errNotRead = errors.New("not read")

// factJSON is the form of a fact whose value is a *T to be written, and a
// json.RawMessage when it is read.
type factJSON[V any] struct {
	State  string `json:"state"`
	Value  V      `json:"value,omitempty"`
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

// MarshalJSON writes the form that the type describes.
func (f Fact[T]) MarshalJSON() ([]byte, error) {
	out := factJSON[*T]{State: f.known.String()}
	switch f.known {
	case Present:
		out.Value, out.Source = &f.value, f.source
	case Absent:
		out.Reason = f.source
	case Unknown:
		out.Cause = f.Cause().Error()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads the form that the type describes and refuses any other. The error wraps [ErrSyntax] unless data is no
// JSON object.
func (f *Fact[T]) UnmarshalJSON(data []byte) error {
	var in factJSON[json.RawMessage]
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	switch in.State {
	case "known":
		var value T
		if len(in.Value) == 0 {
			return fmt.Errorf("%w: a known fact without a value", ErrSyntax)
		}
		if err := json.Unmarshal(in.Value, &value); err != nil {
			return err
		}
		*f = KnownFact(value, in.Source)
	case "absent":
		*f = AbsentFact[T](in.Reason)
	case "unknown":
		*f = UnknownFact[T](errors.New(in.Cause))
	default:
		return fmt.Errorf("%w: state of a fact %q: want known, absent or unknown", ErrSyntax, clip(in.State))
	}
	return nil
}

// convert changes the value of a known fact and keeps everything else.
func convert[A, B any](f Fact[A], change func(A) (B, error)) Fact[B] {
	switch f.known {
	case Absent:
		return AbsentFact[B](f.source)
	case Unknown:
		return UnknownFact[B](f.Cause())
	case Present:
	}
	value, err := change(f.value)
	if err != nil {
		return UnknownFact[B](fmt.Errorf("%s: %w", f.source, err))
	}
	return KnownFact(value, f.source)
}
