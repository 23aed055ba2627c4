package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gantry-run/gantry/internal/cli/session"
)

// findPlugin looks for the CLI plugin of a command: gantry-NAME beside this
// program, or docker-NAME where Docker keeps plugins.
func findPlugin(s *session.Session, name string) string {
	if filepath.Base(name) != name || name == "" || name[0] == '-' {
		return ""
	}
	var dirs []string
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	dirs = append(dirs, filepath.Join(s.Opts.ConfigDir, "cli-plugins"))
	dirs = append(dirs, s.Config().CLIPluginsExtra...)
	for _, prefix := range []string{"/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"} {
		dirs = append(dirs, filepath.Join(prefix, "gantry/cli-plugins"), filepath.Join(prefix, "docker/cli-plugins"))
	}
	for i, dir := range dirs {
		for _, prefix := range []string{"gantry-", "docker-"} {
			if i == 0 && prefix == "docker-" {
				continue // beside the program is no plugin directory of Docker's
			}
			// The OCI runtime lies beside the CLI, too, but is no plugin.
			if p := filepath.Join(dir, prefix+name); name != "runtime" && isProgram(p) {
				return p
			}
		}
	}
	return ""
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// runPlugin replaces this process with the plugin, which gets the same
// arguments and, if nothing else names a daemon, ours.
func runPlugin(s *session.Session, path string) error {
	env := os.Environ()
	if self, err := os.Executable(); err == nil {
		env = append(env, "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND="+self)
	}
	if ep, err := s.Endpoint(); err == nil && !s.HostChosen() {
		env = append(env, "DOCKER_HOST="+ep.Host)
	}
	args := append([]string{path}, os.Args[1:]...)
	return fmt.Errorf("run plugin %s: %w", path, syscall.Exec(path, args, env))
}
