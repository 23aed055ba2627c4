package testenv

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
)

var sequence atomic.Uint32

// Unique gives a name with the prefix that no other test of any process on this
// machine has: the process's id, a counter and four random bytes make it so.
func Unique(prefix string) string {
	var r [4]byte
	_, _ = rand.Read(r[:]) // documented never to fail
	return fmt.Sprintf("%s-%d-%d-%s", prefix, os.Getpid(), sequence.Add(1), hex.EncodeToString(r[:]))
}

// Link gives a unique name for a network interface, at most 15 bytes long as
// the kernel's IFNAMSIZ demands. The prefix may have up to five.
func Link(prefix string) string {
	var r [4]byte
	_, _ = rand.Read(r[:]) // documented never to fail
	return fmt.Sprintf("%.5s%x", prefix, r)
}

// Subnet gives a /24 that no earlier call in this process returned, out of
// 10.64.0.0/10, with its first usable address. Sandboxed networks of other
// processes may have the same.
func Subnet() (prefix netip.Prefix, gateway netip.Addr) {
	n := sequence.Add(1) % (1 << 14)
	addr := netip.AddrFrom4([4]byte{10, byte(64 + n>>8), byte(n), 1})
	return netip.PrefixFrom(addr, 24).Masked(), addr
}
