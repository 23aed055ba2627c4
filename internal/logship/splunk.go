package logship

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-connections/tlsconfig"

	"github.com/gantry-run/gantry/internal/errs"
)

var splunkOptions = []string{
	"splunk-url", "splunk-token", "splunk-source", "splunk-sourcetype", "splunk-index", "splunk-capath", "splunk-caname",
	"splunk-insecureskipverify", "splunk-format", "splunk-verify-connection", "splunk-gzip", "splunk-gzip-level", "splunk-index-acknowledgment",
}

// splunk sends batches to an HTTP Event Collector.
type splunk struct {
	url    string
	token  string
	client *http.Client
	gzip   bool
	level  int            // of compression
	ack    string         // names us to servers with indexer acknowledgement; "": they have none
	event  map[string]any // what all events have in common
	format string
	tag    string
	attrs  map[string]string
	prefix string // of lines in the raw format
}

const collectorPath = "/services/collector/event/1.0"

func newSplunk(s Source) (Sink, error) {
	o := s.Options
	u, err := url.Parse(o["splunk-url"])
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" && u.Path != collectorPath {
		return nil, errs.New(errs.InvalidArgument, "splunk: expected format scheme://dns_name_or_ip:port for splunk-url")
	}
	if o["splunk-token"] == "" {
		return nil, errs.New(errs.InvalidArgument, "splunk: splunk-token is expected")
	}
	p := &splunk{url: u.Scheme + "://" + u.Host + collectorPath, token: o["splunk-token"], format: o["splunk-format"], attrs: s.Attrs}
	switch p.format {
	case "":
		p.format = "inline"
	case "inline", "json", "raw":
	default:
		return nil, errs.New(errs.InvalidArgument, "Unknown format specified %s, supported formats are inline, json and raw", p.format)
	}
	insecure, err := parseFlag(o, "splunk-insecureskipverify")
	if err != nil {
		return nil, err
	}
	if err := p.transport(o); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o["splunk-capath"] != "" || insecure {
		config, err = tlsconfig.Client(tlsconfig.Options{CAFile: o["splunk-capath"], InsecureSkipVerify: insecure, ExclusiveRootPools: o["splunk-capath"] != ""})
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "splunk: set up TLS: %w", err)
		}
	}
	config.ServerName = o["splunk-caname"]
	p.client = &http.Client{Timeout: writeTimeout, Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment}}
	if p.tag, err = s.tag(defaultTag); err != nil {
		return nil, err
	}
	p.prefix = rawPrefix(p.tag, p.attrs)
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	p.event = map[string]any{"host": host}
	for option, key := range map[string]string{"splunk-source": "source", "splunk-sourcetype": "sourcetype", "splunk-index": "index"} {
		if o[option] != "" {
			p.event[key] = o[option]
		}
	}
	return p, nil
}

// transport reads the options that say how batches travel.
func (p *splunk) transport(o map[string]string) (err error) {
	if p.gzip, err = parseFlag(o, "splunk-gzip"); err != nil {
		return err
	}
	p.level = gzip.DefaultCompression
	if v, ok := o["splunk-gzip-level"]; ok {
		if p.level, ok = parseLevel(v); !ok {
			return errs.New(errs.InvalidArgument, "not supported level '%s' for splunk-gzip-level (supported values between -1 and 9)", v)
		}
	}
	ack, err := parseFlag(o, "splunk-index-acknowledgment")
	if err != nil {
		return err
	}
	if ack {
		p.ack = newChannel()
	}
	_, err = parseFlag(o, "splunk-verify-connection")
	return err
}

// newChannel is a random UUID (RFC 9562, version 4).
func newChannel() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// rawPrefix is the tag and the attributes, each with a space behind it.
func rawPrefix(tag string, attrs map[string]string) string {
	var b strings.Builder
	if tag != "" {
		b.WriteString(tag + " ")
	}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		b.WriteString(k + "=" + attrs[k] + " ")
	}
	return b.String()
}

func (p *splunk) Send(ctx context.Context, lines []Line) (int, error) {
	var body bytes.Buffer
	for i := range lines {
		if p.format == "raw" && len(bytes.TrimSpace(lines[i].Text)) == 0 {
			continue // the collector takes no blank events
		}
		data, err := json.Marshal(p.encode(&lines[i]))
		if err != nil {
			return 0, err
		}
		body.Write(data)
	}
	if body.Len() == 0 {
		return len(lines), nil
	}
	if err := p.post(ctx, body.Bytes()); err != nil {
		return 0, err
	}
	return len(lines), nil
}

func (p *splunk) encode(l *Line) map[string]any {
	m := maps.Clone(p.event)
	m["time"] = fmt.Sprintf("%.6f", float64(l.Time.UnixMicro())/float64(time.Second/time.Microsecond))
	text := strings.ToValidUTF8(string(l.Text), "\uFFFD")
	if p.format == "raw" {
		m["event"] = p.prefix + text
		return m
	}
	source := "stdout"
	if l.Stderr {
		source = "stderr"
	}
	event := map[string]any{"line": text, "source": source, "tag": p.tag}
	if p.format == "json" && json.Valid(l.Text) {
		event["line"] = json.RawMessage(l.Text)
	}
	if len(p.attrs) > 0 {
		event["attrs"] = p.attrs
	}
	m["event"] = event
	return m
}

func (p *splunk) post(ctx context.Context, body []byte) error {
	encoding := ""
	if p.gzip {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, p.level)
		if err == nil {
			_, err = z.Write(body)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			return err
		}
		body, encoding = b.Bytes(), "gzip"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Splunk "+p.token)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	if p.ack != "" {
		req.Header.Set("X-Splunk-Request-Channel", p.ack)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // for the message only
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case refusesEvents(resp.StatusCode, answer):
		return fmt.Errorf("splunk: %s: %s: %w", resp.Status, answer, errRefused)
	}
	return fmt.Errorf("splunk: %s: %s", resp.Status, answer)
}

// refusesEvents tells whether an answer is about the events. All others (token,
// index, a server that is busy) are for somebody to mend, and lines wait for that.
func refusesEvents(status int, answer []byte) bool {
	if status == http.StatusRequestEntityTooLarge {
		return true
	}
	var reason struct{ Code int }
	if status != http.StatusBadRequest || json.Unmarshal(answer, &reason) != nil {
		return false
	}
	// No data, invalid data format, event missing, event blank: the collector's
	// codes, see "HTTP Event Collector error codes" in Splunk's documentation.
	return slices.Contains([]int{5, 6, 12, 13}, reason.Code)
}

func (p *splunk) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
