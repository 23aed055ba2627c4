package config

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// TestMain holds that no listener, lock or connection is left open.
func TestMain(m *testing.M) {
	// The poller opens its own descriptors at its first use.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// dir is a directory with a path short enough for sockets.
func dir(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "gantry-cfg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	return path
}

func mustListen(t *testing.T, cfg Config) []net.Listener {
	t.Helper()
	listeners, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	})
	return listeners
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(dir(t), "sub", "s")
	cfg := Config{Hosts: []string{"unix://" + path}, Group: "12345"}
	listeners := mustListen(t, cfg)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 || os.Geteuid() == 0 && info.Sys().(*syscall.Stat_t).Gid != 12345 {
		t.Errorf("socket is %v %v", info.Mode(), err)
	}
	if parent, err := os.Stat(filepath.Dir(path)); err != nil || parent.Mode().Perm() != 0o711 {
		t.Errorf("directory is %v %v", parent.Mode(), err)
	}
	if _, err := Listen(cfg); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "another daemon is listening on it") {
		t.Errorf("second listener: %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Errorf("the failed second try broke the first: %v", err)
	} else {
		_ = conn.Close()
	}
	if err := listeners[0].Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a closed listener leaves its socket: %v", err)
	}
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(dir(t), "s")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	mustListen(t, Config{Hosts: []string{"unix://" + path}})
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(dir(t), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(Config{Hosts: []string{"unix://" + path}})
	if data, readErr := os.ReadFile(path); !errs.Is(err, errs.Conflict) || string(data) != "precious" || readErr != nil {
		t.Errorf("got %v, file %q %v", err, data, readErr)
	}
}

func TestListenAllOrNothing(t *testing.T) {
	path := filepath.Join(dir(t), "s")
	if _, err := Listen(Config{Hosts: []string{"unix://" + path, "tcp://256.0.0.1:1"}}); err == nil {
		t.Fatal("listens on 256.0.0.1")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first socket is still there: %v", err)
	}
	if _, err := Listen(Config{Hosts: []string{"unix://" + path}, Group: "no-such-group"}); !errs.Is(err, errs.NotFound) || err.Error() != "group no-such-group not found" {
		t.Errorf("got %v", err)
	}
	for _, host := range []string{"x", "udp://y"} {
		if _, err := Listen(Config{Hosts: []string{host}}); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// authority signs certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.sign(t, "ca", template)
	return a
}

func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) leaf(t *testing.T, name string) {
	t.Helper()
	a.sign(t, name, &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
}

func TestListenTLS(t *testing.T) {
	d := dir(t)
	ca := newAuthority(t, d)
	ca.leaf(t, "server")
	ca.leaf(t, "client")
	other := dir(t)
	stranger := newAuthority(t, other)
	stranger.leaf(t, "client")

	cfg := Config{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: true, TLSVerify: true,
		TLSCACert: filepath.Join(d, "ca.pem"), TLSCert: filepath.Join(d, "server.pem"), TLSKey: filepath.Join(d, "server-key.pem")}
	l := mustListen(t, cfg)[0]
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("welcome")) // performs the handshake; strangers fail here
			_ = conn.Close()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	visit := func(certDir string) (string, error) {
		t.Helper()
		client := &tls.Config{RootCAs: roots}
		if certDir != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(certDir, "client.pem"), filepath.Join(certDir, "client-key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		conn, err := tls.Dial("tcp", l.Addr().String(), client)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		data, err := io.ReadAll(conn)
		return string(data), err
	}
	if got, err := visit(d); err != nil || got != "welcome" {
		t.Errorf("client with certificate: %q %v", got, err)
	}
	if got, err := visit(""); err == nil {
		t.Errorf("client without certificate got %q", got)
	}
	if got, err := visit(other); err == nil {
		t.Errorf("client of another authority got %q", got)
	}
	for _, broken := range []func(*Config){
		func(c *Config) { c.TLSCert = "/nonexistent" },
		func(c *Config) { c.TLSCACert = "/nonexistent" },
		func(c *Config) { c.TLSCACert = c.TLSKey },
	} {
		bad := cfg
		broken(&bad)
		if _, err := Listen(bad); !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "invalid TLS configuration") {
			t.Errorf("got %v", err)
		}
	}
}

// TestActivation passes a socket to a copy of this program, as systemd does.
func TestActivation(t *testing.T) {
	if os.Getenv("GANTRY_TEST_ACTIVATED") != "" {
		os.Exit(activatedChild())
	}
	noEnvironment(t)
	if _, err := Listen(Config{Hosts: []string{"fd://"}}); err == nil || !strings.Contains(err.Error(), "no sockets found via socket activation") {
		t.Errorf("got %v", err)
	}
	l, err := net.Listen("unix", filepath.Join(dir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// LISTEN_PID must be the child's own, so a shell that becomes the child sets it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run=^TestActivation$`, os.Args[0])
	cmd.Env = append(os.Environ(), "GANTRY_TEST_ACTIVATED=1", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "activated" {
		t.Errorf("got %q %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func activatedChild() int {
	if _, err := Listen(Config{Hosts: []string{"fd://4"}}); err == nil || !strings.Contains(err.Error(), "too few socket activated files") {
		return 2
	}
	if _, err := Listen(Config{Hosts: []string{"fd://x"}}); err == nil || !strings.Contains(err.Error(), "should be a number") {
		return 3
	}
	listeners, err := Listen(Config{Hosts: []string{"fd://3"}})
	if err != nil || len(listeners) != 1 {
		return 4
	}
	conn, err := listeners[0].Accept()
	if err != nil {
		return 5
	}
	if _, err := conn.Write([]byte("activated")); err != nil {
		return 6
	}
	if conn.Close() != nil {
		return 7
	}
	return 0
}

func TestNotify(t *testing.T) {
	noEnvironment(t)
	if err := NotifyReady(); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	for _, name := range []string{filepath.Join(dir(t), "n"), "@gantry-test-" + strconv.Itoa(os.Getpid())} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", name)
		for want, notify := range map[string]func() error{"READY=1": NotifyReady, "STOPPING=1": NotifyStopping} {
			if err := notify(); err != nil {
				t.Error(err)
			}
			buf := make([]byte, 100)
			_ = l.SetDeadline(time.Now().Add(10 * time.Second))
			if n, err := l.Read(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("%s: got %q %v", name, buf[:n], err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "/nonexistent/n")
	if err := NotifyReady(); err == nil {
		t.Error("a missing service manager goes unnoticed")
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "gantryd.pid")
	first, err := WritePidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != strconv.Itoa(os.Getpid()) {
		t.Errorf("file holds %q %v", data, err)
	}
	want := "process with PID " + strconv.Itoa(os.Getpid()) + " is still running"
	if _, err := WritePidFile(path); !errs.Is(err, errs.Conflict) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file is left: %v", err)
	}
	// What a dead daemon has left does not count, whoever has its number now.
	if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := WritePidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != strconv.Itoa(os.Getpid()) {
		t.Errorf("file holds %q %v", data, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// TestPidFileRace lets many try at once, again and again: never do two hold it.
func TestPidFileRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var held = make(chan struct{}, 1)
	done := make(chan int)
	for range 4 {
		go func() {
			taken := 0
			for ctx.Err() == nil {
				p, err := WritePidFile(path)
				if err != nil {
					if !errs.Is(err, errs.Conflict) && !strings.Contains(err.Error(), "keeps being replaced") {
						t.Error(err)
					}
					continue
				}
				select {
				case held <- struct{}{}:
				default:
					t.Error("two daemons hold the pid file")
				}
				taken++
				<-held
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
			done <- taken
		}()
	}
	total := 0
	for range 4 {
		total += <-done
	}
	if total == 0 {
		t.Error("nobody ever got it")
	}
}
