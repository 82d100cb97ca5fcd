package inspect

import (
	"io"
	"os"
	"testing"
)

// BenchmarkLabSnapshot collects and writes a snapshot.
func BenchmarkLabSnapshot(b *testing.B) {
	if os.Getenv("RTINSPECT_LAB") == "" {
		b.Skip("needs the lab: make bench")
	}
	i, err := Open(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close() //nolint:errcheck // read only
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.WriteSnapshot(b.Context(), io.Discard, func(Report) {}); err != nil {
			b.Fatal(err)
		}
	}
}
