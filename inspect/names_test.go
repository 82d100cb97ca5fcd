package inspect

import (
	"testing"

	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// TestNamesWithoutLabels: crictl, unlike the kubelet, sets no labels. The names
// are in the requests then.
func TestNamesWithoutLabels(t *testing.T) {
	records := []runtimeapi.Container{
		{
			ID: "c1", Namespace: "k8s.io", CRI: true,
			Metadata: []byte(`{"Version":"v1","Metadata":{"SandboxID":"p1","Config":{"metadata":{"name":"web"}}}}`),
		},
		{
			ID: "p1", Namespace: "k8s.io", CRI: true, Sandbox: true, SandboxID: "p1",
			Metadata: []byte(`{"Version":"v1","Metadata":{"Config":{"metadata":{"name":"shop","namespace":"prod","uid":"u1"}}}}`),
		},
		{ID: "c2", Namespace: "k8s.io", CRI: true, SandboxID: "gone", Metadata: []byte(`broken`)},
		{ID: "job", Namespace: "default"},
	}
	var found []listed
	for n := range records {
		found = append(found, decode(&records[n]))
	}
	takePods(found)
	for n, want := range []string{"prod/shop/web", "prod/shop", "c2", "job"} {
		if got := found[n].FullName(); got != want {
			t.Errorf("%s: %q, want %q", records[n].ID, got, want)
		}
	}
	if uid := found[0].Pod.UID; uid != "u1" {
		t.Errorf("the container's pod has uid %q, want its sandbox's", uid)
	}
	if found[2].requestErr == nil {
		t.Error("a broken request is no error")
	}
}
