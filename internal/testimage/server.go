package testimage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ServerOptions configure a loopback registry.
type ServerOptions struct {
	Dir        string // blobs; empty: in memory
	Auth       string // "", "basic" or "token"
	TLSDir     string // serve HTTPS, write ca.crt there
	Requests   string // file that gets a line per request
	BreakAfter int64  // break this many blob downloads after BreakAfter bytes
	BreakTimes int
	Rate       int // bytes per second of a blob download
	Stderr     io.Writer
}

// The user that registries with authentication know.
const (
	ServerUser     = "tester"
	ServerPassword = "secret"
)

// Server is a running registry process. It ends with Close, and with the
// process that started it.
type Server struct {
	URL  string // such as http://127.0.0.1:43210
	Host string // such as 127.0.0.1:43210, the prefix of image names
	cmd  *exec.Cmd
	in   io.Closer
}

// registryTool builds tools/registry once per process. Its code is not linked
// in here: the registry's libraries would slow down every test binary.
var registryTool = sync.OnceValues(func() (string, error) { return BuildTool("registry", "./tools/registry") })

// BuildTool builds a package of this module as a static program into .cache/bin
// and returns its path. GANTRY_TOOLS is a directory that has all of them already,
// for a machine without Go.
func BuildTool(name, pkg string) (string, error) {
	if dir := os.Getenv("GANTRY_TOOLS"); dir != "" {
		return filepath.Join(dir, name), nil
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Dir(filepath.Dir(cache))
	at := filepath.Join(root, ".cache", "bin", name)
	cmd := exec.Command("go", "build", "-trimpath", "-o", at, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return at, nil
}

// StartServer starts a registry on a free loopback port of the current network
// namespace and returns once it listens.
func StartServer(o ServerOptions) (*Server, error) {
	tool, err := registryTool()
	if err != nil {
		return nil, err
	}
	args := []string{"-exit-on-eof", "-user", ServerUser, "-password", ServerPassword}
	for flag, value := range map[string]string{"-root": o.Dir, "-auth": o.Auth, "-tls": o.TLSDir, "-requests": o.Requests} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	if o.BreakAfter > 0 {
		args = append(args, "-break-after", strconv.FormatInt(o.BreakAfter, 10), "-break-times", strconv.Itoa(max(o.BreakTimes, 1)))
	}
	if o.Rate > 0 {
		args = append(args, "-rate", strconv.Itoa(o.Rate))
	}
	cmd := exec.Command(tool, args...)
	cmd.Stderr = o.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start registry: %w", err), in.Close(), cmd.Wait())
	}
	url = strings.TrimSpace(url)
	_, host, _ := strings.Cut(url, "://")
	return &Server{URL: url, Host: host, cmd: cmd, in: in}, nil
}

// Registry addresses the server for pushing, without credentials.
func (s *Server) Registry() Registry { return Registry{URL: s.URL} }

// Close ends the registry. Further calls do nothing.
func (s *Server) Close() error {
	if s.cmd == nil {
		return nil
	}
	err := errors.Join(s.in.Close(), s.cmd.Wait())
	s.cmd = nil
	return err
}
