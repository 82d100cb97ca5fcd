package events

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// filter says which events are wanted.
type filter struct {
	topics, namespaces, containers, pods []string
	labels                               map[string]string
}

func filterOf(o Options) filter {
	return filter{o.Topics, o.Namespaces, o.Containers, o.Pods, o.Labels}
}

// CheckTopic refuses what cannot be a pattern of topics.
func CheckTopic(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if !strings.HasPrefix(pattern, "/") {
		return fmt.Errorf("pattern %q: want one that starts with /, as /tasks/*", pattern)
	}
	return nil
}

// MatchTopic tells whether a topic is one of a pattern: in it, * stands for any
// part of a name and ? for one character, see [path.Match]. A pattern also matches
// what is below it: /tasks is every topic that begins with /tasks/.
func MatchTopic(pattern, topic string) bool {
	for topic != "/" && topic != "." {
		if ok, _ := path.Match(pattern, topic); ok {
			return true
		}
		topic = path.Dir(topic)
	}
	return pattern == "/"
}

// wants tells whether an event is wanted. A gap in what is told is always.
func (f filter) wants(e Event) bool {
	switch e.Topic {
	case TopicLive, TopicGap, TopicDropped:
		if e.Source == Ours {
			return true
		}
	}
	if !f.wantsTopic(e.Topic) {
		return false
	}
	return f.wantsNamespace(e.Namespace) && f.wantsContainer(e.Container)
}

func (f filter) wantsNamespace(ns string) bool {
	return len(f.namespaces) == 0 || slices.Contains(f.namespaces, ns)
}

func (f filter) wantsTopic(topic string) bool {
	return len(f.topics) == 0 || slices.ContainsFunc(f.topics, func(p string) bool { return MatchTopic(p, topic) })
}

func (f filter) wantsContainer(c *Container) bool {
	if len(f.containers)+len(f.pods)+len(f.labels) == 0 {
		return true
	}
	if c == nil {
		return false
	}
	if len(f.containers) > 0 && !slices.ContainsFunc(f.containers, c.is) {
		return false
	}
	if len(f.pods) > 0 && !slices.ContainsFunc(f.pods, c.isIn) {
		return false
	}
	for key, value := range f.labels {
		if have, ok := c.labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// is tells whether ref names the container: the beginning of its id, its name,
// pod/name or namespace/pod/name.
func (c *Container) is(ref string) bool {
	if ref == "" {
		return false
	}
	if strings.HasPrefix(c.ID, ref) || c.Name == ref {
		return true
	}
	return c.Pod != nil && (ref == c.Pod.Name+"/"+c.Name || ref == c.Pod.Namespace+"/"+c.Pod.Name+"/"+c.Name)
}

// isIn tells whether ref names the container's pod: name or namespace/name.
func (c *Container) isIn(ref string) bool {
	return c.Pod != nil && ref != "" && (ref == c.Pod.Name || ref == c.Pod.Namespace+"/"+c.Pod.Name)
}

// lifecycle are the topics that the state of the containers follows from.
const lifecycle = `topic~="^/(containers|tasks)/"`

// server returns the filter in containerd's words: what it need not send. The
// containers' own topics are always needed, and their namespaces only where they
// are wanted.
func (f filter) server() []string {
	topics := []string{lifecycle}
	if len(f.topics) == 0 {
		topics = []string{""}
	}
	for _, pattern := range f.topics {
		if strings.HasPrefix(pattern, "/tasks/") || strings.HasPrefix(pattern, "/containers/") {
			continue
		}
		literal := pattern[:indexMeta(pattern)]
		if strings.HasPrefix(literal, published) {
			literal = ours + "/" // as which it is published
		}
		topics = append(topics, fmt.Sprintf("topic~=%q", "^"+regexp.QuoteMeta(literal)))
	}
	namespaces := []string{""}
	if len(f.namespaces) > 0 {
		namespaces = nil
		for _, ns := range f.namespaces {
			namespaces = append(namespaces, fmt.Sprintf("namespace==%q", ns))
		}
	}
	var all []string
	for _, t := range topics {
		for _, ns := range namespaces {
			switch {
			case t == "" && ns == "":
				return nil
			case t == "" || ns == "":
				all = append(all, t+ns)
			default:
				all = append(all, ns+","+t)
			}
		}
	}
	return all
}

// indexMeta returns where the first character that a pattern does not take for
// itself is, or the length.
func indexMeta(pattern string) int {
	if n := strings.IndexAny(pattern, `*?[\`); n >= 0 {
		return n
	}
	return len(pattern)
}
