package seccomp

import (
	"sort"

	"golang.org/x/sys/unix"
)

// target is where control goes: to a return value or to emitted code.
type target struct {
	value uint32 // the return value, if label is noLabel
	label int32  // index in builder.rev
}

const noLabel = -1

func returns(value uint32) target { return target{value: value, label: noLabel} }

func (t target) returns() bool { return t.label == noLabel }

// piece is a step of a function over 32-bit values: from start up to the next
// piece's start, control goes to t. The first piece starts at 0.
type piece struct {
	start uint32
	t     target
}

// builder assembles a program from its end, so that the distance of every jump
// is known when it is emitted: BPF jumps only forwards.
type builder struct {
	rev         []unix.SockFilter // reversed: the last instruction first
	rets        map[uint32]int32  // nearest copy of a return
	trampolines map[int32]int32   // nearest jump to a label that is far away
}

// reach is the longest distance, in instructions, that a new conditional jump
// may rely on: 255 less the returns and trampolines (one per branch) that are
// emitted between the measurement and the jump.
const reach = 250

func newBuilder() *builder {
	return &builder{
		rev:  make([]unix.SockFilter, 0, 512),
		rets: map[uint32]int32{}, trampolines: map[int32]int32{},
	}
}

func (b *builder) emit(in unix.SockFilter) target {
	b.rev = append(b.rev, in)
	return target{label: int32(len(b.rev) - 1)}
}

// offset is the jump offset from the next emitted instruction to a label.
func (b *builder) offset(label int32) int { return len(b.rev) - int(label) - 1 }

// place gives a label for t within reach of a conditional jump.
func (b *builder) place(t target) int32 {
	if t.returns() {
		if l, ok := b.rets[t.value]; ok && b.offset(l) <= reach {
			return l
		}
		l := b.emit(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: t.value}).label
		b.rets[t.value] = l
		return l
	}
	if b.offset(t.label) <= reach {
		return t.label
	}
	if l, ok := b.trampolines[t.label]; ok && b.offset(l) <= reach {
		return l
	}
	l := b.jump(t.label).label
	b.trampolines[t.label] = l
	return l
}

func (b *builder) jump(label int32) target {
	return b.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(b.offset(label))})
}

// branch emits a conditional jump; op is BPF_JEQ, BPF_JGE or BPF_JSET.
func (b *builder) branch(op uint16, k uint32, yes, no target) target {
	if yes == no {
		return yes
	}
	ly, ln := b.place(yes), b.place(no)
	return b.emit(unix.SockFilter{
		Code: unix.BPF_JMP | unix.BPF_K | op,
		Jt:   uint8(b.offset(ly)), Jf: uint8(b.offset(ln)), K: k,
	})
}

// load emits the load of a word of seccomp_data, then next. A return needs none.
func (b *builder) load(offset uint32, next target) target {
	if next.returns() {
		return next
	}
	b.fallthroughTo(next)
	return b.emit(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// and emits the masking of the loaded word, then next.
func (b *builder) and(mask uint32, next target) target {
	if next.returns() {
		return next
	}
	b.fallthroughTo(next)
	return b.emit(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
}

func (b *builder) fallthroughTo(next target) {
	if int(next.label) != len(b.rev)-1 {
		b.jump(next.label)
	}
}

// tree emits a binary search for the loaded word. pieces is not empty.
func (b *builder) tree(pieces []piece) target { return b.search(merge(pieces)) }

func (b *builder) search(pieces []piece) target {
	switch n := len(pieces); {
	case n == 1:
		return pieces[0].t
	case n == 3 && pieces[0].t == pieces[2].t && pieces[2].start-pieces[1].start == 1:
		return b.branch(unix.BPF_JEQ, pieces[1].start, pieces[1].t, pieces[0].t)
	default:
		mid := n / 2
		high := b.search(pieces[mid:])
		low := b.search(pieces[:mid])
		return b.branch(unix.BPF_JGE, pieces[mid].start, high, low)
	}
}

// merge joins neighbours with the same target.
func merge(pieces []piece) []piece {
	out := make([]piece, 0, len(pieces))
	for _, p := range pieces {
		if n := len(out); n == 0 || out[n-1].t != p.t {
			out = append(out, p)
		}
	}
	return out
}

// steps is a function over 64-bit values, like a list of piece.
type steps []step

type step struct {
	start uint64
	t     target
}

// overlay lets s lead to t.
func (f steps) overlay(s span, t target) steps {
	first := sort.Search(len(f), func(i int) bool { return f[i].start >= s.from })
	// after is the first step that starts beyond the span; the one before it
	// goes on behind the span.
	after := sort.Search(len(f), func(i int) bool { return f[i].start > s.to })
	out := append(make(steps, 0, len(f)+2), f[:first]...)
	out = append(out, step{s.from, t})
	if next := s.to + 1; next != 0 && (after == len(f) || f[after].start != next) {
		out = append(out, step{next, f[after-1].t})
	}
	return append(out, f[after:]...)
}

// program gives the instructions in order.
func (b *builder) program() []unix.SockFilter {
	out := make([]unix.SockFilter, len(b.rev))
	for i, in := range b.rev {
		out[len(out)-1-i] = in
	}
	return out
}
