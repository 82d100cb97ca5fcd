// Package events tells what happens to the containers of a node, from
// containerd's events: as one stream that has no gaps, names each container, and
// marks what nothing but the event itself speaks for.
//
// containerd's own stream loses events, mixes up their order, starts some time
// after it was asked for, ends with containerd, and passes on whatever anybody with
// the socket publishes. [Stream] keeps a state of every container: what containerd
// publishes is compared with what it lists, with how its tasks ended and with the
// kernel, and what is missing is put in its place, marked with where it is known
// from. [Watch] judges what starts by the rules of package inspect/audit.
//
// It changes nothing in containerd and in no container. To know that containerd
// has registered the subscription, it publishes an empty event of its own below
// /rtinspect/registered until that comes back: containerd answers nothing before the
// first event, and no call that only reads makes one, so there is no other proof.
// Whoever reads all of containerd's events sees it; the CRI, Docker and nerdctl choose
// by topic and do not. [Options.NoMarker] leaves it out, and the certainty with it.
//
// Do not use it to count what happened to images, snapshots and content: of these
// containerd's events are passed on as they are, and after a gap nothing tells what
// was missed of them. Other runtimes than containerd have no events that could be
// read without harm, see [ErrNoEvents].
package events
