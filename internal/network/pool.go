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

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
	"github.com/gantry-run/gantry/internal/linux/userns"
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

// stock keeps things ready that take long to make. Its goroutine makes them one
// by one; whoever finds the stock empty makes his own.
type stock[T any] struct {
	make    func() (T, error)
	discard func(T)
	failed  func(error) // of the goroutine; the next get tries for itself and reports it

	ready  chan T
	more   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// start starts filling. The caller ends it with close.
func (p *stock[T]) start(size int) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.ready, p.more = cancel, make(chan T, max(size, 0)), make(chan struct{}, 1)
	if size > 0 {
		p.more <- struct{}{}
		p.wg.Go(func() { p.fill(ctx) })
	}
}

// get gives one, which the caller owns.
func (p *stock[T]) get() (T, error) {
	select {
	case s := <-p.ready:
		p.nudge()
		return s, nil
	default:
		p.nudge()
		return p.make()
	}
}

func (p *stock[T]) nudge() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *stock[T]) fill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.more:
		}
		for ctx.Err() == nil && len(p.ready) < cap(p.ready) {
			s, err := p.make()
			if err != nil {
				p.failed(err)
				break
			}
			p.ready <- s // never blocks: nobody else sends
		}
	}
}

// close ends the filling and discards what is there.
func (p *stock[T]) close() {
	p.cancel()
	p.wg.Wait()
	for {
		select {
		case s := <-p.ready:
			p.discard(s)
		default:
			return
		}
	}
}

// creator makes a network namespace and calls setup on a thread inside it, as
// netns.New does.
type creator func(setup func(ns *os.File) error) (*os.File, error)

// furnisher is a creator of what make makes.
func furnisher(make func() (*os.File, error)) creator {
	return func(setup func(*os.File) error) (*os.File, error) {
		ns, err := make()
		if err != nil {
			return nil, err
		}
		if err := netns.Do(ns, func() error { return setup(ns) }); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
		return ns, nil
	}
}

// inUsers is a creator of namespaces that belong to a user namespace.
func inUsers(users *os.File) creator {
	return furnisher(func() (*os.File, error) { return userns.NetIn(users) })
}

// noMapped is Options.NewMapped of who has none.
func noMapped() (*os.File, error) {
	return nil, errs.New(errs.Unsupported, "there are no user namespaces for containers")
}

// pool keeps spares of one bridge. A spare's port counts as the pool's until
// disown, so that it is never taken for a left-over.
type pool struct {
	stock[*spare]
	mapped stock[*spare] // in user namespaces of their own
	bridge *bridge
	home   *os.File

	mu    sync.Mutex
	names map[string]struct{} // ports of spares that are being made or ready
}

// newPool starts filling. The caller ends it with close.
func newPool(home *os.File, b *bridge, sizes stockSizes, mapped creator, log *slog.Logger) *pool {
	p := &pool{bridge: b, home: home, names: map[string]struct{}{}}
	for s, create := range map[*stock[*spare]]creator{&p.stock: netns.New, &p.mapped: mapped} {
		s.make, s.discard = func() (*spare, error) { return p.newSpare(create) }, (*spare).discard
		s.failed = func(err error) { log.Warn("prepare network namespace", "bridge", b.name, "error", err) }
	}
	p.start(sizes.plain)
	p.mapped.start(sizes.mapped)
	return p
}

// take gives a spare, which the caller owns.
func (p *pool) take(u engine.Users) (*spare, error) {
	switch {
	case u.In != nil:
		return p.newSpare(inUsers(u.In))
	case u.Mapped:
		return p.mapped.get()
	}
	return p.get()
}

// close discards what there is.
func (p *pool) close() {
	p.stock.close()
	p.mapped.close()
}

// stockSizes are how many namespaces are prepared ahead.
type stockSizes struct{ plain, mapped int }

// isolated makes a namespace in which there is only a loopback interface.
func isolated(home *os.File, create creator) (ns *os.File, err error) {
	err = netns.Do(home, func() error {
		ns, err = create(func(*os.File) error { return loopbackUp() })
		return err
	})
	return ns, err
}

// newIsolated keeps such namespaces.
func newIsolated(home *os.File, size int, create creator, log *slog.Logger) *stock[*os.File] {
	p := &stock[*os.File]{
		make:    func() (*os.File, error) { return isolated(home, create) },
		discard: func(ns *os.File) { _ = ns.Close() }, // only a handle
		failed:  func(err error) { log.Warn("prepare network namespace", "error", err) },
	}
	p.start(size)
	return p
}

func loopbackUp() error {
	in, err := netlink.Open()
	if err != nil {
		return err
	}
	return errors.Join(in.Do(netlink.LinkUp(netlink.Named("lo"))), in.Close())
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

func (p *pool) newSpare(create creator) (*spare, error) {
	s := &spare{name: "veth" + randomHex(7)}
	p.mu.Lock()
	p.names[s.name] = struct{}{}
	p.mu.Unlock()
	err := netns.Do(p.home, func() error {
		ns, err := create(func(ns *os.File) error { return s.setup(p.bridge, ns) })
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

func randomHex(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)[:n]
}
