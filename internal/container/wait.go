package container

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

// waiter is one pending wait.
type waiter struct {
	cond container.WaitCondition
	ch   chan container.WaitResponse // buffered for its one answer
}

// Wait answers when the condition holds: at once if the container is not
// running and that is what is waited for.
func (s *Service) Wait(ctx context.Context, id string, cond container.WaitCondition) (<-chan container.WaitResponse, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	switch cond {
	case "":
		cond = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, errs.New(errs.InvalidArgument, "invalid condition: %q", cond)
	}
	w := waiter{cond: cond, ch: make(chan container.WaitResponse, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.rec.State; cond == container.WaitConditionNotRunning && !st.running() && st.Status != container.StateRestarting {
		w.ch <- container.WaitResponse{StatusCode: int64(st.ExitCode)}
		return w.ch, nil
	}
	c.waiters = append(c.waiters, w)
	context.AfterFunc(ctx, func() { c.dropWaiter(w.ch) })
	return w.ch, nil
}

func (c *ctr) dropWaiter(ch chan container.WaitResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters = slices.DeleteFunc(c.waiters, func(w waiter) bool { return w.ch == ch })
}

// notify answers the waiters for the given conditions.
func (c *ctr) notify(code int, conds ...container.WaitCondition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters = slices.DeleteFunc(c.waiters, func(w waiter) bool {
		if !slices.Contains(conds, w.cond) {
			return false
		}
		w.ch <- container.WaitResponse{StatusCode: int64(code)}
		return true
	})
}
