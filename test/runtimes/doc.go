// Package runtimes drives gantry-runtime by those that otherwise drive runc:
// Debian's podman (through conmon, as root and as an ordinary user), containerd
// (through its shim), and dockerd with its BuildKit. Nothing of Gantry but the
// runtime's binary takes part.
package runtimes
