package logship

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
)

// Line is one line of a log, without its newline, or a part of a long one.
type Line struct {
	Text   []byte
	Stderr bool
	Time   time.Time
	Part   *Part // nil: a whole line
}

// Part tells which part of a line it is, for those who put it together.
type Part struct {
	ID      string // of all parts of the line
	Ordinal int    // from 1
	Last    bool
}

// Sink sends lines to a server. It is used by one goroutine; it connects when
// it must and again after a failure.
type Sink interface {
	// Send sends lines in order and tells how many have gone. An error that is
	// errRefused says that the server will never take the next ones as they are.
	Send(ctx context.Context, lines []Line) (int, error)
	Close() error
}

// Source is the container that lines come from. Its methods are what a tag's
// template may use, as in Docker.
type Source struct {
	ContainerID, ContainerName   string // the name without its slash
	ContainerImageID, ImageTitle string
	Args                         []string // the command with its arguments
	Created                      time.Time
	Attrs                        map[string]string // of the options labels and env
	Options                      map[string]string
}

func (s Source) short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// ID is the short ID of the container.
func (s Source) ID() string { return s.short(s.ContainerID) }

// FullID is the ID of the container.
func (s Source) FullID() string { return s.ContainerID }

// Name is the name of the container.
func (s Source) Name() string { return s.ContainerName }

// ImageID is the short ID of the image.
func (s Source) ImageID() string { return s.short(s.ContainerImageID) }

// ImageFullID is the ID of the image.
func (s Source) ImageFullID() string { return s.ContainerImageID }

// ImageName is the name by which the image was used.
func (s Source) ImageName() string { return s.ImageTitle }

// Command is the command line of the container.
func (s Source) Command() string { return strings.Join(s.Args, " ") }

// DaemonName is what Docker calls its daemon.
func (s Source) DaemonName() string { return "docker" }

// Hostname is the name of this machine.
func (s Source) Hostname() (string, error) { return os.Hostname() }

// tag fills in the template of the option "tag".
func (s Source) tag(fallback string) (string, error) {
	text := s.Options["tag"]
	if text == "" {
		text = fallback
	}
	t, err := template.New("tag").Parse(text)
	if err != nil {
		return "", errs.New(errs.InvalidArgument, "invalid log tag %q: %w", text, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		return "", errs.New(errs.InvalidArgument, "invalid log tag %q: %w", text, err)
	}
	return b.String(), nil
}

// defaultTag is Docker's.
const defaultTag = "{{.ID}}"

// driver is one kind of log server.
type driver struct {
	options []string
	open    func(Source) (Sink, error)
}

// errRefused is a server's no to what a line says, which repeating does not change.
var errRefused = errors.New("the server refuses it for good")

// commonOptions are those that every driver takes. A container never waits for
// its log, so mode and max-buffer-size change nothing. For the same reason nothing
// comes of what drivers have of their own to say how long a container waits for
// its log server, how often it is tried, and what is dropped then: fluentd-async,
// -async-connect, -async-reconnect-interval, -buffer-limit, -max-retries,
// -retry-wait and -write-timeout, gelf-tcp-max-reconnect and -reconnect-delay,
// splunk-verify-connection. Lines wait in the log's file, and are sent when there
// is a server.
var commonOptions = []string{"tag", "labels", "labels-regex", "env", "env-regex", "mode", "max-buffer-size"}

// fileOptions bound the file that lines wait in.
var fileOptions = []string{"max-size", "max-file", "compress", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}

func drivers() map[string]driver {
	return map[string]driver{
		"syslog":   {syslogOptions, newSyslog},
		"gelf":     {gelfOptions, newGelf},
		"fluentd":  {fluentdOptions, newFluentd},
		"journald": {nil, newJournald},
		"splunk":   {splunkOptions, newSplunk},
	}
}

// Names lists the drivers of this package.
func Names() []string { return slices.Sorted(maps.Keys(drivers())) }

// Known tells whether there is a driver of that name.
func Known(name string) bool {
	_, ok := drivers()[name]
	return ok
}

// Validate checks a driver's options; what is wrong is errs.InvalidArgument.
func Validate(name string, options map[string]string) error {
	d, ok := drivers()[name]
	if !ok {
		return errs.New(errs.InvalidArgument, "error looking up logging plugin %s: plugin %q not found", name, name)
	}
	for key := range options {
		if !slices.Contains(d.options, key) && !slices.Contains(commonOptions, key) && !slices.Contains(fileOptions, key) {
			return errs.New(errs.InvalidArgument, "unknown log opt '%s' for %s log driver", key, name)
		}
	}
	for _, key := range []string{"labels-regex", "env-regex"} {
		if _, err := regexp.Compile(options[key]); err != nil {
			return errs.New(errs.InvalidArgument, "invalid value for %s: %w", key, err)
		}
	}
	// Opening connects to nothing.
	sink, err := d.open(Source{Options: options})
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	return sink.Close()
}

// Open makes the sink for a container whose driver and options are valid.
func Open(name string, s Source) (Sink, error) {
	d, ok := drivers()[name]
	if !ok {
		return nil, fmt.Errorf("no log driver named %q", name)
	}
	return d.open(s)
}

// parseLevel reads a level of compression, as gzip and zlib have them.
func parseLevel(text string) (level int, ok bool) {
	level, err := strconv.Atoi(text)
	return level, err == nil && level >= gzip.DefaultCompression && level <= gzip.BestCompression
}

// parseFlag reads a boolean option; a missing one is false.
func parseFlag(o map[string]string, key string) (bool, error) {
	if o[key] == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(o[key])
	if err != nil {
		return false, errs.New(errs.InvalidArgument, "invalid value for %s: %q", key, o[key])
	}
	return b, nil
}
