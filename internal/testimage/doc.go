// Package testimage makes container images for tests and benchmarks, in code
// and from Debian packages, since test machines reach no public registry. It
// writes them as OCI layouts, OCI archives and Docker archives and pushes them
// to a registry.
//
// It owns the images' contents and their encoding, nothing else: it does not
// use Gantry's own image packages, so that a mistake there is not repeated in
// the data that tests them. Product packages must not import it.
//
// Invariants: the same input gives the same digests (fixed times, sorted
// files), and an Image never changes once made.
package testimage
