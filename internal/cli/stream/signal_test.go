package stream

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestForwardSignals(t *testing.T) {
	got := make(chan string, 8)
	stop := ForwardSignals(func(name string) { got <- name })
	for _, sig := range []unix.Signal{unix.SIGURG, unix.SIGCHLD, unix.SIGUSR1} {
		if err := unix.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case name := <-got:
		if name != "SIGUSR1" {
			t.Errorf("forwarded %s", name)
		}
	case <-time.After(10 * time.Second):
		t.Error("SIGUSR1 was not forwarded")
	}
	stop()
	select {
	case name := <-got:
		t.Errorf("forwarded %s after all", name)
	default:
	}
}
