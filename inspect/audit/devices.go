package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/inspect"
)

func deviceRules() []Rule {
	return []Rule{
		{
			ID: "block-device", Title: "the node's disks are accessible", Severity: Critical,
			Meaning: "A node of a block device is in /dev and the declared device policy lets it be opened: as root the container reads and " +
				"writes the disk past all permissions of its file system. Without root it is medium. The policy in force is not collected.",
			Remedy:     "Do not run it privileged; remove the device.",
			References: slices.Concat(docker("5.18"), attack("T1006", "T1611")),
			judge: func(c *container) outcome {
				severity := Critical
				if all(c.hostRoot(), c.initialUser()).truth == no {
					severity = Medium
				}
				return found(c.device(isBlock), severity)
			},
		},
		{
			ID: "device-node", Title: "devices of the node are accessible", Severity: High,
			Meaning: "A node of a device that runtimes do not give is in /dev and the declared device policy lets it be opened. The machine's " +
				"memory, ports and registers, raw access to disks and the creating of input are high, others are low: /dev/kvm, /dev/fuse, a " +
				"graphics card.",
			Remedy:     "Do not run it privileged; remove the devices that it does not need.",
			References: slices.Concat(docker("5.18"), attack("T1006")),
			judge: func(c *container) outcome {
				severity := Low
				if all(c.device(isMachineDevice), c.initialUser(), c.hostRoot()).truth != no {
					severity = High
				}
				return found(c.device(func(d inspect.Device) bool { return d.Type == "c" && !isOrdinary(d) }), severity)
			},
		},
		{
			ID: "cap-mknod", Title: "CAP_MKNOD: make device files, and the device policy lets them be opened", Severity: Critical,
			Meaning: caps.Mknod.Info().Escape + " The capability is in the runtime's default set, and the default policy makes it harmless. The " +
				"policy in force is not collected: the declared one is judged.",
			Remedy:     "securityContext.capabilities.drop: [MKNOD]; do not run it privileged.",
			References: slices.Concat(docker("5.4", "5.18"), nsa("C-0046"), attack("T1006", "T1611"), man("mknod(2)", "capabilities(7)")),
			judge:      func(c *container) outcome { return found(c.makesDisks(), c.kernel(Critical)) },
		},
	}
}

// ordinaryDevices are those that runtimes give every container.
var ordinaryDevices = []string{
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx",
}

func isOrdinary(d inspect.Device) bool {
	return slices.Contains(ordinaryDevices, d.Path) || strings.HasPrefix(d.Path, "/dev/pts/")
}

func isBlock(d inspect.Device) bool { return d.Type == "b" }

// isMachineDevice takes those that reach memory, ports, registers, disks or
// keyboards: by their numbers, as the name is the container's choice. See
// Documentation/admin-guide/devices.txt of the kernel.
func isMachineDevice(d inspect.Device) bool {
	memory := d.Major == 1 && (d.Minor == 1 || d.Minor == 2 || d.Minor == 4) // mem, kmem, port
	registers := d.Major == 202                                              // cpu/N/msr
	raw := d.Major == 21 || d.Major == 162                                   // sg, raw
	input := d.Major == 10 && d.Minor == 223                                 // uinput
	return d.Type == "c" && (memory || registers || raw || input)
}

// isMemory takes those that reach the kernel's memory.
func isMemory(d inspect.Device) bool {
	return d.Type == "c" && (d.Major == 1 && (d.Minor == 1 || d.Minor == 2 || d.Minor == 4) || d.Major == 202)
}

// isProxied takes those that gVisor can be told to pass on to the node's: graphics
// cards, tensor processors, RDMA. To open another one, a disk or the machine's
// memory, gives ENXIO there, or a device of gVisor's own.
func isProxied(d inspect.Device) bool {
	return d.Type == "c" && slices.ContainsFunc([]string{"/dev/nvidia", "/dev/accel", "/dev/vfio/", "/dev/infiniband/"}, func(prefix string) bool {
		return strings.HasPrefix(d.Path, prefix)
	})
}

// device claims that some kind of device is in /dev and may be opened.
func (c *container) device(is func(inspect.Device) bool) claim {
	mounts, ok := c.Mounts.Value()
	if !ok {
		return unsureOf("mounts", causeOf(c.Mounts))
	}
	if c.guest() {
		given := func(d inspect.Device) bool { return is(d) && (!c.inGVisor() || isProxied(d)) }
		declared := known("mounts.devices.declared", mounts.Devices.Declared, func(d inspect.DevicesDeclared) bool { return slices.ContainsFunc(d.Nodes, given) })
		if d, ok := mounts.Devices.Declared.Value(); ok {
			declared = declared.saying(devicesText(d.Nodes, given))
		}
		return declared.with(c.guestEvidence())
	}
	list, ok := mounts.Devices.InForce.Value()
	if !ok {
		return unsureOf("mounts.devices.inForce", causeOf(mounts.Devices.InForce))
	}
	there := isTrue(slices.ContainsFunc(list, is), Evidence{Fact: "mounts.devices.inForce", Value: devicesText(list, is), Source: mounts.Devices.InForce.Source()})
	if there.truth == no {
		return there
	}
	var claims []claim
	for _, d := range list {
		if is(d) {
			claims = append(claims, c.policyAllows(d.Type, &d.Major, &d.Minor))
		}
	}
	return all(there, either(claims...))
}

func devicesText(list []inspect.Device, is func(inspect.Device) bool) string {
	const most = 8
	var paths []string
	for _, d := range list {
		if is(d) {
			paths = append(paths, d.Path)
		}
	}
	switch {
	case len(paths) == 0:
		return "none"
	case len(paths) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], " "), len(paths)-most)
	}
	return strings.Join(paths, " ")
}

// makesDisks claims that it can make a node of any disk and open it.
func (c *container) makesDisks() claim {
	if c.inGVisor() {
		return isTrue(false, Evidence{Fact: "tier", Value: "gVisor opens no disk of the node's", Source: c.Runtime})
	}
	return all(c.capability(caps.Mknod), c.call("mknod", "mknodat"), c.policyAllows("b", nil, nil))
}

// policyAllows claims that the declared device policy lets a device be read or
// written; without numbers, any device of a type. Of the rules that fit the last
// one counts.
func (c *container) policyAllows(kind string, major, minor *int64) claim {
	const name = "mounts.devices.declared"
	mounts, ok := c.Mounts.Value()
	if !ok {
		return unsureOf("mounts", causeOf(c.Mounts))
	}
	declared, ok := mounts.Devices.Declared.Value()
	if !ok {
		return unsureOf(name, causeOf(mounts.Devices.Declared))
	}
	for _, r := range slices.Backward(declared.Rules) {
		if (r.Type == "a" || r.Type == kind) && fits(r.Major, major) && fits(r.Minor, minor) && strings.ContainsAny(r.Access, "rw") {
			return isTrue(r.Allow, Evidence{Fact: name, Value: "device policy: " + ruleText(r), Source: mounts.Devices.Declared.Source()})
		}
	}
	return unsureOf(name, fmt.Errorf("no rule of the device policy is about devices of type %s", kind))
}

// fits tells whether a rule for a number, or for all, is one for the wanted.
func fits(rule, want *int64) bool { return rule == nil || want != nil && *rule == *want }

func ruleText(r inspect.DeviceRule) string {
	number := func(n *int64) string {
		if n == nil {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	word := "deny"
	if r.Allow {
		word = "allow"
	}
	return fmt.Sprintf("%s %s %s:%s %s", word, r.Type, number(r.Major), number(r.Minor), r.Access)
}
