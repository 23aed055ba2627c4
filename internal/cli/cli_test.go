package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

type result struct {
	stdout, stderr string
	code           int
}

// call runs a command line as the program called args[0].
func call(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	io := &stream.Stdio{In: strings.NewReader(stdin), Out: &out, Err: &errOut}
	code := Main(t.Context(), args, io, session.Build{Version: "1.0.0", Commit: "abc"})
	return result{out.String(), errOut.String(), code}
}

// useDaemon points the environment to a daemon and an empty configuration.
func useDaemon(t *testing.T, d *fakeDaemon) {
	t.Helper()
	t.Setenv("DOCKER_HOST", "unix://"+d.socket)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, name := range []string{"GANTRY_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_DEFAULT_PLATFORM"} {
		t.Setenv(name, "")
	}
}

// TestOutputIsDockers compares output, errors and exit codes with what Docker's
// CLI 28.2.2 gave for the same command lines and the same daemon's answers.
func TestOutputIsDockers(t *testing.T) {
	useDaemon(t, newFakeDaemon(t))
	var cases []struct {
		Args           []string
		Stdout, Stderr string
		Code           int
	}
	readJSON(t, "testdata/output.json", &cases)
	t.Chdir(t.TempDir())
	if len(cases) < 150 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(strings.Join(c.Args, " "), func(t *testing.T) {
			got := call(t, "", append([]string{"docker"}, c.Args...)...)
			if got.stdout != c.Stdout {
				t.Errorf("stdout\n got %q\nwant %q", got.stdout, c.Stdout)
			}
			if got.stderr != c.Stderr {
				t.Errorf("stderr\n got %q\nwant %q", got.stderr, c.Stderr)
			}
			if got.code != c.Code {
				t.Errorf("exit code %d, want %d", got.code, c.Code)
			}
		})
	}
}

// TestCreateRequestsAreDockers compares the body of POST /containers/create
// with what Docker's CLI 28.2.2 sent for the same flags.
func TestCreateRequestsAreDockers(t *testing.T) {
	d := newFakeDaemon(t)
	useDaemon(t, d)
	var cases []struct {
		Args  []string
		Body  any
		Query string
	}
	readJSON(t, "testdata/create.json", &cases)
	if len(cases) < 50 {
		t.Fatalf("only %d cases", len(cases))
	}
	t.Setenv("GOLDEN_SET", "from environment")
	t.Setenv("B", "")
	if err := os.Unsetenv("B"); err != nil { // Setenv has seen to the restoring
		t.Fatal(err)
	}
	work := filepath.Join(t.TempDir(), "work")
	if err := os.CopyFS(work, os.DirFS("testdata/files")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work)
	parent := filepath.Dir(work)
	for _, c := range cases {
		t.Run(strings.Join(c.Args, " "), func(t *testing.T) {
			_ = os.Remove("cid.out")
			got := call(t, "", append([]string{"gantry", "create"}, c.Args...)...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			query, body := d.sent("/containers/create")
			if query != c.Query {
				t.Errorf("query %q, want %q", query, c.Query)
			}
			var doc any
			if err := json.Unmarshal([]byte(strings.ReplaceAll(string(body), parent, "$PARENT")), &doc); err != nil {
				t.Fatal(err)
			}
			have, want := normal(doc), normal(c.Body)
			if !reflect.DeepEqual(have, want) {
				t.Errorf("body\n got %s\nwant %s", toJSON(t, have), toJSON(t, want))
			}
		})
	}
}

// normal drops what says nothing (null, false, 0, "" and empty lists), since
// API versions differ in whether they send it, and sorts the lists that
// Docker's CLI fills in random order. A variable given twice counts once.
func normal(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range x {
			if set, ok := e.(map[string]any); ok && (k == "Volumes" || k == "ExposedPorts") {
				e = keys(set) // their values are always empty
			}
			e = normal(e)
			if list, ok := e.([]any); ok && (k == "Env" || k == "Binds") {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
				e = slices.Compact(list)
			}
			if !isEmpty(e) {
				out[k] = e
			}
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = normal(e)
		}
		return out
	}
	return v
}

func keys(set map[string]any) []any {
	var out []any
	for _, k := range slices.Sorted(maps.Keys(set)) {
		out = append(out, k)
	}
	return out
}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case bool:
		return !x
	case float64:
		return x == 0
	case string:
		return x == ""
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return false
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
