package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/caps"
	"github.com/rtinspect/rtinspect/cgroup"
	"github.com/rtinspect/rtinspect/events"
	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
	"github.com/rtinspect/rtinspect/nsdiff"
)

// sampleEvents has an event of each form.
func sampleEvents(name func(string) string) []events.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	web := &events.Container{
		ID: strings.Repeat("0123456789abcdef", 4), Name: name("app"), Kind: inspect.KindContainer, Image: name("nginx"),
		Pod: &inspect.Pod{Name: name("web"), Namespace: "shop"}, PID: 4242,
	}
	bare := &events.Container{ID: name("bare")}
	of := func(topic string, c *events.Container, d events.Detail) events.Event {
		return events.Event{Time: at, Topic: topic, Namespace: "k8s.io", Container: c, Source: events.Published, Confirmed: events.Confirmed, Why: "containerd lists it", Detail: d}
	}
	with := func(e events.Event, change func(*events.Event)) events.Event {
		change(&e)
		return e
	}
	unknown := errors.New(name("it ended before it could be read"))
	code := uint32(3)
	return []events.Event{
		{Time: at, Topic: events.TopicLive, Source: events.Ours, Confirmed: events.Confirmed},
		of(events.TopicContainerCreate, web, events.ContainerCreate{Image: name("nginx"), Runtime: "io.containerd.runc.v2"}),
		of(events.TopicTaskCreate, web, events.TaskCreate{PID: 4242, Bundle: "/run/bundle"}),
		of(events.TopicTaskStart, web, events.TaskStart{
			PID: 4242, Capabilities: inspect.KnownFact(caps.Set(0xa80425fb), "status"),
			HostNamespaces: inspect.KnownFact([]nsdiff.Kind{nsdiff.Cgroup, nsdiff.Net, nsdiff.User}, "ns"),
			Privileged:     inspect.KnownFact(true, "status"), Tier: inspect.KnownFact(inspect.TierHostKernel, "ns/user"),
		}),
		with(of(events.TopicTaskStart, bare, events.TaskStart{
			PID: 7, Capabilities: inspect.UnknownFact[caps.Set](unknown), HostNamespaces: inspect.UnknownFact[[]nsdiff.Kind](unknown),
			Privileged: inspect.UnknownFact[bool](unknown), Tier: inspect.UnknownFact[inspect.Tier](unknown),
		}), func(e *events.Event) { e.Source = events.Missed }),
		of(events.TopicTaskOOM, web, events.OOM{
			Cgroup: inspect.KnownFact(name("/kubepods/pod1/0123"), "folder"), Kills: inspect.KnownFact(cgroup.Count(1), "folder"),
			Hit: inspect.KnownFact(events.Hit{Cgroup: name("/kubepods/pod1"), Kind: "pod", Limit: cgroup.LimitOf(100 << 20)}, "log"),
		}),
		with(of(events.TopicTaskOOM, web, events.OOM{
			Cgroup: inspect.UnknownFact[string](unknown), Kills: inspect.UnknownFact[cgroup.Count](unknown), Hit: inspect.UnknownFact[events.Hit](unknown),
		}), func(e *events.Event) { e.Source = events.Kernel }),
		of(events.TopicTaskExit, web, events.TaskExit{PID: 4242, Code: inspect.KnownFact(uint32(137), "event"), Time: at}),
		with(of(events.TopicTaskExit, web, events.TaskExit{PID: 4242, Code: inspect.UnknownFact[uint32](unknown)}), func(e *events.Event) {
			e.Source = events.Reconciled
		}),
		with(of(events.TopicTaskExit, web, events.TaskExit{PID: 1, Code: inspect.KnownFact(uint32(0), "event")}), func(e *events.Event) {
			e.Confirmed, e.Why = events.Unconfirmed, "process 4242 still runs"
		}),
		with(of(events.TopicTaskExecStarted, web, events.ExecStarted{PID: 4300, Args: inspect.KnownFact([]string{"sh", "-c", name("id")}, "cmdline")}), func(e *events.Event) {
			e.Exec = name("exec-1")
		}),
		of(events.TopicImageCreate, nil, events.Image{Name: name("docker.io/library/nginx:1")}),
		of(events.TopicSnapshotPrepare, nil, events.Snapshot{Key: name("key"), Parent: "parent", Snapshotter: "overlayfs"}),
		of(events.TopicSandboxExit, nil, events.Sandbox{ID: name("sandbox"), Code: &code}),
		of("/other/topic", nil, events.Raw{TypeURL: name("some.Type"), Value: []byte("abc")}),
		{Time: at, Topic: events.TopicGap, Source: events.Ours, Confirmed: events.Confirmed, Detail: events.Gap{From: at, To: at.Add(time.Second), Cause: name("connection refused")}},
		{Time: at, Topic: events.TopicDropped, Source: events.Ours, Confirmed: events.Confirmed, Detail: events.Dropped{Count: 3, Topics: map[string]uint64{name("/images/create"): 2, "/content/create": 1}}},
		with(of(events.TopicFinding, web, events.Findings{
			Trigger: events.TriggerChange, Fixed: []string{"no-cpu-limit"},
			Findings: []audit.Finding{{Result: audit.Result{Rule: "no-memory-limit", Verdict: audit.Fail, Severity: audit.Low}}},
			Changes:  []inspect.Change{{Fact: name("cgroup.memory.max"), Was: "1048576", Is: name("max")}},
		}), func(e *events.Event) { e.Source = events.Ours }),
		with(of(events.TopicFinding, web, events.Findings{Trigger: events.TriggerStart}), func(e *events.Event) { e.Source = events.Ours }),
		with(of(events.TopicFinding, web, events.Findings{Trigger: events.TriggerExec, Unjudged: name("it ended")}), func(e *events.Event) { e.Source = events.Ours }),
	}
}

func eventLines(t *testing.T, list []events.Event, o output) string {
	t.Helper()
	var b bytes.Buffer
	for _, e := range list {
		if err := writeEvent(&b, e, o); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestEventLines(t *testing.T) {
	same := func(text string) string { return text }
	for name, o := range map[string]output{
		"events.txt": {format: formatTable}, "events-wide.txt": {format: formatWide}, "events.json": {format: formatJSON}, "events-color.txt": {format: formatTable, color: true},
	} {
		golden(t, name, []byte(eventLines(t, sampleEvents(same), o)))
	}
}

// TestHostileEvents: names, arguments and topics that anybody made up are a line each, and nothing in them reaches the terminal.
func TestHostileEvents(t *testing.T) {
	list := sampleEvents(func(string) string { return "a\nb\x1b[31m\u202e" })
	list = append(list, events.Event{Topic: "/a\x1b[2J\nb", Source: events.Published, Confirmed: events.Unchecked})
	for _, format := range []string{formatTable, formatWide, formatJSON} {
		text := eventLines(t, list, output{format: format})
		want := len(list)
		if format != formatJSON {
			want-- // live is not shown
		}
		if strings.ContainsAny(text, "\x1b\u202e") || strings.Count(text, "\n") != want {
			t.Errorf("%s: %d lines, want %d:\n%q", format, strings.Count(text, "\n"), want, text)
		}
		if format != formatJSON {
			continue
		}
		for line := range strings.Lines(text) {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	}
}

// brokenPipe is a stdout whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// endings: which events end it, and how.
func TestEventsEnd(t *testing.T) {
	exit := events.Event{Topic: events.TopicTaskExit, Confirmed: events.Confirmed}
	forged := exit
	forged.Confirmed = events.Unconfirmed
	f := eventsFlags{until: "/*/exit"}
	if !f.ends(exit) || f.ends(forged) || f.ends(events.Event{Topic: events.TopicTaskOOM}) || (eventsFlags{}).ends(exit) {
		t.Error("--until ends at the wrong event")
	}
	if isNote(exit) || !isNote(events.Event{Topic: events.TopicGap}) {
		t.Error("--count counts the wrong events")
	}
	if err := (eventsFlags{}).follow(context.Background(), brokenPipe{}, output{format: formatJSON}); err == nil {
		t.Error("without a runtime it ends without an error")
	}
}
