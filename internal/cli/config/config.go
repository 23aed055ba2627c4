// Package config reads and writes the user's CLI configuration as people have
// it: config.json and the contexts of the directory ~/.docker (or
// DOCKER_CONFIG). Unknown settings are kept untouched when the file is
// written.
//
// What a setting means belongs to whoever uses it; credential helpers belong
// to package credential.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantry-run/gantry/internal/atomicfile"
)

// FileName is the name of the file within the configuration directory.
const FileName = "config.json"

// Auth is one entry of "auths".
type Auth struct {
	Auth          string `json:"auth,omitempty"` // base64 of user:password
	Email         string `json:"email,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// Proxy is one entry of "proxies".
type Proxy struct {
	HTTPProxy  string `json:"httpProxy,omitempty"`
	HTTPSProxy string `json:"httpsProxy,omitempty"`
	NoProxy    string `json:"noProxy,omitempty"`
	FTPProxy   string `json:"ftpProxy,omitempty"`
	AllProxy   string `json:"allProxy,omitempty"`
}

// Settings are the keys of config.json that Gantry acts on.
type Settings struct {
	Auths           map[string]Auth   `json:"auths,omitempty"`
	HTTPHeaders     map[string]string `json:"HttpHeaders,omitempty"`
	PsFormat        string            `json:"psFormat,omitempty"`
	ImagesFormat    string            `json:"imagesFormat,omitempty"`
	NetworksFormat  string            `json:"networksFormat,omitempty"`
	VolumesFormat   string            `json:"volumesFormat,omitempty"`
	StatsFormat     string            `json:"statsFormat,omitempty"`
	DetachKeys      string            `json:"detachKeys,omitempty"`
	CredsStore      string            `json:"credsStore,omitempty"`
	CredHelpers     map[string]string `json:"credHelpers,omitempty"`
	CurrentContext  string            `json:"currentContext,omitempty"`
	Proxies         map[string]Proxy  `json:"proxies,omitempty"`
	PruneFilters    []string          `json:"pruneFilters,omitempty"`
	CLIPluginsExtra []string          `json:"cliPluginsExtraDirs,omitempty"`
}

// File is a loaded config.json. It is not safe for concurrent use.
type File struct {
	Settings
	Path string
	raw  map[string]json.RawMessage
}

// DefaultDir is DOCKER_CONFIG or ~/.docker.
func DefaultDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return filepath.Join(home, ".docker")
}

// Load reads config.json of dir. A missing file is an empty one. On an error
// the returned file is empty but usable.
func Load(dir string) (*File, error) {
	f := &File{Path: filepath.Join(dir, FileName)}
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if err := f.parse(data); err != nil {
		*f = File{Path: f.Path}
		return f, fmt.Errorf("parse config file %s: %w", f.Path, err)
	}
	return f, nil
}

func (f *File) parse(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, &f.raw); err != nil {
		return err
	}
	return json.Unmarshal(data, &f.Settings)
}

// SetAuth stores an entry of "auths" and writes the file.
func (f *File) SetAuth(registry string, a Auth) error {
	if f.Auths == nil {
		f.Auths = map[string]Auth{}
	}
	f.Auths[registry] = a
	return f.saveAuths()
}

// RemoveAuth removes entries of "auths" and writes the file if there were any.
func (f *File) RemoveAuth(registries ...string) error {
	changed := false
	for _, r := range registries {
		if _, ok := f.Auths[r]; ok {
			delete(f.Auths, r)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return f.saveAuths()
}

func (f *File) saveAuths() error {
	auths := f.Auths
	if auths == nil {
		auths = map[string]Auth{}
	}
	return f.set("auths", auths)
}

// SetContext stores the current context's name; "" means none.
func (f *File) SetContext(name string) error {
	f.CurrentContext = name
	if name == "" {
		delete(f.raw, "currentContext")
		return f.write()
	}
	return f.set("currentContext", name)
}

func (f *File) set(key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if f.raw == nil {
		f.raw = map[string]json.RawMessage{}
	}
	f.raw[key] = data
	return f.write()
}

func (f *File) write() error {
	data, err := json.MarshalIndent(f.raw, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	target := f.Path
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real // people keep the file elsewhere and link to it
	}
	return atomicfile.Write(target, data, 0o600, atomicfile.Durable)
}
