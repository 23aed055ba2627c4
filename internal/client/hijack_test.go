package client

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// echo takes the connection over. Its greeting is in the same packet as the
// head of the answer; then it sends back, in capitals, all that comes until
// the other side has closed its half.
func echo(t *testing.T, w http.ResponseWriter) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello ")
	in, err := io.ReadAll(rw)
	if err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(conn, strings.ToUpper(string(in)))
}

func checkEcho(t *testing.T, h HijackedResponse) {
	t.Helper()
	defer h.Close()
	if _, err := io.WriteString(h.Conn, "abc"); err != nil {
		t.Error(err)
	}
	if err := h.CloseWrite(); err != nil {
		t.Error(err)
	}
	out, err := io.ReadAll(h.Reader)
	if err != nil || string(out) != "hello ABC" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestHijack(t *testing.T) {
	got := make(chan *http.Request, 1)
	c := connect(t, listen(t, daemon("1.44", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		got <- r
		echo(t, w)
	})), Options{UserAgent: "Gantry", Headers: map[string]string{"X-Mine": "1"}})

	h, err := c.ContainerAttach(t.Context(), "x", ContainerAttachOptions{Stream: true, Stdin: true, DetachKeys: "ctrl-a,a"})
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, h)
	r := <-got
	if r.URL.String() != "/v1.44/containers/x/attach?detachKeys=ctrl-a%2Ca&stdin=1&stream=1" || r.Header.Get("X-Mine") != "1" ||
		r.Header.Get("Content-Type") != "text/plain" || r.Header.Get("User-Agent") != "Gantry" || r.Header.Get("Upgrade") != "tcp" {
		t.Errorf("%s %v", r.URL, r.Header)
	}

	h, err = c.ExecAttach(t.Context(), "e", ExecAttachOptions{TTY: true, ConsoleSize: ConsoleSize{Height: 24, Width: 80}})
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, h)
	r = <-got
	body, _ := io.ReadAll(r.Body)
	if want := `{"Detach":false,"Tty":true,"ConsoleSize":[24,80]}`; string(body) != want || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s, want %s", body, want)
	}
}

func TestHijackIsRefused(t *testing.T) {
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "garbage") {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(conn, "garbage\r\n")
			_ = conn.Close()
			return
		}
		w.WriteHeader(http.StatusConflict)
	})), Options{})
	if _, err := c.ContainerAttach(t.Context(), "x", ContainerAttachOptions{}); err == nil || err.Error() != "unable to upgrade to tcp, received 409" {
		t.Errorf("conflict: %v", err)
	}
	if _, err := c.ContainerAttach(t.Context(), "garbage", ContainerAttachOptions{}); err == nil {
		t.Error("garbage")
	}
	if _, err := c.ContainerAttach(t.Context(), " ", ContainerAttachOptions{}); err == nil || err.Error() != "invalid container name or ID: value is empty" {
		t.Errorf("no name: %v", err)
	}
	if _, err := c.ExecAttach(t.Context(), "e", ExecAttachOptions{ConsoleSize: ConsoleSize{Height: 1}}); err == nil {
		t.Error("a size without a terminal")
	}
}

// Dial gives the bare connection, which dial-stdio passes on.
func TestDial(t *testing.T) {
	c := connect(t, listen(t, daemon("1.56", answer("{}"))), Options{})
	conn, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(CloseWriter); !ok {
		t.Errorf("%T has no CloseWrite", conn)
	}
	_, _ = io.WriteString(conn, "GET /_ping HTTP/1.0\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.Header.Get("Api-Version") != "1.56" {
		t.Errorf("%v, %v", res, err)
	}
}
