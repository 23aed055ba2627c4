package session

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gantry-run/gantry/internal/client"
)

// ErrCancelled says that the user did not confirm: silent, and no failure.
var ErrCancelled = Exit(0)

// Confirm shows a warning and asks whether to go on.
func (s *Session) Confirm(warning string) error {
	fmt.Fprint(s.Out, warning+"\nAre you sure you want to continue? [y/N] ")
	line, err := s.ReadLine()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !strings.EqualFold(line, "y") {
		return ErrCancelled
	}
	return nil
}

// ReadLine reads one line of stdin without the blanks around it, and not a
// byte more: what follows may be a container's input. io.EOF comes with what
// was read of a last line.
func (s *Session) ReadLine() (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := s.In.Read(b[:])
		if n == 1 && b[0] == '\n' {
			return strings.TrimSpace(string(line)), nil
		}
		line = append(line, b[:n]...)
		if err != nil {
			return strings.TrimSpace(string(line)), err
		}
	}
}

// PruneFilters adds the configuration's pruneFilters to those of the command
// line, which win.
func (s *Session) PruneFilters(given client.Filters) client.Filters {
	extra := s.Config().PruneFilters
	if len(extra) == 0 {
		return given
	}
	out := client.Filters{}
	for k, v := range given {
		out[k] = v
	}
	for _, f := range extra {
		key, val, ok := strings.Cut(f, "=")
		if !ok {
			continue
		}
		opposite := map[string]string{"label": "label!", "label!": "label"}[key]
		if given[key][val] || opposite != "" && given[opposite][val] {
			continue
		}
		out.Add(key, val)
	}
	return out
}
