package create

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// mounts is --mount, a comma-separated list of key=value fields.
type mounts struct{ values []mount.Mount }

func (m *mounts) String() string { return "" }
func (m *mounts) Type() string   { return "mount" }

func (m *mounts) Set(v string) error {
	parsed, err := ParseMount(v)
	if err == nil {
		m.values = append(m.values, parsed)
	}
	return err
}

// ParseMount reads one --mount value. Relative sources that begin with a dot
// are made absolute; everything else is for the daemon to judge.
func ParseMount(v string) (mount.Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return mount.Mount{}, err
	}
	p := mountParser{m: mount.Mount{Type: mount.TypeVolume}}
	for _, field := range fields {
		key, val, hasValue := strings.Cut(field, "=")
		key = strings.ToLower(key)
		if !hasValue {
			switch key {
			case "readonly", "ro", "volume-nocopy", "bind-nonrecursive":
				val = "true"
			default:
				return mount.Mount{}, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
			}
		}
		if err := p.set(key, val, field); err != nil {
			return mount.Mount{}, err
		}
	}
	return p.m, p.check()
}

type mountParser struct{ m mount.Mount }

func (p *mountParser) set(key, val, field string) (err error) {
	switch key {
	case "type":
		p.m.Type = mount.Type(strings.ToLower(val))
	case "source", "src":
		p.m.Source, err = absDotted(val)
	case "target", "dst", "destination":
		p.m.Target = val
	case "readonly", "ro":
		p.m.ReadOnly, err = parseBool(key, val)
	case "consistency":
		p.m.Consistency = mount.Consistency(strings.ToLower(val))
	default:
		switch {
		case strings.HasPrefix(key, "bind-"):
			return p.setBind(key, val, field)
		case strings.HasPrefix(key, "volume-"):
			return p.setVolume(key, val, field)
		case strings.HasPrefix(key, "tmpfs-"):
			return p.setTmpfs(key, val, field)
		case key == "image-subpath":
			p.m.ImageOptions = &mount.ImageOptions{Subpath: val}
		default:
			return unexpectedKey(key, field)
		}
	}
	return err
}

func (p *mountParser) setBind(key, val, field string) (err error) {
	if key == "bind-recursive" && val == "enabled" { // the default
		return nil
	}
	if p.m.BindOptions == nil {
		p.m.BindOptions = &mount.BindOptions{}
	}
	b := p.m.BindOptions
	switch key {
	case "bind-propagation":
		b.Propagation = mount.Propagation(strings.ToLower(val))
	case "bind-nonrecursive":
		b.NonRecursive, err = parseBool(key, val)
	case "bind-recursive":
		switch val {
		case "disabled":
			b.NonRecursive = true
		case "writable":
			b.ReadOnlyNonRecursive = true
		case "readonly":
			b.ReadOnlyForceRecursive = true
		default:
			return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, val)
		}
	default:
		return unexpectedKey(key, field)
	}
	return err
}

func (p *mountParser) setVolume(key, val, field string) (err error) {
	if p.m.VolumeOptions == nil {
		p.m.VolumeOptions = &mount.VolumeOptions{}
	}
	v := p.m.VolumeOptions
	switch key {
	case "volume-nocopy":
		v.NoCopy, err = parseBool(key, val)
	case "volume-subpath":
		v.Subpath = val
	case "volume-label":
		v.Labels = putPair(v.Labels, val)
	case "volume-driver", "volume-opt":
		if v.DriverConfig == nil {
			v.DriverConfig = &mount.Driver{}
		}
		if key == "volume-driver" {
			v.DriverConfig.Name = val
		} else {
			v.DriverConfig.Options = putPair(v.DriverConfig.Options, val)
		}
	default:
		return unexpectedKey(key, field)
	}
	return err
}

func (p *mountParser) setTmpfs(key, val, field string) error {
	if p.m.TmpfsOptions == nil {
		p.m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	switch key {
	case "tmpfs-size":
		n, err := units.RAMInBytes(val)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		p.m.TmpfsOptions.SizeBytes = n
	case "tmpfs-mode":
		n, err := strconv.ParseUint(val, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		p.m.TmpfsOptions.Mode = os.FileMode(n)
	default:
		return unexpectedKey(key, field)
	}
	return nil
}

func (p *mountParser) check() error {
	m := &p.m
	if m.Type == "" {
		return errors.New("type is required")
	}
	if m.Target == "" {
		return errors.New("target is required")
	}
	mixed := func(kind string) error {
		return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", kind, m.Type)
	}
	switch {
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return mixed("volume")
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return mixed("bind")
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return mixed("tmpfs")
	case m.ImageOptions != nil && m.Type != mount.TypeImage:
		return mixed("image")
	}
	return checkRecursive(m)
}

func checkRecursive(m *mount.Mount) error {
	b := m.BindOptions
	if b == nil {
		return nil
	}
	needs := func(val, what string) error {
		return fmt.Errorf("option 'bind-recursive=%s' requires '%s' to be specified in conjunction", val, what)
	}
	switch {
	case b.ReadOnlyNonRecursive && !m.ReadOnly:
		return needs("writable", "readonly")
	case b.ReadOnlyForceRecursive && !m.ReadOnly:
		return needs("readonly", "readonly")
	case b.ReadOnlyForceRecursive && b.Propagation != mount.PropagationRPrivate:
		return needs("readonly", "bind-propagation=rprivate")
	}
	return nil
}

func unexpectedKey(key, field string) error {
	return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
}

func parseBool(key, val string) (bool, error) {
	b, err := strconv.ParseBool(val)
	if err != nil {
		return false, fmt.Errorf("invalid value for %s: %s", key, val)
	}
	return b, nil
}

func putPair(m map[string]string, pair string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	key, val, _ := strings.Cut(pair, "=")
	m[key] = val
	return m
}

// absDotted makes a path absolute if it is ".", "..", or begins with either:
// only then does it plainly mean a path and not a volume's name.
func absDotted(p string) (string, error) {
	if p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") {
		return filepath.Abs(p)
	}
	return p, nil
}
