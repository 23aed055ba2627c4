package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
)

const defaultWidth = 80 // of a help text that goes to no terminal

// helpCommand is "help [COMMAND…]".
func helpCommand(s *session.Session, root *cobra.Command, path []string) error {
	cmd := root
	for i, name := range path {
		var next *cobra.Command
		for _, sub := range cmd.Commands() {
			if sub.Name() == name || sub.HasAlias(name) {
				next = sub
			}
		}
		if next == nil {
			if i > 0 && !cmd.HasSubCommands() {
				break
			}
			return &session.ExitError{Code: 1, Err: fmt.Errorf("unknown help topic: %s", strings.Join(path, " "))}
		}
		cmd = next
	}
	return showHelp(s, cmd)
}

// showHelp writes a command's help text to stdout.
func showHelp(s *session.Session, cmd *cobra.Command) error { return writeHelp(s, s.Out, cmd) }

// writeHelp writes a command's help text in Docker's layout.
func writeHelp(s *session.Session, w io.Writer, cmd *cobra.Command) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Usage:  %s\n\n", useLine(cmd))
	fmt.Fprintln(&b, strings.TrimSpace(cmd.Short))
	if names := cmd.Annotations[session.AliasesKey]; names != "" && strings.Contains(names, ",") {
		full := strings.Split(names, ",")
		for i, n := range full {
			full[i] = cmd.Root().Name() + " " + n
		}
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", strings.Join(full, ", "))
	}
	if !cmd.HasParent() {
		helpRoot(&b, cmd)
	} else {
		listCommands(&b, "Commands", cmd.Commands())
	}
	width := defaultWidth
	if _, w := stream.SizeOf(s.Out); w > 0 {
		width = int(w)
	}
	if flags := cmd.Flags(); flags.HasAvailableFlags() {
		title := "Options"
		if !cmd.HasParent() {
			title = "Global Options"
		}
		fmt.Fprintf(&b, "\n%s:\n", title)
		writeFlags(&b, flags, width)
	}
	if cmd.HasSubCommands() {
		fmt.Fprintf(&b, "\nRun '%s COMMAND --help' for more information on a command.\n", cmd.CommandPath())
	}
	if !cmd.HasParent() {
		b.WriteString("\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func useLine(cmd *cobra.Command) string {
	switch {
	case !cmd.HasParent():
		return cmd.Name() + " [OPTIONS] COMMAND"
	case cmd.HasSubCommands():
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

func helpRoot(b *bytes.Buffer, root *cobra.Command) {
	byName := map[string]*cobra.Command{}
	for _, c := range root.Commands() {
		byName[c.Name()] = c
	}
	sections := map[group][]*cobra.Command{}
	for _, e := range commands() {
		sections[e.group] = append(sections[e.group], byName[e.name])
	}
	listCommands(b, "Common Commands", sections[groupCommon])
	listCommands(b, "Management Commands", sections[groupManagement])
	listCommands(b, "Commands", sections[groupOther])
}

func listCommands(b *bytes.Buffer, title string, cmds []*cobra.Command) {
	width := 11 // Docker's column
	var shown []*cobra.Command
	for _, c := range cmds {
		if c != nil && !c.Hidden {
			shown = append(shown, c)
			width = max(width, len(c.Name()))
		}
	}
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, c := range shown {
		fmt.Fprintf(b, "  %-*s %s\n", width, c.Name(), c.Short)
	}
}
