package logship

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

var gelfOptions = []string{"gelf-address", "gelf-compression-type", "gelf-compression-level", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"}

// Limits of GELF over UDP: what fits a datagram without fragments, and the
// number of chunks that a message may have.
const (
	gelfChunk     = 1420
	gelfChunkHead = 12
	gelfMaxChunks = 128
)

type gelf struct {
	link
	source   Source
	extra    map[string]any
	compress string
	level    int
}

func newGelf(s Source) (Sink, error) {
	o := s.Options
	u, err := url.Parse(o["gelf-address"])
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	if o["gelf-address"] == "" {
		return nil, errs.New(errs.InvalidArgument, "gelf-address is a required parameter")
	}
	if u.Scheme != "udp" && u.Scheme != "tcp" {
		return nil, errs.New(errs.InvalidArgument, "gelf: endpoint needs to be TCP or UDP")
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		return nil, errs.New(errs.InvalidArgument, "gelf: please provide gelf-address as proto://host:port")
	}
	g := &gelf{link: link{network: u.Scheme, address: u.Host}, source: s, compress: "gzip", level: 1}
	if err := g.compression(o); err != nil {
		return nil, err
	}
	tag, err := s.tag(defaultTag)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	g.extra = map[string]any{
		"version": "1.1", "host": host, "_container_id": s.ContainerID, "_container_name": s.ContainerName, "_image_id": s.ContainerImageID,
		"_image_name": s.ImageTitle, "_command": s.Command(), "_tag": tag, "_created": s.Created,
	}
	for k, v := range s.Attrs {
		g.extra["_"+k] = v
	}
	return g, nil
}

func (g *gelf) compression(o map[string]string) error {
	if kind, ok := o["gelf-compression-type"]; ok {
		if g.network == "tcp" {
			return errs.New(errs.InvalidArgument, "compression is only supported on UDP")
		}
		if kind != "gzip" && kind != "zlib" && kind != "none" {
			return errs.New(errs.InvalidArgument, "gelf: invalid compression type %q", kind)
		}
		g.compress = kind
	}
	if level, ok := o["gelf-compression-level"]; ok {
		n, ok := parseLevel(level)
		if !ok {
			return errs.New(errs.InvalidArgument, "gelf: invalid compression level %q (must be from -1 to 9)", level)
		}
		g.level = n
	}
	return nil
}

func (g *gelf) Send(ctx context.Context, lines []Line) (int, error) {
	for i := range lines {
		data, err := g.encode(&lines[i])
		if err == nil {
			err = g.deliver(ctx, data)
		}
		if err != nil {
			return i, err
		}
	}
	return len(lines), nil
}

func (g *gelf) encode(l *Line) ([]byte, error) {
	m := make(map[string]any, len(g.extra)+3)
	for k, v := range g.extra {
		m[k] = v
	}
	m["short_message"] = strings.ToValidUTF8(string(l.Text), "\uFFFD")
	m["timestamp"] = json.Number(strconv.FormatFloat(float64(l.Time.UnixMilli())/1000, 'f', 3, 64))
	m["level"] = severity(l)
	return json.Marshal(m)
}

func (g *gelf) deliver(ctx context.Context, data []byte) error {
	if g.network == "tcp" {
		return g.write(ctx, append(data, 0))
	}
	packed, err := g.pack(data)
	if err != nil || len(packed) <= gelfChunk {
		if err == nil {
			err = g.write(ctx, packed)
		}
		return err
	}
	const size = gelfChunk - gelfChunkHead
	count := (len(packed) + size - 1) / size
	if count > gelfMaxChunks {
		return nil // nobody could receive it; the log file has it
	}
	head := append([]byte{0x1e, 0x0f}, make([]byte, 8)...)
	_, _ = rand.Read(head[2:]) // it never fails
	for i := range count {
		chunk := append(append([]byte(nil), head...), byte(i), byte(count))
		chunk = append(chunk, packed[i*size:min((i+1)*size, len(packed))]...)
		if err := g.write(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (g *gelf) pack(data []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch g.compress {
	case "gzip":
		w, err = gzip.NewWriterLevel(&b, g.level)
	case "zlib":
		w, err = zlib.NewWriterLevel(&b, g.level)
	default:
		return data, nil
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

func (g *gelf) Close() error { return g.close() }
