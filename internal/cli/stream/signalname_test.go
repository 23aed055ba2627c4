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

// Unusual signals are forwarded, too.
func TestForwardUnusualSignals(t *testing.T) {
	got := make(chan string, 8)
	stop, err := ForwardSignals(false, func(name string) { got <- name }, func() { t.Error("gave up") })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for sig, want := range map[unix.Signal]string{37: "RTMIN+3", unix.SIGPWR: "SIGPWR"} {
		if !forwarded(t, sig, want, got) {
			t.Errorf("%s was not forwarded", want)
		}
	}
}

func TestForwardFaults(t *testing.T) {
	got, later, quit := make(chan unix.Signal), make(chan time.Time), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		forwardFaults(func(sig unix.Signal) { got <- sig }, later, quit)
		close(ended)
	}()
	later <- time.Now()
	later <- time.Now() // taken after the first has had its effect, without which a fault is the end
	for _, sig := range []unix.Signal{unix.SIGPIPE, unix.SIGABRT} {
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case sig := <-got:
		if sig != unix.SIGABRT {
			t.Errorf("forwarded %s", sig)
		}
	case <-time.After(10 * time.Second):
		t.Error("SIGABRT was not forwarded")
	}
	close(quit)
	<-ended
}

// forwarded sends a signal until it comes.
func forwarded(t *testing.T, sig unix.Signal, want string, got <-chan string) bool {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case name := <-got:
			if name == want {
				return true
			} // else it is one more of an earlier kind
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}
