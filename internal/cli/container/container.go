// Package container holds the container verbs of the CLI, one file each. A
// verb turns flags into API calls and their answers into output; how output
// looks belongs to package render, what flags of run and create mean to
// package create, terminals to package stream.
//
// Every New… function makes a fresh command, since a verb stands both at the
// top level and below the noun.
package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "container", Short: "Manage containers", Args: session.NoArgs}
	cmd.AddCommand(
		NewAttach(s), NewCommit(s), NewCopy(s), NewCreate(s), NewDiff(s), NewExec(s), NewExport(s),
		newNounInspect(s), NewKill(s), NewList(s, "ls"), NewLogs(s), NewPause(s), NewPort(s), newPrune(s),
		NewRename(s), NewRestart(s), NewRemove(s), NewRun(s), NewStart(s), NewStats(s), NewStop(s),
		NewTop(s), NewUnpause(s), NewUpdate(s), NewWait(s),
	)
	return cmd
}

// aliases notes the other names of a verb for its help text.
func aliases(names ...string) map[string]string {
	return map[string]string{session.AliasesKey: strings.Join(names, ",")}
}

// parallel bounds how many containers one command works on at a time.
const parallel = 50

// each calls do for every name, many at a time, prints the names that
// succeeded in their order as they become known, and joins the errors.
func each(ctx context.Context, s *session.Session, names []string, do func(ctx context.Context, c *client.Client, name string) error) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	results := make([]chan error, len(names))
	for i := range results {
		results[i] = make(chan error, 1)
	}
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, name := range names {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				results[i] <- do(ctx, c, name)
			})
		}
	})
	defer wg.Wait()
	var errs []error
	for i, name := range names {
		err := <-results[i]
		if gone := (notFound{}); errors.As(err, &gone) {
			fmt.Fprintln(s.Err, gone)
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(s.Out, name)
	}
	return session.Join(errs)
}

// notFound is the absence of something that should be removed by force: told,
// but no failure.
type notFound struct{ error }

func trimSlash(name string) string { return strings.TrimPrefix(name, "/") }
