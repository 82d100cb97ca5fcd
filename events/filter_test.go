package events

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/pkg/filters"

	"github.com/rtinspect/rtinspect/inspect"
)

func TestMatchTopic(t *testing.T) {
	for _, tt := range []struct {
		pattern, topic string
		want           bool
	}{
		{"/tasks/exit", "/tasks/exit", true},
		{"/tasks/exit", "/tasks/exits", false},
		{"/tasks/*", "/tasks/exit", true},
		{"/tasks", "/tasks/exit", true},
		{"/task", "/tasks/exit", false},
		{"/*/create", "/images/create", true},
		{"/tasks/exec-*", "/tasks/exec-started", true},
		{"/tasks/exec-*", "/tasks/exit", false},
		{"/", "/anything/at/all", true},
		{"/tasks/?om", "/tasks/oom", true},
	} {
		if got := MatchTopic(tt.pattern, tt.topic); got != tt.want {
			t.Errorf("MatchTopic(%q, %q) = %v", tt.pattern, tt.topic, got)
		}
	}
	for _, bad := range []string{"", "tasks", "/tasks/[", "exit"} {
		if CheckTopic(bad) == nil {
			t.Errorf("CheckTopic(%q) takes it", bad)
		}
	}
}

func TestFilterWants(t *testing.T) {
	web := &Container{
		ID: "0123456789abcdef", Name: "app", Pod: &inspect.Pod{Namespace: "shop", Name: "web"}, labels: map[string]string{"tier": "front"},
	}
	exit := Event{Topic: TopicTaskExit, Namespace: "k8s.io", Container: web}
	image := Event{Topic: TopicImageCreate, Namespace: "k8s.io"}
	gap := Event{Topic: TopicGap, Source: Ours}
	for _, tt := range []struct {
		name             string
		options          Options
		exit, image, gap bool
	}{
		{"all", Options{}, true, true, true},
		{"topic", Options{Topics: []string{"/images"}}, false, true, true},
		{"namespace", Options{Namespaces: []string{"moby"}}, false, false, true},
		{"id", Options{Containers: []string{"0123"}}, true, false, true},
		{"name", Options{Containers: []string{"app"}}, true, false, true},
		{"pod/name", Options{Containers: []string{"web/app"}}, true, false, true},
		{"namespace/pod/name", Options{Containers: []string{"shop/web/app"}}, true, false, true},
		{"other", Options{Containers: []string{"other"}}, false, false, true},
		{"pod", Options{Pods: []string{"shop/web"}}, true, false, true},
		{"other pod", Options{Pods: []string{"default/web"}}, false, false, true},
		{"label", Options{Labels: map[string]string{"tier": "front"}}, true, false, true},
		{"other label", Options{Labels: map[string]string{"tier": "back"}}, false, false, true},
		{"topic and pod", Options{Topics: []string{"/tasks/oom"}, Pods: []string{"web"}}, false, false, true},
	} {
		f := filterOf(tt.options)
		if got := [3]bool{f.wants(exit), f.wants(image), f.wants(gap)}; got != [3]bool{tt.exit, tt.image, tt.gap} {
			t.Errorf("%s: wants exit, image, gap: %v", tt.name, got)
		}
	}
}

// envelope is an event as containerd's filters see it.
type envelope struct{ namespace, topic string }

func (e envelope) Field(path []string) (string, bool) {
	switch path[0] {
	case "namespace":
		return e.namespace, true
	case "topic":
		return e.topic, true
	}
	return "", false
}

// TestServerFilter: containerd sends what is wanted and what the state follows from, and
// as little else as it can.
func TestServerFilter(t *testing.T) {
	all := []envelope{
		{"k8s.io", "/tasks/exit"},
		{"k8s.io", "/containers/create"},
		{"k8s.io", "/images/create"},
		{"k8s.io", "/snapshot/remove"},
		{"moby", "/tasks/exit"},
		{"moby", "/images/create"},
		{"k8s.io", "/rtinspect/gap"},
	}
	for _, tt := range []struct {
		options Options
		want    []int
	}{
		{Options{}, []int{0, 1, 2, 3, 4, 5, 6}},
		{Options{Topics: []string{"/tasks/oom"}}, []int{0, 1, 4}},
		{Options{Topics: []string{"/images/*"}}, []int{0, 1, 2, 4, 5}},
		{Options{Namespaces: []string{"moby"}}, []int{4, 5}},
		{Options{Namespaces: []string{"moby"}, Topics: []string{"/images/c?eate", "/tasks"}}, []int{4, 5}},
		{Options{Topics: []string{"/published/rtinspect"}}, []int{0, 1, 4, 6}},
		{Options{Topics: []string{`/images/"||topic~="`, `/snapshot/\x`}}, []int{0, 1, 3, 4}},
		{Options{Namespaces: []string{`moby",topic=="/images/create`, `k8s.io"`}}, nil},
		{Options{Namespaces: []string{"k8s.io", `a"b`}, Topics: []string{"/snapshot"}}, []int{0, 1, 3}},
	} {
		filter, err := filters.ParseAll(filterOf(tt.options).server()...)
		if err != nil {
			t.Errorf("%+v: %q: %v", tt.options, filterOf(tt.options).server(), err)
			continue
		}
		var got []int
		for n, e := range all {
			if filter.Match(e) {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v: sends %v, want %v", tt.options, got, tt.want)
		}
	}
}
