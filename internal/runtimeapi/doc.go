// Package runtimeapi talks to container runtimes: it finds their socket, tells
// who listens, and lists containers and their tasks through containerd's own
// API, or through the CRI where that is all there is. It is the only package of
// the module that uses gRPC. It only lists; it never changes or starts anything.
package runtimeapi
