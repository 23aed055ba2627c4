// Package archive packs and unpacks directory trees as tar streams, and walks
// and measures them, in places that are not trusted: the root of a container that
// may run meanwhile.
//
// Invariants: every name is resolved by the kernel inside the root (openat2),
// whatever links and renames happen there; no device, pipe or socket is ever
// opened, only described or made; nothing of the root is executed, and nothing
// of it decides how an archive is read. Of trees and archives alike the sizes,
// names and links may lie.
package archive
