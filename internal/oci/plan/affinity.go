package plan

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// Set is a set of numbers (CPUs, nodes of memory) as the kernel takes it: number n
// is bit n%64 of word n/64.
type Set []uint64

// maxMember bounds what a text can make us allocate; it is above what kernels have.
const maxMember = 8191

// parseSet reads a list such as 0-3,7. An empty text is a nil set.
func parseSet(text string) (Set, error) {
	var s Set
	if text == "" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, terr := strconv.ParseUint(last, 10, 16)
		if err != nil || terr != nil || from > to || to > maxMember {
			return nil, errs.New(errs.InvalidArgument, "%q is not a list of numbers up to %d such as 0-3,7", text, maxMember)
		}
		for n := from; n <= to; n++ {
			for len(s) <= int(n/64) {
				s = append(s, 0)
			}
			s[n/64] |= 1 << (n % 64)
		}
	}
	return s, nil
}

// MemoryPolicy is a policy as set_mempolicy(2) takes it.
type MemoryPolicy struct {
	Mode  uint32 // with its flags
	Nodes Set
}

// The names of linux/mempolicy.h.
var (
	memoryModes = map[specs.MemoryPolicyModeType]uint32{
		specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3, specs.MpolLocal: 4,
		specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]uint32{
		specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13,
	}
)

// MemoryPolicyNames lists the modes and flags of memory policies, sorted.
func MemoryPolicyNames() (modes, flags []string) {
	return sortedKeys(memoryModes), sortedKeys(memoryFlags)
}

// BuildMemoryPolicy translates a policy; nil for none. Which modes go with nodes
// and with which flags the kernel knows best.
func BuildMemoryPolicy(p *specs.LinuxMemoryPolicy) (*MemoryPolicy, error) {
	if p == nil {
		return nil, nil
	}
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "invalid memory policy mode: %q", p.Mode)
	}
	for _, f := range p.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			return nil, errs.New(errs.InvalidArgument, "invalid memory policy flag: %q", f)
		}
		mode |= bit
	}
	nodes, err := parseSet(p.Nodes)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid memory policy nodes: %w", err)
	}
	return &MemoryPolicy{mode, nodes}, nil
}

// Affinity says on which CPUs one more process of a container runs. No initial
// set is all CPUs, no final one the initial.
type Affinity struct {
	Initial Set // of the thread that starts the process, before it enters the cgroup
	Final   Set // of the process in its cgroup
}

// BuildAffinity translates execCPUAffinity.
func BuildAffinity(a *specs.CPUAffinity) (out Affinity, err error) {
	if a == nil {
		return out, nil
	}
	if out.Initial, err = parseSet(a.Initial); err == nil {
		out.Final, err = parseSet(a.Final)
	}
	if err != nil {
		err = errs.New(errs.InvalidArgument, "execCPUAffinity: %w", err)
	}
	return out, err
}
