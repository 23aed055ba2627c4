package container

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/docker/go-units"
	containertypes "github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/client"
)

// board holds the latest sample of each container. It owns one goroutine per
// container, ended by the context with which the container was added.
type board struct {
	c      *client.Client
	stream bool
	failed chan error
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	order []string
	seen  map[string]*watched
}

type watched struct {
	name   string // as asked for
	first  chan struct{}
	once   sync.Once
	cancel context.CancelFunc
	sample *containertypes.StatsResponse
	gone   bool
	err    error
}

func newBoard(c *client.Client, stream bool) *board {
	return &board{c: c, stream: stream, failed: make(chan error, 1), seen: map[string]*watched{}}
}

func (b *board) add(ctx context.Context, id, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.seen[id]; w != nil && !w.gone {
		return
	} else if w == nil {
		b.order = append(b.order, id)
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watched{name: name, first: make(chan struct{}), cancel: cancel}
	b.seen[id] = w
	b.wg.Go(func() { defer cancel(); b.collect(ctx, id, w) })
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.seen[id]
	if w == nil {
		return
	}
	w.cancel()
	delete(b.seen, id)
	for i, o := range b.order {
		if o == id {
			b.order = append(b.order[:i], b.order[i+1:]...)
			return
		}
	}
}

func (b *board) collect(ctx context.Context, id string, w *watched) {
	defer w.once.Do(func() { close(w.first) })
	body, err := b.c.ContainerStats(ctx, id, client.ContainerStatsOptions{Stream: b.stream})
	if err != nil {
		b.mu.Lock()
		w.err, w.gone = err, true
		b.mu.Unlock()
		return
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var sample containertypes.StatsResponse
		if err := dec.Decode(&sample); err != nil {
			b.mu.Lock()
			w.gone = b.stream
			b.mu.Unlock()
			return
		}
		b.mu.Lock()
		w.sample = &sample
		b.mu.Unlock()
		w.once.Do(func() { close(w.first) })
	}
}

// awaitFirst waits for a sample of each container and returns the first error.
func (b *board) awaitFirst(ctx context.Context) error {
	b.mu.Lock()
	all := make([]*watched, 0, len(b.order))
	for _, id := range b.order {
		all = append(all, b.seen[id])
	}
	b.mu.Unlock()
	for _, w := range all {
		select {
		case <-w.first:
		case <-ctx.Done():
			return nil
		}
		b.mu.Lock()
		err := w.err
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *board) allGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.seen {
		if !w.gone {
			return false
		}
	}
	return true
}

func (b *board) rows(stopped bool) []render.Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rows []render.Row
	for _, id := range b.order {
		w := b.seen[id]
		if w.gone && !stopped {
			continue
		}
		rows = append(rows, &statsRow{name: w.name, s: w.sample})
	}
	return rows
}

// statsRow is a container's sample; its methods are the placeholders.
type statsRow struct {
	render.Base
	name  string
	s     *containertypes.StatsResponse // nil: none yet
	trunc bool
}

// none stands for a figure that there is not.
const none = "--"

func (r *statsRow) Container() string { return r.name }

func (r *statsRow) Name() string {
	if r.s != nil && len(r.s.Name) > 1 {
		return trimSlash(r.s.Name)
	}
	return none
}

func (r *statsRow) ID() string {
	id := r.name
	if r.s != nil && r.s.ID != "" {
		id = r.s.ID
	}
	if r.trunc {
		return render.ShortID(id)
	}
	return id
}

func (r *statsRow) CPUPerc() string {
	if r.s == nil {
		return none
	}
	return fmt.Sprintf("%.2f%%", cpuPercent(r.s))
}

func (r *statsRow) MemUsage() string {
	if r.s == nil {
		return none + " / " + none
	}
	return units.BytesSize(float64(memoryUsed(&r.s.MemoryStats))) + " / " + units.BytesSize(float64(r.s.MemoryStats.Limit))
}

func (r *statsRow) MemPerc() string {
	if r.s == nil {
		return none
	}
	p := 0.0
	if limit := r.s.MemoryStats.Limit; limit != 0 {
		p = float64(memoryUsed(&r.s.MemoryStats)) / float64(limit) * 100
	}
	return fmt.Sprintf("%.2f%%", p)
}

func (r *statsRow) NetIO() string {
	if r.s == nil {
		return none
	}
	var rx, tx uint64
	for _, n := range r.s.Networks {
		rx += n.RxBytes
		tx += n.TxBytes
	}
	return render.Size(int64(rx)) + " / " + render.Size(int64(tx))
}

func (r *statsRow) BlockIO() string {
	if r.s == nil {
		return none
	}
	var read, write uint64
	for _, e := range r.s.BlkioStats.IoServiceBytesRecursive {
		switch {
		case e.Op == "":
		case e.Op[0] == 'r' || e.Op[0] == 'R':
			read += e.Value
		case e.Op[0] == 'w' || e.Op[0] == 'W':
			write += e.Value
		}
	}
	return render.Size(int64(read)) + " / " + render.Size(int64(write))
}

func (r *statsRow) PIDs() string {
	if r.s == nil {
		return none
	}
	return fmt.Sprint(r.s.PidsStats.Current)
}

// cpuPercent is the share of one CPU that was used between the two samples.
func cpuPercent(s *containertypes.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	system := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	cpus := float64(s.CPUStats.OnlineCPUs)
	if cpus == 0 {
		cpus = float64(len(s.CPUStats.CPUUsage.PercpuUsage))
	}
	if system <= 0 || used <= 0 {
		return 0
	}
	return used / system * cpus * 100
}

// memoryUsed leaves out the page cache that can be dropped at once. Its name
// differs between cgroup versions.
func memoryUsed(m *containertypes.MemoryStats) uint64 {
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if v, ok := m.Stats[key]; ok && v < m.Usage {
			return m.Usage - v
		}
	}
	return m.Usage
}
