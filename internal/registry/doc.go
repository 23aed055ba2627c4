// Package registry speaks the distribution protocol: it finds the hosts that
// serve a repository (mirrors, insecure and loopback registries, certificates),
// authenticates, and turns what goes wrong into Docker's messages.
//
// It owns no state on disk and knows nothing of the local image store. What
// does not belong here: layers, snapshots, image names beyond what a request
// needs.
//
// Invariants: credentials go to the registry that they were given for and the
// token server it names, never to a mirror; a Repository's connections end with
// Close; URLs that a manifest gives for a layer are never followed.
package registry
