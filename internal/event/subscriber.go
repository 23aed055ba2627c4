package event

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/events"
)

// batch is how many events a subscriber copies at a time, holding the lock.
const batch = 64

// subscriber is one reader's place in the ring. Its goroutine alone uses it,
// apart from wake.
type subscriber struct {
	bus          *Bus
	filter       filter
	since, until time.Time
	at           uint64 // number of the next event to look at
	past         uint64 // events below happened before the subscription
	wake         chan struct{}
	out          chan events.Message
}

// run delivers until something ends the subscription.
func (s *subscriber) run(ctx context.Context) {
	defer s.leave()
	var expired <-chan time.Time
	if !s.until.IsZero() {
		timer := time.NewTimer(time.Until(s.until))
		defer timer.Stop()
		expired = timer.C
	}
	last := false
	buf := make([]events.Message, 0, batch)
	for {
		var ok bool
		if buf, ok = s.take(buf[:0]); !ok {
			s.bus.log.WarnContext(ctx, "event subscriber is too slow, disconnected", "backlog", Capacity)
			return
		}
		for _, m := range buf {
			select {
			case s.out <- m:
			case <-ctx.Done():
				return
			case <-s.bus.done:
				return
			}
		}
		if len(buf) > 0 {
			continue
		}
		if last {
			return
		}
		select {
		case <-s.wake:
		case <-expired:
			last = true // what happened in time is still delivered
		case <-ctx.Done():
			return
		case <-s.bus.done:
			return
		}
	}
}

func (s *subscriber) leave() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	close(s.out)
}

// take fills buf with the next matching events, empty if there are none. ok is
// false if events that the subscriber has not seen are gone from the ring.
func (s *subscriber) take(buf []events.Message) (out []events.Message, ok bool) {
	for len(buf) == 0 {
		var more bool
		if buf, more, ok = s.read(buf); !ok || !more {
			break
		}
		n := 0
		for _, m := range buf {
			if s.matches(m) {
				buf[n] = m
				n++
			}
		}
		clear(buf[n:])
		buf = buf[:n]
	}
	return buf, ok
}

// read copies up to batch events from the ring. more is false at its end.
func (s *subscriber) read(buf []events.Message) (out []events.Message, more, ok bool) {
	b := s.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if oldest := b.next - uint64(len(b.ring)); s.at < oldest {
		if oldest > s.past {
			return buf, false, false
		}
		s.at = oldest // a shorter past; nothing is missing since the subscription
	}
	for ; s.at < b.next && len(buf) < cap(buf); s.at++ {
		buf = append(buf, b.ring[s.at%Capacity])
	}
	return buf, len(buf) > 0, true
}

func (s *subscriber) matches(m events.Message) bool {
	if !s.since.IsZero() && m.TimeNano < s.since.UnixNano() {
		return false
	}
	if !s.until.IsZero() && m.TimeNano > s.until.UnixNano() {
		return false
	}
	return s.filter.match(m)
}
