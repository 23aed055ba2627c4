package config

import (
	"fmt"

	"github.com/gantry-run/gantry/internal/errs"
)

// option is a setting as the command line and daemon.json know it.
type option struct {
	flag, short string // flag "" : in the file only
	key         string // in daemon.json; "": as the flag, notInFile: not there
	usage       string
	value       func(*Config) value
	// fate tells what becomes of the option once it has been set; nil: it is
	// honoured.
	fate fate
	// both may be given as a flag and in the file: the file's come first.
	both bool
}

// notInFile is the key of options that only the command line has.
const notInFile = "-"

// name is what messages call the option.
func (o *option) name() string {
	if o.key != "" && o.key != notInFile {
		return o.key
	}
	return o.flag
}

// inFile is the key in daemon.json, "" if there is none.
func (o *option) inFile() string {
	switch o.key {
	case "":
		return o.flag
	case notInFile:
		return ""
	}
	return o.key
}

// fate gives a warning or refuses the option.
type fate func(o *option, v value) (warning string, err error)

// ignored options have no effect, for a reason that the user may want to know.
func ignored(reason string) fate {
	return func(o *option, v value) (string, error) {
		return fmt.Sprintf("option %q has no effect: %s", o.name(), reason), nil
	}
}

// refused options would change what containers can do or see: going on without
// them could hurt. Their zero value is harmless.
func refused(reason string) fate {
	return func(o *option, v value) (string, error) {
		switch v.String() {
		case "", "false", "0", "[]", "{}", "null":
			return "", nil
		}
		return "", errs.New(errs.Unsupported, "option %q is not supported: %s", o.name(), reason)
	}
}

// mustBe refuses every value but one.
func mustBe(only, reason string) fate {
	return func(o *option, v value) (string, error) {
		if v.String() == only {
			return "", nil
		}
		return "", errs.New(errs.Unsupported, "option %q is not supported with value %q: %s", o.name(), v.String(), reason)
	}
}

// expected warns about every value but one.
func expected(only, reason string) fate {
	return func(o *option, v value) (string, error) {
		if v.String() == only {
			return "", nil
		}
		return ignored(reason)(o, v)
	}
}

// unused is the value of an option that Config has no field for.
func unused(kind string) func(*Config) value {
	return func(*Config) value {
		switch kind {
		case "bool":
			return boolean(new(bool))
		case "int":
			return integer(new(int))
		}
		return &opaque{kind: kind}
	}
}

// reasons shared by several options.
const (
	noIPv6       = "IPv6 on the default bridge is not implemented yet"
	noSwarm      = "swarm mode is not implemented yet"
	noContainerd = "Gantry has containerd's stores built in and talks to no containerd"
	noRealtime   = "real-time scheduling of containers is not implemented"
)
