package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

const compatFile = "../../docs/reference/compatibility.md"

// TestCompatibilityTableIsCurrent holds the table of endpoints against the
// routes; -update rewrites it.
func TestCompatibilityTableIsCurrent(t *testing.T) {
	testenv.Section(t, compatFile, "endpoints", compatTable(t, documented(t)), *update,
		"go test ./internal/httpapi -run Compat -update")
}

// endpoint is one documented operation.
type endpoint struct{ method, path string }

var variable = regexp.MustCompile(`\{[^}]*\}`)

// key makes endpoints comparable whatever their variables are called.
func (e endpoint) key() string { return e.method + " " + variable.ReplaceAllString(e.path, "{}") }

// documented lists the operations of the Engine API's description, which comes
// with the API's own module.
func documented(t *testing.T) []endpoint {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "swagger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []endpoint
	var path string
	inPaths := false
	methods := []string{"get", "head", "post", "put", "delete"}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		name := strings.Trim(strings.TrimSuffix(strings.TrimSpace(line), ":"), `"`)
		switch {
		case line != "" && line[0] != ' ' && line[0] != '#':
			inPaths = line == "paths:"
		case !inPaths:
		case strings.HasPrefix(line, "  /") || strings.HasPrefix(line, `  "/`):
			path = name
		case strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "     ") && slices.Contains(methods, name):
			list = append(list, endpoint{strings.ToUpper(name), path})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 {
		t.Fatalf("found only %d operations: has the description's layout changed?", len(list))
	}
	return list
}

func compatTable(t *testing.T, list []endpoint) string {
	t.Helper()
	served := map[string]*route{}
	for i := range routes {
		served[endpoint{routes[i].method, routes[i].path}.key()] = &routes[i]
	}
	var rows bytes.Buffer
	works := 0
	for _, e := range list {
		r := served[e.key()]
		delete(served, e.key())
		state := "missing"
		if r != nil && r.limit != "" {
			state = r.limit
		} else if r != nil {
			state = "works"
		}
		if r != nil && r.limit != outside {
			works++
		}
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", e.method, e.path, state)
	}
	for key, r := range served {
		if r.path != "/networks/" && !r.experimental {
			t.Errorf("%s is served but not part of the API", key)
		}
	}
	for i := range routes { // which the description leaves out
		if r := &routes[i]; r.experimental {
			fmt.Fprintf(&rows, "| %s | `%s` | works with `experimental`, as in Docker |\n", r.method, r.path)
		}
	}
	return fmt.Sprintf("Versions %s to %s are served, each in its own shape, with and without the `/v1.x` prefix. With\n"+
		"`min-api-version` clients down to %s are let in, too. What is missing answers 404 \"page not found\".\n\n"+
		"%d of %d operations work.\n\n| method | path | state |\n|---|---|---|\n%s",
		DefaultMinVersion, MaxVersion, LowestMinVersion, works, len(list), rows.String())
}
