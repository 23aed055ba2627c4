package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stream sends a raw request that becomes a stream, and gives the answer's
// header and the stream.
func (s *testServer) stream(request string) (net.Conn, *http.Response, *bufio.Reader) {
	s.t.Helper()
	conn := s.dial()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn, resp, r
}

const upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"

func TestAttachHalfClose(t *testing.T) {
	s := serve(t, Options{Version: "9"})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["cat"],"OpenStdin":true}`)
	conn, resp, r := s.stream("POST /v1.42/containers/a/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n" + upgrade + "\r\nearly ")
	if resp.StatusCode != 101 || resp.Header.Get("Content-Type") != "application/vnd.docker.multiplexed-stream" ||
		resp.Header.Get("Upgrade") != "tcp" || resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("Server") != "Gantry/9 (linux)" {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	s.want(204, "", "POST", "/containers/a/start", "")
	if _, err := io.WriteString(conn, "late"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, frame(1, "early late")) {
		t.Errorf("got %q, %v", got, err)
	}
}

// Docker's Python SDK loses output that it reads together with the head.
func TestOutputComesAfterTheHead(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	s.want(204, "", "POST", "/containers/a/start", "")
	_, _, body := s.do("POST", "/containers/a/exec", `{"Cmd":["echo","output"],"AttachStdout":true}`)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(body), &made); err != nil {
		t.Fatal(err)
	}
	conn := s.dial()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	request := "POST /v1.42/exec/" + made.ID + "/start HTTP/1.1\r\n" + upgrade + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // a client on a busy machine
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 101")) || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
		t.Fatalf("first read: %q %v", buf[:n], err)
	}
	rest, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(rest, []byte("output")) {
		t.Errorf("%q %v", rest, err)
	}
}

func TestAttachAnswersByVersionAndTTY(t *testing.T) {
	const raw, multiplexed = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
	for _, tt := range []struct {
		version, config, header string
		status                  int
		contentType             string
	}{
		{"1.41", `{"Cmd":["sleep"],"Image":"x"}`, upgrade, 101, raw},
		{"1.42", `{"Cmd":["sleep"],"Image":"x"}`, upgrade, 101, multiplexed},
		{"1.56", `{"Cmd":["sleep"],"Image":"x","Tty":true}`, upgrade, 101, raw},
		{"1.56", `{"Cmd":["sleep"],"Image":"x"}`, "Host: x\r\n", 200, raw},
	} {
		s := serve(t, Options{})
		s.want(201, "", "POST", "/containers/create?name=a", tt.config)
		s.want(204, "", "POST", "/containers/a/start", "")
		conn, resp, r := s.stream("POST /v" + tt.version + "/containers/a/attach?stream=1&stdout=1 HTTP/1.1\r\n" + tt.header + "\r\n")
		if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.contentType {
			t.Errorf("%+v: got %d %v", tt, resp.StatusCode, resp.Header)
		}
		s.want(204, "", "POST", "/containers/a/kill", "")
		if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
			t.Errorf("%+v: rest %q %v", tt, rest, err)
		}
		_ = conn.Close()
	}
}

func TestAttachErrorsAreDocuments(t *testing.T) {
	s := serve(t, Options{})
	_, resp, _ := s.stream("POST /v1.41/containers/nix/attach?stream=1 HTTP/1.1\r\n" + upgrade + "\r\n")
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 404 || string(body) != `{"message":"No such container: nix"}`+"\n" {
		t.Errorf("got %d %q %v", resp.StatusCode, body, err)
	}
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	s.want(204, "", "POST", "/containers/a/pause", "")
	_, resp, _ = s.stream("POST /v1.41/containers/a/attach?stream=1 HTTP/1.1\r\n" + upgrade + "\r\n")
	if resp.StatusCode != 409 {
		t.Errorf("attach to a paused container: %d", resp.StatusCode)
	}
}

// TestUnreadInputDoesNotLoseOutput: a client that keeps typing while the
// container ends must still get the last output.
func TestUnreadInputDoesNotLoseOutput(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["echo","`+strings.Repeat("o", 4000)+`"]}`)
	conn, _, r := s.stream("POST /v1.41/containers/a/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n" + upgrade + "\r\n")
	if _, err := conn.Write(bytes.Repeat([]byte("i"), 3000)); err != nil {
		t.Fatal(err)
	}
	s.want(204, "", "POST", "/containers/a/start", "")
	got, err := io.ReadAll(r)
	if want := len(frame(1, strings.Repeat("o", 4000)+"\n")) + len(frame(2, "complaint\n")); err != nil || len(got) != want {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, want)
	}
}

func TestExecStream(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	s.want(201, `{"Id":"exec0"}`, "POST", "/containers/a/exec", `{"Cmd":["cat"],"AttachStdin":true}`)
	conn, resp, r := s.stream("POST /exec/exec0/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n" + upgrade + "\r\n{}input")
	if resp.StatusCode != 101 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, frame(1, "input")) {
		t.Errorf("got %q %v", got, err)
	}
}

// TestExecErrorsComeInTheStream: clients show the stream and ask for the exit
// code afterwards, so a missing program must not be a refused upgrade.
func TestExecErrorsComeInTheStream(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	for i, tty := range []string{"false", "true"} {
		id := "exec" + strconv.Itoa(i)
		s.want(201, id, "POST", "/containers/a/exec", `{"Cmd":["nosuch"]}`)
		body := `{"Tty":` + tty + `}`
		_, resp, r := s.stream("POST /exec/" + id + "/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" + upgrade + "\r\n" + body)
		got, err := io.ReadAll(r)
		text := `OCI runtime exec failed: exec: "nosuch": executable file not found in $PATH` + "\r\n"
		want := []byte(text)
		if tty == "false" {
			want = frame(1, text)
		}
		if resp.StatusCode != 101 || err != nil || !bytes.Equal(got, want) {
			t.Errorf("tty %s: got %d %q %v", tty, resp.StatusCode, got, err)
		}
		s.want(200, `"ExitCode":127`, "GET", "/exec/"+id+"/json", "")
	}
	s.want(201, "exec2", "POST", "/containers/a/exec", `{"Cmd":["nosuch"]}`)
	s.want(400, "OCI runtime exec failed", "POST", "/exec/exec2/start", `{"Detach":true}`)
	s.want(201, "exec3", "POST", "/containers/a/exec", `{"Cmd":["echo"]}`)
	s.want(200, "", "POST", "/exec/exec3/start", `{"Detach":true}`)
	s.want(201, "exec4", "POST", "/containers/a/exec", `{"Cmd":["busy"]}`)
	s.want(409, "exec instance exec4 has already run", "POST", "/exec/exec4/start", `{}`)
	s.want(200, "", "POST", "/exec/exec3/resize?h=1&w=2", "")
}

// TestAwaitHangup: a client that ends its input has not gone, one that closes has.
func TestAwaitHangup(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, theyClose := range map[string]bool{"they close": true, "we close": false} {
		t.Run(name, func(t *testing.T) {
			client, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ours, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			c := &hijacked{Conn: ours, early: bytes.NewReader(nil)}
			if err := client.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Fatal(err)
			}
			told := make(chan bool, 1)
			go func() { told <- c.AwaitHangup() }()
			select {
			case <-told:
				t.Fatal("the end of input is taken for the client's end")
			case <-time.After(50 * time.Millisecond):
			}
			if theyClose {
				err = client.Close()
			} else {
				err = c.Close()
			}
			if gone := <-told; theyClose && !gone || err != nil {
				t.Errorf("gone: %t, %v", gone, err)
			}
		})
	}
}
