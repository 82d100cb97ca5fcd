// Package audit tells what follows from what was seen on a node: which
// containers could break out, by which way, and what could not be determined.
//
// [Judge] takes an [inspect.Snapshot], live or recorded, and gives a [Result]
// for each [Rule] and each container. It is pure: it reads nothing, and the same
// snapshot has the same results.
//
// A rule fails only where every fact that shows it is known. One that is unknown
// makes the verdict [Unknown], with the cause, and never [Pass]; what may protect
// and is not known to, does not count as protection.
//
// Do not use it to collect facts: that is package inspect's. It knows nothing of
// what a container was meant to be: accept what has to be so by the id of the
// rule and the subject.
package audit
