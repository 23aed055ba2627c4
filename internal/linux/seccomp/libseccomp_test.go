package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// exporter makes libseccomp write the filter for rules on its standard input:
// the default action, the number of architectures and their tokens, then one
// line for each rule (name action argc {index op a b}).
const exporter = `
#include <seccomp.h>
#include <stdio.h>
#include <inttypes.h>
int main(void) {
	uint32_t def, tok; int n;
	if (scanf("%" SCNu32 "%d", &def, &n) != 2) return 2;
	scmp_filter_ctx ctx = seccomp_init(def);
	while (n-- > 0) {
		if (scanf("%" SCNu32, &tok) != 1) return 2;
		if (tok != seccomp_arch_native() && seccomp_arch_add(ctx, tok)) return 3;
	}
	char name[128]; uint32_t act; unsigned argc;
	while (scanf("%127s%" SCNu32 "%u", name, &act, &argc) == 3) {
		struct scmp_arg_cmp args[6];
		for (unsigned i = 0; i < argc; i++) {
			unsigned op;
			if (scanf("%u%u%" SCNu64 "%" SCNu64, &args[i].arg, &op, &args[i].datum_a, &args[i].datum_b) != 4) return 2;
			args[i].op = op;
		}
		int nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR) continue;
		int rc = seccomp_rule_add_array(ctx, act, nr, argc, args);
		if (rc) { fprintf(stderr, "%s: %d\n", name, rc); return 4; }
	}
	return seccomp_export_bpf(ctx, 1) ? 5 : 0;
}
`

// known lists the calls that the library has heard of: it prints those lines
// of its input that resolve.
const resolver = `
#include <seccomp.h>
#include <stdio.h>
int main(void) {
	char name[128];
	while (scanf("%127s", name) == 1)
		if (seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR) puts(name);
	return 0;
}
`

func buildC(t *testing.T, name, source string) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, name)
	if err := os.WriteFile(bin+".c", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-O0", "-o", bin, bin+".c", "-lseccomp").CombinedOutput(); err != nil {
		t.Skipf("no C compiler with libseccomp to compare with: %v\n%s", err, out)
	}
	return bin
}

// scmpOps are libseccomp's enum scmp_compare.
var scmpOps = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4,
	specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

// reference is libseccomp's filter for a profile whose rules compare no
// argument twice. ok is false if it refuses the profile.
func reference(t *testing.T, bin string, cfg *specs.LinuxSeccomp) (prog []unix.SockFilter, ok bool) {
	t.Helper()
	var in, out bytes.Buffer
	def := mustAction(cfg.DefaultAction, cfg.DefaultErrnoRet)
	fmt.Fprintln(&in, def, len(cfg.Architectures))
	for _, name := range cfg.Architectures {
		token := map[specs.Arch]uint32{specs.ArchX86: unix.AUDIT_ARCH_I386, specs.ArchX86_64: unix.AUDIT_ARCH_X86_64, specs.ArchX32: 0x4000003e}[name]
		fmt.Fprintln(&in, token)
	}
	for _, call := range cfg.Syscalls {
		act := mustAction(call.Action, call.ErrnoRet)
		if act == def {
			continue
		}
		for _, name := range call.Names {
			fmt.Fprintln(&in, name, act, len(call.Args))
			for _, a := range call.Args {
				fmt.Fprintln(&in, a.Index, scmpOps[a.Op], a.Value, a.ValueTwo)
			}
		}
	}
	cmd := exec.Command(bin)
	cmd.Stdin, cmd.Stdout = &in, &out
	if err := cmd.Run(); err != nil {
		return nil, false
	}
	for b := out.Bytes(); len(b) >= insnSize; b = b[insnSize:] {
		prog = append(prog, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return prog, true
}

// diverge looks for a call that the two filters decide differently.
func diverge(t *testing.T, cfg *specs.LinuxSeccomp, ref []unix.SockFilter, skip func(data) bool, rng *rand.Rand, tries int) {
	t.Helper()
	p, err := compile(cfg, specs.ArchX86_64)
	if err != nil {
		t.Fatal(err)
	}
	theirs := &Program{filter: ref}
	values := interesting(cfg)
	for _, name := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32} {
		a, _ := lookupArch(name)
		for _, nr := range numbers(a) {
			for range tries {
				d := data{nr: nr, arch: a.audit}
				for i := range d.args {
					d.args[i] = values[rng.IntN(len(values))]
				}
				if name == specs.ArchX86 {
					for i := range d.args {
						d.args[i] &= 0xffffffff
					}
				}
				if skip(d) {
					continue
				}
				if got, want := run(t, p, d), run(t, theirs, d); got != want {
					t.Fatalf("%s call %d args %x: ours %#x, libseccomp's %#x; rules %+v", name, nr, d.args, got, want, cfg.Syscalls)
				}
			}
		}
	}
}

// TestAgainstLibseccomp compares with the library that other runtimes use:
// Docker's default profile, and random ones of a single action, where the
// order of overlapping rules (which the library leaves open) does not matter.
func TestAgainstLibseccomp(t *testing.T) {
	if native, err := nativeArch(); err != nil || native != specs.ArchX86_64 {
		t.Skip("the comparison is written for amd64")
	}
	bin := buildC(t, "exporter", exporter)
	known := knownNames(t)
	rng := rand.New(rand.NewPCG(9, 10))

	cfg := dockerDefault(t)
	for i := range cfg.Syscalls {
		cfg.Syscalls[i].Names = slices.DeleteFunc(cfg.Syscalls[i].Names, func(n string) bool { return !known[n] })
	}
	ref, ok := reference(t, bin, cfg)
	if !ok {
		t.Fatal("libseccomp refuses Docker's default profile")
	}
	p, err := compile(cfg, specs.ArchX86_64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Docker's default: %d instructions, libseccomp's %d", len(p.filter), len(ref))
	diverge(t, cfg, ref, func(d data) bool {
		// The library has no ENOSYS of its own, and old versions of it lack
		// the newest calls on some architectures.
		return run(t, p, d) == retENOSYS || tooNew(d)
	}, rng, 40)

	compared := 0
	for range 60 {
		cfg := singleAction(rng, known)
		ref, ok := reference(t, bin, cfg)
		if !ok {
			continue
		}
		compared++
		conditional := map[uint32]bool{}
		for _, call := range cfg.Syscalls {
			for _, n := range call.Names {
				if _, mux := lookupMux(n); mux && len(call.Args) > 0 {
					// The library lets conditions go, we do not.
					conditional[102], conditional[117] = true, true
				}
			}
		}
		diverge(t, cfg, ref, func(d data) bool {
			return d.arch == unix.AUDIT_ARCH_I386 && conditional[d.nr] || tooNew(d)
		}, rng, 20)
	}
	if compared < 40 {
		t.Errorf("only %d random profiles compared", compared)
	}
}

// tooNew tells of calls later than set_mempolicy_home_node, Linux 5.17.
func tooNew(d data) bool { nr := d.nr &^ x32Bit; return nr > 450 && nr < 512 }

func knownNames(t *testing.T) map[string]bool {
	t.Helper()
	var in bytes.Buffer
	for _, n := range append(syscallNames[:], "send", "recv") {
		fmt.Fprintln(&in, n)
	}
	cmd := exec.Command(buildC(t, "resolver", resolver))
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, n := range bytes.Fields(out) {
		known[string(n)] = true
	}
	return known
}

// singleAction is a random profile that lets calls through by default and has
// one other action.
func singleAction(rng *rand.Rand, known map[string]bool) *specs.LinuxSeccomp {
	cfg := randomProfile(rng)
	cfg.DefaultAction, cfg.DefaultErrnoRet = specs.ActAllow, nil
	cfg.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	for i := range cfg.Syscalls {
		call := &cfg.Syscalls[i]
		call.Action, call.ErrnoRet = specs.ActErrno, errno(77)
		call.Names = slices.DeleteFunc(call.Names, func(n string) bool { return !known[n] })
		var seen [maxArgs]bool
		call.Args = slices.DeleteFunc(call.Args, func(a specs.LinuxSeccompArg) bool {
			twice := seen[a.Index]
			seen[a.Index] = true
			return twice
		})
		if len(call.Args) > 1 && slices.ContainsFunc(call.Args, func(a specs.LinuxSeccompArg) bool {
			return a.Op != specs.OpEqualTo && a.Op != specs.OpMaskedEqual
		}) {
			// libseccomp 2.5.4 gets 64-bit inequalities wrong in a chain.
			call.Args = call.Args[:1]
		}
	}
	return cfg
}
