package capability

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	m, unknown := Parse([]string{"CAP_CHOWN", "cap_kill", "CAP_CHECKPOINT_RESTORE", "KILL", "CAP_X"})
	if m != Bit(0)|Bit(5)|Bit(40) || strings.Join(unknown, " ") != "KILL CAP_X" {
		t.Errorf("%b %q", m, unknown)
	}
	if m.String() != "CAP_CHOWN,CAP_KILL,CAP_CHECKPOINT_RESTORE" {
		t.Error(m.String())
	}
	all, unknown := Parse(Names())
	if len(unknown) > 0 || all != Bit(len(names))-1 {
		t.Errorf("%b %q", all, unknown)
	}
}

func TestCurrentAgreesWithProc(t *testing.T) {
	s, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]Mask{"CapEff": s.Effective, "CapPrm": s.Permitted, "CapInh": s.Inheritable} {
		want := name + ":\t" + hex16(m)
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in %s", want, data)
		}
	}
	if want := "CapBnd:\t" + hex16(Bounding()); !strings.Contains(string(data), want) {
		t.Errorf("%s is not in %s", want, data)
	}
	header, sets := s.Encoded()
	if len(header) != 8 || len(sets) != 24 {
		t.Fatalf("%d and %d bytes", len(header), len(sets))
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header[0])), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 { // what we have we may keep
		t.Error(errno)
	}
	if now, err := Current(); err != nil || now != s {
		t.Errorf("%+v became %+v, %v", s, now, err)
	}
}

func TestNumbers(t *testing.T) {
	if got := (Bit(0) | Bit(5) | Bit(40)).Numbers(); !slices.Equal(got, []int{0, 5, 40}) || Mask(0).Numbers() != nil {
		t.Error(got)
	}
}

func hex16(m Mask) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 16)
	for i := range b {
		b[15-i] = digits[m>>(4*i)&15]
	}
	return string(b)
}
