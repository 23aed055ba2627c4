package logstream

import (
	"encoding/json"
	"fmt"
	"time"
)

// Entry is one line of a log, or a part of a line longer than 16 KiB.
type Entry struct {
	Stream string // "stdout" or "stderr"
	Line   []byte // with its newline; without one the next entry continues it
	Time   time.Time
	Attrs  map[string]string
}

// decode parses one line of a json-file log.
func decode(line []byte) (Entry, error) {
	var raw struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("decode log entry: %w", err)
	}
	return Entry{Stream: raw.Stream, Line: []byte(raw.Log), Time: raw.Time, Attrs: raw.Attrs}, nil
}
