package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pressure is how much time processes lost waiting for a resource: pressure stall information, from cpu.pressure,
// memory.pressure and io.pressure. Available from Linux 4.20 in cgroup v2, also where the controller is in v1; absent when the
// kernel was built or started without it, or when it is switched off with cgroup.pressure. See the kernel's
// Documentation/accounting/psi.rst.
type Pressure struct {
	// Some is the time in which at least one process waited.
	Some Stall `json:"some"`
	// Full is the time in which all of them waited.
	Full Stall `json:"full"`
	// FullAbsent says that there is no such line: for the cpu before Linux 5.13. Full is then zero, and null in JSON.
	FullAbsent bool `json:"-"`
}

// Stall is one line of a pressure file.
type Stall struct {
	// Avg10, Avg60 and Avg300 are the part of the last 10, 60 and 300 seconds, in percent.
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	// Total is the whole time so far, in microseconds.
	Total Count `json:"totalUsec"`
}

// MarshalJSON returns p as an object of some and full.
func (p Pressure) MarshalJSON() ([]byte, error) {
	form := pressureJSON{Some: &p.Some, Full: &p.Full}
	if p.FullAbsent {
		form.Full = nil
	}
	return json.Marshal(form)
}

// UnmarshalJSON takes an object of some and full; only full may be null or missing. The error wraps [ErrSyntax] unless data is
// no such JSON.
func (p *Pressure) UnmarshalJSON(data []byte) error {
	var form pressureJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	if form.Some == nil {
		return fmt.Errorf("%w: pressure %q: want some", ErrSyntax, clip(string(data)))
	}
	*p = Pressure{Some: *form.Some, FullAbsent: form.Full == nil}
	if form.Full != nil {
		p.Full = *form.Full
	}
	return nil
}

type pressureJSON struct {
	Some *Stall `json:"some"`
	Full *Stall `json:"full"`
}

// ParsePressure returns the content of a pressure file: a line "some" and, but for the cpu on older kernels, a line "full". The
// error wraps [ErrSyntax].
func ParsePressure(data string) (Pressure, error) {
	lines := strings.SplitAfter(data, "\n")
	p := Pressure{FullAbsent: len(lines) == 2}
	if len(lines) < 2 || len(lines) > 3 || lines[len(lines)-1] != "" {
		return Pressure{}, fmt.Errorf("%w: pressure %q: want a line some and a line full", ErrSyntax, clip(data))
	}
	var err error
	if p.Some, err = parseStall(lines[0], "some"); err != nil {
		return Pressure{}, err
	}
	if !p.FullAbsent {
		if p.Full, err = parseStall(lines[1], "full"); err != nil {
			return Pressure{}, err
		}
	}
	return p, nil
}

func parseStall(text, word string) (Stall, error) {
	bad := fmt.Errorf("%w: pressure: line %q: want %s avg10= avg60= avg300= total=", ErrSyntax, clip(text), word)
	fields := strings.Split(strings.TrimSuffix(text, "\n"), " ")
	if len(fields) != 5 || fields[0] != word {
		return Stall{}, bad
	}
	var s Stall
	for i, avg := range []struct {
		key   string
		value *float64
	}{{"avg10=", &s.Avg10}, {"avg60=", &s.Avg60}, {"avg300=", &s.Avg300}} {
		text, ok := strings.CutPrefix(fields[i+1], avg.key)
		percent, err := parsePercent(text)
		if !ok || err != nil {
			return Stall{}, bad
		}
		*avg.value = percent
	}
	total, ok := strings.CutPrefix(fields[4], "total=")
	n, err := ParseCount(total)
	if !ok || err != nil {
		return Stall{}, bad
	}
	s.Total = n
	return s, nil
}

// parsePercent takes what the kernel prints: digits, a point and two digits, 100.00 at most.
func parsePercent(text string) (float64, error) {
	percent, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.HasPrefix(text, "-") || !(percent <= 100) || strconv.FormatFloat(percent, 'f', 2, 64) != text {
		return 0, fmt.Errorf("%w: %q: want a percentage", ErrSyntax, clip(text))
	}
	return percent, nil
}

// String returns p as its file has it.
func (p Pressure) String() string {
	text := "some " + p.Some.String() + "\n"
	if !p.FullAbsent {
		text += "full " + p.Full.String() + "\n"
	}
	return text
}

// String returns s as its line has it, without the first word.
func (s Stall) String() string {
	return fmt.Sprintf("avg10=%.2f avg60=%.2f avg300=%.2f total=%d", s.Avg10, s.Avg60, s.Avg300, s.Total)
}

// readPressure reads one pressure file.
func readPressure(f *folder, file string) Fact[Pressure] {
	return absentWhenOff(read(f, file, ParsePressure))
}

// absentWhenOff goes by the errno with which the kernel refuses to read pressure that it does not collect.
func absentWhenOff(p Fact[Pressure]) Fact[Pressure] {
	if errors.Is(p.Cause(), unix.EOPNOTSUPP) {
		return AbsentFact[Pressure]("pressure is not collected: " + p.Cause().Error())
	}
	return p
}
