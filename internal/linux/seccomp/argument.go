package seccomp

import (
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, include/uapi/linux/seccomp.h.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

// call emits the rules of one call: the first whose conditions hold decides.
func (b *builder) call(a architecture, rules []rule, def target) target {
	for _, r := range rules {
		if len(r.conds) == 0 {
			return returns(r.action)
		}
	}
	next := def
	for end := len(rules); end > 0; {
		start := end - 1
		for start > 0 && joinable(rules[start-1], rules[end-1]) {
			start--
		}
		if joinable(rules[start], rules[end-1]) {
			next = b.joined(a, rules[start:end], next)
		} else {
			next = b.conjunction(a, rules[start], next)
		}
		end = start
	}
	return next
}

// joinable tells whether two rules each compare the same argument only, in a
// way that ranges of values express.
func joinable(x, y rule) bool {
	return len(x.conds) == 1 && len(y.conds) == 1 &&
		x.conds[0].op != specs.OpMaskedEqual && y.conds[0].op != specs.OpMaskedEqual &&
		x.conds[0].arg == y.conds[0].arg
}

// joined emits one search for several rules on the same argument.
func (b *builder) joined(a architecture, rules []rule, next target) target {
	f := steps{{0, next}}
	for i := len(rules) - 1; i >= 0; i-- { // the first rule goes on top
		r := rules[i]
		for _, s := range r.conds[0].spans(a.top()) {
			f = f.overlay(s, returns(r.action))
		}
	}
	return b.argument(a, rules[0].conds[0].arg, f)
}

// conjunction emits a rule all of whose conditions must hold.
func (b *builder) conjunction(a architecture, r rule, next target) target {
	t := returns(r.action)
	for i := len(r.conds) - 1; i >= 0; i-- {
		c := r.conds[i]
		if c.op == specs.OpMaskedEqual {
			t = b.masked(a, c, t, next)
			continue
		}
		f := steps{{0, next}}
		for _, s := range c.spans(a.top()) {
			f = f.overlay(s, t)
		}
		t = b.argument(a, c.arg, f)
	}
	return t
}

// top is the greatest value of an argument.
func (a architecture) top() uint64 {
	if a.wide {
		return math.MaxUint64
	}
	return math.MaxUint32
}

// words gives the offsets of an argument's halves.
func (a architecture) words(arg uint) (low, high uint32) {
	base := offsetArgs + 8*uint32(arg)
	if a.big {
		return base + 4, base
	}
	return base, base + 4
}

// argument emits the search for an argument's value in f: first by its high
// word, then, where that does not decide, by its low word.
func (b *builder) argument(a architecture, arg uint, f steps) target {
	low, high := a.words(arg)
	var highs, lows []piece
	for i, s := range f {
		word := uint32(s.start >> 32)
		lows = append(lows, piece{uint32(s.start), s.t})
		if i+1 < len(f) && uint32(f[i+1].start>>32) == word {
			continue // more steps within this high word
		}
		if lows[0].start != 0 {
			// The word's first values belong to the step before it.
			lows = append([]piece{{0, f[i-len(lows)].t}}, lows...)
		}
		highs = append(highs, piece{word, b.load(low, b.tree(lows))})
		if word < math.MaxUint32 && (i+1 == len(f) || uint32(f[i+1].start>>32) != word+1) {
			highs = append(highs, piece{word + 1, s.t})
		}
		lows = nil
	}
	if !a.wide {
		return highs[0].t
	}
	return b.load(high, b.tree(highs))
}

// masked emits a comparison of some bits of an argument.
func (b *builder) masked(a architecture, c condition, yes, no target) target {
	low, high := a.words(c.arg)
	t := b.maskedWord(low, uint32(c.mask), uint32(c.value), yes, no)
	if a.wide {
		t = b.maskedWord(high, uint32(c.mask>>32), uint32(c.value>>32), t, no)
	}
	return t
}

func (b *builder) maskedWord(offset, mask, value uint32, yes, no target) target {
	switch {
	case mask == 0:
		return yes
	case value == 0:
		return b.load(offset, b.branch(unix.BPF_JSET, mask, no, yes))
	case mask == math.MaxUint32:
		return b.load(offset, b.branch(unix.BPF_JEQ, value, yes, no))
	default:
		return b.load(offset, b.and(mask, b.branch(unix.BPF_JEQ, value, yes, no)))
	}
}
