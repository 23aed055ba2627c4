package stream

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestForwardSignals(t *testing.T) {
	got := make(chan string, 8)
	stop, err := ForwardSignals(false, func(name string) { got <- name }, func() { t.Error("gave up") })
	if err != nil {
		t.Fatal(err)
	}
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

func TestForwardSignalsGivesUp(t *testing.T) {
	hang := make(chan struct{})
	gaveUp := make(chan struct{})
	stop, err := ForwardSignals(false, func(string) { <-hang }, func() { close(gaveUp) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	defer close(hang)
	for range impatient {
		if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // equal signals that are pending merge into one
	}
	select {
	case <-gaveUp:
	case <-time.After(10 * time.Second):
		t.Error("still forwarding")
	}
}
