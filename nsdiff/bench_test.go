package nsdiff

import (
	"fmt"
	"os"
	"testing"
)

func BenchmarkNamespaces(b *testing.B) {
	pid := os.Getpid()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Reader{}).Namespaces(pid); err != nil {
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

// BenchmarkSharing judges a node with 250 pods of two containers.
func BenchmarkSharing(b *testing.B) {
	n := Node{Host: Host{First: set(b, nil)}}
	for pod := range 250 {
		p := Pod{Name: fmt.Sprint("pod", pod)}
		for c := range 3 {
			shared, own := 1000+pod, 2000+3*pod+c
			p.Containers = append(p.Containers, Container{
				ID: fmt.Sprint(pod, "/", c), Sandbox: c == 0,
				Namespaces: set(b, map[Kind]any{
					Net: Namespace{Net, uint64(shared)}.String(), IPC: Namespace{IPC, uint64(shared)}.String(),
					UTS: Namespace{UTS, uint64(shared)}.String(), Mnt: Namespace{Mnt, uint64(own)}.String(),
					PID: Namespace{PID, uint64(own)}.String(), PIDForChildren: Namespace{PID, uint64(own)}.String(),
				}),
			})
		}
		n.Pods = append(n.Pods, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range n.Sharing() {
			if s.Verdict != AsExpected {
				b.Fatal(s)
			}
		}
	}
}
