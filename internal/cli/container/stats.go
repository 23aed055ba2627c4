package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type statsOptions struct {
	all, noStream, noTrunc bool
	format                 string
}

// NewStats makes the command "stats".
func NewStats(s *session.Session) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:         "stats [OPTIONS] [CONTAINER...]",
		Short:       "Show what resources containers use, live",
		Annotations: aliases("container stats", "stats"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.format == "" {
				o.format = s.Config().StatsFormat
			}
			return o.run(cmd.Context(), s, args)
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateRunning, containertypes.StatePaused),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.all, "all", "a", false, "Show containers that are not running, too")
	fs.BoolVar(&o.noStream, "no-stream", false, "Show the first result and end")
	fs.BoolVar(&o.noTrunc, "no-trunc", false, "Do not shorten the output")
	fs.StringVar(&o.format, "format", "", session.ListFormatHelp)
	return cmd
}

func statsListing() render.Listing {
	return render.Listing{
		Columns: []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"},
		Headers: render.Headers{
			"Container": "CONTAINER", "Name": "NAME", "ID": "CONTAINER ID", "CPUPerc": "CPU %",
			"MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
		},
	}
}

func (o *statsOptions) run(ctx context.Context, s *session.Session, names []string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := newBoard(c, !o.noStream)
	defer func() { cancel(); b.wg.Wait() }()
	if len(names) == 0 {
		if err := o.watchAll(ctx, c, b); err != nil {
			return err
		}
	}
	for _, n := range names {
		b.add(ctx, n, n)
	}
	if err := b.awaitFirst(ctx); err != nil {
		return err
	}
	if o.noStream {
		return o.show(s.Out, b.rows(o.all || len(names) > 0), false)
	}
	tick := time.NewTicker(500 * time.Millisecond) // Docker's rate of redrawing
	defer tick.Stop()
	for {
		rows := b.rows(o.all || len(names) > 0)
		if err := o.show(s.Out, rows, s.OutIsTerminal()); err != nil {
			return err
		}
		if len(names) > 0 && b.allGone() {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-b.failed:
			return err
		case <-tick.C:
		}
	}
}

// watchAll adds the existing containers and follows events for new ones.
func (o *statsOptions) watchAll(ctx context.Context, c *client.Client, b *board) error {
	filters := client.Filters{}.Add("type", string(events.ContainerEventType)).
		Add("event", "create", "start", "die", "destroy")
	var ev client.EventsResult
	if !o.noStream {
		// Subscribed before listing: nothing falls between the two.
		ev = c.Events(ctx, client.EventsListOptions{Filters: filters})
	}
	list, err := c.ContainerList(ctx, client.ContainerListOptions{All: o.all})
	if err != nil {
		return err
	}
	for _, item := range list.Items {
		b.add(ctx, item.ID, item.ID)
	}
	if o.noStream {
		return nil
	}
	b.wg.Go(func() {
		for {
			select {
			case m := <-ev.Messages:
				o.follow(ctx, b, m)
			case err := <-ev.Err:
				if err != nil && !errors.Is(err, context.Canceled) {
					select {
					case b.failed <- err:
					default:
					}
				}
				return
			}
		}
	})
	return nil
}

func (o *statsOptions) follow(ctx context.Context, b *board, m events.Message) {
	switch m.Action {
	case events.ActionCreate:
		if o.all {
			b.add(ctx, m.Actor.ID, m.Actor.ID)
		}
	case events.ActionStart:
		b.add(ctx, m.Actor.ID, m.Actor.ID)
	case events.ActionDie:
		if !o.all {
			b.remove(m.Actor.ID)
		}
	case events.ActionDestroy:
		b.remove(m.Actor.ID)
	}
}

// show writes one round. On a terminal it starts at the top and clears what an
// earlier, longer round has left.
func (o *statsOptions) show(w io.Writer, rows []render.Row, screen bool) error {
	for _, r := range rows {
		r.(*statsRow).trunc = !o.noTrunc
	}
	l := statsListing()
	l.Format = o.format
	var b bytes.Buffer
	if err := l.Write(&b, rows); err != nil {
		return err
	}
	if !screen {
		_, err := w.Write(b.Bytes())
		return err
	}
	text := bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\x1b[K\n"))
	_, err := fmt.Fprintf(w, "\x1b[H%s\x1b[J", text)
	return err
}
