package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// report collects the events of a run.
type report struct {
	out      io.Writer
	accepted []*regexp.Regexp
	output   map[key][]string // of what has not ended yet

	passed, failed, skipped int
	failures                []failure
	failedPackages          []string
	skips                   []skip
	packages                int
}

type key struct{ pkg, test string }

// failure is a failed test and the first things that it said.
type failure struct {
	key
	words []string
}

// maxWords is how much of a failed test's output stands at the end once more.
const maxWords = 5

type skip struct {
	key
	reason string
	known  bool
}

func newReport(out io.Writer, accepted []*regexp.Regexp) *report {
	return &report{out: out, accepted: accepted, output: map[key][]string{}}
}

// read takes all events. A line that is none, such as a tool's complaint, is
// printed as it is.
func (r *report) read(in io.Reader) error {
	br := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			if e, ok := decode(line); ok {
				r.event(e)
			} else {
				fmt.Fprintf(r.out, "%s\n", strings.TrimRight(string(line), "\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[k] = append(r.output[k], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnd(e)
		} else {
			r.testEnd(k, e.Action)
		}
		delete(r.output, k)
	}
}

func (r *report) testEnd(k key, action string) {
	switch action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		r.failures = append(r.failures, failure{k, ownWords(r.output[k])})
		fmt.Fprintf(r.out, "--- FAIL %s %s\n%s", k.pkg, k.test, indent(r.output[k]))
	case "skip":
		r.skipped++
		reason := reasonOf(r.output[k])
		known := slices.ContainsFunc(r.accepted, func(p *regexp.Regexp) bool { return p.MatchString(reason) })
		r.skips = append(r.skips, skip{k, reason, known})
	}
}

func (r *report) packageEnd(e event) {
	r.packages++
	name := e.Package[strings.Index(e.Package, "/")+1:]
	switch e.Action {
	case "fail":
		r.failedPackages = append(r.failedPackages, e.Package)
		fmt.Fprintf(r.out, "FAIL %s %.1fs\n%s", name, e.Elapsed, indent(r.output[key{e.Package, ""}]))
	case "pass":
		fmt.Fprintf(r.out, "ok   %s %.1fs\n", name, e.Elapsed)
	}
}

// frame matches what the testing package prints around a test's own words.
var frame = regexp.MustCompile(`^\s*(=== |--- |PASS|ok\s)`)

// place matches the "file.go:12: " in front of a message.
var place = regexp.MustCompile(`^\s*\S+\.go:\d+: `)

// ownWords are the lines that a test has printed itself.
func ownWords(output []string) []string {
	return slices.DeleteFunc(slices.Clone(output), frame.MatchString)
}

// reasonOf finds the message of t.Skip: the last line of the test's own output.
func reasonOf(output []string) string {
	words := ownWords(output)
	if len(words) == 0 {
		return ""
	}
	return strings.TrimSpace(place.ReplaceAllString(words[len(words)-1], ""))
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if !strings.HasPrefix(l, "=== ") {
			b.WriteString("    " + l)
		}
	}
	return b.String()
}

// finish prints skips and totals and returns the exit code.
func (r *report) finish() int {
	code := 0
	for _, s := range r.skips {
		verdict := "skipped"
		if !s.known {
			verdict, code = "skipped without an accepted reason", 1
		}
		fmt.Fprintf(r.out, "%s: %s %s: %s\n", verdict, s.pkg, s.test, s.reason)
	}
	// Of a long output people are often shown the end.
	for _, f := range r.failures {
		fmt.Fprintf(r.out, "failed: %s %s\n%s", f.pkg, f.test, indent(f.words[:min(len(f.words), maxWords)]))
	}
	for _, p := range r.failedPackages {
		fmt.Fprintf(r.out, "failed: %s\n", p)
	}
	// What began and never ended was cut off with its process.
	for k := range r.output {
		if k.test != "" {
			fmt.Fprintf(r.out, "did not end: %s %s\n%s", k.pkg, k.test, indent(r.output[k]))
			code = 1
		}
	}
	if r.failed > 0 || len(r.failedPackages) > 0 || r.passed == 0 {
		code = 1
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return code
}
