package config

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/gantry-run/gantry/internal/errs"
)

// serverTLS makes the TLS settings of tcp listeners, nil without TLS. With
// TLSVerify only clients with a certificate that the CA has signed get in.
func serverTLS(c Config) (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid TLS configuration: could not load X509 key pair (cert: %q, key: %q): %w", c.TLSCert, c.TLSKey, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		NextProtos:   []string{"http/1.1"}, // HTTP/2 knows no hijacked streams
	}
	if !c.TLSVerify {
		return config, nil
	}
	pem, err := os.ReadFile(c.TLSCACert)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid TLS configuration: could not read CA certificate %q: %w", c.TLSCACert, err)
	}
	// No other authority counts: not those that the machine trusts for the web.
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errs.New(errs.InvalidArgument, "invalid TLS configuration: failed to append certificates from PEM file: %q", c.TLSCACert)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
