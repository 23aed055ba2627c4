package httpapi

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/websocket"
)

func TestAttachWebsocket(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["echo","hi"]}`)
	config, err := websocket.NewConfig("ws://gantry/v1.56/containers/a/attach/ws?stream=1&stdout=1&stderr=1", "http://localhost")
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(config, s.dial())
	if err != nil {
		t.Fatal(err)
	}
	s.want(204, "", "POST", "/containers/a/start", "")
	got, err := io.ReadAll(ws)
	if err != nil || string(got) != "hi\ncomplaint\n" {
		t.Errorf("got %q %v", got, err)
	}
	s.want(404, "No such container: b", "GET", "/containers/b/attach/ws", "")
}

// FuzzSocketConn cuts frames at any place: the payload must come out whole.
func FuzzSocketConn(f *testing.F) {
	f.Add([]byte("hello"), []byte(" world"), uint8(3))
	f.Add([]byte{}, bytes.Repeat([]byte("x"), 300), uint8(1))
	f.Fuzz(func(t *testing.T, a, b []byte, step uint8) {
		stream := append(frame(1, string(a)), frame(2, string(b))...)
		c := &socketConn{framed: true}
		var got []byte
		for len(stream) > 0 {
			n := min(int(step)+1, len(stream))
			payload, err := c.payload(stream[:n], func(p []byte) error { got = append(got, p...); return nil })
			if err != nil || payload != n {
				t.Fatalf("wrote %d of %d: %v", payload, n, err)
			}
			stream = stream[n:]
		}
		if want := append(bytes.Clone(a), b...); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
