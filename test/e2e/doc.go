// Package e2e drives a real daemon with real clients: bin/gantry, Debian's
// docker and, where installed, a newer docker. Every scenario runs once per
// client, against one daemon in a sandbox of namespaces, and asserts output,
// streams and exit codes.
//
// The same scenarios pass against Debian's dockerd: E2E_ENGINE=docker runs them
// there, which is how a scenario's expectation is checked. Nothing in here
// imports Gantry's product packages, since a script has no access to them
// either.
//
//	go test ./test/e2e                       gantryd from bin/, all clients
//	E2E_ENGINE=docker go test ./test/e2e     dockerd as the oracle
//	E2E_ENGINE=docker E2E_DOCKERD=$(scripts/dockerd) go test ./test/e2e   a dockerd of today
//	E2E_CLIENTS=gantry go test ./test/e2e    only some clients
//	E2E_KEEP=1 go test -run X ./test/e2e     keep the daemon's directory and log
package e2e
