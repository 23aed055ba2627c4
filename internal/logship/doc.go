// Package logship sends container logs to log servers: the drivers syslog, gelf,
// fluentd, journald and splunk. What a container writes goes into a file first,
// whatever its driver; a Shipper reads the file and sends it on. So a server that
// is slow, stuck or dead never holds a container up, and when it is back the
// sending goes on where it stopped, over restarts of the daemon too, as far as
// the file reaches back.
//
// Invariants: lines of a container are sent in their order; each is sent at least
// once while the file has it, and twice only after a crash or a connection that
// broke while it was under way.
package logship
