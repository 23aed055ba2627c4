package supervisor

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// memoryLog shows entries when they have been flushed.
type memoryLog struct {
	entries, pending []string
	flushes          int
}

func (m *memoryLog) Append(_ string, line []byte, _ time.Time) error {
	m.pending = append(m.pending, string(line))
	return nil
}

func (m *memoryLog) Flush() error {
	m.entries, m.pending = append(m.entries, m.pending...), nil
	m.flushes++
	return nil
}
func (m *memoryLog) Written(string, time.Time) (int, error) { return 0, nil }
func (m *memoryLog) Close() error                           { return nil }

func TestLinesAreCutAsDockerCutsThem(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, tc := range map[string]struct {
		chunks []string
		want   []string
	}{
		"whole lines":              {[]string{"a\nb\n"}, []string{"a\n", "b\n"}},
		"line over several chunks": {[]string{"a", "b", "c\nd"}, []string{"abc\n", "d"}},
		"empty lines":              {[]string{"\n\n"}, []string{"\n", "\n"}},
		"exactly the limit":        {[]string{long + "\n"}, []string{long + "\n"}},
		"over the limit":           {[]string{long + "yz\n"}, []string{long, "yz\n"}},
		"limit in two chunks":      {[]string{long[:100], long[100:] + "y\n"}, []string{long, "y\n"}},
		"no end":                   {[]string{"tail"}, []string{"tail"}},
	} {
		log := &memoryLog{}
		l := &lines{stream: "stdout", log: log}
		for _, c := range tc.chunks {
			if err := l.write([]byte(c)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
		if strings.Join(log.entries, "|") != strings.Join(tc.want, "|") {
			t.Errorf("%s: %d entries %.60q, want %d %.60q", name, len(log.entries), log.entries, len(tc.want), tc.want)
		}
	}
}

// TestLinesOfOneReadAreOneWrite: a container that writes many lines at once costs
// one system call for them, not one each.
func TestLinesOfOneReadAreOneWrite(t *testing.T) {
	log := &memoryLog{}
	l := &lines{stream: "stdout", log: log}
	if err := l.write([]byte(strings.Repeat("line\n", 1000))); err != nil {
		t.Fatal(err)
	}
	if log.flushes != 1 || len(log.entries) != 1000 {
		t.Errorf("%d flushes, %d entries", log.flushes, len(log.entries))
	}
}

// failingLog fails at every entry and keeps them.
type failingLog struct{ memoryLog }

func (f *failingLog) Append(stream string, line []byte, t time.Time) error {
	return errors.Join(f.memoryLog.Append(stream, line, t), unix.ENOSPC)
}

func TestLinesGoOnAfterAnError(t *testing.T) {
	log := &failingLog{}
	l := &lines{stream: "stdout", log: log}
	for _, data := range []string{"a\nb\nc", "d\n"} {
		if err := l.write([]byte(data)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%q: %v", data, err)
		}
	}
	if got := strings.Join(log.entries, ""); got != "a\nb\ncd\n" {
		t.Errorf("%q", got)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb"), 3)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		if chunk <= 0 {
			chunk = 1
		}
		log := &memoryLog{}
		l := &lines{stream: "stdout", log: log}
		for rest := data; len(rest) > 0; {
			n := min(chunk, len(rest))
			_ = l.write(rest[:n])
			rest = rest[n:]
		}
		_ = l.flush()
		if got := strings.Join(log.entries, ""); !bytes.Equal([]byte(got), data) {
			t.Fatalf("bytes changed: %q became %q", data, got)
		}
		for _, e := range log.entries {
			if len(e) > maxLine+1 {
				t.Fatalf("entry of %d bytes", len(e))
			}
		}
	})
}
