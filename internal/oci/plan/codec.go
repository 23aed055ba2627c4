package plan

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// The plan goes from one process of this binary to another of the very same
// binary, so its encoding has neither names nor versions: encoding/json would
// cost both sides more time than all mounts of a container together. One
// function per type names the fields in their order and serves both directions.

// codec is a buffer that is either written or read. After an error it does nothing.
type codec struct {
	buf     []byte
	reading bool
	err     error
}

var errTruncated = errors.New("decode plan: it is truncated or malformed")

// Encode gives the plan for init.
func (p *Init) Encode() []byte {
	c := &codec{buf: make([]byte, 0, 4096)}
	c.init(p)
	return c.buf
}

// Decode reads what Encode gave. Any other input is an error, never a panic.
func Decode(data []byte) (*Init, error) {
	c := &codec{buf: data, reading: true}
	p := new(Init)
	c.init(p)
	if c.err == nil && len(c.buf) > 0 {
		c.err = errTruncated
	}
	if c.err != nil {
		return nil, c.err
	}
	return p, nil
}

func (c *codec) uint64(v *uint64) {
	if !c.reading {
		c.buf = binary.AppendUvarint(c.buf, *v)
		return
	}
	n, size := binary.Uvarint(c.buf)
	if size <= 0 {
		c.err, c.buf = errTruncated, nil
		return
	}
	*v, c.buf = n, c.buf[size:]
}

// num passes any integer through 64 bits; a value that does not fit is an error.
func num[T ~int | ~int32 | ~int64 | ~uint | ~uint16 | ~uint32 | ~uint64](c *codec, v *T) {
	n := uint64(*v)
	c.uint64(&n)
	if c.reading {
		if *v = T(n); uint64(*v) != n {
			c.err = errTruncated
		}
	}
}

func (c *codec) bool(v *bool) {
	var n uint64
	if *v {
		n = 1
	}
	c.uint64(&n)
	*v = n != 0
}

// bytes is a counted run of bytes; when reading it aliases the buffer.
func (c *codec) bytes(v *[]byte) {
	n := uint64(len(*v))
	c.uint64(&n)
	if !c.reading {
		c.buf = append(c.buf, *v...)
		return
	}
	if n > uint64(len(c.buf)) {
		c.err, c.buf = errTruncated, nil
		return
	}
	if n > 0 {
		*v = c.buf[:n:n]
	}
	c.buf = c.buf[n:]
}

func (c *codec) string(v *string) {
	b := []byte(*v)
	c.bytes(&b)
	if c.reading {
		*v = string(b)
	}
}

func list[T any](c *codec, v *[]T, item func(*T)) {
	n := uint64(len(*v))
	c.uint64(&n)
	if c.reading {
		if n > uint64(len(c.buf)) { // every item takes a byte at least
			c.err, c.buf = errTruncated, nil
			return
		}
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		item(&(*v)[i])
	}
}

func (c *codec) strings(v *[]string) { list(c, v, c.string) }

func (c *codec) set(v *Set) { list(c, (*[]uint64)(v), c.uint64) }

func (c *codec) stringMap(v *map[string]string) {
	keys := slices.Sorted(maps.Keys(*v))
	c.strings(&keys)
	for _, key := range keys {
		value := (*v)[key]
		c.string(&value)
		if c.reading {
			if *v == nil {
				*v = map[string]string{}
			}
			(*v)[key] = value
		}
	}
}

func optional[T any](c *codec, v **T, item func(*T)) {
	present := *v != nil
	c.bool(&present)
	if !present {
		return
	}
	if c.reading {
		*v = new(T)
	}
	item(*v)
}

func (c *codec) init(p *Init) {
	c.string(&p.ID)
	c.bool(&p.Exec)
	optional(c, &p.Root, c.root)
	c.process(&p.Process)
	c.string(&p.Keyring)
	c.bool(&p.Hooks.Runtime)
	list(c, &p.Hooks.Create, c.hook)
	list(c, &p.Hooks.StartContainer, c.hook)
	c.bytes(&p.Hooks.State)
	c.bool(&p.LoopbackUp)
	c.bool(&p.NewCgroupNS)
	c.bool(&p.NewTimeNS)
	list(c, &p.TimeOffsets, func(o *TimeOffset) {
		c.string(&o.Clock)
		num(c, &o.Secs)
		num(c, &o.Nanosecs)
	})
	c.string(&p.Hostname)
	c.string(&p.Domainname)
	c.stringMap(&p.Sysctl)
	optional(c, &p.Personality, func(v *uint) { num(c, v) })
	optional(c, &p.MemoryPolicy, func(m *MemoryPolicy) {
		num(c, &m.Mode)
		c.set(&m.Nodes)
	})
	c.bool(&p.UserNS)
	c.bool(&p.WaitLimits)
	num(c, &p.FDs.FirstClosed)
	num(c, &p.FDs.Listener)
	num(c, &p.FDs.MountNS)
	num(c, &p.FDs.CgroupNS)
	num(c, &p.RootFD)
	optional(c, &p.Unmount, func(m *mount.Identity) {
		for _, n := range []*uint64{&m.Unique, &m.ID, &m.Dev, &m.Ino} {
			c.uint64(n)
		}
	})
}

func (c *codec) hook(h *Hook) {
	c.string(&h.Path)
	c.strings(&h.Args)
	c.strings(&h.Env)
	num(c, &h.Timeout)
}

func (c *codec) root(r *Root) {
	num(c, &r.FD)
	num(c, &r.PlaceFD)
	c.string(&r.Path)
	list(c, &r.Mounts, func(m *RootMount) {
		c.string(&m.Type)
		c.string(&m.Source)
		c.options(&m.Options)
	})
	num(c, &r.Propagation)
	c.bool(&r.RecProp)
	c.bool(&r.Slave)
	c.bool(&r.ReadOnly)
	c.bool(&r.NoPivot)
	c.bool(&r.Shared)
	c.bool(&r.Mtab)
	list(c, &r.Targets, func(m *Mount) {
		num(c, &m.FD)
		c.string(&m.Target)
		c.string(&m.Type)
		c.string(&m.Source)
		c.options(&m.Options)
	})
	list(c, &r.Devices, func(d *Device) {
		c.string(&d.Path)
		num(c, &d.Mode)
		num(c, &d.Major)
		num(c, &d.Minor)
		num(c, &d.UID)
		num(c, &d.GID)
	})
	list(c, &r.Links, func(l *[2]string) {
		c.string(&l[0])
		c.string(&l[1])
	})
	c.strings(&r.Masked)
	c.strings(&r.ReadOnlyPaths)
	c.string(&r.MountLabel)
	c.stringMap(&r.CgroupDirs)
	c.string(&r.CgroupUnified)
}

func (c *codec) options(o *mount.Options) {
	c.bool(&o.Bind)
	c.bool(&o.Recursive)
	num(c, &o.Set)
	num(c, &o.Clear)
	num(c, &o.RecSet)
	num(c, &o.RecClear)
	num(c, &o.Propagation)
	c.bool(&o.RecPropagation)
	c.strings(&o.Superblock)
	c.strings(&o.Data)
	c.bool(&o.CopyUp)
	c.bool(&o.IDMap)
	c.bool(&o.RecIDMap)
	c.string(&o.Subpath)
	c.string(&o.Namespace)
}

func (c *codec) process(p *Process) {
	c.strings(&p.Args)
	c.strings(&p.Env)
	c.string(&p.Cwd)
	num(c, &p.UID)
	num(c, &p.GID)
	list(c, &p.Groups, func(g *uint32) { num(c, g) })
	optional(c, &p.User, func(u *User) {
		c.string(&u.User)
		c.strings(&u.Groups)
	})
	optional(c, &p.Umask, func(u *uint32) { num(c, u) })
	c.bool(&p.Terminal)
	c.bool(&p.KeepLineEnds)
	num(c, &p.Height)
	num(c, &p.Width)
	optional(c, &p.Caps, func(s *capability.Sets) {
		for _, m := range []*capability.Mask{&s.Bounding, &s.Effective, &s.Permitted, &s.Inheritable, &s.Ambient} {
			num(c, m)
		}
	})
	c.bool(&p.NoNewPrivs)
	list(c, &p.Rlimits, func(l *process.Rlimit) {
		num(c, &l.Resource)
		num(c, &l.Soft)
		num(c, &l.Hard)
	})
	c.bool(&p.ExactLimits)
	optional(c, &p.OOMScoreAdj, func(v *int) { num(c, v) })
	c.string(&p.AppArmor)
	c.string(&p.SELinux)
	optional(c, &p.IOPriority, func(v *IOPriority) {
		num(c, &v.Class)
		num(c, &v.Level)
	})
	optional(c, &p.Scheduler, func(s *Scheduler) {
		for _, n := range []*int32{&s.Policy, &s.Nice, &s.Priority} {
			num(c, n)
		}
		for _, n := range []*uint64{&s.Flags, &s.Runtime, &s.Deadline, &s.Period} {
			num(c, n)
		}
	})
	c.set(&p.CPUs)
	c.bool(&p.CreateCwd)
	c.bool(&p.Seccomp)
}
