package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Packer writes trees of a root as a tar stream in the PAX format.
type Packer struct {
	Root mount.Root
	// Skip lists directories (clean, absolute) of which only the directory itself
	// is packed if a filesystem is mounted there.
	Skip []string
	IDs  IDs // of the container; see there
}

// Path writes the path as "docker cp" wants it: a file, link or directory under
// its own name, what is in a directory as "./…" if the path ends in "/.", and the
// root as "/…". It calls begin with the path's description before it writes anything.
func (k Packer) Path(ctx context.Context, name string, begin func(Stat) io.Writer) error {
	p, err := find(k.Root, name)
	if err != nil {
		return err
	}
	defer p.close()
	s, err := p.describe()
	if err != nil {
		return err
	}
	return k.write(ctx, begin(s), p.handle, &p.stat, path.Join("/", name), p.name)
}

// All writes everything in the root, without a name of its own.
func (k Packer) All(ctx context.Context, w io.Writer) error {
	var st unix.Stat_t
	if err := unix.Fstat(k.Root.FD(), &st); err != nil {
		return fmt.Errorf("look at root: %w", err)
	}
	return k.write(ctx, w, k.Root.FD(), &st, "/", "")
}

func (k Packer) write(ctx context.Context, w io.Writer, handle int, st *unix.Stat_t, at, top string) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	p := packing{Packer: k, ctx: ctx, tar: tar.NewWriter(buffered), links: map[inode]string{}}
	if err := p.entry(handle, st, at, top); err != nil {
		return err
	}
	return errors.Join(p.tar.Close(), buffered.Flush())
}

type inode struct{ dev, ino uint64 }

// packing is one run of a Packer.
type packing struct {
	Packer
	ctx   context.Context
	tar   *tar.Writer
	links map[inode]string // names of files that have further ones
}

// entry writes what is behind an O_PATH handle. at is where it is in the root,
// name what the archive calls it, "" for a directory that gets no entry.
func (p *packing) entry(h int, st *unix.Stat_t, at, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if name != "" {
			if err := p.begin(dirHead(h, st, name)); err != nil {
				return err
			}
		}
		return p.children(h, at, name)
	}
	return p.leaf(h, st, name)
}

// begin writes an entry's head.
func (p *packing) begin(head *tar.Header) error {
	p.IDs.inside(head)
	return p.tar.WriteHeader(head)
}

func newHead(st *unix.Stat_t, name string) *tar.Header {
	return &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()).Truncate(time.Second), Format: tar.FormatPAX,
	}
}

func dirHead(h int, st *unix.Stat_t, name string) *tar.Header {
	head := newHead(st, strings.TrimSuffix(name, "/")+"/")
	head.Typeflag = tar.TypeDir
	addCapability(h, head)
	return head
}

// leaf writes what is no directory.
func (p *packing) leaf(h int, st *unix.Stat_t, name string) error {
	head := newHead(st, name)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(h, st, head)
	case unix.S_IFLNK:
		target, err := readlink(h)
		if err != nil {
			return err
		}
		head.Typeflag, head.Linkname = tar.TypeSymlink, target
		return p.begin(head)
	case unix.S_IFCHR, unix.S_IFBLK:
		head.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			head.Typeflag = tar.TypeBlock
		}
		head.Devmajor, head.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		return p.begin(head)
	case unix.S_IFIFO:
		head.Typeflag = tar.TypeFifo
		return p.begin(head)
	}
	return nil // a socket: tar has no word for it
}

func (p *packing) file(h int, st *unix.Stat_t, head *tar.Header) error {
	head.Typeflag, head.Size = tar.TypeReg, st.Size
	if st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, ok := p.links[key]; ok {
			head.Typeflag, head.Linkname, head.Size = tar.TypeLink, first, 0
			return p.begin(head)
		}
		p.links[key] = head.Name
	}
	f, err := reopen(h)
	if err != nil {
		return fmt.Errorf("open %s: %w", head.Name, err)
	}
	defer f.Close() //nolint:errcheck // read only
	addCapability(h, head)
	if err := p.begin(head); err != nil {
		return err
	}
	// The file may change meanwhile: the header's size holds, as tar(1) does it.
	n, err := io.CopyN(p.tar, f, head.Size)
	if errors.Is(err, io.EOF) {
		_, err = io.CopyN(p.tar, zeros{}, head.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// reopen opens the regular file behind an O_PATH handle for reading.
func reopen(h int) (*os.File, error) {
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(h), os.O_RDONLY|unix.O_NOCTTY, 0)
}

// capabilityXattr is the one extended attribute that Docker's archives carry.
const capabilityXattr = "security.capability"

// addCapability adds the file capabilities of a file or directory.
func addCapability(h int, head *tar.Header) {
	if c := capability(h); c != "" {
		head.PAXRecords = map[string]string{paxXattr + capabilityXattr: c}
	}
}

func capability(h int) string {
	buf := make([]byte, 64) // struct vfs_ns_cap_data has 24 bytes
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(h), capabilityXattr, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// paxXattr is what tar implementations put before an extended attribute's name.
const paxXattr = "SCHILY.xattr."

func (p *packing) children(h int, at, name string) error {
	if p.isForeign(h, at) {
		return nil
	}
	names, err := readNames(h, at)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := p.child(h, n, path.Join(at, n), below(name, n)); err != nil {
			return err
		}
	}
	return nil
}

// readNames gives the sorted names in the directory behind a handle.
func readNames(h int, at string) ([]string, error) {
	dir, err := unix.Openat(h, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // it has been removed meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", at, err)
	}
	f := os.NewFile(uintptr(dir), at)
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("list %s: %w", at, err)
	}
	slices.Sort(names)
	return names, nil
}

func (p *packing) child(dir int, base, at, name string) error {
	h, st, err := openChild(dir, base, at)
	if err != nil || h < 0 {
		return err
	}
	defer fd.Close(h)
	return p.entry(h, st, at, name)
}

// openChild opens an entry of a directory with O_PATH; -1 if it has been removed
// meanwhile. Every directory on the way to it is open too, so that the way must
// not be longer than any program could name.
func openChild(dir int, base, at string) (int, *unix.Stat_t, error) {
	if len(at) >= unix.PathMax {
		return -1, nil, errs.New(errs.InvalidArgument, "path of %d bytes in container is too long", len(at))
	}
	h, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, nil, nil
	}
	if err != nil {
		return -1, nil, fmt.Errorf("open %s: %w", at, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		fd.Close(h)
		return -1, nil, fmt.Errorf("look at %s: %w", at, err)
	}
	return h, &st, nil
}

// isForeign tells whether a directory is one of Skip and a mount.
func (p *packing) isForeign(h int, at string) bool {
	if !slices.Contains(p.Skip, at) {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(h, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// below is the archive's name of an entry of a directory with the given name.
func below(dir, entry string) string {
	if dir == "" {
		return entry
	}
	return strings.TrimSuffix(dir, "/") + "/" + entry
}
