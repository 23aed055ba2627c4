// Package quota limits what directory trees take of a filesystem by its project
// quotas: those of xfs (mounted with pquota) and of ext4 (with the features quota
// and project, mounted with prjquota), see quotactl(2) and xfs_quota(8).
//
// Ids of projects are plain numbers without a registry, and anybody may use any:
// an id counts as taken as soon as something belongs to it or a limit is set for
// it. Who decides which tree is limited, and remembers it, does not belong here.
package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// From linux/quota.h, linux/dqblk_xfs.h and linux/fs.h.
const (
	prjQuota = 2

	xGetQuota  = 'X'<<8 + 3
	xSetLimits = 'X'<<8 + 4
	xGetState  = 'X'<<8 + 5

	projectAccounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	projectEnforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD

	diskQuotaVersion = 1
	diskQuotaProject = 2      // XFS_PROJ_QUOTA
	fieldBlockLimits = 3 << 2 // FS_DQ_BSOFT | FS_DQ_BHARD
	basicBlock       = 512

	inheritProject = 0x200 // FS_XFLAG_PROJINHERIT
	getAttributes  = 2<<30 | uint32(unsafe.Sizeof(attributes{}))<<16 | 'X'<<8 | 31
	setAttributes  = 1<<30 | uint32(unsafe.Sizeof(attributes{}))<<16 | 'X'<<8 | 32
)

// attributes is struct fsxattr.
type attributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// diskQuota is struct fs_disk_quota.
type diskQuota struct {
	version, flags                       int8
	fields                               uint16
	id                                   uint32
	blockHard, blockSoft                 uint64
	inodeHard, inodeSoft                 uint64
	blocks, inodes                       uint64
	_                                    [16]byte // timers and warnings
	realtimeHard, realtimeSoft, realtime uint64
	_                                    [16]byte
}

// Filesystem is one with project quotas that are enforced. It is safe for
// concurrent use.
type Filesystem struct{ dir *os.File }

// errUnsupported has Docker's words.
var errUnsupported = errs.New(errs.Unsupported, "Filesystem does not support, or has not enabled quotas")

// Open gives the filesystem that a directory is on; errs.Unsupported if projects
// have no quotas there, or the kernel is older than Linux 5.14.
func Open(dir string) (*Filesystem, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open filesystem for quotas: %w", err)
	}
	fs := &Filesystem{f}
	var state [256]byte // struct fs_quota_stat is smaller
	if err := fs.control(xGetState, 0, unsafe.Pointer(&state)); err != nil {
		return nil, errors.Join(errUnsupported, f.Close())
	}
	const both = projectAccounted | projectEnforced
	if binary.NativeEndian.Uint16(state[2:])&both != both {
		return nil, errors.Join(errUnsupported, f.Close())
	}
	return fs, nil
}

// Close lets the filesystem go; limits stay.
func (f *Filesystem) Close() error { return f.dir.Close() }

func (f *Filesystem) control(command, id uint32, value unsafe.Pointer) error {
	_, _, no := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.dir.Fd(), uintptr(command<<8|prjQuota), uintptr(id), uintptr(value), 0, 0)
	if no != 0 {
		return no
	}
	return nil
}

// Quota is a project's, in bytes and numbers of files.
type Quota struct {
	Limit  uint64 // 0: none
	Used   uint64
	Inodes uint64
}

// Get gives a project's quota; the zero value for a project that nobody uses.
func (f *Filesystem) Get(project uint32) (Quota, error) {
	var d diskQuota
	err := f.control(xGetQuota, project, unsafe.Pointer(&d))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return Quota{}, nil
	}
	if err != nil {
		return Quota{}, fmt.Errorf("read quota of project %d: %w", project, err)
	}
	return Quota{Limit: d.blockHard * basicBlock, Used: d.blocks * basicBlock, Inodes: d.inodes}, nil
}

// Limit bounds what a project's files may take together; 0 for no bound. The bound
// is of whole blocks: what is less than one counts as one, since none is no bound.
func (f *Filesystem) Limit(project uint32, bytes uint64) error {
	blocks := basicBlocks(bytes)
	d := diskQuota{version: diskQuotaVersion, flags: diskQuotaProject, fields: fieldBlockLimits, id: project, blockHard: blocks, blockSoft: blocks}
	if err := f.control(xSetLimits, project, unsafe.Pointer(&d)); err != nil {
		return fmt.Errorf("set quota of project %d: %w", project, err)
	}
	return nil
}

func basicBlocks(bytes uint64) uint64 {
	blocks := bytes / basicBlock
	if bytes%basicBlock > 0 {
		blocks++
	}
	return blocks
}

// Ids that Unused gives are beyond those that people and Docker, which counts from
// the project of its directory, choose.
const (
	firstProject = 1 << 20
	projects     = 1<<31 - firstProject
	attempts     = 100
)

// Unused gives the id of a project that nothing belongs to. It may be somebody's
// in the next moment: see Assign.
func (f *Filesystem) Unused() (uint32, error) {
	for range attempts {
		id := firstProject + rand.Uint32N(projects)
		q, err := f.Get(id)
		if err != nil {
			return 0, err
		}
		if q == (Quota{}) {
			return id, nil
		}
	}
	return 0, errs.New(errs.Unavailable, "no unused project id found in %d attempts", attempts)
}

// Assign puts new, empty directories, and all that will be made in them, into a
// project. alone tells that nothing else is in it: of several that assign the same
// id at once at most one is alone; the others must choose again.
func (f *Filesystem) Assign(project uint32, dirs ...string) (alone bool, err error) {
	for _, dir := range dirs {
		if err := assign(dir, project); err != nil {
			return false, fmt.Errorf("assign %s to project %d: %w", dir, project, err)
		}
	}
	q, err := f.Get(project)
	return q.Inodes == uint64(len(dirs)), err
}

func assign(dir string, project uint32) error {
	return attributesOf(dir, func(h int, a *attributes) error {
		a.project, a.flags = project, a.flags|inheritProject
		return control(h, setAttributes, a)
	})
}

// Project gives the project of a directory.
func Project(dir string) (project uint32, err error) {
	err = attributesOf(dir, func(_ int, a *attributes) error {
		project = a.project
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read project of %s: %w", dir, err)
	}
	return project, nil
}

func attributesOf(dir string, use func(h int, a *attributes) error) error {
	h, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(h) //nolint:errcheck // read only
	var a attributes
	if err := control(h, getAttributes, &a); err != nil {
		return err
	}
	return use(h, &a)
}

func control(h int, command uint32, a *attributes) error {
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(h), uintptr(command), uintptr(unsafe.Pointer(a))); no != 0 {
		return no
	}
	return nil
}
