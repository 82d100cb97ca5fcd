package inspect

import (
	"errors"
	"slices"
	"testing"
)

func node(list ...Container) []Container {
	var found []Container
	for _, c := range list {
		if c.Kind == "" {
			c.Kind = KindContainer
		}
		if c.State.Known() == Unknown {
			c.State = KnownFact(StateRunning, "")
		}
		found = append(found, c)
	}
	return found
}

func TestResolve(t *testing.T) {
	pod := func(name string) *Pod { return &Pod{Name: name, Namespace: "prod"} }
	found := node(
		Container{ID: "aaaa1111", Name: "web", Pod: pod("shop-1")},
		Container{ID: "aaaa2222", Name: "web", Pod: pod("shop-2")},
		Container{ID: "bbbb1111", Name: "db", Pod: pod("shop-2")},
		Container{ID: "bbbb2222", Name: "db-old", Pod: pod("store"), State: KnownFact(StateExited, "")},
		Container{ID: "cccc1111", Name: "cache", Pod: pod("mem"), State: KnownFact(StateExited, "")},
		Container{ID: "cccc2222", Name: "cache", Pod: pod("mem")},
		Container{ID: "dddd1111", Name: "shop-1", Pod: pod("shop-1"), Kind: KindSandbox},
		Container{ID: "job", Name: "job"},
		Container{ID: "job-2", Name: "job-2"},
		Container{ID: "eeee1111", Name: "bbbb", Pod: pod("odd")},
	)
	for _, tc := range []struct {
		ref  string
		want string // id, or empty with an error
		err  error
	}{
		{"aaaa1111", "aaaa1111", nil},
		{"aaaa1", "aaaa1111", nil},
		{"aaaa", "", ErrAmbiguous},
		{"web", "", ErrAmbiguous},
		{"shop-1/web", "aaaa1111", nil},
		{"prod/shop-2/web", "aaaa2222", nil},
		{"shop-1", "aaaa1111", nil},      // the pod's only container; its sandbox has an id only
		{"prod/shop-1", "aaaa1111", nil}, //
		{"shop-2", "", ErrAmbiguous},     // two containers
		{"store", "bbbb2222", nil},       // ended, and the only one
		{"cache", "cccc2222", nil},       // of two lives the one that runs
		{"dddd", "dddd1111", nil},        // a sandbox by its id
		{"job", "job", nil},              // an id before the prefix of another
		{"bbbb", "eeee1111", nil},        // a name before a prefix
		{"", "", ErrNotFound},
		{"nothing", "", ErrNotFound},
		{"test/shop-1/web", "", ErrNotFound},
	} {
		place, err := resolve(found, tc.ref)
		if !errors.Is(err, tc.err) {
			t.Errorf("%q: %v, want %v", tc.ref, err, tc.err)
			continue
		}
		if err == nil && found[place].ID != tc.want {
			t.Errorf("%q: %s, want %s", tc.ref, found[place].ID, tc.want)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	found := node(
		Container{ID: "aaaa1111aaaa1111", Name: "web", Pod: &Pod{Name: "shop-1", Namespace: "prod"}},
		Container{ID: "aaaa2222aaaa2222", Name: "web", Pod: &Pod{Name: "shop-2", Namespace: "prod"}},
	)
	for ref, want := range map[string]string{
		"web":     `container "web": ambiguous: aaaa1111aaaa1 (prod/shop-1/web), aaaa2222aaaa2 (prod/shop-2/web)`,
		"shpo-1":  `container "shpo-1": not found: did you mean shop-1?`,
		"wb":      `container "wb": not found: did you mean web?`,
		"zzz\x1b": `container "zzz\x1b": not found`,
	} {
		if _, err := resolve(found, ref); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", ref, err, want)
		}
	}
	var e *AmbiguousError
	if _, err := resolve(found, "web"); !errors.As(err, &e) || len(e.Candidates) != 2 {
		t.Errorf("candidates: %v", e)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"web", "web", 0}, {"web", "wbe", 2}, {"kitten", "sitting", 3},
	} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q, %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestCompareIsTotal(t *testing.T) {
	found := node(
		Container{ID: "2", Namespace: "moby", Name: "b"},
		Container{ID: "1", Namespace: "k8s.io", Name: "a", Pod: &Pod{Name: "p", Namespace: "x"}},
		Container{ID: "3", Namespace: "k8s.io", Name: "p", Pod: &Pod{Name: "p", Namespace: "x"}, Kind: KindSandbox},
		Container{ID: "0", Namespace: "k8s.io", Name: "a", Pod: &Pod{Name: "q", Namespace: "x"}},
	)
	slices.SortFunc(found, compare)
	var ids []string
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	if want := []string{"1", "3", "0", "2"}; !slices.Equal(ids, want) {
		t.Errorf("order %v, want %v", ids, want)
	}
}
