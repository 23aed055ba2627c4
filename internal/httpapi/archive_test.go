package httpapi

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
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

func TestCommit(t *testing.T) {
	s := serve(t, Options{})
	s.do("POST", "/containers/create?name=box", `{"Image":"busybox","Cmd":["true"]}`)
	for _, tt := range []struct {
		status      int
		query, body string
		want        string
	}{
		{201, "container=box&repo=a/b&tag=1&author=me&comment=why&pause=0&changes=CMD+x&changes=USER+y", "", `{"Id":"sha256:made"}`},
		{201, "container=box", "null", "made"},
		{201, "container=box", `{"User":"u"}`, "made"},
		{404, "container=none", "", "No such container: none"},
		{400, "container=box", "{", ""},
	} {
		if status, _, body := s.do("POST", "/commit?"+tt.query, tt.body); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s", tt.query, tt.body, status, body)
		}
	}
	all := s.containers.committed
	if len(all) != 3 {
		t.Fatalf("%+v", all)
	}
	first := all[0]
	if first.Ref != "a/b:1" || first.Author != "me" || first.Comment != "why" || !first.NoPause || strings.Join(first.Changes, ";") != "CMD x;USER y" || first.Config != nil {
		t.Errorf("%+v", first)
	}
	if all[1].Config != nil || all[1].NoPause || all[2].Config.User != "u" {
		t.Errorf("%+v", all[1:])
	}
}

func TestImport(t *testing.T) {
	s := serve(t, Options{})
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.tar" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "remote") // the test looks at what arrives
	}))
	defer remote.Close()
	for _, tt := range []struct {
		status            int
		query, body, want string
	}{
		{200, "fromSrc=-&repo=x&tag=2&message=m&changes=CMD+y", "a tar", `"status":"sha256:imported"`},
		{200, "fromSrc=" + remote.URL + "/a.tar&repo=x", "", `"status":"sha256:imported"`},
		{400, "fromSrc=" + remote.URL + "/none&repo=x", "", "404 Not Found"},
		{400, "fromSrc=ftp://x/y", "", "no address"},
		{400, "fromSrc=-&repo=bad", "", "the archive is empty"},
		{400, "", "", "neither fromImage nor fromSrc"},
	} {
		if status, _, body := s.do("POST", "/images/create?"+tt.query, tt.body); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.query, status, body)
		}
	}
	got := strings.Join(s.images.calls[:2], "\n")
	if want := `import x:2 m ["CMD y"] "a tar"` + "\n" + `import x Imported from ` + remote.URL + `/a.tar [] "remote"`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
