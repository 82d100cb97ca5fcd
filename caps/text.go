package caps

import (
	"strconv"
	"strings"
)

// Decode returns s as `capsh --decode` prints it: the mask, then the names in lower case, and the numbers of those that have
// no name.
func (s Set) Decode() string {
	return "0x" + s.Mask() + "=" + s.lower()
}

// lower returns the names in s as libcap spells them, joined with commas.
func (s Set) lower() string {
	list := make([]string, 0, s.Len())
	for c := range s.All() {
		list = append(list, c.lower())
	}
	return strings.Join(list, ",")
}

// lower returns the name of c as libcap spells it: in lower case, or the bare number.
func (c Cap) lower() string {
	if int(c) < len(names) {
		return strings.ToLower(names[c])
	}
	return strconv.Itoa(int(c))
}

// flags says in which of the three old sets a capability is, as libcap numbers them.
type flags uint8

const (
	effective   flags = 1
	permitted   flags = 2
	inheritable flags = 4
	allFlags    flags = 7
)

// String returns the letters of f in libcap's order.
func (f flags) String() string {
	return [...]string{"", "e", "p", "ep", "i", "ei", "ip", "eip"}[f]
}

// Text returns the effective, permitted and inheritable sets as getpcaps prints them, in the form of cap_to_text(3). The flags
// that most capabilities have come first, then those that differ: "=ep cap_sys_module-ep". Last is the highest capability that
// the kernel supports, see [Reader.LastCap]; bits above it do not count towards "most" and come at the end.
func (s State) Text(last Cap) string {
	groups := s.groups(UpTo(last))
	most := mostCommon(groups)
	var words []string
	for f := int(allFlags); f >= 0; f-- {
		if group := groups[f]; flags(f) != most && !group.IsEmpty() {
			words = append(words, word(group, flags(f)&^most, most&^flags(f)))
		}
	}
	text := "=" + most.String()
	if text == "=" && len(words) > 0 {
		// Nothing is common to most: the first word says "=" for itself, as in "cap_chown=ep".
		text = strings.Replace(words[0], "+", "=", 1)
		words = words[1:]
	}
	above := s.groups(^UpTo(last))
	for f := int(allFlags); f > 0; f-- {
		if !above[f].IsEmpty() {
			words = append(words, word(above[f], flags(f), 0))
		}
	}
	return strings.Join(append([]string{text}, words...), " ")
}

// groups sorts the capabilities of within by the sets of s that they are in.
func (s State) groups(within Set) [allFlags + 1]Set {
	var groups [allFlags + 1]Set
	for c := range within.All() {
		groups[s.flags(c)] |= 1 << c
	}
	return groups
}

// flags returns in which sets of s the capability is.
func (s State) flags(c Cap) flags {
	var f flags
	if s.Effective.Has(c) {
		f |= effective
	}
	if s.Permitted.Has(c) {
		f |= permitted
	}
	if s.Inheritable.Has(c) {
		f |= inheritable
	}
	return f
}

// mostCommon returns the flags of the largest group; of equal ones, those with the least number.
func mostCommon(groups [allFlags + 1]Set) flags {
	most := allFlags
	for f := int(allFlags) - 1; f >= 0; f-- {
		if groups[f].Len() >= groups[most].Len() {
			most = flags(f)
		}
	}
	return most
}

// word returns one word of the text form: the capabilities, the flags that they have beyond the common ones, and those that
// they lack.
func word(group Set, more, less flags) string {
	text := group.lower()
	if more != 0 {
		text += "+" + more.String()
	}
	if less != 0 {
		text += "-" + less.String()
	}
	return text
}

// TextIAB returns what `getpcaps --iab` prints after the pid and the colon: [State.Text] in quotes and [State.IAB] in brackets,
// each only when it has something to say. It is empty for a process with no capabilities and a full bounding set.
func (s State) TextIAB(last Cap) string {
	var words []string
	if text := s.Text(last); text != "=" {
		words = append(words, `"`+text+`"`)
	}
	if iab := s.IAB(last); iab != "" {
		words = append(words, "["+iab+"]")
	}
	return strings.Join(words, " ")
}

// IAB returns the inheritable, ambient and bounding sets in the form of cap_iab_to_text(3), which getpcaps shows in brackets.
// Before a name, "!" says that it is not in the bounding set, "^" that it is ambient, "%" that it is inheritable in spite of
// the "!"; a bare name is inheritable. What is in the bounding set only is left out, and so is every capability above last,
// the highest that the kernel supports.
func (s State) IAB(last Cap) string {
	var words []string
	for c := range UpTo(last).All() {
		if mark, ok := s.mark(c); ok {
			words = append(words, mark+c.lower())
		}
	}
	return strings.Join(words, ",")
}

// mark returns the signs that stand before c in the IAB form; ok is false when c is left out.
func (s State) mark(c Cap) (mark string, ok bool) {
	blocked, inherited := !s.Bounding.Has(c), s.Inheritable.Has(c)
	switch {
	case blocked && s.Ambient.Has(c):
		return "!^", true
	case s.Ambient.Has(c):
		return "^", true
	case blocked && inherited:
		return "!%", true
	case blocked:
		return "!", true
	default:
		return "", inherited
	}
}
