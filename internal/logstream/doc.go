// Package logstream reads container logs: whole, from the end, or as they grow,
// across rotated files, and formats them for the API. Package jsonfile below it
// writes them. Which container has which log, and other log drivers, do not
// belong here.
//
// Invariants: every entry is given once, in the order of writing, however often
// the log is rotated meanwhile; a reader never holds up the writer and never
// polls; a line that a crash cut short is left out and hides no other.
package logstream
