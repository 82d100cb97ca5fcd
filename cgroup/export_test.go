package cgroup

// MakeGroup makes a cgroup of a controller, see group.
var MakeGroup = group
