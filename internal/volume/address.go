package volume

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

type lookupFunc func(ctx context.Context, network, host string) ([]netip.Addr, error)

func lookupOne(ctx context.Context, lookup lookupFunc, host string) (string, error) {
	addrs, err := lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
	}
	return addrs[0].Unmap().String(), nil
}

// optionValue finds key=value in a list of mount options.
func optionValue(options, key string) (string, bool) {
	for option := range strings.SplitSeq(options, ",") {
		if k, v, ok := strings.Cut(option, "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// masked is an error whose text has a password hidden.
type masked struct {
	err    error
	secret string
}

func (m masked) Error() string { return strings.ReplaceAll(m.err.Error(), m.secret, "********") }
func (m masked) Unwrap() error { return m.err }

// maskError hides the password that is among the mount options.
func maskError(err error, options string) error {
	secret, ok := optionValue(options, "password")
	if !ok || secret == "" {
		return err
	}
	return masked{err, secret}
}
