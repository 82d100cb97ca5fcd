package cgroup

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// CPU is what the cpu controller limits and counts. Times are microseconds.
type CPU struct {
	// Max is the time it may use. From cpu.max; in v1 cpu.cfs_quota_us and cpu.cfs_period_us.
	Max Fact[CPUMax] `json:"max"`
	// Burst is what unused time may add to one period. From cpu.max.burst, in v1 cpu.cfs_burst_us; available from Linux 5.14.
	Burst Fact[Count] `json:"burstUsec"`
	// Weight is its part of the time beside other cgroups, 1 to 10000. From cpu.weight; v1 has none.
	Weight Fact[Count] `json:"weight"`
	// Shares is the same in v1, 2 to 262144, from cpu.shares; v2 has none.
	Shares Fact[Count] `json:"shares"`
	// Idle says that it runs only when nothing else does. From cpu.idle, available from Linux 5.15.
	Idle Fact[bool] `json:"idle"`

	// Usage is the time used. From cpu.stat; in v1 cpuacct.usage.
	Usage Fact[Count] `json:"usageUsec"`
	// Periods counts periods in which it ran with a limit, from cpu.stat.
	Periods Fact[Count] `json:"periods"`
	// Throttled counts periods in which it was stopped at the limit, from cpu.stat.
	Throttled Fact[Count] `json:"throttled"`
	// ThrottledTime is for how long, over all processors, from cpu.stat.
	ThrottledTime Fact[Count] `json:"throttledUsec"`

	// Pressure is how long processes waited for a processor. See [Pressure].
	Pressure Fact[Pressure] `json:"pressure"`
}

// CPUMax is the processor time that a cgroup may use in each period. The zero CPUMax is absent: nothing was set or asked for.
// CPUMaxes compare with ==, which tells 50000 of 100000 from 5000 of 10000; Less does not.
//
// In JSON it is null or {"quota":50000,"period":100000,"cores":0.5}, with a quota and cores of "max" when there is no limit.
type CPUMax struct {
	// Quota is the time in each period, in microseconds.
	Quota Limit
	// Period is its length in microseconds, normally 100000.
	Period uint64
}

// CoresOf returns the limit of n whole processors.
func CoresOf(n int) CPUMax {
	return CPUMax{Quota: LimitOf(uint64(n) * defaultPeriod), Period: defaultPeriod}
}

const defaultPeriod = 100_000

// Cores returns how many processors' time that is, such as 0.5; ok is false when there is no limit.
func (m CPUMax) Cores() (n float64, ok bool) {
	quota, ok := m.Quota.Value()
	if !ok || m.Period == 0 {
		return 0, false
	}
	return float64(quota) / float64(m.Period), true
}

// Bounds tells whether m is a limit.
func (m CPUMax) Bounds() bool { return m.Quota.Bounds() && m.Period != 0 }

// Less tells whether m gives less time than n: it compares the exact ratios.
func (m CPUMax) Less(n CPUMax) bool {
	if !m.Bounds() || !n.Bounds() {
		return m.Bounds()
	}
	high, low := bits.Mul64(m.Quota.n, n.Period)
	otherHigh, otherLow := bits.Mul64(n.Quota.n, m.Period)
	return high < otherHigh || high == otherHigh && low < otherLow
}

// String returns m as cpu.max has it, "50000 100000" or "max 100000", or "absent".
func (m CPUMax) String() string {
	if m == (CPUMax{}) {
		return "absent"
	}
	return m.Quota.String() + " " + strconv.FormatUint(m.Period, 10)
}

type cpuMaxJSON struct {
	Quota  Limit `json:"quota"`
	Period Count `json:"period"`
	Cores  any   `json:"cores"`
}

// MarshalJSON returns the form that the type describes.
func (m CPUMax) MarshalJSON() ([]byte, error) {
	if m == (CPUMax{}) {
		return []byte("null"), nil
	}
	form := cpuMaxJSON{Quota: m.Quota, Period: Count(m.Period), Cores: "max"}
	if cores, ok := m.Cores(); ok {
		form.Cores = cores
	}
	return json.Marshal(form)
}

// UnmarshalJSON takes the form that the type describes; cores may be missing. The error wraps [ErrSyntax] unless data is no
// such JSON.
func (m *CPUMax) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*m = CPUMax{}
		return nil
	}
	var form cpuMaxJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	if form.Quota == (Limit{}) || form.Period == 0 {
		return fmt.Errorf("%w: cpu limit %q: want quota and period", ErrSyntax, clip(string(data)))
	}
	*m = CPUMax{Quota: form.Quota, Period: uint64(form.Period)}
	return nil
}

// ParseCPUMax returns the limit that text spells as cpu.max does: a quota or "max", a space, and a period above 0. The error
// wraps [ErrSyntax].
func ParseCPUMax(text string) (CPUMax, error) {
	first, second, _ := strings.Cut(text, " ")
	quota, err := ParseLimit(first)
	if err == nil {
		var period Count
		if period, err = ParseCount(second); err == nil && period > 0 {
			return CPUMax{Quota: quota, Period: uint64(period)}, nil
		}
	}
	return CPUMax{}, fmt.Errorf("%w: cpu limit %q: want a quota or max, and a period", ErrSyntax, clip(text))
}

// ParseQuota returns the limit that text spells as v1's cpu.cfs_quota_us does: microseconds, or -1 for [Max]. The error wraps
// [ErrSyntax].
func ParseQuota(text string) (Limit, error) {
	if text == "-1" {
		return Max, nil
	}
	n, err := ParseCount(text)
	if err != nil {
		return Limit{}, fmt.Errorf("%w: quota %q: want a number or -1", ErrSyntax, clip(text))
	}
	return LimitOf(uint64(n)), nil
}

// readCPU reads the values of one cgroup; in v1 usage is in the cpuacct controller's.
func readCPU(f *folder, unified bool, accounting *folder) CPU {
	stat := keyed(f, "cpu.stat")
	c := CPU{
		Max:       cpuMax(f, unified),
		Idle:      read(f, "cpu.idle", line(parseSwitch)),
		Periods:   pick(stat, "nr_periods"),
		Throttled: pick(stat, "nr_throttled"),
	}
	if unified {
		c.Burst = read(f, "cpu.max.burst", line(ParseCount))
		c.Weight = read(f, "cpu.weight", line(ParseCount))
		c.Shares = onlyLegacy[Count]("cpu.shares")
		c.Usage = pick(stat, "usage_usec")
		c.ThrottledTime = pick(stat, "throttled_usec")
		return c
	}
	c.Burst = read(f, "cpu.cfs_burst_us", line(ParseCount))
	c.Weight = onlyUnified[Count]("cpu.weight")
	c.Shares = read(f, "cpu.shares", line(ParseCount))
	c.Usage = convert(read(accounting, "cpuacct.usage", line(ParseCount)), microseconds)
	c.ThrottledTime = convert(pick(stat, "throttled_time"), microseconds)
	return c
}

func microseconds(nanoseconds Count) (Count, error) { return nanoseconds / 1000, nil }

// cpuMax reads the limit of one cgroup. In v1 that is two files: the quota is read again until it did not change while the
// period was read, so that both held at one time. Only a quota that was changed and changed back within some microseconds goes
// unseen.
func cpuMax(f *folder, unified bool) Fact[CPUMax] {
	if unified {
		return read(f, "cpu.max", line(ParseCPUMax))
	}
	return remember(f, "cpu.cfs", func() Fact[CPUMax] { return legacyCPUMax(f) })
}

func legacyCPUMax(f *folder) Fact[CPUMax] {
	const tries = 100
	quota := readNow(f, "cpu.cfs_quota_us", line(ParseQuota))
	for range tries {
		period := readNow(f, "cpu.cfs_period_us", line(ParseCount))
		again := readNow(f, "cpu.cfs_quota_us", line(ParseQuota))
		if again.Known() != Present || again.value == quota.value && quota.Known() == Present {
			return withPeriod(again, period)
		}
		quota = again
	}
	return UnknownFact[CPUMax](fmt.Errorf("%s changed all the time", quota.Source()))
}

// withPeriod puts the two files together; the source is that of the quota.
func withPeriod(quota Fact[Limit], period Fact[Count]) Fact[CPUMax] {
	n, ok := period.Value()
	if !ok && quota.Known() == Present {
		return convert(period, func(Count) (CPUMax, error) { return CPUMax{}, nil })
	}
	return convert(quota, func(limit Limit) (CPUMax, error) {
		if n == 0 {
			return CPUMax{}, fmt.Errorf("%w: a period of 0", ErrSyntax)
		}
		return CPUMax{Quota: limit, Period: uint64(n)}, nil
	})
}

// WeightFromShares returns the cpu.weight that runtimes make of OCI's and v1's cpu shares: the first as runc does since 1.3.2,
// the second as before. Both are 0 for 0 shares, which means that none were asked for.
func WeightFromShares(shares uint64) (now, before uint64) {
	const least, most = 2, 262144
	if shares == 0 {
		return 0, 0
	}
	shares = min(max(shares, least), most)
	before = 1 + (shares-least)*9999/(most-least)
	switch shares {
	case least:
		return 1, before
	case most:
		return 10000, before
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34))), before
}
