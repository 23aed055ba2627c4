// Package testenv gives tests the machine they need: a sandbox of namespaces in
// which a whole test binary runs, names that no other test uses, probes of the
// machine's features that end in precise skip reasons, and gates that fail a
// test binary which leaves something behind.
//
// What does not belong here: anything that knows Gantry's own packages, images
// or clients. The package is a leaf of the standard library, so that every
// other package's tests can import it. It uses package syscall for namespaces
// and mounts because it stands in front of internal/linux, which it helps to
// test.
//
// Invariants: outside a sandbox nothing of the machine is changed; a sandbox
// dies with the process that made it, whatever way that process ends.
package testenv
