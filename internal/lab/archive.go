package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// archive is a release of Debian, asked by an apt with lists of its own: the
// machine's apt does not learn of the release, and what is installed on the
// machine plays no part.
type archive struct{ options []string }

// openArchive fetches a release's lists into a folder, from the server that the
// machine has its own packages from.
func openArchive(ctx context.Context, folder, release string) (archive, error) {
	targets, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return archive{}, fmt.Errorf("apt-get indextargets: %w", err)
	}
	sources := debianSources(string(targets), release)
	if sources == "" {
		return archive{}, fmt.Errorf("apt's sources name no server of Debian's, to fetch its release %s from", release)
	}
	lists, cache, file := filepath.Join(folder, "lists"), filepath.Join(folder, "cache"), filepath.Join(folder, "sources.list")
	err = errors.Join(
		os.MkdirAll(filepath.Join(lists, "partial"), 0o755),
		os.MkdirAll(filepath.Join(cache, "archives", "partial"), 0o755),
		os.WriteFile(file, []byte(sources), 0o644),
	)
	if err != nil {
		return archive{}, err
	}
	a := archive{[]string{
		"-o", "Dir::Etc::SourceList=" + file, "-o", "Dir::Etc::SourceParts=-",
		"-o", "Dir::State::Lists=" + lists, "-o", "Dir::State::Status=/dev/null", "-o", "Dir::Cache=" + cache,
	}}
	return a, run(a.command(ctx, "apt-get", "update"))
}

// debianSources is a release's sources.list, for the servers among the addresses
// of the machine's own sources, one a line, that are Debian's.
func debianSources(addresses, release string) string {
	var lines []string
	for address := range strings.FieldsSeq(addresses) {
		suite := ""
		switch {
		case strings.HasSuffix(address, "/debian/"):
			suite = release
		case strings.HasSuffix(address, "/debian-security/"):
			suite = release + "-security"
		default:
			continue
		}
		line := fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg lang=none target=Packages] %s %s main\n", address, suite)
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// command is one of apt's programs that sees this release alone.
func (a archive) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, append(slices.Clone(a.options), args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// kernelVersion is the version of the newest build of a kernel, the one that
// the release's package without a version depends on.
func (a archive) kernelVersion(ctx context.Context, name string) (string, error) {
	const meta = "linux-image-amd64"
	out, err := a.command(ctx, "apt-cache", "depends", "--important", meta).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w", meta, err)
	}
	_, version, _ := strings.Cut(string(out), "Depends: linux-image-")
	version, _, _ = strings.Cut(version, "\n")
	if !strings.HasPrefix(version, name+".") {
		return "", fmt.Errorf("apt's package %s is for no kernel %s: it depends on %q", meta, name, version)
	}
	return version, nil
}

// download fetches a package into a folder and returns its file.
func (a archive) download(ctx context.Context, pkg, folder string) (string, error) {
	cmd := a.command(ctx, "apt-get", "download", pkg)
	cmd.Dir = folder
	if err := run(cmd); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(folder, pkg+"_*.deb"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("apt-get download %s left %q", pkg, files)
	}
	return files[0], nil
}
