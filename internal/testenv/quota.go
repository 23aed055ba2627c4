package testenv

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// quotaDisks are the filesystems that have quotas of projects: how they are made
// and mounted, and the kernel's option for it.
var quotaDisks = map[string]struct{ mkfs, features, options, config string }{
	"xfs":  {"mkfs.xfs -q", "", "pquota", "CONFIG_XFS_QUOTA"},
	"ext4": {"mkfs.ext4 -q", "-O quota,project -E quotatype=prjquota", "prjquota", "CONFIG_QFMT_V2"},
}

// quotaDiskSize is what mkfs.xfs wants at least, and a little.
const quotaDiskSize = 320 << 20

// QuotaDisk mounts a new filesystem of a kind ("xfs" or "ext4") with quotas of
// projects, or none if plain is set, and gives the directory. The test is skipped
// where the kernel has none.
func QuotaDisk(t TB, kind string, plain bool) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "quota-*")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("%v", err)
		}
	})
	image, at, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk"), quotaDisks[kind]
	mkfs, options := strings.Fields(disk.mkfs), "loop"
	if !plain {
		mkfs, options = append(mkfs, strings.Fields(disk.features)...), "loop,"+disk.options
	}
	mkfs = append(mkfs, image)
	Need(t, Root, Tool(mkfs[0]))
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.Truncate(image, quotaDiskSize); err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	if out, err := exec.Command(mkfs[0], mkfs[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", mkfs, err, out)
	}
	out, err := exec.Command("mount", "-t", kind, "-o", options, image, at).CombinedOutput()
	if err != nil && !plain && notConfigured(disk.config) {
		t.Skipf("needs project quotas of %s: the kernel is without %s", kind, disk.config)
	}
	if err != nil {
		t.Fatalf("mount %s: %v: %s", kind, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}

// notConfigured tells whether the kernel says that it was made without an option.
func notConfigured(option string) bool {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	z, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	text, err := io.ReadAll(z)
	return err == nil && bytes.Contains(text, []byte("# "+option+" is not set\n"))
}
