package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

var testIDs = IDs{user.IdentityMapping{
	UIDMaps: []user.IDMap{{ID: 0, ParentID: 100000, Count: 1000}, {ID: 1000, ParentID: 300000, Count: 1000}},
	GIDMaps: []user.IDMap{{ID: 0, ParentID: 200000, Count: 1000}},
}}

// TestIDs packs what a container owns with the container's numbers and unpacks it
// with the machine's.
func TestIDs(t *testing.T) {
	testenv.Need(t, testenv.Root)
	from, to := t.TempDir(), t.TempDir()
	owners := map[string][4]int{ // on the machine, in the container
		"root": {100000, 200000, 0, 0}, "user": {300005, 200007, 1005, 7}, "stranger": {0, 5, nobody, nobody}, "dir": {100009, 200001, 9, 1},
	}
	plant(t, from, map[string]string{"root": "x", "user": "->root", "stranger": "x", "dir/": ""})
	for name, o := range owners {
		if err := os.Lchown(filepath.Join(from, name), o[0], o[1]); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := (Packer{Root: openRoot(t, from), IDs: testIDs}).All(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer // what can be unpacked
	w := tar.NewWriter(&kept)
	for r := tar.NewReader(bytes.NewReader(b.Bytes())); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Clean(h.Name)
		if o := owners[name]; h.Uid != o[2] || h.Gid != o[3] {
			t.Errorf("%s belongs to %d:%d", name, h.Uid, h.Gid)
		}
		if name == "stranger" {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := Unpacker{Root: openRoot(t, to), IDs: testIDs}
	if err := asRoot(testIDs, func() error { return u.Into(t.Context(), "/", &kept) }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root", "user", "dir"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(to, name), &st); err != nil || int(st.Uid) != owners[name][0] || int(st.Gid) != owners[name][1] {
			t.Errorf("%s belongs to %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
	if err := asRoot(testIDs, func() error { return u.Into(t.Context(), "/", &b) }); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("an owner that is not mapped: %v", err)
	}
}

// TestCapabilityIDs: a file's capabilities hold in the user namespace whose root
// they name, outside of it, and name nobody inside.
func TestCapabilityIDs(t *testing.T) {
	const rest = "0123456789abcdef"
	plain := "\x01\x00\x00\x02" + rest
	for inside, outside := range map[string]string{
		plain: "\x01\x00\x00\x03" + rest + "\xa0\x86\x01\x00", // 100000
		"\x01\x00\x00\x03" + rest + "\xe8\x03\x00\x00": "\x01\x00\x00\x03" + rest + "\xe0\x93\x04\x00", // 1000, 300000
	} {
		if got := testIDs.capabilityOutside(inside); got != outside {
			t.Errorf("outside of %q: %q", inside, got)
		}
		if got := testIDs.capabilityInside(outside); got != inside {
			t.Errorf("inside of %q: %q", outside, got)
		}
	}
	for _, foreign := range []string{plain, "\x01\x00\x00\x03" + rest + "\x05\x00\x00\x00", "", "x", plain[:19], plain + "\x00"} {
		if got := testIDs.capabilityInside(foreign); got != "" {
			t.Errorf("inside of %q: %q", foreign, got)
		}
	}
	for _, bad := range []string{"", "x", plain[:19], "\x01\x00\x00\x03" + rest + "\xff\xff\x00\x00"} {
		if got := testIDs.capabilityOutside(bad); got != "" {
			t.Errorf("outside of %q: %q", bad, got)
		}
	}
	if got := (IDs{}).capabilityOutside(plain); got != plain {
		t.Errorf("without mappings: %q", got)
	}
}
