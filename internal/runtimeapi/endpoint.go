package runtimeapi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/defaults"
	"sigs.k8s.io/yaml"
)

// EndpointVariable is the environment variable that names the runtime's socket,
// the same as crictl's.
const EndpointVariable = "CONTAINER_RUNTIME_ENDPOINT"

// crictlConfig is where crictl keeps its configuration.
const crictlConfig = "/etc/crictl.yaml"

// wellKnown are the sockets where runtimes listen, the usual ones first.
// /var/run is a link to /run everywhere, and an absolute link would lead out of
// a host's file system mounted elsewhere: only /run is tried.
var wellKnown = []string{
	defaults.DefaultAddress,
	"/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
	"/run/k3s/containerd/containerd.sock",
	"/run/k0s/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock",
	"/run/docker/containerd/containerd.sock",
}

// endpoint is a socket and who named it.
type endpoint struct {
	path string
	from string
}

func (e endpoint) String() string { return "unix://" + e.path }

// endpoints returns the sockets to try, in order: the one that the caller named,
// that of the environment, that of /etc/crictl.yaml, or else the well-known
// ones. A named one stands alone: falling back to another runtime would answer
// a question that was not asked.
func endpoints(named, hostRoot string) ([]endpoint, error) {
	if named != "" {
		return one(named, "given")
	}
	if env := os.Getenv(EndpointVariable); env != "" {
		return one(env, "from "+EndpointVariable)
	}
	file := filepath.Join(hostRoot, crictlConfig)
	configured, err := crictlEndpoint(file)
	if err != nil {
		return nil, err
	}
	if configured != "" {
		list, err := one(configured, "from "+file)
		if err == nil {
			list[0].path = below(hostRoot, list[0].path)
		}
		return list, err
	}
	var list []endpoint
	for _, path := range wellKnown {
		list = append(list, endpoint{filepath.Join(hostRoot, path), "well-known"})
	}
	return list, nil
}

func one(address, from string) ([]endpoint, error) {
	path, err := socketPath(address)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, from)
	}
	return []endpoint{{path, from}}, nil
}

// below returns where a path of the host is. /var/run is taken for /run, for the
// same reason as in wellKnown.
func below(hostRoot, path string) string {
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok && hostRoot != "" {
		path = "/run/" + rest
	}
	return filepath.Join(hostRoot, path)
}

// CheckAddress refuses what cannot be the address of a runtime, before anything
// is contacted.
func CheckAddress(address string) error {
	_, err := socketPath(address)
	return err
}

// socketPath takes unix:///path, and a bare path as crictl once did.
func socketPath(address string) (string, error) {
	path, isURL := strings.CutPrefix(address, "unix://")
	if !isURL && strings.Contains(address, "://") {
		return "", fmt.Errorf("runtime endpoint %q: want unix:///path/to/socket", address)
	}
	if !filepath.IsAbs(path) || strings.Contains(path, "\x00") {
		return "", fmt.Errorf("runtime endpoint %q: want unix:///path/to/socket, an absolute path", address)
	}
	return filepath.Clean(path), nil
}

// crictlEndpoint reads runtime-endpoint of crictl's configuration. A missing
// file, or one without it, names nothing.
func crictlEndpoint(file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return parseCrictlConfig(file, data)
}

func parseCrictlConfig(file string, data []byte) (string, error) {
	var config struct {
		RuntimeEndpoint string `json:"runtime-endpoint"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return config.RuntimeEndpoint, nil
}
