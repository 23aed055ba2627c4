package logstream

import (
	"encoding/binary"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// timeFormat is Docker's for logs --timestamps: RFC 3339 with nine digits, so
// that lines align.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Format says how entries are written for the API.
type Format struct {
	Stdout, Stderr bool
	Timestamps     bool
	Details        bool // the attributes before the line
	Raw            bool // a terminal's log: without stdcopy frames
}

// Writer gives an emit function for Read that writes entries to w, each with
// one Write.
func (f Format) Writer(w io.Writer) func(*Entry) error {
	var buf []byte
	return func(e *Entry) error {
		stream := byte(1)
		if e.Stream == "stderr" {
			stream = 2
		}
		if stream == 1 && !f.Stdout || stream == 2 && !f.Stderr {
			return nil
		}
		buf = append(buf[:0], stream, 0, 0, 0, 0, 0, 0, 0)
		if f.Timestamps {
			buf = e.Time.UTC().AppendFormat(buf, timeFormat)
			buf = append(buf, ' ')
		}
		if f.Details {
			buf = append(buf, details(e.Attrs)...)
			buf = append(buf, ' ')
		}
		buf = append(buf, e.Line...)
		binary.BigEndian.PutUint32(buf[4:8], uint32(len(buf)-8))
		out := buf
		if f.Raw {
			out = buf[8:]
		}
		_, err := w.Write(out)
		return err
	}
}

// details joins attributes as Docker's logs --details does.
func details(attrs map[string]string) string {
	parts := make([]string, 0, len(attrs))
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		parts = append(parts, url.QueryEscape(k)+"="+url.QueryEscape(attrs[k]))
	}
	return strings.Join(parts, ",")
}
