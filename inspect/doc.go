// Package inspect tells what isolation the containers of a node have: what was
// requested through the CRI, what the runtime declared in the OCI runtime
// specification, what the kernel has in force for the first process, and where
// these differ.
//
// [Open] connects to the container runtime, [Inspector.Containers] returns a
// [Report] for each container, [Inspector.Snapshot] one of the whole node.
// Results are plain data with a documented JSON form. A fact is known, absent or
// unknown with its cause, see [Fact]: what could not be read is never a zero.
//
// It only reads: it runs nothing in a container, enters no namespace, signals
// and traces nothing. It judges nothing either: see package inspect/audit.
//
// Facts of processes that may belong to another user's container need root, or
// CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; without, they are unknown and the
// rest is still told. To read one process without a runtime use package caps,
// which needs no gRPC.
package inspect
