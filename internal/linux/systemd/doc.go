// Package systemd asks a systemd to make, change and end units, over D-Bus: as
// much of the protocol as that takes, in messages that are written and read as a
// whole. The libraries for it can do everything, find types at run time and link
// a resolver, cryptography and URLs, which are a megabyte of a binary that every
// container has mapped.
//
// A connection is for one task: it has no goroutine, and is used by one at a time.
//
// Not here: which units there are and what their properties mean (package cgroup).
package systemd
