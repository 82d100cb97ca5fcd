package cgroup_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/rtinspect/rtinspect/cgroup"
)

// Read the limits of a process through a node's file system that is mounted somewhere else, such as on /host.
func ExampleReader_Process() {
	host, err := exampleHost()
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(host)

	r := cgroup.Reader{Proc: filepath.Join(host, "proc"), Sys: filepath.Join(host, "sys/fs/cgroup")}
	p, err := r.Process(4012)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pod", p.Place.Pod, "is", p.Place.QoS)

	limit, ok := p.Memory.Max.Value()
	fmt.Println("own memory limit:", limit, ok)
	level, ok := p.Effective.Memory.Value()
	if !ok {
		log.Fatal(p.Effective.Memory.Cause())
	}
	least, _ := level.Limit.Value()
	used, _ := level.Usage.Value()
	fmt.Printf("in force: %s bytes, set by the %s, which uses %s\n", least, level.Kind, used)

	fmt.Println("processes:", p.Pids.Max.Known())
	// Output:
	// pod 0c4a1d6e-8d5f-4c0b-9a63-1f2e3d4c5b6a is guaranteed
	// own memory limit: max true
	// in force: 268435456 bytes, set by the pod, which uses 1048576
	// processes: absent
}

// exampleHost writes the files of a small node.
func exampleHost() (string, error) {
	const (
		pod       = "/kubepods/pod0c4a1d6e-8d5f-4c0b-9a63-1f2e3d4c5b6a"
		container = pod + "/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	)
	host, err := os.MkdirTemp("", "")
	if err != nil {
		return "", err
	}
	sys := filepath.Join(host, "sys/fs/cgroup")
	for name, text := range map[string]string{
		"proc/1/mountinfo":                            "30 23 0:26 / " + sys + " rw - cgroup2 cgroup2 rw\n",
		"proc/1/cgroup":                               "0::/\n",
		"proc/4012/cgroup":                            "0::" + container + "\n",
		"proc/4012/mountinfo":                         "30 23 0:26 / " + sys + " ro - cgroup2 cgroup2 rw\n",
		"proc/meminfo":                                "MemTotal:        8000000 kB\nSwapTotal:             0 kB\n",
		"proc/stat":                                   "cpu0 0\ncpu1 0\n",
		"proc/sys/kernel/pid_max":                     "4194304\n",
		"sys/fs/cgroup/cgroup.procs":                  "1\n",
		"sys/fs/cgroup/kubepods/cgroup.procs":         "",
		"sys/fs/cgroup/kubepods/memory.max":           "max\n",
		"sys/fs/cgroup" + pod + "/cgroup.procs":       "",
		"sys/fs/cgroup" + pod + "/memory.max":         "268435456\n",
		"sys/fs/cgroup" + pod + "/memory.current":     "1048576\n",
		"sys/fs/cgroup" + container + "/cgroup.procs": "4012\n",
		"sys/fs/cgroup" + container + "/memory.max":   "max\n",
	} {
		path := filepath.Join(host, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return host, os.Symlink("1", filepath.Join(host, "proc/self"))
}

func ExampleParseCPUMax() {
	m, err := cgroup.ParseCPUMax("50000 100000")
	if err != nil {
		log.Fatal(err)
	}
	cores, limited := m.Cores()
	fmt.Println(cores, limited)

	m, err = cgroup.ParseCPUMax("max 100000")
	if err != nil {
		log.Fatal(err)
	}
	_, limited = m.Cores()
	fmt.Println(m.Quota, limited)

	_, err = cgroup.ParseCPUMax("-1 100000")
	fmt.Println(err)
	// Output:
	// 0.5 true
	// max false
	// invalid syntax: cpu limit "-1 100000": want a quota or max, and a period
}

// A level that cannot be read may hide a tighter limit: what is known is an upper bound then.
func ExampleEffectiveOf() {
	denied := &fs.PathError{Op: "open", Path: "/sys/fs/cgroup/kubepods/memory.max", Err: fs.ErrPermission}
	e := cgroup.EffectiveOf([]cgroup.Level[cgroup.Limit]{
		{Kind: cgroup.KindContainer, Limit: cgroup.KnownFact(cgroup.LimitOf(134217728), "memory.max")},
		{Kind: cgroup.KindSlice, Limit: cgroup.UnknownFact[cgroup.Limit](denied)},
	})
	_, ok := e.Value()
	fmt.Println("known:", ok)
	fmt.Println(e.Cause())
	level, _ := e.AtMost()
	limit, _ := level.Limit.Value()
	fmt.Println("at most", limit)
	// Output:
	// known: false
	// open /sys/fs/cgroup/kubepods/memory.max: permission denied
	// at most 134217728
}

func ExampleLocate() {
	p := cgroup.Locate("/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope/init", "")
	fmt.Println(p.Runtime, p.Driver, p.Container[:12], p.Inner, p.Own())
	// Output:
	// docker systemd 0123456789ab /init false
}

// Compare with what was declared, whichever formula the runtime has for the weight.
func ExampleResources_Drift() {
	declared := cgroup.Resources{Memory: cgroup.LimitOf(134217728), Shares: 1024}
	inForce := cgroup.Process{
		Memory: cgroup.Memory{Max: cgroup.KnownFact(cgroup.Max, "/sys/fs/cgroup/x/memory.max")},
		CPU:    cgroup.CPU{Weight: cgroup.KnownFact[cgroup.Count](39, "/sys/fs/cgroup/x/cpu.weight")},
	}
	for _, d := range declared.Drift(inForce) {
		fmt.Printf("%s: want %s, have %s in %s\n", d.Setting, d.Want, d.Have, d.Source)
	}
	// Output:
	// memory: want 134217728, have max in /sys/fs/cgroup/x/memory.max
}

// The zero Limit is absent, and a number that JSON readers would round is a string.
func ExampleLimit() {
	data, err := json.Marshal([]cgroup.Limit{{}, cgroup.Max, cgroup.LimitOf(134217728), cgroup.LimitOf(1 << 62)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(data))
	// Output:
	// [null,"max",134217728,"4611686018427387904"]
}
