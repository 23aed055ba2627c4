package volume

import (
	"net/url"

	"github.com/docker/go-units"

	"github.com/gantry-run/gantry/internal/errs"
)

// The local driver's options.
const (
	optType   = "type"   // file system, as mount(8)'s -t
	optO      = "o"      // mount options, comma-separated
	optDevice = "device" // what to mount
	optSize   = "size"   // quota of a plain volume
)

// needs gives the options that each option is useless without.
var needs = []struct{ option, with string }{
	{optDevice, optType}, {optType, optDevice}, {optO, optDevice}, {optO, optType},
}

// checkOptions refuses driver options that can never work, with Docker's text.
func checkOptions(name string, opts map[string]string) error {
	invalid := func(format string, args ...any) error {
		return errs.New(errs.InvalidArgument, "create %s: "+format, append([]any{name}, args...)...)
	}
	for opt := range opts {
		switch opt {
		case optType, optO, optDevice, optSize:
		default:
			return invalid("invalid option: %q", opt)
		}
	}
	if device := opts[optDevice]; opts[optType] == "cifs" && device != "" {
		u, err := url.Parse(device)
		if err != nil {
			return invalid("error parsing mount device url: %w", err)
		}
		if u.Port() != "" {
			return invalid("port not allowed in CIFS device URL, include 'port' in 'o='")
		}
	}
	if size, ok := opts[optSize]; ok {
		n, err := units.RAMInBytes(size)
		if err != nil {
			return invalid("%w", err)
		}
		if n > 0 {
			// Project quotas need a file system that is mounted with them.
			return invalid("quota size requested but no quota support")
		}
	}
	for _, n := range needs {
		if _, ok := opts[n.option]; !ok {
			continue
		}
		if _, ok := opts[n.with]; !ok {
			return invalid("missing required option: %q", n.with)
		}
	}
	return nil
}

// needsMount tells whether the volume's content is somewhere else.
func (r record) needsMount() bool { return r.Options[optDevice] != "" || r.Options[optType] != "" }
