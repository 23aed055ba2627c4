package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		opts Options
		text string // "" is fine
	}{
		{Options{}, ""},
		{Options{Mirrors: []string{"https://mirror.example", "http://127.0.0.1:5000/sub/"}}, ""},
		{Options{Mirrors: []string{"mirror.example"}}, "no scheme specified"},
		{Options{Mirrors: []string{"ftp://mirror.example"}}, "no scheme specified"},
		{Options{Mirrors: []string{"https://"}}, "has no host"},
		{Options{Mirrors: []string{"https://mirror.example/?q=1"}}, "query or fragment"},
		{Options{Mirrors: []string{"https://user:pw@mirror.example"}}, "username/password not allowed"},
		{Options{Insecure: []string{"10.0.0.0/8", "host", "host:5000", "http://other:5000/", "fd00::/8"}}, ""},
		{Options{Insecure: []string{"a b"}}, "is not valid"},
		{Options{Insecure: []string{"host/path"}}, "is not valid"},
	} {
		_, err := New(c.opts)
		if (err == nil) != (c.text == "") || err != nil && (!strings.Contains(err.Error(), c.text) || !errs.Is(err, errs.InvalidArgument)) {
			t.Errorf("%+v: %v, want %q", c.opts, err, c.text)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("a password is in %v", err)
		}
	}
}

func TestInsecureSet(t *testing.T) {
	set, err := parseInsecure([]string{"10.0.0.0/8", "Plain", "port:5000", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"10.1.2.3": true, "10.1.2.3:5000": true, "11.1.2.3": false, "plain": true, "plain:99": true, "port": false, "port:5000": true,
		"[fd00::1]:5000": true, "[2001:db8::1]:5000": false, "localhost:5000": false,
	} {
		if got := set.has(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func named(t testing.TB, s string) reference.Named {
	t.Helper()
	n, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return reference.TagNameOnly(n)
}

// serve starts a real registry that holds one image as repo:1.
func serve(t testing.TB, o testimage.ServerOptions, repo string, client *http.Client) (*testimage.Server, testimage.Image) {
	t.Helper()
	o.Stderr = io.Discard
	srv, err := testimage.StartServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close registry: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	img, err := testimage.New(testimage.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	reg := srv.Registry()
	if reg.Client = client; o.TLSDir != "" {
		reg.Client = trusting(t, filepath.Join(o.TLSDir, "ca.crt"))
	}
	if err := reg.Push(t.Context(), repo, "1", img); err != nil {
		t.Fatal(err)
	}
	return srv, img
}

// resolve asks for a reference and reads the manifest.
func resolve(t testing.TB, o Options, ref string, auth registry.AuthConfig) (ocispec.Descriptor, error) {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n := named(t, ref)
	r := c.Open(t.Context(), n, auth)
	defer r.Close()
	desc, err := r.Resolve(t.Context(), n)
	if err != nil {
		return desc, err
	}
	blob, err := r.Fetch(t.Context(), desc)
	if err != nil {
		return desc, err
	}
	defer blob.Close()
	data, err := io.ReadAll(blob)
	if err == nil && digest.FromBytes(data) != desc.Digest {
		t.Errorf("%s: manifest has digest %s", ref, digest.FromBytes(data))
	}
	return desc, err
}

// A mirror is asked for Docker Hub's images, without the user's credentials.
func TestMirrors(t *testing.T) {
	srv, img := serve(t, testimage.ServerOptions{}, "library/busybox", nil)
	var mu sync.Mutex
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Get("Authorization"))
		mu.Unlock()
		if !strings.HasPrefix(r.URL.Path, "/prefix/v2/") {
			http.NotFound(w, r)
			return
		}
		http.Redirect(w, r, srv.URL+strings.TrimPrefix(r.URL.Path, "/prefix"), http.StatusTemporaryRedirect)
	}))
	defer proxy.Close()
	user := registry.AuthConfig{Username: "u", Password: "p"}
	for name, mirrors := range map[string][]string{
		"one": {srv.URL}, "first dead": {deadURL(t), srv.URL}, "path and redirect": {proxy.URL + "/prefix/"}, "first without it": {proxy.URL + "/none", srv.URL},
	} {
		desc, err := resolve(t, Options{Mirrors: mirrors}, "busybox:1", user)
		if err != nil || desc.Digest != img.Descriptor().Digest {
			t.Errorf("%s: %s, %v", name, desc.Digest, err)
		}
	}
	if slices.ContainsFunc(seen, func(s string) bool { return s != "" }) {
		t.Errorf("credentials went to a mirror: %q", seen)
	}
	if _, err := resolve(t, Options{Mirrors: []string{srv.URL}}, "example.invalid/library/busybox:1", user); err == nil {
		t.Error("a mirror was asked for another registry's image")
	}
}

func deadURL(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// Certificates of certs.d are trusted, unknown ones are not, except of
// insecure registries.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	// 127.0.0.1 counts as insecure anyway: the strict cases ask for a name.
	srv, img := serve(t, testimage.ServerOptions{TLSDir: dir}, "x", nil)
	_, port, err := net.SplitHostPort(srv.Host)
	if err != nil {
		t.Fatal(err)
	}
	needName(t)
	name := "registry.test:" + port
	certs := t.TempDir()
	at := filepath.Join(certs, name)
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		opts Options
		ref  string
		text string
	}{
		{"loopback", Options{}, srv.Host + "/x:1", ""},
		{"unknown authority", Options{}, name + "/x:1", "x509: certificate"},
		{"insecure name", Options{Insecure: []string{"registry.test"}}, name + "/x:1", ""},
		{"insecure network", Options{Insecure: []string{"127.0.0.0/8"}}, name + "/x:1", ""},
	} {
		desc, err := resolve(t, c.opts, c.ref, registry.AuthConfig{})
		if c.text == "" && (err != nil || desc.Digest != img.Descriptor().Digest) || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.text)
		}
	}
	// The certificate is for 127.0.0.1, so only the authority is what differs.
	_, err = resolve(t, Options{CertsDir: certs}, name+"/x:1", registry.AuthConfig{})
	if err == nil || strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with the authority in certs.d: %v", err)
	}
}

// A plain HTTP registry that nobody declared insecure is refused.
func TestPlainHTTP(t *testing.T) {
	srv, _ := serve(t, testimage.ServerOptions{}, "x", nil)
	_, port, err := net.SplitHostPort(srv.Host)
	if err != nil {
		t.Fatal(err)
	}
	needName(t)
	ref := "registry.test:" + port + "/x:1"
	if _, err := resolve(t, Options{}, ref, registry.AuthConfig{}); err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		t.Errorf("undeclared: %v", err)
	}
	if _, err := resolve(t, Options{Insecure: []string{"registry.test"}}, ref, registry.AuthConfig{}); err != nil {
		t.Errorf("declared: %v", err)
	}
}

// hosts.toml sends a registry's pulls elsewhere.
func TestHostsFile(t *testing.T) {
	srv, img := serve(t, testimage.ServerOptions{}, "x", nil)
	certs := t.TempDir()
	at := filepath.Join(certs, "elsewhere.invalid")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("server = \"https://elsewhere.invalid\"\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", srv.URL)
	if err := os.WriteFile(filepath.Join(at, "hosts.toml"), []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	desc, err := resolve(t, Options{CertsDir: certs}, "elsewhere.invalid/x:1", registry.AuthConfig{})
	if err != nil || desc.Digest != img.Descriptor().Digest {
		t.Errorf("%s, %v", desc.Digest, err)
	}
}

func TestTags(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "":
			w.Header().Set("Link", `</v2/x/tags/list?last=b>; rel="next"`)
			fmt.Fprint(w, `{"tags":["a","b"]}`)
		case "last=b":
			w.Header().Set("Link", `<http://elsewhere.invalid/v2/x/tags/list>; rel="next"`)
			fmt.Fprint(w, `{"tags":["c"]}`)
		}
	}))
	defer srv.Close()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Open(t.Context(), named(t, strings.TrimPrefix(srv.URL, "http://")+"/x"), registry.AuthConfig{})
	defer r.Close()
	tags, err := r.Tags(t.Context())
	if err != nil || !slices.Equal(tags, []string{"a", "b", "c"}) {
		t.Errorf("tags %v, err %v", tags, err)
	}
}

// A registry whose list of tags has no end does not keep a pull for ever.
func TestTagsWithoutEnd(t *testing.T) {
	many := `{"tags":["` + strings.Repeat(`t","`, 30_000) + `t"]}`
	for _, c := range []struct {
		name, text string
		page       func(w http.ResponseWriter, n int)
	}{
		{"circle", "the registry's pages go in a circle", func(w http.ResponseWriter, n int) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/x/tags/list?n=%d>; rel="next"`, n%3))
			fmt.Fprint(w, `{"tags":["a"]}`)
		}},
		{"ever new tags", "the registry names more than 100000 tags", func(w http.ResponseWriter, n int) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/x/tags/list?n=%d>; rel="next"`, n))
			fmt.Fprint(w, many)
		}},
		{"ever longer tags", "or 16777216 bytes", func(w http.ResponseWriter, n int) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/x/tags/list?n=%d>; rel="next"`, n))
			fmt.Fprintf(w, `{"tags":["%s"]}`, strings.Repeat("t", 6<<20))
		}},
	} {
		n := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n++; n > 100 {
				http.Error(w, "enough", http.StatusTeapot)
				return
			}
			c.page(w, n)
		}))
		client, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := client.Open(t.Context(), named(t, strings.TrimPrefix(srv.URL, "http://")+"/x"), registry.AuthConfig{})
		tags, err := r.Tags(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.text) || tags != nil {
			t.Errorf("%s: %d tags, %v", c.name, len(tags), err)
		}
		r.Close()
		srv.Close()
	}
}

// A token that the caller brings goes to the registry as it is.
func TestRegistryToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer mine" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://nowhere.invalid/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"tags":["a"]}`)
	}))
	defer srv.Close()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for token, fine := range map[string]bool{"mine": true, "other": false} {
		r := c.Open(t.Context(), named(t, strings.TrimPrefix(srv.URL, "http://")+"/x"), registry.AuthConfig{RegistryToken: token})
		_, err := r.Tags(t.Context())
		if (err == nil) != fine || err != nil && !errs.Is(err, errs.Unauthorized) {
			t.Errorf("token %s: %v (%v)", token, err, errs.KindOf(err))
		}
		r.Close()
	}
}

// Credentials do not follow a redirect to another host, and a layer's own URLs
// are never followed.
func TestContentComesFromTheRegistryOnly(t *testing.T) {
	needName(t)
	var leaked []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.URL.Path+" "+r.Header.Get("Authorization"))
		fmt.Fprint(w, "blob")
	}))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		// Another name: to another port of the same host Go passes them on.
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "registry.test", 1)+"/moved", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Open(t.Context(), named(t, strings.TrimPrefix(srv.URL, "http://")+"/x"), registry.AuthConfig{Username: "u", Password: "p"})
	defer r.Close()
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("blob"), Size: 4, URLs: []string{other.URL + "/foreign"}}
	blob, err := r.Fetch(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	data, err := io.ReadAll(blob)
	if err != nil || string(data) != "blob" {
		t.Errorf("read %q, %v", data, err)
	}
	if !slices.Equal(leaked, []string{"/moved "}) {
		t.Errorf("the other host was asked %q", leaked)
	}
}

func TestTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {context.Canceled, false}, {io.ErrUnexpectedEOF, true}, {syscall.ECONNRESET, true},
		{fmt.Errorf("write: %w", syscall.ENOSPC), false}, {errors.New("anything"), false}, {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, false},
	} {
		if got := Transient(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
