package runtimecli

import (
	"flag"
	"fmt"
	"strings"

	"github.com/gantry-run/gantry/internal/version"
)

// usage is the help text of the program. Its headlines are runc's, for scripts.
func (a *app) usage(f *flag.FlagSet) {
	_, _ = fmt.Fprintf(a.stdout, "NAME:\n   %s - Open Container Initiative runtime\n\n"+
		"USAGE:\n   %s [global options] command [command options] [arguments...]\n\nVERSION:\n   %s\n\nCOMMANDS:\n", Name, Name, version.Version)
	for _, c := range commands() {
		_, _ = fmt.Fprintf(a.stdout, "   %-10s  %s\n", c.name, c.brief)
	}
	_, _ = fmt.Fprint(a.stdout, "   help, h     show the commands, or help for one\n\nGLOBAL OPTIONS:\n")
	a.flagUsage(f)
}

// commandUsage is the help text of one command.
func (a *app) commandUsage(c command, f *flag.FlagSet) {
	_, _ = fmt.Fprintf(a.stdout, "NAME:\n   %s %s - %s\n\nUSAGE:\n   %s %s [command options] %s\n\nOPTIONS:\n", Name, c.name, c.brief, Name, c.name, c.args)
	a.flagUsage(f)
}

// shortFor begins the usage text of a flag that is another's short form.
const shortFor = "short for --"

// flagUsage lists flags, each with its short form.
func (a *app) flagUsage(f *flag.FlagSet) {
	short := map[string]string{}
	f.VisitAll(func(f *flag.Flag) {
		if long, ok := strings.CutPrefix(f.Usage, shortFor); ok {
			short[long] = f.Name
		}
	})
	f.VisitAll(func(f *flag.Flag) {
		if strings.HasPrefix(f.Usage, shortFor) {
			return
		}
		value := " value"
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			value = ""
		}
		text := "--" + f.Name + value
		if s, ok := short[f.Name]; ok {
			text += ", -" + s + value
		}
		usage := f.Usage
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			usage += fmt.Sprintf(" (default: %s)", f.DefValue)
		}
		_, _ = fmt.Fprintf(a.stdout, "   %-32s  %s\n", text, usage)
	})
	_, _ = fmt.Fprintf(a.stdout, "   %-32s  %s\n", "--help, -h", "show help")
}
