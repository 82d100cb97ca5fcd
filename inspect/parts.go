package inspect

import "errors"

// Parts are parts of a report, as a set of bits. The zero Parts are all.
type Parts uint

// The parts of a report. What is left out is unknown in it, not absent.
const (
	// PartStatus is what the files status, attr, uid_map and gid_map of the
	// first process tell. It is always read.
	PartStatus Parts = 1 << iota
	// PartMounts is what mountinfo tells, of which the kernel takes longer to
	// make a list than for all of PartStatus.
	PartMounts
	// PartNamespaces is Report.Namespaces. To tell who shares a namespace the
	// first process of every container of the node is looked at.
	PartNamespaces
	// PartCgroup is Report.Cgroup.
	PartCgroup
)

var errLeftOut = errors.New("not read: Options.Parts leaves it out")

func (p Parts) has(part Parts) bool { return p == 0 || p&part != 0 }
