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

// factJSON is the form of a fact that is read.
type factJSON struct {
	State  string          `json:"state"`
	Value  json.RawMessage `json:"value"`
	Source string          `json:"source"`
	Reason string          `json:"reason"`
	Cause  string          `json:"cause"`
}

// MarshalJSON writes the form that the type describes.
func (f Fact[T]) MarshalJSON() ([]byte, error) {
	return f.appendJSON(make([]byte, 0, 128+len(f.source)))
}

// appendJSON writes the form by hand: a process has some hundred facts, and a snapshot those of every container.
func (f *Fact[T]) appendJSON(b []byte) (_ []byte, err error) {
	b = append(append(append(b, `{"state":"`...), f.known.String()...), '"')
	switch f.known {
	case Present:
		if b, err = appendValue(append(b, `,"value":`...), &f.value); err != nil {
			return nil, err
		}
		b = appendMember(b, "source", f.source)
	case Absent:
		b = appendMember(b, "reason", f.source)
	case Unknown:
		b = appendMember(b, "cause", f.Cause().Error())
	}
	return append(b, '}'), nil
}

// appendValue writes the value of a fact. Those that know their form write it, without its being looked through again.
func appendValue(b []byte, value any) ([]byte, error) {
	form := json.Marshal
	if m, ok := value.(json.Marshaler); ok {
		form = func(any) ([]byte, error) { return m.MarshalJSON() }
	}
	data, err := form(value)
	return append(b, data...), err
}

// appendMember writes a member with a text, unless that is empty.
func appendMember(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(append(append(append(b, `,"`...), name...), `":`...), text)
}

// appendText writes a text as package json does.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // no text is an error
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// UnmarshalJSON reads the form that the type describes and refuses any other. The error wraps [ErrSyntax] unless data is no
// JSON object.
func (f *Fact[T]) UnmarshalJSON(data []byte) error {
	var in factJSON
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
