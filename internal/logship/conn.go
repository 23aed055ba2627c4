package logship

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Bounds for a server that does not answer.
const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// link is a connection that is made when it is needed.
type link struct {
	network, address string
	tls              *tls.Config // nil: plain
	conn             net.Conn
}

// get gives the connection.
func (l *link) get(ctx context.Context) (net.Conn, error) {
	if l.conn != nil {
		return l.conn, nil
	}
	d := net.Dialer{Timeout: dialTimeout}
	var err error
	if l.tls != nil {
		l.conn, err = (&tls.Dialer{NetDialer: &d, Config: l.tls}).DialContext(ctx, l.network, l.address)
	} else {
		l.conn, err = d.DialContext(ctx, l.network, l.address)
	}
	return l.conn, err
}

// write sends all of data or drops the connection.
func (l *link) write(ctx context.Context, data []byte) error {
	conn, err := l.get(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes the write
	defer stop()
	if err = conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
		_, err = conn.Write(data)
	}
	if err != nil {
		_ = l.close() // the first error is the one to report
	}
	return err
}

func (l *link) close() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	return err
}
