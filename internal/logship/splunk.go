package logship

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
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
	event  map[string]any // what all events have in common
	format string
	tag    string
	attrs  map[string]string
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
	if p.gzip, err = parseFlag(o, "splunk-gzip"); err != nil {
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

func (p *splunk) Send(ctx context.Context, lines []Line) (int, error) {
	var body bytes.Buffer
	for i := range lines {
		data, err := json.Marshal(p.encode(&lines[i]))
		if err != nil {
			return 0, err
		}
		body.Write(data)
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
		m["event"] = strings.TrimPrefix(p.tag+" "+text, " ")
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
		z := gzip.NewWriter(&b)
		if _, err := z.Write(body); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
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
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // for the message only
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("splunk: %s: %s", resp.Status, answer)
	}
	return nil
}

func (p *splunk) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
