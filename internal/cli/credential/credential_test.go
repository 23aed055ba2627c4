package credential

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-run/gantry/internal/cli/config"
)

func load(t *testing.T, content string) *config.File {
	t.Helper()
	dir := t.TempDir()
	if content != "" {
		if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPlainCredentials(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	f := load(t, `{"auths":{"https://old.example/v2/":{"auth":"dTpwOnc="},"bad.example":{"auth":"!"}}}`)
	if a, err := Get(f, "old.example"); err != nil || a.Username != "u" || a.Password != "p:w" || a.ServerAddress != "old.example" {
		t.Errorf("by host name: %+v, %v", a, err)
	}
	if a, err := Get(f, "nosuch.example"); err != nil || a != (registry.AuthConfig{ServerAddress: "nosuch.example"}) {
		t.Errorf("unknown: %+v, %v", a, err)
	}
	if _, err := Get(f, "bad.example"); err == nil {
		t.Error("bad coding is accepted")
	}
	in := registry.AuthConfig{Username: "x", Password: "y", ServerAddress: "new.example"}
	plain, err := Store(f, in)
	if err != nil || plain != f.Path {
		t.Fatalf("%q, %v", plain, err)
	}
	again, err := config.Load(filepath.Dir(f.Path))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := Get(again, "new.example"); err != nil || a != in {
		t.Errorf("stored: %+v, %v", a, err)
	}
	if err := Erase(again, "new.example"); err != nil || Known(again, "new.example") {
		t.Errorf("erase: %v", err)
	}
}

func TestEnvironmentCredentials(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths":{"r.example":{"auth":"dTpw"}}}`)
	if a, err := Get(load(t, ""), "r.example"); err != nil || a.Username != "u" {
		t.Errorf("%+v, %v", a, err)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", `{`)
	if _, err := Get(load(t, ""), "r.example"); err == nil {
		t.Error("a broken variable is ignored")
	}
}

// helperScript keeps one secret per file, as real helpers do behind their
// protocol: the action is the argument, the data comes on stdin.
const helperScript = `#!/bin/sh
store="$(dirname "$0")/secret"
case "$1" in
store) cat > "$store" ;;
get) read -r server; if [ -f "$store" ]; then cat "$store"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$store" ;;
esac
`

func TestHelper(t *testing.T) {
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helperScript), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	f := load(t, `{"credHelpers":{"r.example":"test"}}`)
	if a, err := Get(f, "r.example"); err != nil || a.Username != "" {
		t.Errorf("nothing stored: %+v, %v", a, err)
	}
	in := registry.AuthConfig{Username: "x", Password: "y", ServerAddress: "r.example"}
	if plain, err := Store(f, in); err != nil || plain != "" {
		t.Fatalf("%q, %v", plain, err)
	}
	if a, err := Get(f, "r.example"); err != nil || a != in {
		t.Errorf("%+v, %v", a, err)
	}
	data, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Auths map[string]config.Auth }
	if err := json.Unmarshal(data, &doc); err != nil || doc.Auths["r.example"].Auth != "" {
		t.Errorf("the secret is in the file: %s", data)
	}
	in = registry.AuthConfig{IdentityToken: "tok", ServerAddress: "r.example"}
	if _, err := Store(f, in); err != nil {
		t.Fatal(err)
	}
	if a, err := Get(f, "r.example"); err != nil || a != in {
		t.Errorf("token: %+v, %v", a, err)
	}
	if err := Erase(f, "r.example"); err != nil || Known(f, "r.example") {
		t.Errorf("erase: %v", err)
	}
}

func TestEncode(t *testing.T) {
	v, err := Encode(registry.AuthConfig{Username: "ü", Password: "?>"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := base64.URLEncoding.DecodeString(v)
	var a registry.AuthConfig
	if err != nil || json.Unmarshal(data, &a) != nil || a.Username != "ü" {
		t.Errorf("%s, %v", data, err)
	}
}

func TestServers(t *testing.T) {
	for in, want := range map[string]string{"docker.io": HubServer, "index.docker.io": HubServer, "r:5000": "r:5000"} {
		if got := ServerOf(in); got != want {
			t.Errorf("ServerOf(%q) = %q", in, got)
		}
	}
	if got := HostOf("https://r:5000/v2/"); got != "r:5000" {
		t.Errorf("HostOf: %q", got)
	}
}
