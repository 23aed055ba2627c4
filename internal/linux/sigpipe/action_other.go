//go:build !amd64 && !arm64

package sigpipe

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// writeEnd is the pipe's other end.
var writeEnd int32

// action is whether a signal is caught, by os/signal: there is no handler for this
// kind of machine.
type action struct{ caught bool }

func handler() action { return action{caught: true} }

var relay = sync.OnceValue(func() chan os.Signal {
	ch := make(chan os.Signal, 64)
	go func() { // as long as the process
		for s := range ch {
			if s, ok := s.(unix.Signal); ok {
				_, _ = unix.Write(int(writeEnd), []byte{byte(s)})
			}
		}
	}()
	return ch
})

func (a action) set(s unix.Signal) (before action, err error) {
	if a.caught {
		signal.Notify(relay(), s)
	} else {
		signal.Reset(s)
	}
	return action{caught: !a.caught}, nil
}
