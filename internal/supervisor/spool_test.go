package supervisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
)

// TestSpoolSurvives lets a supervisor die after each step of logging a piece of
// output. Its successor, which has only the descriptors, logs every line once.
func TestSpoolSurvives(t *testing.T) {
	const first, second = "one\ntwo\nhal", "f\nfour\n"
	for _, died := range []string{"after taking", "before the log", "amid the log", "after the log", "after all"} {
		t.Run(died, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			r, w := nonblocking(t)
			s, err := newSpool()
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			l := &lines{stream: "stdout", log: newLog(t, path), spool: s}
			buf := make([]byte, 100)
			take := func(l *lines, text string) []byte {
				if _, err := io.WriteString(w, text); err != nil {
					t.Fatal(err)
				}
				n, err := l.take(int(r.Fd()), buf)
				if err != nil || string(buf[:n]) != text {
					t.Fatalf("took %q, %v", buf[:n], err)
				}
				return buf[:n]
			}
			if err := l.write(take(l, first)); err != nil { // "hal" stays in the spool
				t.Fatal(err)
			}
			data := take(l, second)
			now := l.now()
			switch died {
			case "before the log":
				err = s.logging(now)
			case "amid the log":
				if err = s.logging(now); err == nil {
					err = l.log.Append("stdout", []byte("half\n"), now)
				}
				if err == nil {
					err = l.log.Flush()
				}
				torn(t, path) // the kill cut the next entry short
			case "after the log":
				if err = s.logging(now); err == nil {
					err = l.cut(data, now)
				}
				if err == nil {
					err = l.log.Flush()
				}
			case "after all":
				err = l.writeAt(now, data)
			}
			if err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Dup(int(s.f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			s2 := adoptSpool(os.NewFile(uintptr(fd), "adopted"))
			defer s2.close()
			l2 := &lines{stream: "stdout", log: newLog(t, path), spool: s2}
			if err := l2.replay(); err != nil {
				t.Fatal(err)
			}
			if err := l2.write(take(l2, "five\n")); err != nil {
				t.Fatal(err)
			}
			if got, want := logged(t, path), "one two half four five"; got != want {
				t.Errorf("logged %q, want %q", got, want)
			}
		})
	}
}

func newLog(t *testing.T, path string) *jsonfile.Writer {
	t.Helper()
	log, err := jsonfile.New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func nonblocking(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := pipe(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(r, w) })
	return r, w
}

func torn(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprint(f, `{"log":"four\n","stream":"stdout","ti`); err != nil {
		t.Fatal(err)
	}
}

// logged gives the texts of all whole entries.
func logged(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, `{"log":"`); ok && strings.HasSuffix(line, "\"}\n") {
			text, _, _ = strings.Cut(text, `\n`)
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

// TestSpoolGivesMemoryBack lets much go through: the spool keeps little of it.
func TestSpoolGivesMemoryBack(t *testing.T) {
	r, w := nonblocking(t)
	s, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l := &lines{stream: "stdout", log: &memoryLog{}, spool: s}
	line, buf := []byte(strings.Repeat("x", 8191)+"\n"), make([]byte, 32<<10)
	for range 1000 {
		if _, err := w.Write(line); err != nil {
			t.Fatal(err)
		}
		n, err := l.take(int(r.Fd()), buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.write(buf[:n]); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if kept := st.Blocks * 512; st.Size < 8_000_000 || kept > 2*spoolSlack {
		t.Errorf("the spool has %d bytes of memory after %d", kept, st.Size)
	}
}

func TestTimesOfEntriesDiffer(t *testing.T) {
	l := &lines{last: time.Now().Add(time.Hour)} // the clock was set back
	if a, b := l.now(), l.now(); !b.After(a) {
		t.Errorf("%s is not after %s", b, a)
	}
}
