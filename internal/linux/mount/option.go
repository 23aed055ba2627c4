package mount

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are mount(8)-style options sorted by what they act on. The zero
// value changes nothing.
type Options struct {
	Bind      bool // "bind" or "rbind"
	Recursive bool // "rbind"

	Set   uint64 // MOUNT_ATTR_* of this mount
	Clear uint64

	RecSet   uint64 // MOUNT_ATTR_* of this and all mounts below ("rro", …)
	RecClear uint64

	Propagation    uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE
	RecPropagation bool

	Superblock []string // generic flags of the superblock: "ro", "sync", …
	Data       []string // the filesystem's own options

	CopyUp   bool // "tmpcopyup": a tmpfs starts with what it hides
	IDMap    bool // "idmap"
	RecIDMap bool // "ridmap"

	// Subpath is what is mounted of the source instead of all of it
	// ("x-gantry.subpath=NAME"). It cannot lead out of the source.
	Subpath string

	// Namespace is the mount namespace, by its file, in which the source of a bind
	// mount is looked up ("x-gantry.mntns=FILE").
	Namespace string
}

// The options for Options.Subpath and Options.Namespace, without the name. Those
// with an x are for programs, not for the kernel.
const (
	SubpathOption   = "x-gantry.subpath="
	NamespaceOption = "x-gantry.mntns="
)

type attrOption struct {
	bit   uint64
	clear bool
}

// attrOptions are the options of one mount, from the runtime specification's
// table; with an "r" before them they act on the whole tree.
var attrOptions = map[string]attrOption{
	"ro":            {unix.MOUNT_ATTR_RDONLY, false},
	"rw":            {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid":        {unix.MOUNT_ATTR_NOSUID, false},
	"suid":          {unix.MOUNT_ATTR_NOSUID, true},
	"nodev":         {unix.MOUNT_ATTR_NODEV, false},
	"dev":           {unix.MOUNT_ATTR_NODEV, true},
	"noexec":        {unix.MOUNT_ATTR_NOEXEC, false},
	"exec":          {unix.MOUNT_ATTR_NOEXEC, true},
	"noatime":       {unix.MOUNT_ATTR_NOATIME, false},
	"atime":         {unix.MOUNT_ATTR__ATIME, true},
	"strictatime":   {unix.MOUNT_ATTR_STRICTATIME, false},
	"nostrictatime": {unix.MOUNT_ATTR__ATIME, true},
	"relatime":      {unix.MOUNT_ATTR__ATIME, true}, // relatime is the zero of the enumeration
	"norelatime":    {unix.MOUNT_ATTR__ATIME, true},
	"nodiratime":    {unix.MOUNT_ATTR_NODIRATIME, false},
	"diratime":      {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow":   {unix.MOUNT_ATTR_NOSYMFOLLOW, false},
	"symfollow":     {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
}

var propagationOptions = map[string]uint64{
	"private": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "shared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE,
}

// superblockFlags are generic flags that the new mount interface takes by name.
var superblockFlags = map[string]bool{
	"sync": true, "dirsync": true, "lazytime": true, "mand": true, "iversion": true, "silent": true,
}

// ignoredOptions undo what is never the default, or say nothing to the kernel.
var ignoredOptions = map[string]bool{
	"defaults": true, "async": true, "loud": true, "nomand": true, "noiversion": true, "nolazytime": true,
}

// ParseOptions sorts mount options. Unknown ones are the filesystem's own. It
// is pure: nothing is checked against the machine.
func ParseOptions(options []string) Options {
	var o Options
	for _, s := range options {
		o.add(s)
	}
	return o
}

func (o *Options) add(s string) {
	if s == "" || ignoredOptions[s] {
		return
	}
	if a, ok := attrOptions[s]; ok {
		toggle(&o.Set, &o.Clear, a)
		return
	}
	if flag, ok := propagationOptions[s]; ok {
		o.Propagation, o.RecPropagation = flag, false
		return
	}
	if superblockFlags[s] {
		o.Superblock = append(o.Superblock, s)
		return
	}
	switch s {
	case "bind":
		o.Bind = true
		return
	case "rbind":
		o.Bind, o.Recursive = true, true
		return
	case "tmpcopyup":
		o.CopyUp = true
		return
	case "idmap":
		o.IDMap = true
		return
	case "ridmap":
		o.IDMap, o.RecIDMap = true, true
		return
	case "remount":
		return // the mount is made anew, with the final attributes
	}
	if name, ok := strings.CutPrefix(s, SubpathOption); ok {
		o.Subpath = name
		return
	}
	if file, ok := strings.CutPrefix(s, NamespaceOption); ok {
		o.Namespace = file
		return
	}
	if base, ok := strings.CutPrefix(s, "r"); ok {
		if a, ok := attrOptions[base]; ok {
			toggle(&o.RecSet, &o.RecClear, a)
			return
		}
		if flag, ok := propagationOptions[base]; ok {
			o.Propagation, o.RecPropagation = flag, true
			return
		}
	}
	o.Data = append(o.Data, unquoted(s))
}

// unquoted takes off the quotation marks with which a SELinux context is written
// for mount(2), where the commas between its categories would end it.
func unquoted(option string) string {
	key, value, _ := strings.Cut(option, "=")
	if n := len(value); strings.HasSuffix(key, "context") && n > 1 && value[0] == '"' && value[n-1] == '"' {
		return key + "=" + value[1:n-1]
	}
	return option
}

// joined are the options of a filesystem in the form that mount(2) takes.
func joined(data []string) string {
	var b strings.Builder
	for i, option := range data {
		if i > 0 {
			b.WriteByte(',')
		}
		if key, value, _ := strings.Cut(option, "="); strings.HasSuffix(key, "context") && strings.Contains(value, ",") {
			option = key + `="` + value + `"`
		}
		b.WriteString(option)
	}
	return b.String()
}

// toggle lets the last of contradicting options win.
func toggle(set, clear *uint64, a attrOption) {
	if a.bit == unix.MOUNT_ATTR_NOATIME || a.bit == unix.MOUNT_ATTR_STRICTATIME || a.bit == unix.MOUNT_ATTR__ATIME {
		*set &^= unix.MOUNT_ATTR__ATIME
	}
	if a.clear {
		*set &^= a.bit
		*clear |= a.bit
		return
	}
	*set |= a.bit
	*clear &^= a.bit
}

// OptionNames lists the options that are not the filesystem's own, sorted.
func OptionNames() []string {
	all := []string{"bind", "rbind", "tmpcopyup", "remount", "idmap", "ridmap"}
	for name := range attrOptions {
		all = append(all, name, "r"+name)
	}
	for name := range propagationOptions {
		all = append(all, name, "r"+name)
	}
	for name := range superblockFlags {
		all = append(all, name)
	}
	for name := range ignoredOptions {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
