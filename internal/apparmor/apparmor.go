// Package apparmor knows whether AppArmor is on and keeps the default profile of
// containers in the kernel. Which container gets which profile does not belong
// here, nor how a process gets one, which is the runtime's.
//
// The profile's name is Docker's, docker-default: policies and scripts of others
// name it. Both engines on one machine share it, so its rules must suit either.
package apparmor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
)

// Names of profiles that need no loading by others.
const (
	Default    = "docker-default"
	Unconfined = "unconfined"
)

// loadTimeout is for the parser, which takes a second on a slow machine.
const loadTimeout = time.Minute

// Host is a machine's AppArmor. A nil Host is a machine without it. It is safe
// for concurrent use.
type Host struct {
	root   string // of the file system, for tests
	parser string // "" without apparmor_parser
	mu     sync.Mutex
}

// Probe looks for AppArmor; nil means that it is not on, or that this process is
// in a container, which the variable "container" tells, where it is not ours.
func Probe() *Host { return probe("/") }

func probe(root string) *Host {
	on, err := os.ReadFile(filepath.Join(root, "sys/module/apparmor/parameters/enabled"))
	if err != nil || !strings.HasPrefix(string(on), "Y") || os.Getenv("container") != "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, "sys/kernel/security/apparmor")); err != nil {
		return nil
	}
	h := &Host{root: root}
	for _, dir := range []string{"sbin", "usr/sbin"} {
		if p := filepath.Join(root, dir, "apparmor_parser"); h.parser == "" && exists(p) {
			h.parser = p
		}
	}
	return h
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// HasDefault tells whether containers can have the default profile: without
// apparmor_parser (Debian's and Ubuntu's package apparmor) nobody can load it.
func (h *Host) HasDefault() bool { return h != nil && h.parser != "" }

// LoadDefault puts the default profile into the kernel in place of the one that
// is there, which may be an older release's. Processes that have it go on under
// the new one.
func (h *Host) LoadDefault(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.load(ctx)
}

// EnsureDefault loads the default profile unless the kernel has it: others unload
// what is not in their files, as an upgrade of Debian's package does.
func (h *Host) EnsureDefault(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	loaded, err := h.loaded(Default)
	if err != nil {
		return errs.New(errs.Internal, "Could not check if %s AppArmor profile was loaded: %w", Default, err)
	}
	if loaded {
		return nil
	}
	return h.load(ctx)
}

func (h *Host) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	// -r replaces, -K leaves the cache of compiled profiles alone.
	cmd := exec.CommandContext(ctx, h.parser, "-Kr")
	abi := ""
	if exists(filepath.Join(h.root, "etc/apparmor.d", abi3)) {
		abi = abi3
	}
	cmd.Stdin = strings.NewReader(profile(abi, h.ownProfile()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return errs.New(errs.Internal, "AppArmor enabled on system but the %s profile could not be loaded: running '%s' failed with output: %s\nerror: %w", Default, cmd, out, err)
	}
	return nil
}

// loaded tells whether the kernel has a profile.
func (h *Host) loaded(name string) (bool, error) {
	f, err := os.Open(filepath.Join(h.root, "sys/kernel/security/apparmor/profiles"))
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // read only
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if label(sc.Text()) == name {
			return true, nil
		}
	}
	return false, sc.Err()
}

// ownProfile is the profile of this process, which may signal containers.
func (h *Host) ownProfile() string {
	data, err := os.ReadFile(filepath.Join(h.root, "proc/self/attr/apparmor/current"))
	if errors.Is(err, os.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(h.root, "proc/self/attr/current")) // before Linux 5.8
	}
	if name := label(strings.TrimSpace(string(data))); err == nil && name != "" {
		return name
	}
	return Unconfined
}

// label takes the mode off what the kernel writes: "name (enforce)". A name may
// have spaces and parentheses itself.
func label(text string) string {
	if i := strings.LastIndex(text, " ("); i >= 0 && strings.HasSuffix(text, ")") {
		return text[:i]
	}
	return text
}

// quoted is a name as the profile language takes it.
func quoted(name string) string { return fmt.Sprintf("%q", name) }
