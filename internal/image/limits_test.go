package image

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/quota"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestStorageOptions(t *testing.T) {
	dir := t.TempDir()
	for _, opts := range [][]string{{"x"}, {"overlay2.what=1"}, {"overlay2.size=x"}, {"size=1g"}} {
		if _, err := openLimits(dir, driverOverlay, opts); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: %v", opts, err)
		}
	}
	if _, err := openLimits(dir, driverNative, []string{"overlay2.size=1g"}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("without overlayfs: %v", err)
	}
	if _, err := quota.Open(dir); errs.Is(err, errs.Unsupported) {
		_, err := openLimits(dir, driverOverlay, []string{"Overlay2.Size=1g"})
		if want := "Storage option overlay2.size not supported. Filesystem does not support Project Quota: Filesystem does not support, or has not enabled quotas"; err == nil || err.Error() != want {
			t.Errorf("without quotas: %v, want %s", err, want)
		}
	}
	var none limits
	for want, opts := range map[string]map[string]string{
		errNoQuota.Error():    {"size": "1g"},
		"Unknown option what": {"What": "1"},
	} {
		if _, err := none.size(opts); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", opts, err, want)
		}
	}
	if n, err := none.size(nil); n != 0 || err != nil {
		t.Errorf("nothing asked for: %d, %v", n, err)
	}
}

// limitedLayer makes the directories of a writable layer with a limit.
func limitedLayer(t *testing.T, l *limits, dir string) uint32 {
	t.Helper()
	for _, name := range limited {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.set(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	id, ok := l.project(dir)
	if !ok {
		t.Fatal("no project")
	}
	return id
}

func limitOf(t *testing.T, l *limits, id uint32) uint64 {
	t.Helper()
	q, err := l.fs.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return q.Limit
}

// TestLimitsOfOthers: the removal of a layer lifts its own limit, whatever its files
// or its record say of others.
func TestLimitsOfOthers(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			disk := testenv.QuotaDisk(t, kind, false)
			l, err := openLimits(disk, driverOverlay, nil)
			if err != nil || l.fs == nil {
				t.Fatalf("%+v, %v", l, err)
			}
			defer func() {
				if err := l.close(); err != nil {
					t.Error(err)
				}
			}()
			a, b := filepath.Join(disk, "a"), filepath.Join(disk, "b")
			mine, others := limitedLayer(t, &l, a), limitedLayer(t, &l, b)
			if mine == others {
				t.Fatalf("both have %d", mine)
			}
			// The files are in the other's project now.
			if _, err := l.fs.Assign(others, a+"/fs", a+"/work"); err != nil {
				t.Fatal(err)
			}
			if err := l.remove(a, false); err != nil {
				t.Error(err)
			}
			if limitOf(t, &l, mine) != 0 || limitOf(t, &l, others) == 0 {
				t.Errorf("limits %d and %d", limitOf(t, &l, mine), limitOf(t, &l, others))
			}
			// A layer that was copied from elsewhere names a project that is another's here.
			if err := errors.Join(os.MkdirAll(a+"/fs", 0o755), os.Symlink(strconv.FormatUint(uint64(others), 10), filepath.Join(a, projectLink))); err != nil {
				t.Fatal(err)
			}
			if err := l.remove(a, false); err != nil || limitOf(t, &l, others) == 0 {
				t.Errorf("limit %d, %v", limitOf(t, &l, others), err)
			}
			// A half-made one has chosen what another has just got.
			if err := errors.Join(os.MkdirAll(a+"/fs", 0o755), os.Symlink(strconv.FormatUint(uint64(others), 10), filepath.Join(a, projectLink))); err != nil {
				t.Fatal(err)
			}
			if _, err := l.fs.Assign(others, a+"/fs"); err != nil {
				t.Fatal(err)
			}
			if err := l.remove(a, true); err != nil || limitOf(t, &l, others) == 0 {
				t.Errorf("limit %d, %v", limitOf(t, &l, others), err)
			}
			if err := l.remove(b, false); err != nil || limitOf(t, &l, others) != 0 {
				t.Errorf("limit %d, %v", limitOf(t, &l, others), err)
			}
			if got, err := quota.Project(disk); got != 0 || err != nil {
				t.Errorf("the disk's own project: %d, %v", got, err)
			}
		})
	}
}
