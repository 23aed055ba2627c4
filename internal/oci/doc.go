// Package oci is the OCI runtime: it turns a runtime-spec bundle into a plan (a
// pure value) and applies the plan to the kernel. It knows nothing of images,
// networks or the daemon. One file per runtime verb.
package oci
