package container

import (
	"slices"
	"strconv"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/logship"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Rotation by default, unlike Docker, whose logs grow until the disk is full.
const (
	defaultLogSize  = 10 << 20 // bytes
	defaultLogFiles = 3
)

// logSettings decodes the options of the file that a driver keeps; Path is left open.
func logSettings(c container.LogConfig) (wire.Log, error) {
	l := wire.Log{MaxSize: defaultLogSize, MaxFile: defaultLogFiles}
	if c.Type == logLocal { // Docker's
		l = wire.Log{MaxSize: 20 << 20, MaxFile: 5, Compress: true}
	}
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
	path := s.logFile(r)
	if path == "" {
		return wire.Log{}
	}
	l, err := logSettings(r.Host.LogConfig)
	if err != nil {
		l = wire.Log{MaxSize: defaultLogSize, MaxFile: defaultLogFiles} // validated at create
	}
	l.Path = path
	l.Attrs = logAttrs(r)
	return l
}

// The log drivers that keep a log on this machine, and the one that keeps none.
// All others get what they send from a file as well, see package logship.
const (
	logJSON  = "json-file"
	logLocal = "local"
	logNone  = "none"
)

// logFile is where a container's output is kept, whatever its driver; "" for none.
func (s *Service) logFile(r *record) string {
	switch r.Host.LogConfig.Type {
	case logNone:
		return ""
	case logJSON:
		return s.store.file(r.ID, r.ID+"-json.log")
	}
	return s.store.file(r.ID, "container.log")
}

// logPath is what inspect shows: programs read that file in Docker's format.
func (s *Service) logPath(r *record) string {
	if r.Host.LogConfig.Type != logJSON {
		return ""
	}
	return s.logFile(r)
}

// LogDrivers lists the log drivers that containers can have, but for "none".
func LogDrivers() []string {
	all := append(logship.Names(), logJSON, logLocal)
	slices.Sort(all)
	return all
}
