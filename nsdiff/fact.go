package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
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

type factJSON[T any] struct {
	State  string `json:"state"`
	Value  *T     `json:"value,omitempty"`
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

func (f fact[T]) MarshalJSON() ([]byte, error) {
	value, err := f.get()
	switch {
	case err == nil:
		return json.Marshal(factJSON[T]{State: "known", Value: &value})
	case errors.Is(err, ErrAbsent):
		return json.Marshal(factJSON[T]{State: "absent", Reason: err.Error()})
	}
	return json.Marshal(factJSON[T]{State: "unknown", Cause: err.Error()})
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
