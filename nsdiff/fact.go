package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

var errNotRead = errors.New("not read")

// fact is a value that was read, or the error why not: one that wraps ErrAbsent where the kernel has no such thing. The zero
// fact is unknown. In JSON it is {"state":"known","value":…}, {"state":"absent","reason":…} or {"state":"unknown","cause":…}.
type fact[T any] struct {
	value T
	known bool
	err   error
}

func factOf[T any](value T, err error) fact[T] {
	if err != nil {
		return fact[T]{err: err}
	}
	return fact[T]{value: value, known: true}
}

func (f fact[T]) get() (T, error) {
	if !f.known && f.err == nil {
		return f.value, errNotRead
	}
	return f.value, f.err
}

// factJSON is the form that is read.
type factJSON[T any] struct {
	State  string `json:"state"`
	Value  *T     `json:"value"`
	Reason string `json:"reason"`
	Cause  string `json:"cause"`
}

func (f fact[T]) MarshalJSON() ([]byte, error) { return f.appendJSON(nil) }

// appendJSON writes the form by hand: a snapshot has the ten namespaces of every process, and their owners.
func (f *fact[T]) appendJSON(b []byte) ([]byte, error) {
	value, err := f.get()
	if err == nil {
		if b, err = appendValue(append(b, `{"state":"known","value":`...), value); err != nil {
			return nil, err
		}
		return append(b, '}'), nil
	}
	head := `{"state":"unknown","cause":`
	if errors.Is(err, ErrAbsent) {
		head = `{"state":"absent","reason":`
	}
	text, _ := json.Marshal(err.Error()) // no text is an error
	return append(append(append(b, head...), text...), '}'), nil
}

func appendValue(b []byte, value any) ([]byte, error) {
	if ns, ok := value.(Namespace); ok && ns.Kind.valid() {
		b = append(append(append(b, `{"kind":"`...), ns.Kind.String()...), `","inode":`...)
		return append(strconv.AppendUint(b, ns.Inode, 10), '}'), nil
	}
	data, err := json.Marshal(value)
	return append(b, data...), err
}

func (f *fact[T]) UnmarshalJSON(data []byte) error {
	var in factJSON[T]
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	switch {
	case in.State == "known" && in.Value != nil:
		*f = factOf(*in.Value, nil)
	case in.State == "absent":
		*f = fact[T]{err: absentError(in.Reason)}
	case in.State == "unknown":
		*f = fact[T]{err: errors.New(in.Cause)}
	default:
		return fmt.Errorf("%w: fact %q: want the state known with a value, absent or unknown", ErrSyntax, clip(string(data)))
	}
	return nil
}

// absentError is an ErrAbsent with its reason.
type absentError string

func (e absentError) Error() string        { return string(e) }
func (e absentError) Is(target error) bool { return target == ErrAbsent }
