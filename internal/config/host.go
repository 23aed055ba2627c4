package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Ports of the API, registered with IANA for Docker.
const (
	plainPort = "2375"
	tlsPort   = "2376"
)

// checkHost checks an address to listen on and leaves it as it is: what it
// means in full depends on other options.
func checkHost(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return s, nil
	}
	_, err := parseHost(s, "", false)
	return s, err
}

// parseHost completes an address: a missing protocol is tcp, a missing host
// localhost, a missing port Docker's, a missing path the default socket.
func parseHost(s, defaultSocket string, tls bool) (string, error) {
	s = strings.TrimSpace(s)
	proto, addr, ok := strings.Cut(s, "://")
	if !ok {
		proto, addr = "tcp", s
	}
	switch proto {
	case "fd":
		return s, nil
	case "unix":
		if strings.Contains(addr, "://") {
			return "", fmt.Errorf("invalid bind address (%s): invalid unix address: %s", s, addr)
		}
		if addr == "" {
			addr = defaultSocket
		}
		return "unix://" + addr, nil
	case "tcp":
		full, err := parseTCP(addr, tls)
		if err != nil {
			return "", fmt.Errorf("invalid bind address (%s): %w", s, err)
		}
		return full, nil
	}
	return "", fmt.Errorf("invalid bind address (%s): unsupported proto '%s'", s, proto)
}

func parseTCP(addr string, tls bool) (string, error) {
	u, err := url.Parse("tcp://" + addr)
	if err != nil {
		return "", err
	}
	if u.Path != "" {
		return "", fmt.Errorf("should not contain a path element")
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = plainPort
		if tls {
			port = tlsPort
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("invalid port: %s", port)
	}
	return "tcp://" + net.JoinHostPort(host, port), nil
}

// completeHosts fills in the default address and completes the others.
func (c *Config) completeHosts() error {
	socket := filepath.Join(c.ExecRoot, "gantry.sock")
	hosts := slices.DeleteFunc(slices.Clone(c.Hosts), func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(hosts) == 0 {
		// With TLS a socket is hardly what is meant, as in Docker.
		hosts = []string{"unix://"}
		if c.TLS {
			hosts = []string{"tcp://"}
		}
	}
	c.Hosts = nil
	for _, host := range hosts {
		full, err := parseHost(host, socket, c.TLS)
		if err != nil {
			return err
		}
		if !slices.Contains(c.Hosts, full) {
			c.Hosts = append(c.Hosts, full)
		}
	}
	return nil
}

// warnPlainTCP warns about addresses that let everybody in.
func (c *Config) warnPlainTCP() {
	for _, host := range c.Hosts {
		if !strings.HasPrefix(host, "tcp://") || c.TLSVerify {
			continue
		}
		c.warn("%s: binding to an IP address without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network, and on localhost to scripts in a browser", host)
	}
}
