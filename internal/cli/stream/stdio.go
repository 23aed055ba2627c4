// Package stream joins the user's terminal with a container's streams: raw
// mode, window size, detach keys, demultiplexing, signal forwarding.
//
// What is run, and what its exit means, belongs to package container.
package stream

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/moby/term"
)

// Stdio are the standard streams of the command. Tests replace them.
type Stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	mu    sync.Mutex
	saved []savedTerminal // what Restore undoes
}

type savedTerminal struct {
	fd    uintptr
	state *term.State
}

// System gives the process's own streams.
func System() *Stdio { return &Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// InIsTerminal tells whether stdin is a terminal.
func (s *Stdio) InIsTerminal() bool { return isTerminal(s.In) }

// OutIsTerminal tells whether stdout is a terminal.
func (s *Stdio) OutIsTerminal() bool { return isTerminal(s.Out) }

// IsTerminal tells whether w is a terminal.
func IsTerminal(w io.Writer) bool { return isTerminal(w) }

func isTerminal(v any) bool {
	_, ok := term.GetFdInfo(v)
	return ok
}

// Size is the terminal's size in characters, zeros if stdout is none.
func (s *Stdio) Size() (height, width uint) { return SizeOf(s.Out) }

// SizeOf is the size of w in characters, zeros if it is no terminal.
func SizeOf(w io.Writer) (height, width uint) {
	fd, ok := term.GetFdInfo(w)
	if !ok {
		return 0, 0
	}
	ws, err := term.GetWinsize(fd)
	if err != nil {
		return 0, 0
	}
	return uint(ws.Height), uint(ws.Width)
}

// ErrNoTTY is what asking for a TTY without having one gives.
var ErrNoTTY = errors.New("the input device is not a TTY")

// CheckTTY refuses a TTY with attached stdin if stdin is no terminal.
func (s *Stdio) CheckTTY(attachStdin, tty bool) error {
	if tty && attachStdin && !s.InIsTerminal() {
		return ErrNoTTY
	}
	return nil
}

// MakeRaw puts stdin into raw mode, if it is a terminal. Restore undoes it.
func (s *Stdio) MakeRaw() error {
	fd, ok := term.GetFdInfo(s.In)
	if !ok || os.Getenv("NORAW") != "" {
		return nil
	}
	state, err := term.SetRawTerminal(fd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, savedTerminal{fd, state})
	return nil
}

// HideInput turns off the terminal's echo, for passwords. Restore undoes it.
func (s *Stdio) HideInput() error {
	fd, ok := term.GetFdInfo(s.In)
	if !ok {
		return nil
	}
	state, err := term.SaveState(fd)
	if err != nil {
		return err
	}
	if err := term.DisableEcho(fd, state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, savedTerminal{fd, state})
	return nil
}

// Restore gives the terminal back its modes. It is idempotent and may be
// called from any goroutine.
func (s *Stdio) Restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.saved) - 1; i >= 0; i-- {
		_ = term.RestoreTerminal(s.saved[i].fd, s.saved[i].state) // there is nothing else to try
	}
	s.saved = nil
}
