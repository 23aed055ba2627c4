package network

import (
	"log/slog"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/linux/netlink"
)

// reapAfter is how long the kernel gets to delete a link with its namespace
// before we do it: deleting one costs milliseconds with every link of the
// machine locked, and hardly any link is left by then.
const reapAfter = 2 * time.Second

// reaper deletes the links of containers that are gone whose namespaces are
// not, because somebody else holds them.
type reaper struct {
	links *netlink.Conn
	log   *slog.Logger
	in    chan int
	wg    sync.WaitGroup
}

func newReaper(links *netlink.Conn, log *slog.Logger) *reaper {
	r := &reaper{links: links, log: log, in: make(chan int, 64)}
	r.wg.Go(r.run)
	return r
}

// add takes the index of a link that must go.
func (r *reaper) add(index int) { r.in <- index }

func (r *reaper) run() {
	var due []int
	timer := time.NewTimer(reapAfter)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case index, ok := <-r.in:
			if !ok {
				r.reap(due)
				return
			}
			if due = append(due, index); len(due) == 1 {
				timer.Reset(reapAfter)
			}
		case <-timer.C:
			r.reap(due)
			due = nil
		}
	}
}

func (r *reaper) reap(due []int) {
	reqs := make([]netlink.Request, len(due))
	for i, index := range due {
		reqs[i] = netlink.DelLink(index)
	}
	if err := r.links.Do(reqs...); err != nil {
		r.log.Warn("delete links of stopped containers", "error", err)
	}
}

// close deletes what is left, at once.
func (r *reaper) close() {
	close(r.in)
	r.wg.Wait()
}
