package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// readAppArmorMode reads the mode that counts more than those of the profiles.
func readAppArmorMode(h host) Fact[string] {
	file := filepath.Join(h.sys, "module/apparmor/parameters/mode")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, mounted := os.Stat(filepath.Join(h.sys, "module")); mounted != nil {
			return UnknownFact[string](err)
		}
		return AbsentFact[string]("AppArmor is not in this kernel")
	}
	if err != nil {
		return UnknownFact[string](err)
	}
	return parsed(file, data, parseAppArmorMode)
}

// parseAppArmorMode takes one of the words of apparmor/policy.c in the kernel, which
// Linux 5.10 and 6.1 write without a line's end.
func parseAppArmorMode(data []byte) (string, error) {
	mode := strings.TrimSuffix(string(data), "\n")
	if !slices.Contains([]string{"enforce", "complain", "kill", "unconfined", "user"}, mode) {
		return "", fmt.Errorf("%q: want a mode of AppArmor's", data)
	}
	return mode, nil
}

// readSELinuxEnforce reads whether SELinux forbids or only complains.
func readSELinuxEnforce(h host) Fact[int] {
	file := filepath.Join(h.sys, "fs/selinux/enforce")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return selinuxMissing(h, err)
	}
	if err != nil {
		return UnknownFact[int](err)
	}
	return parsed(file, data, parseEnforce)
}

// parseEnforce takes 0 or 1 without a line's end.
func parseEnforce(data []byte) (int, error) {
	switch strings.TrimSuffix(string(data), "\n") {
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	}
	return 0, fmt.Errorf("%q: want 0 or 1", data)
}

// selinuxMissing tells a kernel in which SELinux does not run from a file system
// that is not mounted: the kernel has it only where SELinux runs.
func selinuxMissing(h host, missing error) Fact[int] {
	filesystems, err := h.ReadFile("filesystems")
	switch {
	case err != nil:
		return UnknownFact[int](err)
	case slices.Contains(strings.Fields(string(filesystems)), "selinuxfs"):
		return UnknownFact[int](fmt.Errorf("%w: selinuxfs may not be mounted", missing))
	}
	return AbsentFact[int]("SELinux does not run in this kernel")
}
