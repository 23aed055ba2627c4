package logstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Entry is one line of a log, or a part of a line longer than 16 KiB.
type Entry struct {
	Stream  string // "stdout" or "stderr"
	Line    []byte // with its newline; valid until the emit function returns
	Time    time.Time
	Attrs   map[string]string // shared between entries: not to be changed
	Partial bool              // no newline at the end: the next entry of the stream goes on
}

// decoder decodes entries, reusing what it can from one to the next.
type decoder struct {
	line     []byte
	rawAttrs []byte
	attrs    map[string]string
}

// decode parses one line of a json-file log. What jsonfile and Docker write is
// parsed by hand, everything else by encoding/json.
func (d *decoder) decode(line []byte) (Entry, error) {
	e, ok := d.fast(line)
	if !ok {
		var err error
		if e, err = slow(line); err != nil {
			return Entry{}, err
		}
	}
	e.Partial = len(e.Line) == 0 || e.Line[len(e.Line)-1] != '\n'
	return e, nil
}

func slow(line []byte) (Entry, error) {
	var raw struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("decode log entry: %w", err)
	}
	if raw.Stream == "" {
		return Entry{}, errors.New("decode log entry: it has no stream")
	}
	return Entry{Stream: raw.Stream, Line: []byte(raw.Log), Time: raw.Time, Attrs: raw.Attrs}, nil
}
