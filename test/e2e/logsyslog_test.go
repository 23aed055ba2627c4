package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// also adds to the server's configuration; it is called before start.
func (r *rsyslog) also(format string, args ...any) {
	r.t.Helper()
	f, err := os.OpenFile(r.conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, format, args...); err != nil {
		r.t.Error(err)
	}
	if err := f.Close(); err != nil {
		r.t.Error(err)
	}
}

// authority makes certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.pem and NAME.key. The first certificate is the authority's own.
func (a *authority) issue(name string, c *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
		a.key = key
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// logged writes lines to a syslog server and gives what has arrived.
func logged(c *cli, server *rsyslog, address string, options ...string) string {
	c.t.Helper()
	args := []string{"run", "--name", c.container(), "--log-driver", "syslog", "--log-opt", "syslog-address=" + address, "--log-opt", "tag=mine", "--log-opt", "syslog-facility=local5"}
	for _, o := range options {
		args = append(args, "--log-opt", o)
	}
	c.ok(append(args, "busybox", "sh", "-c", "echo ä first; sleep 0.1; echo second >&2; sleep 0.1; echo end")...)
	return server.wait("end")
}

// TestLogDriverSyslogForms: every transport with every format, as a real server
// understands them.
func TestLogDriverSyslogForms(t *testing.T) {
	needEngine(t, gantryEngine) // Docker's certificates are read by its daemon, too; what arrives is the same
	t.Parallel()
	c := one(t, world.engine)
	ca := newAuthority(t)
	ca.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for _, format := range []string{"", "rfc3164", "rfc5424", "rfc5424micro"} {
		for _, transport := range []string{"udp", "tcp", "unixgram", "tcp+tls"} {
			t.Run(transport+" "+format, func(t *testing.T) {
				c := bind(t, c.client, c.e)
				server := newRsyslog(t)
				address := fmt.Sprintf("%s://127.0.0.1:%d", transport, server.port)
				options := []string{"syslog-format=" + format}
				switch transport {
				case "unixgram":
					socket := filepath.Join(t.TempDir(), "log")
					server.also("module(load=\"imuxsock\" sysSock.Use=\"off\")\ninput(type=\"imuxsock\" socket=%q useSpecialParser=%q)\n", socket, map[bool]string{true: "on", false: "off"}[format == ""])
					address = "unixgram://" + socket
				case "tcp+tls":
					server.tls(ca)
					options = append(options, "syslog-tls-ca-cert="+ca.file("ca.pem"), "syslog-tls-cert="+ca.file("client.pem"), "syslog-tls-key="+ca.file("client.key"))
				}
				server.start()
				got := logged(c, server, address, options...)
				if transport == "unixgram" && format == "rfc3164" { // rsyslog looks for no host in what comes from the machine itself
					host, err := os.Hostname()
					if err != nil {
						t.Fatal(err)
					}
					got = strings.ReplaceAll(got, " "+host+" ", " ")
				}
				for _, want := range []string{"local5.info mine", ": ä first\n", "local5.err mine", "second\n", "end\n"} {
					if strings.HasPrefix(format, "rfc5424") {
						want = strings.TrimPrefix(want, ": ")
					}
					if !strings.Contains(got, want) {
						t.Errorf("%q is missing in:\n%s", want, got)
					}
				}
				if n := strings.Count(got, "\n"); n != 3 {
					t.Errorf("%d lines:\n%s", n, got)
				}
			})
		}
	}
}

// tls makes the server's port one for TLS clients that have a certificate.
func (r *rsyslog) tls(ca *authority) {
	r.t.Helper()
	text, err := os.ReadFile(r.conf)
	if err != nil {
		r.t.Fatal(err)
	}
	driver := fmt.Sprintf("global(defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)\n",
		ca.file("ca.pem"), ca.file("server.pem"), ca.file("server.key"))
	changed := strings.Replace(string(text), `module(load="imtcp")`, driver+`module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")`, 1)
	if err := os.WriteFile(r.conf, []byte(changed), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// TestLogDriverSyslogTLSRefuses: a server that cannot prove who it is gets nothing.
func TestLogDriverSyslogTLSRefuses(t *testing.T) {
	needEngine(t, gantryEngine) // Docker refuses to start the container
	t.Parallel()
	c := one(t, world.engine)
	ca, other := newAuthority(t), newAuthority(t)
	ca.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	server := newRsyslog(t)
	server.tls(ca)
	server.start()
	address := fmt.Sprintf("tcp+tls://127.0.0.1:%d", server.port)
	certs := []string{"--log-opt", "syslog-tls-cert=" + ca.file("client.pem"), "--log-opt", "syslog-tls-key=" + ca.file("client.key")}
	run := func(text string, more ...string) {
		args := append([]string{"run", "--name", c.container(), "--log-driver", "syslog", "--log-opt", "syslog-address=" + address}, append(certs, more...)...)
		c.ok(append(args, "busybox", "echo", text)...)
	}
	run("to a stranger", "--log-opt", "syslog-tls-ca-cert="+other.file("ca.pem"))
	run("unchecked", "--log-opt", "syslog-tls-ca-cert="+other.file("ca.pem"), "--log-opt", "syslog-tls-skip-verify=1")
	if got := server.wait("unchecked"); strings.Contains(got, "stranger") {
		t.Errorf("%s", got)
	}
}

// TestLogOfRemovedContainer: what a container with --rm wrote last arrives, and a
// server that is away does not hold its removal up.
func TestLogOfRemovedContainer(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	c := one(t, world.engine)
	server := newRsyslog(t)
	run := func() {
		c.ok("run", "--rm", "--log-driver", "syslog", "--log-opt", fmt.Sprintf("syslog-address=tcp://127.0.0.1:%d", server.port),
			"busybox", "sh", "-c", "seq 1 5000; echo last of all")
	}
	begin := time.Now()
	run()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("without a server it took %s", took)
	}
	server.start()
	run()
	if got := server.wait("last of all"); strings.Count(got, "\n") != 5001 {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
}
