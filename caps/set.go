package caps

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/bits"
	"strconv"
	"strings"
)

// Set is a set of capabilities as the kernel keeps it: bit n is Cap(n). The zero Set is empty, and Sets compare with ==.
// Bits that have no name yet stay in the set and print as their number.
type Set uint64

// Of returns the set of the given capabilities.
func Of(caps ...Cap) Set {
	var s Set
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// Known returns the set of all capabilities that this package knows by name. What a machine supports may be less or more:
// see [Reader.LastCap] and [UpTo].
func Known() Set { return UpTo(Cap(len(names) - 1)) }

// UpTo returns the set of all capabilities from 0 to last. With the kernel's last capability, that is the full set of root.
func UpTo(last Cap) Set { return ^Set(0) >> (maxCap - min(last, maxCap)) }

// ParseMask returns the set that text spells in 1 to 16 hexadecimal digits, as in the Cap lines of /proc/PID/status. A prefix
// 0x, as in the output of capsh, is allowed. The error wraps [ErrSyntax].
func ParseMask(text string) (Set, error) {
	digits := strings.TrimPrefix(text, "0x")
	if len(digits) > 16 || !isHex(digits) {
		return 0, fmt.Errorf("%w: mask %q: want 1 to 16 hexadecimal digits such as a80425fb", ErrSyntax, clip(text))
	}
	mask, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: mask %q: %w", ErrSyntax, clip(text), err)
	}
	return Set(mask), nil
}

// isHex reports whether text is one or more hexadecimal digits and nothing else.
func isHex(text string) bool {
	return text != "" && strings.Trim(text, "0123456789abcdefABCDEF") == ""
}

// ParseNames returns the set of the named capabilities. Each name is one that [ParseCap] takes, or ALL in any case for the
// set [Known]. The error wraps [ErrSyntax] and names the first bad name.
func ParseNames(names ...string) (Set, error) {
	var s Set
	for _, name := range names {
		if strings.EqualFold(name, "ALL") {
			s |= Known()
			continue
		}
		c, err := ParseCap(name)
		if err != nil {
			return 0, err
		}
		s |= 1 << c
	}
	return s, nil
}

// Has reports whether c is in s.
func (s Set) Has(c Cap) bool { return s>>c&1 == 1 }

// IsEmpty reports whether s has no capability.
func (s Set) IsEmpty() bool { return s == 0 }

// Len returns the number of capabilities in s.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Union returns the capabilities that are in s or in t.
func (s Set) Union(t Set) Set { return s | t }

// Intersect returns the capabilities that are in both s and t.
func (s Set) Intersect(t Set) Set { return s & t }

// Minus returns the capabilities of s that are not in t.
func (s Set) Minus(t Set) Set { return s &^ t }

// All iterates over the capabilities in s, in rising order.
func (s Set) All() iter.Seq[Cap] {
	return func(yield func(Cap) bool) {
		for ; s != 0; s &= s - 1 {
			if !yield(Cap(bits.TrailingZeros64(uint64(s)))) {
				return
			}
		}
	}
}

// Names returns the names of the capabilities in s, in rising order. It is never nil.
func (s Set) Names() []string {
	list := make([]string, 0, s.Len())
	for c := range s.All() {
		list = append(list, c.String())
	}
	return list
}

// String returns the names in s joined with commas, or "none".
func (s Set) String() string {
	if s.IsEmpty() {
		return "none"
	}
	return strings.Join(s.Names(), ",")
}

// Mask returns s in 16 hexadecimal digits, as in the Cap lines of /proc/PID/status.
func (s Set) Mask() string { return fmt.Sprintf("%016x", uint64(s)) }

// MarshalJSON returns s as OCI runtime specifications spell it: an array of names in rising order, [] when s is empty, never
// null.
func (s Set) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

// UnmarshalJSON sets s from an array of names, each exactly as [Cap.String] spells it, or with its number as an older version
// of this package may have spelled it. The error wraps [ErrSyntax].
func (s *Set) UnmarshalJSON(data []byte) error {
	var list []string
	if err := json.Unmarshal(data, &list); err != nil || list == nil {
		return fmt.Errorf("%w: capabilities %q: want a JSON array of names", ErrSyntax, clip(string(data)))
	}
	var parsed Set
	for _, name := range list {
		c, err := ParseCap(name)
		if err != nil {
			return err
		}
		if name != c.String() && name != "CAP_"+strconv.Itoa(int(c)) {
			return fmt.Errorf("%w: capability %q: want %s", ErrSyntax, clip(name), c)
		}
		parsed |= 1 << c
	}
	*s = parsed
	return nil
}
