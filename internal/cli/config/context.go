package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultContext is the context that no directory describes: the host given
// by flag, environment or default.
const DefaultContext = "default"

// Context is a named endpoint of ~/.docker/contexts.
type Context struct {
	Name        string
	Description string
	Host        string
	SkipVerify  bool
	TLSDir      string // holds ca.pem, cert.pem and key.pem; "" without TLS
}

type contextMeta struct {
	Name      string
	Metadata  struct{ Description string }
	Endpoints map[string]struct {
		Host          string
		SkipTLSVerify bool
	}
}

// LoadContext reads the context with the given name.
func LoadContext(dir, name string) (Context, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	c, err := readContext(dir, id)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("context %q: context not found: open %s: no such file or directory", name, metaPath(dir, id))
	}
	return c, err
}

// ListContexts gives all contexts in order of their names, without the default one.
func ListContexts(dir string) ([]Context, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "contexts", "meta"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Context
	for _, e := range entries {
		c, err := readContext(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Context) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func metaPath(dir, id string) string {
	return filepath.Join(dir, "contexts", "meta", id, "meta.json")
}

func readContext(dir, id string) (Context, error) {
	path := metaPath(dir, id)
	data, err := os.ReadFile(path)
	if err != nil {
		return Context{}, err
	}
	var meta contextMeta
	if err := json.Unmarshal(data, &meta); err != nil {
		return Context{}, fmt.Errorf("parse context %s: %w", path, err)
	}
	ep := meta.Endpoints["docker"]
	c := Context{Name: meta.Name, Description: meta.Metadata.Description, Host: ep.Host, SkipVerify: ep.SkipTLSVerify}
	tls := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		c.TLSDir = tls
	}
	return c, nil
}
