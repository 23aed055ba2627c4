// Package network gives containers their network: a namespace with a link to a
// bridge, an address, a way to the outside, and published ports. It implements
// engine.Networks and engine.Sandboxes for the predefined networks bridge, host
// and none.
//
// The parts, each in files of its own, are made so that networks that users
// define can have them too: bridge (one bridge link and its settings), addresses
// (who has which address), pool (namespaces prepared ahead), publisher (host
// ports: claims, sockets, proxy) and firewall (the daemon's one nf_tables
// table). How packets move through that table is explained in firewall.go.
//
// What does not belong here: resolv.conf and hosts files (the container's
// domain), names for containers, networks over several machines.
//
// Invariants:
//   - A port of the host is used for a container only while a socket of ours
//     holds it, so other programs and we cannot both have it.
//   - Elements of the table exist only for addresses that a container has.
//   - Nothing is in the kernel that Restore does not find again or that does not
//     go by itself: namespaces are held by files and processes only.
//   - Everything happens in the namespace that New was called in.
package network
