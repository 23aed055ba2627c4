package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// meterIdle is how long a container's statistics stay open after the last sample.
const meterIdle = 10 * time.Second

// meter is what one run's statistics are read from.
type meter struct {
	pid  int
	idle *time.Timer // closes it

	mu     sync.Mutex
	closed bool
	group  *cgroup.Meter
	net    *os.File // interfaces of the container's network namespace; nil: the host's
	buf    []byte
}

// measure takes a sample of a running container.
func (s *Service) measure(ctx context.Context, c *ctr, r *record) (*cgroup.Stats, map[string]container.NetworkStats, error) {
	c.mu.Lock()
	m := c.meter
	c.mu.Unlock()
	if m != nil && m.pid == r.State.Pid {
		m.idle.Reset(meterIdle)
		st, networks, err := m.read()
		if !errors.Is(err, os.ErrClosed) {
			return st, networks, err
		}
	}
	m, err := s.openMeter(ctx, c, r)
	if err != nil {
		return nil, nil, err
	}
	return m.read()
}

func (s *Service) openMeter(ctx context.Context, c *ctr, r *record) (*meter, error) {
	raw, err := s.Supervisor.Cgroup(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	var group cgroup.Group
	if err := json.Unmarshal(raw, &group); err != nil {
		return nil, fmt.Errorf("decode cgroup of container %s: %w", r.ID, err)
	}
	m := &meter{pid: r.State.Pid, buf: make([]byte, 4<<10)}
	if m.group, err = group.NewMeter(); err != nil {
		return nil, err
	}
	if !r.Host.NetworkMode.IsHost() {
		if m.net, err = os.Open(fmt.Sprintf("/proc/%d/net/dev", r.State.Pid)); err != nil {
			m.group.Close()
			return nil, errs.New(errs.NotFound, "container %s has ended: %w", r.ID, err)
		}
	}
	m.idle = time.AfterFunc(meterIdle, c.closeMeter)
	c.mu.Lock()
	old := c.meter
	ended := c.exited == nil
	if !ended {
		c.meter = m
	}
	c.mu.Unlock()
	old.close()
	if ended {
		m.close()
		return nil, errs.New(errs.NotFound, "container %s has ended", r.ID)
	}
	return m, nil
}

func (m *meter) read() (*cgroup.Stats, map[string]container.NetworkStats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, os.ErrClosed
	}
	st, err := m.group.Read()
	if err != nil || m.net == nil {
		return st, nil, err
	}
	for {
		n, err := m.net.ReadAt(m.buf, 0)
		if errors.Is(err, io.EOF) {
			return st, networkStats(m.buf[:n]), nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read network statistics: %w", err)
		}
		m.buf = make([]byte, 2*len(m.buf))
	}
}

// close may be called on nil and more than once.
func (m *meter) close() {
	if m == nil {
		return
	}
	m.idle.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	m.group.Close()
	if m.net != nil {
		_ = m.net.Close() // read only
	}
}

// closeMeter closes what an open meter holds; the next sample opens a new one.
func (c *ctr) closeMeter() {
	c.mu.Lock()
	m := c.meter
	c.meter = nil
	c.mu.Unlock()
	m.close()
}
