package network

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"crypto/rand"

	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
)

// spare is a namespace that is ready but for its address: lo and eth0 are up,
// eth0's other end is an active port of the bridge.
type spare struct {
	ns   *os.File
	in   *netlink.Conn // to the namespace
	eth  int           // index of eth0
	port int           // index of the bridge's port
	name string        // of the port
}

// discard closes the spare. The kernel deletes its links with the namespace.
func (s *spare) discard() { _ = errors.Join(s.in.Close(), s.ns.Close()) }

// pool keeps spares ready. Its goroutine makes them one by one; whoever finds
// the pool empty makes his own.
type pool struct {
	bridge *bridge
	home   *os.File
	log    *slog.Logger
	ready  chan *spare
	more   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	names map[string]struct{} // ports of spares that are being made or ready
}

// newPool starts filling. The caller ends it with close.
func newPool(home *os.File, b *bridge, size int, log *slog.Logger) *pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pool{
		bridge: b, home: home, log: log, cancel: cancel,
		ready: make(chan *spare, max(size, 0)), more: make(chan struct{}, 1),
		names: map[string]struct{}{},
	}
	if size > 0 {
		p.more <- struct{}{}
		p.wg.Go(func() { p.fill(ctx) })
	}
	return p
}

// get gives a spare, which the caller owns. Its port counts as the pool's until
// disown, so that it is never taken for a left-over.
func (p *pool) get() (*spare, error) {
	select {
	case s := <-p.ready:
		p.nudge()
		return s, nil
	default:
		p.nudge()
		return p.make()
	}
}

// disown forgets a spare that was given away.
func (p *pool) disown(s *spare) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.names, s.name)
}

// owns tells whether a port belongs to a spare.
func (p *pool) owns(port string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.names[port]
	return ok
}

func (p *pool) nudge() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *pool) fill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.more:
		}
		for ctx.Err() == nil && len(p.ready) < cap(p.ready) {
			s, err := p.make()
			if err != nil {
				// The next Attach tries for itself and reports it to its caller.
				p.log.Warn("prepare network namespace", "bridge", p.bridge.name, "error", err)
				break
			}
			p.ready <- s // never blocks: nobody else sends
		}
	}
}

func (p *pool) make() (*spare, error) {
	s := &spare{name: "veth" + randomHex(7)}
	p.mu.Lock()
	p.names[s.name] = struct{}{}
	p.mu.Unlock()
	err := netns.Do(p.home, func() error {
		ns, err := netns.New(func(ns *os.File) error { return s.setup(p.bridge, ns) })
		s.ns = ns
		return err
	})
	if err != nil {
		p.disown(s)
		return nil, err
	}
	return s, nil
}

// setup furnishes a new namespace; it runs on a thread inside.
func (s *spare) setup(b *bridge, ns *os.File) (err error) {
	if s.in, err = netlink.Open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.in.Close())
		}
	}()
	port := netlink.Named(s.name)
	err = b.links.Do(
		netlink.NewVeth(netlink.VethSpec{Name: s.name, MTU: b.mtu, Master: b.index, Peer: containerLink, PeerNS: ns}),
		netlink.LinkNoLinkLocal(port),
		netlink.LinkUp(port),
	)
	if err != nil {
		return err
	}
	if b.ipv6 {
		// As Docker: ::1 works on lo, but a network without IPv6 has none.
		err := writeSysctl("ipv6/conf/"+containerLink+"/disable_ipv6", "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err = s.in.Do(
		netlink.GetLink(containerLink, &s.eth, &s.port),
		netlink.LinkUp(netlink.Named("lo")),
		netlink.LinkUp(netlink.Named(containerLink)),
	)
	if err == nil {
		// Hairpin is for a container that uses its own published port while
		// br_netfilter is active, which makes a bridged frame of what is routed
		// otherwise.
		err = b.links.Do(netlink.SetPort(s.port, netlink.PortMode{Isolated: !b.icc, Hairpin: b.icc}))
	}
	return err
}

// containerLink is the name of the link in a container.
const containerLink = "eth0"

// close ends the pool and deletes its spares.
func (p *pool) close() {
	p.cancel()
	p.wg.Wait()
	for {
		select {
		case s := <-p.ready:
			s.discard()
		default:
			return
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)[:n]
}
