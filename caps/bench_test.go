package caps

import (
	"os"
	"testing"
)

func BenchmarkParseStatus(b *testing.B) {
	data := statuses(b)["linux-6.18/root"]
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ParseStatus(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	pid := os.Getpid()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Reader{}).Process(pid); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReach(b *testing.B) {
	pid := os.Getpid()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := (Reader{}).Reach(pid); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	s := State{Effective: Known().Minus(Of(SysModule)), Permitted: Known(), Bounding: DefaultContainerd}
	b.ReportAllocs()
	for b.Loop() {
		s.Text(CheckpointRestore)
	}
}
