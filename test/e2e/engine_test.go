package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	gantryEngine = "gantry"
	dockerEngine = "docker"
)

// readyTimeout bounds a daemon's start; dockerd with containerd takes a second.
const readyTimeout = 30 * time.Second

// engine is a daemon under test, in the suite's sandbox.
type engine struct {
	kind string
	dir  string
	sock string
	log  string
	args []string
	etc  string // see engineOptions
	cmd  *exec.Cmd
	done chan struct{} // closed when the process was reaped
}

// engineOptions are what a daemon has besides roots and socket of its own.
type engineOptions struct {
	dataRoot string   // empty: below dir
	args     []string // further flags
	etc      string   // directory of files that the daemon sees in place of those in /etc
}

var engineNumber atomic.Int32

// engineKind is what the suite tests.
func engineKind() string {
	if k := os.Getenv("E2E_ENGINE"); k != "" {
		return k
	}
	return gantryEngine
}

// binDir holds the binaries under test.
func binDir() string {
	if d := os.Getenv("GANTRY_BIN"); d != "" {
		return d
	}
	d, err := filepath.Abs("../../bin")
	must(err)
	return d
}

func daemonPath() string {
	if engineKind() == dockerEngine {
		if d := os.Getenv("E2E_DOCKERD"); d != "" {
			return d
		}
		return "/usr/sbin/dockerd"
	}
	return filepath.Join(binDir(), "gantryd")
}

// startEngine starts a daemon with everything of its own below dir and waits
// until it answers.
func startEngine(dir string, o engineOptions) (*engine, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if o.dataRoot == "" {
		o.dataRoot = filepath.Join(dir, "data")
	}
	n := engineNumber.Add(1)
	e := &engine{kind: engineKind(), etc: o.etc, dir: dir, sock: filepath.Join(dir, "engine.sock"), log: filepath.Join(dir, "log")}
	e.args = []string{
		"--data-root", o.dataRoot, "--exec-root", filepath.Join(dir, "exec"),
		"-H", "unix://" + e.sock, "--pidfile", filepath.Join(dir, "pid"),
		"--cgroup-parent", os.Getenv(cgroupEnv) + "/" + strconv.Itoa(int(n)),
		"--config-file", filepath.Join(dir, "daemon.json"),
	}
	if !contains(o.args, "--config-file") {
		if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
			return nil, err
		}
	}
	if e.kind == dockerEngine && os.Getenv("E2E_DOCKERD") != "" {
		e.args = append(e.args, "--userland-proxy=false") // the installed proxy is another version's
	}
	if !contains(o.args, "--bridge") {
		e.args = append(e.args, "--bip", fmt.Sprintf("10.%d.0.1/16", 100+n))
	}
	e.args = append(e.args, o.args...)
	return e, e.start()
}

func contains(args []string, flag string) bool {
	for _, a := range args {
		if a == flag || strings.HasPrefix(a, flag+"=") {
			return true
		}
	}
	return false
}

// start runs the daemon once more with the same roots.
func (e *engine) start() error {
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	e.cmd = exec.Command(daemonPath(), e.args...)
	if e.etc != "" {
		const bind = `for f in "$0"/*; do mount --bind "$f" /etc/"${f##*/}" || exit; done; exec "$@"`
		e.cmd = exec.Command("unshare", append([]string{"-m", "sh", "-c", bind, e.etc, daemonPath()}, e.args...)...)
	}
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := e.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", e.kind, err)
	}
	done := make(chan struct{})
	e.done = done
	go func() { _ = e.cmd.Wait(); close(done) }() // how it ended is in ProcessState
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if _, err := e.get(ctx, "/_ping"); err == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("%s ended: %s\n%s", e.kind, e.cmd.ProcessState, e.logTail())
		case <-ctx.Done():
			_ = e.cmd.Process.Kill()
			return fmt.Errorf("%s does not answer after %s\n%s", e.kind, readyTimeout, e.logTail())
		case <-time.After(wait):
		}
	}
}

// pids of helpers that the daemon started: what outlives it.
func (e *engine) logTail() string {
	data, err := os.ReadFile(e.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// stop removes all containers and ends the daemon in order.
func (e *engine) stop() error {
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := e.removeAll(ctx)
	return errors.Join(errs, e.signal(syscall.SIGTERM), e.removeBridge())
}

// removeAll removes every container.
func (e *engine) removeAll(ctx context.Context) error {
	body, err := e.get(ctx, "/containers/json?all=1")
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var list []struct{ ID string }
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("list containers: %w: %s", err, body)
	}
	var errs error
	for _, c := range list {
		if _, err := e.call(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", "", nil); err != nil {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// signal ends the daemon and waits until it is gone.
func (e *engine) signal(s syscall.Signal) error {
	if err := e.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", e.kind, err)
	}
	select {
	case <-e.done:
		return nil
	case <-time.After(readyTimeout):
		_ = e.cmd.Process.Kill()
		return fmt.Errorf("%s does not end on %s\n%s", e.kind, s, e.logTail())
	}
}

// removeBridge deletes what a daemon leaves behind on purpose: Docker keeps its
// bridge and its netfilter chains for the next start.
func (e *engine) removeBridge() error {
	if e.kind != dockerEngine {
		return nil
	}
	// libnetwork keeps a mount of the default namespace for ever.
	if out, err := exec.Command("umount", filepath.Join(e.dir, "exec/netns/default")).CombinedOutput(); err != nil && !bytes.Contains(out, []byte("no mount point")) && !bytes.Contains(out, []byte("not mounted")) {
		return fmt.Errorf("unmount default namespace: %w: %s", err, out)
	}
	for _, link := range []string{"docker0"} {
		if _, err := net.InterfaceByName(link); err == nil {
			if out, err := exec.Command("ip", "link", "del", link).CombinedOutput(); err != nil {
				return fmt.Errorf("delete %s: %w: %s", link, err, out)
			}
		}
	}
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		return fmt.Errorf("flush rules: %w: %s", err, out)
	}
	return nil
}

func (e *engine) http() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.sock)
		},
	}}
}

// get calls the API below the oldest version that all engines have.
func (e *engine) get(ctx context.Context, path string) ([]byte, error) {
	return e.call(ctx, http.MethodGet, path, "", nil)
}

func (e *engine) call(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	if path != "/_ping" {
		path = "/v1.41" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := e.http().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return data, &apiError{method: method, path: path, status: resp.StatusCode, body: strings.TrimSpace(string(data))}
	}
	return data, nil
}

type apiError struct {
	method, path string
	status       int
	body         string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s %s: %d: %s", e.method, e.path, e.status, e.body)
}

// load sends an archive to the API; an error inside the progress stream counts.
func (e *engine) load(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := e.call(context.Background(), http.MethodPost, "/images/load?quiet=1", "application/x-tar", f)
	if err != nil {
		return err
	}
	if bytes.Contains(out, []byte(`"error"`)) {
		return fmt.Errorf("%s", out)
	}
	return nil
}

// nftTables are the netfilter tables of the sandbox.
var nftTables = gate("nftables tables", func() ([]string, error) {
	out, err := exec.Command("nft", "list", "tables").Output()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err
})
