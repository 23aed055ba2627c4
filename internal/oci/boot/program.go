package boot

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// lookProgram finds the program as a shell would, before privileges are given
// up, so that create can tell the user. The messages are those that people know
// from runc.
func lookProgram(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", &programError{name, err}
		}
		return name, nil
	}
	for _, dir := range strings.Split(lookup(env, "PATH"), ":") {
		if dir == "" {
			dir = "."
		}
		file := path.Join(dir, name)
		if executable(file) == nil {
			if !path.IsAbs(file) {
				return "./" + file, nil
			}
			return file, nil
		}
	}
	return "", &programError{name, errs.New(errs.NotFound, "executable file not found in $PATH")}
}

func executable(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		kind := errs.Permission
		if errors.Is(err, unix.ENOENT) {
			kind = errs.NotFound
		}
		return errs.Wrap(kind, &fs.PathError{Op: "stat", Path: file, Err: err})
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		// Docker's older clients tell exit code 126 by "permission denied".
		return errs.New(errs.Permission, "%w: permission denied", unix.EISDIR)
	}
	if st.Mode&0o111 == 0 {
		return errs.New(errs.Permission, "permission denied")
	}
	return nil
}

func lookup(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], key+"="); ok {
			return v
		}
	}
	return ""
}

// environment is the program's environment, with HOME from the container's
// user database if nobody set it.
func (b *initializer) environment() []string {
	env := b.plan.Process.Env
	if lookup(env, "HOME") != "" {
		return env
	}
	out := make([]string, 0, len(env)+1)
	for _, s := range env {
		if !strings.HasPrefix(s, "HOME=") {
			out = append(out, s)
		}
	}
	home := "/"
	if f, err := b.openPlain("/etc/passwd"); err == nil {
		home = homeOf(f, b.plan.Process.UID)
		_ = f.Close() // read only
	}
	return append(out, "HOME="+home)
}

// openPlain opens a regular file of the container; a pipe or device in its
// place is left alone.
func (b *initializer) openPlain(name string) (*os.File, error) {
	h, err := b.root.OpenRegular(b.proc, name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), name), nil
}

// Limits for the user database, which the image wrote.
const (
	maxPasswdLine  = 64 << 10
	maxPasswdLines = 100_000
)

// homeOf finds the home directory of a user id in a passwd(5) file, "/" if it
// is not there. Over-long files and lines end the search.
func homeOf(f interface{ Read([]byte) (int, error) }, uid uint32) string {
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 0, 4096), maxPasswdLine)
	for n := 0; n < maxPasswdLines && s.Scan(); n++ {
		parts := strings.Split(s.Text(), ":")
		if len(parts) < 6 {
			continue
		}
		id, err := strconv.ParseUint(parts[2], 10, 32)
		if err == nil && uint32(id) == uid && path.IsAbs(parts[5]) {
			return parts[5]
		}
	}
	return "/"
}
