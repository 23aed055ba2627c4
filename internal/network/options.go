package network

import (
	"log/slog"
	"net/netip"
	"os"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// BridgeNone as Options.Bridge disables the network "bridge".
const BridgeNone = "none"

// Defaults for Options.
const (
	DefaultBridge   = "gantry0"
	DefaultMTU      = 1500 // bytes, as Docker
	DefaultPoolSize = 8    // a namespace takes 0.3 MB of kernel memory and 1 ms to make
	isolatedSize    = 2    // of those without a bridge, which few containers use

	maxLinkName = 15 // IFNAMSIZ without the terminating zero
)

// Options configure a Service. The zero value is a bridge with Docker's default
// addresses, but cut off: ICC, IPForward and IPMasq are Docker's defaults only
// if they are true.
type Options struct {
	// Root is a directory for what must outlive the machine's next boot. Required.
	Root string
	// Bridge names the bridge. It is made unless it exists; one that somebody
	// else made is used as it is and stays when we go. BridgeNone disables it.
	Bridge string
	// BIP is the bridge's address and subnet. Zero: those that the bridge has,
	// or had at the last start, or the first of Docker's pools that is free here.
	BIP netip.Prefix
	// FixedCIDR is the part of the subnet that containers get addresses from.
	FixedCIDR netip.Prefix
	// MTU in bytes; 0 is DefaultMTU.
	MTU int
	// DefaultGateway of containers, if not the bridge's own address.
	DefaultGateway netip.Addr
	// ICC lets containers talk to each other other than by published ports.
	ICC bool
	// IPForward turns forwarding on if it is off.
	IPForward bool
	// IPMasq hides containers behind the host's address when they talk to the outside.
	IPMasq bool
	// DNS are the name servers for containers; empty: the host's.
	DNS []netip.Addr
	// DefaultBindIP is where ports are published that name no address; zero or
	// 0.0.0.0: everywhere, IPv6 included.
	DefaultBindIP netip.Addr
	// UserlandProxy forwards connections that the kernel cannot: those to IPv6
	// addresses of the host. Without it ports are published on IPv4 only.
	UserlandProxy bool
	// PoolSize is how many namespaces are prepared ahead; 0: DefaultPoolSize, negative: none.
	PoolSize int
	// NewMapped makes an empty network namespace that belongs to a new user namespace
	// for a container. If it is set, most containers are thought to need one.
	NewMapped func() (*os.File, error)

	Log    *slog.Logger     // nil: discarded
	Events engine.Publisher // nil: none

	mapped bool // there is a NewMapped
}

// sizes tells how many namespaces of which kind are prepared ahead.
func (o Options) sizes(most int) stockSizes {
	switch {
	case o.PoolSize < 0:
		return stockSizes{}
	case o.mapped:
		return stockSizes{mapped: most}
	}
	return stockSizes{plain: most}
}

// withDefaults checks the options and fills in defaults. Errors are
// errs.InvalidArgument and name dockerd's flag.
func (o Options) withDefaults() (Options, error) {
	if o.Root == "" {
		return o, errs.New(errs.InvalidArgument, "the network needs a directory for its state")
	}
	if o.Bridge == "" {
		o.Bridge = DefaultBridge
	}
	if o.mapped = o.NewMapped != nil; !o.mapped {
		o.NewMapped = noMapped
	}
	if len(o.Bridge) > maxLinkName {
		return o, errs.New(errs.InvalidArgument, "invalid --bridge %q: a link's name has at most %d bytes", o.Bridge, maxLinkName)
	}
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.PoolSize == 0 {
		o.PoolSize = DefaultPoolSize
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MTU < minMTU || o.MTU > maxMTU {
		return o, errs.New(errs.InvalidArgument, "invalid --mtu %d: must be %d to %d", o.MTU, minMTU, maxMTU)
	}
	if o.BIP.IsValid() {
		if err := checkBIP(o.BIP); err != nil {
			return o, err
		}
	}
	return o, nil
}

// Limits of an Ethernet link's MTU for IPv4 (RFC 791, ETH_MAX_MTU).
const (
	minMTU = 68
	maxMTU = 65535
)

func checkBIP(p netip.Prefix) error {
	switch {
	case !p.Addr().Is4():
		return errs.New(errs.InvalidArgument, "invalid --bip %s: must be an IPv4 address with a prefix length", p)
	case p.Bits() > 30:
		return errs.New(errs.InvalidArgument, "invalid --bip %s: the subnet has no room for containers", p)
	case p.Addr() == p.Masked().Addr():
		return errs.New(errs.InvalidArgument, "invalid --bip %s: the address of the subnet itself cannot be the bridge's", p)
	}
	return nil
}

// checkSubnet checks what depends on the subnet that is used in the end.
func (o Options) checkSubnet(bridge netip.Prefix) error {
	subnet := bridge.Masked()
	if f := o.FixedCIDR; f.IsValid() && (!subnet.Contains(f.Addr()) || f.Bits() < subnet.Bits()) {
		return errs.New(errs.InvalidArgument, "invalid --fixed-cidr %s: not within the bridge's subnet %s", f, subnet)
	}
	if g := o.DefaultGateway; g.IsValid() && !subnet.Contains(g) {
		return errs.New(errs.InvalidArgument, "invalid --default-gateway %s: not within the bridge's subnet %s", g, subnet)
	}
	return nil
}

// everywhere tells whether ip stands for all of the host's addresses.
func everywhere(ip netip.Addr) bool {
	return !ip.IsValid() || ip == netip.IPv4Unspecified()
}
