package mount

import (
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOptions(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want Options
	}{
		{nil, Options{}},
		{[]string{"rbind", "ro", "rprivate"}, Options{Bind: true, Recursive: true, Set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE, RecPropagation: true}},
		{[]string{"bind", "rw"}, Options{Bind: true, Clear: unix.MOUNT_ATTR_RDONLY}},
		{[]string{"ro", "rw"}, Options{Clear: unix.MOUNT_ATTR_RDONLY}},
		{[]string{"nosuid", "suid", "nosuid"}, Options{Set: unix.MOUNT_ATTR_NOSUID}},
		{[]string{"rro", "rnosuid"}, Options{RecSet: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}},
		{[]string{"noatime"}, Options{Set: unix.MOUNT_ATTR_NOATIME}},
		{[]string{"noatime", "relatime"}, Options{Clear: unix.MOUNT_ATTR__ATIME}},
		{[]string{"relatime", "strictatime"}, Options{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME &^ unix.MOUNT_ATTR_STRICTATIME}},
		{[]string{"slave", "shared"}, Options{Propagation: unix.MS_SHARED}},
		{[]string{"sync", "mode=755", "size=1k", "defaults", ""}, Options{Superblock: []string{"sync"}, Data: []string{"mode=755", "size=1k"}}},
		{[]string{"tmpcopyup", "ridmap"}, Options{CopyUp: true, IDMap: true, RecIDMap: true}},
		{[]string{"x-gantry.subpath=a/ro,b", "x-other", "x-gantry.mntns=/proc/1/ns/mnt"}, Options{Subpath: "a/ro,b", Data: []string{"x-other"}, Namespace: "/proc/1/ns/mnt"}},
		{[]string{`context="u:r:t:s0:c1,c2"`, "fscontext=u:r:t:s0", `lowerdir="a"`}, Options{Data: []string{"context=u:r:t:s0:c1,c2", "fscontext=u:r:t:s0", `lowerdir="a"`}}},
		{[]string{"lowerdir=a:b", "r", "rubbish"}, Options{Data: []string{"lowerdir=a:b", "r", "rubbish"}}},
	} {
		if got := ParseOptions(tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: got %+v, want %+v", tc.in, got, tc.want)
		}
	}
}

// TestJoined: mount(2) gets a SELinux context with commas in quotation marks.
func TestJoined(t *testing.T) {
	if got, want := joined([]string{"lowerdir=a", "context=u:r:t:s0:c1,c2", "index=off"}), `lowerdir=a,context="u:r:t:s0:c1,c2",index=off`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOptionNames(t *testing.T) {
	names := OptionNames()
	for _, want := range []string{"ro", "rro", "rbind", "rslave", "nosymfollow", "sync"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, name := range names { // none may be passed to a filesystem
		if o := ParseOptions([]string{name}); len(o.Data) > 0 {
			t.Errorf("%s is not known", name)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("ro", "rslave", "noatime")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		o := ParseOptions([]string{a, b, c})
		if o.Set&o.Clear&^unix.MOUNT_ATTR__ATIME != 0 || o.RecSet&o.RecClear&^unix.MOUNT_ATTR__ATIME != 0 {
			t.Errorf("%q %q %q: set and clear overlap: %+v", a, b, c, o)
		}
	})
}
