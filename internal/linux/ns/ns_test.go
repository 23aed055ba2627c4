package ns

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestParseStat(t *testing.T) {
	line := "42 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21"
	got, err := parseStat([]byte(line))
	if err != nil || got != (Proc{'S', 777}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S", "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}

func TestOpenGuardsAgainstReuse(t *testing.T) {
	st, err := Stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	fd, err := Open(os.Getpid(), st.StartTime)
	if err != nil {
		t.Fatal(err)
	}
	if ended, err := WaitExit(fd, 0); err != nil || ended {
		t.Errorf("we have ended? %v, %v", ended, err)
	}
	if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
	if _, err := Open(os.Getpid(), st.StartTime+1); !errors.Is(err, unix.ESRCH) {
		t.Errorf("another start time: got %v", err)
	}
	if _, err := Stat(1 << 30); !Gone(err) {
		t.Errorf("no such process: got %v", err)
	}
}

func TestWaitExit(t *testing.T) {
	cmd := exec.Command("sleep", "0.1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ended, err := WaitExit(fd, time.Millisecond); err != nil || ended {
		t.Errorf("too early: %v, %v", ended, err)
	}
	if ended, err := WaitExit(fd, -1); err != nil || !ended {
		t.Errorf("got %v, %v", ended, err)
	}
	if err := errors.Join(unix.Close(fd), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// TestOnThread changes what belongs to a thread many times over and checks that
// no thread that goes on has been touched.
func TestOnThread(t *testing.T) {
	testenv.Need(t, testenv.Root)
	before, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			err := OnThread(func() error {
				if unix.Gettid() == os.Getpid() {
					return errors.New("it is the main thread")
				}
				if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
					return err
				}
				now, err := os.Readlink("/proc/thread-self/ns/uts")
				if err == nil && now == before {
					err = errors.New("nothing changed")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	deadline := time.Now().Add(time.Minute)
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		touched := 0
		for _, task := range tasks {
			if now, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/uts"); err == nil && now != before {
				touched++
			}
		}
		if touched == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads are left changed", touched)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestThread: what a thread begins with happens before its work, which does not take
// place if that fails; one without work ends.
func TestThread(t *testing.T) {
	wrong := errors.New("wrong")
	for _, c := range []struct {
		name        string
		first, work error
		want        error
	}{
		{"both", nil, nil, nil},
		{"first fails", wrong, errors.New("not reached"), wrong},
		{"work fails", nil, wrong, wrong},
	} {
		first, worked := 0, 0
		thread := Begin(func() error { first = unix.Gettid(); return c.first })
		err := thread.Do(func() error { worked = unix.Gettid(); return c.work })
		thread.End()
		if !errors.Is(err, c.want) || (worked == 0) != (c.first != nil) || worked != 0 && worked != first {
			t.Errorf("%s: on threads %d and %d: %v", c.name, first, worked, err)
		}
	}
	ran := false
	thread := Begin(func() error { ran = true; return nil })
	thread.End()
	thread.End()
	(*Thread)(nil).End()
	if !ran {
		t.Error("a thread without work has not begun")
	}
	if err := (*Thread)(nil).Do(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}

func TestKinds(t *testing.T) {
	seen := map[int]bool{}
	for _, k := range Kinds {
		if got, ok := KindOf(k.Name); !ok || got != k || seen[k.Clone] {
			t.Errorf("%+v", k)
		}
		seen[k.Clone] = true
		if _, err := os.Stat("/proc/self/ns/" + k.File); err != nil {
			t.Error(err)
		}
	}
	if _, ok := KindOf("nope"); ok {
		t.Error("nope is a kind")
	}
}

// Children of OnThread get the slack that the process was started with.
func TestCoarseTimers(t *testing.T) {
	read := func() (slack int) {
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Error(err)
		}
		return slack
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := read()
	if err := CoarseTimers(); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != 1_000_000 {
		t.Errorf("slack %d ns", got)
	}
	err := OnThread(func() error {
		if got := read(); got != before {
			t.Errorf("slack %d ns on a thread that forks, not %d", got, before)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBornFails(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	pid, want := 0, errors.New("no maps")
	_, err = ForkJoin(func() (Joiner, error) {
		return Joiner{
			Program: int(self.Fd()), Argv: []string{"true"}, CgroupFD: -1, OwnMemory: true,
			Born: func(p int) error { pid = p; return want },
		}, nil
	})
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if _, err := Stat(pid); pid == 0 || !Gone(err) {
		t.Errorf("the child %d is still there: %v", pid, err)
	}
}

// TestBornFailsBeside lets one child fail while another one, born after it and so
// with a copy of its pipes, waits.
func TestBornFailsBeside(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	want := errors.New("no maps")
	fork := func(born func(int) error) <-chan error {
		failed := make(chan error, 1)
		go func() {
			_, err := ForkJoin(func() (Joiner, error) {
				return Joiner{Program: int(self.Fd()), Argv: []string{"true"}, CgroupFD: -1, OwnMemory: true, Born: born}, nil
			})
			failed <- err
		}()
		return failed
	}
	isBorn, fail, end := make(chan bool), make(chan bool), make(chan bool)
	first := fork(func(int) error { isBorn <- true; <-fail; return want })
	<-isBorn
	second := fork(func(int) error { isBorn <- true; <-end; return want })
	<-isBorn
	close(fail)
	select {
	case err := <-first:
		if !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the first child's failure waits for the second child")
	}
	close(end)
	if err := <-second; !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestOpenChild(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := OpenChild(cmd.Process.Pid)
	if err != nil || c.Pid != cmd.Process.Pid {
		t.Fatalf("got %+v, %v", c, err)
	}
	if err := unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0); err != nil {
		t.Error(err)
	}
	if ended, err := WaitExit(c.PidFD, time.Minute); err != nil || !ended {
		t.Errorf("%v, %v", ended, err)
	}
	if err := unix.Close(c.PidFD); err != nil {
		t.Error(err)
	}
	if c, err = OpenChild(cmd.Process.Pid); err != nil { // a zombie is one still
		t.Error(err)
	} else if err := unix.Close(c.PidFD); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	for _, stranger := range []int{os.Getppid(), os.Getpid(), 1, 1 << 30} {
		if c, err := OpenChild(stranger); err == nil {
			t.Errorf("%d was taken for a child: %+v", stranger, c)
		}
	}
}

// TestAgainFails lets the child's own child fail: nothing of ours is closed for it.
func TestAgainFails(t *testing.T) {
	testenv.Need(t, testenv.Root)
	noProgram, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = noProgram.Close() }() // only read
	var before, after unix.Stat_t
	if err := unix.Fstat(0, &before); err != nil {
		t.Fatal(err)
	}
	_, err = ForkJoin(func() (Joiner, error) {
		return Joiner{
			Program: int(noProgram.Fd()), Argv: []string{"none"}, Env: []string{""}, CgroupFD: -1, OwnMemory: true, Again: true,
		}, nil
	})
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v", err)
	}
	if err := unix.Fstat(0, &after); err != nil || after.Ino != before.Ino {
		t.Errorf("our standard input: %v", err)
	}
}
