// Package httpapi serves the Docker Engine API over HTTP for an
// engine.Backend.
//
// It owns the wire: the table of routes (routes.go), API versions and the
// shapes that older clients expect, decoding of queries and JSON bodies,
// encoding of answers and streams, hijacked connections, and the one place
// where an errs kind becomes an HTTP status. Each noun has its own file whose
// handlers do nothing but decode, call and encode.
//
// What does not belong here: any rule about containers, images, networks or
// volumes. A check lives here only if it depends on the API version or on the
// HTTP request itself, because nothing below this package knows about either.
//
// Invariants: a handler answers at most once; after the first byte of an
// answer an error can only be reported inside the stream or by cutting it; no
// handler holds a lock while it talks to a client.
package httpapi
