package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// debianFile is a file that a Debian package brings.
type debianFile struct{ pkg, path, reason string }

// installDebian installs the packages whose files are missing.
func installDebian(ctx context.Context, log Log, files ...debianFile) error {
	var packages, reasons []string
	for _, f := range files {
		if allExist(f.path) || slices.Contains(packages, f.pkg) {
			continue
		}
		packages = append(packages, f.pkg)
		reasons = append(reasons, f.pkg+" ("+f.reason+")")
	}
	if len(packages) == 0 {
		return nil
	}
	command := "apt-get install " + strings.Join(packages, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing Debian packages: as root, run: %s", command)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing %s, and there is no apt-get to install them", strings.Join(reasons, ", "))
	}
	log("installing %s", strings.Join(reasons, ", "))
	if err := aptInstall(ctx, packages); err != nil {
		// The package lists may be missing or too old.
		if err := apt(ctx, nil, "update"); err != nil {
			return err
		}
		return aptInstall(ctx, packages)
	}
	return nil
}

// aptInstall installs packages without starting their services: the lab runs
// its own containerd, and a machine's own is none of its business.
func aptInstall(ctx context.Context, packages []string) error {
	restore, err := denyServices()
	if err != nil {
		return err
	}
	err = apt(ctx, []string{"RUNLEVEL=1"}, append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)...)
	return errors.Join(err, restore())
}

const policyFile = "/usr/sbin/policy-rc.d"

// denyServices puts a policy in place that lets no package start a service,
// unless the machine has a policy of its own.
func denyServices() (restore func() error, err error) {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("#!/bin/sh\nexit 101\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(policyFile))
	}
	return func() error { return os.Remove(policyFile) }, nil
}

func apt(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Env = append(cmd.Env, env...)
	return run(cmd)
}
