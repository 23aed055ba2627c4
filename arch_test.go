// Package gantry_test holds what must be true of the tree as a whole: who may
// import whom, what no binary may carry, and that every package says what it is.
package gantry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gantry-run/gantry/"

// The house has four floors; a room opens only downward.
//
//	cmd                      flags, wiring, exit code
//	daemon, cli, runtimecli  what a binary consists of
//	domains, httpapi, oci    what Gantry does
//	linux and the leaves     the kernel, and what needs nothing
//
// edges says for each room which other rooms it may open, longest name first. A
// room is a package and what lies below it; within a room everything is allowed
// unless a longer name has a line of its own.
var edges = map[string]string{
	"cmd/gantry":         "cli version",
	"cmd/gantryd":        "config daemon version",
	"cmd/gantry-runtime": "oci/boot pidone runtimecli supervisor",

	// Only the composition root knows every domain.
	"daemon": "apparmor atomicfile cleanup config container engine errs event httpapi image linux/mount linux/ns linux/relabel linux/userns network registry subid supervisor/client version volume",

	// The CLI is an API client like any other: nothing of the engine is in it. Signals
	// by way of os/signal take too long.
	"cli":       "atomicfile client errs linux/sigpipe reference version",
	"client":    "errs reference",
	"reference": "",

	"runtimecli": "atomicfile errs linux/cgroup linux/ns linux/sigpipe linux/tty oci version",

	// engine is the contract between httpapi and the domains, which do not know each other.
	"engine":      "",
	"httpapi":     "engine errs",
	"container":   "apparmor archive atomicfile cleanup engine errs linux/cgroup linux/fd linux/mount linux/ns linux/process linux/relabel linux/userns logship logstream seccompprofile supervisor/wire",
	"archive":     "compression errs linux/fd linux/mount",
	"compression": "errs",
	"image":       "archive cleanup compression engine errs linux/fd linux/mount linux/quota registry",
	"registry":    "errs",
	"network":     "atomicfile cleanup engine errs linux",
	"volume":      "atomicfile cleanup engine errs linux/mount",
	"event":       "engine errs",
	"logstream":   "",
	"logship":     "atomicfile errs logstream",
	"config":      "cleanup errs",
	"subid":       "errs",

	"supervisor":        "atomicfile cleanup errs linux/fd linux/ns logstream/jsonfile oci",
	"supervisor/client": "errs linux/repeat supervisor/wire",
	"supervisor/wire":   "errs",

	"oci":            "atomicfile cleanup errs linux",
	"oci/plan":       "errs linux", // pure: values and names, see TestPurePackages
	"oci/specjson":   "errs",
	"pidone":         "",
	"seccompprofile": "errs",
	"apparmor":       "errs",

	"linux": "errs",

	"atomicfile": "", "cleanup": "", "errs": "", "testenv": "", "testimage": "", "version": "",

	"tools":         "testimage",
	"test/e2e":      "",
	"test/runtimes": "",
	"bench":         "testimage",
}

// bans lists what a binary must not carry, and why.
var bans = map[string]map[string]string{
	"cmd/gantry": {
		module + "internal/engine":          "the CLI reaches the engine through its API only",
		"github.com/moby/moby/client":       "1.8 ms of every command",
		"github.com/distribution/reference": "regular expressions that every start would compile",
		"go.opentelemetry.io":               "start-up time, and nobody traces a command line",
		"github.com/containerd/log":         "a logger of the engine's",
		"github.com/google/nftables":        "the engine's work",
		"github.com/vishvananda":            "the engine's work",
		"github.com/docker/docker":          "the old module, of which moby/moby is the successor",
		"github.com/spf13/viper":            "the CLI starts in milliseconds",
		"google.golang.org/grpc":            "nothing that the CLI talks to speaks it",
		"github.com/docker/cli":             "Gantry's CLI is its own",
		"k8s.io":                            "megabytes that every start would map",
		"github.com/opencontainers/runc":    "the runtime is our own",
	},
	"cmd/gantryd": {
		module + "internal/oci":          "containers are the supervisor's: a daemon that links the runtime would start them itself",
		"github.com/docker/docker":       "the old module, of which moby/moby is the successor",
		"github.com/moby/moby/client":    "the daemon is the server",
		"github.com/opencontainers/runc": "the runtime is our own",
	},
	"cmd/gantry-runtime": {
		"net/http":                          "4 MB; the supervisor's size counts for every container",
		"net":                               "190 KB and 0.1 ms of every start: linux/fd has what unix sockets need",
		"crypto/tls":                        "the runtime does not talk to the network",
		"text/template":                     "turns off the linker's dead-code elimination",
		"regexp":                            "246 KB",
		"debug/elf":                         "37 KB to write one head of a file",
		"crypto":                            "nothing is encrypted or signed, and its self-tests come with it",
		"os/user":                           "moby/sys/user, which reads a container's files, reads the machine's, too",
		"github.com/godbus":                 "600 KB, most of it by being imported: linux/systemd says what is needed",
		"github.com/coreos/go-systemd":      "it is made of godbus",
		"github.com/opencontainers/cgroups": "it imports go-systemd for the type of a field",
		"github.com/moby/sys/userns":        "57 KB: it alone reads numbers with fmt",
		"github.com/spf13/cobra":            "start-up time: its tree is built at every run",
		"github.com/containerd":             "the runtime has no images",
		"github.com/moby/moby":              "the runtime knows the OCI spec, not Docker's API",
		module + "internal/engine":          "the runtime knows the OCI spec, not Docker's API",
		module + "internal/httpapi":         "the runtime is no server",
		"google.golang.org/protobuf":        "start-up time: registers thousands of descriptors",
	},
}

type pkg struct {
	ImportPath, Doc                    string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,GoFiles,Imports,TestImports,XTestImports"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, &stderr)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room gives the longest name in edges that holds the package.
func room(name string) string {
	for ; name != "."; name = path.Dir(name) {
		if _, ok := edges[name]; ok {
			return name
		}
	}
	return ""
}

// local cuts the module and "internal/" from an import path; ok is false for
// packages from elsewhere.
func local(importPath string) (name string, ok bool) {
	name, ok = strings.CutPrefix(importPath, module)
	return strings.TrimPrefix(name, "internal/"), ok
}

func inside(name, room string) bool { return name == room || strings.HasPrefix(name, room+"/") }

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, p := range list(t, "./...") {
		name, ok := local(p.ImportPath)
		if !ok {
			continue // this package
		}
		from := room(name)
		if from == "" {
			t.Errorf("%s has no line in edges: say what it may import", name)
			continue
		}
		used[from] = true
		allowed := strings.Fields(edges[from])
		for _, imp := range p.Imports {
			to, ok := local(imp)
			if !ok || room(to) == from {
				continue
			}
			if inside(to, from) {
				continue // deeper in the same room
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return inside(to, a) }) {
				t.Errorf("%s imports %s, which %q may not: %q", name, to, from, edges[from])
			}
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if to, ok := local(imp); ok && (inside(to, "cmd") || inside(to, "test")) && !inside(name, "test") {
				t.Errorf("the tests of %s import %s", name, to)
			}
		}
	}
	for name := range edges {
		if !used[name] {
			t.Errorf("edges has a line for %s, which does not exist", name)
		}
	}
}

func TestBinaries(t *testing.T) {
	for binary, banned := range bans {
		deps := list(t, "-deps", "./"+binary)
		for _, p := range deps {
			for ban, why := range banned {
				if inside(p.ImportPath, ban) {
					t.Errorf("%s carries %s (%s): %s", binary, p.ImportPath, why, strings.Join(chain(deps, module+binary, p.ImportPath), " → "))
				}
			}
			if name, ok := local(p.ImportPath); ok && (name == "testenv" || name == "testimage") {
				t.Errorf("%s carries %s, which is for tests: %s", binary, name, strings.Join(chain(deps, module+binary, p.ImportPath), " → "))
			}
		}
	}
}

// maxSize is what a binary may have on disk, as `make build` makes it. Pages that
// a program touches are what its start costs, and every container has this one.
var maxSize = map[string]int64{"cmd/gantry-runtime": 5_000_000}

func TestBinarySize(t *testing.T) {
	for binary, limit := range maxSize {
		file := filepath.Join(t.TempDir(), "binary")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./"+binary)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", binary, err, out)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("%s has %d bytes, %d more than it may: see what it links with go build -ldflags=-dumpdep and go tool nm -size", binary, info.Size(), info.Size()-limit)
		}
	}
}

// chain is a shortest way of imports between two packages.
func chain(deps []pkg, from, to string) []string {
	byPath := map[string]pkg{}
	for _, p := range deps {
		byPath[p.ImportPath] = p
	}
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			var way []string
			for at := to; at != ""; at = came[at] {
				way = append(way, at)
			}
			slices.Reverse(way)
			return way
		}
		for _, imp := range byPath[queue[0]].Imports {
			if _, seen := came[imp]; !seen {
				came[imp] = queue[0]
				queue = append(queue, imp)
			}
		}
	}
	return []string{from, "?", to}
}

// The leaves and the planner need nothing that does something.
func TestPurePackages(t *testing.T) {
	for _, p := range list(t, "./internal/oci/plan") {
		for _, imp := range p.Imports {
			if slices.Contains([]string{"os", "os/exec", "net"}, imp) {
				t.Errorf("oci/plan imports %s: a plan is a value, what it takes to apply it is oci/boot's", imp)
			}
		}
	}
	for _, p := range list(t, "./internal/errs", "./internal/cleanup", "./internal/atomicfile", "./internal/reference", "./internal/testenv") {
		for _, imp := range p.Imports {
			if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") && !strings.HasPrefix(imp, "golang.org/x/sys/") {
				t.Errorf("%s imports %s: a leaf needs the standard library only", p.ImportPath, imp)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range list(t, "./...") {
		name, ok := local(p.ImportPath)
		if !ok {
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "pkg", "types"}, path.Base(name)) {
			t.Errorf("%s: the name says nothing", name)
		}
		if slices.Contains(p.GoFiles, "types.go") || slices.Contains(p.GoFiles, "util.go") {
			t.Errorf("%s: the name of types.go or util.go says nothing", name)
		}
	}
}
