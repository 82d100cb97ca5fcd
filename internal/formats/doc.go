// Package formats has tests only: they hold what rtinspect writes in formats of
// others against the definition of the format and another program's reader.
//
// It is a Go module of its own, as nothing of it belongs into rtinspect.
package formats
