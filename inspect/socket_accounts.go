package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Account is a user or a group: its number, and its name where /etc/passwd or
// /etc/group of the node has one.
type Account struct {
	// ID is the number of a user or group, Name what the node's files call it.
	ID   uint32 `json:"id"`
	Name string `json:"name,omitempty"`
}

// String returns the name, or the number where there is none.
func (a Account) String() string {
	if a.Name != "" {
		return a.Name
	}
	return strconv.FormatUint(uint64(a.ID), 10)
}

// accounts are the users and groups of a node's own files. Those of LDAP and
// other sources of nsswitch.conf(5) cannot be seen there.
type accounts struct {
	users  []user
	groups []group
}

// user is a line of passwd(5). Its groups are the one of that line and those of
// the lines of group(5) that name it.
type user struct {
	Account
	gids []uint32
}

// group is a line of group(5).
type group struct {
	Account
	members []string
}

// readAccounts reads /etc/passwd and /etc/group of the node.
func readAccounts(hostRoot string) (accounts, error) {
	var a accounts
	var err error
	if a.users, err = readLines(hostRoot, "/etc/passwd", parseUserLine); err != nil {
		return accounts{}, err
	}
	if a.groups, err = readLines(hostRoot, "/etc/group", parseGroupLine); err != nil {
		return accounts{}, err
	}
	a.join()
	return a, nil
}

func readLines[T any](hostRoot, name string, parse func(string) (T, error)) ([]T, error) {
	path := filepath.Join(hostRoot, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parseLines(string(data), parse)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// parseLines leaves out what getpwent(3) does: empty lines, comments, and the
// references to NIS, which begin with + or -.
func parseLines[T any](text string, parse func(string) (T, error)) ([]T, error) {
	var list []T
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) == "" || strings.ContainsRune("#+-", rune(line[0])) {
			continue
		}
		value, err := parse(line)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// parseUserLine reads name:password:uid:gid:comment:home:shell.
//
// root's group does not count for operator, halt and their like, which Red Hat's
// systems put there: nobody logs in as them, and no service runs as them.
func parseUserLine(line string) (user, error) {
	f := strings.Split(line, ":")
	if len(f) != 7 || f[0] == "" {
		return user{}, fmt.Errorf("line %q: want a name and six more fields", line)
	}
	uid, uidErr := parseID(f[2])
	gid, gidErr := parseID(f[3])
	if uidErr != nil || gidErr != nil {
		return user{}, fmt.Errorf("line %q: want the numbers of a user and a group", line)
	}
	u := user{Account: Account{ID: uid, Name: f[0]}}
	if gid != 0 || !u.isIdle(f[6]) {
		u.gids = []uint32{gid}
	}
	return u, nil
}

// isIdle takes the accounts of the system that exist for their names alone. Of
// another one without a login shell a service may run, with its groups.
func (u user) isIdle(shell string) bool {
	const firstOfServices = 100 // below are those that a system comes with
	return u.ID < firstOfServices && slices.Contains([]string{"sync", "shutdown", "halt", "operator"}, u.Name) &&
		slices.Contains([]string{"nologin", "false", "true", "sync", "halt", "shutdown"}, filepath.Base(shell))
}

// parseGroupLine reads name:password:gid:members.
func parseGroupLine(line string) (group, error) {
	f := strings.Split(line, ":")
	if len(f) != 4 || f[0] == "" {
		return group{}, fmt.Errorf("line %q: want a name and three more fields", line)
	}
	gid, err := parseID(f[2])
	if err != nil {
		return group{}, fmt.Errorf("line %q: want the number of a group", line)
	}
	g := group{Account: Account{ID: gid, Name: f[0]}}
	for name := range strings.SplitSeq(f[3], ",") {
		if name != "" {
			g.members = append(g.members, name)
		}
	}
	return g, nil
}

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err
}

// join gives each user the groups that name it.
func (a *accounts) join() {
	for i := range a.users {
		u := &a.users[i]
		for _, g := range a.groups {
			if slices.Contains(g.members, u.Name) && !slices.Contains(u.gids, g.ID) {
				u.gids = append(u.gids, g.ID)
			}
		}
	}
}

func (a accounts) user(uid uint32) Account {
	for _, u := range a.users {
		if u.ID == uid {
			return u.Account
		}
	}
	return Account{ID: uid}
}

func (a accounts) group(gid uint32) Account {
	for _, g := range a.groups {
		if g.ID == gid {
			return g.Account
		}
	}
	return Account{ID: gid}
}
