package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// files writes to the files of one directory until one write fails.
type files struct {
	dir        string
	controller string // that the directory is of, in v1
	err        error
}

// put writes a value.
func (f *files) put(name, value string) {
	if f.err == nil {
		f.err = f.try(name, value)
	}
}

// try writes a value and leaves it to the caller what an error means.
func (f *files) try(name, value string) error {
	if f.dir == "" {
		return fmt.Errorf("cannot set %s limit: container could not join or create cgroup", f.controller)
	}
	if err := fd.WriteFile(filepath.Join(f.dir, name), value); err != nil {
		return fmt.Errorf("set %q: %w", value, err)
	}
	return nil
}

// number writes a number but zero.
func (f *files) number(name string, n uint64) {
	if n != 0 {
		f.put(name, strconv.FormatUint(n, 10))
	}
}

// signed writes a number but zero.
func (f *files) signed(name string, n int64) {
	if n != 0 {
		f.put(name, strconv.FormatInt(n, 10))
	}
}

// text writes what is not empty.
func (f *files) text(name, value string) {
	if value != "" {
		f.put(name, value)
	}
}

// fail is f's error from now on, unless there is one.
func (f *files) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// has tells whether there is such a file.
func (f *files) has(name string) bool {
	return unix.Access(filepath.Join(f.dir, name), unix.F_OK) == nil
}

// read reads a number; "max" is the greatest.
func (f *files) read(name string) (uint64, error) {
	data, err := fd.ReadFile(filepath.Join(f.dir, name))
	return number(data), err
}

// dependent writes two values of which the kernel may refuse either while the
// other is what it was: the first is tried again after the second.
func (f *files) dependent(first, value string, second func()) {
	var refused error
	if f.err == nil && value != "" {
		refused = f.try(first, value)
	}
	if refused != nil && !errors.Is(refused, unix.EINVAL) {
		f.fail(refused)
	}
	second()
	if refused != nil {
		f.put(first, value)
	}
}

// throttles writes limits of devices, in v2 with the key of its kind.
func (f *files) throttles(name, key string, list []ThrottleDevice) {
	for _, d := range list {
		f.put(name, fmt.Sprintf("%d:%d %s%d", d.Major, d.Minor, key, d.Rate))
	}
}

// pids writes the limit of processes. None at all is one, as for systemd.
func (f *files) pids(limit *int64) {
	switch {
	case limit == nil:
	case *limit < 0:
		f.put("pids.max", "max")
	default:
		f.put("pids.max", strconv.FormatInt(max(*limit, 1), 10))
	}
}

// hugepages writes limits of huge pages in use, and where the kernel knows them
// (5.7), of those reserved.
func (f *files) hugepages(list []HugepageLimit, suffix string) {
	for _, h := range list {
		name, value := "hugetlb."+h.Pagesize, strconv.FormatUint(h.Limit, 10)
		f.put(name+suffix, value)
		if f.err != nil {
			return
		}
		if err := f.try(name+".rsvd"+suffix, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.fail(err)
		}
	}
}

func (f *files) rdma(limits map[string]RdmaLimit) {
	for device, limit := range limits {
		var line strings.Builder
		line.WriteString(device)
		if n := limit.HcaHandles; n != nil {
			fmt.Fprintf(&line, " hca_handle=%d", *n)
		}
		if n := limit.HcaObjects; n != nil {
			fmt.Fprintf(&line, " hca_object=%d", *n)
		}
		f.put("rdma.max", line.String())
	}
}
