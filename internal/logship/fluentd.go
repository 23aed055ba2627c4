package logship

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
)

var fluentdOptions = []string{
	"fluentd-address", "fluentd-async", "fluentd-async-connect", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
	"fluentd-max-retries", "fluentd-retry-wait", "fluentd-request-ack", "fluentd-sub-second-precision", "fluentd-write-timeout",
}

const fluentdAddress = "127.0.0.1:24224"

// fluentd speaks the forward protocol: MessagePack arrays of tag, time, record.
type fluentd struct {
	link
	tag      string
	record   map[string]string
	ack      bool
	subsec   bool
	received [64]byte
}

func newFluentd(s Source) (Sink, error) {
	o := s.Options
	f := &fluentd{link: link{network: "tcp", address: fluentdAddress}}
	if a := o["fluentd-address"]; a != "" {
		if !strings.Contains(a, "://") {
			a = "tcp://" + a
		}
		u, err := url.Parse(a)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "invalid fluentd-address %q: %w", a, err)
		}
		switch u.Scheme {
		case "unix":
			f.network, f.address = "unix", u.Path
		case "tcp":
			host, port := u.Hostname(), u.Port()
			if host == "" {
				host = "127.0.0.1"
			}
			if port == "" {
				port = "24224"
			}
			f.address = net.JoinHostPort(host, port)
		default:
			return nil, errs.New(errs.InvalidArgument, "unsupported scheme %q in fluentd-address", u.Scheme)
		}
	}
	var err error
	for key, to := range map[string]*bool{"fluentd-request-ack": &f.ack, "fluentd-sub-second-precision": &f.subsec} {
		if *to, err = parseFlag(o, key); err != nil {
			return nil, err
		}
	}
	if f.tag, err = s.tag(defaultTag); err != nil {
		return nil, err
	}
	f.record = map[string]string{"container_id": s.ContainerID, "container_name": "/" + s.ContainerName}
	maps.Copy(f.record, s.Attrs)
	return f, nil
}

func (f *fluentd) Send(ctx context.Context, lines []Line) (int, error) {
	for i := range lines {
		message, chunk := f.message(&lines[i])
		err := f.write(ctx, message)
		if err == nil && f.ack {
			err = f.await(chunk)
		}
		if err != nil {
			return i, err
		}
	}
	return len(lines), nil
}

// message is an event in message mode; with ack it names a chunk.
func (f *fluentd) message(l *Line) (data []byte, chunk string) {
	record := maps.Clone(f.record)
	record["source"] = "stdout"
	if l.Stderr {
		record["source"] = "stderr"
	}
	record["log"] = string(l.Text)
	if p := l.Part; p != nil {
		record["partial_message"], record["partial_id"] = "true", p.ID
		record["partial_ordinal"], record["partial_last"] = strconv.Itoa(p.Ordinal), strconv.FormatBool(p.Last)
	}
	size := byte(3)
	if f.ack {
		size = 4
	}
	data = append(data, 0x90|size)
	data = packString(data, f.tag)
	if f.subsec { // EventTime, extension type 0
		data = append(data, 0xd7, 0)
		data = binary.BigEndian.AppendUint32(data, uint32(l.Time.Unix()))
		data = binary.BigEndian.AppendUint32(data, uint32(l.Time.Nanosecond()))
	} else {
		data = append(data, 0xd3)
		data = binary.BigEndian.AppendUint64(data, uint64(l.Time.Unix()))
	}
	data = packMap(data, record)
	if f.ack {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // it never fails
		chunk = base64.StdEncoding.EncodeToString(id)
		data = packMap(data, map[string]string{"chunk": chunk})
	}
	return data, chunk
}

// await reads {"ack": chunk}.
func (f *fluentd) await(chunk string) error {
	want := packMap(nil, map[string]string{"ack": chunk})
	err := f.conn.SetReadDeadline(time.Now().Add(writeTimeout))
	got := f.received[:len(want)]
	for n := 0; err == nil && n < len(got); {
		var k int
		k, err = f.conn.Read(got[n:])
		n += k
	}
	if err == nil && string(got) != string(want) {
		err = fmt.Errorf("fluentd acknowledged something else: %q", got)
	}
	if err != nil {
		_ = f.close() // the first error is the one to report
	}
	return err
}

func packMap(b []byte, m map[string]string) []byte {
	b = append(b, 0xde)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	if len(m) < 16 {
		b = append(b[:len(b)-3], 0x80|byte(len(m)))
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = packString(packString(b, k), m[k])
	}
	return b
}

func packString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n < 1<<8:
		b = append(b, 0xd9, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

func (f *fluentd) Close() error { return f.close() }
