package audit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rtinspect/rtinspect/inspect"
)

func nodeRules() []Rule {
	return []Rule{
		{
			ID: "socket-open", Title: "users other than root can use a container runtime's socket", Severity: Critical, Node: true,
			Meaning: "Who can connect to it, or put another in its place, is root on the node: by a container of their own choice. It is " +
				"critical where every user can, high where some can: the members of group docker. Modes, owners and ACLs of the socket and " +
				"of the folders above decide.",
			Remedy:     "chown root:root and chmod 0660 for the socket; take users out of its group.",
			References: slices.Concat(docker("3.15", "3.16", "3.23", "3.24"), attack("T1610"), man("unix(7)")),
			judgeNode:  judgeOpenSockets,
		},
		{
			ID: "unprivileged-bpf", Title: "every user may load BPF programs", Severity: Low, Node: true,
			Meaning:    "kernel.unprivileged_bpf_disabled is 0: bpf(2) asks for no capability, and flaws of its verifier have led to root.",
			Remedy:     "sysctl kernel.unprivileged_bpf_disabled=2.",
			References: slices.Concat(attack("T1068"), man("bpf(2)")),
			judgeNode: func(n *node) outcome {
				return found(n.sysctl("unprivilegedBPFDisabled", n.Node.Sysctls.UnprivilegedBPFDisabled, func(v int) bool { return v == 0 }), Low)
			},
		},
		{
			ID: "kernel-addresses", Title: "the kernel tells its addresses", Severity: Low, Node: true,
			Meaning: "kernel.kptr_restrict is 0 and kernel.dmesg_restrict too: what an exploit must know of the kernel's memory can be read " +
				"in its log.",
			Remedy:     "sysctl kernel.kptr_restrict=1 kernel.dmesg_restrict=1.",
			References: slices.Concat(attack("T1068"), man("proc(5)")),
			judgeNode: func(n *node) outcome {
				s := n.Node.Sysctls
				return found(all(
					n.sysctl("kptrRestrict", s.KptrRestrict, func(v int) bool { return v == 0 }),
					n.sysctl("dmesgRestrict", s.DmesgRestrict, func(v int) bool { return v == 0 }),
				), Low)
			},
		},
		{
			ID: "no-lsm", Title: "no security module for containers runs", Severity: Low, Node: true,
			Meaning: "Neither AppArmor nor SELinux is among the kernel's security modules: no container of the node is confined by one, " +
				"whatever its specification asks for.",
			Remedy:     "Start the kernel with apparmor=1 security=apparmor, or selinux=1.",
			References: slices.Concat(docker("5.2", "5.3"), nsa("C-0055")),
			judgeNode: func(n *node) outcome {
				has := func(list []string) bool { return slices.Contains(list, "apparmor") || slices.Contains(list, "selinux") }
				return found(not(known("node.lsms", n.Node.LSMs, has)), Low)
			},
		},
		{
			ID: "runtime-tcp", Title: "a container runtime listens on TCP", Severity: Critical, Node: true,
			Meaning: "A socket of the node's network listens on port 2375, on which Docker starts containers for everybody without asking who " +
				"they are: critical, and high on a loopback address, which containers in the node's network reach too. On 10255 the " +
				"kubelet tells everybody of the pods: medium. Only the number speaks for either, so that they are possible, no more. " +
				"The runtime itself listens on an address that is not loopback: high; what it serves there and to whom is not seen. " +
				"Port 2376 of Docker and 10250 of the kubelet are not counted: they ask who it is, unless they are told not to.",
			Remedy:     "Take tcp:// out of Docker's hosts; readOnlyPort: 0 for the kubelet; no tcp_address and no debug address for containerd.",
			References: slices.Concat(k8s("4.2.4"), attack("T1610", "T1609"), man("proc_pid_net(5)")),
			judgeNode:  judgeTCP,
		},
		{
			ID: "runtime-folder-open", Title: "other users can look into containerd's folders", Severity: Low, Node: true,
			Meaning: "containerd's root and what its CRI plugins keep are for root alone, the state may be entered and not listed. With more, a " +
				"user of the node gets at files of containers: set-user-ID programs, and what belongs to their own number. Folders on other " +
				"places than the usual are looked at as far as the socket tells them. A number of the owner other than 0 counts too.",
			Remedy:     "chmod 0700 /var/lib/containerd and the folders of the CRI plugins, 0711 /run/containerd; update containerd.",
			References: slices.Concat(cve("CVE-2024-25621"), man("inode(7)")),
			judgeNode:  judgeFolders,
		},
		{
			ID: "containerd-version", Title: "containerd's version has known flaws", Severity: High, Node: true,
			Meaning: "By its number containerd is older than the repair of flaws that are listed with it. Distributions repair without " +
				"changing the number: it is possible, no more.",
			Remedy:     "Update containerd.",
			References: cve("CVE-2024-25621", "CVE-2024-40635", "CVE-2026-50195", "CVE-2026-53488", "CVE-2026-53489", "CVE-2026-53492"),
			judgeNode:  judgeVersion,
		},
	}
}

func judgeOpenSockets(n *node) outcome {
	result := isTrue(false, Evidence{Fact: "sockets", Value: fmt.Sprintf("none of %d is open", len(n.Sockets))})
	if len(n.MissingSockets) > 0 {
		result = unsureOf("sockets", errors.New(strings.Join(n.MissingSockets, "; ")))
	}
	if n.Sockets == nil {
		result = unsureOf("sockets", errNotCollected)
	}
	severity := Info
	for _, s := range n.Sockets {
		name := "sockets." + s.Path
		switch {
		case s.Abstract: // see abstract-socket
		case s.Verdict == inspect.SocketOpen:
			result = either(result, isTrue(true, Evidence{Fact: name, Value: s.Reason, Source: s.Connect.Source()}))
			severity = max(severity, openness(s))
		case s.Verdict != inspect.SocketOK:
			result = either(result, unsureOf(name, errors.New(s.Reason)))
		}
	}
	if result.truth == unsure {
		severity = Critical
	}
	return found(result, severity)
}

func openness(s inspect.Socket) Severity {
	connect, ok := s.Connect.Value()
	if !ok || connect.Everyone {
		return Critical
	}
	control, ok := s.Control.Value()
	if !ok || slices.ContainsFunc(control, func(c inspect.SocketControl) bool { return c.Who.Everyone }) {
		return Critical
	}
	return High
}

const (
	dockersPort  = 2375
	kubeletsPort = 10255
)

func judgeTCP(n *node) outcome {
	const name = "node.tcp"
	list, ok := n.Node.TCP.Value()
	if !ok {
		return found(unsureOf(name, causeOf(n.Node.TCP)), Critical)
	}
	result := found(isTrue(false, Evidence{Fact: name, Value: "none that counts", Source: n.Node.TCP.Source()}), Info)
	result.possible = true
	for _, l := range list {
		severity, what := tcpSeverity(l)
		if severity == Info {
			continue
		}
		result.claim = either(result.claim, isTrue(true, Evidence{Fact: name, Value: l.Address.String() + ", " + what, Source: n.Node.TCP.Source()}))
		result.severity = max(result.severity, severity)
		result.possible = result.possible && !l.Runtime
	}
	return result
}

// tcpSeverity is Info for one that does not count.
func tcpSeverity(l inspect.TCPListener) (severity Severity, what string) {
	loopback := l.Address.Addr().Unmap().IsLoopback()
	switch {
	case l.Runtime && !loopback:
		return High, "the runtime's"
	case l.Address.Port() == dockersPort && loopback:
		return High, "the port of Docker's interface without TLS"
	case l.Address.Port() == dockersPort:
		return Critical, "the port of Docker's interface without TLS"
	case l.Address.Port() == kubeletsPort:
		return Medium, "the port of the kubelet's read-only interface"
	}
	return Info, ""
}

func judgeFolders(n *node) outcome {
	const name = "node.folders"
	list, ok := n.Node.Folders.Value()
	switch {
	case !ok:
		return found(unsureOf(name, causeOf(n.Node.Folders)), Low)
	case len(list) == 0:
		return notHere("containerd's folders are not where they are looked for")
	}
	claims := make([]claim, 0, len(list))
	for _, f := range list {
		// Who has a root of another number in a container enters its state.
		forbidden := inspect.Mode(0o066)
		if below(f.Path, "/var/lib/containerd") || strings.Contains(f.Path, "/io.containerd.") {
			forbidden = 0o077
		}
		claims = append(claims, isTrue(f.Mode&forbidden != 0 || f.Owner != 0,
			Evidence{Fact: name + "." + f.Path, Value: fmt.Sprintf("mode %s, owner %d", f.Mode, f.Owner), Source: n.Node.Folders.Source()}))
	}
	return found(either(claims...), Low)
}

// repair are the versions of containerd that have a flaw repaired, the oldest
// first: a version is repaired when it is not below the one of its own series, or
// above all of them.
type repair struct {
	flaw string
	// since is the first series that has the flaw; empty where all older ones
	// have it.
	since string
	fixed []string
}

var repairs = []repair{
	{"CVE-2024-25621", "", []string{"1.7.29", "2.0.7", "2.1.5", "2.2.0"}},
	{"CVE-2024-40635", "", []string{"1.6.38", "1.7.27", "2.0.4"}},
	{"CVE-2026-50195", "2.1.0", []string{"2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53488", "", []string{"1.7.33", "2.0.10", "2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53489", "2.1.0", []string{"2.1.9", "2.2.5", "2.3.2"}},
	{"CVE-2026-53492", "2.1.0", []string{"2.1.9", "2.2.5", "2.3.2"}},
}

func judgeVersion(n *node) outcome {
	r := n.Node.Runtime
	switch {
	case r == nil:
		return notHere("no runtime was asked")
	case r.Name != "containerd":
		return notHere("the runtime is " + r.Name)
	}
	evidence := Evidence{Fact: "node.runtime.version", Value: r.Version, Source: r.Endpoint}
	version, ok := parseVersion(r.Version)
	if !ok {
		return found(unsureOf(evidence.Fact, fmt.Errorf("version %q: want three numbers", r.Version)), High)
	}
	var flaws []string
	for _, repair := range repairs {
		if !repair.repaired(version) {
			flaws = append(flaws, repair.flaw)
		}
	}
	if len(flaws) > 0 {
		evidence.Value += ", which has not by its number the repair of " + strings.Join(flaws, " ")
	}
	result := found(isTrue(len(flaws) > 0, evidence), High)
	result.possible = true
	return result
}

// repaired tells whether a version has the repair.
func (r repair) repaired(version [3]int) bool {
	if since, ok := parseVersion(r.since); ok && slices.Compare(version[:], since[:]) < 0 {
		return true
	}
	for _, text := range r.fixed {
		fixed, _ := parseVersion(text)
		if fixed[0] == version[0] && fixed[1] == version[1] {
			return version[2] >= fixed[2]
		}
	}
	newest, _ := parseVersion(r.fixed[len(r.fixed)-1])
	return slices.Compare(version[:2], newest[:2]) > 0
}

// parseVersion takes 2.1.9, v2.1.9, 1.6.20~ds1 and 2.4.2+unknown.
func parseVersion(text string) (version [3]int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(text, "v"), ".", 3)
	if len(parts) != 3 {
		return version, false
	}
	if end := strings.IndexFunc(parts[2], func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		parts[2] = parts[2][:end]
	}
	for n, part := range parts {
		number, err := strconv.Atoi(part)
		if err != nil || number < 0 {
			return version, false
		}
		version[n] = number
	}
	return version, true
}
