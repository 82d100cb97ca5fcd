package procfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// MemoryMounts returns the numbers of the kernel's own mounts for memory files,
// which are in no mount namespace: those that files of memfd_create(2) are on.
// Anybody may give a file a name like theirs, but not put it on these mounts.
// It makes empty memory files to see where they are. Available from Linux 3.17.
func (f FS) MemoryMounts() (map[int]bool, error) {
	self, err := f.OpenSelf()
	if err != nil {
		return nil, err
	}
	defer self.Close() //nolint:errcheck // opened for reading: nothing can be lost
	mounts := map[int]bool{}
	var errs []error
	for _, flags := range []int{0, unix.MFD_HUGETLB, unix.MFD_HUGETLB | unix.MFD_HUGE_2MB, unix.MFD_HUGETLB | unix.MFD_HUGE_1GB} {
		id, err := self.memoryMount(flags)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		mounts[id] = true
	}
	if len(mounts) == 0 {
		return nil, errors.Join(errs...)
	}
	return mounts, nil // a machine need not have huge pages of each size
}

func (p *Process) memoryMount(flags int) (int, error) {
	fd, err := unix.MemfdCreate("mount", flags|unix.MFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is in it
	return p.mountOf(fd)
}
