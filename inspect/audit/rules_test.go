package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/nsdiff"
)

var errRead = errors.New("open /proc/7/status: permission denied")

// derive makes something else of a recorded pod of containerd 2.4.
type change func(s *inspect.Snapshot, r *inspect.Report)

// edit changes what is known.
func edit[T any](f *inspect.Fact[T], how func(*T)) {
	value, _ := f.Value()
	how(&value)
	*f = inspect.KnownFact(value, f.Source())
}

func withMount(m inspect.ContainerMount, paths ...string) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		m.Host = inspect.KnownFact(inspect.HostView{Paths: paths}, "/proc/1/mountinfo")
		if len(m.Host.Source()) > 0 && m.Shared != 0 {
			m.Host = inspect.KnownFact(inspect.HostView{Paths: paths, Peers: paths}, "/proc/1/mountinfo")
		}
		edit(&r.Mounts, func(all *inspect.Mounts) { all.InForce = append(all.InForce, m) })
	}
}

func hostFolder(path string, readonly bool) change {
	m := inspect.ContainerMount{Kind: inspect.MountHost, Readonly: readonly}
	m.Point, m.Root, m.Type = "/mnt", path, "ext4"
	return withMount(m, path)
}

const otherID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// at puts the last mount on another place.
func at(point string, mount change) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		mount(s, r)
		edit(&r.Mounts, func(m *inspect.Mounts) { m.InForce[len(m.InForce)-1].Point = point })
	}
}

// rootOnHost is how the host sees the root file system.
func rootOnHost(view inspect.Fact[inspect.HostView]) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			m.InForce = slices.Clone(m.InForce)
			n := slices.IndexFunc(m.InForce, func(m inspect.ContainerMount) bool { return m.Kind == inspect.MountRoot })
			m.InForce[n].Host = view
		})
	}
}

// ipcFolders are what a runtime mounts for a pod in the node's ipc namespace.
func ipcFolders(s *inspect.Snapshot, r *inspect.Report) {
	for point, kind := range map[string]string{"/dev/shm": "tmpfs", "/dev/mqueue": "mqueue"} {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type = point, "/", kind
		withMount(m, point)(s, r)
	}
}

// ownCgroup shows the container its own cgroup, writable, in a cgroup namespace of its own.
func ownCgroup(s *inspect.Snapshot, r *inspect.Report) {
	m := inspect.ContainerMount{Kind: inspect.MountKernel}
	m.Point, m.Root, m.Type = "/sys/fs/cgroup", "/kubepods/podx/y", "cgroup2"
	withMount(m)(s, r)
	withNamespace(nsdiff.Cgroup, func(ns *inspect.Namespace) { ns.Host.Relation = nsdiff.Other })(s, r)
}

func cgroupMounts(delegates bool) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			p.Mounts = cgroup.KnownFact([]cgroup.Mount{{Point: "/sys/fs/cgroup", Unified: true, Writable: true, Delegates: delegates}}, "mountinfo")
		})
	}
}

func kernelMount(kind, point string, readonly bool) change {
	m := inspect.ContainerMount{Kind: inspect.MountOwn, Readonly: readonly}
	m.Point, m.Root, m.Type = point, "/", kind
	return withMount(m)
}

func withCaps(list ...caps.Cap) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.Reach, func(reach *caps.Reach) { reach.Now = reach.Now.Union(caps.Of(list...)) })
	}
}

func withDevice(kind, path string, major, minor int64) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Devices.InForce, func(list *[]inspect.Device) {
				*list = append(*list, inspect.Device{Path: path, Type: kind, Major: major, Minor: minor})
			})
			edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
				d.Rules = append(d.Rules, inspect.DeviceRule{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: "rwm"})
			})
		})
	}
}

func withNamespace(k nsdiff.Kind, how func(*inspect.Namespace)) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Namespaces.InForce, func(list *[]inspect.Namespace) {
			for n := range *list {
				if (*list)[n].Kind == k {
					how(&(*list)[n])
				}
			}
		})
	}
}

func hosts(k nsdiff.Kind) change {
	return withNamespace(k, func(ns *inspect.Namespace) { ns.Host.Relation = nsdiff.Same })
}

func withGuard(path string, guard inspect.PathGuard) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			for _, list := range [][]inspect.PathCheck{m.Masked, m.ReadonlyPaths} {
				for n := range list {
					if list[n].Path == path {
						list[n].InForce = inspect.KnownFact(guard, "mountinfo")
					}
				}
			}
		})
	}
}

func withProcess(how func(*inspect.Process)) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Processes, func(all *inspect.Processes) {
			p := all.List[0]
			p.PID, p.Origin = 99, inspect.OriginExec
			how(&p)
			all.List = append(all.List, p)
		})
	}
}

func drifted(d inspect.Difference) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) { r.Drift = append(r.Drift, d) }
}

func label(apparmor string) change { return labelUnder("enforce", apparmor) }

// labelUnder also sets the mode that counts more than the profile's.
func labelUnder(mode, apparmor string) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		s.Node.AppArmorMode = inspect.KnownFact(mode, "mode")
		r.AppArmor.InForce = inspect.KnownFact(apparmor, "attr")
	}
}

func selinux(enforce int, label string) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		s.Node.SELinuxEnforce = inspect.KnownFact(enforce, "enforce")
		r.SELinux.InForce = inspect.KnownFact(label, "attr")
	}
}

// withoutRuntime is what is known where no runtime was asked.
func withoutRuntime(s *inspect.Snapshot, r *inspect.Report) {
	s.Node.Runtime, r.Labels, r.Annotations = nil, nil, nil
}

// besides changes the other container of the pod.
func besides(c change) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		for n := range s.Containers {
			other := &s.Containers[n]
			if other.Pod.Name == r.Pod.Name && other.Kind == inspect.KindContainer && other.ID != r.ID {
				c(s, other)
			}
		}
	}
}

func tcp(listeners ...inspect.TCPListener) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.TCP = inspect.KnownFact(listeners, "/proc/1/net/tcp")
	}
}

func listener(address string, runtime bool) inspect.TCPListener {
	return inspect.TCPListener{Address: netip.MustParseAddrPort(address), Runtime: runtime}
}

func folder(path string, mode inspect.Mode, owner uint32) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.Folders = inspect.KnownFact([]inspect.RuntimeFolder{{Path: path, Mode: mode, Owner: owner}}, "stat(2)")
	}
}

func afALG(f inspect.Fact[inspect.ModuleState]) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.AFALG = f }
}

// asked has everything asked for that is declared, but for what is changed.
func asked(how func(q *inspect.Request, m *inspect.Mounts)) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Request, func(q *inspect.Request) {
			q.Devices = []inspect.RequestedDevice{}
			edit(&r.Mounts, func(m *inspect.Mounts) { how(q, m) })
		})
	}
}

func lockdown(l inspect.Lockdown) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Lockdown = inspect.KnownFact(l, "lockdown") }
}

func modules(s *inspect.Snapshot, _ *inspect.Report) {
	s.Node.Sysctls.ModulesDisabled = inspect.KnownFact(0, "modules_disabled")
}

func ownUserNamespace(_ *inspect.Snapshot, r *inspect.Report) {
	edit(&r.UserNamespace.InForce, func(ns *inspect.UserNamespace) { ns.Initial = false })
	edit(&r.User.InForce, func(u *inspect.UserInForce) {
		u.UID = inspect.IDs{Real: 100000, Effective: 100000, Saved: 100000, Filesystem: 100000}
	})
	r.Tier = inspect.KnownFact(inspect.TierUserNamespace, "ns/user")
	edit(&r.Capabilities.Reach, func(reach *caps.Reach) { reach.UserNS = caps.UserNSOther })
}

// unprivileged is user 1000 without a way to more.
func unprivileged(_ *inspect.Snapshot, r *inspect.Report) {
	edit(&r.User.InForce, func(u *inspect.UserInForce) {
		u.UID = inspect.IDs{Real: 1000, Effective: 1000, Saved: 1000, Filesystem: 1000}
		u.GID, u.Groups = u.UID, nil
	})
	r.Capabilities.Reach = inspect.KnownFact(caps.Reach{NoNewPrivs: caps.NoNewPrivsOn, UserNS: caps.UserNSInitial}, "status")
}

// privilegedLike is what a privileged container has in force.
func privilegedLike(_ *inspect.Snapshot, r *inspect.Report) {
	r.Privileged.InForce = inspect.KnownFact(true, "status")
	edit(&r.Capabilities.InForce, func(s *caps.State) {
		s.Permitted, s.Effective, s.Bounding = caps.UpTo(40), caps.UpTo(40), caps.UpTo(40)
	})
}

func guest(tier inspect.Tier) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Tier = inspect.KnownFact(tier, "io.containerd.runsc.v1")
	}
}

func filteredLike(name string) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		n := slices.IndexFunc(s.Containers, func(other inspect.Report) bool { return other.Pod.Name == name })
		r.Seccomp.InForce, r.Specification = s.Containers[n].Seccomp.InForce, s.Containers[n].Specification
	}
}

func open(verdict inspect.SocketVerdict, who inspect.Who) change {
	return func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Sockets[0].Verdict, s.Sockets[0].Connect = verdict, inspect.KnownFact(who, "modes")
		s.Sockets[0].Control = inspect.KnownFact([]inspect.SocketControl{}, "modes")
	}
}

// reached puts a socket into the container.
func reached(s *inspect.Snapshot, r *inspect.Report) {
	way := inspect.SocketContainer{ID: r.ID, Ways: inspect.KnownFact([]inspect.SocketWay{{Path: "/x.sock"}}, "mountinfo")}
	s.Sockets[0].Containers = inspect.KnownFact([]inspect.SocketContainer{way}, "mounts")
}

func abstractShim(s *inspect.Snapshot, r *inspect.Report) {
	way := inspect.SocketContainer{ID: r.ID, Ways: inspect.KnownFact([]inspect.SocketWay{{Path: "@/containerd-shim/x"}}, "ns/net")}
	s.Sockets = append(s.Sockets, inspect.Socket{
		Path: "@/containerd-shim/x", Abstract: true, Kind: inspect.SocketShim, Verdict: inspect.SocketOpen,
		Connect: inspect.KnownFact(inspect.Who{Everyone: true}, ""), Containers: inspect.KnownFact([]inspect.SocketContainer{way}, ""),
	})
}

func specification(how func(*inspect.Specification)) change {
	return func(_ *inspect.Snapshot, r *inspect.Report) { edit(&r.Specification, how) }
}

func together(list ...change) change {
	return func(s *inspect.Snapshot, r *inspect.Report) {
		for _, c := range list {
			c(s, r)
		}
	}
}

// onlyALG is a filter that lets AF_ALG sockets through and no other call that
// matters.
func onlyALG(s *inspect.Snapshot, r *inspect.Report) {
	specification(func(s *inspect.Specification) {
		s.Seccomp = inspect.KnownFact(profile("ERRNO", rule("ALLOW", "socket", arg(0, "MASKED_EQ", 1<<32-1, familyALG))), "")
	})(s, r)
}

func nothing(*inspect.Snapshot, *inspect.Report) {}

// cases are verdicts of single rules over changed pods.
var cases = []struct {
	rule, name string
	pod        string // pod-default-caps when empty
	change     change
	verdict    Verdict
	severity   Severity // of a failed or unknown one
}{
	{"privileged", "the first process has ended, others run", "pod-privileged", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.PID = inspect.AbsentFact[int]("no process runs")
	}, Unknown, Critical},
	{"privileged", "all processes have ended", "pod-privileged", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.PID = inspect.AbsentFact[int]("no process runs")
		edit(&r.Processes, func(p *inspect.Processes) { p.List = []inspect.Process{} })
	}, NotApplicable, Info},
	{"privileged", "in a guest", "pod-privileged", guest(inspect.TierVM), Fail, Medium},
	{"privileged", "in gVisor", "pod-privileged", guest(inspect.TierSandbox), Fail, Low},
	{"privileged", "in a user namespace of its own", "pod-privileged", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Privileged.InForce = inspect.KnownFact(false, "")
	}, Pass, Info},
	{"privileged", "unknown", "pod-privileged", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Privileged.InForce = inspect.UnknownFact[bool](errRead)
	}, Unknown, Critical},
	{"root-user", "with a filter", "", filteredLike("pod-hardened"), Fail, Low},
	{"root-user", "in a user namespace of its own", "", ownUserNamespace, Pass, Info},
	{"root-user", "in a guest", "", guest(inspect.TierSandbox), Fail, Low},
	{"no-new-privileges", "of another user", "", unprivileged, Fail, Medium},
	{"lsm-off", "no module", "", nothing, NotApplicable, Info},
	{"lsm-off", "unconfined", "", label("unconfined"), Fail, Medium},
	{"lsm-off", "complaining", "", label("x (complain)"), Fail, Medium},
	{"lsm-off", "enforced", "", label("cri-containerd.apparmor.d (enforce)"), Pass, Info},
	{"lsm-off", "killed where denied", "", label("mine (kill)"), Pass, Info},
	{"lsm-off", "partly unconfined", "", label("a//&b (mixed)"), Fail, Medium},
	{"lsm-off", "AppArmor's own name for none", "", label("firefox (unconfined)"), Fail, Medium},
	{"lsm-off", "the whole kernel complains", "", labelUnder("complain", "cri-containerd.apparmor.d (enforce)"), Fail, Medium},
	{"lsm-off", "not known whether the kernel complains", "", func(s *inspect.Snapshot, r *inspect.Report) {
		label("cri-containerd.apparmor.d (enforce)")(s, r)
		s.Node.AppArmorMode = inspect.UnknownFact[string](errRead)
	}, Unknown, Medium},
	{"lsm-off", "SELinux", "", selinux(1, "system_u:system_r:container_t:s0:c1,c2"), Pass, Info},
	{"lsm-off", "SELinux, permissive", "", selinux(0, "system_u:system_r:container_t:s0:c1,c2"), Fail, Medium},
	{"lsm-off", "SELinux, not known whether permissive", "", func(s *inspect.Snapshot, r *inspect.Report) {
		selinux(1, "system_u:system_r:container_t:s0:c1,c2")(s, r)
		s.Node.SELinuxEnforce = inspect.UnknownFact[int](errRead)
	}, Unknown, Medium},
	{"lsm-off", "SELinux, super-privileged", "", selinux(1, "system_u:system_r:spc_t:s0"), Fail, Medium},
	{"lsm-off", "unknown, and no module", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.AppArmor.InForce = inspect.UnknownFact[string](errRead)
	}, NotApplicable, Info},
	{"lsm-off", "unknown", "", func(s *inspect.Snapshot, r *inspect.Report) {
		label("")(s, r)
		r.AppArmor.InForce = inspect.UnknownFact[string](errRead)
	}, Unknown, Medium},

	{"cap-sys-admin", "no filter", "", withCaps(caps.SysAdmin), Fail, Critical},
	{"cap-sys-admin", "filtered", "", together(withCaps(caps.SysAdmin), filteredLike("pod-hardened")), Fail, Medium},
	{"cap-sys-admin", "in a user namespace of its own", "", together(withCaps(caps.SysAdmin), ownUserNamespace), Pass, Info},
	{"cap-sys-admin", "in a guest", "pod-privileged", guest(inspect.TierSandbox), Fail, Low},
	{"cap-sys-admin", "only by a program", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.Reach, func(reach *caps.Reach) { reach.OnExec = caps.Of(caps.SysAdmin) })
	}, Fail, Medium},
	{"cap-sys-module", "the kernel loads none", "", withCaps(caps.SysModule), Pass, Info},
	{"cap-sys-module", "the kernel loads them", "", together(withCaps(caps.SysModule), modules), Fail, Critical},
	{"cap-sys-module", "locked down", "", together(withCaps(caps.SysModule), modules, lockdown(inspect.LockdownIntegrity)), Pass, Info},
	{"cap-sys-module", "filtered", "", together(withCaps(caps.SysModule), modules, filteredLike("pod-hardened")), Fail, Low},
	{"cap-sys-module", "not known", "", together(modules, func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Capabilities.Reach = inspect.UnknownFact[caps.Reach](errRead)
	}), Unknown, Critical},
	{"cap-dac-read-search", "filtered", "", together(withCaps(caps.DACReadSearch), filteredLike("pod-hardened")), Fail, Medium},
	{"cap-sys-ptrace", "the node's processes", "", together(withCaps(caps.SysPtrace), hosts(nsdiff.PID)), Fail, High},
	{"cap-sys-ptrace", "another container's", "pod-shared-pid", withCaps(caps.SysPtrace), Fail, Medium},
	{"cap-sys-ptrace", "its own", "", withCaps(caps.SysPtrace), Fail, Low},
	{"cap-sys-rawio", "locked down", "", together(withCaps(caps.SysRawio), lockdown(inspect.LockdownConfidentiality)), Pass, Info},
	{"cap-sys-rawio", "not locked down", "", together(withCaps(caps.SysRawio), lockdown(inspect.LockdownNone)), Fail, High},
	{"cap-bpf", "filtered", "", together(withCaps(caps.BPF), filteredLike("pod-hardened")), Fail, Low},
	{"cap-sys-boot", "the node's processes", "", together(withCaps(caps.SysBoot), hosts(nsdiff.PID)), Fail, High},
	{"cap-net-admin", "the node's network", "", together(withCaps(caps.NetAdmin), hosts(nsdiff.Net)), Fail, High},
	{"cap-net-raw", "the node's network", "", hosts(nsdiff.Net), Fail, Medium},
	{"added-capabilities", "harmless ones", "", withCaps(caps.WakeAlarm), Fail, Low},
	{"added-capabilities", "the clock", "", withCaps(caps.SysTime), Fail, Medium},
	{"added-capabilities", "no default known", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Capabilities.Default = inspect.UnknownFact[caps.Set](errRead)
	}, Unknown, Medium},
	{"default-capabilities", "in a guest", "", guest(inspect.TierSandbox), Fail, Info},
	{"inheritable-capabilities", "some", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Capabilities.InForce, func(s *caps.State) { s.Inheritable = caps.Of(caps.Chown) })
	}, Fail, Low},

	{"seccomp-off", "in a guest", "", guest(inspect.TierSandbox), NotApplicable, Info},
	{"seccomp-weak", "no filter", "", nothing, NotApplicable, Info},
	{"seccomp-weak", "user namespaces", "pod-hardened", specification(func(s *inspect.Specification) {
		s.Seccomp = inspect.KnownFact(profile("ALLOW", rule("ERRNO", "mount")), "")
	}), Fail, Medium},
	{"seccomp-weak", "nothing", "pod-hardened", specification(func(s *inspect.Specification) {
		s.Seccomp = inspect.KnownFact(profile("ERRNO", rule("ALLOW", "read")), "")
	}), Pass, Info},
	{"seccomp-weak", "only what the node forbids", "pod-hardened", together(specification(func(s *inspect.Specification) {
		s.Seccomp = inspect.KnownFact(profile("ERRNO", rule("ALLOW", "bpf io_uring_setup unshare")), "")
	}), func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.Sysctls.IOUringDisabled = inspect.KnownFact(2, "")
		s.Node.Sysctls.MaxUserNamespaces = inspect.KnownFact(0, "")
	}), Pass, Info},
	{"seccomp-weak", "AF_ALG", "pod-hardened", together(onlyALG, afALG(inspect.KnownFact(inspect.ModuleLoadable, "modules.dep")), modules), Fail, Low},
	{"seccomp-weak", "AF_ALG, which the kernel loads no more", "pod-hardened", together(onlyALG, afALG(inspect.KnownFact(inspect.ModuleLoadable, "modules.dep"))), Pass, Info},
	{"seccomp-weak", "AF_ALG, built in", "pod-hardened", together(onlyALG, afALG(inspect.KnownFact(inspect.ModuleBuiltIn, "modules.builtin"))), Fail, Low},
	{"seccomp-weak", "AF_ALG, which the kernel has not", "pod-hardened", together(onlyALG, afALG(inspect.AbsentFact[inspect.ModuleState]("none"))), Pass, Info},
	{"seccomp-weak", "AF_ALG, not known whether the kernel has it", "pod-hardened", together(onlyALG, afALG(inspect.UnknownFact[inspect.ModuleState](errRead))), Fail, Low},
	{"seccomp-weak", "rules not known", "pod-hardened", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Specification = inspect.UnknownFact[inspect.Specification](errRead)
	}, Unknown, Medium},

	{"host-pid", "as another user", "", together(hosts(nsdiff.PID), unprivileged), Fail, Medium},
	{"host-network", "without CAP_NET_ADMIN", "", hosts(nsdiff.Net), Fail, Medium},
	{"host-ipc", "asked for by a guest", "pod-host-ns", guest(inspect.TierVM), Pass, Info},
	{"host-pid", "asked for by a guest", "pod-host-ns", guest(inspect.TierSandbox), Pass, Info},
	{"host-uts", "alone", "", hosts(nsdiff.UTS), Fail, Low},
	{"host-uts", "with the network", "pod-host-ns", nothing, NotApplicable, Info},
	{"host-uts", "in a guest", "", guest(inspect.TierSandbox), Pass, Info},
	{"host-network", "of gVisor's process", "pod-host-ns", guest(inspect.TierSandbox), Fail, High},
	{"host-network", "asked for and not of gVisor's process", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Namespaces.Requested, func(q *inspect.NamespaceRequest) { q.Network = inspect.NamespaceNode })
	}), Pass, Info},
	{"host-network", "not known of gVisor's process", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Namespaces.InForce = inspect.UnknownFact[[]inspect.Namespace](errRead)
	}), Unknown, Medium},
	{"host-network", "of a guest that nobody asked the CRI for", "", together(guest(inspect.TierVM), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Namespaces.Requested = inspect.AbsentFact[inspect.NamespaceRequest]("not made through the CRI")
		r.Namespaces.Declared = inspect.KnownFact([]inspect.NamespaceDeclared{{Kind: nsdiff.PID}}, "spec")
	}), Fail, Medium},
	{"host-pid", "of a guest that nobody asked the CRI for", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Namespaces.Requested = inspect.AbsentFact[inspect.NamespaceRequest]("not made through the CRI")
		r.Namespaces.Declared = inspect.KnownFact([]inspect.NamespaceDeclared{{Kind: nsdiff.PID}}, "spec")
	}), Pass, Info},

	{"host-network", "of a guest that joins one by its path", "", together(guest(inspect.TierVM), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Namespaces.Requested = inspect.AbsentFact[inspect.NamespaceRequest]("not made through the CRI")
		r.Namespaces.Declared = inspect.KnownFact([]inspect.NamespaceDeclared{{Kind: nsdiff.Net, Path: "/proc/7/ns/net"}}, "spec")
	}), Unknown, Medium},

	{"core-pattern", "root", "", withGuard("/proc/sys", inspect.GuardNone), Fail, Critical},
	{"core-pattern", "another user", "", together(withGuard("/proc/sys", inspect.GuardNone), unprivileged), Pass, Info},
	{"core-pattern", "in a user namespace of its own", "", together(withGuard("/proc/sys", inspect.GuardNone), ownUserNamespace), Pass, Info},
	{"core-pattern", "AppArmor", "", together(withGuard("/proc/sys", inspect.GuardNone), label("docker-default (enforce)")), Pass, Info},
	{"core-pattern", "AppArmor of a like name", "", together(withGuard("/proc/sys", inspect.GuardNone), label("docker-default-open (enforce)")), Unknown, Critical},
	{"core-pattern", "Podman's AppArmor", "", together(withGuard("/proc/sys", inspect.GuardNone), label("containers-default-0.57.4 (enforce)")), Pass, Info},
	{"core-pattern", "AppArmor where all complains", "", together(withGuard("/proc/sys", inspect.GuardNone), labelUnder("complain", "docker-default (enforce)")), Fail, Critical},
	{"core-pattern", "SELinux, permissive", "", together(withGuard("/proc/sys", inspect.GuardNone), selinux(0, "system_u:system_r:container_t:s0")), Fail, Critical},
	{"core-pattern", "SELinux", "", together(withGuard("/proc/sys", inspect.GuardNone), selinux(1, "system_u:system_r:container_t:s0")), Unknown, Critical},
	{"core-pattern", "one more proc", "", kernelMount("proc", "/mnt/proc", false), Fail, Critical},
	{"core-pattern", "one more proc, read-only", "", kernelMount("proc", "/mnt/proc", true), Pass, Info},
	{"core-pattern", "one more proc with a read-only sys", "", together(kernelMount("proc", "/mnt/proc", false), kernelMount("proc", "/mnt/proc/sys", true)), Pass, Info},
	{"core-pattern", "a part of the node's", "", withMount(func() inspect.ContainerMount {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type = "/tune", "/sys/kernel", "proc"
		return m
	}(), "/proc/sys/kernel"), Fail, Critical},
	{"core-pattern", "another part of the node's", "", withMount(func() inspect.ContainerMount {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type = "/tune", "/sys/net", "proc"
		return m
	}(), "/proc/sys/net"), Pass, Info},
	{"core-pattern", "AppArmor that only complains", "", together(withGuard("/proc/sys", inspect.GuardNone), label("docker-default (complain)")), Fail, Critical},
	{"core-pattern", "a profile of somebody's own", "", together(withGuard("/proc/sys", inspect.GuardNone), label("mine (enforce)")), Unknown, Critical},
	{"core-pattern", "a guest's", "", together(withGuard("/proc/sys", inspect.GuardNone), guest(inspect.TierVM)), NotApplicable, Info},
	{"sysrq-trigger", "writable", "", withGuard("/proc/sysrq-trigger", inspect.GuardNone), Fail, Medium},
	{"writable-proc", "below a read-only path", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) { m.ReadonlyPaths[0].WritableBelow = []string{"/proc/bus/pci"} })
	}, Fail, Low},
	{"unmasked-proc", "kcore with CAP_SYS_RAWIO", "", together(withGuard("/proc/kcore", inspect.GuardNone), withCaps(caps.SysRawio)), Fail, High},
	{"unmasked-proc", "kcore without", "", withGuard("/proc/kcore", inspect.GuardNone), Fail, Low},
	{"mask-replaced", "by a file of /proc", "", withGuard("/proc/keys", inspect.GuardReplaced), Fail, High},
	{"writable-sys", "privileged", "pod-privileged", nothing, Fail, High},
	{"writable-sys", "one more", "", kernelMount("sysfs", "/mnt/sys", false), Fail, High},
	{"writable-sys", "another user", "pod-privileged", unprivileged, Pass, Info},
	{"writable-cgroup", "from the root", "", kernelMount("cgroup", "/sys/fs/cgroup/rdma", false), Fail, High},
	{"writable-cgroup", "from the root in a cgroup namespace of its own", "", together(kernelMount("cgroup2", "/sys/fs/cgroup", false),
		withNamespace(nsdiff.Cgroup, func(ns *inspect.Namespace) { ns.Host.Relation = nsdiff.Other })), Fail, High},
	{"writable-cgroup", "in a cgroup namespace of its own", "", together(ownCgroup, cgroupMounts(true)), Fail, Low},
	{"writable-cgroup", "in a cgroup namespace of its own, not delegated", "", together(ownCgroup, cgroupMounts(false)), Fail, Medium},
	{"writable-cgroup", "in a cgroup namespace of its own, perhaps delegated", "", ownCgroup, Fail, Medium},
	{"kernel-filesystem", "debugfs", "", kernelMount("debugfs", "/sys/kernel/debug", false), Fail, High},
	{"kernel-filesystem", "read-only", "", kernelMount("tracefs", "/sys/kernel/tracing", true), Fail, Low},
	{"kernel-filesystem", "as another user", "", together(kernelMount("bpf", "/sys/fs/bpf", false), unprivileged), Fail, Low},
	{"lxcfs", "writable", "", kernelMount("fuse.lxcfs", "/proc/meminfo", false), Fail, Medium},

	{"host-root", "writable", "", hostFolder("/", false), Fail, Critical},
	{"host-root", "read-only", "", hostFolder("/", true), Fail, High},
	{"host-root", "as another user", "", together(hostFolder("/", false), unprivileged), Fail, Medium},
	{"host-root", "hidden", "", func(s *inspect.Snapshot, r *inspect.Report) {
		hostFolder("/", false)(s, r)
		edit(&r.Mounts, func(m *inspect.Mounts) { m.InForce[len(m.InForce)-1].Hidden = true })
	}, Pass, Info},
	{"host-root", "as the root of the container", "", rootOnHost(inspect.KnownFact(inspect.HostView{Paths: []string{"/", "/mnt"}}, "mountinfo")), Fail, Critical},
	{"host-root", "as the root, perhaps", "", rootOnHost(inspect.UnknownFact[inspect.HostView](errRead)), Unknown, Critical},
	{"host-root", "a root of its own", "", rootOnHost(inspect.KnownFact(inspect.HostView{Paths: []string{"/run/x/rootfs"}}, "mountinfo")), Pass, Info},
	{"host-root", "of a guest", "", together(guest(inspect.TierVM), func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Declared, func(list *[]inspect.DeclaredMount) {
				*list = append(*list, inspect.DeclaredMount{Destination: "/host", Type: "bind", Source: "/", Options: []string{"rbind", "ro"}})
			})
		})
	}), Fail, High},
	{"host-root", "a mount that is not known", "", func(s *inspect.Snapshot, r *inspect.Report) {
		hostFolder("/", false)(s, r)
		edit(&r.Mounts, func(m *inspect.Mounts) {
			m.InForce[len(m.InForce)-1].Kind, m.InForce[len(m.InForce)-1].Host = "", inspect.UnknownFact[inspect.HostView](errRead)
		})
	}, Unknown, Critical},
	{"host-runtime", "the state folder", "", hostFolder("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs", true), Fail, High},
	{"host-runtime", "its own files of Docker", "", func(s *inspect.Snapshot, r *inspect.Report) {
		hostFolder("/var/lib/docker/containers/"+r.ID+"/hosts", false)(s, r)
	}, Pass, Info},
	{"host-runtime", "Docker's files of the container with its network", "", at("/etc/hosts", hostFolder("/var/lib/docker/containers/"+otherID+"/hosts", false)), Pass, Info},
	{"host-runtime", "Docker's record of another container", "", hostFolder("/var/lib/docker/containers/"+otherID+"/config.v2.json", true), Fail, High},
	{"host-runtime", "Docker's folder of another container", "", at("/etc/hosts", hostFolder("/var/lib/docker/containers/"+otherID, false)), Fail, Critical},
	{"host-kubernetes", "the keys", "", hostFolder("/etc/kubernetes/pki", true), Fail, High},
	{"host-kubernetes", "all of it", "", hostFolder("/var/lib/kubelet", false), Fail, Critical},
	{"host-system", "cron", "", hostFolder("/etc/cron.d", false), Fail, Critical},
	{"host-system", "the keys, read-only", "", hostFolder("/root/.ssh", true), Fail, High},
	{"host-system", "certificates", "", hostFolder("/etc/ssl/certs", true), Pass, Info},
	{"host-system", "certificates, writable", "", hostFolder("/etc/ssl/certs", false), Fail, Critical},
	{"host-path", "certificates", "", hostFolder("/etc/ssl/certs", true), Fail, Low},
	{"host-programs", "writable", "", hostFolder("/usr/local/bin", false), Fail, Critical},
	{"host-programs", "read-only", "", hostFolder("/lib/modules", true), Fail, Low},
	{"host-kernel", "the node's proc", "", hostFolder("/proc", false), Fail, Critical},
	{"host-kernel", "what comes with the ipc namespace", "pod-host-ns", ipcFolders, Pass, Info},
	{"host-kernel", "the same without the namespace", "", ipcFolders, Fail, Critical},
	{"host-kernel", "a device on another place", "", withMount(func() inspect.ContainerMount {
		m := inspect.ContainerMount{Kind: inspect.MountDevice}
		m.Point, m.Root, m.Type = "/mnt/disk", "/sda", "devtmpfs"
		return m
	}(), "/dev/sda"), Fail, Critical},
	{"host-kernel", "a device on its own place", "", withMount(func() inspect.ContainerMount {
		m := inspect.ContainerMount{Kind: inspect.MountDevice}
		m.Point, m.Root, m.Type = "/dev/null", "/null", "devtmpfs"
		return m
	}(), "/dev/null"), Pass, Info},
	{"host-system", "the bus, read-only", "", hostFolder("/run/dbus", true), Fail, High},
	{"host-logs", "read-only", "", hostFolder("/var/log", true), Fail, Low},
	{"host-path", "some folder", "", hostFolder("/srv/data", false), Fail, Medium},
	{"host-logs", "by a subPath", "", withMount(func() inspect.ContainerMount {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type = "/mnt", "/var/log", "ext4"
		return m
	}(), "/var/lib/kubelet/pods/u/volume-subpaths/v/app/0", "/var/log"), Fail, High},
	{"mount-propagation", "shared", "", func(s *inspect.Snapshot, r *inspect.Report) {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type, m.Shared = "/mnt", "/srv", "ext4", 7
		withMount(m, "/srv")(s, r)
	}, Fail, Medium},
	{"readonly-mount-not-whole", "a volume", "", func(s *inspect.Snapshot, r *inspect.Report) {
		m := inspect.ContainerMount{Kind: inspect.MountHost, Readonly: true, WritableBelow: []string{"/mnt/a"}}
		m.Point, m.Root, m.Type = "/mnt", "/srv", "ext4"
		withMount(m, "/srv")(s, r)
	}, Fail, Medium},

	{"runtime-socket", "as another user", "pod-socket-mounted", unprivileged, Fail, Medium},
	{"runtime-socket", "as a member of its group", "", together(unprivileged, reached, open(inspect.SocketOpen, inspect.Who{
		Groups: []inspect.WhoGroups{{Groups: []inspect.Account{{ID: 1000}}}},
	})), Fail, Critical},
	{"runtime-socket", "as one of two groups", "", together(unprivileged, reached, open(inspect.SocketOpen, inspect.Who{
		Groups: []inspect.WhoGroups{{Groups: []inspect.Account{{ID: 1000}, {ID: 7}}}},
	})), Fail, Medium},
	{"runtime-socket", "one that is kept out", "", together(unprivileged, reached, open(inspect.SocketOpen, inspect.Who{
		Everyone: true, Except: []inspect.Account{{ID: 1000}},
	})), Fail, Medium},
	{"runtime-socket", "everyone", "", together(unprivileged, reached, open(inspect.SocketOpen, inspect.Who{Everyone: true})), Fail, Critical},
	{"runtime-socket", "not known who", "", together(unprivileged, reached, func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Sockets[0].Connect = inspect.UnknownFact[inspect.Who](errRead)
	}), Fail, Critical},
	{"runtime-socket", "sockets may be missing", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.MissingSockets = []string{"hidepid"} }, Unknown, Critical},
	{"runtime-socket", "no sockets collected", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Sockets = nil }, Unknown, Critical},
	{"runtime-socket", "in a guest", "pod-socket-folder", guest(inspect.TierSandbox), Fail, Medium},
	{"runtime-socket", "in a guest by a link", "", together(guest(inspect.TierSandbox), func(s *inspect.Snapshot, r *inspect.Report) {
		ways := inspect.UnknownFact[[]inspect.SocketWay](errors.New("whether the sandbox lets its guest connect is not known"))
		for n := range s.Sockets {
			s.Sockets[n].Containers = inspect.KnownFact([]inspect.SocketContainer{{ID: r.ID, Namespace: r.Namespace, Ways: ways}}, "")
		}
	}), Unknown, Critical},
	{"abstract-socket", "of a shim", "", abstractShim, Fail, High},
	{"abstract-socket", "sockets may be missing", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.MissingSockets = []string{"hidepid"} }, Unknown, High},

	{"block-device", "as another user", "", together(withDevice("b", "/dev/sda", 8, 0), unprivileged), Fail, Medium},
	{"block-device", "of a guest", "pod-privileged", guest(inspect.TierVM), Fail, Medium},
	{"block-device", "that gVisor does not open", "pod-privileged", guest(inspect.TierSandbox), Pass, Info},
	{"device-node", "that gVisor does not open", "pod-privileged", guest(inspect.TierSandbox), Pass, Info},
	{"device-node", "that gVisor may pass on", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
				d.Nodes = append(d.Nodes, inspect.Device{Path: "/dev/nvidia0", Type: "c", Major: 195})
			})
		})
	}), Fail, Low},
	{"cap-mknod", "in gVisor", "pod-privileged", guest(inspect.TierSandbox), Pass, Info},
	{"process-beyond", "in a guest", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Processes = inspect.UnknownFact[inspect.Processes](errRead)
	}), NotApplicable, Info},
	{"leaked-file", "in a guest", "", together(guest(inspect.TierSandbox), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Processes = inspect.UnknownFact[inspect.Processes](errRead)
	}), NotApplicable, Info},
	{"host-kernel", "/dev/shm declared in gVisor", "pod-host-ns", guest(inspect.TierSandbox), Pass, Info},
	{"host-kernel", "/dev/shm declared of a virtual machine", "pod-host-ns", guest(inspect.TierVM), Fail, Critical},
	{"block-device", "that the policy denies", "", func(s *inspect.Snapshot, r *inspect.Report) {
		withDevice("b", "/dev/sda", 8, 0)(s, r)
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
				d.Rules = append(d.Rules, inspect.DeviceRule{Type: "a", Access: "rwm"})
			})
		})
	}, Pass, Info},
	{"block-device", "without a policy", "", func(s *inspect.Snapshot, r *inspect.Report) {
		withDevice("b", "/dev/sda", 8, 0)(s, r)
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) { d.Rules = nil })
		})
	}, Unknown, Critical},
	{"device-node", "memory", "", withDevice("c", "/dev/mem", 1, 1), Fail, High},
	{"device-node", "fuse", "", withDevice("c", "/dev/fuse", 10, 229), Fail, Low},
	{"cap-mknod", "one device allowed", "", withDevice("c", "/dev/fuse", 10, 229), Pass, Info},
	{"cap-mknod", "all devices allowed", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Mounts, func(m *inspect.Mounts) {
			edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
				d.Rules = append(d.Rules, inspect.DeviceRule{Allow: true, Type: "a", Access: "rwm"})
			})
		})
	}, Fail, Critical},

	{"no-memory-limit", "by the pod", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			levels := slices.Clone(p.Effective.Memory.Levels())
			levels[1].Limit = cgroup.KnownFact(cgroup.LimitOf(1<<20), "memory.max")
			p.Effective.Memory = cgroup.EffectiveOf(levels)
		})
	}, Pass, Info},
	{"no-memory-limit", "by the class of all pods", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			levels := slices.Clone(p.Effective.Memory.Levels())
			levels[2].Limit = cgroup.KnownFact(cgroup.LimitOf(1<<20), "memory.max")
			p.Effective.Memory = cgroup.EffectiveOf(levels)
		})
	}, Fail, Low},
	{"no-memory-limit", "by a container around it", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			levels := slices.Clone(p.Effective.Memory.Levels())
			levels[1].Kind, levels[1].Limit = cgroup.KindOuter, cgroup.KnownFact(cgroup.LimitOf(1<<20), "memory.max")
			p.Effective.Memory = cgroup.EffectiveOf(levels)
		})
	}, Fail, Low},
	{"no-memory-limit", "the pod's is not known", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			levels := slices.Clone(p.Effective.Memory.Levels())
			levels[1].Limit = cgroup.UnknownFact[cgroup.Limit](errRead)
			p.Effective.Memory = cgroup.EffectiveOf(levels)
		})
	}, Unknown, Low},

	{"no-pids-limit", "its own", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			levels := slices.Clone(p.Effective.Pids.Levels())
			levels[0].Limit = cgroup.KnownFact(cgroup.LimitOf(100), "pids.max")
			p.Effective.Pids = cgroup.EffectiveOf(levels)
		})
	}, Pass, Info},

	{"unsafe-sysctl", "one", "", specification(func(s *inspect.Specification) { s.Sysctls = map[string]string{"net.core.somaxconn": "1"} }), Fail, Medium},
	{"unsafe-sysctl", "a safe one", "", specification(func(s *inspect.Specification) {
		s.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
	}), Pass, Info},
	{"unsafe-sysctl", "with slashes", "", specification(func(s *inspect.Specification) { s.Sysctls = map[string]string{"net/ipv4/ping_group_range": "0 0"} }), Pass, Info},
	{"unsafe-sysctl", "with more in it", "", specification(func(s *inspect.Specification) {
		s.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x"}
	}), Fail, High},
	{"hooks", "some", "", specification(func(s *inspect.Specification) { s.Hooks = []inspect.Hook{{Kind: "prestart", Path: "/usr/bin/x"}} }), Fail, Info},
	{"hooks", "NVIDIA's", "", specification(func(s *inspect.Specification) {
		s.Hooks = []inspect.Hook{{Kind: "prestart", Path: "/usr/bin/nvidia-container-runtime-hook"}}
	}), Fail, Info},
	{"hooks", "NVIDIA's with a library to load", "", together(
		specification(func(s *inspect.Specification) {
			s.Hooks = []inspect.Hook{{Kind: "prestart", Path: "/usr/bin/nvidia-container-runtime-hook"}}
		}),
		func(_ *inspect.Snapshot, r *inspect.Report) {
			edit(&r.Process, func(p *inspect.Program) { p.Env = append(p.Env, "LD_PRELOAD=<redacted>") })
		},
	), Fail, High},
	{"cdi-devices", "one", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Annotations = map[string]string{"cdi.k8s.io/x": "vendor.com/gpu=0"}
	}, Fail, Low},
	{"log-command", "a program", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Labels = map[string]string{"containerd.io/restart.loguri": "binary:///bin/x"}
	}, Fail, High},
	{"log-command", "no runtime was asked", "", withoutRuntime, Unknown, High},
	{"log-command", "another runtime", "", func(s *inspect.Snapshot, r *inspect.Report) {
		s.Node.Runtime.Name, r.Namespace = "cri-o", ""
	}, NotApplicable, Info},
	{"cdi-devices", "no runtime was asked", "", withoutRuntime, Unknown, Low},
	{"log-command", "a file", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Labels = map[string]string{"containerd.io/restart.loguri": "file:///x"}
	}, Pass, Info},
	{"working-directory", "runc's", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Process, func(p *inspect.Program) { p.Cwd = "/proc/self/fd/7" })
	}, Fail, High},
	{"working-directory", "of a thread", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Process, func(p *inspect.Program) { p.Cwd = "/proc/1/task/1/fd/7/a" })
	}, Fail, High},
	{"working-directory", "another of /proc", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Process, func(p *inspect.Program) { p.Cwd = "/proc/fd" })
	}, Pass, Info},
	{"uid-overflow", "declared another", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.User.Declared, func(u *inspect.User) { u.UID = 4294967295 })
	}, Fail, High},

	{"wider-than-requested", "capabilities", "", drifted(inspect.Difference{Setting: "capabilities.bounding", From: "requested", To: "declared", More: caps.Of(caps.SysAdmin)}), Fail, High},
	{"wider-than-requested", "fewer capabilities", "", drifted(inspect.Difference{Setting: "capabilities.bounding", From: "requested", To: "declared", Less: caps.Of(caps.Chown)}), Pass, Info},
	{"wider-than-requested", "explained", "", drifted(inspect.Difference{Setting: "seccomp", From: "requested", To: "declared", Have: "no filter", Reason: "privileged"}), Pass, Info},
	{"wider-than-requested", "a root that is not read-only", "", drifted(inspect.Difference{Setting: "readonlyRootfs", From: "requested", To: "declared", Want: "true", Have: "false"}), Fail, Medium},
	{"wider-than-requested", "a root that is", "", drifted(inspect.Difference{Setting: "readonlyRootfs", From: "requested", To: "declared", Want: "false", Have: "true"}), Pass, Info},
	{"wider-than-requested", "the node's network", "", drifted(inspect.Difference{Setting: "namespaces.net", From: "requested", To: "declared", Want: "pod", Have: "the runtime's"}), Fail, High},
	{"wider-than-requested", "privileged", "", drifted(inspect.Difference{Setting: "privileged", From: "requested", To: "declared", Want: "false", Have: "true"}), Fail, High},
	{"wider-than-requested", "unknown", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Seccomp.Requested = inspect.UnknownFact[inspect.SeccompRequest](errRead)
	}, Unknown, High},
	{"wider-than-declared", "of what is unknown by now", "", together(
		drifted(inspect.Difference{Setting: "capabilities.bounding", From: "declared", To: "in force", More: caps.Of(caps.SysAdmin)}),
		func(_ *inspect.Snapshot, r *inspect.Report) {
			r.Capabilities.InForce = inspect.UnknownFact[caps.State](errRead)
		},
	), Unknown, High},
	{"wider-than-declared", "a lost label", "", drifted(inspect.Difference{Setting: "apparmor", From: "declared", To: "in force", Want: "x (enforce)", Have: "unconfined"}), Fail, High},
	{"wider-than-declared", "a label more", "", drifted(inspect.Difference{Setting: "apparmor", From: "declared", To: "in force", Want: "unconfined", Have: "x (enforce)"}), Pass, Info},
	{"wider-than-declared", "a lost filter", "", drifted(inspect.Difference{Setting: "seccomp", From: "declared", To: "in force", Want: "a filter", Have: "disabled"}), Fail, High},
	{"wider-than-declared", "root", "", drifted(inspect.Difference{Setting: "user.uid", From: "declared", To: "in force", Want: "7", Have: "0"}), Fail, High},
	{"wider-than-declared", "another user", "", drifted(inspect.Difference{Setting: "user.uid", From: "declared", To: "in force", Want: "0", Have: "7"}), Pass, Info},
	{"wider-than-declared", "a limit", "", drifted(inspect.Difference{Setting: "cgroup.memory", From: "declared", To: "in force", Want: "1", Have: "2"}), Pass, Info},
	{"wider-than-declared", "in a guest", "", guest(inspect.TierSandbox), NotApplicable, Info},
	{"unrequested", "all was asked for", "", asked(func(*inspect.Request, *inspect.Mounts) {}), Pass, Info},
	{"unrequested", "a device", "", asked(func(_ *inspect.Request, m *inspect.Mounts) {
		edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
			d.Nodes = append(d.Nodes, inspect.Device{Path: "/dev/kvm", Type: "c"})
		})
	}), Fail, Medium},
	{"unrequested", "a device of a folder that was asked for", "", asked(func(q *inspect.Request, m *inspect.Mounts) {
		q.Devices = append(q.Devices, inspect.RequestedDevice{Path: "/dev/dri"})
		edit(&m.Devices.Declared, func(d *inspect.DevicesDeclared) {
			d.Nodes = append(d.Nodes, inspect.Device{Path: "/dev/dri/card0", Type: "c"})
		})
	}), Pass, Info},
	{"unrequested", "all devices, for a privileged one", "pod-privileged", asked(func(*inspect.Request, *inspect.Mounts) {}), Pass, Info},
	{"unrequested", "a folder", "", asked(func(_ *inspect.Request, m *inspect.Mounts) {
		edit(&m.Declared, func(list *[]inspect.DeclaredMount) {
			*list = append(*list, inspect.DeclaredMount{Destination: "/x", Type: "bind", Source: "/etc"})
		})
	}), Fail, Medium},
	{"unrequested", "a record of before", "", asked(func(q *inspect.Request, _ *inspect.Mounts) { q.Devices = nil }), Unknown, Medium},
	{"unrequested", "not through the CRI", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Request = inspect.AbsentFact[inspect.Request]("not made through the CRI")
	}, NotApplicable, Info},
	{"user-namespace-missing", "in force", "pod-user-namespace", nothing, Pass, Info},
	{"mask-missing", "a mask", "", withGuard("/proc/keys", inspect.GuardNone), Fail, High},
	{"mask-missing", "a read-only path", "", withGuard("/proc/sys", inspect.GuardNone), Fail, High},
	{"mask-missing", "not declared", "pod-privileged", nothing, Pass, Info},
	{"limit-changed", "memory", "pod-with-limits", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) {
			p.Memory.Max = cgroup.KnownFact(cgroup.LimitOf(1<<30), "memory.limit_in_bytes")
		})
	}, Fail, Low},
	{"limit-changed", "not known", "pod-with-limits", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Cgroup.InForce, func(p *cgroup.Process) { p.Memory.Max = cgroup.UnknownFact[cgroup.Limit](errRead) })
	}, Unknown, Low},
	{"unexpected-sharing", "with another pod", "", withNamespace(nsdiff.Net, func(ns *inspect.Namespace) { ns.Verdict, ns.Reason = nsdiff.Surprise, "shared with x" }), Fail, High},
	{"unexpected-sharing", "not known", "", withNamespace(nsdiff.Net, func(ns *inspect.Namespace) { ns.Verdict, ns.Reason = nsdiff.Unproven, "no right" }), Unknown, High},
	{"not-its-process", "in another group", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		r.PID = inspect.UnknownFact[int](fmt.Errorf("process 7 is in cgroup /: %w", inspect.ErrNotTheContainer))
	}, Fail, High},
	{"not-its-process", "ended", "pod-oom", nothing, NotApplicable, Info},

	{"process-beyond", "capabilities of the node's", "", withProcess(func(p *inspect.Process) {
		p.Beyond = []inspect.Excess{{Kind: inspect.ExcessCapabilities, What: "effective", Has: "CAP_SYS_ADMIN"}}
	}), Fail, High},
	{"process-beyond", "lesser capabilities", "", withProcess(func(p *inspect.Process) {
		p.Beyond = []inspect.Excess{{Kind: inspect.ExcessCapabilities, What: "effective", Has: "CAP_CHOWN"}}
	}), Fail, Medium},
	{"process-beyond", "capabilities in its own user namespace", "", withProcess(func(p *inspect.Process) {
		p.Beyond = []inspect.Excess{{Kind: inspect.ExcessCapabilities, What: "effective", Has: "CAP_SYS_ADMIN", Whose: "in its own user namespace only"}}
	}), Fail, Low},
	{"process-beyond", "the node's namespace", "", withProcess(func(p *inspect.Process) {
		p.Beyond = []inspect.Excess{{Kind: inspect.ExcessNamespace, What: "mnt", Whose: "the host's"}}
	}), Fail, High},
	{"process-beyond", "a namespace that it made", "", withProcess(func(p *inspect.Process) {
		p.Beyond = []inspect.Excess{{Kind: inspect.ExcessNamespace, What: "mnt"}}
	}), Fail, Info},
	{"process-beyond", "no filter", "", withProcess(func(p *inspect.Process) { p.Beyond = []inspect.Excess{{Kind: inspect.ExcessSeccomp}} }), Fail, Medium},
	{"process-beyond", "nothing", "", withProcess(func(*inspect.Process) {}), Pass, Info},
	{"process-beyond", "not compared", "", withProcess(func(p *inspect.Process) { p.Seccomp = inspect.UnknownFact[inspect.SeccompInForce](errRead) }), Unknown, High},
	{"process-beyond", "processes may be missing", "", func(_ *inspect.Snapshot, r *inspect.Report) {
		edit(&r.Processes, func(p *inspect.Processes) { p.Missing = "hidepid" })
	}, Unknown, High},
	{"leaked-file", "a folder", "", withProcess(func(p *inspect.Process) {
		p.Leaks = inspect.KnownFact([]inspect.Leak{{What: "cwd", Path: "/", Mount: 7}}, "")
	}), Fail, High},
	{"leaked-file", "a harmless one", "", withProcess(func(p *inspect.Process) {
		p.Leaks = inspect.KnownFact([]inspect.Leak{{What: "fd/0", Path: "/dev/null", Mount: 7, Reason: "harmless"}}, "")
	}), Pass, Info},
	{"leaked-file", "one that is not known", "", withProcess(func(p *inspect.Process) {
		p.Leaks = inspect.KnownFact([]inspect.Leak{{What: "fd/0", Unknown: "no right"}}, "")
	}), Unknown, High},

	{"path-mount", "with everything", "", withCaps(caps.SysAdmin), Fail, Critical},
	{"path-mount", "filtered", "", together(withCaps(caps.SysAdmin), filteredLike("pod-hardened")), Pass, Info},
	{"path-mount", "AppArmor", "", together(withCaps(caps.SysAdmin), label("cri-containerd.apparmor.d (enforce)")), Pass, Info},
	{"path-mount", "in a user namespace of its own", "", together(withCaps(caps.SysAdmin), ownUserNamespace), Pass, Info},
	{"path-mount", "in a guest", "pod-privileged", guest(inspect.TierSandbox), NotApplicable, Info},
	{"path-mount", "a filter that is not known", "", together(withCaps(caps.SysAdmin), func(_ *inspect.Snapshot, r *inspect.Report) {
		r.Seccomp.InForce = inspect.UnknownFact[inspect.SeccompInForce](errRead)
	}), Unknown, Critical},
	{"path-release-agent", "from the root", "", together(kernelMount("cgroup", "/sys/fs/cgroup/rdma", false), withCaps(caps.SysAdmin)), Fail, Critical},
	{"path-release-agent", "version 2 has none", "", together(kernelMount("cgroup2", "/sys/fs/cgroup", false), withCaps(caps.SysAdmin)), Pass, Info},
	{"path-host-disk", "by a device of its own", "pod-privileged", nothing, Fail, Critical},
	{"path-kernel-module", "the kernel loads them", "", together(withCaps(caps.SysModule), modules, lockdown(inspect.LockdownNone)), Fail, Critical},
	{"path-kernel-module", "not known whether it is locked down", "", together(withCaps(caps.SysModule), modules), Unknown, Critical},
	{"path-host-process", "without the capability", "", hosts(nsdiff.PID), Pass, Info},
	{"path-neighbor", "a privileged one, with CAP_SYS_PTRACE", "pod-shared-pid", together(besides(privilegedLike), withCaps(caps.SysPtrace)), Fail, Critical},
	{"path-neighbor", "a privileged one, which has more", "pod-shared-pid", besides(privilegedLike), Pass, Info},
	{"path-neighbor", "one with the runtime's socket and no more", "pod-shared-pid", besides(reached), Fail, Critical},
	{"path-neighbor", "one with a folder of the node's", "pod-shared-pid", besides(hostFolder("/etc", false)), Fail, Critical},
	{"path-neighbor", "the same as another user", "pod-shared-pid", together(besides(hostFolder("/etc", false)), unprivileged), Pass, Info},
	{"path-neighbor", "a harmless one", "pod-shared-pid", nothing, Pass, Info},
	{"path-neighbor", "one that is not known", "pod-shared-pid", func(s *inspect.Snapshot, r *inspect.Report) {
		s.Containers = []inspect.Report{*r}
	}, Unknown, Critical},
	{"path-neighbor", "one whose processes are not shared", "pod-two-containers", together(besides(privilegedLike), withCaps(caps.SysPtrace)), Pass, Info},
	{"path-file-handle", "filtered", "", together(withCaps(caps.DACReadSearch), filteredLike("pod-hardened")), Pass, Info},
	{"path-kernel-memory", "by /dev/mem", "", together(withCaps(caps.SysRawio), withDevice("c", "/dev/mem", 1, 1), lockdown(inspect.LockdownNone)), Fail, Critical},
	{"path-kernel-memory", "no device", "", together(withCaps(caps.SysRawio), lockdown(inspect.LockdownNone)), Pass, Info},
	{"path-kernel-programs", "both", "", together(withCaps(caps.BPF, caps.Perfmon), lockdown(inspect.LockdownNone)), Fail, Critical},
	{"path-kernel-programs", "one", "", together(withCaps(caps.BPF), lockdown(inspect.LockdownNone)), Pass, Info},
	{"path-mount-propagation", "shared", "", together(withCaps(caps.SysAdmin), func(s *inspect.Snapshot, r *inspect.Report) {
		m := inspect.ContainerMount{Kind: inspect.MountHost}
		m.Point, m.Root, m.Type, m.Shared = "/mnt", "/srv", "ext4", 7
		withMount(m, "/srv")(s, r)
	}), Fail, Critical},

	{"socket-open", "to everyone", "", open(inspect.SocketOpen, inspect.Who{Everyone: true}), Fail, Critical},
	{"socket-open", "to some", "", open(inspect.SocketOpen, inspect.Who{Users: []inspect.Account{{ID: 7}}}), Fail, High},
	{"socket-open", "not known", "", open(inspect.SocketUnknown, inspect.Who{}), Unknown, Critical},
	{"runtime-tcp", "Docker's", "", tcp(listener("0.0.0.0:2375", false)), Fail, Critical},
	{"runtime-tcp", "Docker's on loopback", "", tcp(listener("127.0.0.1:2375", false)), Fail, High},
	{"runtime-tcp", "Docker's on loopback, as IPv6 writes it", "", tcp(listener("[::ffff:127.0.0.1]:2375", false)), Fail, High},
	{"runtime-tcp", "the kubelet's for reading", "", tcp(listener("[::]:10255", false)), Fail, Medium},
	{"runtime-tcp", "those that ask who it is", "", tcp(listener("[::]:10250", false), listener("0.0.0.0:2376", false)), Pass, Info},
	{"runtime-tcp", "the runtime's", "", tcp(listener("0.0.0.0:4711", true)), Fail, High},
	{"runtime-tcp", "the runtime's on loopback", "", tcp(listener("127.0.0.1:4711", true)), Pass, Info},
	{"runtime-tcp", "not known", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.TCP = inspect.UnknownFact[[]inspect.TCPListener](errRead)
	}, Unknown, Critical},
	{"runtime-folder-open", "the root, entered", "", folder("/var/lib/containerd", 0o711, 0), Fail, Low},
	{"runtime-folder-open", "the root", "", folder("/var/lib/containerd", 0o700, 0), Pass, Info},
	{"runtime-folder-open", "the state, entered", "", folder("/run/containerd", 0o711, 0), Pass, Info},
	{"runtime-folder-open", "the state, listed", "", folder("/run/containerd", 0o755, 0), Fail, Low},
	{"runtime-folder-open", "the CRI's, entered", "", folder("/run/containerd/io.containerd.grpc.v1.cri", 0o711, 0), Fail, Low},
	{"runtime-folder-open", "somebody else's", "", folder("/run/containerd", 0o711, 7), Fail, Low},
	{"runtime-folder-open", "none", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.Folders = inspect.KnownFact([]inspect.RuntimeFolder{}, "")
	}, NotApplicable, Info},
	{"runtime-folder-open", "not known", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.Folders = inspect.UnknownFact[[]inspect.RuntimeFolder](errRead)
	}, Unknown, Low},
	{"unprivileged-bpf", "allowed", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.Sysctls.UnprivilegedBPFDisabled = inspect.KnownFact(0, "")
	}, Fail, Low},
	{"kernel-addresses", "told", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Sysctls.DmesgRestrict = inspect.KnownFact(0, "") }, Fail, Low},
	{"no-lsm", "none", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.LSMs = inspect.KnownFact([]string{"capability", "yama"}, "")
	}, Fail, Low},
	{"no-lsm", "one", "", func(s *inspect.Snapshot, _ *inspect.Report) {
		s.Node.LSMs = inspect.KnownFact([]string{"capability", "apparmor"}, "")
	}, Pass, Info},
	{"containerd-version", "not a number", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Runtime.Version = "head" }, Unknown, High},
	{"containerd-version", "older", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Runtime.Version = "v1.7.28" }, Fail, High},
	{"containerd-version", "another runtime", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Runtime.Name = "cri-o" }, NotApplicable, Info},
	{"containerd-version", "none", "", func(s *inspect.Snapshot, _ *inspect.Report) { s.Node.Runtime = nil }, NotApplicable, Info},
}

func judged(t *testing.T, name string, c change, id string) Result {
	t.Helper()
	if name == "" {
		name = "pod-default-caps"
	}
	s := loadPods(t, "2.4", name, "pod-hardened")
	r := pod(t, &s, name)
	c(&s, r)
	first := *r
	s.Containers = append([]inspect.Report{first}, slices.DeleteFunc(s.Containers, func(other inspect.Report) bool {
		return other.Pod.Name != name || other.ID == first.ID
	})...)
	for _, subject := range Judge(s, Options{}).Subjects {
		for _, result := range subject.Results {
			if result.Rule == id {
				return result
			}
		}
	}
	t.Fatalf("no rule %s", id)
	return Result{}
}

func TestRules(t *testing.T) {
	for _, tc := range cases {
		t.Run(tc.rule+"/"+tc.name, func(t *testing.T) {
			got := judged(t, tc.pod, tc.change, tc.rule)
			if got.Verdict != tc.verdict || (got.Verdict == Fail || got.Verdict == Unknown) && got.Severity != tc.severity {
				t.Errorf("%s %s, want %s %s: %+v", got.Verdict, got.Severity, tc.verdict, tc.severity, got)
			}
		})
	}
}

// TestEveryRuleIsTried lists the rules that lack a subject which fails them, one
// that passes, or one of which it is unknown.
func TestEveryRuleIsTried(t *testing.T) {
	seen := map[string]bool{}
	note := func(s inspect.Snapshot) {
		for _, subject := range Judge(s, Options{}).Subjects {
			for _, r := range subject.Results {
				seen[r.Rule+" "+r.Verdict.String()] = true
			}
		}
	}
	for _, version := range versions {
		s := load(t, version)
		note(s)
		whole := parse(t, s)
		for _, f := range whole.facts {
			f.erase()
		}
		note(as[inspect.Snapshot](t, whole))
	}
	for _, tc := range cases {
		seen[tc.rule+" "+tc.verdict.String()] = true
	}
	for _, r := range Rules() {
		for _, v := range []Verdict{Fail, Pass, Unknown} {
			if name := r.ID + " " + v.String(); !seen[name] {
				t.Errorf("%s: not tried", name)
			}
		}
	}
}

func TestRulesAreWhole(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	forms := map[Standard]*regexp.Regexp{
		CISDocker: regexp.MustCompile(`^[345]\.[0-9]+$`), CISKubernetes: regexp.MustCompile(`^(4\.2|5\.[26])\.[0-9]+$`),
		NSA: regexp.MustCompile(`^C-0[0-9]{3}$`), ATTACK: regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`),
		CVE: regexp.MustCompile(`^CVE-20[0-9]{2}-[0-9]{4,}$`), Manual: regexp.MustCompile(`^[a-z_]+\([2-8]\)$`),
		PSSBaseline: regexp.MustCompile(`^[a-zA-Z_]+$`), PSSRestricted: regexp.MustCompile(`^[a-zA-Z_]+$`),
	}
	list := Rules()
	ids := map[string]bool{}
	for _, r := range list {
		if ids[r.ID] || !slug.MatchString(r.ID) {
			t.Errorf("id %q", r.ID)
		}
		ids[r.ID] = true
		if r.Title == "" || r.Remedy == "" || !strings.HasSuffix(r.Meaning, ".") || len(r.References) == 0 || (r.judge == nil) == (r.judgeNode == nil) {
			t.Errorf("%s is not whole", r.ID)
		}
		if r.Path != strings.HasPrefix(r.ID, "path-") || r.Node != (r.judgeNode != nil) {
			t.Errorf("%s: path %v, node %v", r.ID, r.Path, r.Node)
		}
		if !slices.Contains(Areas(), r.Area) || (r.Area == "attack paths") != r.Path || (r.Area == "node") != r.Node {
			t.Errorf("%s: area %q", r.ID, r.Area)
		}
		for _, ref := range r.References {
			if form := forms[ref.Standard]; form == nil || !form.MatchString(ref.ID) {
				t.Errorf("%s: reference %s", r.ID, ref)
			}
		}
		if found, ok := Lookup(r.ID); !ok || found.Title != r.Title {
			t.Errorf("%s is not found", r.ID)
		}
	}
	for _, r := range list {
		for _, covered := range r.Covers {
			if !ids[covered] || covered == r.ID {
				t.Errorf("%s covers %s", r.ID, covered)
			}
		}
	}
	if _, ok := Lookup("nothing"); ok {
		t.Error("found nothing")
	}
}
