package boot

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// resolveUser finds the numbers behind a user in Docker's notation, in the
// container's own files.
func (b *initializer) resolveUser() error {
	want := b.plan.Process.User
	if want == nil {
		return nil
	}
	passwd, err := b.openUserFile("/etc/passwd")
	if err != nil {
		return err
	}
	defer passwd.Close() //nolint:errcheck // read only
	group, err := b.openUserFile("/etc/group")
	if err != nil {
		return err
	}
	defer group.Close() //nolint:errcheck // read only
	who, err := user.GetExecUser(want.User, nil, io.LimitReader(passwd, mount.MaxUserFile), io.LimitReader(group, mount.MaxUserFile))
	if err != nil {
		return &userError{errs.Wrap(errs.InvalidArgument, err)}
	}
	// The primary group counts as a supplementary one too, or a set-group-ID
	// program could drop it (CVE-2022-36109).
	groups := append([]int{who.Gid}, who.Sgids...)
	if len(want.Groups) > 0 {
		if _, err := group.Seek(0, io.SeekStart); err != nil {
			return err
		}
		more, err := user.GetAdditionalGroups(want.Groups, io.LimitReader(group, mount.MaxUserFile))
		if err != nil {
			return &userError{errs.Wrap(errs.InvalidArgument, additional(err))}
		}
		groups = append(groups, more...)
	}
	return setUser(&b.plan.Process, who.Uid, who.Gid, groups)
}

// additional words the error of an additional group as Docker 28 does, whose
// version of the parser begins it with a capital, unlike that of a primary one.
func additional(err error) error {
	if rest, ok := strings.CutPrefix(err.Error(), "unable to find group "); ok {
		return errors.New("Unable to find group " + rest) //nolint:staticcheck // Docker's text
	}
	return err
}

// maxGroups is the kernel's NGROUPS_MAX.
const maxGroups = 65536

// setUser checks the numbers: -1 means "unchanged" to the kernel, which would
// leave the process root (CVE-2024-40635).
func setUser(p *plan.Process, uid, gid int, groups []int) error {
	for _, id := range append([]int{uid, gid}, groups...) {
		if id < 0 || id > math.MaxInt32 {
			return &userError{errs.Wrap(errs.InvalidArgument, user.ErrRange)}
		}
	}
	p.UID, p.GID, p.Groups = uint32(uid), uint32(gid), nil
	seen := make(map[int]struct{}, min(len(groups), maxGroups))
	for _, g := range groups {
		if _, ok := seen[g]; ok {
			continue
		}
		if len(seen) == maxGroups {
			return errs.New(errs.InvalidArgument, "user %d is in more than %d groups, which is all that a process can be in", uid, maxGroups)
		}
		seen[g] = struct{}{}
		p.Groups = append(p.Groups, uint32(g))
	}
	if uid != 0 && p.Caps != nil {
		// As Docker: what execve takes from an ordinary user is gone before, so
		// that it cannot help him to execute what is not his (CVE-2022-24769).
		p.Caps.Effective, p.Caps.Permitted = 0, 0
	}
	return nil
}

// noFile stands for a file that is not there. The null device is no such thing:
// the one in sight is the container's.
type noFile struct{ *strings.Reader }

func (noFile) Close() error { return nil }

// openUserFile opens a file of the container; one that is not there is empty.
func (b *initializer) openUserFile(path string) (io.ReadSeekCloser, error) {
	f, err := b.openPlain(path)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return noFile{strings.NewReader("")}, nil
	case errors.Is(err, mount.ErrOtherFile):
		return nil, errs.New(errs.InvalidArgument, "%s of the container is not a regular file", path)
	}
	return nil, err
}
