package inspect

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/internal/procfs"
)

func TestLimitsAsked(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                         "absent: the CRI request names no limit",
		`{"linux":{}}`:               "absent: the CRI request names no limit",
		`{"linux":{"resources":{}}}`: "absent: the CRI request names no limit",
		`{"linux":{"resources":{"cpu_period":100000}}}`: "absent: the CRI request names no limit",
		`{"linux":{"resources":{"cpu_period":100000,"cpu_quota":50000,"cpu_shares":256,"memory_limit_in_bytes":134217728,"memory_swap_limit_in_bytes":134217728,"cpuset_cpus":"0,1","cpuset_mems":"0"}}}`: "134217728 134217728 50000 100000 256 absent 0-1 0",
		`{"linux":{"resources":{"cpu_quota":-1,"memory_limit_in_bytes":-1}}}`: "max absent max 100000 0 absent  ",
		`{"linux":{"resources":{"cpuset_cpus":"x"}}}`:                         `unknown: CRI request: invalid syntax: list "x": want numbers and ranges such as 0-3,7`,
	} {
		request, err := parseRequest([]byte(`{"Version":"v1","Metadata":{"Config":` + config + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		f := listed{request: request}
		if got := resourcesText(f.askedResources()); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
		f.Kind = KindSandbox
		if got := f.askedResources(); got.Known() != Absent {
			t.Errorf("a sandbox: %s", resourcesText(got))
		}
	}
}

func TestLimitsDeclared(t *testing.T) {
	for linux, want := range map[string]string{
		`null`: "absent: the OCI runtime specification names no limit",
		`{}`:   "absent: the OCI runtime specification names no limit",
		`{"resources":{"devices":[{"allow":false}],"memory":{},"cpu":{},"pids":{}}}`:                                                       "absent: the OCI runtime specification names no limit",
		`{"resources":{"memory":{"limit":1,"swap":2},"cpu":{"quota":3,"period":4,"shares":5,"cpus":"1-2","mems":"0"},"pids":{"limit":6}}}`: "1 2 3 4 5 6 1-2 0",
		`{"resources":{"memory":{"limit":-1,"swap":-1},"cpu":{"quota":-1,"period":100000},"pids":{"limit":-1}}}`:                           "max max max 100000 0 max  ",
		`{"resources":{"cpu":{"mems":"-"}}}`: `unknown: OCI runtime specification: invalid syntax: list "-": want numbers and ranges such as 0-3,7`,
	} {
		s, err := parseSpec([]byte(`{"process":{},"linux":` + linux + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := resourcesText(declaredResources(s)); got != want {
			t.Errorf("%s: %s, want %s", linux, got, want)
		}
	}
}

func resourcesText(f Fact[cgroup.Resources]) string {
	r, ok := f.Value()
	switch {
	case ok:
		return fmt.Sprint(r.Memory, r.MemorySwap, r.CPU, " ", r.Shares, r.Pids, " ", r.CPUs, " ", r.Mems)
	case f.Known() == Absent:
		return "absent: " + f.Source()
	}
	return "unknown: " + f.Cause().Error()
}

func TestLimitDrift(t *testing.T) {
	half := cgroup.CPUMax{Quota: cgroup.LimitOf(50000), Period: 100000}
	asked := cgroup.Resources{Memory: cgroup.LimitOf(1 << 27), CPU: half, Shares: 256}
	inForce := func(memory uint64, cpu cgroup.CPUMax, weight cgroup.Count) cgroup.Process {
		var p cgroup.Process
		p.Memory.Max = cgroup.KnownFact(cgroup.LimitOf(memory), "memory.max")
		p.CPU.Max = cgroup.KnownFact(cpu, "cpu.max")
		p.CPU.Weight = cgroup.KnownFact(weight, "cpu.weight")
		return p
	}
	now, before := cgroup.WeightFromShares(256)
	unknown := inForce(1<<27, half, cgroup.Count(now))
	unknown.Memory.Max = cgroup.Fact[cgroup.Limit]{}
	for name, tc := range map[string]struct {
		declared Fact[cgroup.Resources]
		have     cgroup.Process
		tier     Tier
		want     string
	}{
		"in force":                 {declared(asked), inForce(1<<27, half, cgroup.Count(now)), "", ""},
		"by the older formula":     {declared(asked), inForce(1<<27, half, cgroup.Count(before)), "", ""},
		"unknown is not different": {declared(asked), unknown, "", ""},
		"not declared": {
			AbsentFact[cgroup.Resources]("none"),
			cgroup.Process{},
			"",
			"memory requested>declared 134217728: absent, cpu requested>declared 50000 100000: absent, cpuWeight requested>declared 256: 0",
		},
		"not in force": {
			declared(asked), inForce(1<<28, cgroup.CoresOf(1), 7), "",
			"memory declared>in force 134217728: 268435456, cpu declared>in force 50000 100000: 100000 100000, " +
				fmt.Sprintf("cpuWeight declared>in force %d or %d: 7", now, before),
		},
		"a sandbox's": {declared(asked), inForce(1<<28, cgroup.CoresOf(1), 7), TierVM, ""},
	} {
		var r Report
		r.Cgroup.Requested, r.Cgroup.Declared = requested(asked), tc.declared
		r.Cgroup.InForce = KnownFact(tc.have, "cgroup")
		if tc.tier != "" {
			r.Tier = KnownFact(tc.tier, "runtime")
		}
		var got []string
		for _, d := range drift(&r) {
			got = append(got, fmt.Sprintf("%s %s>%s %s: %s", strings.TrimPrefix(d.Setting, "cgroup."), d.From, d.To, d.Want, d.Have))
		}
		if text := strings.Join(got, ", "); text != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, text, tc.want)
		}
	}
}

// TestParts: what is left out is unknown, and the zero value leaves nothing out.
func TestParts(t *testing.T) {
	p, err := procfs.FS{}.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for parts, want := range map[Parts]string{
		0: "true true true", PartStatus: "false false false", PartMounts: "true false false", PartNamespaces | PartCgroup: "false true true",
	} {
		var r Report
		i := nodeOf(t, mountinfoV1)
		i.options.Parts, i.cgroups = parts, cgroup.Reader{}
		i.read(&r, &heldProcess{Process: p}, Fact[caps.Set]{})
		i.readNamespaces(&r, &listed{}, &heldProcess{Process: p})
		i.collector(nil).readCgroup(&r, &listed{}, p)
		read := func(k Known) bool { return k == Present }
		got := fmt.Sprint(read(r.ReadonlyRootfs.InForce.Known()), read(r.Namespaces.InForce.Known()), read(r.Cgroup.InForce.Known()))
		if got != want || !read(r.NoNewPrivs.InForce.Known()) {
			t.Errorf("%b: %s, want %s", parts, got, want)
		}
		if got == "false false false" && !errors.Is(errors.Join(r.ReadonlyRootfs.InForce.Cause()), errLeftOut) {
			t.Errorf("%v", r.ReadonlyRootfs.InForce.Cause())
		}
	}
}
