package mount

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestOpenChecked(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.CheckLeaks(t, testenv.FDs)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(in("file"), []byte("text"), 0o644), os.Symlink("/file", in("link")), os.Mkdir(in("dir"), 0o755),
		unix.Mkfifo(in("pipe"), 0o644),
		unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod(in("tun"), unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))))
	if err != nil {
		t.Fatal(err)
	}
	proc, err := OpenProc()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc) //nolint:errcheck // only a handle
	h, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(h) //nolint:errcheck // only a handle
	root := RootAt(h)
	for name, want := range map[string]error{
		"file": nil, "/link": nil, "dir": ErrOtherFile, "pipe": ErrOtherFile, "null": ErrOtherFile, "tun": ErrOtherFile, "none": unix.ENOENT,
	} {
		file, err := root.OpenRegular(proc, name)
		if !errors.Is(err, want) {
			t.Errorf("regular %s: got %v", name, err)
		}
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(file), name)
		if text, err := io.ReadAll(f); string(text) != "text" || err != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		_ = f.Close()
	}
	for name, want := range map[string]error{"file": ErrOtherFile, "dir": ErrOtherFile, "null": nil, "tun": ErrOtherFile, "none": unix.ENOENT} {
		file, err := root.OpenDevice(proc, name, 1, 3, unix.O_RDWR)
		if !errors.Is(err, want) {
			t.Errorf("device %s: got %v", name, err)
		}
		if err == nil {
			if _, err := unix.Write(file, []byte("x")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_ = unix.Close(file)
		}
	}
	if file, err := RootAt(proc).OpenRegular(proc, "version"); !errors.Is(err, ErrOtherFile) {
		t.Errorf("a file of the kernel's: %d, %v", file, err)
	}
}
