// Command registry is the OCI distribution registry on loopback that tests and
// benchmarks pull from and push to: the reference implementation with basic or
// token authentication, TLS with a certificate of its own, a log of requests
// and, for tests of interrupted transfers, connections that break.
//
// It prints its URL on the first line of standard output once it listens, and
// ends on SIGTERM or when standard input closes with -exit-on-eof.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/sirupsen/logrus"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

type options struct {
	listen, root, auth string
	user, password     string
	tlsDir, requests   string
	breakAfter         int64
	breakTimes         int
	bytesPerSecond     int
	exitOnEOF          bool
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to listen on")
	flag.StringVar(&o.root, "root", "", "`directory` to store blobs in; empty: memory")
	flag.StringVar(&o.auth, "auth", "none", "authentication: none, basic or token")
	flag.StringVar(&o.user, "user", "tester", "user name")
	flag.StringVar(&o.password, "password", "secret", "password")
	flag.StringVar(&o.tlsDir, "tls", "", "serve HTTPS and write the certificate to `directory`/ca.crt")
	flag.StringVar(&o.requests, "requests", "", "append one line per request to `file`: method, path, Range header, status")
	flag.Int64Var(&o.breakAfter, "break-after", 0, "break the connection of a blob download after `bytes`")
	flag.IntVar(&o.breakTimes, "break-times", 1, "how many downloads -break-after breaks")
	flag.IntVar(&o.bytesPerSecond, "rate", 0, "limit each blob download to `bytes` per second")
	flag.BoolVar(&o.exitOnEOF, "exit-on-eof", false, "end when standard input closes")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.exitOnEOF {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }() // ends with the process
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	if o.tlsDir != "" {
		cert, err := selfSigned(o.tlsDir)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
		url = "https://" + l.Addr().String()
	}
	tmp, err := os.MkdirTemp("", "registry-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	handler, err := newHandler(ctx, o, url, tmp)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler}
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		sctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(sctx) // the process ends anyway
	})
	fmt.Println(url)
	err = srv.Serve(l)
	stop()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// newHandler builds the registry and what stands in front of it.
func newHandler(ctx context.Context, o options, url, tmp string) (http.Handler, error) {
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.SetOutput(os.Stderr)
	config := &configuration.Configuration{}
	config.Log.Level = "error"
	config.Log.AccessLog.Disabled = true
	config.Catalog.MaxEntries = 1000
	config.HTTP.Secret = "of no importance" // signs upload states of this process only
	config.Storage = configuration.Storage{"inmemory": {}, "delete": {"enabled": true}}
	if o.root != "" {
		config.Storage = configuration.Storage{"filesystem": {"rootdirectory": o.root}, "delete": {"enabled": true}}
	}
	mux := http.NewServeMux()
	switch o.auth {
	case "none":
	case "basic":
		file, err := htpasswd(tmp, o.user, o.password)
		if err != nil {
			return nil, err
		}
		config.Auth = configuration.Auth{"htpasswd": {"realm": "test registry", "path": file}}
	case "token":
		issuer, err := newIssuer(o.user, o.password)
		if err != nil {
			return nil, err
		}
		jwks, err := issuer.writeKeys(tmp)
		if err != nil {
			return nil, err
		}
		mux.Handle("/token", issuer)
		config.Auth = configuration.Auth{"token": {
			"realm": url + "/token", "service": service, "issuer": issuerName, "jwks": jwks,
		}}
	default:
		return nil, fmt.Errorf("unknown authentication %q", o.auth)
	}
	mux.Handle("/", handlers.NewApp(ctx, config))
	return observe(o, mux)
}
