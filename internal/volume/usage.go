package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	volumetypes "github.com/moby/moby/api/types/volume"
)

// Usage gives the volumes without options with their sizes in bytes and the
// number of containers that have them: what `system df` shows.
func (s *Service) Usage(ctx context.Context) ([]volumetypes.Volume, error) {
	out := []volumetypes.Volume{}
	for _, v := range s.all() {
		if len(v.Options) > 0 {
			continue // not on this disk
		}
		size, err := v.size(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.log.WarnContext(ctx, "determine size of volume", "volume", v.Name, "err", err)
			size = -1
		}
		api := v.api()
		api.UsageData = &volumetypes.UsageData{Size: size, RefCount: int64(len(s.users(v.Name)))}
		out = append(out, api)
	}
	return out, nil
}

// size adds up the sizes of the files, each inode once. Containers may move
// things meanwhile: no path leads out of the volume.
func (v *vol) size(ctx context.Context) (int64, error) {
	root, err := os.OpenRoot(v.data())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer root.Close() // read only
	type inode struct{ dev, ino uint64 }
	seen := map[inode]struct{}{}
	var size int64
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since it was listed
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			key := inode{st.Dev, st.Ino}
			if _, twice := seen[key]; twice {
				return nil
			}
			seen[key] = struct{}{}
		}
		size += info.Size()
		return nil
	})
	return size, err
}
