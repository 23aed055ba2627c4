// Package session is what every command of the CLI is given: the streams, the
// configuration, the global options and a client that is made when first
// asked for. It also holds the errors through which commands choose the exit
// code, and the checks of argument counts.
//
// Nothing about single commands belongs here. A Session serves one command
// invocation; it is not safe for concurrent use except where noted.
package session

import (
	"fmt"
	"os"
	"sync"

	"github.com/gantry-run/gantry/internal/cli/config"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

// Build describes the program.
type Build struct {
	Version, Commit, Time string
}

// Session is the surroundings of one command.
type Session struct {
	*stream.Stdio
	Name  string // how the program was called: gantry or docker
	Build Build
	Opts  Options

	config *config.File
	client *client.Client
	offer  sync.Once // the daemon's start is offered once
}

// New makes a session for a program called name.
func New(name string, io *stream.Stdio, b Build) *Session {
	return &Session{Stdio: io, Name: name, Build: b}
}

// Config gives the user's configuration. A broken file is reported once and
// taken for an empty one, since most commands do not need it.
func (s *Session) Config() *config.File {
	if s.config == nil {
		f, err := config.Load(s.Opts.ConfigDir)
		if err != nil {
			fmt.Fprintf(s.Err, "WARNING: Error loading config file: %v\n", err)
		}
		s.config = f
	}
	return s.config
}

// Client gives the API client for the host that options, environment and
// context choose. Nothing is sent until the first call.
func (s *Session) Client() (*client.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	ep, err := s.Endpoint()
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ep)
	if err != nil {
		return nil, err
	}
	s.client = c
	return c, nil
}

// DetachKeys gives the detach sequence: the flag's or the configuration's.
func (s *Session) DetachKeys(flag string) string {
	if flag != "" {
		return flag
	}
	return s.Config().DetachKeys
}

// Debugf writes to stderr if --debug is on.
func (s *Session) Debugf(format string, args ...any) {
	if s.Opts.Debug {
		fmt.Fprintf(s.Err, "DEBU "+format+"\n", args...)
	}
}

// IsRoot tells whether the user may manage the daemon.
func IsRoot() bool { return os.Geteuid() == 0 }
