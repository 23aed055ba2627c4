package sigpipe

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func kill(t *testing.T, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func catch(t *testing.T, signals ...unix.Signal) *Pipe {
	t.Helper()
	p, err := Catch(signals...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestCatch(t *testing.T) {
	p := catch(t, unix.SIGTERM, unix.SIGHUP, 40)
	for _, sig := range []unix.Signal{unix.SIGTERM, 40, unix.SIGHUP, unix.SIGTERM} {
		kill(t, sig)
		if got, err := p.Wait(); err != nil || got != sig {
			t.Errorf("sent %d, got %d, %v", sig, got, err)
		}
	}
}

// Signals come in the midst of everything that Go code does.
func TestCatchInTheMidst(t *testing.T) {
	p := catch(t, unix.SIGUSR1, 34)
	quit := make(chan struct{})
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				default:
					s := strings.Repeat("x", n%4096) // stacks grow, garbage is collected
					deep(n%64, s)
				}
			}
		})
	}
	for range 2000 {
		kill(t, 34) // of real time: none of them merges with another
		if got, err := p.Wait(); err != nil || got != 34 {
			t.Fatalf("got %d, %v", got, err)
		}
	}
	close(quit)
	busy.Wait()
}

func deep(n int, s string) int {
	var room [256]byte
	copy(room[:], s)
	if n == 0 {
		return int(room[0])
	}
	return deep(n-1, s) + int(room[n])
}

func TestRelease(t *testing.T) {
	status := func(field string) string {
		t.Helper()
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), field+":")
		value, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(value)
	}
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	ignored := status("SigIgn")
	p, err := Catch(unix.SIGTTOU, unix.SIGUSR2)
	if err != nil {
		t.Fatal(err)
	}
	if status("SigIgn") == ignored {
		t.Error("a signal that was ignored is not caught")
	}
	kill(t, unix.SIGTTOU)
	waiting := make(chan error, 1)
	if sig, err := p.Wait(); err != nil || sig != unix.SIGTTOU {
		t.Errorf("got %d, %v", sig, err)
	}
	go func() { _, err := p.Wait(); waiting <- err }()
	if err := p.Release(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who waited got %v", err)
	}
	if got := status("SigIgn"); got != ignored {
		t.Errorf("ignored are %s, before %s", got, ignored)
	}
	p = catch(t, unix.SIGUSR2)
	kill(t, unix.SIGUSR2)
	if sig, err := p.Wait(); err != nil || sig != unix.SIGUSR2 {
		t.Errorf("once more: %d, %v", sig, err)
	}
}

func TestCatchRefuses(t *testing.T) {
	if p, err := Catch(unix.SIGUSR1, unix.SIGKILL); !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v, %v", p, err)
	}
	p := catch(t, unix.SIGUSR1)
	kill(t, unix.SIGUSR1)
	if sig, err := p.Wait(); err != nil || sig != unix.SIGUSR1 {
		t.Errorf("after a refusal: %d, %v", sig, err)
	}
}

func TestWaitExit(t *testing.T) {
	p := catch(t, unix.SIGUSR1)
	for name, p := range map[string]*Pipe{"with signals": p, "without": nil} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sleep", "86400")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait() //nolint:errcheck // it is killed
			pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pidfd) //nolint:errcheck // nothing is written to it
			end := func() { _ = cmd.Process.Kill() }
			got := 0
			if p == nil {
				time.AfterFunc(10*time.Millisecond, end)
			} else {
				kill(t, unix.SIGUSR1)
			}
			err = p.WaitExit(pidfd, func(sig unix.Signal) {
				if got++; sig != unix.SIGUSR1 {
					t.Errorf("got %d", sig)
				}
				end()
			})
			if err != nil || p != nil && got != 1 {
				t.Errorf("%d signals, %v", got, err)
			}
		})
	}
}
