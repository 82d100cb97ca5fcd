package inspect

import "testing"

func TestLSMs(t *testing.T) {
	tryNode(t, map[string]nodeCase{
		"AppArmor":             {map[string]string{"sys/module/apparmor/parameters/mode": "enforce"}, func(n Node) string { return fact(n.AppArmorMode) }, `"enforce"`},
		"AppArmor complains":   {map[string]string{"sys/module/apparmor/parameters/mode": "complain\n"}, func(n Node) string { return fact(n.AppArmorMode) }, `"complain"`},
		"another word":         {map[string]string{"sys/module/apparmor/parameters/mode": "sleep\n"}, func(n Node) string { return fact(n.AppArmorMode) }, `unknown: ROOT/sys/module/apparmor/parameters/mode: "sleep\n": want a mode of AppArmor's`},
		"no word":              {map[string]string{"sys/module/apparmor/parameters/mode": "\n"}, func(n Node) string { return fact(n.AppArmorMode) }, `unknown: ROOT/sys/module/apparmor/parameters/mode: "\n": want a mode of AppArmor's`},
		"no AppArmor":          {map[string]string{"sys/module/loop/x": "1\n"}, func(n Node) string { return fact(n.AppArmorMode) }, "absent: AppArmor is not in this kernel"},
		"no modules in sysfs":  {nil, func(n Node) string { return fact(n.AppArmorMode) }, "unknown: open ROOT/sys/module/apparmor/parameters/mode"},
		"SELinux":              {map[string]string{"sys/fs/selinux/enforce": "1"}, func(n Node) string { return fact(n.SELinuxEnforce) }, "1"},
		"SELinux, permissive":  {map[string]string{"sys/fs/selinux/enforce": "0"}, func(n Node) string { return fact(n.SELinuxEnforce) }, "0"},
		"SELinux, a word":      {map[string]string{"sys/fs/selinux/enforce": "yes"}, func(n Node) string { return fact(n.SELinuxEnforce) }, `unknown: ROOT/sys/fs/selinux/enforce: "yes": want 0 or 1`},
		"no SELinux":           {nil, func(n Node) string { return fact(n.SELinuxEnforce) }, "absent: SELinux does not run in this kernel"},
		"SELinux, not mounted": {map[string]string{"proc/filesystems": "nodev\tselinuxfs\n"}, func(n Node) string { return fact(n.SELinuxEnforce) }, "unknown: open ROOT/sys/fs/selinux/enforce: no such file or directory: selinuxfs may not be mounted"},
	})
}
