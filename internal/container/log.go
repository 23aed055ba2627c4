package container

import (
	"strconv"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Rotation by default, unlike Docker, whose logs grow until the disk is full.
const (
	defaultLogSize  = 10 << 20 // bytes
	defaultLogFiles = 3
)

// logSettings decodes the options of the json-file driver; Path is left open.
func logSettings(c container.LogConfig) (wire.Log, error) {
	l := wire.Log{MaxSize: defaultLogSize, MaxFile: defaultLogFiles}
	if v, ok := c.Config["max-size"]; ok {
		if v == "-1" {
			l.MaxSize = 0
		} else {
			n, err := units.RAMInBytes(v)
			if err != nil || n <= 0 {
				return l, errs.New(errs.InvalidArgument, "invalid value for max-size: %q", v)
			}
			l.MaxSize = n
		}
	}
	if v, ok := c.Config["max-file"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return l, errs.New(errs.InvalidArgument, "max-file cannot be less than 1: %q", v)
		}
		l.MaxFile = n
	}
	if v, ok := c.Config["compress"]; ok {
		b, err := parseBool(v)
		if err != nil {
			return l, errs.New(errs.InvalidArgument, "invalid value for compress: %w", err)
		}
		l.Compress = b
	}
	return l, nil
}

// log gives the supervisor's log settings for a container.
func (s *Service) log(r *record) wire.Log {
	if r.Host.LogConfig.Type != "json-file" {
		return wire.Log{}
	}
	l, err := logSettings(r.Host.LogConfig)
	if err != nil {
		l = wire.Log{MaxSize: defaultLogSize, MaxFile: defaultLogFiles} // validated at create
	}
	l.Path = s.logPath(r)
	l.Attrs = logAttrs(r)
	return l
}

func (s *Service) logPath(r *record) string {
	if r.Host.LogConfig.Type != "json-file" {
		return ""
	}
	return s.store.file(r.ID, r.ID+"-json.log")
}
