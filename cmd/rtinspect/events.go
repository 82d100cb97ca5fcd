package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/events"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
	"github.com/rtinspect/rtinspect/nsdiff"
)

func (v *invocation) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "tell what happens to containers, as it happens, without gaps",
		Description: "Follows containerd's events until it is interrupted, a line each: the time, what happened, to which container, and what " +
			"it was. For each container the order is that of cause and effect, and each event is told once. What containerd does not " +
			"publish is told as \"missed\", \"reconciled\" when it was away, and \"kernel\" when the kernel told; a gap is told as such. " +
			"\"unconfirmed\" marks an event that nothing but itself speaks for: whoever can connect to the socket can publish any. An " +
			"out-of-memory kill names the cgroup whose limit was reached. Of JSON, each event is a line. EVENT is a topic of containerd as /tasks/exit or " +
			"its last word, exit; * and ? are wildcards, and /tasks is all below it. With --audit, containers that start, processes that " +
			"are run in them and changes in force are judged by the rules of rtinspect explain. To know that containerd has registered " +
			"the subscription, an empty event is published below /rtinspect/registered until it comes back, as nothing else tells: " +
			"other readers of all events see it. With --no-marker nothing is published and a second is waited for instead.",
		UsageText: "rtinspect events\nrtinspect events --pod web -o json\nrtinspect events --filter oom --filter exit --since-start=false\n" +
			"rtinspect events --until oom --timeout 30s\nrtinspect events --audit --severity high",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: formatTable, Usage: "`FORMAT`: table, wide or json"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole ids; lines show 13 characters of them otherwise"},
			&cli.StringSliceFlag{Name: "filter", Usage: "tell only of `EVENT`, of namespace=NAME of containerd, or of containers with label=KEY=VALUE; may be given again"},
			&cli.StringSliceFlag{Name: "container", Usage: "tell only of `CONTAINER`; may be given again"},
			&cli.StringSliceFlag{Name: "pod", Usage: "tell only of the containers of `POD`, a name or namespace/name; may be given again"},
			&cli.BoolFlag{Name: "since-start", Value: true, Usage: "tell only what happens from now on; with =false what is there already comes first"},
			&cli.StringFlag{Name: "until", Usage: "end after a confirmed `EVENT`"},
			&cli.IntFlag{Name: "count", Usage: "end after `N` events; 0 is for no end"},
			&cli.DurationFlag{Name: "timeout", Usage: "end after a `DURATION` such as 30s, with status 1 when --until or --count did not before; 0 is for no end"},
			&cli.BoolFlag{Name: "no-marker", Usage: "publish nothing in containerd; that the subscription is registered is then taken for granted after a second"},
			&cli.BoolFlag{Name: "audit", Usage: "judge what starts, what is run and what changes"},
			&cli.StringFlag{Name: "severity", Value: audit.Low.String(), Usage: "show findings of at least `LEVEL`: " + severityNames()},
		},
		Action: v.events,
	}
}

// eventsFlags are what the flags of events say.
type eventsFlags struct {
	options events.Options
	until   string // a pattern, empty for none
	word    string // as it was given
	count   int    // 0 for no end
	timeout time.Duration
	audit   bool
	least   audit.Severity
}

func (v *invocation) events(c *cli.Context) error {
	o, err := v.eventsOutput(c)
	if err != nil {
		return err
	}
	flags, err := readEventsFlags(c)
	if err != nil {
		return err
	}
	return interruptible(func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if f, ok := v.stdout.(*os.File); ok {
			go untilUnread(f, cancel)
		}
		return flags.follow(ctx, v.stdout, o)
	})
}

// untilUnread calls gone when nobody can read a pipe any more: otherwise that shows only when there is something to write, which
// may be never. It lasts as long as the program.
func untilUnread(f *os.File, gone func()) {
	if info, err := f.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd())}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil && fds[0].Revents&unix.POLLERR != 0:
			gone()
			return
		default:
			return
		}
	}
}

func (v *invocation) eventsOutput(c *cli.Context) (output, error) {
	o := output{format: c.String("output"), whole: c.Bool("no-trunc"), terminal: v.terminal}
	if !slices.Contains([]string{formatTable, formatWide, formatJSON}, o.format) {
		return o, misuse(c, "unknown output format "+quote(o.format)+": want table, wide or json")
	}
	var err error
	o.color, err = v.color(c)
	return o, err
}

func readEventsFlags(c *cli.Context) (eventsFlags, error) {
	f := eventsFlags{count: c.Int("count"), timeout: c.Duration("timeout"), audit: c.Bool("audit")}
	if err := noArguments(c); err != nil {
		return f, err
	}
	node, err := options(c)
	if err != nil {
		return f, err
	}
	switch {
	case c.IsSet("snapshot"):
		return f, misuse(c, "flag --snapshot: a snapshot has no events")
	case node.Endpoint == noEndpoint:
		return f, misuse(c, "flag --runtime-endpoint is none: the kernel alone has no events")
	case c.IsSet("count") && f.count <= 0:
		return f, misuse(c, "flag --count is "+strconv.Itoa(f.count)+": want more than 0")
	case c.IsSet("severity") && !f.audit:
		return f, misuse(c, "flag --severity needs --audit")
	}
	f.options = events.Options{
		Endpoint: node.Endpoint, HostRoot: node.HostRoot, Initial: !c.Bool("since-start"), NoMarker: c.Bool("no-marker"),
		Containers: c.StringSlice("container"), Pods: c.StringSlice("pod"),
	}
	for _, word := range c.StringSlice("filter") {
		if err := f.filter(c, word); err != nil {
			return f, err
		}
	}
	for _, name := range []string{"container", "pod"} {
		if slices.Contains(c.StringSlice(name), "") {
			return f, misuse(c, "flag --"+name+" is \"\": want a name")
		}
	}
	if c.IsSet("until") {
		f.word = c.String("until")
		if f.until, err = topicPattern(c, "until", f.word); err != nil {
			return f, err
		}
		if len(f.options.Topics) > 0 {
			f.options.Topics = append(f.options.Topics, f.until)
		}
	}
	if f.audit && len(f.options.Topics) > 0 {
		f.options.Topics = append(f.options.Topics, events.TopicFinding)
	}
	return f, severityFlag(c, "severity", &f.least)
}

// filter takes a word of --filter in.
func (f *eventsFlags) filter(c *cli.Context, word string) error {
	if ns, ok := strings.CutPrefix(word, "namespace="); ok && ns != "" {
		f.options.Namespaces = append(f.options.Namespaces, ns)
		return nil
	}
	if label, ok := strings.CutPrefix(word, "label="); ok {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return misuse(c, "flag --filter is "+quote(word)+": want label=KEY=VALUE")
		}
		if f.options.Labels == nil {
			f.options.Labels = map[string]string{}
		}
		f.options.Labels[key] = value
		return nil
	}
	pattern, err := topicPattern(c, "filter", word)
	f.options.Topics = append(f.options.Topics, pattern)
	return err
}

// topicPattern returns the pattern of topics that a word means: exit is /*/exit.
func topicPattern(c *cli.Context, flag, word string) (string, error) {
	pattern := word
	if !strings.HasPrefix(word, "/") {
		pattern = "/*/" + word
	}
	if word == "" || strings.Contains(word, "=") || events.CheckTopic(pattern) != nil {
		return "", misuse(c, "flag --"+flag+" is "+quote(word)+": want a topic as /tasks/exit, exit or /images/*")
	}
	return pattern, nil
}

// eventWords are the topics that people wait for, for the completion.
func eventWords() []string {
	return []string{
		events.TopicContainerCreate, events.TopicContainerUpdate, events.TopicContainerDelete, events.TopicTaskCreate, events.TopicTaskStart,
		events.TopicTaskOOM, events.TopicTaskExit, events.TopicTaskDelete, events.TopicTaskExecAdded, events.TopicTaskExecStarted,
		events.TopicTaskPaused, events.TopicTaskResumed, "/images", "/snapshot", "/content", "/namespaces", "/sandboxes",
	}
}

// follow writes events as they come.
func (f eventsFlags) follow(ctx context.Context, w io.Writer, o output) error {
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	told := 0
	for e, err := range f.stream(ctx) {
		if err != nil {
			return err
		}
		f.show(&e)
		if err := writeEvent(w, e, o); err != nil {
			if errors.Is(err, syscall.EPIPE) {
				return nil // the reader has gone
			}
			return err
		}
		if !isNote(e) {
			told++
		}
		if f.ends(e) || f.count > 0 && told >= f.count {
			return nil
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && (f.until != "" || f.count > 0) {
		return f.unmet(told)
	}
	return nil
}

func (f eventsFlags) stream(ctx context.Context) iter.Seq2[events.Event, error] {
	if f.audit {
		return events.Watch(ctx, events.WatchOptions{Options: f.options})
	}
	return events.Stream(ctx, f.options)
}

// show leaves out findings of a lower severity.
func (f eventsFlags) show(e *events.Event) {
	found, ok := e.Detail.(events.Findings)
	if !ok {
		return
	}
	found.Findings = slices.DeleteFunc(slices.Clone(found.Findings), func(x audit.Finding) bool { return x.Severity < f.least })
	e.Detail = found
}

// ends tells whether --until waits for an event. One that anybody could have made up does not end it.
func (f eventsFlags) ends(e events.Event) bool {
	return f.until != "" && e.Confirmed != events.Unconfirmed && events.MatchTopic(f.until, e.Topic)
}

func (f eventsFlags) unmet(told int) error {
	if f.until != "" {
		return fmt.Errorf("no %s within %v", f.word, f.timeout)
	}
	return fmt.Errorf("%s within %v: want %d", count(told, "event", "events"), f.timeout, f.count)
}

// isNote tells events about the stream itself, which are not counted.
func isNote(e events.Event) bool {
	return e.Topic == events.TopicLive || e.Topic == events.TopicGap || e.Topic == events.TopicDropped
}

// writeEvent writes an event in one piece, so that no line is ever cut.
func writeEvent(w io.Writer, e events.Event, o output) error {
	var line bytes.Buffer
	switch {
	case o.format == formatJSON:
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(e); err != nil {
			return err
		}
		_, err := io.WriteString(w, escapeData(line.String(), surrogates))
		return err
	case e.Topic == events.TopicLive:
		return nil // it is for programs
	}
	what := eventCell(e)
	say(&line, e.Time.Format("2006-01-02T15:04:05.000Z"), "  ", what.paint(o.color), strings.Repeat(" ", max(0, topicWidth-len(what.text))))
	for _, text := range []string{subjectText(e, o), detailText(e, o), marks(e, o)} {
		if text != "" {
			say(&line, "  ", escapeLine(text))
		}
	}
	say(&line, "\n")
	_, err := w.Write(line.Bytes())
	return err
}

// topicWidth is as wide as the usual topics.
const topicWidth = len("tasks/exec-started")

// eventCell tells what happened.
func eventCell(e events.Event) cell {
	name := strings.TrimPrefix(strings.TrimPrefix(e.Topic, "/rtinspect"), "/")
	switch {
	case e.Confirmed == events.Unconfirmed:
		return styled(name, styleUnknown)
	case e.Topic == events.TopicTaskOOM:
		return styled(name, styleBad)
	case e.Source == events.Ours:
		return styled(name, styleWarning)
	}
	return plain(name)
}

// subjectText names the container.
func subjectText(e events.Event, o output) string {
	c := e.Container
	if c == nil {
		return ""
	}
	name := inspect.Container{Name: c.Name, Kind: c.Kind, Pod: c.Pod}.FullName()
	id := o.id(c.ID)
	if name == "" || name == c.ID {
		return e.Namespace + "/" + id
	}
	if o.wide() {
		name += " (" + id + ")"
	}
	return name
}

// marks tell where an event comes from when containerd did not publish it, and that nothing speaks for it.
func marks(e events.Event, o output) string {
	var words []string
	if e.Source != events.Published && e.Source != events.Ours {
		words = append(words, string(e.Source))
	}
	if e.Confirmed == events.Unconfirmed {
		words = append(words, "unconfirmed: "+e.Why)
	} else if o.wide() && e.Why != "" {
		words = append(words, e.Why)
	}
	if len(words) == 0 {
		return ""
	}
	return "(" + strings.Join(words, "; ") + ")"
}

// detailText tells what a topic has besides.
func detailText(e events.Event, o output) string {
	switch d := e.Detail.(type) {
	case events.ContainerCreate:
		return listed(d.Image, d.Runtime)
	case events.ContainerUpdate:
		return listed(d.Image)
	case events.TaskCreate:
		return pidText(d.PID)
	case events.TaskStart:
		return startText(d, o)
	case events.TaskExit:
		return listed(execText(e, o), pidText(d.PID), "status "+factCell(d.Code, true).text)
	case events.OOM:
		return hitText(d)
	case events.ExecAdded:
		return execText(e, o)
	case events.ExecStarted:
		args := showFact(d.Args, o.wide(), command)
		return listed(execText(e, o), pidText(d.PID), args.text)
	case events.Checkpointed:
		return d.Checkpoint
	case events.Image:
		return d.Name
	case events.Snapshot:
		return listed(d.Snapshotter, d.Key, d.Name)
	case events.Content:
		return d.Digest
	case events.Namespace:
		return d.Name
	case events.Sandbox:
		return sandboxText(d, o)
	case events.Raw:
		return listed(d.TypeURL, count(len(d.Value), "byte", "bytes"), d.Malformed)
	case events.Gap:
		return fmt.Sprintf("from %s to %s: %s", d.From.Format(time.RFC3339Nano), d.To.Format(time.RFC3339Nano), d.Cause)
	case events.Dropped:
		return droppedText(d)
	case events.Findings:
		return findingsText(d, o)
	}
	return ""
}

// listed joins what is there with commas.
func listed(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ", ")
}

func pidText(pid int) string {
	if pid == 0 {
		return ""
	}
	return "pid " + strconv.Itoa(pid)
}

func execText(e events.Event, o output) string {
	if e.Exec == "" {
		return ""
	}
	return "exec " + o.id(e.Exec)
}

// usuallyHost are the namespaces that most containers share with the host.
var usuallyHost = []nsdiff.Kind{nsdiff.Cgroup, nsdiff.User, nsdiff.Time, nsdiff.TimeForChildren, nsdiff.PIDForChildren}

func startText(d events.TaskStart, o output) string {
	host := showFact(d.HostNamespaces, false, func(kinds []nsdiff.Kind) string {
		var words []string
		for _, k := range kinds {
			if o.wide() || !slices.Contains(usuallyHost, k) {
				words = append(words, k.String())
			}
		}
		return strings.Join(words, " ")
	}).text
	switch host {
	case "-":
		host = ""
	case "unknown":
		host = "host's namespaces unknown"
	default:
		host = "host's " + host
	}
	privileged := showFact(d.Privileged, false, func(yes bool) string {
		if yes {
			return "privileged"
		}
		return ""
	}).text
	switch privileged {
	case "-":
		privileged = ""
	case "unknown":
		privileged = "privileged unknown"
	}
	tier := factCell(d.Tier, false).text
	if tier == "unknown" {
		tier = "tier unknown"
	}
	return listed(pidText(d.PID), "capabilities "+showFact(d.Capabilities, false, caps.Set.Mask).text, host, privileged, tier)
}

func hitText(d events.OOM) string {
	switch h, ok := d.Hit.Value(); {
	case ok && h.Limit.Bounds():
		return "limit " + bytesText(h.Limit) + " of " + h.Cgroup + " reached"
	case ok:
		return "limit of " + h.Cgroup + " reached"
	case d.Hit.Known() == inspect.Absent:
		return d.Hit.Source()
	}
	return "limit unknown (" + d.Hit.Cause().Error() + ")"
}

func sandboxText(d events.Sandbox, o output) string {
	text := o.id(d.ID)
	if d.Code != nil {
		text += ", status " + strconv.FormatUint(uint64(*d.Code), 10)
	}
	return text
}

func droppedText(d events.Dropped) string {
	topics := make([]string, 0, len(d.Topics))
	for topic, n := range d.Topics {
		topics = append(topics, fmt.Sprintf("%s %d", topic, n))
	}
	slices.Sort(topics)
	return strconv.FormatUint(d.Count, 10) + " events not told, as they were not read in time: " + strings.Join(topics, ", ")
}

// findingsText tells findings in a line: the worst by name.
func findingsText(d events.Findings, o output) string {
	const most = 5
	words := []string{string(d.Trigger)}
	if d.Unjudged != "" {
		words = append(words, "not judged: "+d.Unjudged)
	}
	for _, c := range d.Changes {
		words = append(words, fmt.Sprintf("%s was %s and is %s", c.Fact, quoteEmpty(c.Was), quoteEmpty(c.Is)))
	}
	if p := d.Process; p != nil {
		words = append(words, commandCell(*p, o).text)
		for _, e := range distinct(p.Beyond) {
			words = append(words, "beyond the first process: "+excessText(e, o))
		}
	}
	for n, f := range d.Findings {
		if n == most && !o.wide() {
			words = append(words, fmt.Sprintf("and %d more", len(d.Findings)-most))
			break
		}
		severity := f.Severity.String()
		if f.Verdict == audit.Unknown {
			severity += "?"
		}
		words = append(words, severity+" "+f.Rule)
	}
	if len(d.Fixed) > 0 {
		words = append(words, "no more: "+strings.Join(d.Fixed, " "))
	}
	if len(words) == 1 {
		words = append(words, "nothing found")
	}
	return words[0] + ": " + strings.Join(words[1:], ", ")
}
