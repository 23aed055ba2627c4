package image

import (
	"context"
	"sync"
)

// keyedLock is a mutex per key. The zero value is ready.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]*lockEntry
}

type lockEntry struct {
	token   chan struct{} // holds one token while free
	waiters int           // holder included
}

// lock waits for the key, at most until ctx ends. unlock may be called once.
func (k *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	e := k.held[key]
	if e == nil {
		e = &lockEntry{token: make(chan struct{}, 1)}
		e.token <- struct{}{}
		if k.held == nil {
			k.held = map[string]*lockEntry{}
		}
		k.held[key] = e
	}
	e.waiters++
	k.mu.Unlock()
	select {
	case <-e.token:
		return func() { e.token <- struct{}{}; k.leave(key, e) }, nil
	case <-ctx.Done():
		k.leave(key, e)
		return nil, ctx.Err()
	}
}

func (k *keyedLock) leave(key string, e *lockEntry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.waiters--; e.waiters == 0 {
		delete(k.held, key)
	}
}

// try takes the key if nobody holds or awaits it.
func (k *keyedLock) try(key string) (unlock func(), ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held[key] != nil {
		return nil, false
	}
	e := &lockEntry{token: make(chan struct{}, 1), waiters: 1}
	if k.held == nil {
		k.held = map[string]*lockEntry{}
	}
	k.held[key] = e
	return func() { e.token <- struct{}{}; k.leave(key, e) }, true
}
