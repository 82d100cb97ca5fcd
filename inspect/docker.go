package inspect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// dockerLabel is on every container that Docker makes in containerd.
	dockerLabel = "com.docker/engine.bundle.path"
	// nerdctlName is the label in which nerdctl keeps the name of a container.
	nerdctlName = "nerdctl/name"
)

// dockerContainer is what Docker records of a container in its file
// config.v2.json, as far as it is needed.
type dockerContainer struct {
	ID     string
	Name   string // with a slash before
	Config struct{ Image string }
}

// nameFromDocker fills in the name and the image of a container of Docker's, which
// containerd is not told. They are in a file that only root may read, in Docker's
// own folder of the container; without it the id stays the name.
func (i *Inspector) nameFromDocker(f *listed) {
	if f.record.Labels[dockerLabel] == "" {
		return
	}
	s, err := f.declared()
	if err != nil {
		return
	}
	folder := s.dockerFolder(f.ID)
	if folder == "" {
		return
	}
	c, err := readDocker(filepath.Join("/", i.options.HostRoot, folder, "config.v2.json"))
	if err != nil || c.ID != f.ID {
		return
	}
	f.Name = cmp.Or(strings.TrimPrefix(c.Name, "/"), f.ID)
	f.Image = cmp.Or(f.Image, c.Config.Image)
}

// dockerFolder is where Docker keeps what it knows of a container: beside the files
// that it mounts in it, or in the container whose network it has.
func (s *spec) dockerFolder(id string) string {
	for _, m := range s.Mounts {
		switch m.Destination {
		case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
		default:
			continue
		}
		owner, file := path.Split(path.Clean(m.Source))
		all := path.Dir(path.Clean(owner))
		if path.IsAbs(m.Source) && path.Base(all) == "containers" && file == path.Base(m.Destination) {
			return path.Join(all, id)
		}
	}
	return ""
}

// readDocker reads a config.v2.json. It opens regular files only, as others may
// never be at their end.
func readDocker(file string) (dockerContainer, error) {
	const most = 4 << 20
	opened, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return dockerContainer{}, err
	}
	defer opened.Close() //nolint:errcheck // opened for reading
	info, err := opened.Stat()
	if err != nil {
		return dockerContainer{}, err
	}
	if !info.Mode().IsRegular() {
		return dockerContainer{}, &fs.PathError{Op: "read", Path: file, Err: errors.New("not a regular file")}
	}
	data, err := io.ReadAll(io.LimitReader(opened, most))
	if err != nil {
		return dockerContainer{}, err
	}
	var c dockerContainer
	if err := json.Unmarshal(data, &c); err != nil {
		return dockerContainer{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}
