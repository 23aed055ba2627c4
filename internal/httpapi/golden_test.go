package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden holds the shapes that clients of different ages get.
func TestGolden(t *testing.T) {
	s := serve(t, Options{Version: "test"})
	s.want(201, "", "POST", "/containers/create?name=web", `{"Image":"nginx:1","Cmd":["sleep"],"Labels":{"a":"b"}}`)
	for name, path := range map[string]string{
		"container": "/containers/web/json", "image": "/images/busybox/json", "images": "/images/json",
		"info": "/info", "version": "/version", "df": "/system/df", "df-verbose": "/system/df?verbose=1&type=image&type=container",
		"network": "/networks/bridge", "networks": "/networks", "volumes": "/volumes", "history": "/images/busybox/history",
	} {
		for _, v := range []string{"1.41", "1.51", "1.56"} {
			status, header, body := s.do("GET", "/v"+v+path, "")
			if status != 200 || header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %v", v, path, status, header)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(body), "", "  "); err != nil {
				t.Fatalf("%s %s: %v", v, path, err)
			}
			golden(t, filepath.Join("testdata", name+"-"+v+".json"), indented.Bytes())
		}
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}
