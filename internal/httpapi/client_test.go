package httpapi

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

func (s *testServer) client(opts ...client.Opt) *client.Client {
	s.t.Helper()
	c, err := client.New(append([]client.Opt{client.WithHost("unix://" + s.socket)}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestClientRun runs a container as `docker run` does, by moby's own client in
// the oldest and the newest version that it speaks.
func TestClientRun(t *testing.T) {
	for _, opts := range [][]client.Opt{nil, {client.WithAPIVersion("1.44")}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c := serve(t, Options{}).client(opts...)
		created, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: "run", Config: &container.Config{Image: "busybox", Cmd: []string{"cat"}, OpenStdin: true}})
		if err != nil {
			t.Fatal(err)
		}
		attached, err := c.ContainerAttach(ctx, created.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatal(err)
		}
		waiting := c.ContainerWait(ctx, created.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := c.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(attached.Conn, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := attached.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, &errOut, attached.Reader); err != nil || out.String() != "hello" || errOut.Len() != 0 {
			t.Errorf("got %q %q %v", out.String(), errOut.String(), err)
		}
		attached.Close()
		select {
		case answer := <-waiting.Result:
			if answer.StatusCode != 0 || answer.Error != nil {
				t.Errorf("got %+v", answer)
			}
		case err := <-waiting.Error:
			t.Error(err)
		}
	}
}

func TestClientReads(t *testing.T) {
	ctx := t.Context()
	s := serve(t, Options{})
	s.events.messages = []events.Message{{Type: "container", Action: "die", Actor: events.Actor{ID: "x"}}}
	c := s.client()
	if v, err := c.ServerVersion(ctx, client.ServerVersionOptions{}); err != nil || v.APIVersion != MaxVersion {
		t.Errorf("version: %+v %v", v, err)
	}
	if got := c.ClientVersion(); got != MaxVersion {
		t.Errorf("negotiated %s", got)
	}
	if info, err := c.Info(ctx, client.InfoOptions{}); err != nil || info.Info.ID != "fake" {
		t.Errorf("info: %+v %v", info, err)
	}
	if du, err := c.DiskUsage(ctx, client.DiskUsageOptions{Images: true, Containers: true}); err != nil || du.Images.TotalSize != 10 || du.Containers.TotalCount != 1 {
		t.Errorf("disk usage: %+v %v", du, err)
	}
	if list, err := c.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("dangling", "true")}); err != nil || list.Items[0].Size != 9007199254740993 {
		t.Errorf("images: %+v %v", list, err)
	}
	if got := s.images.filter["dangling"]; len(got) != 1 || got[0] != "true" {
		t.Errorf("filters: %v", s.images.filter)
	}
	if img, err := c.ImageInspect(ctx, "registry.example:5000/team/app:1"); err != nil || img.RepoTags[0] != "registry.example:5000/team/app:1" {
		t.Errorf("image: %+v %v", img, err)
	}
	pull, err := c.ImagePull(ctx, "busybox", client.ImagePullOptions{})
	if err != nil || pull.Wait(ctx) != nil {
		t.Errorf("pull: %v", err)
	}
	pull, err = c.ImagePull(ctx, "broken", client.ImagePullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pull.Wait(ctx); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("broken pull: %v", err)
	}
	if vol, err := c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: "v", Labels: map[string]string{"a": "b"}}); err != nil || vol.Volume.Labels["a"] != "b" {
		t.Errorf("volume: %+v %v", vol, err)
	}
	if n, err := c.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{}); err != nil || n.Network.ID != "net1" {
		t.Errorf("network: %+v %v", n, err)
	}
	if _, err := c.RegistryLogin(ctx, client.RegistryLoginOptions{Username: "a", Password: "wrong"}); err == nil || !strings.Contains(err.Error(), "unauthorized: incorrect username or password") {
		t.Errorf("login: %v", err)
	}
	if login, err := c.RegistryLogin(ctx, client.RegistryLoginOptions{Username: "a", Password: "right"}); err != nil || login.Auth.Status != "Login Succeeded" {
		t.Errorf("login: %+v %v", login, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stream := c.Events(ctx, client.EventsListOptions{})
	select {
	case m := <-stream.Messages:
		if m.Actor.ID != "x" {
			t.Errorf("event: %+v", m)
		}
	case err := <-stream.Err:
		t.Error(err)
	}
	cancel()
}

func TestClientExecAndLifecycle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := serve(t, Options{})
	c := s.client()
	if _, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{Name: "a", Config: &container.Config{Image: "busybox", Cmd: []string{"sleep"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ContainerStart(ctx, "a", client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	x, err := c.ExecCreate(ctx, "a", client.ExecCreateOptions{Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(stream.Conn, "in")
	_ = stream.CloseWrite()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, io.Discard, stream.Reader); err != nil || out.String() != "in" {
		t.Errorf("exec: %q %v", out.String(), err)
	}
	stream.Close()
	if state, err := c.ExecInspect(ctx, x.ID, client.ExecInspectOptions{}); err != nil || state.ExitCode != 0 {
		t.Errorf("exec: %+v %v", state, err)
	}
	if top, err := c.ContainerTop(ctx, "a", client.ContainerTopOptions{Arguments: []string{"-eo", "pid"}}); err != nil || top.Processes[0][1] != "-eo pid" {
		t.Errorf("top: %+v %v", top, err)
	}
	if _, err := c.ContainerResize(ctx, "a", client.ContainerResizeOptions{Height: 1, Width: 2}); err != nil {
		t.Error(err)
	}
	if _, err := c.ContainerRename(ctx, "a", client.ContainerRenameOptions{NewName: "b"}); err != nil {
		t.Error(err)
	}
	if list, err := c.ContainerList(ctx, client.ContainerListOptions{}); err != nil || len(list.Items) != 1 || list.Items[0].Names[0] != "/b" || list.Items[0].Health == nil {
		t.Errorf("list: %+v %v", list, err)
	}
	if _, err := c.ContainerKill(ctx, "b", client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Error(err)
	}
	if _, err := c.ContainerRemove(ctx, "b", client.ContainerRemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.ContainerInspect(ctx, "b", client.ContainerInspectOptions{}); err == nil || !strings.Contains(err.Error(), "No such container: b") {
		t.Errorf("inspect of a removed container: %v", err)
	}
}
