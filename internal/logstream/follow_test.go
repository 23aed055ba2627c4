package logstream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// TestStress: a writer that rotates all the time and compresses, and readers
// that come at any moment, following or not. Who follows sees every entry from
// his first one on; who does not sees entries without gap or double.
func TestStress(t *testing.T) {
	for _, gz := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip ", gz), func(t *testing.T) {
			const n, readers = 4000, 6
			path := filepath.Join(t.TempDir(), "log")
			w, err := jsonfile.New(path, 3000, 100000, gz, nil)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			var wg sync.WaitGroup
			for r := range 2 * readers {
				follow := r%2 == 0
				wg.Go(func() {
					time.Sleep(time.Duration(r) * 2 * time.Millisecond)
					checkReader(t, path, Options{Tail: -1, Follow: follow, Done: done}, n, follow)
				})
				wg.Go(func() {
					time.Sleep(time.Duration(r) * 3 * time.Millisecond)
					checkReader(t, path, Options{Tail: 7 * r, Follow: follow, Done: done}, n, false)
				})
			}
			for i := range n {
				if err := w.Append("stdout", fmt.Appendf(nil, "line %d\n", i), time.Unix(int64(i), 0)); err != nil {
					t.Error(err)
				}
				if i%7 == 0 {
					if err := w.Flush(); err != nil {
						t.Error(err)
					}
				}
				if i%40 == 0 {
					time.Sleep(time.Millisecond / 2)
				}
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
			close(done)
			wg.Wait()
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			check(t, collect(t, path, Options{Tail: -1}), 0, n)
		})
	}
}

// checkReader reads once; entries must go on from the first one without gap.
// all: every entry must come.
func checkReader(t *testing.T, path string, o Options, n int, all bool) {
	first, next := -1, 0
	err := Read(t.Context(), path, o, func(e *Entry) error {
		var i int
		if _, err := fmt.Sscanf(string(e.Line), "line %d\n", &i); err != nil {
			return err
		}
		if first < 0 {
			first, next = i, i
		}
		if i != next {
			return fmt.Errorf("entry %d after %d", i, next-1)
		}
		next++
		return nil
	})
	if err != nil {
		t.Errorf("%+v: %v", o, err)
	}
	if all && (first != 0 || next != n) {
		t.Errorf("%+v: entries %d to %d; want 0 to %d", o, first, next-1, n-1)
	}
	if o.Follow && next != n && next != 0 {
		t.Errorf("%+v: the last entry is %d", o, next-1)
	}
}

// background follows a log and gives its lines.
func background(t *testing.T, path string, o Options) (lines <-chan string, ended <-chan error) {
	t.Helper()
	out, end := make(chan string, 1000), make(chan error, 1)
	o.Follow = true
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	t.Cleanup(func() { cancel(); <-stopped })
	go func() {
		defer close(stopped)
		end <- Read(ctx, path, o, func(e *Entry) error { out <- string(e.Line); return nil })
	}()
	return out, end
}

func expect(t *testing.T, lines <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-lines:
			if got != w {
				t.Fatalf("got %q; want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %q", w)
		}
	}
}

func expectEnd(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("following does not end")
	}
}

func appendRaw(t *testing.T, path string, s string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

func rawEntry(s string) string {
	return fmt.Sprintf(`{"log":%q,"stream":"stdout","time":"2026-01-02T03:04:05Z"}`+"\n", s)
}

func TestFollowFromNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	done := make(chan struct{})
	lines, ended := background(t, path, Options{Tail: 0, Done: done})
	time.Sleep(10 * time.Millisecond)
	appendRaw(t, path, rawEntry("a\n"))
	expect(t, lines, "a\n")
	appendRaw(t, path, rawEntry("b\n")[:20]) // a write that comes in two parts
	time.Sleep(10 * time.Millisecond)
	appendRaw(t, path, rawEntry("b\n")[20:])
	expect(t, lines, "b\n")
	appendRaw(t, path, rawEntry("c\n"))
	close(done)
	expect(t, lines, "c\n")
	expectEnd(t, ended)
}

// TestFollowTornRotation: a torn line at the end of a file that is rotated away
// does not spoil the first of the next.
func TestFollowTornRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path, rawEntry("a\n")+`{"log":"torn`)
	lines, _ := background(t, path, Options{Tail: -1})
	expect(t, lines, "a\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendRaw(t, path, rawEntry("b\n"))
	expect(t, lines, "b\n")
}

// TestFollowTruncated: people empty logs by hand.
func TestFollowTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path, rawEntry("a rather long line\n"))
	lines, _ := background(t, path, Options{Tail: -1})
	expect(t, lines, "a rather long line\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	appendRaw(t, path, rawEntry("b\n"))
	expect(t, lines, "b\n")
}

func TestFollowSingleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := jsonfile.New(path, 200, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	lines, _ := background(t, path, Options{Tail: -1})
	for i := range 20 {
		write(t, w, i, i+1)
		expect(t, lines, fmt.Sprintf("line %d\n", i))
	}
}

func TestFollowUntil(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path, rawEntry("a\n"))
	lines, ended := background(t, path, Options{Tail: -1, Until: time.Now().Add(50 * time.Millisecond)})
	expect(t, lines, "a\n")
	expectEnd(t, ended)
}

// TestFollowRemovedDirectory: the container and its log are removed.
func TestFollowRemovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "container")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	appendRaw(t, filepath.Join(dir, "log"), rawEntry("a\n"))
	lines, ended := background(t, filepath.Join(dir, "log"), Options{Tail: -1})
	expect(t, lines, "a\n")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	expectEnd(t, ended)
}

func TestFollowEndsWithEmitError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path, rawEntry("a\n"))
	gone := fmt.Errorf("client has gone")
	if err := Read(t.Context(), path, Options{Tail: -1, Follow: true}, func(*Entry) error { return gone }); err != gone {
		t.Errorf("%v", err)
	}
}

// TestManyFollowers share one inotify instance: a user has 128 of them.
func TestManyFollowers(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	for i := range 300 {
		path := filepath.Join(dir, fmt.Sprint("c", i%150), "log")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if i < 150 {
			appendRaw(t, path, rawEntry("a\n"))
		}
		ready.Add(1)
		wg.Go(func() {
			var got []string
			err := Read(t.Context(), path, Options{Tail: -1, Follow: true, Done: done}, func(e *Entry) error {
				if got = append(got, string(e.Line)); len(got) == 1 {
					ready.Done()
				}
				return nil
			})
			if err != nil || strings.Join(got, "") != "a\nb\n" {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		})
	}
	ready.Wait()
	instances := 0
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.Contains(to, "inotify") {
			instances++
		}
	}
	if instances != 1 {
		t.Errorf("%d inotify instances", instances)
	}
	for i := range 150 {
		appendRaw(t, filepath.Join(dir, fmt.Sprint("c", i), "log"), rawEntry("b\n"))
	}
	close(done)
	wg.Wait()
}
