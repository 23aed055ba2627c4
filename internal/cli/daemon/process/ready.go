package process

import (
	"bytes"
	"crypto/rand"
	"net"
)

// ready is where a daemon that we started reports that it serves, by the
// protocol of sd_notify(3).
type ready struct {
	conn *net.UnixConn
	done chan struct{}
	told chan struct{}
}

// newReady opens the place. Its address is abstract: no file is left behind.
func newReady() (*ready, error) {
	addr := &net.UnixAddr{Name: "@gantry-ready-" + rand.Text(), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		return nil, err
	}
	r := &ready{conn: conn, done: make(chan struct{}), told: make(chan struct{}, 1)}
	go r.read()
	return r, nil
}

// env is what the daemon needs in its environment.
func (r *ready) env() string { return "NOTIFY_SOCKET=" + r.conn.LocalAddr().String() }

func (r *ready) read() {
	defer close(r.done)
	buf := make([]byte, 4096)
	for {
		n, err := r.conn.Read(buf)
		if err != nil {
			return
		}
		for line := range bytes.Lines(buf[:n]) {
			if string(bytes.TrimSpace(line)) == "READY=1" {
				select {
				case r.told <- struct{}{}:
				default:
				}
			}
		}
	}
}

// Close ends the reading and waits for its goroutine.
func (r *ready) Close() {
	_ = r.conn.Close() // nothing was written
	<-r.done
}
