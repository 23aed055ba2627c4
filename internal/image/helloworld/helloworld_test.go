package helloworld

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// The programs must not change by accident: an image's ID depends on them.
// Whoever changes text or code runs the test and puts the new digest here.
var digests = map[string]string{
	"amd64": "c47a9848d02b0eeb175e6fbe264863a85dad71c389490ad43b7135a8d7c8b395",
	"arm64": "2ea4980befbbde72fb844b2fa8e694e9ff1e0c6160ec19c6dded9e15412e6554",
}

func TestProgramsAreReproducible(t *testing.T) {
	for arch, want := range digests {
		p, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Program(arch)
		if err != nil || !bytes.Equal(p, again) {
			t.Errorf("%s: two calls differ, err %v", arch, err)
		}
		sum := sha256.Sum256(p)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: digest %s, want %s", arch, got, want)
		}
		if len(p) > 10<<10 {
			t.Errorf("%s: %d bytes are not tiny", arch, len(p))
		}
	}
	if _, err := Program("s390x"); err == nil {
		t.Error("no error for an architecture without a program")
	}
}

func TestProgramsAreValidELF(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		p, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(p))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 2 {
			t.Errorf("%s: machine %v, type %v, %d program headers", arch, f.Machine, f.Type, len(f.Progs))
		}
		load := f.Progs[0]
		if load.Filesz != uint64(len(p)) || f.Entry != load.Vaddr+codeOffset || load.Flags&elf.PF_W != 0 {
			t.Errorf("%s: %d bytes loaded of %d, entry %#x, flags %v", arch, load.Filesz, len(p), f.Entry, load.Flags)
		}
	}
}

// The program is run natively, and emulated where qemu's user mode is there.
func TestProgramsRun(t *testing.T) {
	runners := map[string]string{"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}
	runners[runtime.GOARCH] = ""
	ran := false
	for arch, emulator := range runners {
		p, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(t.TempDir(), "hello")
		if err := os.WriteFile(at, p, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(at)
		if emulator != "" {
			path, err := exec.LookPath(emulator)
			if err != nil {
				t.Logf("%s: not run, there is no %s", arch, emulator)
				continue
			}
			cmd = exec.Command(path, at)
		}
		out, err := cmd.Output()
		if err != nil || string(out) != Text {
			t.Errorf("%s: err %v, output %q", arch, err, out)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command(cmd.Args[0], cmd.Args[1:]...)
		cmd.Stdout = full
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: a failing write gave %v, want exit code 1", arch, err)
		}
		_ = full.Close() // nothing was kept in it
		ran = true
	}
	if !ran {
		t.Error("no program was run")
	}
}
