package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// talker is a process as its streams see it: a test writes what it would.
type talker struct {
	*streams
	out *os.File // its stdout
	log *textLog
}

// textLog keeps the first megabyte of what is logged.
type textLog struct {
	memoryLog
	mu     sync.Mutex
	text   []byte
	closed bool
}

func (l *textLog) Append(_ string, line []byte, _ time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("append to a closed log")
	}
	l.text = append(l.text, line[:min(len(line), 1<<20-len(l.text))]...)
	return nil
}

func (l *textLog) Flush() error { return nil }

func (l *textLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}

func newTalker(t *testing.T) *talker {
	t.Helper()
	p, err := newPipes(false, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.addSpools(); err != nil {
		t.Fatal(err)
	}
	k := &talker{streams: p.streams(nil, false), out: p.theirs.Stdout, log: &textLog{}}
	_ = p.theirs.Stderr.Close()
	p.pump(k.streams, nil, k.log, func(err error) { t.Errorf("log: %v", err) })
	t.Cleanup(func() {
		_ = k.out.Close()
		k.finish()
		k.pumps.Wait()
	})
	return k
}

// client attaches one and gives its end of the connection.
func (k *talker) client(t *testing.T) *net.UnixConn {
	t.Helper()
	ours, theirs := connected(t)
	s := newSink(ours, wire.Attach{Stdout: true, Stderr: true})
	s.open()
	if !k.attach(s) {
		t.Fatal("the output has ended")
	}
	return theirs
}

func connected(t *testing.T) (ours *os.File, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	ours = os.NewFile(uintptr(fds[0]), "ours")
	f := os.NewFile(uintptr(fds[1]), "theirs")
	defer f.Close() //nolint:errcheck // FileConn duplicates it
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), c.Close() })
	return ours, c.(*net.UnixConn)
}

// fill writes numbered lines until nothing takes any more, and gives them.
func (k *talker) fill(t *testing.T) string {
	t.Helper()
	fd := int(k.out.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	last := time.Now()
	for n := 0; time.Since(last) < 300*time.Millisecond; {
		line := fmt.Sprintf("%099d\n", n)
		switch _, err := unix.Write(fd, []byte(line)); {
		case err == nil:
			all.WriteString(line)
			n++
			last = time.Now()
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond)
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
	return all.String()
}

// end is what the supervisor does when the process has ended.
func (k *talker) end(t *testing.T) {
	t.Helper()
	within(t, "the end of the output", k.drain)
	_ = k.log.Close()
}

func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal(what + " does not come")
	}
}

// TestClientThatDoesNotRead: the process ends while socket, queue and pipe are
// full. The log is complete, and the client gets all, too, when it reads at last;
// one that goes away is not waited for.
func TestClientThatDoesNotRead(t *testing.T) {
	k := newTalker(t)
	slow, gone := k.client(t), k.client(t)
	want := k.fill(t)
	_ = k.out.Close()
	k.end(t)
	if got := string(k.log.text); got != want {
		t.Errorf("%d bytes are in the log, want %d", len(got), len(want))
	}
	k.finish()
	_ = gone.Close()
	if got, _ := demultiplex(t, slow); string(got) != want {
		t.Errorf("the client got %d bytes, want %d", len(got), len(want))
	}
	within(t, "the last client's end", k.clients.Wait)
}

// TestAttachAtTheEnd: who comes between the end of the process and that of its
// output waits no less, and is waited for no more, than others.
func TestAttachAtTheEnd(t *testing.T) {
	k := newTalker(t)
	drained := make(chan struct{})
	go func() { defer close(drained); k.drain() }()
	for late := false; !late; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		late = k.late
		k.mu.Unlock()
	}
	conn := k.client(t)
	text := strings.Repeat("0123456789abcde\n", 40000)
	within(t, "room for a megabyte", func() { _, _ = k.out.WriteString(text) })
	_ = k.out.Close()
	within(t, "the end of the output", func() { <-drained })
	k.finish()
	got, _ := demultiplex(t, conn)
	if !strings.HasPrefix(text, string(got)) || len(got) == 0 {
		t.Errorf("the client got %d bytes, which are not the first of %d", len(got), len(text))
	}
}

// TestProcessThatOutlivesTheContainer: it has got the pipe and writes all the
// time. What was written before the end is in the log, the end comes, the client
// that does not read costs little memory, and the process is not held up.
func TestProcessThatOutlivesTheContainer(t *testing.T) {
	k := newTalker(t)
	conn := k.client(t)
	if _, err := k.out.WriteString("first\n"); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan struct{}, 1)
	written := make(chan struct{})
	go func() {
		defer close(written)
		block := bytes.Repeat([]byte(strings.Repeat("x", 1023)+"\n"), 32)
		for {
			if _, err := k.out.Write(block); err != nil {
				return
			}
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	}()
	k.end(t)
	k.finish()
	if got := string(k.log.text); !strings.HasPrefix(got, "first\n") {
		t.Errorf("the log begins with %.20q", got)
	}
	for range 50 {
		within(t, "room in the pipe", func() { <-wrote })
	}
	got, _ := demultiplex(t, conn)
	if !strings.HasPrefix(string(got), "first\n") || len(got) > 2*maxLate {
		t.Errorf("the client got %d bytes: %.20q", len(got), got)
	}
	_ = k.out.Close()
	within(t, "the writer's end", func() { <-written })
}

// TestSilentProcessThatOutlivesTheContainer holds the pipe only. What it writes
// after the end is not in the log.
func TestSilentProcessThatOutlivesTheContainer(t *testing.T) {
	k := newTalker(t)
	if _, err := k.out.WriteString("unfinished"); err != nil {
		t.Fatal(err)
	}
	k.end(t)
	k.finish()
	if _, err := k.out.WriteString("late\n"); err != nil {
		t.Errorf("a process that outlives the container: %v", err)
	}
	if got := string(k.log.text); got != "unfinished" {
		t.Errorf("logged %q", got)
	}
}

// TestOutputFollowsTheAnswer: a process may start and write before the client that
// is attached knows that it is.
func TestOutputFollowsTheAnswer(t *testing.T) {
	ours, theirs := connected(t)
	k := newSink(ours, wire.Attach{})
	if err := k.write([]byte("output")); err != nil {
		t.Fatal(err)
	}
	k.finish()
	if _, err := io.WriteString(ours, "answer "); err != nil {
		t.Fatal(err)
	}
	k.open()
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "answer output" {
		t.Errorf("the client got %q, %v", got, err)
	}
}

// TestClientThatTakesNothing is let go some time after the end.
func TestClientThatTakesNothing(t *testing.T) {
	ours, theirs := connected(t)
	k := newSink(ours, wire.Attach{})
	k.patience = 100 * time.Millisecond
	k.open()
	k.hurry()
	for range 1000 {
		if err := k.write(make([]byte, 1000)); err != nil {
			break // it took long to come here
		}
	}
	k.finish()
	within(t, "the client's end", k.flushing.Wait)
	got, err := io.ReadAll(theirs)
	if err != nil || len(got) == 0 || len(got) >= 1000_000 {
		t.Errorf("the client got %d bytes, %v", len(got), err)
	}
}

// TestSlowReader pauses when a container, or an exec, has just ended with its last
// output in the pipe, and gets all of it.
func TestSlowReader(t *testing.T) {
	f := newFixture(t)
	const script = "seq 100000 199999"
	if _, err := f.start(t, "host", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	want := wire.Attach{Stdout: true, Stderr: true}
	attached, err := f.Attach(t.Context(), "slow", want)
	if err != nil {
		t.Fatal(err)
	}
	init, err := f.start(t, "slow", script, nil)
	if err != nil {
		t.Fatal(err)
	}
	process, err := json.Marshal(specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	exec, execed, err := f.Exec(t.Context(), "host", "x", wire.Exec{Process: process, Attached: true}, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*slow{{name: "attached", UnixConn: attached, pid: init}, {name: "exec", UnixConn: execed, pid: exec}} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			defer r.Close()
			out, _ := demultiplex(t, r)
			if n := strings.Count(string(out), "\n"); n != 100000 {
				t.Errorf("%d lines, want 100000", n)
			}
			if !r.paused {
				t.Error("the process has not ended before all was read")
			}
		})
	}
}

// slow reads little by little until a process has ended, then nothing for longer
// than the end of output that others hold is waited for, then the rest.
type slow struct {
	*net.UnixConn
	name   string
	pid    int
	paused bool
}

func (s *slow) Read(p []byte) (int, error) {
	if !s.paused && unix.Kill(s.pid, 0) != nil {
		s.paused = true
		time.Sleep(drainGrace + time.Second)
	}
	if !s.paused {
		p = p[:min(len(p), 2<<10)]
		time.Sleep(4 * time.Millisecond)
	}
	return s.UnixConn.Read(p)
}
