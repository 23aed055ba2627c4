// Package event is the daemon's memory of what happened: domains publish
// events, API clients subscribe to them. It owns the order of events, their
// retention and Docker's filters; it does not know what events mean, and it
// keeps nothing over a restart.
//
// Invariants: Publish never waits for a subscriber; a subscriber gets every
// matching event from its start on, in order, each once, or its channel closes.
package event

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Capacity is how many events are kept, by count; Docker keeps 256. It is also
// how far a subscriber may fall behind: past events and a subscriber's backlog
// are one ring, so a slow subscriber costs no memory of its own.
const Capacity = 4096

// scopeLocal marks events of this engine; those of a cluster are "swarm".
const scopeLocal = "local"

// Bus implements engine.Events and engine.Publisher. It is safe for concurrent
// use. Make it with New, end it with Close.
type Bus struct {
	log *slog.Logger
	now func() time.Time
	wg  sync.WaitGroup // one for each subscriber

	mu sync.Mutex
	// ring holds the events numbered next-len(ring) to next-1; number n is at
	// ring[n%Capacity] once the ring is full, at ring[n] before.
	ring   []events.Message
	next   uint64
	subs   map[*subscriber]struct{}
	closed bool
	done   chan struct{} // closed by Close
}

var (
	_ engine.Events    = (*Bus)(nil)
	_ engine.Publisher = (*Bus)(nil)
)

// New makes a bus. It reports subscribers that it has to disconnect to log.
func New(log *slog.Logger) *Bus {
	return &Bus{log: log, now: time.Now, subs: map[*subscriber]struct{}{}, done: make(chan struct{})}
}

// Publish records an event now and wakes the subscribers. It does not block and
// keeps no reference to attributes. After Close it does nothing.
func (b *Bus) Publish(t events.Type, action events.Action, id string, attributes map[string]string) {
	attrs := maps.Clone(attributes)
	if attrs == nil {
		attrs = map[string]string{} // an object in JSON, never null
	}
	m := events.Message{Type: t, Action: action, Actor: events.Actor{ID: id, Attributes: attrs}, Scope: scopeLocal}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	now := b.now() // under the lock, so that times are in the order of events
	m.Time, m.TimeNano = now.Unix(), now.UnixNano()
	if len(b.ring) < Capacity {
		b.ring = append(b.ring, m)
	} else {
		b.ring[b.next%Capacity] = m
	}
	b.next++
	for s := range b.subs {
		select {
		case s.wake <- struct{}{}:
		default: // it has not yet looked since the last time
		}
	}
}

// Subscribe returns the matching events of the past, if since or until is set
// (a zero since then means all that are kept), and then those to come, without
// a gap. The channel closes when ctx ends, when until has passed, when the bus
// closes, or when the receiver is more than Capacity events behind: then events
// would be missing, and the receiver has to subscribe anew from the last one it
// saw. The receiver reads until the channel closes, or ends ctx.
//
// A since after until is errs.InvalidArgument, a closed bus errs.Unavailable.
func (b *Bus) Subscribe(ctx context.Context, since, until time.Time, filters engine.Filters) (<-chan events.Message, error) {
	if !until.IsZero() && until.Before(since) {
		return nil, errs.New(errs.InvalidArgument, "`since` time (%s) cannot be after `until` time (%s)", since.Format(time.RFC3339Nano), until.Format(time.RFC3339Nano))
	}
	s := &subscriber{
		bus: b, filter: filter(filters), since: since, until: until,
		wake: make(chan struct{}, 1), out: make(chan events.Message),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errs.New(errs.Unavailable, "subscribe to events: the daemon is shutting down")
	}
	s.at = b.next
	if !since.IsZero() || !until.IsZero() {
		s.at = b.next - uint64(len(b.ring))
	}
	s.past = b.next
	b.subs[s] = struct{}{}
	b.wg.Go(func() { s.run(ctx) })
	return s.out, nil
}

// Close ends all subscriptions and waits for their goroutines. It is idempotent.
func (b *Bus) Close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	b.mu.Unlock()
	b.wg.Wait()
}
