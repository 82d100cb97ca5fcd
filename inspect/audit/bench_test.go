package audit

import (
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
