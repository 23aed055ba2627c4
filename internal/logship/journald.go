package logship

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// journalSocket takes datagrams in the journal's native protocol, see
// systemd-journald.service(8).
const journalSocket = "/run/systemd/journal/socket"

type journald struct {
	link
	fields []byte // what all lines have in common
}

func newJournald(s Source) (Sink, error) {
	tag, err := s.tag(defaultTag)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{
		"CONTAINER_ID": s.ID(), "CONTAINER_ID_FULL": s.ContainerID, "CONTAINER_NAME": s.ContainerName, "CONTAINER_TAG": tag,
		"IMAGE_NAME": s.ImageTitle, "SYSLOG_IDENTIFIER": tag,
	}
	for k, v := range s.Attrs {
		fields[journalName(k)] = v
	}
	j := &journald{link: link{network: "unixgram", address: journalSocket}}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		j.fields = appendField(j.fields, k, []byte(fields[k]))
	}
	return j, nil
}

// journalName makes a field's name: upper case letters, digits and underscores,
// none of the latter in front.
func journalName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(name, "_")
}

// appendField encodes a field; a value with newlines follows its length.
func appendField(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	if bytes.IndexByte(value, '\n') >= 0 {
		b = binary.LittleEndian.AppendUint64(append(b, '\n'), uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	return append(append(b, value...), '\n')
}

func (j *journald) Send(ctx context.Context, lines []Line) (int, error) {
	for i := range lines {
		l := &lines[i]
		b := appendField(nil, "MESSAGE", l.Text)
		b = appendField(b, "PRIORITY", []byte(strconv.Itoa(severity(l))))
		b = appendField(b, "SYSLOG_TIMESTAMP", []byte(l.Time.Format("2006-01-02T15:04:05.999999999Z07:00")))
		if p := l.Part; p != nil {
			b = appendField(b, "CONTAINER_PARTIAL_ID", []byte(p.ID))
			b = appendField(b, "CONTAINER_PARTIAL_ORDINAL", []byte(strconv.Itoa(p.Ordinal)))
			b = appendField(b, "CONTAINER_PARTIAL_LAST", []byte(strconv.FormatBool(p.Last)))
			if !p.Last {
				b = appendField(b, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
			}
		}
		if err := j.write(ctx, append(b, j.fields...)); err != nil {
			return i, err
		}
	}
	return len(lines), nil
}

func (j *journald) Close() error { return j.close() }
