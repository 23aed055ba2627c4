// Package runtimes drives gantry-runtime by those that otherwise drive runc:
// Debian's podman (through conmon) and containerd (through its shim). Nothing of
// Gantry but the runtime's binary takes part.
package runtimes
