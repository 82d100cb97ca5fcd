package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hierarchy is a mounted cgroup hierarchy.
type hierarchy struct {
	path    string
	unified bool     // cgroup v2
	options []string // mount options; of v1 they name the controllers
}

// controls reports whether the hierarchy has the controller.
func (h hierarchy) controls(controller string) bool {
	if h.unified {
		return slices.Contains(controllers(h.path), controller)
	}
	return slices.Contains(h.options, controller)
}

// hierarchies returns the cgroup hierarchies mounted where runtimes look.
func hierarchies() ([]hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var out []hierarchy
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || f[2] != "cgroup" && f[2] != "cgroup2" || !strings.HasPrefix(f[1], "/sys/fs/cgroup") {
			continue
		}
		out = append(out, hierarchy{f[1], f[2] == "cgroup2", strings.Split(f[3], ",")})
	}
	if len(out) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted below /sys/fs/cgroup")
	}
	return out, lines.Err()
}

// unifiedOnly reports whether cgroup v2 controls everything.
func unifiedOnly(hs []hierarchy) bool {
	return !slices.ContainsFunc(hs, func(h hierarchy) bool { return !h.unified })
}

// join puts the process into the lab's own group for the runtime, in every
// hierarchy where a new group can take a process at once. The shims it starts
// are then there as well, and are found there when the lab ends.
func join(f folders, hs []hierarchy, pid int) error {
	for _, h := range hs {
		if !h.unified && h.controls("cpuset") {
			continue // wants its CPUs written first
		}
		dir := runtimeCgroup(f, h)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		if errors.Is(err, unix.ESRCH) {
			return nil // it has ended, which is noticed where it is waited for
		}
		if err != nil {
			return fmt.Errorf("put containerd into its cgroup: %w", err)
		}
	}
	return nil
}

// runtimeCgroup is the group of containerd and its shims in one hierarchy.
func runtimeCgroup(f folders, h hierarchy) string {
	return filepath.Join(h.path, f.cgroup(), "runtime")
}

// limitPod makes the pod's cgroup and sets the pod's own limits on it, as the
// kubelet does before it asks for the sandbox.
func limitPod(hs []hierarchy, cgroup string, r *cri.LinuxContainerResources) error {
	for _, h := range hs {
		values := podLimits(h, r)
		if len(values) == 0 {
			continue
		}
		if h.unified {
			if err := delegate(h, filepath.Dir(cgroup)); err != nil {
				return err
			}
		}
		dir := filepath.Join(h.path, cgroup)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for file, value := range values {
			err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0)
			if h.unified && errors.Is(err, fs.ErrNotExist) {
				continue // the machine's root group does not hand the controller on
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// podLimits are the files to write in one hierarchy.
func podLimits(h hierarchy, r *cri.LinuxContainerResources) map[string]string {
	values := map[string]string{}
	if h.controls("cpu") {
		limitCPU(values, h.unified, r)
	}
	if h.controls("memory") && r.MemoryLimitInBytes > 0 {
		file := "memory.limit_in_bytes"
		if h.unified {
			file = "memory.max"
		}
		values[file] = strconv.FormatInt(r.MemoryLimitInBytes, 10)
	}
	return values
}

func limitCPU(values map[string]string, unified bool, r *cri.LinuxContainerResources) {
	if unified {
		values["cpu.weight"] = cpuWeight(r.CpuShares)
	} else {
		values["cpu.shares"] = strconv.FormatInt(r.CpuShares, 10)
	}
	switch {
	case r.CpuQuota == 0:
	case unified:
		values["cpu.max"] = fmt.Sprintf("%d %d", r.CpuQuota, r.CpuPeriod)
	default:
		values["cpu.cfs_quota_us"] = strconv.FormatInt(r.CpuQuota, 10)
	}
}

// controllers are those a cgroup v2 folder can hand on.
func controllers(dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// delegate makes the groups from below the hierarchy's root down to cgroup
// hand every controller on. The root itself is the machine's: a controller
// that it does not hand on is not touched.
func delegate(h hierarchy, cgroup string) error {
	dir := h.path
	for part := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, c := range controllers(dir) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// labCgroups returns the lab's folders in all hierarchies, children first.
func labCgroups(f folders, hs []hierarchy) []string {
	var out []string
	for _, h := range hs {
		_ = filepath.WalkDir(filepath.Join(h.path, f.cgroup()), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil // a folder that vanished needs no more attention
		})
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// endTimeout is how long processes may take to end once they are killed, and
// groups to be free once those have ended: moments, even on a slow machine.
const endTimeout = time.Minute

// killCgroups kills every process in the lab's cgroups and waits until none
// is left. A frozen process dies only once thawed.
func killCgroups(f folders, hs []hierarchy) error {
	deadline := time.Now().Add(endTimeout)
	for {
		alive := 0
		for _, dir := range labCgroups(f, hs) {
			pids := cgroupProcs(dir)
			alive += len(pids)
			for _, pid := range pids {
				_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
			}
			thaw(dir)
		}
		if alive == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes below the cgroup %s do not end", alive, f.cgroup())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func cgroupProcs(dir string) []int {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.FieldsSeq(string(text)) {
		// 0 is a process of another pid namespace, and would mean ourselves.
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// thaw lets the processes of a frozen group run; other groups lack the file.
func thaw(dir string) {
	path := filepath.Join(dir, "freezer.state")
	if state, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(state)) != "THAWED" {
		_ = os.WriteFile(path, []byte("THAWED"), 0)
	}
}

// removeCgroups removes the lab's folders; a group stays busy for a moment
// after its last process.
func removeCgroups(f folders, hs []hierarchy) error {
	deadline := time.Now().Add(endTimeout)
	for {
		var failed error
		for _, dir := range labCgroups(f, hs) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = &fs.PathError{Op: "rmdir", Path: dir, Err: err}
			}
		}
		if failed == nil || time.Now().After(deadline) {
			return failed
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// apparmorProfiles are those loaded, nil where the kernel has no AppArmor.
func apparmorProfiles() []string {
	text, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return nil
	}
	profiles := []string{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " (")
		profiles = append(profiles, name)
	}
	return profiles
}

// thisNode describes the machine to the translation.
func thisNode(f folders, hs []hierarchy) (Node, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Node{}, fmt.Errorf("sysinfo: %w", err)
	}
	n := Node{
		CgroupParent:     f.cgroup(),
		KubeletRoot:      filepath.Join(f.root(), "kubelet"),
		LogRoot:          filepath.Join(f.root(), "logs"),
		MemoryCapacity:   int64(info.Totalram) * int64(info.Unit),
		AppArmorProfiles: apparmorProfiles(),
		UnifiedCgroups:   unifiedOnly(hs),
	}
	for _, h := range hs {
		if _, err := os.Stat(filepath.Join(h.path, "memory.memsw.limit_in_bytes")); err == nil {
			n.SwapAccounting = true
		}
	}
	return n, nil
}

// unifiedAlone tells whether the machine has cgroup v2, and not v1 beside it.
func unifiedAlone() bool { return allExist(filepath.Join(cgroupRoot, "cgroup.controllers")) }
