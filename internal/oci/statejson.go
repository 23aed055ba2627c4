package oci

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// The writing of the record by hand: to encoding/json every type is new in a
// process that writes one record, and that takes it longer than the writing to
// the disk. What is rare goes through encoding/json all the same.

// object is a JSON object that is being written.
type object struct {
	text []byte
	err  error
}

// key begins a member.
func (o *object) key(name string) {
	if n := len(o.text); n > 0 && o.text[n-1] != '{' {
		o.text = append(o.text, ',')
	}
	o.quoted(name)
	o.text = append(o.text, ':')
}

func (o *object) quoted(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			o.raw(s)
			return
		}
	}
	o.text = append(append(append(o.text, '"'), s...), '"')
}

func (o *object) raw(v any) {
	data, err := json.Marshal(v)
	if o.err == nil {
		o.err = err
	}
	o.text = append(o.text, data...)
}

func (o *object) string(name, s string) {
	o.key(name)
	o.quoted(s)
}

func (o *object) integer(name string, n int64) {
	o.key(name)
	o.text = strconv.AppendInt(o.text, n, 10)
}

func (o *object) unsigned(name string, n uint64) {
	o.key(name)
	o.text = strconv.AppendUint(o.text, n, 10)
}

// optional writes what is not usual.
func (o *object) optional(name string, there bool, v any) {
	if there {
		o.key(name)
		o.raw(v)
	}
}

func (o *object) flag(name string, set bool) {
	if set {
		o.key(name)
		o.text = append(o.text, "true"...)
	}
}

func (o *object) nonempty(name, s string) {
	if s != "" {
		o.string(name, s)
	}
}

func (o *object) strings(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	o.key(name)
	o.text = append(o.text, '{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o.string(k, m[k])
	}
	o.text = append(o.text, '}')
}

func (o *object) list(name string, all []string) {
	if len(all) == 0 {
		return
	}
	o.key(name)
	for i, s := range all {
		o.text = append(o.text, "[,"[min(i, 1)])
		o.quoted(s)
	}
	o.text = append(o.text, ']')
}

func (o *object) group(g cgroup.Group) {
	o.text = append(o.text, '{')
	o.strings("V1", g.V1)
	o.nonempty("Unified", g.Unified)
	o.optional("Scope", g.Scope != nil, g.Scope)
	o.text = append(o.text, '}')
}

// encodeGroup is json.Marshal for a group.
func encodeGroup(g cgroup.Group) ([]byte, error) {
	var o object
	o.group(g)
	return o.text, o.err
}

// encode is json.Marshal for a record.
func (r *record) encode() ([]byte, error) {
	o := object{text: append(make([]byte, 0, 2048), '{')}
	o.string("ociVersion", r.OCIVersion)
	o.string("id", r.ID)
	o.integer("pid", int64(r.Pid))
	o.unsigned("startTime", r.StartTime)
	o.string("bundle", r.Bundle)
	o.string("rootfs", r.Rootfs)
	o.string("created", r.Created.Format(time.RFC3339Nano))
	o.strings("annotations", r.Annotations)
	o.integer("owner", int64(r.OwnerUID))
	o.flag("creating", r.Creating)
	o.key("cgroup")
	o.group(r.Cgroup)
	o.optional("resctrl", r.Resctrl != nil, r.Resctrl)
	o.optional("latePids", r.LatePids != nil, r.LatePids)
	o.flag("userNS", r.UserNS)
	o.flag("timeNS", r.TimeNS)
	o.flag("sharedPIDs", r.SharedPIDs)
	o.nonempty("keyring", r.Keyring)
	o.optional("execCPUs", r.ExecCPUs != nil, r.ExecCPUs)
	o.optional("sharedMounts", r.Shared != nil, r.Shared)
	o.optional("memoryPolicy", r.MemoryPolicy != nil, r.MemoryPolicy)
	o.optional("personality", r.Personality != nil, r.Personality)
	o.flag("seccomp", r.Seccomp)
	o.optional("seccompListener", r.Listener != nil, r.Listener)
	o.key("defaults")
	o.defaults(&r.Defaults)
	if r.Dump != nil {
		o.dump(r.Dump)
	}
	o.optional("poststart", len(r.Poststart) > 0, r.Poststart)
	o.optional("poststop", len(r.Poststop) > 0, r.Poststop)
	return append(o.text, '}'), o.err
}

func (o *object) dump(d *dumpPlan) {
	o.key("dump")
	o.text = append(o.text, '{')
	o.nonempty("obstacle", d.Obstacle)
	o.list("binds", d.Binds)
	o.list("masked", d.Masked)
	o.list("cgroups", d.Cgroups)
	o.list("external", d.External)
	o.text = append(o.text, '}')
}

func (o *object) defaults(d *execDefaults) {
	o.text = append(o.text, '{')
	o.key("caps")
	o.text = append(o.text, '{')
	o.unsigned("Bounding", uint64(d.Caps.Bounding))
	o.unsigned("Effective", uint64(d.Caps.Effective))
	o.unsigned("Permitted", uint64(d.Caps.Permitted))
	o.unsigned("Inheritable", uint64(d.Caps.Inheritable))
	o.unsigned("Ambient", uint64(d.Caps.Ambient))
	o.text = append(o.text, '}')
	o.nonempty("apparmor", d.AppArmor)
	o.nonempty("selinux", d.SELinux)
	o.flag("noNewPrivs", d.NoNewPrivs)
	o.text = append(o.text, '}')
}
