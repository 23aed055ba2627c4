// Package logstream reads container logs: whole, from the end, or as they grow,
// across rotated files, and formats them for the API. Package jsonfile below it
// writes them.
//
// Invariants: every entry is given once, in the order of writing; a reader never
// holds up the writer; a line that a crash cut short is left out.
package logstream
