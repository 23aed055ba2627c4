package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// process is a running client command whose output the test follows, on pipes
// or on a terminal.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	term  *os.File // master, on a terminal

	mu     sync.Mutex
	more   *sync.Cond
	out    []byte // not yet matched by expect
	errOut bytes.Buffer
	eof    bool
}

// start runs a command on pipes; standard error is kept apart.
func (c *cli) start(args ...string) *process {
	c.t.Helper()
	p := c.process(args)
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		c.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.errOut
	p.launch(func() error { return p.cmd.Start() }, r)
	_ = w.Close() // the child has it
	return p
}

// startTTY runs a command on a terminal of the given size.
func (c *cli) startTTY(rows, cols uint16, args ...string) *process {
	c.t.Helper()
	p := c.process(args)
	master, slave, err := pty.Open()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		c.t.Fatal(err)
	}
	p.term, p.stdin = master, master
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p.launch(func() error { return p.cmd.Start() }, master)
	_ = slave.Close() // the child has it
	return p
}

func (c *cli) process(args []string) *process {
	t := c.t.(*testing.T)
	p := &process{t: t, name: c.name + " " + strings.Join(args, " "), cmd: c.cmd(context.Background(), args...)}
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *process) launch(start func() error, r *os.File) {
	p.t.Helper()
	if err := start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); p.read(r) }()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // ended already, as a rule
		_ = p.cmd.Wait()
		_ = r.Close()
		<-done
	})
}

func (p *process) read(r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		p.mu.Lock()
		p.out = append(p.out, buf[:n]...)
		p.eof = err != nil
		p.more.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// expect waits until the output holds text and forgets everything up to it.
func (p *process) expect(text string) {
	p.t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.eof = true
		p.more.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if i := bytes.Index(p.out, []byte(text)); i >= 0 {
			p.out = p.out[i+len(text):]
			return
		}
		if p.eof {
			p.t.Fatalf("%s: waited for %q, the output is %q, standard error %q", p.name, text, tail(string(p.out)), tail(p.errOut.String()))
		}
		p.more.Wait()
	}
}

// nudge is expect for what follows a resize. Docker's client may catch SIGWINCH
// only after it has set the first size: the signal is repeated until it listens.
func (p *process) nudge(text string) {
	p.t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = p.cmd.Process.Signal(unix.SIGWINCH) // ended: expect will tell
			case <-stop:
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	p.expect(text)
}

// rest gives the output that expect has not matched, after the end.
func (p *process) rest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.out)
}

// send writes to the command's input.
func (p *process) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

func (p *process) signal(name string) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(unix.SignalNum(name)); err != nil {
		p.t.Fatalf("%s: signal %s: %v", p.name, name, err)
	}
}

// resize changes the size of the command's terminal.
func (p *process) resize(rows, cols uint16) {
	p.t.Helper()
	if err := pty.Setsize(p.term, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the command's exit code.
func (p *process) wait() int {
	p.t.Helper()
	timer := time.AfterFunc(commandTimeout, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait() // the code tells
	if !timer.Stop() {
		p.t.Fatalf("%s: does not end; output %q", p.name, tail(p.rest()))
	}
	return p.cmd.ProcessState.ExitCode()
}
