package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Limits of one message and one transaction. An attribute holds 64 KB and an
// element takes 48 bytes; the socket must take the whole transaction, which for
// every port of every protocol is 10 MB.
const (
	elementsPerMessage = 1000
	socketBuffer       = 16 << 20
)

// Conn is a lasting connection to nf_tables of the namespace of the thread that
// opened it. It is safe for concurrent use; transactions go one after the other.
type Conn struct {
	mu     sync.Mutex
	c      *nftables.Conn
	broken error // a transaction could not be built and is stuck in c's buffer
}

// Open opens a connection.
func Open() (*Conn, error) {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(s *netlink.Conn) error {
		return errors.Join(s.SetWriteBuffer(socketBuffer), s.SetReadBuffer(socketBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nf_tables netlink: %w", err)
	}
	return &Conn{c: c}, nil
}

// Close closes the connection; tables stay.
func (c *Conn) Close() error { return c.c.CloseLasting() }

// Replace makes the kernel's table equal to t with the elements, in one
// transaction: packets see either the old table or the new.
func (c *Conn) Replace(t Table, elems Elements) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	tbl := &nftables.Table{Family: nftables.TableFamilyINet, Name: t.Name}
	// Adding first makes the deletion succeed whether or not the table exists.
	c.c.AddTable(tbl)
	c.c.DelTable(tbl)
	c.c.AddTable(tbl)
	var err error
	ids := make(map[string]uint32, len(t.Maps))
	for i, m := range t.Maps {
		ids[m.Name] = uint32(i + 1)
		set := m.set(tbl)
		set.ID = ids[m.Name]
		err = errors.Join(err, c.c.AddSet(set, nil), c.addElements(set, elems[m.Name]))
	}
	for _, ch := range t.Chains {
		c.addChain(tbl, ch)
	}
	return c.flush("replace nf_tables table "+t.Name, err)
}

// Update adds and removes elements of the table's maps in one transaction.
// Adding an element that exists with another value, and removing one that does
// not exist, fail the whole.
func (c *Conn) Update(t Table, add, remove Elements) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	tbl := &nftables.Table{Family: nftables.TableFamilyINet, Name: t.Name}
	var err error
	for _, m := range t.Maps {
		set := m.set(tbl)
		err = errors.Join(err, c.delElements(set, remove[m.Name]), c.addElements(set, add[m.Name]))
	}
	return c.flush("update nf_tables table "+t.Name, err)
}

// Delete removes a table; a missing one is no error.
func (c *Conn) Delete(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	tbl := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	c.c.AddTable(tbl)
	c.c.DelTable(tbl)
	return c.flush("delete nf_tables table "+name, nil)
}

// Exists tells whether the table is in the kernel.
func (c *Conn) Exists(name string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tables, err := c.c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("list nf_tables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// ForwardDrops names the IPv4 chains ("table chain") that drop forwarded packets
// unless one of their own rules accepts them. No rule elsewhere can undo that.
func (c *Conn) ForwardDrops() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyIPv4} {
		chains, err := c.c.ListChainsOfTableFamily(family)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list nf_tables chains: %w", err)
		}
		for _, ch := range chains {
			if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
				out = append(out, ch.Table.Name+" "+ch.Name)
			}
		}
	}
	return out, nil
}

func (c *Conn) addChain(tbl *nftables.Table, ch Chain) {
	accept := nftables.ChainPolicyAccept
	chain := c.c.AddChain(&nftables.Chain{
		Name: ch.Name, Table: tbl, Type: kinds[ch.Kind], Hooknum: hooks[ch.Hook],
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(ch.Priority)), Policy: &accept,
	})
	for _, r := range ch.Rules {
		c.c.AddRule(&nftables.Rule{Table: tbl, Chain: chain, Exprs: r})
	}
}

func (c *Conn) addElements(set *nftables.Set, elems []Element) error {
	return inChunks(elems, func(part []nftables.SetElement) error { return c.c.SetAddElements(set, part) })
}

func (c *Conn) delElements(set *nftables.Set, elems []Element) error {
	return inChunks(elems, func(part []nftables.SetElement) error { return c.c.SetDeleteElements(set, part) })
}

func inChunks(elems []Element, send func([]nftables.SetElement) error) error {
	for len(elems) > 0 {
		n := min(len(elems), elementsPerMessage)
		part := make([]nftables.SetElement, n)
		for i, e := range elems[:n] {
			part[i] = nftables.SetElement{Key: e.Key, Val: e.Value}
		}
		if err := send(part); err != nil {
			return err
		}
		elems = elems[n:]
	}
	return nil
}

func (m Map) set(tbl *nftables.Table) *nftables.Set {
	s := &nftables.Set{Table: tbl, Name: m.Name, KeyType: datatype(m.Key)}
	if len(m.Value) > 0 {
		s.IsMap, s.DataType = true, datatype(m.Value)
	}
	if m.Key[0] == IfName {
		s.KeyByteOrder = binaryutil.NativeEndian // for nft(8), which would print it backwards
	}
	return s
}

// flush sends what is buffered.
func (c *Conn) flush(what string, built error) error {
	c.broken = errors.Join(c.broken, built)
	err := c.broken
	if err == nil {
		err = c.c.Flush()
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EAFNOSUPPORT) {
		err = fmt.Errorf("the kernel lacks nf_tables NAT for inet: %w", err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
