package inspect

import (
	"errors"
	"fmt"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Devices are a container's device nodes.
type Devices struct {
	Declared Fact[DevicesDeclared] `json:"declared"`
	// InForce are the nodes in /dev, from the folder itself. It is unknown where
	// /dev is no file system in memory: looking into another one could keep us
	// waiting. Absent of a guest, whose /dev is in its own kernel. Whether a node can
	// be used is the device policy's.
	InForce Fact[[]Device] `json:"inForce"`
}

// DevicesDeclared are those of an OCI runtime specification. The runtime adds
// null, zero, full, random, urandom and tty.
type DevicesDeclared struct {
	Nodes []Device `json:"nodes"`
	// Rules are the device policy, of which the last rule that fits counts.
	Rules []DeviceRule `json:"rules"`
}

// Device is a device node.
type Device struct {
	// Path is the node's place in the container.
	Path string `json:"path"`
	Type string `json:"type"` // b or c
	// Major and Minor are the device's number.
	Major int64 `json:"major"`
	Minor int64 `json:"minor"`
}

// DeviceRule allows or denies devices.
type DeviceRule struct {
	// Allow tells whether it allows.
	Allow bool   `json:"allow"`
	Type  string `json:"type"` // a, b or c
	// Major and Minor are nil for all.
	Major  *int64 `json:"major,omitempty"`
	Minor  *int64 `json:"minor,omitempty"`
	Access string `json:"access"` // of r, w and m
}

// devices reads the device nodes in /dev.
func devices(p *procfs.Process, table mountTable) Fact[[]Device] {
	root, ok := table.at("/")
	if !ok {
		return UnknownFact[[]Device](errors.New("no mount on / in mountinfo"))
	}
	dev, _ := table.at("/dev")
	switch {
	case !isLocal(root):
		return UnknownFact[[]Device](fmt.Errorf("/ is on %s, which could keep us waiting", root.Type))
	case dev.Point != "/dev" || !inMemory(dev):
		return UnknownFact[[]Device](fmt.Errorf("/dev is on %s, where it is not looked for", dev.Type))
	}
	mounts := map[string]int{}
	for _, m := range table.list {
		if isBelow(m.Point, "/dev") && inMemory(m) && table.visible(m) {
			mounts[m.Point] = m.ID
		}
	}
	found, err := p.Devices("/dev", mounts)
	if err != nil {
		return UnknownFact[[]Device](err)
	}
	list := make([]Device, 0, len(found))
	for _, d := range found {
		kind := "c"
		if d.Block {
			kind = "b"
		}
		list = append(list, Device{Path: d.Path, Type: kind, Major: int64(d.Major), Minor: int64(d.Minor)})
	}
	return KnownFact(list, p.Path("root/dev"))
}

func inMemory(m Mount) bool { return m.Type == "tmpfs" || m.Type == "devtmpfs" || m.Type == "devpts" }

// isLocal takes the file systems in which looking up a name waits for no other
// program and no other machine.
func isLocal(m Mount) bool {
	switch m.Type {
	case "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "squashfs", "erofs":
		return true
	}
	return false
}
