package stream

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSignalNames(t *testing.T) {
	for sig, want := range map[unix.Signal]string{unix.SIGTERM: "SIGTERM", 34: "RTMIN", 37: "RTMIN+3", 64: "RTMIN+30", 32: "", 65: ""} {
		if got := signalName(sig); got != want {
			t.Errorf("%d: got %q, want %q", sig, got, want)
		}
	}
}

// Unusual signals are forwarded by clients that have been there for a while.
func TestForwardUnusualSignals(t *testing.T) {
	got := make(chan string, 8)
	stop := ForwardSignals(func(name string) { got <- name }, func() { t.Error("gave up") })
	defer stop()
	time.Sleep(settled)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err := unix.Kill(unix.Getpid(), 37); err != nil { // ignored until it is forwarded
			t.Fatal(err)
		}
		select {
		case name := <-got:
			if name != "RTMIN+3" {
				t.Errorf("forwarded %s", name)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Error("RTMIN+3 was not forwarded")
}
