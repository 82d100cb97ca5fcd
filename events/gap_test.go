package events

import (
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/internal/runtimeapi"
)

// TestEndInGap: a process that nobody could see since before the gap, and that containerd
// has no more, ended in the gap, however late that is found; one that was seen after it
// ended later.
func TestEndInGap(t *testing.T) {
	proved := time.Now().Add(-time.Minute)
	for _, test := range []struct {
		name string
		seen time.Time
		want Source
	}{
		{"before", proved.Add(-time.Second), Reconciled},
		{"after", proved.Add(time.Second), Missed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReducer(t.Context(), Options{})
			r.session = &session{gap: true, proved: proved}
			c := r.add(key{"default", "ends"})
			c.told, c.created = true, proved.Add(-time.Hour)
			p := &process{pid: 1 << 30, stage: started, seen: test.seen, wait: &wait{session: r.session, at: proved, err: runtimeapi.ErrNoTask}}
			c.processes[""] = p
			c.look = look{began: time.Now(), truth: runtimeapi.Truth{ID: "ends", Exists: true, Created: c.created}}
			r.followUp(c, p)
			if e, ok := r.out.take(); !ok || e.Topic != TopicTaskExit || e.Source != test.want || e.Confirmed != Confirmed {
				t.Errorf("%+v, %v, want an exit that is %s", e, ok, test.want)
			}
		})
	}
}
