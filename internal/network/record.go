package network

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/atomicfile"
)

// record is what outlives the daemon and the machine's boots.
type record struct {
	Networks map[string]identity // by name
	Bridge   netip.Prefix        `json:",omitzero"` // the bridge's last address and subnet
	Forward  *forwarding         `json:",omitempty"`
}

// identity is what stays the same of a predefined network.
type identity struct {
	ID      string
	Created time.Time
}

// forwarding remembers that the machine did not forward packets before we
// turned that on, so that it can be turned off again.
type forwarding struct {
	Boot string // kernel's boot ID: after the next boot it means nothing
	// Links are those that were there: the machine has not become a router
	// between them just because containers need one.
	Links []string
}

const recordName = "network.json"

// loadRecord reads the record and completes it with what it lacks.
func loadRecord(root string) (*record, error) {
	r := &record{}
	data, err := os.ReadFile(filepath.Join(root, recordName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the networks' record: %w", err)
	default:
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("decode the networks' record %s: %w", filepath.Join(root, recordName), err)
		}
	}
	if r.Networks == nil {
		r.Networks = map[string]identity{}
	}
	for _, name := range []string{networktypes.NetworkBridge, networktypes.NetworkHost, networktypes.NetworkNone} {
		if _, ok := r.Networks[name]; !ok {
			r.Networks[name] = identity{ID: randomID(), Created: time.Now()}
		}
	}
	if r.Forward != nil && r.Forward.Boot != bootID() {
		r.Forward = nil
	}
	return r, nil
}

func (r *record) save(root string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the networks' record: %w", err)
	}
	return atomicfile.Write(filepath.Join(root, recordName), append(data, '\n'), 0o600, atomicfile.Durable)
}

// bootID differs from boot to boot.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // without it a record counts for the same boot only if it lacked one too
	}
	return string(data)
}

// randomID makes an ID as Docker's: 256 bits in hexadecimal.
func randomID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
