package audit

import (
	"slices"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/nsdiff"
)

const podsNamespaces = "the namespaces of a pod's sandbox container are the pod's: its containers are judged"

func namespaceRules() []Rule {
	return []Rule{
		{
			ID: "host-pid", Title: "the container sees the node's processes", Severity: High, pause: podsNamespaces,
			Meaning: "It is in the node's pid namespace. As root it reads environments, files and roots of processes that have no more " +
				"capabilities than itself, which other containers' have, and with CAP_SYS_PTRACE those of all. Without root it is medium.",
			Remedy: "hostPID: false.",
			References: slices.Concat(baseline("hostNamespaces"), k8s("5.2.3"), docker("5.16"), nsa("C-0038"), attack("T1611"),
				man("pid_namespaces(7)")),
			judge: func(c *container) outcome {
				severity := High
				if either(c.hostRoot(), c.capability(caps.SysPtrace)).truth == no {
					severity = Medium
				}
				return found(c.namespace(nsdiff.PID), severity)
			},
		},
		{
			ID: "host-network", Title: "the container uses the node's network", Severity: High, pause: podsNamespaces,
			Meaning: "It is in the node's network namespace: it reaches what listens on 127.0.0.1 and abstract sockets there, takes ports of " +
				"the node, and network policies pass it by. With CAP_NET_ADMIN, which redirects the node's traffic, it is high.",
			Remedy: "hostNetwork: false, with a service or a hostPort where a port of the node is needed.",
			References: slices.Concat(baseline("hostNamespaces"), k8s("5.2.5"), docker("5.10"), nsa("C-0041"), attack("T1557"),
				man("network_namespaces(7)")),
			judge: func(c *container) outcome {
				severity := High
				if c.capability(caps.NetAdmin).truth == no {
					severity = Medium
				}
				return found(c.namespace(nsdiff.Net), severity)
			},
		},
		{
			ID: "host-ipc", Title: "the container shares the node's memory segments", Severity: Medium, pause: podsNamespaces,
			Meaning: "It is in the node's ipc namespace: System V shared memory, semaphores and message queues of the node's programs, and " +
				"with them the node's /dev/shm and /dev/mqueue.",
			Remedy:     "hostIPC: false.",
			References: slices.Concat(baseline("hostNamespaces"), k8s("5.2.4"), docker("5.17"), nsa("C-0038"), man("ipc_namespaces(7)")),
			judge:      func(c *container) outcome { return found(c.namespace(nsdiff.IPC), Medium) },
		},
		{
			ID: "host-uts", Title: "the container shares the node's host name", Severity: Low, pause: podsNamespaces,
			Meaning: "It is in the node's uts namespace, and with CAP_SYS_ADMIN can change the node's host name. In a pod it comes with the " +
				"node's network.",
			Remedy:     "Leave out --uts=host.",
			References: slices.Concat(docker("5.21"), man("uts_namespaces(7)")),
			judge: func(c *container) outcome {
				if c.namespace(nsdiff.Net).truth == yes {
					return notHere("it comes with the node's network: see host-network")
				}
				return found(c.namespace(nsdiff.UTS), Low)
			},
		},
	}
}
