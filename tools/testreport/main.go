// Command testreport reads the output of `go test -json` and says what matters:
// one line per package, the whole output of what failed, every skipped test
// with its reason, and the totals in its last line:
//
//	123 passed, 0 failed, 2 skipped
//
// It fails when a test failed, when a package did not build or ran no test that
// passed although it has some, and when a test was skipped for a reason that
// the list of accepted reasons lacks: a skipped test proves nothing.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	skips := flag.String("skips", "", "`file` of accepted skip reasons, one regular expression a line")
	log := flag.String("log", "", "`file` that gets the whole input")
	flag.Parse()
	code, err := run(os.Stdin, os.Stdout, *skips, *log)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		code = 1
	}
	os.Exit(code)
}

func run(in io.Reader, out io.Writer, skips, log string) (code int, err error) {
	accepted, err := readPatterns(skips)
	if err != nil {
		return 1, err
	}
	if log != "" {
		f, err := os.Create(log)
		if err != nil {
			return 1, err
		}
		defer func() {
			if cerr := f.Close(); cerr != nil {
				code, err = 1, errors.Join(err, cerr)
			}
		}()
		in = io.TeeReader(in, f)
	}
	r := newReport(out, accepted)
	if err := r.read(in); err != nil {
		return 1, err
	}
	return r.finish(), nil
}

// readPatterns reads regular expressions; empty lines and # comments are left out.
func readPatterns(name string) ([]*regexp.Regexp, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []*regexp.Regexp
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		re, err := regexp.Compile(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, re)
	}
	return all, s.Err()
}

// event is a line of test2json, see `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

func decode(line []byte) (event, bool) {
	var e event
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Action != ""
}
