package seccomp

import (
	"math"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// profile is a parsed specs.LinuxSeccomp.
type profile struct {
	def     uint32
	flags   programFlags
	archs   []architecture
	entries []entry
}

// entry is a rule for one call of the tables.
type entry struct {
	row    int // -1: only a multiplexed call
	mux    muxed
	hasMux bool
	rule   rule
	// redundant: the default action says the same. Such a rule adds nothing,
	// but shows that the profile's author knew the call.
	redundant bool
}

// Compile translates a profile for the architecture it runs on. A nil profile,
// or one with neither default action nor rules, gives a nil Program.
//
// The first rule without conditions for a call wins over all others for it;
// otherwise the first rule whose conditions hold does. Calls unknown to the
// tables are ignored. Calls newer than every call in a profile that does not
// let unknown calls run fail with ENOSYS rather than with the default action,
// so that programs fall back to what they did before the call existed.
// Errors are errs.InvalidArgument.
func Compile(cfg *specs.LinuxSeccomp) (*Program, error) {
	native, err := nativeArch()
	if err != nil {
		return nil, err
	}
	return compile(cfg, native)
}

func compile(cfg *specs.LinuxSeccomp, native specs.Arch) (*Program, error) {
	if cfg == nil || cfg.DefaultAction == "" && len(cfg.Syscalls) == 0 {
		return nil, nil
	}
	p, err := parse(cfg, native)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	if err := p.emit(b); err != nil {
		return nil, err
	}
	return &Program{filter: b.program(), flags: p.flags}, nil
}

func parse(cfg *specs.LinuxSeccomp, native specs.Arch) (*profile, error) {
	var p profile
	var err error
	if p.def, err = action(cfg.DefaultAction, cfg.DefaultErrnoRet); err != nil {
		return nil, err
	}
	if p.def == unix.SECCOMP_RET_USER_NOTIF {
		return nil, errs.New(errs.InvalidArgument, "SCMP_ACT_NOTIFY cannot be used as default action")
	}
	if p.flags, err = flags(cfg.Flags); err != nil {
		return nil, err
	}
	if p.archs, err = architectures(native, cfg.Architectures); err != nil {
		return nil, err
	}
	for _, call := range cfg.Syscalls {
		if err := p.add(call); err != nil {
			return nil, err
		}
	}
	if p.flags&flagNotify == 0 {
		// The kernel refuses the flag without a listener, to which alone it applies.
		p.flags &^= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	return &p, nil
}

// add appends the rules of one entry of the specification.
func (p *profile) add(call specs.LinuxSyscall) error {
	act, err := action(call.Action, call.ErrnoRet)
	if err != nil {
		return err
	}
	alternatives, err := parseConditions(call.Args)
	if err != nil {
		return err
	}
	for _, name := range call.Names {
		if name == "" {
			return errs.New(errs.InvalidArgument, "empty string is not a valid syscall")
		}
		if act == unix.SECCOMP_RET_USER_NOTIF {
			// Container init writes the listener's descriptor to its parent
			// with the filter already in force.
			if name == "write" {
				return errs.New(errs.InvalidArgument, "SCMP_ACT_NOTIFY cannot be used for the write syscall")
			}
			p.flags |= flagNotify
		}
		e := entry{redundant: act == p.def}
		var known bool
		e.mux, e.hasMux = lookupMux(name)
		if e.row, known = lookupSyscall(name); !known {
			e.row = -1
		}
		if !known && !e.hasMux {
			continue
		}
		for _, conds := range alternatives {
			e.rule = rule{act, conds}
			p.entries = append(p.entries, e)
		}
	}
	return nil
}

// number gives a call's number on an architecture.
func (a architecture) number(row int) (uint32, bool) {
	if row < 0 || syscallNumbers[row][a.column] < 0 {
		return 0, false
	}
	return uint32(syscallNumbers[row][a.column]) | a.bit, true
}

// numbered orders rules by call number and, for one call, as in the profile:
// the number is in the upper half, the rule's index in the lower.
type numbered uint64

func (n numbered) nr() uint32 { return uint32(n >> 32) }

// rulesFor gives an architecture's rules with their order, and the numbers
// that the profile mentions at all.
func (p *profile) rulesFor(a architecture) (order []numbered, rules []rule, mentioned []uint32) {
	order = make([]numbered, 0, len(p.entries))
	rules = make([]rule, 0, len(p.entries))
	mentioned = make([]uint32, 0, len(p.entries))
	put := func(nr uint32, r rule) {
		order = append(order, numbered(nr)<<32|numbered(len(rules)))
		rules = append(rules, r.on(a))
	}
	for _, e := range p.entries {
		if nr, ok := a.number(e.row); ok {
			mentioned = append(mentioned, nr)
			if !e.redundant {
				put(nr, e.rule)
			}
		}
		if e.hasMux && !e.redundant {
			row, _ := lookupSyscall(e.mux.via)
			nr, exists := a.number(row)
			if r, ok := e.mux.rule(e.rule); ok && exists {
				put(nr, r)
			}
		}
	}
	slices.Sort(order)
	return order, rules, mentioned
}

// on gives the rule as the architecture sees it, without conditions that
// always hold there.
func (r rule) on(a architecture) rule {
	if len(r.conds) == 0 {
		return r
	}
	conds := make([]condition, 0, len(r.conds))
	for _, c := range r.conds {
		if !a.wide {
			c = c.narrow()
		}
		if c.op != specs.OpMaskedEqual || c.mask != 0 {
			conds = append(conds, c)
		}
	}
	return rule{r.action, conds}
}

// emit writes the whole program, the native architecture's part first.
func (p *profile) emit(b *builder) error {
	audits := make([]uint32, 0, len(p.archs))
	for _, a := range p.archs {
		if !slices.Contains(audits, a.audit) { // x32 shares x86-64's
			audits = append(audits, a.audit)
		}
	}
	slices.Reverse(audits)
	starts := make([]target, len(audits))
	for i, audit := range audits {
		var pieces []piece
		if audit == unix.AUDIT_ARCH_X86_64 {
			pieces = p.x86Pieces(b)
		} else {
			pieces = p.pieces(b, p.byAudit(audit))
		}
		starts[i] = b.load(offsetNr, b.tree(pieces))
		if len(b.rev) > MaxInstructions {
			return tooLong()
		}
	}
	next := returns(unix.SECCOMP_RET_KILL_THREAD)
	for i, audit := range audits {
		next = b.branch(unix.BPF_JEQ, audit, starts[i], next)
	}
	if next.returns() {
		next = target{label: b.place(next)} // kills whatever is called
	}
	b.load(offsetArch, next)
	if len(b.rev) > MaxInstructions {
		return tooLong()
	}
	return nil
}

func (p *profile) byAudit(audit uint32) architecture {
	i := slices.IndexFunc(p.archs, func(a architecture) bool { return a.audit == audit })
	return p.archs[i]
}

func tooLong() error {
	return errs.New(errs.InvalidArgument, "seccomp profile needs more than the %d instructions that a filter may have", MaxInstructions)
}

// x86Pieces joins x86-64's numbers, below x32Bit, with x32's. Of the two, the
// one that is not in the profile is a wrong architecture.
func (p *profile) x86Pieces(b *builder) []piece {
	var low, high []piece
	for _, a := range p.archs {
		switch a.name {
		case specs.ArchX86_64:
			low = p.pieces(b, a)
		case specs.ArchX32:
			high = p.pieces(b, a)
		}
	}
	kill := returns(unix.SECCOMP_RET_KILL_THREAD)
	if low == nil {
		low = []piece{{0, kill}}
	}
	if high == nil {
		// -1 is what a tracer sets to skip a call, not an x32 call.
		high = []piece{{0, kill}, {math.MaxUint32, returns(p.def)}}
	}
	out := low
	for i, q := range high {
		if i+1 < len(high) && high[i+1].start <= x32Bit {
			continue
		}
		out = append(out, piece{max(q.start, x32Bit), q.t})
	}
	return out
}

// pieces maps an architecture's call numbers to what becomes of them.
func (p *profile) pieces(b *builder, a architecture) []piece {
	order, rules, mentioned := p.rulesFor(a)
	def := returns(p.def)
	out := append(make([]piece, 0, 128), piece{0, def})
	group := make([]rule, 0, 64)
	for len(order) > 0 {
		nr := order[0].nr()
		group = group[:0]
		for len(order) > 0 && order[0].nr() == nr {
			group = append(group, rules[uint32(order[0])])
			order = order[1:]
		}
		out = put(out, nr, b.call(a, group, def), def)
	}
	if permissive(p.def) || len(mentioned) == 0 {
		return out
	}
	return unknownCalls(a, out, mentioned)
}

// put lets one number, greater than those put before, lead to t.
func put(out []piece, nr uint32, t, def target) []piece {
	if last := len(out) - 1; out[last].start == nr {
		out = out[:last]
	}
	if len(out) == 0 || out[len(out)-1].t != t {
		out = append(out, piece{nr, t})
	}
	if nr < math.MaxUint32 && t != def {
		out = append(out, piece{nr + 1, def})
	}
	return out
}

// unknownCalls lets the numbers above the greatest mentioned one lead to ENOSYS.
func unknownCalls(a architecture, pieces []piece, mentioned []uint32) []piece {
	f := make(steps, 0, len(pieces))
	for _, q := range pieces {
		f = append(f, step{uint64(q.start), q.t})
	}
	nosys := returns(retENOSYS)
	top := slices.Max(mentioned)
	if a.name == specs.ArchARM {
		// The private calls do not tell how new the profile is.
		var newest uint32
		for _, nr := range mentioned {
			if nr < armPrivate {
				newest = max(newest, nr)
			}
		}
		f = f.overlay(span{uint64(newest) + 1, armPrivate - 1}, nosys)
		top = max(top, armPrivate-1)
	}
	if top < math.MaxUint32 {
		f = f.overlay(span{uint64(top) + 1, math.MaxUint32}, nosys)
	}
	if a.name == specs.ArchS390 || a.name == specs.ArchS390X {
		// A number too large for the instruction goes through a register; the
		// kernel shows an unknown one as 0, the long gone setup(2).
		f = f.overlay(span{0, 0}, nosys)
	}
	out := make([]piece, 0, len(f))
	for _, s := range f {
		if s.start <= math.MaxUint32 {
			out = append(out, piece{uint32(s.start), s.t})
		}
	}
	return out
}
