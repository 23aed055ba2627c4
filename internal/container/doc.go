// Package container owns containers: their records, their life from create to
// remove, their execs, and what is derived from them (inspect, list, stats).
//
// It asks the image store for root file systems, the network for sandboxes, the
// volumes for mounts and the supervisor for processes, each through the small
// interface in package engine or in this package. It does not know HTTP, and it
// makes no system call that a process of a container could influence.
//
// Invariants: a record is on disk before anything is made for its container and
// is removed after everything is gone; a lifecycle verb holds the container's
// op lock, no lock is held while a process is waited for; the supervisor, not
// the record, says what is running.
package container
