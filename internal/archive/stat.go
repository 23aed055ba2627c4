package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Stat describes a path of a container as Docker's archive endpoints do.
type Stat struct {
	Name       string      `json:"name"`
	Size       int64       `json:"size"`
	Mode       os.FileMode `json:"mode"`
	Mtime      time.Time   `json:"mtime"`
	LinkTarget string      `json:"linkTarget"`
}

// place is a path of a root, found.
type place struct {
	handle int // O_PATH; the link itself if the path is one and was not followed
	stat   unix.Stat_t
	name   string // the last part of the path as it was given: "." for what is in a directory, "/" for the root
}

func (p *place) isDir() bool { return p.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

func (p *place) close() { fd.Close(p.handle) }

// find opens a path in Docker's notation. Links on the way are followed inside
// the root, one at the end only if a slash or "/." comes behind it, which also
// says that there must be a directory.
func find(root mount.Root, name string) (*place, error) {
	clean := path.Join("/", name)
	p := &place{name: path.Base(clean)}
	inside := name == "." || strings.HasSuffix(name, "/.")
	if inside {
		p.name = "."
	}
	mustBeDir := inside || strings.HasSuffix(name, "/")
	flags := unix.O_PATH
	if !mustBeDir {
		flags |= unix.O_NOFOLLOW
	}
	h, err := root.Open(clean, flags)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, errs.New(errs.NotFound, "Could not find the file %s in container", name)
	}
	if err != nil {
		return nil, pathError(name, err)
	}
	p.handle = h
	if err := unix.Fstat(h, &p.stat); err != nil {
		p.close()
		return nil, pathError(name, err)
	}
	if mustBeDir && !p.isDir() {
		p.close()
		return nil, errs.New(errs.InvalidArgument, "extraction point is not a directory: %s", name)
	}
	return p, nil
}

func pathError(name string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		return errs.New(errs.InvalidArgument, "%s: too many levels of symbolic links", name)
	}
	return fmt.Errorf("look at %s in container: %w", name, err)
}

// StatPath describes a path of root. A link at its end is followed only if a
// slash comes behind it. A path that is not there is errs.NotFound.
func StatPath(root mount.Root, name string) (Stat, error) {
	p, err := find(root, name)
	if err != nil {
		return Stat{}, err
	}
	defer p.close()
	return p.describe()
}

func (p *place) describe() (Stat, error) {
	s := Stat{Name: p.name, Size: p.stat.Size, Mode: fileMode(p.stat.Mode), Mtime: time.Unix(p.stat.Mtim.Unix())}
	if p.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err := readlink(p.handle)
		if err != nil {
			return Stat{}, err
		}
		s.LinkTarget = target
	}
	return s, nil
}

// readlink reads the link behind an O_PATH handle.
func readlink(h int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(h, "", buf)
	if err != nil {
		return "", fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), nil
}

// fileMode is the mode of stat(2) as Go writes it, which Docker's API carries.
func fileMode(mode uint32) os.FileMode {
	m := os.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= os.ModeDir
	case unix.S_IFLNK:
		m |= os.ModeSymlink
	case unix.S_IFBLK:
		m |= os.ModeDevice
	case unix.S_IFCHR:
		m |= os.ModeDevice | os.ModeCharDevice
	case unix.S_IFIFO:
		m |= os.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= os.ModeSocket
	}
	for bit, flag := range map[uint32]os.FileMode{unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
