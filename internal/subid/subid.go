// Package subid finds out whose subordinate ids (subuid(5), subgid(5)) the daemon's
// option userns-remap names, and which these are. It reads; users and ranges are made
// by the machine's administrator.
package subid

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/errs"
)

// DefaultUser is who the value "default" stands for, as in Docker.
const DefaultUser = "dockremap"

// ErrRoot says that root is to be remapped to root, which is to say not at all.
var ErrRoot = errors.New("root cannot be remapped with itself")

// Mapping gives the ids that containers get. want is "default", or a user and,
// optionally, a group, as names or numbers, separated by a colon. Both must be there;
// as in Docker, the group's ids are those that the user may use. dir is where passwd,
// group, subuid and subgid are. Errors are errs.InvalidArgument or ErrRoot.
func Mapping(want, dir string) (user.IdentityMapping, error) {
	var none user.IdentityMapping
	who, group, both := strings.Cut(want, ":")
	if strings.Contains(group, ":") || who == "" || both && group == "" {
		return none, errs.New(errs.InvalidArgument, "invalid user/group specification in --userns-remap: %q", want)
	}
	f := files{dir}
	u, err := f.user(who)
	if err != nil {
		return none, err
	}
	if !both {
		group = u.Name
		if _, err := strconv.Atoi(who); err == nil {
			group = who
		}
	}
	if err := f.checkGroup(group); err != nil {
		return none, err
	}
	if u.Name == "root" {
		return none, ErrRoot
	}
	var m user.IdentityMapping
	if m.UIDMaps, err = f.ranges("subuid", u); err != nil {
		return none, err
	}
	if m.GIDMaps, err = f.ranges("subgid", u); err != nil {
		return none, err
	}
	return m, nil
}

type files struct{ dir string }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

func (f files) user(who string) (user.User, error) {
	name, number := who, -1
	if n, err := strconv.ParseInt(who, 10, 32); err == nil {
		number = int(n)
	} else if who == "default" {
		name = DefaultUser
	}
	found, err := user.ParsePasswdFileFilter(f.path("passwd"), func(u user.User) bool {
		return u.Name == name && number < 0 || number >= 0 && u.Uid == number
	})
	switch {
	case err != nil:
		return user.User{}, fmt.Errorf("userns-remap: look for user %s: %w", name, err)
	case len(found) > 0:
		return found[0], nil
	case who == "default":
		return user.User{}, errs.New(errs.InvalidArgument, "userns-remap: there is no user %s for containers' ids: create it with: "+
			"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin %[1]s && "+
			"usermod --add-subuids %[2]s --add-subgids %[3]s %[1]s", DefaultUser, f.free("subuid"), f.free("subgid"))
	}
	return user.User{}, errs.New(errs.InvalidArgument, "userns-remap: user %s has no entry in %s", who, f.path("passwd"))
}

func (f files) checkGroup(who string) error {
	number, err := strconv.ParseInt(who, 10, 32)
	numeric := err == nil
	found, err := user.ParseGroupFileFilter(f.path("group"), func(g user.Group) bool {
		return !numeric && g.Name == who || numeric && int64(g.Gid) == number
	})
	if err != nil {
		return fmt.Errorf("userns-remap: look for group %s: %w", who, err)
	}
	if len(found) == 0 {
		return errs.New(errs.InvalidArgument, "userns-remap: group %s has no entry in %s", who, f.path("group"))
	}
	return nil
}

// ranges gives the ids that a user may use, as those of containers from 0 on.
func (f files) ranges(file string, u user.User) ([]user.IDMap, error) {
	number := strconv.Itoa(u.Uid)
	found, err := user.ParseSubIDFileFilter(f.path(file), func(s user.SubID) bool { return s.Name == u.Name || s.Name == number })
	if err != nil {
		return nil, fmt.Errorf("userns-remap: read subordinate ids: %w", err)
	}
	var ids []user.IDMap
	next := int64(0)
	for _, r := range found {
		if r.SubID <= 0 || r.Count <= 0 {
			return nil, errs.New(errs.InvalidArgument, "userns-remap: %s gives %s the range %d:%d, which is none for a container", f.path(file), r.Name, r.SubID, r.Count)
		}
		ids = append(ids, user.IDMap{ID: next, ParentID: r.SubID, Count: r.Count})
		next += r.Count
	}
	if len(ids) == 0 {
		return nil, errs.New(errs.InvalidArgument, "userns-remap: user %s has no ids in %s: give it some with: usermod --add-%ss %s %[1]s",
			u.Name, f.path(file), file, f.free(file))
	}
	return ids, nil
}

// free is a range that nobody has yet, as usermod(8) takes it.
func (f files) free(file string) string {
	const first, size = 100000, 65536
	next := int64(first)
	all, err := user.ParseSubIDFile(f.path(file))
	if err == nil { // without the file all are free
		for _, r := range all {
			next = max(next, r.SubID+r.Count)
		}
	}
	return fmt.Sprintf("%d-%d", next, next+size-1)
}
