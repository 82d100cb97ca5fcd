package inspect

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// RuntimeFolder is a folder in which a container runtime keeps what is its own.
type RuntimeFolder struct {
	// Path is the folder's on the node.
	Path string `json:"path"`
	Mode Mode   `json:"mode"`
	// Owner is a user ID.
	Owner uint32 `json:"owner"`
}

// runtimeFolders are containerd's unless it is told otherwise: the root, the
// state, and in it what the CRI plugins keep.
var runtimeFolders = []string{
	"/var/lib/containerd",
	"/run/containerd",
	"/var/lib/containerd/io.containerd.grpc.v1.cri",
	"/run/containerd/io.containerd.grpc.v1.cri",
	"/run/containerd/io.containerd.sandbox.controller.v1.shim",
}

// readRuntimeFolders reads who may look into containerd's folders. Those that are
// not there are left out.
func readRuntimeFolders(h host, runtime *RuntimeInfo) Fact[[]RuntimeFolder] {
	root := filepath.Dir(h.sys)
	list := []RuntimeFolder{}
	for _, folder := range foldersOf(root, runtime) {
		var stat unix.Stat_t
		file := filepath.Join(root, folder)
		err := unix.Lstat(file, &stat)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return UnknownFact[[]RuntimeFolder](&fs.PathError{Op: "lstat", Path: file, Err: err})
		}
		if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			list = append(list, RuntimeFolder{Path: folder, Mode: Mode(stat.Mode & 0o7777), Owner: stat.Uid})
		}
	}
	return KnownFact(list, "stat(2)")
}

// foldersOf adds the state of the containerd that was asked, in which its socket
// mostly is.
func foldersOf(root string, runtime *RuntimeInfo) []string {
	if runtime == nil || runtime.Name != "containerd" {
		return runtimeFolders
	}
	endpoint := strings.TrimPrefix(runtime.Endpoint, "unix://")
	if !isBelow(endpoint, root) {
		return runtimeFolders
	}
	state := path.Dir(path.Join("/", strings.TrimPrefix(endpoint, root)))
	if strings.HasPrefix(state, "/var/run/") {
		state = strings.TrimPrefix(state, "/var")
	}
	list := append(slices.Clone(runtimeFolders), state, state+"/io.containerd.grpc.v1.cri")
	slices.Sort(list)
	return slices.Compact(list)
}
