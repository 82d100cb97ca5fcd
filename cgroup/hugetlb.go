package cgroup

import (
	"slices"
	"strings"
)

// HugeTLB is what the hugetlb controller limits and counts for huge pages of one size. Amounts are bytes.
type HugeTLB struct {
	// Size is the size of a page as the kernel names it: 2MB, 1GB.
	Size string `json:"size"`
	// Max limits the pages in use. From hugetlb.SIZE.max; in v1 hugetlb.SIZE.limit_in_bytes.
	Max Fact[Limit] `json:"max"`
	// Current are the pages in use. From hugetlb.SIZE.current; in v1 hugetlb.SIZE.usage_in_bytes.
	Current Fact[Count] `json:"current"`
	// MaxEvents counts pages refused at the limit. From hugetlb.SIZE.events; in v1 hugetlb.SIZE.failcnt.
	MaxEvents Fact[Count] `json:"maxEvents"`
}

// readHugeTLB reads the values of one cgroup for every page size, which the names of its files tell.
func readHugeTLB(f *folder, unified bool) Fact[[]HugeTLB] {
	if !f.found() {
		return convert(f.fact, func(string) ([]HugeTLB, error) { return nil, nil })
	}
	names, err := f.list()
	if err != nil {
		return UnknownFact[[]HugeTLB](err)
	}
	if !slices.Contains(names, "cgroup.procs") { // a removed cgroup has an empty folder
		return missing[[]HugeTLB](f, f.path, ErrRemoved)
	}
	pages := []HugeTLB{}
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, "hugetlb.")
		size, limit := strings.CutSuffix(rest, hugeLimit(unified))
		if !ours || !limit || strings.HasSuffix(size, ".rsvd") {
			continue
		}
		pages = append(pages, readHugePages(f, unified, size))
	}
	if len(pages) == 0 {
		return AbsentFact[[]HugeTLB]("no file " + f.path + "/hugetlb.*" + hugeLimit(unified))
	}
	return KnownFact(pages, f.path)
}

func hugeLimit(unified bool) string {
	if unified {
		return ".max"
	}
	return ".limit_in_bytes"
}

func readHugePages(f *folder, unified bool, size string) HugeTLB {
	file := "hugetlb." + size
	if unified {
		return HugeTLB{
			Size:      size,
			Max:       read(f, file+".max", line(ParseLimit)),
			Current:   read(f, file+".current", line(ParseCount)),
			MaxEvents: pick(keyed(f, file+".events"), "max"),
		}
	}
	return HugeTLB{
		Size:      size,
		Max:       read(f, file+".limit_in_bytes", line(ParseLegacyLimit)),
		Current:   read(f, file+".usage_in_bytes", line(ParseCount)),
		MaxEvents: read(f, file+".failcnt", line(ParseCount)),
	}
}
