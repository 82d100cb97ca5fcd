package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// IO is what the io controller, v1's blkio, limits and counts for block devices. Devices without a limit, or without input and
// output so far, are not listed.
type IO struct {
	// Max are the limits by device. From io.max; in v1 blkio.throttle.{read,write}_{bps,iops}_device.
	Max Fact[[]IOMax] `json:"max"`
	// Stat is what was read and written by device. From io.stat; in v1 blkio.throttle.io_service_bytes_recursive and
	// io_serviced_recursive.
	Stat Fact[[]IOStat] `json:"stat"`
	// Weight is its part of the devices' time beside other cgroups, 1 to 10000, where the device's scheduler goes by it. From
	// the default of io.weight; in v1 10 to 1000 from blkio.weight.
	Weight Fact[Count] `json:"weight"`
	// Pressure is how long processes waited for input and output. See [Pressure].
	Pressure Fact[Pressure] `json:"pressure"`
}

// Device is the number of a block device, as in /proc/partitions. It is "8:0" in JSON.
type Device struct{ Major, Minor uint32 }

// IOMax limits the use of one device. A limit of v1 that is not set is [Max], as in v2.
type IOMax struct {
	Device Device `json:"device"`
	// Rbps and Wbps are bytes read and written a second.
	Rbps Limit `json:"rbps"`
	Wbps Limit `json:"wbps"`
	// Riops and Wiops are operations a second.
	Riops Limit `json:"riops"`
	Wiops Limit `json:"wiops"`
}

// IOStat is what was read from and written to one device.
type IOStat struct {
	Device Device `json:"device"`
	// Rbytes and Wbytes are bytes.
	Rbytes Count `json:"rbytes"`
	Wbytes Count `json:"wbytes"`
	// Rios and Wios are operations.
	Rios Count `json:"rios"`
	Wios Count `json:"wios"`
}

// ParseDevice returns the device that text spells as major:minor. The error wraps [ErrSyntax].
func ParseDevice(text string) (Device, error) {
	first, second, _ := strings.Cut(text, ":")
	major, err := parseIndex(first)
	minor, minorErr := parseIndex(second)
	if err != nil || minorErr != nil {
		return Device{}, fmt.Errorf("%w: device %q: want major:minor", ErrSyntax, clip(text))
	}
	return Device{uint32(major), uint32(minor)}, nil
}

// String returns d as major:minor.
func (d Device) String() string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}

// MarshalText returns the text of [Device.String].
func (d Device) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes a text of [Device.String]. The error wraps [ErrSyntax].
func (d *Device) UnmarshalText(text []byte) error {
	parsed, err := ParseDevice(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}

// ParseIOMax returns the content of io.max: lines of a device and rbps, wbps, riops and wiops. An empty file is no limit. A device
// that stands there twice and anything else is an error that wraps [ErrSyntax].
func ParseIOMax(data string) ([]IOMax, error) {
	list := []IOMax{}
	for line := range strings.Lines(data) {
		m, err := parseIOMax(line)
		if err != nil || slices.ContainsFunc(list, func(other IOMax) bool { return other.Device == m.Device }) {
			return nil, fmt.Errorf("%w: io.max: line %q: want one for each device, with rbps=, wbps=, riops= and wiops=", ErrSyntax,
				clip(line))
		}
		list = append(list, m)
	}
	return list, nil
}

func parseIOMax(line string) (m IOMax, err error) {
	text, ended := strings.CutSuffix(line, "\n")
	fields := strings.Split(text, " ")
	if m.Device, err = ParseDevice(fields[0]); err != nil || !ended || len(fields) != 5 {
		return IOMax{}, ErrSyntax
	}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		limit := m.field(key)
		if limit == nil || *limit != (Limit{}) {
			return IOMax{}, ErrSyntax
		}
		if *limit, err = ParseLimit(value); err != nil {
			return IOMax{}, err
		}
	}
	return m, nil
}

func (m *IOMax) field(key string) *Limit {
	switch key {
	case "rbps":
		return &m.Rbps
	case "wbps":
		return &m.Wbps
	case "riops":
		return &m.Riops
	case "wiops":
		return &m.Wiops
	}
	return nil
}

// String returns m as io.max has it.
func (m IOMax) String() string {
	return fmt.Sprintf("%s rbps=%s wbps=%s riops=%s wiops=%s", m.Device, m.Rbps, m.Wbps, m.Riops, m.Wiops)
}

// ParseIOStat returns the content of io.stat: lines of a device and key=number. Keys that schedulers and cost models add are
// passed over. Devices without numbers are left out: some kernels write them without the newline, so that several devices stand
// on a line. A device that has numbers twice and anything else is an error that wraps [ErrSyntax].
func ParseIOStat(data string) ([]IOStat, error) {
	list := []IOStat{}
	for line := range strings.Lines(data) {
		text, ended := strings.CutSuffix(line, "\n")
		s, counted, err := parseIOStat(strings.Fields(text))
		double := counted && slices.ContainsFunc(list, func(other IOStat) bool { return other.Device == s.Device })
		if err != nil || !ended || double {
			return nil, fmt.Errorf("%w: io.stat: line %q: want major:minor and key=number", ErrSyntax, clip(line))
		}
		if counted {
			list = append(list, s)
		}
	}
	return list, nil
}

// parseIOStat takes the fields of a line. The numbers belong to the last device on it; counted is false when there are none.
func parseIOStat(fields []string) (s IOStat, counted bool, err error) {
	for i, field := range fields {
		key, value, paired := strings.Cut(field, "=")
		counter := s.field(key)
		switch {
		case !paired && counted:
			return IOStat{}, false, ErrSyntax
		case !paired:
			s.Device, err = ParseDevice(field)
		case i == 0:
			return IOStat{}, false, ErrSyntax
		case counter != nil:
			counted = true
			*counter, err = ParseCount(value)
		}
		if err != nil {
			return IOStat{}, false, err
		}
	}
	return s, counted, nil
}

func (s *IOStat) field(key string) *Count {
	switch key {
	case "rbytes":
		return &s.Rbytes
	case "wbytes":
		return &s.Wbytes
	case "rios":
		return &s.Rios
	case "wios":
		return &s.Wios
	}
	return nil
}

// parseIOWeight takes the first line of io.weight, "default 100"; lines of devices follow.
func parseIOWeight(data string) (Count, error) {
	first, _, ended := strings.Cut(data, "\n")
	text, ok := strings.CutPrefix(first, "default ")
	if !ok || !ended {
		return 0, fmt.Errorf("%w: %q: want a line default", ErrSyntax, clip(data))
	}
	return ParseCount(text)
}

// readIO reads the values of one cgroup.
func readIO(f *folder, unified bool) IO {
	if unified {
		return IO{
			Max:    read(f, "io.max", ParseIOMax),
			Stat:   read(f, "io.stat", ParseIOStat),
			Weight: read(f, "io.weight", parseIOWeight),
		}
	}
	return IO{Max: readThrottle(f), Stat: readServiced(f), Weight: read(f, "blkio.weight", line(ParseCount))}
}
