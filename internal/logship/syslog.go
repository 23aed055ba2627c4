package logship

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-connections/tlsconfig"

	"github.com/gantry-run/gantry/internal/errs"
)

var syslogOptions = []string{
	"syslog-address", "syslog-facility", "syslog-format",
	"syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify",
}

// facilities of RFC 5424, section 6.2.1, by the names that Docker takes.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// Severities of RFC 5424 for the two streams.
const (
	severityError = 3
	severityInfo  = 6
)

func severity(l *Line) int {
	if l.Stderr {
		return severityError
	}
	return severityInfo
}

type syslog struct {
	link
	facility int
	format   string
	tag      string
	host     string
	counted  bool // RFC 5425: each message follows its length
	local    bool // the address is to be found, see localSockets
}

// localSockets are where syslog daemons listen.
var localSockets = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

const syslogPort = "514"

func newSyslog(s Source) (Sink, error) {
	o := s.Options
	y := &syslog{facility: facilities["daemon"], format: o["syslog-format"]}
	if f := o["syslog-facility"]; f != "" {
		n, ok := facilities[f]
		if !ok {
			var err error
			if n, err = strconv.Atoi(f); err != nil || n < 0 || n > 23 {
				return nil, errs.New(errs.InvalidArgument, "invalid syslog facility: %s", f)
			}
		}
		y.facility = n
	}
	switch y.format {
	case "", "rfc3164", "rfc5424", "rfc5424micro":
	default:
		return nil, errs.New(errs.InvalidArgument, "Invalid syslog format: %s", y.format)
	}
	if err := y.parseAddress(o); err != nil {
		return nil, err
	}
	var err error
	if y.tag, err = s.tag(defaultTag); err != nil {
		return nil, err
	}
	if y.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	return y, nil
}

func (y *syslog) parseAddress(o map[string]string) error {
	address := o["syslog-address"]
	if address == "" {
		y.local = true
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	switch u.Scheme {
	case "unix", "unixgram":
		y.network, y.link.address = u.Scheme, u.Path
		return nil
	case "udp", "tcp":
		y.network = u.Scheme
	case "tcp+tls":
		y.network, y.counted = "tcp", strings.HasPrefix(y.format, "rfc5424")
		y.tls, err = tlsconfig.Client(tlsconfig.Options{
			CAFile: o["syslog-tls-ca-cert"], CertFile: o["syslog-tls-cert"], KeyFile: o["syslog-tls-key"],
			InsecureSkipVerify: o["syslog-tls-skip-verify"] != "", ExclusiveRootPools: o["syslog-tls-ca-cert"] != "",
		})
		if err != nil {
			return errs.New(errs.InvalidArgument, "set up TLS for %s: %w", address, err)
		}
	default:
		return errs.New(errs.InvalidArgument, "unsupported scheme: '%s'", u.Scheme)
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = syslogPort
	}
	y.link.address = net.JoinHostPort(host, port)
	return nil
}

func (y *syslog) Send(ctx context.Context, lines []Line) (int, error) {
	for i := range lines {
		if y.local && y.conn == nil {
			y.findLocal()
		}
		message := y.message(&lines[i])
		if y.counted {
			message = append(fmt.Appendf(nil, "%d ", len(message)), message...)
		}
		if err := y.write(ctx, message); err != nil {
			return i, err
		}
	}
	return len(lines), nil
}

// findLocal looks where this machine's syslog daemon listens now.
func (y *syslog) findLocal() {
	y.network, y.link.address = "unixgram", localSockets[0]
	for _, path := range localSockets {
		for _, network := range []string{"unixgram", "unix"} {
			if conn, err := net.DialTimeout(network, path, dialTimeout); err == nil {
				y.network, y.link.address, y.conn = network, path, conn
				return
			}
		}
	}
}

// message is a line as RFC 3164 or 5424 have it, or as local daemons take it.
func (y *syslog) message(l *Line) []byte {
	pri, pid := y.facility<<3|severity(l), os.Getpid()
	text := l.Text
	switch y.format {
	case "rfc5424":
		return fmt.Appendf(nil, "<%d>1 %s %s %s %d %s - %s\n", pri, l.Time.Format("2006-01-02T15:04:05Z07:00"), y.host, y.tag, pid, y.tag, text)
	case "rfc5424micro":
		return fmt.Appendf(nil, "<%d>1 %s %s %s %d %s - %s\n", pri, l.Time.Format("2006-01-02T15:04:05.000000Z07:00"), y.host, y.tag, pid, y.tag, text)
	case "rfc3164":
		return fmt.Appendf(nil, "<%d>%s %s %s[%d]: %s\n", pri, l.Time.Local().Format("Jan _2 15:04:05"), y.host, y.tag, pid, text)
	}
	return fmt.Appendf(nil, "<%d>%s %s[%d]: %s\n", pri, l.Time.Local().Format("Jan _2 15:04:05"), y.tag, pid, text)
}

func (y *syslog) Close() error { return y.close() }
