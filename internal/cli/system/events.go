package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"

	apievents "github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewEvents makes the command "events".
func NewEvents(s *session.Session) *cobra.Command {
	var since, until, format string
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:         "events [OPTIONS]",
		Short:       "Show what happens, live",
		Args:        session.NoArgs,
		Annotations: aliases("system events", "events"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showEvents(cmd.Context(), s, format, client.EventsListOptions{Since: since, Until: until, Filters: filter.Values})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVar(&since, "since", "", "Show events since this time")
	fs.StringVar(&until, "until", "", "Show events until this time")
	fs.VarP(&filter, "filter", "f", "Show only what matches")
	fs.StringVar(&format, "format", "", session.InspectFormatHelp)
	return cmd
}

func showEvents(ctx context.Context, s *session.Session, format string, opts client.EventsListOptions) error {
	var t *template.Template
	if format != "" {
		if format == "json" {
			format = "{{json .}}"
		}
		var err error
		if t, err = render.ParseTemplate(format); err != nil {
			//lint:ignore ST1005 Docker's text
			return &session.ExitError{Code: 64, Err: fmt.Errorf("Error parsing format: %w", err)}
		}
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := c.Events(ctx, opts)
	for {
		select {
		case m := <-res.Messages:
			if err := writeEvent(s.Out, t, m); err != nil {
				return err
			}
		case err := <-res.Err:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// event is what a template sees. The methods are names that events had in
// older APIs and that scripts still use.
type event struct{ apievents.Message }

func (e event) ID() string     { return e.Actor.ID }
func (e event) Status() string { return string(e.Action) }
func (e event) From() string   { return e.Actor.Attributes["image"] }

// timeLayout has all nine digits, unlike RFC3339Nano.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

func writeEvent(w io.Writer, t *template.Template, m apievents.Message) error {
	if t != nil {
		if err := t.Execute(w, event{m}); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	}
	var b strings.Builder
	switch {
	case m.TimeNano != 0:
		b.WriteString(time.Unix(0, m.TimeNano).Format(timeLayout) + " ")
	case m.Time != 0:
		b.WriteString(time.Unix(m.Time, 0).Format(timeLayout) + " ")
	}
	fmt.Fprintf(&b, "%s %s %s", m.Type, m.Action, m.Actor.ID)
	if len(m.Actor.Attributes) > 0 {
		var attrs []string
		for _, k := range render.SortedKeys(m.Actor.Attributes) {
			attrs = append(attrs, k+"="+m.Actor.Attributes[k])
		}
		fmt.Fprintf(&b, " (%s)", strings.Join(attrs, ", "))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}
