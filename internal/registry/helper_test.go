package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// trusting is a client that trusts one certificate.
func trusting(t testing.TB, file string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + file)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// nameFile makes registry.test a name of the loopback, in this mount namespace
// only. It must happen before the first look-up, which Go remembers.
func nameFile() (undo func() error, err error) {
	if !testenv.InSandbox() {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "registry-test-*")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte("127.0.0.1 localhost registry.test\n"), 0o644); err != nil {
		return nil, err
	}
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return nil, err
	}
	return func() error {
		return errors.Join(unix.Unmount("/etc/hosts", unix.MNT_DETACH), os.RemoveAll(dir))
	}, nil
}

func needName(t testing.TB) {
	t.Helper()
	testenv.Need(t, testenv.Root)
}
