package audit

import (
	"os"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// BenchmarkJudge judges 300 containers with all rules.
func BenchmarkJudge(b *testing.B) {
	s := load(b, "2.4")
	var all []inspect.Report
	for len(all) < 300 {
		all = append(all, s.Containers...)
	}
	s.Containers = all[:300]
	for b.Loop() {
		if len(Judge(s, Options{}).Subjects) != 301 {
			b.Fatal("subjects are missing")
		}
	}
}

// BenchmarkLabAudit takes what rtinspect audit does apart: the collecting, which is
// most of it, and the judging of what was collected.
func BenchmarkLabAudit(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	i, err := inspect.Open(b.Context(), inspect.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // nothing is lost
	s, err := i.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d containers and sandboxes", len(s.Containers))
	b.Run("collect", func(b *testing.B) {
		for b.Loop() {
			if _, err := i.Snapshot(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("judge", func(b *testing.B) {
		for b.Loop() {
			Judge(s, Options{})
		}
	})
	b.Run("findings", func(b *testing.B) {
		report := Judge(s, Options{})
		for b.Loop() {
			report.Findings()
		}
	})
	b.Run("standard", func(b *testing.B) {
		for b.Loop() {
			Assess(s, AssessOptions{Standard: PSSRestricted})
		}
	})
}
