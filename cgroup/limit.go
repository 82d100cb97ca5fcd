package cgroup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Count is an amount that the kernel counts: bytes, microseconds, events, as the field says.
//
// In JSON it is a number up to 2^53, which every reader of JSON keeps exactly, and a string of decimal digits above.
type Count uint64

// maxExact is the highest integer that a JSON number, read as a float64, keeps exactly with all below it.
const maxExact = 1 << 53

// ParseCount returns the amount that text spells in decimal digits, without leading zeros. The error wraps [ErrSyntax].
func ParseCount(text string) (Count, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || text[0] == '0' && len(text) > 1 {
		return 0, fmt.Errorf("%w: count %q: want a number", ErrSyntax, clip(text))
	}
	return Count(n), nil
}

// String returns c in decimal digits.
func (c Count) String() string { return strconv.FormatUint(uint64(c), 10) }

// MarshalJSON returns the form that the type describes.
func (c Count) MarshalJSON() ([]byte, error) {
	if c > maxExact {
		return json.Marshal(c.String())
	}
	return []byte(c.String()), nil
}

// UnmarshalJSON takes the form that the type describes. The error wraps [ErrSyntax].
func (c *Count) UnmarshalJSON(data []byte) error {
	n, err := ParseCount(string(bytes.Trim(data, `"`)))
	if err != nil {
		return err
	}
	if again, _ := n.MarshalJSON(); !bytes.Equal(again, data) {
		return fmt.Errorf("%w: count %q: want a number up to 2^53, or above a string of digits", ErrSyntax, clip(string(data)))
	}
	*c = n
	return nil
}

// Limit is an upper bound in the unit its field says, or "max" for none. The zero Limit is absent: nothing was set or asked
// for. Limits compare with ==.
//
// In JSON it is null, "max", a number up to 2^53, or above that a string of decimal digits.
type Limit struct {
	kind limitKind
	n    uint64 // 0 unless kind is limitNumber, so that == works
}

type limitKind uint8

const (
	limitAbsent limitKind = iota
	limitNumber
	limitMax
)

// Max is the limit that is none.
var Max = Limit{kind: limitMax}

// LimitOf returns the limit n.
func LimitOf(n uint64) Limit { return Limit{kind: limitNumber, n: n} }

// Value returns the number; ok is false when l is absent or [Max].
func (l Limit) Value() (n uint64, ok bool) { return l.n, l.kind == limitNumber }

// IsMax tells whether l is no limit, "max".
func (l Limit) IsMax() bool { return l.kind == limitMax }

// Bounds tells whether l is a number.
func (l Limit) Bounds() bool { return l.kind == limitNumber }

// Less tells whether l is a tighter bound than m.
func (l Limit) Less(m Limit) bool { return l.Bounds() && (!m.Bounds() || l.n < m.n) }

// String returns the number, "max", or "absent".
func (l Limit) String() string {
	switch l.kind {
	case limitNumber:
		return strconv.FormatUint(l.n, 10)
	case limitMax:
		return "max"
	case limitAbsent:
	}
	return "absent"
}

// MarshalJSON returns the form that the type describes.
func (l Limit) MarshalJSON() ([]byte, error) {
	switch l.kind {
	case limitNumber:
		return Count(l.n).MarshalJSON()
	case limitMax:
		return []byte(`"max"`), nil
	case limitAbsent:
	}
	return []byte("null"), nil
}

// UnmarshalJSON takes the form that the type describes. The error wraps [ErrSyntax].
func (l *Limit) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		*l = Limit{}
		return nil
	case `"max"`:
		*l = Max
		return nil
	}
	var n Count
	if err := n.UnmarshalJSON(data); err != nil {
		return fmt.Errorf(`%w: limit %q: want null, "max", a number up to 2^53 or above a string of digits`, ErrSyntax,
			clip(string(data)))
	}
	*l = LimitOf(uint64(n))
	return nil
}

// ParseLimit returns the limit that text spells as cgroup v2 does: "max" or decimal digits. The error wraps [ErrSyntax].
func ParseLimit(text string) (Limit, error) {
	if text == "max" {
		return Max, nil
	}
	n, err := ParseCount(text)
	if err != nil {
		return Limit{}, fmt.Errorf(`%w: limit %q: want a number or "max"`, ErrSyntax, clip(text))
	}
	return LimitOf(uint64(n)), nil
}

// legacyMax is the least number that cgroup v1 prints for memory without a limit: the highest page below 2^63 bytes, for pages
// of 64 KiB. With pages of 4 KiB it is 9223372036854771712, and before Linux 3.19 it was 9223372036854775807.
const legacyMax = 1<<63 - 1<<16

// ParseLegacyLimit returns the limit that text spells as memory.limit_in_bytes and the like of cgroup v1 do: decimal digits,
// which from 2^63-65536 on mean [Max]. The error wraps [ErrSyntax].
func ParseLegacyLimit(text string) (Limit, error) {
	n, err := ParseCount(text)
	if err != nil {
		return Limit{}, err
	}
	if n >= legacyMax {
		return Max, nil
	}
	return LimitOf(uint64(n)), nil
}

// ParseKeyed returns the numbers of a flat-keyed file such as memory.events, pids.events and cpu.stat: lines of a key, a space
// and decimal digits. An empty file, a double key and anything else is an error that wraps [ErrSyntax].
func ParseKeyed(data string) (map[string]Count, error) {
	values := map[string]Count{}
	for line := range strings.Lines(data) {
		text, ended := strings.CutSuffix(line, "\n")
		key, number, _ := strings.Cut(text, " ")
		n, err := ParseCount(number)
		_, double := values[key]
		if !ended || key == "" || err != nil || double {
			return nil, fmt.Errorf("%w: line %q: want one line for each key, with a space and a number", ErrSyntax, clip(line))
		}
		values[key] = n
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%w: an empty file: want lines of a key, a space and a number", ErrSyntax)
	}
	return values, nil
}

// parseSwitch returns whether text is "1"; it may only be that or "0".
func parseSwitch(text string) (bool, error) {
	if text != "0" && text != "1" {
		return false, fmt.Errorf("%w: %q: want 0 or 1", ErrSyntax, clip(text))
	}
	return text == "1", nil
}
