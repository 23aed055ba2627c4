package apparmor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a directory that looks like a machine with AppArmor, whose parser
// keeps what it reads.
func machine(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range map[string]string{
		"sys/module/apparmor/parameters/enabled": "Y\n",
		"sys/kernel/security/apparmor/profiles":  "other (enforce)\nmy docker-default (x) (enforce)\n",
		"proc/self/attr/apparmor/current":        "my daemon (enforce)\n",
		"sbin/apparmor_parser":                   "#!/bin/sh\necho \"$@\" >" + root + "/args\ncat >" + root + "/profile\n",
	} {
		write(t, filepath.Join(root, name), content)
	}
	return root
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	t.Setenv("container", "")
	if h := probe(machine(t)); !h.HasDefault() {
		t.Error("AppArmor with parser: no default profile")
	}
	root := machine(t)
	if err := os.Remove(filepath.Join(root, "sbin/apparmor_parser")); err != nil {
		t.Fatal(err)
	}
	if h := probe(root); h == nil || h.HasDefault() {
		t.Errorf("AppArmor without parser: %+v", h)
	}
	write(t, filepath.Join(root, "sys/module/apparmor/parameters/enabled"), "N\n")
	if h := probe(root); h != nil || h.HasDefault() {
		t.Errorf("AppArmor that is off: %+v", h)
	}
	t.Setenv("container", "docker")
	if h := probe(machine(t)); h != nil {
		t.Errorf("in a container: %+v", h)
	}
}

func TestEnsureDefault(t *testing.T) {
	t.Setenv("container", "")
	root := machine(t)
	h := probe(root)
	if err := h.EnsureDefault(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "profile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`profile "docker-default" `, `signal (receive) peer="my daemon",`, "deny network alg,"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "abi ") {
		t.Error("an ABI that the machine has no file for")
	}
	if args, _ := os.ReadFile(filepath.Join(root, "args")); string(args) != "-Kr\n" {
		t.Errorf("arguments %q", args)
	}

	// What is loaded is replaced at the daemon's start only.
	write(t, filepath.Join(root, "sys/kernel/security/apparmor/profiles"), "docker-default (enforce)\n")
	write(t, filepath.Join(root, "sbin/apparmor_parser"), "#!/bin/sh\necho no such rule; exit 3\n")
	if err := h.EnsureDefault(t.Context()); err != nil {
		t.Errorf("a profile that is loaded: %v", err)
	}
	err = h.LoadDefault(t.Context())
	if err == nil || !strings.Contains(err.Error(), "AppArmor enabled on system but the docker-default profile could not be loaded: running '") ||
		!strings.Contains(err.Error(), "failed with output: no such rule") {
		t.Errorf("parser that fails: %v", err)
	}
}

func TestLabel(t *testing.T) {
	for in, want := range map[string]string{
		"docker-default (enforce)": "docker-default", "unconfined": "unconfined", "a b (c) (complain)": "a b (c)", "": "",
	} {
		if got := label(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
