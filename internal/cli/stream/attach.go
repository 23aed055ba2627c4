package stream

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/term"

	"github.com/gantry-run/gantry/internal/client"
)

// ErrDetached says that the user typed the detach keys.
var ErrDetached = errors.New("read escape sequence")

// DefaultDetachKeys leave a container running.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// Attach copies between the user's streams and a hijacked connection.
type Attach struct {
	Conn       client.HijackedResponse
	In         io.Reader // nil: nothing to send
	Out, Err   io.Writer // nil: not wanted
	TTY        bool
	DetachKeys string // "": the default
}

// ParseDetachKeys turns a sequence such as "ctrl-p,ctrl-q" into bytes.
func ParseDetachKeys(keys string) ([]byte, error) {
	if keys == "" {
		keys = DefaultDetachKeys
	}
	b, err := term.ToBytes(keys)
	if err != nil {
		return nil, fmt.Errorf("invalid detach keys (%s): %w", keys, err)
	}
	return b, nil
}

// Run copies until the container's output ends, the user detaches
// (ErrDetached), or ctx ends. The end of input closes only the sending side.
// The connection is closed on return; the goroutine that reads input may stay
// in its read, since a terminal's read cannot be interrupted.
func (a Attach) Run(ctx context.Context) error {
	defer a.Conn.Close()
	output := make(chan error, 1)
	input := make(chan error, 1)
	wantsOutput := a.Out != nil || a.Err != nil
	if wantsOutput {
		go func() { output <- a.copyOutput() }()
	}
	go func() { input <- a.copyInput() }()
	for {
		select {
		case err := <-output:
			return err
		case err := <-input:
			if err != nil || !wantsOutput {
				return err
			}
			input = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a Attach) copyOutput() error {
	var err error
	if a.TTY {
		_, err = io.Copy(orDiscard(a.Out), a.Conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(orDiscard(a.Out), orDiscard(a.Err), a.Conn.Reader)
	}
	return err
}

// copyInput sends stdin. Only detaching is an error: a connection that the
// other side has closed shows in the output, too.
func (a Attach) copyInput() error {
	if a.In != nil {
		in := a.In
		if a.TTY {
			keys, err := ParseDetachKeys(a.DetachKeys)
			if err != nil {
				return err
			}
			in = term.NewEscapeProxy(in, keys)
		}
		if _, err := io.Copy(a.Conn.Conn, in); errors.As(err, new(term.EscapeError)) {
			return ErrDetached
		}
	}
	_ = a.Conn.CloseWrite() // the peer may be gone already
	return nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
