package image

import (
	"path"
	"slices"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// changes are the Dockerfile instructions that `commit --change` and
// `import --change` take: those that touch the configuration only.
var changes = []string{"cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}

// applyChanges changes an image's configuration as a Dockerfile with these lines
// would. c is the caller's alone.
func applyChanges(c *dockerspec.DockerOCIImageConfig, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	file, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	x := changing{config: c, lex: shell.NewLex(file.EscapeToken)}
	for _, node := range file.AST.Children {
		if !slices.Contains(changes, strings.ToLower(node.Value)) {
			return errs.New(errs.InvalidArgument, "%s is not a valid change command", node.Value)
		}
	}
	for _, node := range file.AST.Children {
		cmd, err := instructions.ParseCommand(node)
		if err == nil {
			err = x.apply(cmd)
		}
		if err != nil {
			return errs.Wrap(errs.InvalidArgument, err)
		}
	}
	return nil
}

type changing struct {
	config *dockerspec.DockerOCIImageConfig
	lex    *shell.Lex
	cmdSet bool // by one of the lines
}

func (x *changing) apply(cmd any) error {
	if e, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		err := e.Expand(func(word string) (string, error) {
			s, _, err := x.lex.ProcessWord(word, shell.EnvsFromSlice(x.config.Env))
			return s, err
		})
		if err != nil {
			return err
		}
	}
	c := x.config
	switch cmd := cmd.(type) {
	case *instructions.EnvCommand:
		for _, kv := range cmd.Env {
			c.Env = setEnv(c.Env, kv.Key, kv.Value)
		}
	case *instructions.LabelCommand:
		for _, kv := range cmd.Labels {
			put(&c.Labels, kv.Key, kv.Value)
		}
	case *instructions.CmdCommand:
		c.Cmd, x.cmdSet = x.commandLine(cmd.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		c.Entrypoint = x.commandLine(cmd.ShellDependantCmdLine)
		if !x.cmdSet {
			c.Cmd = nil // it was the arguments of another program
		}
	case *instructions.ExposeCommand:
		ports, _, err := nat.ParsePortSpecs(cmd.Ports)
		if err != nil {
			return err
		}
		for p := range ports {
			put(&c.ExposedPorts, string(p), struct{}{})
		}
	case *instructions.HealthCheckCommand:
		c.Healthcheck = cmd.Health
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, cmd.Expression)
	case *instructions.StopSignalCommand:
		c.StopSignal = cmd.Signal
	case *instructions.UserCommand:
		c.User = cmd.User
	case *instructions.VolumeCommand:
		for _, v := range cmd.Volumes {
			if v = strings.TrimSpace(v); v == "" {
				return errs.New(errs.InvalidArgument, "VOLUME specified can not be an empty string")
			}
			put(&c.Volumes, v, struct{}{})
		}
	case *instructions.WorkdirCommand:
		dir := path.Clean(cmd.Path)
		if !path.IsAbs(dir) {
			dir = path.Join("/", c.WorkingDir, dir)
		}
		c.WorkingDir = dir
	}
	return nil
}

// commandLine is a command in exec form, or with the image's shell before it.
func (x *changing) commandLine(l instructions.ShellDependantCmdLine) []string {
	if !l.PrependShell {
		return l.CmdLine
	}
	sh := x.config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), strings.Join(l.CmdLine, " "))
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// setEnv sets a variable where it is, or at the end.
func setEnv(env []string, key, value string) []string {
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}
