package network

import (
	"net/netip"
	"strings"
	"testing"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/errs"
)

// TestCheckSettings: all reasons at once, and that there is no subnet to be in if
// nobody chose one.
func TestCheckSettings(t *testing.T) {
	chosen := &Service{opts: Options{BIP: netip.MustParsePrefix("10.1.0.1/16")}}
	for _, tc := range []struct {
		s     *Service
		v4    string
		alias string
		want  string
	}{
		{chosen, "", "", ""},
		{chosen, "", "a", errAlias.Error()},
		{chosen, "10.1.2.3", "", errStaticAddress.Error()},
		{chosen, "::ffff:10.1.2.3", "", errStaticAddress.Error()},
		{chosen, "10.2.2.3", "a", "* " + errStaticAddress.Error() + "\n* " + errAlias.Error() + "\n* no configured subnet or ip-range contain the IP address 10.2.2.3"},
		{chosen, "::1", "", "* " + errStaticAddress.Error() + "\n* invalid IPv4 address: ::1\n* no configured subnet or ip-range contain the IP address ::1"},
		{&Service{}, "10.1.2.3", "", "* " + errStaticAddress.Error() + "\n* " + errAutomatic.Error()},
	} {
		e := &networktypes.EndpointSettings{IPAMConfig: &networktypes.EndpointIPAMConfig{}}
		if tc.v4 != "" {
			e.IPAMConfig.IPv4Address = netip.MustParseAddr(tc.v4)
		}
		if tc.alias != "" {
			e.Aliases = []string{tc.alias}
		}
		err := tc.s.checkSettings("bridge", e)
		if tc.want == "" && err == nil {
			continue
		}
		if _, got, _ := strings.Cut(err.Error(), "endpoint settings:\n"); got != tc.want || !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s, %s: got %v, want %s", tc.v4, tc.alias, err, tc.want)
		}
	}
}
