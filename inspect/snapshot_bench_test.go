package inspect

import (
	"encoding/json"
	"os"
	"testing"
)

// BenchmarkLabSnapshot collects everything of the node, and writes it.
func BenchmarkLabSnapshot(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	i, err := Open(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // read only
	var s Snapshot
	b.Run("collect", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s, err = i.Snapshot(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		var data []byte
		for b.Loop() {
			if data, err = json.Marshal(s); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(data)), "bytes")
	})
}
