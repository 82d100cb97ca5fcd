package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// Set is what is known of the namespaces of one process. In the zero Set, all are unknown.
//
// In JSON, it is an object with the names of the kinds as keys. Each value is {"state":"known","value":{"kind":…,"inode":…}},
// {"state":"absent","reason":…} or {"state":"unknown","cause":…}. Of an error that is read back only the text is left, and
// whether it wraps [ErrAbsent].
type Set struct {
	links [kindCount]fact[Namespace]
}

// Namespace returns the namespace of a kind. The error wraps [ErrAbsent] where this kernel has none of the kind, or where
// there is none yet (see [PIDForChildren] in namespaces(7)). Any other error means unknown and says why, with the path and
// the errno: it wraps [fs.ErrPermission] where the link may not be read.
func (s Set) Namespace(k Kind) (Namespace, error) {
	if !k.valid() {
		return Namespace{}, fmt.Errorf("%w: %s is no kind of namespace", ErrSyntax, k)
	}
	return s.links[k-1].get()
}

func (s *Set) put(k Kind, ns Namespace, err error) { s.links[k-1] = factOf(ns, err) }

// unknown returns a Set that knows nothing, for one cause.
func unknown(cause error) Set {
	var s Set
	for _, k := range Kinds() {
		s.put(k, Namespace{}, cause)
	}
	return s
}

// MarshalJSON returns s as an object with a key for each kind.
func (s Set) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 1024)
	for i := range s.links { // in the order of the kinds' names
		b = append(append(append(b, `,"`...), Kind(i+1).String()...), `":`...)
		var err error
		if b, err = s.links[i].appendJSON(b); err != nil {
			return nil, err
		}
	}
	b[0] = '{'
	return append(b, '}'), nil
}

// UnmarshalJSON sets s from an object as [Set.MarshalJSON] makes it. A kind that is missing is unknown. The error wraps
// [ErrSyntax] when a key is no kind or a value no fact.
func (s *Set) UnmarshalJSON(data []byte) error {
	var form map[string]fact[Namespace]
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	var read Set
	for _, name := range slices.Sorted(maps.Keys(form)) {
		k, err := ParseKind(name)
		if err != nil {
			return err
		}
		read.links[k-1] = form[name]
	}
	*s = read
	return nil
}

// Folder is the opened folder of a process, /proc/PID, under which all of its facts are read. Names are relative to it. An
// implementation keeps to one process even when its pid is given to another, and returns errors that wrap [ErrNoProcess] once
// the process is gone, and [fs.PathError] otherwise.
type Folder interface {
	ReadFile(name string) ([]byte, error)
	Readlink(name string) (string, error)
	// Path is for messages.
	Path(name string) string
	// OpenFile opens for reading and follows links.
	OpenFile(name string) (*os.File, error)
}

// Read returns the namespaces of a process, from the links in /proc/PID/ns, see proc_pid_ns(5). They may be read with
// PTRACE_MODE_READ_FSCREDS, see ptrace(2); a link that may not be read is unknown in the Set and no error.
//
// The error wraps [ErrNoProcess] when the process is gone or has ended: a zombie has left its namespaces.
func Read(f Folder) (Set, error) {
	var s Set
	for _, k := range Kinds() {
		ns, err := readLink(f, k)
		if errors.Is(err, ErrNoProcess) {
			return Set{}, err
		}
		s.put(k, ns, err)
	}
	// A process that ends leaves all namespaces but user and pid at once. The mnt link is in every kernel: as long as it
	// leads somewhere, what was read before it was the living process's.
	if err := ended(f); err != nil {
		return Set{}, err
	}
	return s, nil
}

func readLink(f Folder, k Kind) (Namespace, error) {
	name := "ns/" + k.String()
	link, err := f.Readlink(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Namespace{}, absent(k)
	}
	if err != nil {
		return Namespace{}, err
	}
	ns, err := Parse(link)
	if err != nil {
		return Namespace{}, fmt.Errorf("%s: %w", name, err)
	}
	if ns.Kind != k.Type() {
		return Namespace{}, fmt.Errorf("%w: %s leads to %s", ErrSyntax, name, ns)
	}
	return ns, nil
}

// absent says why a living process has no link of a kind.
func absent(k Kind) error {
	if k == PIDForChildren {
		return absentError("a pid namespace for children that has no process yet, or a kernel older than 4.12")
	}
	return absentError("this kernel has no " + k.Type().String() + " namespaces")
}

// ended returns an error that wraps ErrNoProcess when the process has left its namespaces.
func ended(f Folder) error {
	_, err := f.Readlink("ns/mnt")
	if errors.Is(err, ErrNoProcess) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: it has ended: %w", err.Error(), ErrNoProcess)
	}
	return nil
}
