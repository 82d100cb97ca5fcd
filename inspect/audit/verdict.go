package audit

import (
	"fmt"
	"slices"
	"strconv"
)

// Severity says how bad a finding is.
type Severity uint8

// The severities, in rising order.
const (
	// Info: it is worth to know, and harms nobody by itself.
	Info Severity = iota
	// Low: a measure is missing that would stand in the way of an attack.
	Low
	// Medium: with one flaw elsewhere it leads out of the container or harms
	// the node and its other containers.
	Medium
	// High: it takes one more thing that an attacker may well find, or it lays
	// open secrets of the node.
	High
	// Critical: whoever runs code in the container can take over the node.
	Critical
)

var severityNames = []string{"info", "low", "medium", "high", "critical"}

// Severities returns all severities, in rising order.
func Severities() []Severity { return []Severity{Info, Low, Medium, High, Critical} }

// String returns the name in lower case, such as "high".
func (s Severity) String() string { return enumName("Severity", severityNames, uint8(s)) }

// MarshalText returns the text of [Severity.String].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a text of [Severity.String].
func (s *Severity) UnmarshalText(text []byte) error {
	return parseEnum("severity", severityNames, text, (*uint8)(s))
}

// Verdict says what came of a rule.
type Verdict uint8

// The verdicts. The zero value is Unknown.
const (
	// Unknown: a fact that decides could not be read; Result.Causes say why.
	Unknown Verdict = iota
	// Pass: it is not so.
	Pass
	// Fail: it is so.
	Fail
	// NotApplicable: the rule says nothing here; Result.Reason says why.
	NotApplicable
)

var verdictNames = []string{"unknown", "pass", "fail", "not applicable"}

// String returns "unknown", "pass", "fail" or "not applicable".
func (v Verdict) String() string { return enumName("Verdict", verdictNames, uint8(v)) }

// MarshalText returns the text of [Verdict.String].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText takes a text of [Verdict.String].
func (v *Verdict) UnmarshalText(text []byte) error {
	return parseEnum("verdict", verdictNames, text, (*uint8)(v))
}

func enumName(kind string, names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return kind + "(" + strconv.Itoa(int(n)) + ")"
}

func parseEnum(kind string, names []string, text []byte, n *uint8) error {
	at := slices.Index(names, string(text))
	if at < 0 {
		return fmt.Errorf("%s %q: want one of %q", kind, text, names)
	}
	*n = uint8(at)
	return nil
}
