package resctrl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// newRoot makes a directory that stands for the filesystem: files keep what is
// written to them, which is what the tests look at.
func newRoot(t *testing.T, groups map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, schemata := range groups {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Join(dir, "mon_groups"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "schemata"), []byte(schemata), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// tree lists all directories and the content of all files.
func tree(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := filepath.Walk(root, func(name string, st os.FileInfo, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if st.IsDir() {
			all = append(all, rel+"/")
			return err
		}
		content, rerr := os.ReadFile(name)
		all = append(all, rel+"="+strings.ReplaceAll(string(content), "\n", "|"))
		if err == nil {
			err = rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestGroups(t *testing.T) {
	const have = "    L3:0=7f0;1=01f\n    MB:0=20;1=70\n"
	for name, tc := range map[string]struct {
		rdt                  specs.LinuxIntelRdt
		groups               map[string]string
		during, after, error string
		kind                 errs.Kind
	}{
		"of its own": {
			rdt:    specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=20", Schemata: []string{"L2:0=f", "MB:0=30"}},
			during: "c1/ c1/schemata=L3:0=f|MB:0=20|L2:0=f|MB:0=30| c1/tasks=42",
		},
		"nothing said":        {during: "c1/ c1/tasks=42"},
		"name is taken":       {groups: map[string]string{"c1": have}, error: "exists already", kind: errs.Conflict},
		"default group":       {rdt: specs.LinuxIntelRdt{ClosID: "/"}, during: "tasks=42", after: "tasks=42"},
		"made by name":        {rdt: specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=9"}, during: "gold/ gold/schemata=MB:0=9| gold/tasks=42", after: "gold/ gold/schemata=MB:0=9| gold/tasks=42"},
		"not there":           {rdt: specs.LinuxIntelRdt{ClosID: "gold"}, error: "closID gold does not exist", kind: errs.NotFound},
		"there":               {rdt: specs.LinuxIntelRdt{ClosID: "gold"}, groups: map[string]string{"gold": "x"}, during: "gold/ gold/mon_groups/ gold/schemata=x gold/tasks=42", after: "gold/ gold/mon_groups/ gold/schemata=x gold/tasks=42"},
		"there, the same":     {rdt: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3: 1=1F", MemBwSchema: "MB:1=70;0=20"}, groups: map[string]string{"gold": have}, during: "gold/ gold/mon_groups/ gold/schemata=L3: 1=1F|MB:1=70;0=20| gold/tasks=42", after: "gold/ gold/mon_groups/ gold/schemata=L3: 1=1F|MB:1=70;0=20| gold/tasks=42"},
		"there, others":       {rdt: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:1=f"}, groups: map[string]string{"gold": have}, error: "has L3:1=1f in its schemata, not f", kind: errs.Conflict},
		"there, new schemata": {rdt: specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L3:1=f"}}, groups: map[string]string{"gold": have}, during: "gold/ gold/mon_groups/ gold/schemata=L3:1=f| gold/tasks=42", after: "gold/ gold/mon_groups/ gold/schemata=L3:1=f| gold/tasks=42"},
		"monitored":           {rdt: specs.LinuxIntelRdt{ClosID: "gold", EnableMonitoring: true}, groups: map[string]string{"gold": "x"}, during: "gold/ gold/mon_groups/ gold/mon_groups/c1/ gold/mon_groups/c1/tasks=42 gold/schemata=x gold/tasks=42", after: "gold/ gold/mon_groups/ gold/schemata=x gold/tasks=42"},
		"no monitoring":       {rdt: specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=1", EnableMonitoring: true}, error: "create monitoring group", kind: errs.Internal},
		"bandwidth":           {rdt: specs.LinuxIntelRdt{MemBwSchema: "L3:0=1"}, error: "memBwSchema", kind: errs.InvalidArgument},
		"two lines":           {rdt: specs.LinuxIntelRdt{Schemata: []string{"L3:0=1\nMB:0=1"}}, error: "more than one line", kind: errs.InvalidArgument},
		"outside":             {rdt: specs.LinuxIntelRdt{ClosID: "../x", MemBwSchema: "MB:0=1"}, error: "is not the name of a group", kind: errs.InvalidArgument},
		"reserved":            {rdt: specs.LinuxIntelRdt{ClosID: "mon_groups"}, error: "is not the name of a group", kind: errs.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t, tc.groups)
			before := tree(t, root)
			g, err := Plan(root, "c1", &tc.rdt)
			if err == nil {
				_, err = g.SetUp(&tc.rdt)
			}
			if tc.error != "" {
				if err == nil || !strings.Contains(err.Error(), tc.error) || !errs.Is(err, tc.kind) || tree(t, root) != before {
					t.Errorf("got %v (%v), left %q", err, errs.KindOf(err), tree(t, root))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Add(42); err != nil {
				t.Fatal(err)
			}
			if got := tree(t, root); got != tc.during {
				t.Errorf("during: got %q", got)
			}
			for range 2 {
				if err := g.Remove(); err != nil {
					t.Error(err)
				}
			}
			if got := tree(t, root); got != tc.after {
				t.Errorf("after: got %q", got)
			}
		})
	}
}

// TestUndo gives up a group that was made by name, as no other removal does.
func TestUndo(t *testing.T) {
	root := newRoot(t, nil)
	rdt := specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=1"}
	g, err := Plan(root, "c1", &rdt)
	if err != nil {
		t.Fatal(err)
	}
	undo, err := g.SetUp(&rdt)
	if err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil || tree(t, root) != "" {
		t.Errorf("got %v, left %q", err, tree(t, root))
	}
}

// TestReason repeats what the kernel says about its refusal.
func TestReason(t *testing.T) {
	root := newRoot(t, map[string]string{"gold": ""})
	if err := os.Mkdir(filepath.Join(root, "info"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "info/last_cmd_status"), []byte("no such bandwidth\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rdt := specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"MB:0=1"}}
	g, err := Plan(root, "c1", &rdt)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "gold/schemata")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "gold/schemata"), 0o755); err != nil { // cannot be written to
		t.Fatal(err)
	}
	if _, err := g.SetUp(&rdt); err == nil || !strings.HasSuffix(err.Error(), "is a directory (no such bandwidth)") {
		t.Errorf("got %v", err)
	}
}
