package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
)

// manifest is what a lab pod asks for, from its manifest.
type manifest struct {
	Spec struct {
		Containers []struct {
			Resources struct {
				Requests map[string]string `json:"requests"`
				Limits   map[string]string `json:"limits"`
			} `json:"resources"`
		} `json:"containers"`
	} `json:"spec"`
}

func readManifest(t *testing.T, pod string) manifest {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../internal/lab/pods", pod+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := yaml.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// quantity reads the two suffixes that the lab's manifests have: Mi and m.
func quantity(t *testing.T, text string) uint64 {
	t.Helper()
	number, mebi := strings.CutSuffix(text, "Mi")
	number, milli := strings.CutSuffix(number, "m")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || mebi == milli {
		t.Fatalf("quantity %q: want a number with Mi or m", text)
	}
	if mebi {
		n <<= 20
	}
	return n
}

// wanted makes of a manifest what the kubelet makes of it. Without limits there are none, and the least shares.
func wanted(t *testing.T, pod string) cgroup.Resources {
	t.Helper()
	r := readManifest(t, pod).Spec.Containers[0].Resources
	want := cgroup.Resources{Memory: cgroup.Max, CPU: cgroup.CPUMax{Quota: cgroup.Max, Period: 100000}, Shares: 2}
	if text, ok := r.Limits["memory"]; ok {
		want.Memory = cgroup.LimitOf(quantity(t, text))
	}
	if text, ok := r.Limits["cpu"]; ok {
		want.CPU.Quota = cgroup.LimitOf(quantity(t, text) * 100)
	}
	if text, ok := r.Requests["cpu"]; ok {
		want.Shares = quantity(t, text) * 1024 / 1000
	}
	return want
}

// labContainers returns the running containers of the lab, by the name of their pod.
func labContainers(t *testing.T) map[string]inspect.Container {
	t.Helper()
	if os.Getenv("RTINSPECT_LAB") == "" {
		t.Skip("RTINSPECT_LAB is not set: run it with bin/lab run")
	}
	i, err := inspect.Open(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	list, err := i.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]inspect.Container{}
	for _, c := range list {
		if c.Kind == inspect.KindContainer && c.Pod != nil && c.PID.Known() == inspect.Present {
			found[c.Pod.Name] = c
		}
	}
	return found
}

func labProcess(t *testing.T, c inspect.Container) cgroup.Process {
	t.Helper()
	pid, ok := c.PID.Value()
	if !ok {
		t.Fatalf("container %s: %v", c.Name, c.PID.Cause())
	}
	p, err := cgroup.Reader{}.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLabLimits(t *testing.T) {
	containers := labContainers(t)
	for pod, effective := range map[string]string{
		"pod-with-limits": "134217728 container, 50000 100000 container",
		"pod-hardened":    "134217728 container, 50000 100000 container",
		"pod-no-limits":   "machine, machine",
	} {
		t.Run(pod, func(t *testing.T) {
			c, ok := containers[pod]
			if !ok {
				t.Fatalf("the lab has no running container of it; it has %d others", len(containers))
			}
			p := labProcess(t, c)
			for _, d := range wanted(t, pod).Drift(p) {
				t.Errorf("%+v", d)
			}
			if p.Place.Container != c.ID || !p.Place.Own() || p.Place.Pod == "" {
				t.Errorf("place %+v, want the own cgroup of %s in its pod", p.Place, c.ID)
			}
			if got := leasts(t, p); got != effective {
				t.Errorf("in force: %s, want %s", got, effective)
			}
			if used, ok := p.Memory.Current.Value(); !ok || used == 0 {
				t.Errorf("memory used: %d, %v", used, p.Memory.Current.Cause())
			}
			if n, ok := p.Pids.Current.Value(); !ok || n == 0 {
				t.Errorf("processes: %d, %v", n, p.Pids.Current.Cause())
			}
		})
	}
}

// leasts shows the memory and processor time in force, with the level; of the machine's, the level alone.
func leasts(t *testing.T, p cgroup.Process) string {
	t.Helper()
	memory, ok := p.Effective.Memory.Value()
	cpu, cpuOK := p.Effective.CPU.Value()
	if !ok || !cpuOK {
		t.Fatalf("in force: %v, %v", p.Effective.Memory.Cause(), p.Effective.CPU.Cause())
	}
	bytes, _ := memory.Limit.Value()
	time, _ := cpu.Limit.Value()
	return showLevel(bytes, memory.Kind) + ", " + showLevel(time, cpu.Kind)
}

func showLevel(limit fmt.Stringer, kind cgroup.Kind) string {
	if kind == cgroup.KindMachine {
		return string(kind)
	}
	return limit.String() + " " + string(kind)
}

// TestLabMounts: cgroup mounts are read-only in an ordinary container and writable in a privileged one.
func TestLabMounts(t *testing.T) {
	containers := labContainers(t)
	for pod, want := range map[string]bool{"pod-no-limits": false, "pod-privileged": true} {
		c, ok := containers[pod]
		if !ok {
			t.Fatalf("the lab has no running container of %s", pod)
		}
		mounts, ok := labProcess(t, c).Mounts.Value()
		if !ok || len(mounts) == 0 {
			t.Fatalf("%s: cgroup mounts %+v, %v", pod, mounts, ok)
		}
		for _, m := range mounts {
			if m.Writable != want {
				t.Errorf("%s: %s is writable: %v", pod, m.Point, m.Writable)
			}
		}
	}
}
