// Command bench measures Gantry beside Docker and runc: whole commands, as a user
// waits for them, on real daemons. The peers are Debian's and take turns with
// Gantry sample by sample, so that a noisy machine is noisy for all; what counts
// is the ratio. It expects namespaces of its own (scripts/bench makes them).
//
// With -soak it starts and removes containers for a while instead, and fails if
// anything grows.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// options are what the command line chooses.
type options struct {
	bin   string // directory of Gantry's binaries
	out   string // file for the tables; empty: standard output only
	runs  int    // samples of each short command
	many  int    // containers of the scenarios with many
	bulk  int    // samples of those
	peers bool
	only  string
	soak  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the binaries to measure")
	flag.StringVar(&o.out, "out", "", "also write the tables to this file")
	flag.IntVar(&o.runs, "runs", 31, "samples of each short command")
	flag.IntVar(&o.many, "many", 100, "containers of the scenarios with many")
	flag.IntVar(&o.bulk, "bulk", 3, "samples of each scenario with many")
	flag.BoolVar(&o.peers, "peers", true, "measure Docker and runc, too")
	flag.StringVar(&o.only, "only", "", "measure only the rows whose name contains this")
	flag.DurationVar(&o.soak, "soak", 0, "start and remove containers for so long and look for growth")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("bring up lo: %w: %s", err, out)
	}
	dir, err := os.MkdirTemp("", "gantry-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.soak > 0 {
		return soak(o, dir)
	}
	var rows []row
	for _, part := range []func(options, string) ([]row, error){engines, runtimes} {
		more, err := part(o, dir)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	text := machine() + "\n" + render(rows)
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}

func (o options) wants(name string) bool { return strings.Contains(name, o.only) }
