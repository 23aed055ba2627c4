package cgroup

import (
	"errors"
	"fmt"
	"math"
)

// Resources are limits, in the terms of the runtime specification. What has its
// zero value is left as it is.
type Resources struct {
	Memory            int64 // bytes; -1: no limit
	MemoryReservation int64
	MemorySwap        int64 // of memory and swap together
	MemorySwappiness  *uint64
	OomKillDisable    bool
	// MemoryCheckBeforeUpdate refuses limits below what is used now.
	MemoryCheckBeforeUpdate bool

	CpuShares    uint64 // of v1
	CpuWeight    uint64 // of v2
	CpuQuota     int64  // microseconds in each period; -1: no limit
	CpuPeriod    uint64
	CpuBurst     *uint64
	CpuRtRuntime int64
	CpuRtPeriod  uint64
	CPUIdle      *int64
	CpusetCpus   string
	CpusetMems   string

	PidsLimit *int64 // negative: no limit

	BlkioWeight                  uint16 // 10 to 1000
	BlkioLeafWeight              uint16
	BlkioWeightDevice            []WeightDevice
	BlkioThrottleReadBpsDevice   []ThrottleDevice
	BlkioThrottleWriteBpsDevice  []ThrottleDevice
	BlkioThrottleReadIOPSDevice  []ThrottleDevice
	BlkioThrottleWriteIOPSDevice []ThrottleDevice

	HugetlbLimit     []HugepageLimit
	NetClsClassid    uint32
	NetPrioIfpriomap []InterfacePriority
	Rdma             map[string]RdmaLimit

	Unified map[string]string // files of a v2 group and what to write there
}

// WeightDevice is a device's share of a group's input and output.
type WeightDevice struct {
	Major, Minor       int64
	Weight, LeafWeight uint16
}

// ThrottleDevice limits a device, in bytes or operations per second.
type ThrottleDevice struct {
	Major, Minor int64
	Rate         uint64
}

// HugepageLimit limits huge pages of one size ("2MB").
type HugepageLimit struct {
	Pagesize string
	Limit    uint64
}

// InterfacePriority is the priority of what is sent by a network interface.
type InterfacePriority struct {
	Interface string
	Priority  uint32
}

// RdmaLimit limits an RDMA device; nil: no limit.
type RdmaLimit struct{ HcaHandles, HcaObjects *uint32 }

// CPUWeight is the v2 weight (1 to 10000, usually 100) for v1 shares (2 to
// 262144, usually 1024): a curve through those three, as all runtimes have it.
func CPUWeight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// swapOnly is the limit for swap that v2 wants, of one for memory and swap.
func swapOnly(both, memory int64) (int64, error) {
	switch {
	case memory == -1 && both == 0:
		return -1, nil // no limit for memory alone would be one for swap in v1
	case both == 0, both == -1, memory == -1:
		return both, nil
	case memory == 0:
		return 0, errors.New("unable to set swap limit without memory limit")
	case memory < 0:
		return 0, fmt.Errorf("invalid memory value: %d", memory)
	case both < memory:
		return 0, errors.New("memory+swap limit should be >= memory limit")
	}
	return both - memory, nil
}

// ioWeight is the v2 weight, 1 to 10000, for one of v1, 10 to 1000.
func ioWeight(weight uint16) uint64 {
	if weight == 0 {
		return 0
	}
	return 1 + (uint64(max(weight, 10))-10)*9999/990
}
