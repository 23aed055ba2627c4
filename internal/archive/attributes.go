package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// What is made by its name is opened by its name, and whoever may write to the place,
// as the container does, can put something else there in between. Attributes would
// give that away: a file of the machine's in a bind mount, one of another user's.
var errReplaced = errs.New(errs.Conflict, "it was replaced by something else while it was made")

// containers tells whether what is behind h belongs to a user of the container's, who
// may do with it what an archive does. Without mappings everybody's does.
func (x *unpacking) containers(h int) (bool, error) {
	if x.IDs.Empty() {
		return true, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		return false, err
	}
	return x.IDs.owns(int(st.Uid)), nil
}

// checkMade refuses what is not the link, pipe or device that was just made. Pipes and
// devices are made without any rights, which no one else's are.
func (x *unpacking) checkMade(h int, head *tar.Header) error {
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		return err
	}
	same := false
	switch head.Typeflag {
	case tar.TypeSymlink:
		buf := make([]byte, len(head.Linkname)+1)
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			n, err := unix.Readlinkat(h, "", buf)
			if err != nil {
				return err
			}
			same = string(buf[:n]) == head.Linkname
		}
	case tar.TypeFifo:
		same = st.Mode == unix.S_IFIFO
	case tar.TypeChar, tar.TypeBlock:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[head.Typeflag]
		same = st.Mode == kind && st.Rdev == unix.Mkdev(uint32(head.Devmajor), uint32(head.Devminor))
	}
	if !same || !x.IDs.Empty() && !x.IDs.owns(int(st.Uid)) {
		return errReplaced
	}
	return nil
}

// attributes sets owner, mode, capabilities and time of what is behind h, in the
// order in which the one does not undo the other.
func (x *unpacking) attributes(h int, mode uint32, head *tar.Header) error {
	self := "/proc/self/fd/" + strconv.Itoa(h)
	owner := Owner{head.Uid, head.Gid}
	if x.Owner != nil {
		owner = *x.Owner
	}
	owner, err := x.IDs.outside(owner)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(h, "", owner.UID, owner.GID, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if head.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(self, mode); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
		for key, value := range head.PAXRecords {
			name, ok := strings.CutPrefix(key, paxXattr)
			if !ok || name != capabilityXattr && !strings.HasPrefix(name, "user.") {
				continue // labels and the like are this machine's to give
			}
			if name == capabilityXattr {
				if value = x.IDs.capabilityOutside(value); value == "" {
					continue
				}
			}
			if err := unix.Setxattr(self, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return fmt.Errorf("set extended attribute %s: %w", name, err)
			}
		}
	}
	return setTime(h, head)
}

func setTime(h int, head *tar.Header) error {
	if head.ModTime.IsZero() {
		return nil
	}
	at := unix.NsecToTimespec(head.ModTime.UnixNano())
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, at}
	err := unix.UtimesNanoAt(h, "", times, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // before Linux 5.8 by the name only
		err = unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(h), times, 0)
	}
	if err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// finish sets the times of directories, which the making of what is in them has
// changed, the innermost first.
func (x *unpacking) finish() error {
	for _, d := range slices.Backward(x.dirs) {
		h, err := x.Root.Open(path.Join(x.top, d.Name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later entry took its place
		}
		if err != nil {
			return fmt.Errorf("set time of %s: %w", d.Name, err)
		}
		ours, err := x.containers(h)
		if ours && err == nil {
			err = setTime(h, d)
		}
		fd.Close(h)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return nil
}
