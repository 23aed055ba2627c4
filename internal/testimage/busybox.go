package testimage

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// BusyboxBinary gives Debian's busybox-static program: the installed one, else
// the one of the package, downloaded by apt into CacheDir.
var BusyboxBinary = sync.OnceValues(func() ([]byte, error) {
	for _, at := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		if data, err := os.ReadFile(at); err == nil && static(data) {
			return data, nil
		}
	}
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	cached := filepath.Join(dir, "busybox")
	if data, err := os.ReadFile(cached); err == nil && static(data) {
		return data, nil
	}
	data, err := downloadBusybox()
	if err != nil {
		return nil, fmt.Errorf("fetch busybox-static: %w", err)
	}
	return data, os.WriteFile(cached, data, 0o755)
})

func static(data []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

func downloadBusybox() ([]byte, error) {
	tmp, err := os.MkdirTemp("", "testimage-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("sh", "-c", "apt-get download busybox-static && dpkg-deb -x busybox-static_*.deb .")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	for _, at := range []string{"bin/busybox", "usr/bin/busybox"} {
		if data, err := os.ReadFile(filepath.Join(tmp, at)); err == nil {
			return data, nil
		}
	}
	return nil, errors.New("the package holds no busybox")
}

// CacheDir is .cache/testimage of the checkout, which git ignores. Outside a
// checkout it is the user's cache.
func CacheDir() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			at := filepath.Join(dir, ".cache", "testimage")
			return at, os.MkdirAll(at, 0o755)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	at := filepath.Join(user, "gantry-testimage")
	return at, os.MkdirAll(at, 0o755)
}

// applets asks the program itself for the names it answers to.
func applets(busybox []byte) ([]string, error) {
	f, err := os.CreateTemp("", "busybox-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(busybox)
	if err := errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(context.Background(), f.Name(), "--list").Output()
	for try := 0; errors.Is(err, syscall.ETXTBSY) && try < 100; try++ {
		// A child that was forked meanwhile holds the file open until it executes.
		time.Sleep(time.Millisecond)
		out, err = exec.CommandContext(context.Background(), f.Name(), "--list").Output()
	}
	if err != nil {
		return nil, fmt.Errorf("list applets: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// BusyboxFiles are the files of a minimal root file system: busybox with a hard
// link per applet, users, and the directories that programs expect.
func BusyboxFiles() ([]File, error) {
	busybox, err := BusyboxBinary()
	if err != nil {
		return nil, err
	}
	names, err := applets(busybox)
	if err != nil {
		return nil, err
	}
	files := []File{{Name: "bin/"}, {Name: "bin/busybox", Mode: 0o755, Body: busybox}}
	for _, n := range names {
		if n != "busybox" {
			files = append(files, File{Name: "bin/" + n, Mode: 0o755, Hardlink: "bin/busybox"})
		}
	}
	return append(files,
		File{Name: "dev/"}, File{Name: "etc/"},
		File{Name: "etc/group", Body: []byte("root:x:0:\ndaemon:x:1:\nwheel:x:10:app\nnogroup:x:65534:\napp:x:1000:\nextra:x:1001:app\n")},
		File{Name: "etc/passwd", Body: []byte("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\napp:x:1000:1000:App:/home/app:/bin/sh\n")},
		File{Name: "etc/shadow", Mode: 0o640, Body: []byte("root:*:19000:0:99999:7:::\n")},
		File{Name: "home/"}, File{Name: "home/app/", UID: 1000, GID: 1000},
		File{Name: "root/", Mode: 0o700}, File{Name: "tmp/", Mode: 0o1777},
		File{Name: "usr/"}, File{Name: "usr/bin/"}, File{Name: "usr/bin/env", Symlink: "/bin/env"},
		File{Name: "var/"}, File{Name: "var/www/"},
	), nil
}
