// Package supervisor is the parent of every container: it starts them through
// package oci, holds their standard streams, writes their log files, serves
// attached clients, reaps them and keeps their exit codes until the daemon has
// recorded them. It outlives the daemon and is the only process that must.
//
// It knows nothing of images, networks, restart policies or the API; what it
// knows of a container fits in a wire.Start.
//
// Invariants: a process is registered with the reaper before anybody can learn
// of it; the exit of a process is published only after its output has reached
// the log; an exit is written to the exec root before it is published, so that
// neither the daemon's death nor the supervisor's own loses it.
//
// Locks are taken in this order: container.starting, run.dumps, Server.mu,
// container.mu, streams.mu, sink.mu; of each kind one at a time. watcher.mu comes after Server.mu
// and reaper.mu after any; the lock of a run's probes is taken alone, or before
// reaper.mu. Nobody waits with Server.mu, container.mu or streams.mu for a client, a
// process or a file.
package supervisor
