package image

import (
	"io"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
)

// progressInterval is how often a layer's bytes are reported at most.
const progressInterval = 100 * time.Millisecond

// countingReader reports how much was read so far.
type countingReader struct {
	r      io.Reader
	n      int64
	report func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if n > 0 {
		c.report(c.n)
	}
	return n, err
}

// layerProgress reports a layer under its short ID, not too often.
type layerProgress struct {
	p  engine.Progress
	id string

	mu   sync.Mutex
	last time.Time
}

func (l *layerProgress) message(status string) { l.p.Message(l.id, status) }

func (l *layerProgress) bytes(status string, current, total int64) {
	l.mu.Lock()
	now := time.Now()
	due := now.Sub(l.last) >= progressInterval || current == total
	if due {
		l.last = now
	}
	l.mu.Unlock()
	if due {
		l.p.Bytes(l.id, status, current, total)
	}
}
