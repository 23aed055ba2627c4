package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// merge sets the options of a daemon.json that were not set by a flag.
func (p *parser) merge(data []byte) error {
	directives, err := decodeFile(data)
	if err != nil {
		return err
	}
	byKey := map[string]int{}
	for i := range options {
		if key := options[i].inFile(); key != "" {
			byKey[key] = i
		}
	}
	if err := unknown(directives, byKey); err != nil {
		return err
	}
	if err := p.conflicts(directives, byKey); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(directives)) {
		i := byKey[key]
		p.set[&options[i]] = true
		if err := p.values[i].setJSON(directives[key]); err != nil {
			return fmt.Errorf("invalid value for %q: %w", key, err)
		}
	}
	return nil
}

// renamed are keys that Docker has given a new name and still accepts.
var renamed = map[string]string{"host-gateway-ip": "host-gateway-ips"}

// decodeFile gives the file's directives by key.
func decodeFile(data []byte) (map[string]json.RawMessage, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff"))) // editors on Windows write a byte order mark
	if len(data) == 0 {
		return nil, nil
	}
	if !utf8.Valid(data) {
		return nil, errors.New("invalid JSON: the file is not UTF-8")
	}
	var directives map[string]json.RawMessage
	if err := json.Unmarshal(data, &directives); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	// Proxies stand in an object of their own.
	if nested, has := directives["proxies"]; has {
		var proxies map[string]json.RawMessage
		if err := json.Unmarshal(nested, &proxies); err != nil {
			return nil, fmt.Errorf("invalid value for %q: must be an object", "proxies")
		}
		delete(directives, "proxies")
		maps.Copy(directives, proxies)
	}
	for old, now := range renamed {
		raw, has := directives[old]
		if !has {
			continue
		}
		if _, both := directives[now]; both {
			return nil, fmt.Errorf("%s and %s must not both be specified in the config file", old, now)
		}
		directives[now] = raw
		delete(directives, old)
	}
	return directives, nil
}

func unknown(directives map[string]json.RawMessage, byKey map[string]int) error {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(directives)) {
		if _, known := byKey[key]; !known {
			names = append(names, key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(names, ", "))
}

// conflicts refuses options that are set in both places: which one should win
// is not ours to guess.
func (p *parser) conflicts(directives map[string]json.RawMessage, byKey map[string]int) error {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(directives)) {
		i := byKey[key]
		o := &options[i]
		if o.both || o.flag == "" || !p.flags.Changed(o.flag) {
			continue
		}
		fromFlag, fromFile := p.values[i].String(), fileText(directives[key])
		if strings.HasSuffix(key, "-proxy") {
			fromFlag, fromFile = withoutPassword(fromFlag), withoutPassword(fromFile)
		}
		found = append(found, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, fromFlag, fromFile))
	}
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(found, ", "))
}

// fileText shows a file's value as Docker does.
func fileText(raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	return fmt.Sprint(v)
}

func withoutPassword(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}
