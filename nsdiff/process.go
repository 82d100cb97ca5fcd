package nsdiff

import (
	"encoding/json"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// Reader reads namespaces from a proc file system.
type Reader struct {
	// Proc is where the proc file system is mounted; empty means /proc.
	Proc string
}

// Process is all that is known of the namespaces of one process.
//
// In JSON, the keys are namespaces, a [Set]; idMaps, with a state, and a value, a reason or a cause; and lineage.
type Process struct {
	Namespaces Set
	Lineage    Lineage
	idMaps     fact[IDMaps]
}

// IDMaps returns the id maps of the process's user namespace. The error wraps [ErrAbsent] where the kernel has no user
// namespaces; any other error means unknown.
func (p Process) IDMaps() (IDMaps, error) { return p.idMaps.get() }

// Namespaces returns the namespaces of a process. It is [Read] for a pid, and costs a small part of [Reader.Process].
//
// The error wraps [ErrNoProcess] when the process is gone, and [io/fs.ErrPermission] when it is hidden, see hidepid in
// proc(5).
func (r Reader) Namespaces(pid int) (Set, error) {
	p, err := procfs.FS{Proc: r.Proc}.Open(pid)
	if err != nil {
		return Set{}, err
	}
	defer p.Close() //nolint:errcheck // opened for reading: nothing can be lost
	return Read(p)
}

// Process returns all that is known of the namespaces of a process, of the same process even when pids are reused. It is
// [Read], [ReadIDMaps] and [ReadLineage] for a pid. The errors are those of [Reader.Namespaces].
func (r Reader) Process(pid int) (Process, error) {
	folder, err := procfs.FS{Proc: r.Proc}.Open(pid)
	if err != nil {
		return Process{}, err
	}
	defer folder.Close() //nolint:errcheck // opened for reading: nothing can be lost
	var p Process
	if p.Namespaces, err = Read(folder); err != nil {
		return Process{}, err
	}
	p.idMaps = factOf(ReadIDMaps(folder))
	// The lineage is last: its error says also when the process ended since.
	if p.Lineage, err = ReadLineage(folder, p.Namespaces); err != nil {
		return Process{}, err
	}
	return p, nil
}

type processJSON struct {
	Namespaces Set          `json:"namespaces"`
	Lineage    Lineage      `json:"lineage"`
	IDMaps     fact[IDMaps] `json:"idMaps"`
}

// MarshalJSON returns the form that the type describes.
func (p Process) MarshalJSON() ([]byte, error) {
	return json.Marshal(processJSON{p.Namespaces, p.Lineage, p.idMaps})
}

// UnmarshalJSON reads the form that the type describes. What is missing is unknown.
func (p *Process) UnmarshalJSON(data []byte) error {
	var form processJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	*p = Process{Namespaces: form.Namespaces, Lineage: form.Lineage, idMaps: form.IDMaps}
	return nil
}
