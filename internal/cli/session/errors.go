package session

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes as Docker's CLI has them: 125 the CLI or daemon failed before the
// container's program ran, 126 the program cannot be executed, 127 there is
// none.
const (
	ExitFailed     = 125
	ExitNotAllowed = 126
	ExitNotFound   = 127
)

// ExitError chooses the exit code. With a nil Err nothing is printed.
type ExitError struct {
	Code int
	Err  error
}

// Error gives the text to print, "" for none.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Exit makes an error that only sets the exit code.
func Exit(code int) error { return &ExitError{Code: code} }

// AliasesKey is the annotation that holds all full names of a command, for help
// texts, separated by commas.
const AliasesKey = "aliases"

// Connect finds the ConnectError in err's chain, nil if there is none.
func Connect(err error) *ConnectError {
	var c *ConnectError
	errors.As(err, &c)
	return c
}

// WithHelp words err as "run" and "create" do: the program's name before it
// and the way to the help after.
func WithHelp(cmd *cobra.Command, code int, err error) error {
	if c := Connect(err); c != nil {
		return &ExitError{Code: code, Err: fmt.Errorf("%s: %w", cmd.Root().Name(), c)}
	}
	return &ExitError{Code: code, Err: fmt.Errorf("%s: %w\n\nRun '%s --help' for more information", cmd.Root().Name(), err, cmd.CommandPath())}
}

// FlagError words an error of flag parsing.
func FlagError(cmd *cobra.Command, err error) error {
	return &ExitError{Code: ExitFailed, Err: fmt.Errorf("%w\n\nUsage:  %s\n\nRun '%s --help' for more information", err, cmd.UseLine(), cmd.CommandPath())}
}

// NoArgs refuses arguments. Below a noun, an argument is an unknown verb.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return Unknown(cmd, args[0])
	}
	return argError(cmd, "accepts no arguments", "Run")
}

// Unknown words an unknown command below cmd.
func Unknown(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("%s: unknown command: %s %s\n", cmd.Root().Name(), cmd.CommandPath(), name)
	if cmd.HasParent() {
		text += fmt.Sprintf("\nUsage:  %s\n", cmd.CommandPath())
	}
	return &ExitError{Code: 1, Err: errors.New(text + fmt.Sprintf("\nRun '%s --help' for more information", cmd.CommandPath()))}
}

// MinArgs wants at least n arguments.
func MinArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at least %d %s", n, plural(n)), "See")
	}
}

// MaxArgs wants at most n arguments.
func MaxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at most %d %s", n, plural(n)), "Run")
	}
}

// RangeArgs wants between min and max arguments.
func RangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires at least %d and at most %d %s", least, most, plural(most)), "Run")
	}
}

// ExactArgs wants exactly n arguments.
func ExactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return argError(cmd, fmt.Sprintf("requires %d %s", n, plural(n)), "Run")
	}
}

func argError(cmd *cobra.Command, what, verb string) error {
	return &ExitError{Code: 1, Err: fmt.Errorf("%s: '%s' %s\n\nUsage:  %s\n\n%s '%s --help' for more information",
		cmd.Root().Name(), cmd.CommandPath(), what, cmd.UseLine(), verb, cmd.CommandPath())}
}

func plural(n int) string {
	if n == 1 {
		return "argument"
	}
	return "arguments"
}

// Join joins the errors of several objects into one text, a line each.
func Join(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	if len(errs) == 1 {
		return errs[0]
	}
	for _, e := range errs {
		// The same missing daemon would be told for every object.
		if c := Connect(e); c != nil {
			return c
		}
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.Error()
	}
	return errors.New(strings.Join(lines, "\n"))
}
