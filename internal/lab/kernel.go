package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The kernels of Debian 11 and 12.
const (
	Kernel510 = "5.10"
	Kernel61  = "6.1"
)

// kernelReleases are the releases of Debian that the kernels come from.
var kernelReleases = map[string]string{Kernel510: "bullseye", Kernel61: "bookworm"}

// Kernels returns the kernels a virtual machine can have.
func Kernels() []string {
	var names []string
	for name := range kernelReleases {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// kernel is an unpacked kernel package.
type kernel struct {
	version string // as uname -r tells it
	folder  string
}

// image is the bare kernel, as taken out of its compressed form.
func (k kernel) image() string { return filepath.Join(k.folder, "vmlinux") }

func (k kernel) modules() string { return filepath.Join(k.folder, "lib", "modules", k.version) }

// installKernel makes sure that a kernel is there. One that was unpacked before
// is used, even when Debian has a newer build by now.
func installKernel(ctx context.Context, cache, name string, log Log) (kernel, error) {
	if found := unpackedKernels(cache, name); len(found) > 0 {
		return found[len(found)-1], nil
	}
	err := installDebian(ctx, log,
		debianFile{"kmod", "/usr/sbin/depmod", "finds a kernel's modules"},
		debianFile{"xz-utils", "/usr/bin/xz", "unpacks a kernel"},
	)
	if err != nil {
		return kernel{}, err
	}
	log("fetching kernel %s (70 MB, once)", name)
	work, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(work)
	version, err := unpackKernel(ctx, work, name)
	if err != nil {
		return kernel{}, err
	}
	k := kernel{version, filepath.Join(cache, "kernel-"+version)}
	return k, os.Rename(work, k.folder)
}

func unpackedKernels(cache, name string) []kernel {
	folders, _ := filepath.Glob(filepath.Join(cache, "kernel-"+name+".*")) // the pattern is well formed
	var found []kernel
	for _, f := range folders {
		found = append(found, kernel{strings.TrimPrefix(filepath.Base(f), "kernel-"), f})
	}
	return found
}

// unpackKernel downloads the newest build of a kernel into a folder and makes it
// ready to boot. Nothing is installed: the machine's own kernel stays what it is.
func unpackKernel(ctx context.Context, folder, name string) (version string, err error) {
	archive, err := openArchive(ctx, filepath.Join(folder, "apt"), kernelReleases[name])
	if err != nil {
		return "", err
	}
	version, err = archive.kernelVersion(ctx, name)
	if err != nil {
		return "", err
	}
	pkg := "linux-image-" + version
	deb, err := archive.download(ctx, pkg, folder)
	if err != nil {
		return "", err
	}
	if err := run(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, folder)); err != nil {
		return "", err
	}
	k := kernel{version, folder}
	compressed, err := os.ReadFile(filepath.Join(folder, "boot", "vmlinuz-"+version))
	if err != nil {
		return "", err
	}
	image, err := decompress(ctx, compressed)
	if err != nil {
		return "", fmt.Errorf("%s: %w", pkg, err)
	}
	return version, errors.Join(
		os.WriteFile(k.image(), image, 0o644),
		run(exec.CommandContext(ctx, "/usr/sbin/depmod", "-b", folder, version)),
		os.Remove(deb),
		os.RemoveAll(filepath.Join(folder, "apt")),
		os.RemoveAll(filepath.Join(folder, "boot")),
		os.RemoveAll(filepath.Join(folder, "usr")),
		os.Chmod(folder, 0o755),
	)
}

// decompress takes the kernel out of a bzImage, which would take seconds to do
// it itself on the emulated machine. Documentation/arch/x86/boot.rst
func decompress(ctx context.Context, image []byte) ([]byte, error) {
	const header = 0x250
	if len(image) < header || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("no bzImage")
	}
	start := (int(image[0x1f1])+1)*512 + int(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + int(binary.LittleEndian.Uint32(image[0x24c:]))
	if start > end-4 || end > len(image) {
		return nil, errors.New("bzImage: its kernel is outside of it")
	}
	payload := image[start : end-4] // the last word is the size of what it expands to
	if !bytes.HasPrefix(payload, []byte("\xfd7zXZ")) {
		return nil, errors.New("bzImage: its kernel is not compressed by xz")
	}
	xz := exec.CommandContext(ctx, "xz", "--decompress", "--stdout")
	xz.Stdin = bytes.NewReader(payload)
	out, err := xz.Output()
	if err != nil {
		return nil, fmt.Errorf("xz: %w", err)
	}
	return out, nil
}

// withDependencies returns the files of the modules named and of those they
// need, in the order to load them, from depmod's modules.dep.
func withDependencies(modulesDep string, names ...string) ([]string, error) {
	lines := map[string][]string{}
	for line := range strings.Lines(modulesDep) {
		file, needs, _ := strings.Cut(line, ":")
		lines[strings.TrimSuffix(path.Base(file), ".ko")] = append([]string{file}, strings.Fields(needs)...)
	}
	var files []string
	for _, name := range names {
		line, ok := lines[name]
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		for _, file := range slices.Backward(line) {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}
