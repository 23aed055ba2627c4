// Package cleanup undoes the done part of an operation of several steps that
// failed. Each step pushes its undo; Run in a defer unwinds them in reverse
// order unless Release was called because everything succeeded.
package cleanup

import (
	"context"
	"errors"
	"time"
)

// Timeout bounds one Run: an undo must not hang because the operation's own
// context is gone or a disk is slow.
const Timeout = 30 * time.Second

// Stack is a list of undo steps. The zero value is ready. It is not safe for
// concurrent use: it belongs to the one function that performs the operation.
type Stack struct {
	steps []func(context.Context) error
}

// Push adds an undo step. A step must be idempotent.
func (s *Stack) Push(step func(context.Context) error) { s.steps = append(s.steps, step) }

// PushFunc adds an undo step that cannot fail.
func (s *Stack) PushFunc(step func()) {
	s.Push(func(context.Context) error { step(); return nil })
}

// Release forgets all steps: the operation has succeeded.
func (s *Stack) Release() { s.steps = nil }

// Run performs the steps in reverse order with a context of their own and
// returns what went wrong, joined. Every step runs even if an earlier failed.
func (s *Stack) Run() error {
	if len(s.steps) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	var all error
	for i := len(s.steps) - 1; i >= 0; i-- {
		all = errors.Join(all, s.steps[i](ctx))
	}
	s.steps = nil
	return all
}
