package container

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/gantry-run/gantry/internal/errs"
)

// machine is what the kernel has of the things that limits refer to. What it
// lacks is discarded from a request with a warning, as in Docker.
type machine struct {
	cpus        int    // CPUs that run, for --cpus
	cpuset      string // CPUs and memory nodes that are there, as lists ("0-3,8")
	mems        string
	blkioWeight bool
	oomControl  bool // the OOM killer can be turned off
	swappiness  bool // each cgroup has one
}

// thisMachine looks once: none of it changes while the kernel runs, but for CPUs
// that are plugged in, which Docker does not see either.
var thisMachine = sync.OnceValue(func() machine {
	m := machine{
		cpus: runtime.NumCPU(), cpuset: firstLine("/sys/devices/system/cpu/online"), mems: firstLine("/sys/devices/system/node/online"),
	}
	if m.mems == "" {
		m.mems = "0" // a kernel without NUMA
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.blkioWeight = true // io.weight, or io.bfq.weight
		return m
	}
	m.oomControl, m.swappiness = true, true
	weights, err := filepath.Glob("/sys/fs/cgroup/blkio/blkio.*weight")
	m.blkioWeight = err == nil && len(weights) > 0
	return m
})

func firstLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// maxListed bounds the numbers in a list of CPUs: no kernel knows more.
const maxListed = 8192

// within tells whether a list such as "0-2,4" names only what another one has.
func within(list, available string) (bool, error) {
	want, err := parseList(list)
	if err != nil {
		return false, err
	}
	have, err := parseList(available)
	if err != nil {
		return false, err
	}
	for n := range want {
		if !have[n] {
			return false, nil
		}
	}
	return true, nil
}

func parseList(list string) (map[int]bool, error) {
	out := map[int]bool{}
	if list == "" {
		return out, nil
	}
	bad := errs.New(errs.InvalidArgument, "invalid format: %s", list)
	for part := range strings.SplitSeq(list, ",") {
		low, high, ok := strings.Cut(part, "-")
		if !ok {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from < 0 || to < from {
			return nil, bad
		}
		if to >= maxListed {
			return nil, errs.New(errs.InvalidArgument, "value out of range, maximum is %d", maxListed-1)
		}
		for n := from; n <= to; n++ {
			out[n] = true
		}
	}
	return out, nil
}
