package cgroup

import (
	"os"
	"strings"
	"testing"
)

func BenchmarkProcess(b *testing.B) {
	pid := os.Getpid()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Reader{}).Process(pid); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseMounts(b *testing.B) {
	data := []byte(strings.Repeat("21 28 0:19 / /proc rw,relatime shared:5 - proc proc rw\n", 100) +
		"41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ParseMounts(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseKeyed(b *testing.B) {
	const data = "low 0\nhigh 0\nmax 24\noom 1\noom_kill 1\noom_group_kill 0\n"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseKeyed(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEffectiveOf(b *testing.B) {
	levels := []Level[Limit]{
		{Kind: KindContainer, Limit: KnownFact(LimitOf(3), "")},
		{Kind: KindPod, Limit: KnownFact(LimitOf(2), "")},
		{Kind: KindQoS, Limit: KnownFact(Max, "")},
		{Kind: KindMachine, Limit: KnownFact(LimitOf(9), "")},
	}
	b.ReportAllocs()
	for b.Loop() {
		if level, ok := EffectiveOf(levels).Value(); !ok || level.Kind != KindPod {
			b.Fatal(level)
		}
	}
}
