// Package credential finds and keeps registry credentials: in config.json or
// with the credential helpers that it names. Helpers are other people's
// programs, run only when a registry is talked to.
//
// Logging in at a registry belongs to the daemon and the login command.
package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	helper "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-run/gantry/internal/cli/config"
)

// HubServer is the key under which credentials of the default registry are
// stored, a relic of the first registry protocol.
const HubServer = "https://index.docker.io/v1/"

// tokenUser is the user name with which helpers mark an identity token.
const tokenUser = "<token>"

// ServerOf gives the key of a registry's host name.
func ServerOf(host string) string {
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return HubServer
	}
	return host
}

// HostOf strips scheme and path from a key.
func HostOf(server string) string {
	s := strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	host, _, _ := strings.Cut(s, "/")
	return host
}

// Get finds the credentials for a server key. Unknown servers give an empty
// configuration that names only the server.
func Get(f *config.File, server string) (registry.AuthConfig, error) {
	if a, ok, err := fromEnvironment(server); ok || err != nil {
		return a, err
	}
	if name := helperFor(f, server); name != "" {
		return fromHelper(name, server)
	}
	if a, ok := f.Auths[server]; ok {
		return decode(a, server)
	}
	for key, a := range f.Auths {
		if HostOf(key) == HostOf(server) {
			return decode(a, server)
		}
	}
	return registry.AuthConfig{ServerAddress: server}, nil
}

// Store keeps credentials and tells the file in which they lie in the clear,
// "" if a helper took them.
func Store(f *config.File, a registry.AuthConfig) (plain string, err error) {
	server := a.ServerAddress
	if name := helperFor(f, server); name != "" {
		c := &credentials.Credentials{ServerURL: server, Username: a.Username, Secret: a.Password}
		if a.IdentityToken != "" {
			c.Username, c.Secret = tokenUser, a.IdentityToken
		}
		if err := helper.Store(program(name), c); err != nil {
			return "", fmt.Errorf("store credentials for %s: %w", server, err)
		}
		// The empty entry is how other tools know that there is a login.
		return "", f.SetAuth(server, config.Auth{})
	}
	if err := f.SetAuth(server, Entry(a)); err != nil {
		return "", err
	}
	return f.Path, nil
}

// Entry is how config.json holds credentials in the clear.
func Entry(a registry.AuthConfig) config.Auth {
	entry := config.Auth{IdentityToken: a.IdentityToken}
	if a.IdentityToken == "" && (a.Username != "" || a.Password != "") {
		entry.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
	}
	return entry
}

// Erase forgets the credentials of the given keys.
func Erase(f *config.File, servers ...string) error {
	var all error
	for _, s := range servers {
		if name := helperFor(f, s); name != "" {
			if err := helper.Erase(program(name), s); err != nil && !credentials.IsErrCredentialsNotFound(err) {
				all = errors.Join(all, fmt.Errorf("erase credentials for %s: %w", s, err))
			}
		}
	}
	return errors.Join(all, f.RemoveAuth(servers...))
}

// Known tells whether there is an entry for a key.
func Known(f *config.File, server string) bool {
	if _, ok := f.Auths[server]; ok {
		return true
	}
	name := helperFor(f, server)
	if name == "" {
		return false
	}
	_, err := helper.Get(program(name), server)
	return err == nil
}

// Encode is the value of the X-Registry-Auth header.
func Encode(a registry.AuthConfig) (string, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return base64.URLEncoding.EncodeToString(data), nil
}

func helperFor(f *config.File, server string) string {
	if name := f.CredHelpers[HostOf(server)]; name != "" {
		return name
	}
	if name := f.CredHelpers[server]; name != "" {
		return name
	}
	return f.CredsStore
}

func program(name string) helper.ProgramFunc {
	return helper.NewShellProgramFunc("docker-credential-" + name)
}

func fromHelper(name, server string) (registry.AuthConfig, error) {
	c, err := helper.Get(program(name), server)
	if credentials.IsErrCredentialsNotFound(err) {
		return registry.AuthConfig{ServerAddress: server}, nil
	}
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("get credentials for %s: %w", server, err)
	}
	if c.Username == tokenUser {
		return registry.AuthConfig{IdentityToken: c.Secret, ServerAddress: server}, nil
	}
	return registry.AuthConfig{Username: c.Username, Password: c.Secret, ServerAddress: server}, nil
}

// fromEnvironment reads DOCKER_AUTH_CONFIG, which CI systems set to the
// content of a config.json with nothing but "auths".
func fromEnvironment(server string) (registry.AuthConfig, bool, error) {
	v := os.Getenv("DOCKER_AUTH_CONFIG")
	if v == "" {
		return registry.AuthConfig{}, false, nil
	}
	var doc struct{ Auths map[string]config.Auth }
	if err := json.Unmarshal([]byte(v), &doc); err != nil {
		return registry.AuthConfig{}, false, fmt.Errorf("parse DOCKER_AUTH_CONFIG: %w", err)
	}
	for key, a := range doc.Auths {
		if key == server || HostOf(key) == HostOf(server) {
			out, err := decode(a, server)
			return out, true, err
		}
	}
	return registry.AuthConfig{}, false, nil
}

func decode(a config.Auth, server string) (registry.AuthConfig, error) {
	out := registry.AuthConfig{ServerAddress: server, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth == "" {
		return out, nil
	}
	data, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return out, fmt.Errorf("decode credentials for %s: %w", server, err)
	}
	user, password, ok := strings.Cut(string(data), ":")
	if !ok || user == "" {
		return out, fmt.Errorf("decode credentials for %s: no user name", server)
	}
	out.Username, out.Password = user, strings.Trim(password, "\x00")
	return out, nil
}
