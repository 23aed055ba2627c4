package httpapi

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestArchive(t *testing.T) {
	s := serve(t, Options{})
	s.do("POST", "/containers/create?name=box", `{"Image":"busybox","Cmd":["true"]}`)
	for _, tt := range []struct {
		status             int
		method, path, body string
		want               string
	}{
		{200, "GET", "/containers/box/archive?path=/etc", "", "archive of /etc"},
		{404, "GET", "/containers/box/archive?path=/missing", "", "Could not find the file /missing in container"},
		{400, "GET", "/containers/box/archive", "", "path cannot be empty"},
		{404, "GET", "/containers/none/archive?path=/etc", "", "No such container: none"},
		{200, "PUT", "/containers/box/archive?path=/tmp&noOverwriteDirNonDir=1&copyUIDGID=true", "a tar", ""},
		{400, "PUT", "/containers/box/archive", "a tar", "path cannot be empty"},
		{404, "PUT", "/containers/none/archive?path=/tmp", "a tar", "No such container: none"},
		{200, "GET", "/containers/box/export", "", "all of it"},
		{404, "GET", "/containers/none/export", "", "No such container: none"},
	} {
		status, header, body := s.do(tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %q", tt.method, tt.path, status, body)
		}
		if tt.method == "GET" && status == 200 && strings.Contains(tt.path, "archive") && header.Get("Content-Type") != "application/x-tar" {
			t.Errorf("%s: type %q", tt.path, header.Get("Content-Type"))
		}
	}
	if want := "/tmp true true a tar"; s.containers.written != want {
		t.Errorf("%q arrived, not %q", s.containers.written, want)
	}
	status, header, _ := s.do("HEAD", "/containers/box/archive?path=/etc/f", "")
	stat, err := base64.StdEncoding.DecodeString(header.Get("X-Docker-Container-Path-Stat"))
	if want := `{"name":"f","size":5,"mode":420,"mtime":"0001-01-01T00:00:00Z","linkTarget":""}`; err != nil || status != 200 || string(stat) != want {
		t.Errorf("%d %s %v", status, stat, err)
	}
	if status, _, _ := s.do("HEAD", "/containers/box/archive?path=/missing", ""); status != 404 {
		t.Errorf("HEAD of a missing path: %d", status)
	}
}
