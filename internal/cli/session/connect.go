package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/docker/go-connections/tlsconfig"

	"github.com/gantry-run/gantry/internal/cli/daemon/process"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

// ConnectError says that no daemon answers, in words for the user.
type ConnectError struct {
	Host string
	Err  error
	Hint string
}

// Error gives Docker's sentence, on which scripts match, and our hint.
func (e *ConnectError) Error() string {
	var text string
	if errors.Is(e.Err, fs.ErrPermission) {
		text = fmt.Sprintf("permission denied while trying to connect to the Docker daemon socket at %s", e.Host)
	} else {
		text = fmt.Sprintf("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", e.Host)
	}
	if e.Hint != "" {
		text += "\n" + e.Hint
	}
	return text
}

// connect makes the client. The dialer is ours for local sockets, so that a
// missing daemon can be offered to be started, once, before the request fails.
func (s *Session) connect(ep Endpoint) (*client.Client, error) {
	o := client.Options{
		APIVersion: os.Getenv("DOCKER_API_VERSION"),
		UserAgent:  "Gantry-Client/" + s.Build.Version + " (linux)",
		Headers:    s.Config().HTTPHeaders,
	}
	if path, ok := strings.CutPrefix(ep.Host, "unix://"); ok {
		o.Dial = func(ctx context.Context) (net.Conn, error) { return s.dialUnix(ctx, ep.Host, path) }
	} else if ep.TLS {
		var err error
		if o.TLS, err = tlsConfig(ep); err != nil {
			return nil, err
		}
	}
	return client.New(ep.Host, o)
}

func tlsConfig(ep Endpoint) (*tls.Config, error) {
	cfg, err := tlsconfig.Client(tlsconfig.Options{
		CAFile: ep.CA, CertFile: ep.Cert, KeyFile: ep.Key,
		InsecureSkipVerify: !ep.Verify, MinVersion: tls.VersionTLS12, ExclusiveRootPools: ep.CA != "",
	})
	if err != nil {
		return nil, fmt.Errorf("set up TLS for %s: %w", ep.Host, err)
	}
	return cfg, nil
}

func (s *Session) dialUnix(ctx context.Context, host, path string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	down := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
	if down {
		started := false
		s.offer.Do(func() { started, err = s.offerStart(ctx, path, err) })
		if started {
			return d.DialContext(ctx, "unix", path)
		}
	}
	return nil, &ConnectError{Host: host, Err: err, Hint: s.hint(err, path)}
}

func (s *Session) hint(err error, path string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "Run the command as root, or join the group that owns " + path + "."
	case !process.Installed():
		return ""
	case IsRoot():
		return "Start it with \"gantry daemon start\"."
	default:
		return "Start it as root with \"gantry daemon start\"."
	}
}

// offerStart starts the daemon if the user, or GANTRY_AUTOSTART=1, says so.
// err is what dialing gave; it is returned unless starting gave another.
func (s *Session) offerStart(ctx context.Context, socket string, err error) (bool, error) {
	if !IsRoot() || !process.Installed() {
		return false, err
	}
	auto := os.Getenv("GANTRY_AUTOSTART")
	switch {
	case auto == "1":
	case auto != "" || !s.InIsTerminal() || !stream.IsTerminal(s.Err):
		return false, err
	default:
		fmt.Fprintf(s.Err, "The Gantry daemon is not running. Start it now? [Y/n] ")
		line, readErr := s.ReadLine()
		if a := strings.ToLower(line); readErr != nil || a != "" && a != "y" && a != "yes" {
			return false, err
		}
	}
	if _, startErr := process.Start(ctx, process.Options{Socket: socket}); startErr != nil {
		fmt.Fprintln(s.Err, startErr)
		return false, err
	}
	return true, nil
}
