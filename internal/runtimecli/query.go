package runtimecli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
)

// entry is a container as state and list print it; the fields are runc's.
type entry struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func describeContainer(c *oci.Container) (entry, error) {
	s, err := c.State()
	if err != nil {
		return entry{}, err
	}
	return entry{
		Version: s.Version, ID: s.ID, Pid: s.Pid, Status: string(s.Status), Bundle: s.Bundle,
		Rootfs: c.Rootfs(), Created: c.Created(), Annotations: s.Annotations, Owner: ownerName(c.OwnerUID()),
	}, nil
}

func ownerName(uid int) string {
	if u, err := user.LookupUid(uid); err == nil {
		return u.Name
	}
	return "#" + strconv.Itoa(uid)
}

func setupState(a *app, _ *flag.FlagSet) func(context.Context, []string) (int, error) {
	return func(_ context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err != nil {
			return 1, err
		}
		e, err := describeContainer(c)
		if err != nil {
			return 1, err
		}
		// state knows the owner only as a name that list prints.
		e.Owner = ""
		return 0, printJSON(a.stdout, e, "  ")
	}
}

func printJSON(w io.Writer, v any, indent string) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

func setupList(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var format string
	var quiet bool
	f.StringVar(&format, "format", "table", "table or json")
	f.StringVar(&format, "f", "table", "short for --format")
	f.BoolVar(&quiet, "quiet", false, "display only container IDs")
	f.BoolVar(&quiet, "q", false, "short for --quiet")
	return func(_ context.Context, _ []string) (int, error) { return 0, a.list(format, quiet) }
}

func (a *app) list(format string, quiet bool) error {
	if a.rootGiven {
		if _, err := os.Stat(a.root); err != nil { // the default one is made when it is needed
			return fmt.Errorf("list containers: %w", err)
		}
	}
	all, err := a.runtime.List()
	if err != nil {
		return err
	}
	entries := []entry{}
	for _, c := range all {
		if quiet {
			if _, err := fmt.Fprintln(a.stdout, c.ID()); err != nil {
				return err
			}
			continue
		}
		e, err := describeContainer(c)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	switch {
	case quiet:
		return nil
	case format == "json":
		return json.NewEncoder(a.stdout).Encode(entries)
	case format != "table":
		return errs.New(errs.InvalidArgument, "invalid format option")
	}
	rows := [][]string{{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}}
	for _, e := range entries {
		rows = append(rows, []string{e.ID, strconv.Itoa(e.Pid), e.Status, e.Bundle, e.Created.Format(time.RFC3339Nano), e.Owner})
	}
	return writeTable(a.stdout, rows)
}

// writeTable aligns columns as runc does: all but the last are twelve wide or more
// and end with three spaces or more. text/tabwriter, which does it too, is large.
func writeTable(w io.Writer, rows [][]string) error {
	var width [8]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], 12, utf8.RuneCountInString(cell)+3)
		}
	}
	var text []byte
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			text = fmt.Appendf(text, "%-*s", width[i], cell)
		}
		text = append(text, row[len(row)-1]+"\n"...)
	}
	_, err := w.Write(text)
	return err
}

func setupPs(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var format string
	f.StringVar(&format, "format", "table", "table or json")
	f.StringVar(&format, "f", "table", "short for --format")
	return func(ctx context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err != nil {
			return 1, err
		}
		pids, err := c.Pids()
		if err != nil {
			return 1, err
		}
		if pids == nil {
			pids = []int{}
		}
		switch format {
		case "json":
			return 0, json.NewEncoder(a.stdout).Encode(pids)
		case "table":
			return 0, psTable(ctx, a.stdout, pids, args[1:])
		}
		return 1, errs.New(errs.InvalidArgument, "invalid format option")
	}
}

// features is the runtime-spec's answer to "what can you do".
func setupFeatures(a *app, _ *flag.FlagSet) func(context.Context, []string) (int, error) {
	return func(context.Context, []string) (int, error) { return 0, printJSON(a.stdout, oci.Features(), "    ") }
}
