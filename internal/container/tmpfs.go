package container

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/errs"
)

// The options of --tmpfs, with and without a value, that Docker takes and that
// a container can start with.
var (
	tmpfsData  = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
	tmpfsFlags = []string{
		"defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "mand", "nomand",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
		"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
	}
)

// checkTmpfs refuses options of --tmpfs that Docker refuses. What a value may be
// is the kernel's to say.
func checkTmpfs(options string) error {
	if options == "" {
		return nil
	}
	for option := range strings.SplitSeq(options, ",") {
		name, _, hasValue := strings.Cut(option, "=")
		switch {
		case hasValue && slices.Contains(tmpfsData, name):
		case slices.Contains(tmpfsFlags, option):
		default:
			return errs.New(errs.InvalidArgument, "invalid tmpfs option %q", strings.SplitN(option, "=", 2))
		}
	}
	return nil
}

// checkTmpfsMount is checkTmpfs for --mount, whose options are few.
func checkTmpfsMount(o *mount.TmpfsOptions) error {
	if o == nil {
		return nil
	}
	for _, option := range o.Options {
		if len(option) < 1 || len(option) > 2 {
			return errs.New(errs.InvalidArgument, "invalid option array length")
		}
		if option[0] != "exec" && option[0] != "noexec" {
			return errs.New(errs.InvalidArgument, "invalid option: %s", option[0])
		}
	}
	return nil
}
