package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	experiment "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Known says how much is known of a fact.
type Known uint8

// The zero Known is Unknown, so a fact nobody filled in is never taken for safe.
const (
	// Unknown: it could not be read; the fact has the cause.
	Unknown Known = iota
	// Absent: there is no such thing here, for example no AppArmor in this
	// kernel, or no request because the container was not made through the CRI.
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

// Fact is a value that was read, is absent, or is unknown with its cause. The
// zero Fact is unknown.
//
// Its JSON form is an object: {"state":"known","value":…,"source":"…"},
// {"state":"absent","reason":"…"} or {"state":"unknown","cause":"…"}.
type Fact[T any] struct {
	known  Known
	value  T
	source string
	cause  error
}

// KnownFact returns a fact that was read from source: a path, or the runtime's
// record in words.
func KnownFact[T any](value T, source string) Fact[T] {
	return Fact[T]{known: Present, value: value, source: source}
}

// AbsentFact returns a fact that does not exist here, with the reason.
func AbsentFact[T any](reason string) Fact[T] {
	return Fact[T]{known: Absent, source: reason}
}

// UnknownFact returns a fact that could not be read. The cause is not nil.
func UnknownFact[T any](cause error) Fact[T] {
	return Fact[T]{cause: cause}
}

// Known tells whether the fact is known, absent or unknown.
func (f Fact[T]) Known() Known { return f.known }

// Value returns the value; ok is false when the fact is absent or unknown, and
// the value is then the zero T: do not use it.
func (f Fact[T]) Value() (value T, ok bool) {
	return f.value, f.known == Present
}

// Source returns where a known value was read, and why a fact is absent.
func (f Fact[T]) Source() string { return f.source }

// Cause returns why the fact is unknown, or nil when it is not. Of a fact read
// back from JSON only the text is left.
func (f Fact[T]) Cause() error {
	if f.known != Unknown {
		return nil
	}
	if f.cause == nil {
		return errNotCollected
	}
	return f.cause
}

var errNotCollected = errors.New("not collected")

// factJSON is the form of a fact whose value is a *T to be written, and
// written[T] when it is read.
type factJSON[V any] struct {
	State  string `json:"state"`
	Value  V      `json:"value,omitempty"`
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

// MarshalJSON writes the form that the type describes.
func (f Fact[T]) MarshalJSON() ([]byte, error) { return json.Marshal(f.form()) }

// stream writes the form into a larger document. That of a simple value is put
// together by hand: there are some hundred of them in each report.
func (f *Fact[T]) stream(e *jsontext.Encoder) error {
	if b, ok := f.appendPlain(e.AvailableBuffer()); ok {
		return e.WriteValue(b)
	}
	return experiment.MarshalEncode(e, f.form())
}

// appendPlain appends the form; ok is false where the value or a text takes more
// than quotes.
func (f *Fact[T]) appendPlain(b []byte) (_ []byte, ok bool) {
	name, text := "source", f.source
	b = append(append(append(b, `{"state":"`...), f.known.String()...), '"')
	switch f.known {
	case Present:
		if b, ok = appendSimple(append(b, `,"value":`...), any(&f.value)); !ok {
			return b, false
		}
	case Absent:
		name = "reason"
	case Unknown:
		name, text = "cause", f.Cause().Error()
	}
	if text != "" {
		if b, ok = appendQuoted(append(append(append(b, `,"`...), name...), `":`...), text); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

func appendSimple(b []byte, value any) (_ []byte, ok bool) {
	switch v := value.(type) {
	case *bool:
		return strconv.AppendBool(b, *v), true
	case *int:
		return strconv.AppendInt(b, int64(*v), 10), true
	case *string:
		return appendQuoted(b, *v)
	case *PathGuard:
		return appendQuoted(b, string(*v))
	}
	return b, false
}

// appendQuoted appends a text in which nothing needs an escape.
func appendQuoted(b []byte, text string) (_ []byte, ok bool) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return b, false
		}
	}
	return append(append(append(b, '"'), text...), '"'), true
}

func (f *Fact[T]) form() any {
	out := factJSON[*T]{State: f.known.String()}
	switch f.known {
	case Present:
		out.Value, out.Source = &f.value, f.source
	case Absent:
		out.Reason = f.source
	case Unknown:
		out.Cause = f.Cause().Error()
	}
	return &out
}

// UnmarshalJSON reads the form that the type describes and refuses any other.
func (f *Fact[T]) UnmarshalJSON(data []byte) error { return unmarshal(data, f) }

// scan reads the form as a part of a larger document.
func (f *Fact[T]) scan(d *jsontext.Decoder) error {
	var in factJSON[written[T]]
	if err := experiment.UnmarshalDecode(d, &in); err != nil {
		return err
	}
	switch in.State {
	case "known":
		if !in.Value.ok {
			return errors.New("a known fact without a value")
		}
		*f = KnownFact(in.Value.value, in.Source)
	case "absent":
		*f = AbsentFact[T](in.Reason)
	case "unknown":
		*f = UnknownFact[T](errors.New(in.Cause))
	default:
		return fmt.Errorf("a fact's state is %q: want known, absent or unknown", in.State)
	}
	return nil
}

// written is a value that the document may not have; null is one.
type written[T any] struct {
	value T
	ok    bool
}

func (w *written[T]) scan(d *jsontext.Decoder) error {
	w.ok = true
	return experiment.UnmarshalDecode(d, &w.value)
}

// Setting is one thing at its three levels. They differ in form: a request
// names a profile where the kernel only counts filters.
type Setting[Req, Decl, Eff any] struct {
	// Requested is what the client asked for through the CRI.
	Requested Fact[Req] `json:"requested"`
	// Declared is what the runtime wrote into the OCI runtime specification.
	Declared Fact[Decl] `json:"declared"`
	// InForce is what the kernel has for the container's first process.
	InForce Fact[Eff] `json:"inForce"`
}
