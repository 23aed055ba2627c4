package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func lines(t *testing.T, events ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(data, '\n'))
	}
	return b.String()
}

func TestReport(t *testing.T) {
	pass := []event{
		{Action: "output", Package: "m/p", Test: "TestA", Output: "=== RUN   TestA\n"},
		{Action: "pass", Package: "m/p", Test: "TestA"},
		{Action: "pass", Package: "m/p"},
	}
	skipped := func(reason string) []event {
		return append([]event{
			{Action: "output", Package: "m/p", Test: "TestB", Output: "    b_test.go:7: " + reason + "\n"},
			{Action: "output", Package: "m/p", Test: "TestB", Output: "--- SKIP: TestB (0.00s)\n"},
			{Action: "skip", Package: "m/p", Test: "TestB"},
		}, pass...)
	}
	for _, c := range []struct {
		name   string
		events []event
		code   int
		want   []string
	}{
		{"passes", pass, 0, []string{"ok   p", "1 passed, 0 failed, 0 skipped\n"}},
		{"known skip", skipped("needs luck: none left"), 0, []string{"skipped: m/p TestB: needs luck: none left", "1 passed, 0 failed, 1 skipped\n"}},
		{"unknown skip", skipped("flaky"), 1, []string{"skipped without an accepted reason: m/p TestB: flaky"}},
		{"failure", []event{
			{Action: "output", Package: "m/p", Test: "TestC", Output: "    c_test.go:1: broken\n"},
			{Action: "fail", Package: "m/p", Test: "TestC"}, {Action: "fail", Package: "m/p"},
		}, 1, []string{"--- FAIL m/p TestC\n        c_test.go:1: broken\n", "failed: m/p TestC\n        c_test.go:1: broken\nfailed: m/p\n", "0 passed, 1 failed, 0 skipped\n"}},
		{"build failure", append([]event{
			{Action: "build-output", ImportPath: "m/q", Output: "q.go:1: syntax error\n"},
			{Action: "build-fail", ImportPath: "m/q"}, {Action: "fail", Package: "m/q"},
		}, pass...), 1, []string{"q.go:1: syntax error", "failed: m/q"}},
		{"cut off", append([]event{{Action: "output", Package: "m/q", Test: "TestD", Output: "hang\n"}}, pass...), 1, []string{"did not end: m/q TestD"}},
		{"nothing ran", nil, 1, []string{"0 passed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			skips := filepath.Join(t.TempDir(), "skips")
			if err := os.WriteFile(skips, []byte("# known\n\n^needs luck: \n"), 0o644); err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(t.TempDir(), "log")
			var out strings.Builder
			input := lines(t, c.events...)
			code, err := run(strings.NewReader(input), &out, skips, log)
			if err != nil || code != c.code {
				t.Errorf("code %d, %v; want %d\n%s", code, err, c.code, out.String())
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("output lacks %q:\n%s", w, out.String())
				}
			}
			if got, err := os.ReadFile(log); err != nil || string(got) != input {
				t.Errorf("log holds %q, %v", got, err)
			}
		})
	}
}
