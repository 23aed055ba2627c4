package httpapi

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

// fakeContainers is an engine of containers that run a handful of built-in
// programs: cat, echo, fail N, sleep.
type fakeContainers struct {
	engine.Containers // every method that a test needs is below
	mu                sync.Mutex
	byName            map[string]*fakeContainer
	all               []*fakeContainer // removed ones, too
	created           []engine.ContainerCreate
	stopped           []string // "name signal timeout"
	samples           int
	written           string // by WriteArchive
	committed         []engine.ContainerCommit
	checkpoints       []string // what was done about them
}

type fakeContainer struct {
	id, name string
	req      engine.ContainerCreate
	state    container.ContainerState
	exit     int
	log      []byte // framed unless it has a TTY
	gone     chan struct{}
	goOnce   sync.Once
	done     chan struct{}
	stdin    *io.PipeReader
	input    *io.PipeWriter
	attached []engine.Conn
}

func newFakeContainers() *fakeContainers {
	return &fakeContainers{byName: map[string]*fakeContainer{}}
}

func (f *fakeContainers) find(id string) (*fakeContainer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, c := range f.byName {
		if name == id || c.id == id || len(id) >= 4 && strings.HasPrefix(c.id, id) {
			return c, nil
		}
	}
	return nil, errs.New(errs.NotFound, "No such container: %s", id)
}

// close ends whatever still runs.
func (f *fakeContainers) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.all {
		c.goOnce.Do(func() { close(c.gone) })
		_ = c.input.Close()
		if c.state == container.StateCreated {
			close(c.done) // nobody will ever run it
		}
	}
}

func (f *fakeContainers) is(c *fakeContainer, s container.ContainerState) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return c.state == s
}

func (f *fakeContainers) Create(_ context.Context, req engine.ContainerCreate) (container.CreateResponse, error) {
	if req.Config.Image == "missing" || req.Config.Image == "missing:latest" {
		return container.CreateResponse{}, errs.New(errs.NotFound, "No such image: missing:latest")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := cmp.Or(req.Name, "happy_fake"+strconv.Itoa(len(f.byName)))
	if _, taken := f.byName[name]; taken {
		return container.CreateResponse{}, errs.New(errs.Conflict, "Conflict. The container name %q is already in use", "/"+name)
	}
	c := &fakeContainer{
		id: strings.Repeat(fmt.Sprintf("%04x", len(f.created)+1), 16), name: name, req: req,
		state: container.StateCreated, gone: make(chan struct{}), done: make(chan struct{}),
	}
	c.stdin, c.input = io.Pipe()
	f.byName[name] = c
	f.all = append(f.all, c)
	f.created = append(f.created, req)
	return container.CreateResponse{ID: c.id}, nil
}

func (f *fakeContainers) Start(_ context.Context, id string) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.state == container.StateRunning {
		return errs.New(errs.NotModified, "container already started")
	}
	c.state = container.StateRunning
	go f.run(c)
	return nil
}

// run performs the container's program.
func (f *fakeContainers) run(c *fakeContainer) {
	cmd := c.req.Config.Cmd
	code := 0
	switch cmd[0] {
	case "echo":
		f.output(c, 1, strings.Join(cmd[1:], " ")+"\n")
		f.output(c, 2, "complaint\n")
	case "cat":
		data, _ := io.ReadAll(c.stdin)
		f.output(c, 1, string(data))
	case "fail":
		code, _ = strconv.Atoi(cmd[1])
	case "sleep":
		<-c.gone
		code = 137
	}
	f.mu.Lock()
	c.state, c.exit = container.StateExited, code
	for _, conn := range c.attached {
		_ = conn.CloseWrite()
	}
	close(c.done)
	if c.req.Host.AutoRemove {
		delete(f.byName, c.name)
	}
	f.mu.Unlock()
}

func (f *fakeContainers) output(c *fakeContainer, stream byte, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data := []byte(text)
	if !c.req.Config.Tty {
		data = frame(stream, text)
	}
	c.log = append(c.log, data...)
	for _, conn := range c.attached {
		_, _ = conn.Write(data)
	}
}

func frame(stream byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(text))), text...)
}

func (f *fakeContainers) Attach(_ context.Context, id string, opts engine.Attach, hijack func(bool) (engine.Conn, error)) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if f.is(c, container.StatePaused) {
		return errs.New(errs.Conflict, "container %s is paused, unpause the container before attach", id)
	}
	// The client may start the container as soon as it has the answer.
	f.mu.Lock()
	conn, err := hijack(c.req.Config.Tty)
	if err != nil {
		f.mu.Unlock()
		return err
	}
	if opts.Logs {
		_, _ = conn.Write(c.log)
	}
	if !opts.Stream || c.state == container.StateExited {
		f.mu.Unlock()
		return nil
	}
	c.attached = append(c.attached, conn)
	f.mu.Unlock()
	if opts.Stdin {
		go func() {
			_, _ = io.Copy(c.input, conn)
			_ = c.input.Close()
		}()
	}
	<-c.done
	return nil
}

func (f *fakeContainers) Wait(ctx context.Context, id string, cond container.WaitCondition) (<-chan container.WaitResponse, error) {
	c, err := f.find(id)
	if err != nil {
		return nil, err
	}
	answer := make(chan container.WaitResponse, 1)
	go func() {
		select {
		case <-c.done:
			answer <- container.WaitResponse{StatusCode: int64(c.exit)}
		case <-ctx.Done():
		}
	}()
	return answer, nil
}

func (f *fakeContainers) Stop(ctx context.Context, id, signal string, timeout *int) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	seconds := "default"
	if timeout != nil {
		seconds = strconv.Itoa(*timeout)
	}
	f.stopped = append(f.stopped, c.name+" "+cmp.Or(signal, "default")+" "+seconds)
	running := c.state == container.StateRunning
	f.mu.Unlock()
	if !running {
		return errs.New(errs.NotModified, "container already stopped")
	}
	c.goOnce.Do(func() { close(c.gone) })
	<-c.done
	return nil
}

func (f *fakeContainers) Restart(ctx context.Context, id, signal string, timeout *int) error {
	_, err := f.find(id)
	return err
}

func (f *fakeContainers) Kill(ctx context.Context, id, signal string) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if !f.is(c, container.StateRunning) {
		return errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	c.goOnce.Do(func() { close(c.gone) })
	<-c.done
	return nil
}

func (f *fakeContainers) Pause(_ context.Context, id string) error {
	return f.set(id, container.StatePaused)
}

func (f *fakeContainers) Unpause(_ context.Context, id string) error {
	return f.set(id, container.StateRunning)
}

func (f *fakeContainers) set(id string, s container.ContainerState) error {
	c, err := f.find(id)
	if err == nil {
		f.mu.Lock()
		c.state = s
		f.mu.Unlock()
	}
	return err
}

func (f *fakeContainers) Rename(_ context.Context, id, name string) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, c.name)
	c.name, f.byName[name] = name, c
	return nil
}

func (f *fakeContainers) Remove(_ context.Context, id string, force, volumes bool) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.state == container.StateRunning && !force {
		return errs.New(errs.Conflict, "cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.name)
	}
	delete(f.byName, c.name)
	return nil
}

func (*fakeContainers) Unlink(_ context.Context, name string) error {
	return errs.New(errs.NotFound, "No such container: %s", name)
}

func (f *fakeContainers) Inspect(_ context.Context, id string, size bool) (resp engine.ContainerInspect, err error) {
	c, err := f.find(id)
	if err != nil {
		return resp, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ep := c.req.Network.EndpointsConfig["bridge"]; ep != nil {
		resp.MacAddress = ep.MacAddress
	}
	resp.InspectResponse = container.InspectResponse{
		ID: c.id, Name: "/" + c.name, Created: "2026-01-02T03:04:05.000000006Z", Path: "x", Driver: "overlayfs", Platform: "linux",
		Image: "sha256:" + strings.Repeat("ab", 32), Args: []string{}, Mounts: []container.MountPoint{},
		State:      &container.State{Status: c.state, Running: c.state == container.StateRunning, ExitCode: c.exit},
		HostConfig: c.req.Host, Config: c.req.Config,
		Storage: &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: "overlayfs"}}},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"bridge": {NetworkID: "net1", EndpointID: "ep1", IPAddress: mustAddr("172.17.0.2"), IPPrefixLen: 16, Gateway: mustAddr("172.17.0.1")},
			"front":  {NetworkID: "net2", Aliases: []string{"web"}},
		}},
	}
	return resp, nil
}

func (f *fakeContainers) List(_ context.Context, opts engine.ContainerList) ([]container.Summary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []container.Summary
	for _, c := range f.byName {
		if !opts.All && c.state != container.StateRunning {
			continue
		}
		s := container.Summary{
			ID: c.id, Names: []string{"/" + c.name}, Image: c.req.Config.Image, Command: strings.Join(c.req.Config.Cmd, " "),
			State: c.state, Status: "Up 1 second", Created: time.Now().Unix(), Health: &container.HealthSummary{Status: "none"},
		}
		s.HostConfig.Annotations = map[string]string{"a": "b"}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b container.Summary) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func (f *fakeContainers) Logs(_ context.Context, id string, opts engine.ContainerLogs, open func(bool) io.Writer) error {
	c, err := f.find(id)
	if err != nil {
		return err
	}
	out := open(c.req.Config.Tty)
	f.mu.Lock()
	log := c.log
	f.mu.Unlock()
	if _, err := out.Write(log); err != nil || !opts.Follow {
		return err
	}
	<-c.done
	f.mu.Lock()
	rest := c.log[len(log):]
	f.mu.Unlock()
	_, err = out.Write(rest)
	return err
}

func (f *fakeContainers) Resize(_ context.Context, id string, height, width uint16) error {
	_, err := f.find(id)
	return err
}

func (f *fakeContainers) Top(_ context.Context, id, args string) (container.TopResponse, error) {
	_, err := f.find(id)
	return container.TopResponse{Titles: []string{"PID", "CMD"}, Processes: [][]string{{"1", cmp.Or(args, "none")}}}, err
}

func (f *fakeContainers) Update(_ context.Context, id string, cfg engine.ContainerUpdate) (container.UpdateResponse, error) {
	_, err := f.find(id)
	return container.UpdateResponse{Warnings: []string{fmt.Sprint(cfg.Memory)}}, err
}

func (f *fakeContainers) Prune(_ context.Context, filters engine.Filters) (container.PruneReport, error) {
	return container.PruneReport{ContainersDeleted: append([]string{"gone"}, filters["label"]...), SpaceReclaimed: 42}, nil
}

func (f *fakeContainers) Stats(_ context.Context, id string) (container.StatsResponse, error) {
	c, err := f.find(id)
	if err != nil {
		return container.StatsResponse{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := container.StatsResponse{ID: c.id, Name: "/" + c.name, OSType: "linux"}
	if c.state == container.StateRunning {
		f.samples++
		s.Read = time.Date(2026, 1, 1, 0, 0, f.samples, 0, time.UTC)
		s.CPUStats.CPUUsage.TotalUsage = uint64(f.samples)
	}
	return s, nil
}

// fakeExecs run the same programs in a running container.
type fakeExecs struct {
	c    *fakeContainers
	mu   sync.Mutex
	byID map[string]*fakeExec
}

type fakeExec struct {
	container string
	req       container.ExecCreateRequest
	code      *int
}

func (f *fakeExecs) Create(_ context.Context, id string, req container.ExecCreateRequest) (string, error) {
	c, err := f.c.find(id)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	execID := fmt.Sprintf("exec%d", len(f.byID))
	f.byID[execID] = &fakeExec{container: c.id, req: req}
	return execID, nil
}

func (f *fakeExecs) find(id string) (*fakeExec, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.byID[id]; x != nil {
		return x, nil
	}
	return nil, errs.New(errs.NotFound, "No such exec instance: %s", id)
}

func (f *fakeExecs) Start(_ context.Context, id string, req container.ExecStartRequest, hijack func(bool) (engine.Conn, error)) error {
	x, err := f.find(id)
	if err != nil {
		return err
	}
	end := func(code int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		x.code = &code
	}
	switch x.req.Cmd[0] {
	case "nosuch":
		end(127)
		return errs.New(errs.InvalidArgument, `OCI runtime exec failed: exec: "nosuch": executable file not found in $PATH`)
	case "busy":
		return errs.New(errs.Conflict, "exec instance %s has already run", id)
	}
	if req.Detach {
		end(0)
		return nil
	}
	conn, err := hijack(x.req.Tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	code := 0
	defer func() { end(code) }() // before the client sees the end of the stream
	out := func(s string) {
		if x.req.Tty {
			_, _ = conn.Write([]byte(s))
		} else {
			_, _ = conn.Write(frame(1, s))
		}
	}
	switch x.req.Cmd[0] {
	case "cat":
		data, _ := io.ReadAll(conn)
		out(string(data))
	case "echo":
		out(strings.Join(x.req.Cmd[1:], " ") + "\n")
	case "fail":
		code, _ = strconv.Atoi(x.req.Cmd[1])
	}
	return nil
}

func (f *fakeExecs) Inspect(_ context.Context, id string) (container.ExecInspectResponse, error) {
	x, err := f.find(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return container.ExecInspectResponse{ID: id, ContainerID: x.container, ExitCode: x.code}, nil
}

func (f *fakeExecs) Resize(_ context.Context, id string, height, width uint16) error {
	_, err := f.find(id)
	return err
}

func (f *fakeContainers) StatPath(_ context.Context, id, path string) (container.PathStat, error) {
	if path == "/missing" {
		return container.PathStat{}, errs.New(errs.NotFound, "Could not find the file %s in container", path)
	}
	_, err := f.find(id)
	return container.PathStat{Name: "f", Size: 5, Mode: 0o644}, err
}

func (f *fakeContainers) ReadArchive(ctx context.Context, id, path string, begin func(container.PathStat) io.Writer) error {
	st, err := f.StatPath(ctx, id, path)
	if err == nil {
		_, err = io.WriteString(begin(st), "archive of "+path)
	}
	return err
}

func (f *fakeContainers) WriteArchive(_ context.Context, id, dir string, opts engine.WriteArchive, r io.Reader) error {
	if _, err := f.find(id); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	f.written = fmt.Sprint(dir, " ", opts.NoOverwriteDirNonDir, " ", opts.CopyUIDGID, " ", string(data))
	return err
}

func (f *fakeContainers) Export(_ context.Context, id string, begin func() io.Writer) error {
	_, err := f.find(id)
	if err == nil {
		_, err = io.WriteString(begin(), "all of it")
	}
	return err
}

func (f *fakeContainers) Commit(_ context.Context, id string, req engine.ContainerCommit) (string, error) {
	if _, err := f.find(id); err != nil {
		return "", err
	}
	f.committed = append(f.committed, req)
	return "sha256:made", nil
}
