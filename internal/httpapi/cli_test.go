package httpapi

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

// dockers are the clients that must work unchanged: current and 20.10.
var dockers = []string{"/usr/local/bin/docker", "/usr/bin/docker"}

// docker runs a docker CLI against the server.
func (s *testServer) docker(binary, stdin string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.socket, "DOCKER_CONFIG="+s.t.TempDir())
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	return out.String(), errOut.String(), code
}

func eachDocker(t *testing.T, test func(t *testing.T, s *testServer, docker string)) {
	for _, binary := range dockers {
		t.Run(binary, func(t *testing.T) {
			if _, err := os.Stat(binary); err != nil {
				t.Skipf("docker CLI is not installed: %v", err)
			}
			test(t, serve(t, Options{Version: "test"}), binary)
		})
	}
}

func TestDockerCLI(t *testing.T) {
	eachDocker(t, func(t *testing.T, s *testServer, docker string) {
		s.events.messages = []events.Message{{Type: events.ContainerEventType, Action: events.ActionStart, Time: 1, TimeNano: 1000000000,
			Actor: events.Actor{ID: "abc", Attributes: map[string]string{"image": "busybox", "name": "web"}}}}
		for _, tt := range []struct {
			args   []string
			stdin  string
			code   int
			stdout string // contained
			stderr string // contained
		}{
			{args: []string{"version"}, stdout: "Server:"},
			{args: []string{"version", "--format", "{{.Server.MinAPIVersion}} {{.Server.APIVersion}}"}, stdout: "1.40 1.56"},
			{args: []string{"info"}, stdout: "Server Version: test", stderr: "a warning"},
			{args: []string{"run", "--rm", "busybox", "echo", "hello", "world"}, stdout: "hello world\n", stderr: "complaint\n"},
			{args: []string{"run", "-i", "--name", "cat", "busybox", "cat"}, stdin: "to and fro", stdout: "to and fro"},
			{args: []string{"run", "busybox", "fail", "42"}, code: 42},
			{args: []string{"run", "--name", "cat", "busybox", "cat"}, code: 125, stderr: `Conflict. The container name "/cat" is already in use`},
			{args: []string{"run", "-d", "--name", "web", "-p", "8080:80", "--label", "a=b", "nginx", "sleep"}, stdout: "0004"},
			{args: []string{"ps", "--format", "{{.Names}} {{.Image}}"}, stdout: "web nginx\n"},
			{args: []string{"ps", "-aq", "--no-trunc"}, stdout: strings.Repeat("0004", 16)},
			{args: []string{"inspect", "-f", "{{.Name}} {{.State.Status}}", "web"}, stdout: "/web running\n"},
			{args: []string{"exec", "web", "echo", "inside"}, stdout: "inside\n"},
			{args: []string{"exec", "-i", "web", "cat"}, stdin: "piped", stdout: "piped"},
			{args: []string{"exec", "web", "fail", "7"}, code: 7},
			{args: []string{"exec", "web", "nosuch"}, code: 127, stdout: `exec: "nosuch": executable file not found in $PATH`},
			{args: []string{"exec", "-d", "web", "echo"}},
			{args: []string{"top", "web"}, stdout: "PID"},
			{args: []string{"stats", "--no-stream", "--format", "{{.Name}}", "web"}, stdout: "web"},
			{args: []string{"update", "--memory", "64m", "web"}, stdout: "web"},
			{args: []string{"rename", "web", "site"}},
			{args: []string{"pause", "site"}, stdout: "site\n"},
			{args: []string{"unpause", "site"}, stdout: "site\n"},
			{args: []string{"start", "site"}, stdout: "site\n"},
			{args: []string{"kill", "site"}, stdout: "site\n"},
			{args: []string{"wait", "site"}, stdout: "137\n"},
			{args: []string{"stop", "-t", "1", "site"}, stdout: "site\n"},
			{args: []string{"rm", "site"}, stdout: "site\n"},
			{args: []string{"logs", "cat"}, stdout: "to and fro"},
			{args: []string{"rm", "-f", "cat"}, stdout: "cat\n"},
			{args: []string{"rm", "nix"}, code: 1, stderr: "No such container: nix"},
			{args: []string{"pull", "busybox"}, stdout: "Status: Downloaded newer image for busybox:latest"},
			{args: []string{"pull", "denied"}, code: 1, stderr: "pull access denied for denied"},
			{args: []string{"pull", "broken"}, code: 1, stderr: "unexpected EOF"},
			{args: []string{"images", "--format", "{{.Repository}}:{{.Tag}}"}, stdout: "busybox:latest"},
			{args: []string{"history", "busybox"}, stdout: "/bin/sh"},
			{args: []string{"image", "inspect", "-f", "{{.Architecture}}", "team/app:1"}, stdout: "amd64\n"},
			{args: []string{"tag", "busybox", "localhost:5000/b:1"}},
			{args: []string{"push", "localhost:5000/b:1"}, stdout: "The push refers to repository [localhost:5000/b:1]"},
			{args: []string{"rmi", "busybox"}, stdout: "Untagged: busybox"},
			{args: []string{"load"}, stdin: "archive", stdout: "Loaded image: busybox:latest"},
			{args: []string{"load"}, stdin: "garbage", code: 1, stderr: "archive/tar: invalid tar header"},
			{args: []string{"save", "a", "b:1"}, stdout: "tar of a,b:1"},
			{args: []string{"save", "half"}, code: 1, stderr: "EOF"},
			{args: []string{"volume", "create", "data"}, stdout: "data\n"},
			{args: []string{"volume", "ls", "-q"}},
			{args: []string{"volume", "rm", "data"}, code: 1, stderr: "volume is in use"},
			{args: []string{"network", "ls", "-q"}},
			{args: []string{"network", "inspect", "-f", "{{.Driver}}", "bridge"}, stdout: "bridge\n"},
			{args: []string{"events", "--since", "0", "--until", "1s", "--format", "{{.Action}} {{.Actor.Attributes.name}}"}, stdout: "start web\n"},
			{args: []string{"events", "--since", "0", "--until", "1s"}, stdout: "container start abc (image=busybox, name=web)"},
			{args: []string{"system", "df"}, stdout: "Images"},
			{args: []string{"node", "ls"}, code: 1, stderr: "This node is not a swarm manager"},
			{args: []string{"container", "prune", "-f"}, stdout: "Total reclaimed space: 42B"},
		} {
			stdout, stderr, code := s.docker(docker, tt.stdin, tt.args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("docker %s: exit %d, stdout %q, stderr %q", strings.Join(tt.args, " "), code, stdout, stderr)
			}
		}
	})
}

// TestDockerCLIPullsMissingImage: `run` of an unknown image pulls it, which
// hangs on the status and text of the error.
func TestDockerCLIPullsMissingImage(t *testing.T) {
	eachDocker(t, func(t *testing.T, s *testServer, docker string) {
		_, stderr, code := s.docker(docker, "", "run", "missing", "echo")
		if code != 125 || !strings.Contains(stderr, "Unable to find image 'missing:latest' locally") || len(s.images.pulls) != 1 || s.images.pulls[0].Ref != "missing:latest" {
			t.Errorf("exit %d, stderr %q, pulls %+v", code, stderr, s.images.pulls)
		}
	})
}
