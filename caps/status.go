package caps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// State is what the kernel keeps of a process's capabilities. States compare with ==.
//
// In JSON, the keys are inheritable, permitted, effective, bounding, ambient and noNewPrivs; ambient is null when
// AmbientAbsent, and noNewPrivs is null when unknown.
type State struct {
	// Inheritable may be kept across execve(2), where the file agrees.
	Inheritable Set
	// Permitted is what the process may make effective at once, with capset(2).
	Permitted Set
	// Effective is what the kernel checks.
	Effective Set
	// Bounding limits what execve(2) can add to Permitted, and what can be added to Inheritable.
	Bounding Set
	// Ambient is kept across execve(2) of a program without privileges of its own. Available from Linux 4.3.
	Ambient Set
	// AmbientAbsent says that the kernel is older and has no ambient set; Ambient is then empty.
	AmbientAbsent bool
	// NoNewPrivs says whether execve(2) can add privileges at all.
	NoNewPrivs NoNewPrivs
}

// NoNewPrivs is the no_new_privs attribute of a process: with it, execve(2) adds no privileges, neither by set-user-ID bits nor
// by file capabilities. See PR_SET_NO_NEW_PRIVS in prctl(2). It is null, false or true in JSON.
type NoNewPrivs uint8

// The zero value is unknown: the attribute exists since Linux 3.5, but /proc shows it from Linux 4.10 only.
const (
	NoNewPrivsUnknown NoNewPrivs = iota
	NoNewPrivsOff
	NoNewPrivsOn
)

// String returns "unknown", "off" or "on".
func (n NoNewPrivs) String() string {
	switch n {
	case NoNewPrivsUnknown:
		return "unknown"
	case NoNewPrivsOff:
		return "off"
	case NoNewPrivsOn:
		return "on"
	}
	return "NoNewPrivs(" + strconv.Itoa(int(n)) + ")"
}

// MarshalJSON returns null, false or true.
func (n NoNewPrivs) MarshalJSON() ([]byte, error) {
	switch n {
	case NoNewPrivsUnknown:
		return []byte("null"), nil
	case NoNewPrivsOff:
		return []byte("false"), nil
	case NoNewPrivsOn:
		return []byte("true"), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrSyntax, n)
}

// UnmarshalJSON takes null, false or true. The error wraps [ErrSyntax].
func (n *NoNewPrivs) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		*n = NoNewPrivsUnknown
	case "false":
		*n = NoNewPrivsOff
	case "true":
		*n = NoNewPrivsOn
	default:
		return fmt.Errorf("%w: noNewPrivs %q: want null, false or true", ErrSyntax, clip(string(data)))
	}
	return nil
}

// stateJSON is the JSON form of a State. A nil set is one that the input does not give.
type stateJSON struct {
	Inheritable *Set       `json:"inheritable"`
	Permitted   *Set       `json:"permitted"`
	Effective   *Set       `json:"effective"`
	Bounding    *Set       `json:"bounding"`
	Ambient     *Set       `json:"ambient"`
	NoNewPrivs  NoNewPrivs `json:"noNewPrivs"`
}

// MarshalJSON returns s as an object, each set as [Set.MarshalJSON] spells it.
func (s State) MarshalJSON() ([]byte, error) {
	form := stateJSON{&s.Inheritable, &s.Permitted, &s.Effective, &s.Bounding, &s.Ambient, s.NoNewPrivs}
	if s.AmbientAbsent {
		form.Ambient = nil
	}
	return json.Marshal(form)
}

// UnmarshalJSON sets s from an object. A missing set is an error, not an empty set; only ambient and noNewPrivs may be null or
// missing. The error wraps [ErrSyntax] unless data is no JSON object.
func (s *State) UnmarshalJSON(data []byte) error {
	var form stateJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	if form.Inheritable == nil || form.Permitted == nil || form.Effective == nil || form.Bounding == nil {
		return fmt.Errorf("%w: capability state %q: want inheritable, permitted, effective and bounding",
			ErrSyntax, clip(string(data)))
	}
	*s = State{
		Inheritable:   *form.Inheritable,
		Permitted:     *form.Permitted,
		Effective:     *form.Effective,
		Bounding:      *form.Bounding,
		AmbientAbsent: form.Ambient == nil,
		NoNewPrivs:    form.NoNewPrivs,
	}
	if form.Ambient != nil {
		s.Ambient = *form.Ambient
	}
	return nil
}

// ParseStatus returns the state in the content of a /proc/PID/status file, see proc_pid_status(5). Lines about anything else
// are skipped. A line that is missing, double, cut short or malformed is an error that wraps [ErrSyntax]; only CapAmb and
// NoNewPrivs may be missing, as older kernels do not have them.
func ParseStatus(status []byte) (State, error) {
	var s State
	for _, f := range []struct {
		key string
		set *Set
	}{
		{"CapInh", &s.Inheritable},
		{"CapPrm", &s.Permitted},
		{"CapEff", &s.Effective},
		{"CapBnd", &s.Bounding},
		{"CapAmb", &s.Ambient},
	} {
		value, ok, err := statusValue(status, f.key)
		if err != nil {
			return State{}, err
		}
		if !ok && f.key == "CapAmb" {
			s.AmbientAbsent = true
			continue
		}
		if !ok {
			return State{}, fmt.Errorf("%w: status: no %s line", ErrSyntax, f.key)
		}
		if len(value) != 16 || !isHex(value) {
			return State{}, fmt.Errorf("%w: status: %s %q: want 16 hexadecimal digits", ErrSyntax, f.key, clip(value))
		}
		if *f.set, err = ParseMask(value); err != nil {
			return State{}, err
		}
	}
	var err error
	s.NoNewPrivs, err = parseNoNewPrivs(status)
	if err != nil {
		return State{}, err
	}
	return s, nil
}

// parseNoNewPrivs returns the value of the NoNewPrivs line, unknown when there is none.
func parseNoNewPrivs(status []byte) (NoNewPrivs, error) {
	value, ok, err := statusValue(status, "NoNewPrivs")
	switch {
	case err != nil || !ok:
		return NoNewPrivsUnknown, err
	case value == "0":
		return NoNewPrivsOff, nil
	case value == "1":
		return NoNewPrivsOn, nil
	}
	return NoNewPrivsUnknown, fmt.Errorf("%w: status: NoNewPrivs %q: want 0 or 1", ErrSyntax, clip(value))
}

// statusValue returns what follows key, a colon and a tab on the one line that starts so; ok is false when there is none.
func statusValue(status []byte, key string) (value string, ok bool, err error) {
	prefix := []byte(key + ":")
	for line := range bytes.Lines(status) {
		rest, found := bytes.CutPrefix(line, prefix)
		if !found {
			continue
		}
		if ok {
			return "", false, fmt.Errorf("%w: status: a second %s line", ErrSyntax, key)
		}
		rest, ended := bytes.CutSuffix(rest, []byte("\n"))
		rest, tabbed := bytes.CutPrefix(rest, []byte("\t"))
		if !ended || !tabbed {
			return "", false, fmt.Errorf("%w: status: line %q: want %s, a colon, a tab, a value and a newline",
				ErrSyntax, clip(string(line)), key)
		}
		value, ok = string(rest), true
	}
	return value, ok, nil
}
