// Package cli is the command line of Gantry: it finds the command that is
// meant, gives it a session and turns its error into text and an exit code.
// The commands themselves live in the packages below, one per noun and one
// file per verb.
//
// Start-up time is this package's invariant: only the command that runs is
// built, and nothing is computed at package initialization.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
)

// Main runs the command line and returns the exit code. args[0] is how the
// program was called: as "docker" it shows that name.
func Main(ctx context.Context, args []string, io *stream.Stdio, b session.Build) int {
	s := session.New(programName(args[0]), io, b)
	defer s.Restore()
	err := run(ctx, s, args[1:])
	s.Restore()
	return report(s, err)
}

func programName(arg0 string) string {
	if name := filepath.Base(arg0); name == "docker" {
		return name
	}
	return "gantry"
}

func run(ctx context.Context, s *session.Session, args []string) error {
	fs := pflag.NewFlagSet(s.Name, pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.Usage = func() {}
	s.Opts.Register(fs)
	help := fs.BoolP("help", "h", false, "")
	fs.Lookup("help").Hidden = true
	parseErr := fs.Parse(args)
	rest := fs.Args()
	if parseErr != nil {
		return session.FlagError(newRoot(s, fs), parseErr)
	}
	if err := s.Opts.Check(fs); err != nil {
		return err
	}
	switch {
	case *help && len(rest) == 0:
		if usedShort(args, "-h") {
			fmt.Fprintln(s.Err, "Flag shorthand -h has been deprecated, use --help")
		}
		rest = nil
	case s.Opts.Version:
		fmt.Fprintln(s.Out, versionLine(s))
		return nil
	case *help:
		rest = append(rest, "--help")
	}
	root := newRoot(s, fs)
	if len(rest) == 0 {
		addAll(s, root)
		if !*help {
			return writeHelp(s, s.Err, root) // nobody has asked for it
		}
		return showHelp(s, root)
	}
	return dispatch(ctx, s, root, rest)
}

func dispatch(ctx context.Context, s *session.Session, root *cobra.Command, args []string) error {
	name := args[0]
	switch {
	case name == "help":
		addAll(s, root)
		return helpCommand(s, root, args[1:])
	case name == cobra.ShellCompRequestCmd || name == cobra.ShellCompNoDescRequestCmd || name == "completion":
		addAll(s, root)
		completeFlags(s, root)
	default:
		e := find(name)
		if e == nil {
			if path := findPlugin(s, name); path != "" {
				return runPlugin(s, path)
			}
			return session.Unknown(root, name)
		}
		root.AddCommand(e.make(s))
	}
	prepare(s, root)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func newRoot(s *session.Session, fs *pflag.FlagSet) *cobra.Command {
	root := &cobra.Command{
		Use:               s.Name + " [OPTIONS] COMMAND [ARG...]",
		Short:             "Run and manage containers",
		SilenceErrors:     true,
		SilenceUsage:      true,
		TraverseChildren:  true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true, HiddenDefaultCmd: true},
	}
	root.DisableFlagsInUseLine = true
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetHelpCommand(&cobra.Command{Use: "help", Hidden: true})
	root.Flags().AddFlagSet(fs)
	root.SetFlagErrorFunc(session.FlagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _ = showHelp(s, cmd) }) // cobra has no way to return it
	return root
}

// prepare gives every command what all have in common.
func prepare(s *session.Session, cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	if cmd.HasParent() {
		addHelpFlag(cmd)
	}
	if cmd.HasSubCommands() && cmd.HasParent() && cmd.RunE == nil {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return writeHelp(s, s.Err, cmd) }
	}
	for _, sub := range cmd.Commands() {
		prepare(s, sub)
	}
}

// addHelpFlag declares --help, and -h where it means nothing else.
func addHelpFlag(cmd *cobra.Command) {
	fs := cmd.Flags()
	if fs.Lookup("help") != nil {
		return
	}
	if fs.ShorthandLookup("h") != nil {
		fs.Bool("help", false, "Print this text")
		return
	}
	fs.BoolP("help", "h", false, "Print this text")
	fs.Lookup("help").ShorthandDeprecated = "use --help"
	fs.Lookup("help").Hidden = true
}

func usedShort(args []string, flag string) bool {
	for _, a := range args {
		if a == flag {
			return true
		}
	}
	return false
}

func versionLine(s *session.Session) string {
	title := "Gantry"
	if s.Name == "docker" {
		title = "Docker" // tools take the version from this line by its first word
	}
	return fmt.Sprintf("%s version %s, build %s", title, s.Build.Version, s.Build.Commit)
}

// report prints an error and gives the exit code.
func report(s *session.Session, err error) int {
	if err == nil {
		return 0
	}
	code := 1
	if exit := new(session.ExitError); errors.As(err, &exit) {
		code = exit.Code
	} else if c := session.Connect(err); c != nil {
		err = c // without the HTTP request around it, which helps nobody
	}
	if text := strings.TrimSpace(err.Error()); text != "" {
		fmt.Fprintln(s.Err, text)
	}
	return code
}

// Exit is for main: it ends the process with Main's code.
func Exit(b session.Build) {
	os.Exit(Main(context.Background(), os.Args, stream.System(), b))
}
