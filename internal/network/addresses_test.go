package network

import (
	"net/netip"
	"testing"
)

// TestPreferredAddress is given as long as nobody else has it.
func TestPreferredAddress(t *testing.T) {
	ip := netip.MustParseAddr
	a := newAddresses(netip.MustParsePrefix("10.0.0.0/29"), netip.Prefix{}, ip("10.0.0.1"))
	for _, tc := range []struct{ wish, want string }{
		{"10.0.0.4", "10.0.0.4"}, {"10.0.0.4", "10.0.0.2"}, {"10.0.0.1", "10.0.0.3"}, {"192.0.2.1", "10.0.0.5"}, {"10.0.0.7", "10.0.0.6"},
	} {
		if got, ok := a.prefer(ip(tc.wish)); !ok || got.String() != tc.want {
			t.Errorf("%s: got %s, %t, want %s", tc.wish, got, ok, tc.want)
		}
	}
	if got, ok := a.prefer(netip.Addr{}); ok {
		t.Errorf("of an empty pool: %s", got)
	}
	a.release(ip("10.0.0.4"))
	if got, ok := a.prefer(ip("10.0.0.4")); !ok || got != ip("10.0.0.4") {
		t.Errorf("given back: %s, %t", got, ok)
	}
}
