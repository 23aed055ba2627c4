package event

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.Goroutines}})
}

func newBus(t *testing.T) *Bus {
	t.Helper()
	b := New(slog.New(slog.DiscardHandler))
	t.Cleanup(b.Close)
	return b
}

func (b *Bus) publish(n int) {
	b.Publish(events.ContainerEventType, events.ActionStart, strconv.Itoa(n), nil)
}

// expect reads the IDs from..to from the channel.
func expect(t *testing.T, ch <-chan events.Message, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		select {
		case m, ok := <-ch:
			if !ok || m.Actor.ID != strconv.Itoa(i) {
				t.Fatalf("got event %q (open %v); want %d", m.Actor.ID, ok, i)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %d", i)
		}
	}
}

func expectClosed(t *testing.T, ch <-chan events.Message) {
	t.Helper()
	select {
	case m, ok := <-ch:
		if ok {
			t.Fatalf("got event %q; want the end", m.Actor.ID)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the channel stays open")
	}
}

func TestMessage(t *testing.T) {
	b := newBus(t)
	ch, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	attrs := map[string]string{"name": "web"}
	before := time.Now()
	b.Publish(events.ContainerEventType, events.ActionDie, "abc", attrs)
	attrs["name"] = "changed"
	b.Publish(events.NetworkEventType, events.ActionConnect, "def", nil)
	m := <-ch
	if m.Type != events.ContainerEventType || m.Action != events.ActionDie || m.Actor.ID != "abc" ||
		m.Actor.Attributes["name"] != "web" || m.Scope != "local" {
		t.Errorf("%+v", m)
	}
	if m.TimeNano < before.UnixNano() || m.TimeNano > time.Now().UnixNano() || m.Time != m.TimeNano/1e9 {
		t.Errorf("time %d, %d", m.Time, m.TimeNano)
	}
	if m := <-ch; m.Actor.Attributes == nil {
		t.Error("attributes would be null in JSON")
	}
}

func TestPastThenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		for i := range 10 {
			b.publish(i)
			time.Sleep(time.Second)
		}
		ch, err := b.Subscribe(t.Context(), time.Now().Add(-4*time.Second), time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.publish(10)
		expect(t, ch, 6, 10)
		b.publish(11)
		expect(t, ch, 11, 11)
	})
}

func TestWithoutSinceOnlyLive(t *testing.T) {
	b := newBus(t)
	b.publish(1)
	ch, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.publish(2)
	expect(t, ch, 2, 2)
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		for i := range 4 {
			b.publish(i)
			time.Sleep(time.Second)
		}
		past, err := b.Subscribe(t.Context(), time.Time{}, time.Now().Add(-2*time.Second), nil)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, past, 0, 2)
		expectClosed(t, past)

		future, err := b.Subscribe(t.Context(), time.Now(), time.Now().Add(3*time.Second), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4; i < 10; i++ { // at 0, 1, 2, 3, 4, 5 seconds
			b.publish(i)
			time.Sleep(time.Second)
		}
		expect(t, future, 4, 7) // though nobody read before the time was over
		expectClosed(t, future)
	})
}

func TestInvalidTimes(t *testing.T) {
	b := newBus(t)
	now := time.Now()
	if _, err := b.Subscribe(t.Context(), now, now.Add(-time.Second), nil); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("since after until: %v", err)
	}
}

func TestCapacity(t *testing.T) {
	b := newBus(t)
	for i := range Capacity + 100 {
		b.publish(i)
	}
	ch, err := b.Subscribe(t.Context(), time.Unix(1, 0), time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, ch, 100, Capacity+99)
}

// TestSlowSubscriber: a reader that sleeps through more than the capacity is
// disconnected, others are not.
func TestSlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		slow, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		fast, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2*Capacity + 10 {
			b.publish(i)
			expect(t, fast, i, i)
		}
		got := 0
		for m := range slow {
			if m.Actor.ID != strconv.Itoa(got) {
				t.Fatalf("event %s after %d: a gap", m.Actor.ID, got-1)
			}
			got++
		}
		if got > 2*batch {
			t.Errorf("%d events before the end", got)
		}
		b.publish(2*Capacity + 10)
		expect(t, fast, 2*Capacity+10, 2*Capacity+10)
	})
}

// TestSlowStart: history that falls out of the ring while it is being read is a
// shorter past, not an error, as long as nothing since the start is missing.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		for i := range Capacity {
			b.publish(i)
		}
		ch, err := b.Subscribe(t.Context(), time.Unix(1, 0), time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it holds one batch and waits to deliver it
		const more = Capacity - 10
		for i := range more {
			b.publish(Capacity + i)
		}
		expect(t, ch, 0, batch-1)
		expect(t, ch, more, Capacity+more-1)
	})
}

func TestCancelAndClose(t *testing.T) {
	b := New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, err := b.Subscribe(ctx, time.Time{}, time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	expectClosed(t, cancelled)
	b.Close()
	b.Close()
	expectClosed(t, closed)
	b.publish(1)
	if _, err := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("subscribe to a closed bus: %v", err)
	}
}

// TestConcurrent: many publishers and subscribers that come at any moment; each
// subscriber sees each publisher's events in order, without gap or double, from
// some point on.
func TestConcurrent(t *testing.T) {
	b := newBus(t)
	const publishers, each, readers = 4, 500, 8
	var wg sync.WaitGroup
	start := time.Now()
	for r := range readers {
		wg.Go(func() {
			time.Sleep(time.Duration(r) * 300 * time.Microsecond)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ch, err := b.Subscribe(ctx, start, time.Time{}, engine.Filters{"type": {"volume"}})
			if err != nil {
				t.Error(err)
				return
			}
			next := map[string]int{}
			for n := 0; n < publishers*each; n++ {
				m, ok := <-ch
				if !ok {
					t.Errorf("reader %d: the end after %d events", r, n)
					return
				}
				p := m.Actor.ID
				if got := m.Actor.Attributes["n"]; got != strconv.Itoa(next[p]) {
					t.Errorf("reader %d: publisher %s's event %s; want %d", r, p, got, next[p])
					return
				}
				next[p]++
			}
		})
	}
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				b.Publish(events.VolumeEventType, events.ActionCreate, strconv.Itoa(p), map[string]string{"n": strconv.Itoa(i)})
				b.Publish(events.DaemonEventType, events.ActionReload, "d", nil)
			}
		})
	}
	wg.Wait()
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 10} {
		b.Run(fmt.Sprint(subscribers), func(b *testing.B) {
			bus := New(slog.New(slog.DiscardHandler))
			defer bus.Close()
			for range subscribers {
				ch, err := bus.Subscribe(b.Context(), time.Time{}, time.Time{}, engine.Filters{"container": {"nothing"}})
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					for range ch {
					}
				}()
			}
			attrs := map[string]string{"name": "web", "image": "busybox", "exitCode": "0"}
			for b.Loop() {
				bus.Publish(events.ContainerEventType, events.ActionDie, "abc", attrs)
			}
		})
	}
}
