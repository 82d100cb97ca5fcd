package cgroup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// readThrottle puts v1's four files of limits together.
func readThrottle(f *folder) Fact[[]IOMax] {
	all := map[Device]*IOMax{}
	for _, part := range []struct{ file, key string }{
		{"blkio.throttle.read_bps_device", "rbps"},
		{"blkio.throttle.write_bps_device", "wbps"},
		{"blkio.throttle.read_iops_device", "riops"},
		{"blkio.throttle.write_iops_device", "wiops"},
	} {
		numbers := read(f, part.file, ParseThrottle)
		values, ok := numbers.Value()
		if !ok {
			return convert(numbers, func(map[Device]Count) ([]IOMax, error) { return nil, nil })
		}
		for d, n := range values {
			if all[d] == nil {
				all[d] = &IOMax{Device: d, Rbps: Max, Wbps: Max, Riops: Max, Wiops: Max}
			}
			*all[d].field(part.key) = LimitOf(uint64(n))
		}
	}
	list := []IOMax{}
	for _, m := range all {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b IOMax) int { return compareDevices(a.Device, b.Device) })
	return KnownFact(list, f.path+"/blkio.throttle.*_device")
}

func compareDevices(a, b Device) int {
	return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
}

// ParseThrottle returns the limits by device in one of v1's blkio.throttle.*_device files: lines of major:minor and a number.
// An empty file is no limit. The error wraps [ErrSyntax].
func ParseThrottle(data string) (map[Device]Count, error) {
	limits := map[Device]Count{}
	for line := range strings.Lines(data) {
		text, ended := strings.CutSuffix(line, "\n")
		device, number, _ := strings.Cut(text, " ")
		d, err := ParseDevice(device)
		n, numberErr := ParseCount(number)
		_, double := limits[d]
		if !ended || err != nil || numberErr != nil || double {
			return nil, fmt.Errorf("%w: line %q: want one line for each device, major:minor and a number", ErrSyntax, clip(line))
		}
		limits[d] = n
	}
	return limits, nil
}

// serviced is what was read and written by one device, in the unit of its file.
type serviced struct{ read, write Count }

// readServiced puts v1's files of bytes and of operations together.
func readServiced(f *folder) Fact[[]IOStat] {
	bytes := read(f, "blkio.throttle.io_service_bytes_recursive", parseServiced)
	operations := read(f, "blkio.throttle.io_serviced_recursive", parseServiced)
	ops, ok := operations.Value()
	if !ok && bytes.Known() == Present {
		return convert(operations, func(map[Device]serviced) ([]IOStat, error) { return nil, nil })
	}
	return convert(bytes, func(amounts map[Device]serviced) ([]IOStat, error) {
		list := []IOStat{}
		for d, amount := range amounts {
			list = append(list, IOStat{
				Device: d, Rbytes: amount.read, Wbytes: amount.write, Rios: ops[d].read, Wios: ops[d].write,
			})
		}
		slices.SortFunc(list, func(a, b IOStat) int { return compareDevices(a.Device, b.Device) })
		return list, nil
	})
}

// parseServiced takes lines of major:minor, Read, Write or another word, and a number, with a line Total at the end.
func parseServiced(data string) (map[Device]serviced, error) {
	amounts := map[Device]serviced{}
	total := false
	for line := range strings.Lines(data) {
		text, ended := strings.CutSuffix(line, "\n")
		fields := strings.Split(text, " ")
		n, err := ParseCount(fields[len(fields)-1])
		if !ended || err != nil || total {
			return nil, fmt.Errorf("%w: line %q: want a number at its end", ErrSyntax, clip(line))
		}
		if total = len(fields) == 2 && fields[0] == "Total"; total {
			continue
		}
		d, err := ParseDevice(fields[0])
		if err != nil || len(fields) != 3 {
			return nil, fmt.Errorf("%w: line %q: want major:minor, a word and a number", ErrSyntax, clip(line))
		}
		amount := amounts[d]
		switch fields[1] {
		case "Read":
			amount.read = n
		case "Write":
			amount.write = n
		}
		amounts[d] = amount
	}
	if !total {
		return nil, fmt.Errorf("%w: no line Total: want it at the end", ErrSyntax)
	}
	return amounts, nil
}
