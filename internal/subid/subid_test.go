package subid

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/errs"
)

// etc makes a directory with the given files.
func etc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var machine = map[string]string{
	"passwd": "root:x:0:0::/root:/bin/sh\ndockremap:x:999:998::/:/bin/false\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1000::/:/bin/sh\n",
	"group":  "root:x:0:\ndockremap:x:998:\nalice:x:1000:\nstaff:x:50:\nbob:x:70:\n",
	"subuid": "dockremap:100000:65536\nalice:200000:1000\n1000:300000:500\n",
	"subgid": "dockremap:165536:65536\nalice:400000:2000\n",
}

func TestMapping(t *testing.T) {
	dir := etc(t, machine)
	docker := user.IdentityMapping{UIDMaps: []user.IDMap{{ID: 0, ParentID: 100000, Count: 65536}}, GIDMaps: []user.IDMap{{ID: 0, ParentID: 165536, Count: 65536}}}
	alice := user.IdentityMapping{
		UIDMaps: []user.IDMap{{ID: 0, ParentID: 200000, Count: 1000}, {ID: 1000, ParentID: 300000, Count: 500}},
		GIDMaps: []user.IDMap{{ID: 0, ParentID: 400000, Count: 2000}},
	}
	for want, m := range map[string]user.IdentityMapping{
		"default": docker, "dockremap": docker, "999:998": docker, "dockremap:staff": docker,
		"alice": alice, "1000": alice, "alice:alice": alice, "1000:50": alice, "alice:50": alice, "1000:staff": alice,
	} {
		if got, err := Mapping(want, dir); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
	for _, want := range []string{"root", "0", "root:root", "0:0"} {
		if _, err := Mapping(want, dir); !errors.Is(err, ErrRoot) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestMappingErrors(t *testing.T) {
	for want, text := range map[string]string{
		"a:b:c": "invalid user/group specification", ":staff": "invalid user/group specification", "alice:": "invalid user/group specification",
		"eve": "user eve has no entry in ", "4": "user 4 has no entry in ", "alice:eve": "group eve has no entry in ", "alice:4": "group 4 has no entry in ",
		"999": "group 999 has no entry in ", // as in Docker, the group has the user's number
		"bob": "user bob has no ids in ",
	} {
		_, err := Mapping(want, etc(t, machine))
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	_, err := Mapping("bob", etc(t, machine))
	if err == nil || !strings.HasSuffix(err.Error(), "usermod --add-subuids 300500-366035 bob") {
		t.Errorf("got %v", err)
	}
	_, err = Mapping("default", etc(t, map[string]string{"passwd": "root:x:0:0::/:/\n", "group": ""}))
	if err == nil || !strings.HasSuffix(err.Error(), "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 dockremap") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"alice:0:65536\n", "alice:-5:10\n", "alice:100000:0\n"} {
		files := map[string]string{"passwd": machine["passwd"], "group": machine["group"], "subuid": bad, "subgid": machine["subgid"]}
		if _, err := Mapping("alice", etc(t, files)); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
