package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	apisystem "github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// clientVersion is what a template finds below .Client.
type clientVersion struct {
	Platform          *struct{ Name string } `json:",omitempty"`
	Version           string                 `json:",omitempty"`
	APIVersion        string                 `json:"ApiVersion,omitempty"`
	DefaultAPIVersion string                 `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string                 `json:",omitempty"`
	GoVersion         string                 `json:",omitempty"`
	Os                string                 `json:",omitempty"`
	Arch              string                 `json:",omitempty"`
	BuildTime         string                 `json:",omitempty"`
	Context           string                 `json:",omitempty"`
}

type versions struct {
	Client clientVersion
	Server *apisystem.VersionResponse
}

// ServerOK tells whether a daemon has answered.
func (v versions) ServerOK() bool { return v.Server != nil }

// NewVersion makes the command "version".
func NewVersion(s *session.Session) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the versions of client and daemon",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showVersion(cmd.Context(), s, format)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	return cmd
}

func showVersion(ctx context.Context, s *session.Session, format string) error {
	if format == "json" {
		format = "{{json .}}"
	}
	v := versions{Client: clientVersion{
		Version: s.Build.Version, DefaultAPIVersion: client.MaxAPIVersion, APIVersion: client.MaxAPIVersion,
		GitCommit: s.Build.Commit, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH,
		BuildTime: readableTime(s.Build.Time), Context: s.ContextName(),
	}}
	var out bytes.Buffer
	c, err := s.Client()
	if err != nil {
		return err
	}
	server, serverErr := c.ServerVersion(ctx)
	if serverErr == nil {
		addEngine(&server)
		v.Server = &server
		v.Client.APIVersion = c.ClientVersion()
	}
	if format != "" {
		t, err := render.ParseNamedTemplate("version", format)
		if err != nil {
			return &session.ExitError{Code: 64, Err: err}
		}
		if err := t.Execute(&out, v); err != nil && serverErr == nil {
			return err
		}
		out.WriteByte('\n')
	} else {
		writeVersion(&out, v)
	}
	if _, err := s.Out.Write(out.Bytes()); err != nil {
		return err
	}
	return serverErr
}

// addEngine adds the engine to a list of components that lacks it: older
// daemons have no such list.
func addEngine(v *apisystem.VersionResponse) {
	if slices.ContainsFunc(v.Components, func(c apisystem.ComponentVersion) bool { return c.Name == engineName }) {
		return
	}
	engine := apisystem.ComponentVersion{Name: engineName, Version: v.Version, Details: map[string]string{
		"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Os": v.Os, "Arch": v.Arch,
		"GitCommit": v.GitCommit, "GoVersion": v.GoVersion, "BuildTime": v.BuildTime,
	}}
	v.Components = append([]apisystem.ComponentVersion{engine}, v.Components...)
}

const engineName = "Engine"

func writeVersion(out io.Writer, v versions) {
	w := tabwriter.NewWriter(out, 20, 1, 1, ' ', 0)
	c := v.Client
	api := c.APIVersion
	if api != c.DefaultAPIVersion {
		api += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	fmt.Fprint(w, "Client:\n")
	for _, l := range [][2]string{
		{"Version", c.Version}, {"API version", api}, {"Go version", c.GoVersion}, {"Git commit", c.GitCommit},
		{"Built", c.BuildTime}, {"OS/Arch", c.Os + "/" + c.Arch}, {"Context", c.Context},
	} {
		fmt.Fprintf(w, " %s:\t%s\n", l[0], l[1])
	}
	if v.Server != nil {
		title := "Server:"
		if v.Server.Platform.Name != "" {
			title += " " + v.Server.Platform.Name
		}
		fmt.Fprintf(w, "\n%s\n", title)
		for _, comp := range v.Server.Components {
			fmt.Fprintf(w, " %s:\n  Version:\t%s\n", comp.Name, comp.Version)
			writeDetails(w, comp)
		}
	}
	_ = w.Flush() // out is memory
}

func writeDetails(w io.Writer, c apisystem.ComponentVersion) {
	d := c.Details
	if c.Name != engineName {
		for _, k := range slices.Sorted(maps.Keys(d)) {
			fmt.Fprintf(w, "  %s:\t%s\n", k, d[k])
		}
		return
	}
	for _, l := range [][2]string{
		{"API version", d["ApiVersion"] + " (minimum version " + d["MinAPIVersion"] + ")"}, {"Go version", d["GoVersion"]},
		{"Git commit", d["GitCommit"]}, {"Built", readableTime(d["BuildTime"])}, {"OS/Arch", d["Os"] + "/" + d["Arch"]},
		{"Experimental", strings.TrimSpace(d["Experimental"])},
	} {
		fmt.Fprintf(w, "  %s:\t%s\n", l[0], l[1])
	}
}

func readableTime(v string) string {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return v
	}
	return t.Format(time.ANSIC)
}
