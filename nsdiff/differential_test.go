package nsdiff

import (
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/internal/procfs"
)

// lsns runs lsns(8) and returns the fields of its lines.
func lsns(t *testing.T, args ...string) ([][]string, error) {
	t.Helper()
	path, err := exec.LookPath("lsns")
	if err != nil {
		t.Skip("lsns is missing (Debian: util-linux)")
	}
	out, err := exec.Command(path, args...).Output()
	var lines [][]string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines, err
}

// TestAgainstLsns compares every process of the machine with what lsns says of it. Only a process that comes, goes or moves
// to another namespace meanwhile is left out.
func TestAgainstLsns(t *testing.T) {
	pids, err := procfs.FS{}.Pids()
	if err != nil {
		t.Fatal(err)
	}
	compared, unreadable, left := 0, 0, 0
	for _, pid := range pids {
		before, err := Reader{}.Namespaces(pid)
		if errors.Is(err, ErrNoProcess) {
			left++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := lsnsOf(t, pid, known(before) != "")
		after, err := Reader{}.Namespaces(pid)
		if err != nil || known(after) != known(before) {
			left++
			continue
		}
		var theirs []string
		for _, line := range lines {
			theirs = append(theirs, strings.Join(line, ":"))
		}
		slices.Sort(theirs)
		if want := strings.Join(theirs, " "); known(before) != want {
			t.Errorf("process %d:\n got %s\nlsns %s", pid, known(before), want)
		}
		compared++
		if len(theirs) == 0 {
			unreadable++
		}
	}
	t.Logf("%d processes compared, %d of them unreadable, %d came or went", compared, unreadable, left)
	if compared < len(pids)/2 || compared == unreadable {
		t.Errorf("only %d of %d processes compared, %d of them unreadable", compared, len(pids), unreadable)
	}
}

// lsnsOf asks lsns about one process. It looks at all of them and gives up when one of these vanishes meanwhile: where an answer
// must come, it is asked again.
func lsnsOf(t *testing.T, pid int, must bool) [][]string {
	t.Helper()
	for range 10 {
		lines, err := lsns(t, "-rno", "TYPE,NS", "-p", strconv.Itoa(pid))
		if !must || err == nil && len(lines) > 0 {
			return lines
		}
	}
	return nil
}

// known lists the namespaces of a set as lsns does: type and number, sorted; it knows no namespaces for children.
func known(s Set) string {
	var list []string
	for _, k := range Kinds() {
		if ns, err := s.Namespace(k); err == nil && k == k.Type() {
			list = append(list, k.String()+":"+strconv.FormatUint(ns.Inode, 10))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestGroupsAgainstLsns compares who is in each namespace of the machine, who owns it and what its parent is.
func TestGroupsAgainstLsns(t *testing.T) {
	pid := unshared(t, "--user", "--map-root-user", "--net", "--pid", "--fork")
	before := everyone(t)
	lines, err := lsns(t, "-rno", "TYPE,NS,NPROCS,PID,ONS,PNS")
	if err != nil {
		t.Fatal(err)
	}
	after := everyone(t)
	seen := map[Namespace]bool{}
	for _, line := range lines {
		if len(line) != 6 {
			t.Fatalf("lsns printed %q", line)
		}
		ns, err := Parse(line[0] + ":[" + line[1] + "]")
		if err != nil {
			t.Fatal(err)
		}
		seen[ns] = true
		count, err := strconv.Atoi(line[2])
		if err != nil {
			t.Fatal(err)
		}
		stayed := intersect(before[ns], after[ns])
		if count == 0 {
			continue // newer ones list namespaces that only a file or a child keeps
		}
		if count < len(stayed) {
			t.Errorf("%s: lsns sees %d processes, we saw %d before and after", ns, count, len(stayed))
		}
		first, err := strconv.Atoi(line[3])
		if err != nil {
			t.Fatal(err)
		}
		if len(stayed) > 0 && stayed[0] < first {
			t.Errorf("%s: process %d is in it, lsns has %d as the first", ns, stayed[0], first)
		}
		if !slices.Contains(stayed, first) {
			continue
		}
		p, err := Reader{}.Process(first)
		if err != nil {
			continue
		}
		owner, _ := p.Lineage.Owner(ns.Kind)
		compareInode(t, ns, "owner", line[4], owner)
		var parent Namespace
		if parents, _ := p.Lineage.Parents(ns.Kind); len(parents) > 0 {
			parent = parents[0]
		}
		compareInode(t, ns, "parent", line[5], parent)
	}
	for ns := range before {
		if len(intersect(before[ns], after[ns])) > 0 && !seen[ns] {
			t.Errorf("lsns does not list %s of the processes %v", ns, before[ns])
		}
	}
	if p := process(t, pid); !seen[namespace(t, p.Namespaces, Net)] {
		t.Errorf("lsns does not list the network of process %d", pid)
	}
}

// compareInode compares a namespace with lsns's number for it, which is 0 where it knows none.
func compareInode(t *testing.T, of Namespace, what, theirs string, ours Namespace) {
	t.Helper()
	if strconv.FormatUint(ours.Inode, 10) != theirs {
		t.Errorf("%s: %s %s, lsns has %s", of, what, ours, theirs)
	}
}

// everyone returns the processes in each namespace of the machine.
func everyone(t *testing.T) map[Namespace][]int {
	t.Helper()
	pids, err := procfs.FS{}.Pids()
	if err != nil {
		t.Fatal(err)
	}
	sets := map[int]Set{}
	for _, pid := range pids {
		if s, err := (Reader{}).Namespaces(pid); err == nil {
			sets[pid] = s
		}
	}
	all := map[Namespace][]int{}
	for _, k := range Kinds() {
		if k != k.Type() {
			continue
		}
		groups, _ := Groups(k, sets)
		for _, g := range groups {
			all[g.Namespace] = g.Members
		}
	}
	return all
}

func intersect(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(n int) bool { return !slices.Contains(b, n) })
}
