// Package image owns what is known of images on this machine: their names,
// manifests, configs and layers, the snapshots made of the layers, and the
// writable layer of every container. It pulls, pushes, loads, saves, lists and
// removes images, and makes root file systems of them.
//
// It stands on containerd's libraries in-process: a metadata database, a
// content store and a snapshotter below one root. BuildKit may use the very
// same stores (Stores). What does not belong here: the protocol of registries
// (package registry), containers' records, mounting.
//
// An image is identified by the digest of its config, as Docker does. In the
// metadata database it has one anchor record, "image@sha256:…", whose target is
// the manifest, and a record for each tag and repository digest. All changes of
// records that belong together are one transaction.
//
// Invariants:
//   - A blob or snapshot that no record, container or running operation needs
//     is removed by the next collection; a failed operation leaves none.
//   - What a container's root file system stands on is leased before the
//     writable layer appears on disk, and released only when it is gone.
//   - Blobs become visible only with a verified digest, layers only with a
//     verified uncompressed digest. Nothing outside the store is ever executed.
//   - The index in memory is replaced as a whole after each change; readers
//     never wait.
package image
