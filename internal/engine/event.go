package engine

import (
	"context"
	"github.com/moby/moby/api/types/events"
	"time"
)

// Events gives past events since `since` and, until ctx ends or `until` has
// passed, new ones, with no gap between the two.
type Events interface {
	Subscribe(ctx context.Context, since, until time.Time, filters Filters) (<-chan events.Message, error)
}

// Publisher takes events from the domains. It never blocks.
type Publisher interface {
	Publish(t events.Type, action events.Action, id string, attributes map[string]string)
}
