package inspect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/cgroup"
)

// hostTree makes a node's file system: a text such as "-> 7" is a link, and ROOT in a text is the folder of the tree.
func hostTree(t *testing.T, files map[string]string) host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(strings.ReplaceAll(text, "ROOT", root)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return hostAt(root)
}

func wholeNode(h host) Node {
	n := readNode(h.FS)
	n.add(h)
	return n
}

// debian is a node as Debian 12 shows it to a process in the node's own
// namespaces.
func debian() map[string]string {
	return map[string]string{
		"proc/self":                                    "-> 7",
		"proc/1/ns/user":                               "-> user:[4026531837]",
		"proc/1/ns/net":                                "-> net:[4026531840]",
		"proc/1/ns/mnt":                                "-> mnt:[4026531841]",
		"proc/7/ns/user":                               "-> user:[4026531837]",
		"proc/7/ns/net":                                "-> net:[4026531840]",
		"proc/7/ns/mnt":                                "-> mnt:[4026531841]",
		"proc/7/mountinfo":                             "30 24 0:26 / ROOT/sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
		"proc/filesystems":                             "nodev\tsysfs\nnodev\tsecurityfs\n\text4\n",
		"proc/sys/kernel/osrelease":                    "6.1.0-18-amd64\n",
		"proc/sys/kernel/cap_last_cap":                 "40\n",
		"proc/sys/kernel/random/boot_id":               "0b8a3a5e-5f0c-4c3e-9b73-2d3c6f3c0b1a\n",
		"proc/sys/kernel/dmesg_restrict":               "1\n",
		"proc/sys/kernel/kptr_restrict":                "0\n",
		"proc/sys/kernel/core_pattern":                 "|/usr/lib/crash %p %u\n",
		"proc/sys/user/max_user_namespaces":            "15234\n",
		"proc/sys/net/ipv4/ip_unprivileged_port_start": "1024\n",
		"sys/kernel/security/lsm":                      "lockdown,capability,landlock,yama,apparmor",
		"sys/kernel/security/lockdown":                 "none [integrity] confidentiality\n",
	}
}

func fact[T any](f Fact[T]) string {
	switch f.Known() {
	case Present:
		v, _ := f.Value()
		text, _ := json.Marshal(v)
		return string(text)
	case Absent:
		return "absent: " + f.Source()
	case Unknown:
	}
	return "unknown: " + f.Cause().Error()
}

// nodeCase is a fact of a node that is Debian's but for some files.
type nodeCase struct {
	change map[string]string // "" removes the file
	fact   func(Node) string
	want   string // what it starts with; ROOT stands for the folder
}

func TestHost(t *testing.T) {
	tryNode(t, map[string]nodeCase{
		"kernel":          {nil, func(n Node) string { return fact(n.Kernel) }, `"6.1.0-18-amd64"`},
		"boot":            {nil, func(n Node) string { return fact(n.BootID) }, `"0b8a3a5e-5f0c-4c3e-9b73-2d3c6f3c0b1a"`},
		"not a boot":      {map[string]string{"proc/sys/kernel/random/boot_id": "1\n"}, func(n Node) string { return fact(n.BootID) }, `unknown: ROOT/proc/sys/kernel/random/boot_id: "1": want a UUID`},
		"last":            {nil, func(n Node) string { return fact(n.LastCap) }, `40`},
		"cgroups":         {nil, func(n Node) string { return fact(n.Cgroups) }, `"v2"`},
		"LSMs":            {nil, func(n Node) string { return fact(n.LSMs) }, `["lockdown","capability","landlock","yama","apparmor"]`},
		"empty LSM":       {map[string]string{"sys/kernel/security/lsm": "a,,b"}, func(n Node) string { return fact(n.LSMs) }, `unknown: ROOT/sys/kernel/security/lsm: "a,,b": want names`},
		"no LSM":          {map[string]string{"sys/kernel/security/lsm": "", "proc/filesystems": "\text4\n"}, func(n Node) string { return fact(n.LSMs) }, "absent: this kernel has no securityfs"},
		"LSM hidden":      {map[string]string{"sys/kernel/security/lsm": ""}, func(n Node) string { return fact(n.LSMs) }, "unknown: open ROOT/sys/kernel/security/lsm: no such file or directory: securityfs may not be mounted"},
		"lockdown":        {nil, func(n Node) string { return fact(n.Lockdown) }, `"integrity"`},
		"two lockdowns":   {map[string]string{"sys/kernel/security/lockdown": "[none] [integrity]\n"}, func(n Node) string { return fact(n.Lockdown) }, "unknown: "},
		"other lockdown":  {map[string]string{"sys/kernel/security/lockdown": "[much] none\n"}, func(n Node) string { return fact(n.Lockdown) }, "unknown: "},
		"no lockdown":     {map[string]string{"sys/kernel/security/lockdown": ""}, func(n Node) string { return fact(n.Lockdown) }, "absent: this kernel has no ROOT/sys/kernel/security/lockdown"},
		"lockdown hidden": {map[string]string{"sys/kernel/security/lockdown": "", "sys/kernel/security/lsm": ""}, func(n Node) string { return fact(n.Lockdown) }, "unknown: open ROOT/sys/kernel/security/lockdown: no such file or directory: securityfs may not be mounted"},
		"zero":            {nil, func(n Node) string { return fact(n.Sysctls.KptrRestrict) }, "0"},
		"one":             {nil, func(n Node) string { return fact(n.Sysctls.DmesgRestrict) }, "1"},
		"none":            {nil, func(n Node) string { return fact(n.Sysctls.PtraceScope) }, "absent: this kernel has no ROOT/proc/sys/kernel/yama/ptrace_scope"},
		"no number":       {map[string]string{"proc/sys/kernel/kptr_restrict": "+1\n"}, func(n Node) string { return fact(n.Sysctls.KptrRestrict) }, `unknown: ROOT/proc/sys/kernel/kptr_restrict: "+1": want a number of 32 bits`},
		"two lines":       {map[string]string{"proc/sys/kernel/kptr_restrict": "1\n1\n"}, func(n Node) string { return fact(n.Sysctls.KptrRestrict) }, `unknown: ROOT/proc/sys/kernel/kptr_restrict: "1\n1\n": want one line`},
		"cut":             {map[string]string{"proc/sys/kernel/kptr_restrict": "1"}, func(n Node) string { return fact(n.Sysctls.KptrRestrict) }, `unknown: ROOT/proc/sys/kernel/kptr_restrict: "1": want one line`},
		"core":            {nil, func(n Node) string { return fact(n.Sysctls.CorePattern) }, `"|/usr/lib/crash %p %u"`},
		"own users":       {nil, func(n Node) string { return fact(n.Sysctls.MaxUserNamespaces) }, "15234"},
		"other users":     {map[string]string{"proc/7/ns/user": "-> user:[4026532999]"}, func(n Node) string { return fact(n.Sysctls.MaxUserNamespaces) }, "unknown: ROOT/proc/sys/user/max_user_namespaces: it is that of our own user namespace, which is not the node's"},
		"own net":         {nil, func(n Node) string { return fact(n.Sysctls.IPUnprivilegedPortStart) }, "1024"},
		"other net":       {map[string]string{"proc/7/ns/net": "-> net:[4026532999]"}, func(n Node) string { return fact(n.Sysctls.IPUnprivilegedPortStart) }, "unknown: ROOT/proc/sys/net/ipv4/ip_unprivileged_port_start: it is that of our own net namespace, which is not the node's"},
		"net not told":    {map[string]string{"proc/1/ns/net": ""}, func(n Node) string { return fact(n.Sysctls.IPUnprivilegedPortStart) }, "unknown: "},
		"we are not seen": {map[string]string{"proc/self": ""}, func(n Node) string { return fact(n.Sysctls.IPUnprivilegedPortStart) }, "unknown: "},
		"dmesg anyway":    {map[string]string{"proc/self": ""}, func(n Node) string { return fact(n.Sysctls.DmesgRestrict) }, "1"},
	})
}

func tryNode(t *testing.T, cases map[string]nodeCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			files := debian()
			for file, text := range tc.change {
				files[file] = text
				if text == "" {
					delete(files, file)
				}
			}
			h := hostTree(t, files)
			root := filepath.Dir(h.Proc)
			if got, want := tc.fact(wholeNode(h)), strings.ReplaceAll(tc.want, "ROOT", root); !strings.HasPrefix(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestHostWithoutSysctls: a proc file system that shows processes only says
// nothing of the kernel.
func TestHostWithoutSysctls(t *testing.T) {
	n := wholeNode(hostTree(t, map[string]string{"proc/self": "-> 7", "proc/7/mountinfo": ""}))
	for _, f := range []string{fact(n.Sysctls.PtraceScope), fact(n.Sysctls.CorePattern), fact(n.LSMs), fact(n.Lockdown), fact(n.Cgroups), fact(n.BootID)} {
		if !strings.HasPrefix(f, "unknown: ") {
			t.Error(f)
		}
	}
}

func TestCgroupMode(t *testing.T) {
	const v1 = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	const v2 = "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	const elsewhere = "32 24 0:27 / /run/pod/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	h := host{sys: "/sys"}
	for mountinfo, want := range map[string]cgroup.Mode{v1: cgroup.Legacy, v2: cgroup.Unified, v1 + v2: cgroup.Hybrid, v1 + elsewhere: cgroup.Legacy} {
		if got, err := h.cgroupMode([]byte(mountinfo)); err != nil || got != want {
			t.Errorf("%q, %v of\n%s", got, err, mountinfo)
		}
	}
	for _, mountinfo := range []string{"", elsewhere, "30 24"} {
		if got, err := h.cgroupMode([]byte(mountinfo)); err == nil {
			t.Errorf("%q of %q", got, mountinfo)
		}
	}
}

// TestHostLive: what this machine has is what its files say.
func TestHostLive(t *testing.T) {
	n := wholeNode(hostAt(""))
	for file, f := range map[string]Fact[int]{
		"kernel/dmesg_restrict": n.Sysctls.DmesgRestrict, "kernel/modules_disabled": n.Sysctls.ModulesDisabled,
		"kernel/unprivileged_bpf_disabled": n.Sysctls.UnprivilegedBPFDisabled,
	} {
		data, err := os.ReadFile("/proc/sys/" + file)
		if got := fact(f); err == nil && got != strings.TrimSpace(string(data)) {
			t.Errorf("%s: %s, want %s", file, got, data)
		}
		if err != nil && f.Known() == Present {
			t.Errorf("%s: %s, but %v", file, fact(f), err)
		}
	}
}

func BenchmarkNode(b *testing.B) {
	for b.Loop() {
		wholeNode(hostAt(""))
	}
}
