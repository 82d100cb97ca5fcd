package nsdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lineage says to whom the namespaces of a process belong and from which they come, as ioctl_nsfs(2) tells. Capabilities count
// for a namespace when they are held in the user namespace that owns it, or in a parent of that one.
//
// In JSON, the keys are owners, ownerUID, pidParents and userParents. The first is like a [Set]; the second has a state, and
// a value, a reason or a cause; the others have the namespaces, null when none is known, with a reason or a cause where there
// may be more.
type Lineage struct {
	owners      Set
	ownerUID    fact[uint32]
	pidParents  parents
	userParents parents
}

// parents are the parents of a namespace, the nearest first, and why there may be more than these.
type parents struct {
	known []Namespace
	err   error
}

// Owner returns the user namespace that owns the process's namespace of a kind; for User it is the parent. Available from
// Linux 4.9: on older kernels the error wraps [ErrAbsent], and so it does for the owner of the initial user namespace, which
// has none. Any other error means unknown: [io/fs.ErrPermission] says that the owner is none that we may know, as it is neither
// our own user namespace nor below it.
func (l Lineage) Owner(k Kind) (Namespace, error) { return l.owners.Namespace(k) }

// OwnerUID returns the user, numbered as in our own user namespace, who made the process's user namespace. In its parent, that
// user has all capabilities over it. A user whom our user namespace does not have is the overflow user, 65534. Available from
// Linux 4.11. The errors are those of [Lineage.Owner].
func (l Lineage) OwnerUID() (uint32, error) { return l.ownerUID.get() }

// Parents returns the namespaces above the process's namespace of a kind, the nearest first, up to the initial one. Only pid
// and user namespaces have parents; for the other kinds the error wraps [ErrAbsent]. Available from Linux 4.9. An error can
// come with the parents that could be seen; otherwise it is as of [Lineage.Owner].
func (l Lineage) Parents(k Kind) ([]Namespace, error) {
	switch k {
	case PID:
		return l.pidParents.get()
	case User:
		return l.userParents.get()
	default:
		return nil, absentError(k.String() + " namespaces have no parents")
	}
}

func (p parents) get() ([]Namespace, error) {
	if p.known == nil && p.err == nil {
		return nil, errNotRead
	}
	return p.known, p.err
}

// ReadLineage returns the lineage of the namespaces in s, which [Read] returned for the same folder. It opens the links in
// /proc/PID/ns, with the same privilege as Read, and asks ioctl_nsfs(2); it enters no namespace. What cannot be found out is
// unknown in the Lineage and no error: the error wraps [ErrNoProcess] when the process is gone.
func ReadLineage(f Folder, s Set) (Lineage, error) {
	var l Lineage
	for _, k := range Kinds() {
		if err := l.read(f, s, k); errors.Is(err, ErrNoProcess) {
			return Lineage{}, err
		}
	}
	if err := ended(f); err != nil {
		return Lineage{}, err
	}
	return l, nil
}

// read fills in what there is to know of one kind. The error is the one that is also in l.
func (l *Lineage) read(f Folder, s Set, k Kind) error {
	file, ns, err := open(f, s, k)
	if err != nil {
		l.fail(k, err)
		return err
	}
	defer file.Close() //nolint:errcheck // opened for reading: nothing can be lost
	owner, err := related(file, ns, unix.NS_GET_USERNS)
	l.owners.put(k, owner, err)
	switch k {
	case PID:
		l.pidParents = readParents(file, ns)
	case User:
		l.userParents = readParents(file, ns)
		l.ownerUID = factOf(ownerUID(file))
	default: // others have an owner only
	}
	return nil
}

// fail records one error for everything of a kind.
func (l *Lineage) fail(k Kind, err error) {
	l.owners.put(k, Namespace{}, err)
	switch k {
	case PID:
		l.pidParents = parents{err: err}
	case User:
		l.userParents = parents{err: err}
		l.ownerUID = factOf(uint32(0), err)
	default: // others have an owner only
	}
}

// open opens the process's namespace of a kind and makes sure that it is the one in s.
func open(f Folder, s Set, k Kind) (*os.File, Namespace, error) {
	ns, err := s.Namespace(k)
	if err != nil {
		return nil, Namespace{}, err
	}
	file, err := f.OpenFile("ns/" + k.String())
	if err != nil {
		return nil, Namespace{}, err
	}
	opened, err := identify(file, ns.Kind)
	if err == nil && opened != ns {
		err = fmt.Errorf("%s: was %s and is now %s", file.Name(), ns, opened)
	}
	if err != nil {
		_ = file.Close()
		return nil, Namespace{}, err
	}
	return file, ns, nil
}

// identify returns the namespace of an opened file.
func identify(file *os.File, k Kind) (Namespace, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return Namespace{}, &os.PathError{Op: "fstatfs", Path: file.Name(), Err: err}
	}
	if fs.Type != unix.NSFS_MAGIC {
		return Namespace{}, fmt.Errorf("%s is no namespace", file.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Namespace{}, &os.PathError{Op: "fstat", Path: file.Name(), Err: err}
	}
	return Namespace{Kind: k, Inode: st.Ino}, nil
}

// relation opens what the ioctl says is related to an opened namespace.
func relation(file *os.File, ns Namespace, ioctl uint) (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(file.Fd()), ioctl)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), file.Name()), nil
	case errors.Is(err, unix.ENOTTY):
		return nil, absentError("this kernel does not tell: it is older than 4.9")
	case errors.Is(err, unix.EPERM) && ns == Initial(ns.Kind) && (ioctl == unix.NS_GET_PARENT || ns.Kind == User):
		return nil, absentError(ns.String() + " is the initial one")
	}
	return nil, &os.PathError{Op: "ioctl", Path: file.Name(), Err: err}
}

// related returns the user namespace that the ioctl says is related to an opened namespace.
func related(file *os.File, ns Namespace, ioctl uint) (Namespace, error) {
	other, err := relation(file, ns, ioctl)
	if err != nil {
		return Namespace{}, err
	}
	defer other.Close() //nolint:errcheck // opened for reading: nothing can be lost
	return identify(other, User)
}

// readParents follows the parents of an opened pid or user namespace. The kernel nests them at most 32 deep.
func readParents(file *os.File, ns Namespace) parents {
	parent, err := relation(file, ns, unix.NS_GET_PARENT)
	if ns == Initial(ns.Kind) && errors.Is(err, ErrAbsent) {
		return parents{known: []Namespace{}}
	}
	if err != nil {
		return parents{err: err}
	}
	defer parent.Close() //nolint:errcheck // opened for reading: nothing can be lost
	ns, err = identify(parent, ns.Kind)
	if err != nil {
		return parents{err: err}
	}
	above := readParents(parent, ns)
	return parents{known: append([]Namespace{ns}, above.known...), err: above.err}
}

func ownerUID(file *os.File) (uint32, error) {
	uid, err := unix.IoctlGetUint32(int(file.Fd()), unix.NS_GET_OWNER_UID)
	if errors.Is(err, unix.ENOTTY) {
		return 0, absentError("this kernel does not tell: it is older than 4.11")
	}
	if err != nil {
		return 0, &os.PathError{Op: "ioctl", Path: file.Name(), Err: err}
	}
	return uid, nil
}

type parentsJSON struct {
	Namespaces []Namespace `json:"namespaces"`
	// Reason says why there are no more, Cause why more are unknown.
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

func (p parents) MarshalJSON() ([]byte, error) {
	known, err := p.get()
	form := parentsJSON{Namespaces: known}
	switch {
	case errors.Is(err, ErrAbsent):
		form.Reason = err.Error()
	case err != nil:
		form.Cause = err.Error()
	}
	return json.Marshal(form)
}

func (p *parents) UnmarshalJSON(data []byte) error {
	var form parentsJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	*p = parents{known: form.Namespaces}
	switch {
	case form.Cause != "":
		p.err = errors.New(form.Cause)
	case form.Reason != "":
		p.err = absentError(form.Reason)
	}
	return nil
}

type lineageJSON struct {
	Owners      Set          `json:"owners"`
	OwnerUID    fact[uint32] `json:"ownerUID"`
	PIDParents  parents      `json:"pidParents"`
	UserParents parents      `json:"userParents"`
}

// MarshalJSON returns the form that the type describes.
func (l Lineage) MarshalJSON() ([]byte, error) {
	return json.Marshal(lineageJSON{l.owners, l.ownerUID, l.pidParents, l.userParents})
}

// UnmarshalJSON reads the form that the type describes. What is missing is unknown.
func (l *Lineage) UnmarshalJSON(data []byte) error {
	var form lineageJSON
	if err := json.Unmarshal(data, &form); err != nil {
		return err
	}
	*l = Lineage{owners: form.Owners, ownerUID: form.OwnerUID, pidParents: form.PIDParents, userParents: form.UserParents}
	return nil
}
