package testimage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestServer pushes to each kind of registry and has skopeo pull it back.
func TestServer(t *testing.T) {
	testenv.Need(t, testenv.Tool("skopeo"))
	img, err := Bare(OCI)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		o     ServerOptions
		creds bool
	}{
		{name: "memory"},
		{name: "directory", o: ServerOptions{Dir: t.TempDir()}},
		{name: "basic", o: ServerOptions{Auth: "basic"}, creds: true},
		{name: "token", o: ServerOptions{Auth: "token"}, creds: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Requests = filepath.Join(t.TempDir(), "requests")
			s, err := StartServer(c.o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			copyIn := func(args ...string) ([]byte, error) {
				layout := filepath.Join(t.TempDir(), "layout")
				if err := WriteOCILayout(layout, Tagged{img, []string{"bare:v1"}}); err != nil {
					t.Fatal(err)
				}
				args = append([]string{"copy", "--insecure-policy", "--dest-tls-verify=false"}, args...)
				return exec.Command("skopeo", append(args, "oci:"+layout+":v1", "docker://"+s.Host+"/team/bare:v1")...).CombinedOutput()
			}
			var args []string
			if c.creds {
				if out, err := copyIn(); err == nil {
					t.Errorf("pushed without credentials: %s", out)
				}
				if out, err := copyIn("--dest-creds", ServerUser+":wrong"); err == nil {
					t.Errorf("pushed with a wrong password: %s", out)
				}
				args = []string{"--dest-creds", ServerUser + ":" + ServerPassword}
			} else if err := s.Registry().Push(t.Context(), "team/pushed", "v1", img); err != nil {
				t.Error(err)
			}
			if out, err := copyIn(args...); err != nil {
				t.Fatalf("push: %v: %s", err, out)
			}
			log, err := os.ReadFile(c.o.Requests)
			if err != nil || !strings.Contains(string(log), "PUT /v2/team/bare/manifests/v1") {
				t.Errorf("requests %s, %v", log, err)
			}
		})
	}
}
