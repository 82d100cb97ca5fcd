package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// NotFoundError says that no container has a name. It unwraps to [ErrNotFound].
type NotFoundError struct {
	Ref string
	// Near are names of containers like it, the nearest first.
	Near []string
}

// Error is one line, with the near names.
func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("container %q: not found", e.Ref)
	if len(e.Near) > 0 {
		text += ": did you mean " + strings.Join(e.Near, ", ") + "?"
	}
	return text
}

// Unwrap returns [ErrNotFound].
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// AmbiguousError says that several containers have a name. It unwraps to
// [ErrAmbiguous].
type AmbiguousError struct {
	Ref        string
	Candidates []Container
}

// Error is one line, with the first candidates.
func (e *AmbiguousError) Error() string {
	const most = 5
	var names []string
	for _, c := range e.Candidates[:min(most, len(e.Candidates))] {
		names = append(names, fmt.Sprintf("%.13s (%s)", c.ID, c.FullName()))
	}
	if len(e.Candidates) > most {
		names = append(names, fmt.Sprintf("%d more", len(e.Candidates)-most))
	}
	return fmt.Sprintf("container %q: ambiguous: %s", e.Ref, strings.Join(names, ", "))
}

// Unwrap returns [ErrAmbiguous].
func (e *AmbiguousError) Unwrap() error { return ErrAmbiguous }

// FullName returns namespace/pod/name, or the name of a container without a pod
// or with one whose name is not known.
func (c Container) FullName() string {
	if c.Pod == nil || c.Pod.Name == "" {
		return c.Name
	}
	if c.Kind == KindSandbox {
		return c.Pod.Namespace + "/" + c.Pod.Name
	}
	return c.Pod.Namespace + "/" + c.Pod.Name + "/" + c.Name
}

// hasName tells whether ref is a name of the container: its own, with its pod's,
// or its pod's alone.
func (c Container) hasName(ref string) bool {
	if c.Kind == KindSandbox {
		return false
	}
	if c.Name == ref {
		return true
	}
	return c.Pod != nil && c.Pod.Name != "" && slices.Contains([]string{
		c.Pod.Name + "/" + c.Name,
		c.Pod.Namespace + "/" + c.Pod.Name + "/" + c.Name,
		c.Pod.Name,
		c.Pod.Namespace + "/" + c.Pod.Name,
	}, ref)
}

func (c Container) ended() bool {
	state, ok := c.State.Value()
	return ok && state == StateExited
}

// pick returns the places in list of the containers that refs name, each once, or
// without refs of those that have not ended, without sandboxes. The error joins
// what could not be resolved.
func pick(list []Container, refs []string) ([]int, error) {
	var places []int
	if len(refs) == 0 {
		for n, c := range list {
			if c.Kind == KindContainer && !c.ended() {
				places = append(places, n)
			}
		}
		return places, nil
	}
	var errs []error
	for _, ref := range refs {
		n, err := resolve(list, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.Contains(places, n) {
			places = append(places, n)
		}
	}
	return places, errors.Join(errs...)
}

// resolve returns the place in list of what ref names: by id, else by name, else
// by prefix of an id.
func resolve(list []Container, ref string) (int, error) {
	for _, matches := range []func(Container) bool{
		func(c Container) bool { return c.ID == ref },
		func(c Container) bool { return c.hasName(ref) },
		func(c Container) bool { return ref != "" && strings.HasPrefix(c.ID, ref) },
	} {
		candidates := filter(list, matches)
		if len(candidates) > 1 {
			candidates = preferLive(list, candidates)
		}
		switch len(candidates) {
		case 0:
			continue
		case 1:
			return candidates[0], nil
		}
		return 0, ambiguous(ref, list, candidates)
	}
	return 0, &NotFoundError{Ref: ref, Near: near(list, ref)}
}

func filter(list []Container, matches func(Container) bool) []int {
	var places []int
	for n, c := range list {
		if matches(c) {
			places = append(places, n)
		}
	}
	return places
}

// preferLive drops the ended ones: a container that was restarted leaves its
// former selves behind under the same name.
func preferLive(list []Container, candidates []int) []int {
	var live []int
	for _, n := range candidates {
		if !list[n].ended() {
			live = append(live, n)
		}
	}
	if len(live) == 0 {
		return candidates
	}
	return live
}

func ambiguous(ref string, list []Container, candidates []int) error {
	e := &AmbiguousError{Ref: ref}
	for _, n := range candidates {
		e.Candidates = append(e.Candidates, list[n])
	}
	return e
}

// near returns up to three names like ref: those that hold it, or are at most a
// third of its length of edits away.
func near(list []Container, ref string) []string {
	type scored struct {
		name string
		away int
	}
	var all []scored
	seen := map[string]bool{}
	for _, c := range list {
		if c.Kind == KindSandbox {
			continue
		}
		for _, name := range shortNames(c) {
			away := distance(ref, name)
			if seen[name] || away > max(1, len(ref)/3) && (len(ref) < 3 || !strings.Contains(name, ref)) {
				continue
			}
			seen[name] = true
			all = append(all, scored{name, away})
		}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return a.away - b.away })
	var names []string
	for _, s := range all[:min(3, len(all))] {
		names = append(names, s.name)
	}
	return names
}

func shortNames(c Container) []string {
	if c.Pod == nil || c.Pod.Name == "" {
		return []string{c.Name}
	}
	return []string{c.Pod.Name, c.Pod.Name + "/" + c.Name, c.Name}
}

// distance is Levenshtein's: the least number of bytes to add, drop or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
