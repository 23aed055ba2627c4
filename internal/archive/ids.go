package archive

import (
	"archive/tar"
	"encoding/binary"
	"slices"

	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/errs"
)

// IDs are the mappings of a container whose files are seen from the machine, where
// they have other numbers. Archives have the container's. The zero value maps nothing.
type IDs struct{ user.IdentityMapping }

// nobody is whom a container sees as the owner of a file whose owner is not mapped:
// the kernel's overflow id.
const nobody = 65534

// inside gives a head with the machine's numbers those of the container.
func (m IDs) inside(head *tar.Header) {
	if m.Empty() {
		return
	}
	head.Uid, head.Gid = containerID(head.Uid, m.UIDMaps), containerID(head.Gid, m.GIDMaps)
	const key = paxXattr + capabilityXattr
	if c, ok := head.PAXRecords[key]; ok {
		if c = m.capabilityInside(c); c == "" {
			delete(head.PAXRecords, key)
		} else {
			head.PAXRecords[key] = c
		}
	}
}

func containerID(id int, ids []user.IDMap) int {
	for _, m := range ids {
		if n := int64(id) - m.ParentID; n >= 0 && n < m.Count {
			return int(m.ID + n)
		}
	}
	return nobody
}

// owns tells whether a number of the machine's is that of a user of the container's.
func (m IDs) owns(uid int) bool {
	return slices.ContainsFunc(m.UIDMaps, func(r user.IDMap) bool {
		n := int64(uid) - r.ParentID
		return n >= 0 && n < r.Count
	})
}

// outside gives the machine's numbers of an owner in the container.
func (m IDs) outside(o Owner) (Owner, error) {
	if m.Empty() {
		return o, nil
	}
	uid, gid, err := m.ToHost(o.UID, o.GID)
	if err != nil {
		return o, errs.New(errs.InvalidArgument, "owner %d:%d: the container's user namespace does not have it: %w", o.UID, o.GID, err)
	}
	return Owner{uid, gid}, nil
}

// The forms of the attribute security.capability: struct vfs_cap_data, and
// vfs_ns_cap_data, which ends with the user who is root where it holds.
const (
	capabilityRevision  = 0xFF000000
	capabilityRevision2 = 0x02000000
	capabilityRevision3 = 0x03000000
	capabilitySize2     = 20 // bytes
	capabilitySize3     = 24
)

func revisionOf(c string) (uint32, bool) {
	if len(c) < 4 {
		return 0, false
	}
	head := binary.LittleEndian.Uint32([]byte(c))
	return head, len(c) == map[uint32]int{capabilityRevision2: capabilitySize2, capabilityRevision3: capabilitySize3}[head&capabilityRevision]
}

func withHead(head uint32, rest string) string {
	return string(binary.LittleEndian.AppendUint32(nil, head)) + rest
}

// capabilityInside is a file's capabilities as the container sees them; "" if they
// are another one's.
func (m IDs) capabilityInside(c string) string {
	head, ok := revisionOf(c)
	if !ok || head&capabilityRevision != capabilityRevision3 {
		return ""
	}
	rest := c[4:capabilitySize2]
	switch root := containerID(int(binary.LittleEndian.Uint32([]byte(c[capabilitySize2:]))), m.UIDMaps); root {
	case nobody:
		return ""
	case 0:
		return withHead(head&^capabilityRevision|capabilityRevision2, rest)
	default:
		return withHead(head, rest) + string(binary.LittleEndian.AppendUint32(nil, uint32(root)))
	}
}

// capabilityOutside is the reverse; "" if they cannot be of use to anybody.
func (m IDs) capabilityOutside(c string) string {
	if m.Empty() {
		return c
	}
	head, ok := revisionOf(c)
	if !ok {
		return ""
	}
	root := 0
	if head&capabilityRevision == capabilityRevision3 {
		root = int(binary.LittleEndian.Uint32([]byte(c[capabilitySize2:])))
	}
	uid, _, err := m.ToHost(root, 0)
	if err != nil {
		return ""
	}
	return withHead(head&^capabilityRevision|capabilityRevision3, c[4:capabilitySize2]) + string(binary.LittleEndian.AppendUint32(nil, uint32(uid)))
}
