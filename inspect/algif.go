package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ModuleState is how a kernel has what may be a module.
type ModuleState string

// The states of a module.
const (
	// ModuleBuiltIn: it is part of the kernel.
	ModuleBuiltIn ModuleState = "built in"
	// ModuleLoaded: it is loaded.
	ModuleLoaded ModuleState = "loaded"
	// ModuleLoadable: the kernel loads it when somebody asks for what it does, unless
	// kernel.modules_disabled is 1.
	ModuleLoadable ModuleState = "loadable"
)

// readAFALG tells whether the kernel has algif_aead, from /proc/modules and the
// lists in /lib/modules of depmod(8). A kernel without modules may have no such
// lists: then the protocols of /proc/net tell that it has no AF_ALG at all.
func readAFALG(h host, release Fact[string]) Fact[ModuleState] {
	const module = "algif_aead"
	loaded, err := h.ReadFile("modules")
	switch {
	case err == nil && hasModule(loaded, module):
		return KnownFact(ModuleLoaded, h.Path("modules"))
	case errors.Is(err, fs.ErrNotExist):
		return withoutModules(h, release, module)
	case err != nil:
		return UnknownFact[ModuleState](err)
	}
	return installed(h, release, module)
}

// hasModule looks for a line that begins with the name.
func hasModule(modules []byte, name string) bool {
	for line := range strings.Lines(string(modules)) {
		if first, _, _ := strings.Cut(line, " "); first == name {
			return true
		}
	}
	return false
}

func withoutModules(h host, release Fact[string], module string) Fact[ModuleState] {
	protocols, err := h.ReadFile("1/net/protocols")
	if err != nil {
		return UnknownFact[ModuleState](err)
	}
	fields := strings.Fields(string(protocols))
	if len(fields) == 0 || fields[0] != "protocol" {
		return UnknownFact[ModuleState](fmt.Errorf("%s: want the header of the list", h.Path("1/net/protocols")))
	}
	if !slices.Contains(fields, "ALG") {
		return AbsentFact[ModuleState]("this kernel has no AF_ALG, and loads no modules")
	}
	if state := installed(h, release, module); state.Known() == Present {
		return state
	}
	return UnknownFact[ModuleState](fmt.Errorf("this kernel has AF_ALG built in; no list tells whether it has %s", module))
}

// installed looks for a module in the lists of those of the running kernel.
func installed(h host, release Fact[string], module string) Fact[ModuleState] {
	name, ok := release.Value()
	if !ok {
		return UnknownFact[ModuleState](release.Cause())
	}
	folder := filepath.Join(filepath.Dir(h.sys), "lib/modules", filepath.Base(name))
	for _, list := range []struct {
		file  string
		state ModuleState
	}{{"modules.builtin", ModuleBuiltIn}, {"modules.dep", ModuleLoadable}} {
		file := filepath.Join(folder, list.file)
		data, err := os.ReadFile(file)
		if err != nil {
			return UnknownFact[ModuleState](err)
		}
		if listsModule(data, module) {
			return KnownFact(list.state, file)
		}
	}
	return AbsentFact[ModuleState](fmt.Sprintf("%s is not loaded and not in %s", module, folder))
}

// listsModule looks for kernel/crypto/NAME.ko, which may be compressed, at the
// beginning of a line.
func listsModule(list []byte, name string) bool {
	for line := range strings.Lines(string(list)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if base, _, ok := strings.Cut(path.Base(file), ".ko"); ok && strings.ReplaceAll(base, "-", "_") == name {
			return true
		}
	}
	return false
}
