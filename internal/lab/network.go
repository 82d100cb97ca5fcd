package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// subnets is how many /24 networks 198.18.0.0/15 has. That range is reserved
// for benchmarks (RFC 2544), so no route of a real network is shadowed.
const subnets = 512

// maxPods is how many addresses of a /24 the lab gives to pods.
const maxPods = 250

// network is one lab's bridge and subnet.
type network int

func (n network) bridge() string { return fmt.Sprintf("rtlab%d", int(n)) }
func (n network) cidr() string   { return fmt.Sprintf("198.%d.%d.0/24", 18+int(n)/256, int(n)%256) }

// takeNetwork gives the lab the first network that no lab has. The caller
// holds the base lock.
func takeNetwork(f folders) (network, error) {
	taken := map[network]bool{}
	names, err := labNames()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if n, ok := readNetwork(folders{name}); ok {
			taken[n] = true
		}
	}
	for n := range network(subnets) {
		if taken[n] || linkExists(n.bridge()) {
			continue
		}
		return n, os.WriteFile(f.subnet(), []byte(strconv.Itoa(int(n))), 0o644)
	}
	return 0, fmt.Errorf("all %d networks of 198.18.0.0/15 are taken by other labs", subnets)
}

func readNetwork(f folders) (network, bool) {
	text, err := os.ReadFile(f.subnet())
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return network(n), err == nil && n >= 0 && n < subnets
}

func linkExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// writeCNI writes the network's configuration. Pods reach each other only: no
// gateway, no address translation, so no forwarding and no iptables.
func writeCNI(f folders, n network) error {
	conf := fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [{
    "type": "bridge",
    "bridge": %q,
    "isGateway": false,
    "ipMasq": false,
    "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]]}
  }]
}
`, n.bridge(), n.bridge(), filepath.Join(f.state(), "ipam"), n.cidr())
	return writeFile(filepath.Join(f.state(), "cni", "10-lab.conflist"), []byte(conf), 0o644)
}

// removeBridge deletes the lab's bridge; the pods' ends went with their
// network namespaces.
func removeBridge(f folders) error {
	n, ok := readNetwork(f)
	if !ok {
		return nil
	}
	link, err := netlink.LinkByName(n.bridge())
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete bridge %s: %w", n.bridge(), err)
	}
	return nil
}
