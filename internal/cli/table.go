package cli

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/checkpoint"
	"github.com/gantry-run/gantry/internal/cli/container"
	"github.com/gantry-run/gantry/internal/cli/daemon"
	"github.com/gantry-run/gantry/internal/cli/image"
	"github.com/gantry-run/gantry/internal/cli/network"
	"github.com/gantry-run/gantry/internal/cli/registry"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/system"
	"github.com/gantry-run/gantry/internal/cli/volume"
)

// group is a section of the root help.
type group uint8

const (
	groupCommon group = iota
	groupManagement
	groupOther
)

// entry is a command of the top level.
type entry struct {
	name  string
	group group
	make  func(*session.Session) *cobra.Command
}

// commands gives the top level in the order of the help text's sections. It is
// a function, not a variable, so that it costs nothing until needed.
func commands() []entry {
	named := func(f func(*session.Session, string) *cobra.Command, name string) func(*session.Session) *cobra.Command {
		return func(s *session.Session) *cobra.Command { return f(s, name) }
	}
	return []entry{
		{"run", groupCommon, container.NewRun},
		{"exec", groupCommon, container.NewExec},
		{"ps", groupCommon, named(container.NewList, "ps")},
		{"pull", groupCommon, image.NewPull},
		{"push", groupCommon, image.NewPush},
		{"images", groupCommon, named(image.NewList, "images")},
		{"login", groupCommon, registry.NewLogin},
		{"logout", groupCommon, registry.NewLogout},
		{"version", groupCommon, system.NewVersion},
		{"info", groupCommon, system.NewInfo},

		{"checkpoint", groupManagement, checkpoint.New},
		{"container", groupManagement, container.New},
		{"daemon", groupManagement, daemon.New},
		{"image", groupManagement, image.New},
		{"network", groupManagement, network.New},
		{"system", groupManagement, system.New},
		{"volume", groupManagement, volume.New},

		{"attach", groupOther, container.NewAttach},
		{"commit", groupOther, container.NewCommit},
		{"completion", groupOther, newCompletion},
		{"cp", groupOther, container.NewCopy},
		{"create", groupOther, container.NewCreate},
		{"diff", groupOther, container.NewDiff},
		{"events", groupOther, system.NewEvents},
		{"export", groupOther, container.NewExport},
		{"history", groupOther, image.NewHistory},
		{"import", groupOther, image.NewImport},
		{"inspect", groupOther, system.NewInspect},
		{"kill", groupOther, container.NewKill},
		{"load", groupOther, image.NewLoad},
		{"logs", groupOther, container.NewLogs},
		{"pause", groupOther, container.NewPause},
		{"port", groupOther, container.NewPort},
		{"rename", groupOther, container.NewRename},
		{"restart", groupOther, container.NewRestart},
		{"rm", groupOther, container.NewRemove},
		{"rmi", groupOther, named(image.NewRemove, "rmi")},
		{"save", groupOther, image.NewSave},
		{"start", groupOther, container.NewStart},
		{"stats", groupOther, container.NewStats},
		{"stop", groupOther, container.NewStop},
		{"tag", groupOther, image.NewTag},
		{"top", groupOther, container.NewTop},
		{"unpause", groupOther, container.NewUnpause},
		{"update", groupOther, container.NewUpdate},
		{"wait", groupOther, container.NewWait},
	}
}

func find(name string) *entry {
	for _, e := range commands() {
		if e.name == name {
			return &e
		}
	}
	return nil
}

func addAll(s *session.Session, root *cobra.Command) {
	for _, e := range commands() {
		root.AddCommand(e.make(s))
	}
	prepare(s, root)
}
