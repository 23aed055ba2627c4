// Package daemon holds the commands "daemon start", "stop" and "status": a
// local gantryd without a service manager.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/daemon/process"
	"github.com/gantry-run/gantry/internal/cli/session"
)

// stopTimeout is how long "daemon stop" waits.
const stopTimeout = 30 * time.Second

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "daemon", Short: "Manage the local daemon", Args: session.NoArgs}
	cmd.AddCommand(newStart(s), newStop(s), newStatus(s))
	return cmd
}

func newStart(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "start [-- OPTION...]",
		Short: "Start the daemon on this machine; options after -- are given to gantryd",
		RunE: func(cmd *cobra.Command, args []string) error {
			socket, err := socketOf(s)
			if err != nil {
				return err
			}
			if r, err := process.Find(socket); err == nil {
				fmt.Fprintf(s.Out, "The daemon is already running (pid %d, socket %s)\n", r.Pid, socket)
				return nil
			}
			if !session.IsRoot() {
				return errors.New("start daemon: only root can do that")
			}
			r, err := process.Start(cmd.Context(), process.Options{Socket: socket, Args: args})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "The daemon is running (pid %d, socket %s, log %s)\n", r.Pid, r.Socket, r.Log)
			return nil
		},
	}
}

func newStop(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon on this machine; containers keep running",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := find(s)
			if errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintln(s.Out, "The daemon is not running")
				return nil
			}
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), stopTimeout)
			defer cancel()
			if err := process.Stop(ctx, r); err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "The daemon (pid %d) has stopped\n", r.Pid)
			return nil
		},
	}
}

// exitNotRunning is what service managers' status commands exit with for a
// service that is down (LSB).
const exitNotRunning = 3

func newStatus(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell whether the daemon is running on this machine",
		Args:  session.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			r, err := find(s)
			if errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintln(s.Out, "The daemon is not running")
				return session.Exit(exitNotRunning)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "The daemon is running (pid %d, socket %s)\n", r.Pid, r.Socket)
			return nil
		},
	}
}

func find(s *session.Session) (process.Running, error) {
	socket, err := socketOf(s)
	if err != nil {
		return process.Running{}, err
	}
	return process.Find(socket)
}

// socketOf is the socket that --host or the environment chooses. These
// commands are about Gantry's daemon, so Docker's socket is no fallback.
func socketOf(s *session.Session) (string, error) {
	ep, err := s.Endpoint()
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(ep.Host, "unix://")
	if !ok {
		return "", fmt.Errorf("manage daemon at %s: it is not on this machine", ep.Host)
	}
	if path == session.DockerSocket && !s.HostChosen() {
		return session.GantrySocket, nil
	}
	return path, nil
}
