package seccomp

import (
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// maxArgs is the number of arguments that seccomp_data holds.
const maxArgs = 6

// condition compares one argument. Masked conditions hold if arg&mask == value,
// all others compare the whole argument with value.
type condition struct {
	arg   uint
	op    specs.LinuxSeccompOperator
	value uint64
	mask  uint64 // OpMaskedEqual only
}

// rule is one call's action if all conditions hold; none: always.
type rule struct {
	action uint32
	conds  []condition
}

// parseConditions checks the arguments of a profile entry and returns the
// alternatives that they stand for: one list of conditions that must all hold
// or, if an argument is compared twice, one list for each comparison. The
// latter is how runc has read such profiles ever since and what ranges in
// people's profiles are written for.
func parseConditions(args []specs.LinuxSeccompArg) ([][]condition, error) {
	if len(args) == 0 {
		return [][]condition{nil}, nil
	}
	var seen [maxArgs]bool
	twice := false
	conds := make([]condition, 0, len(args))
	for _, a := range args {
		if a.Index >= maxArgs {
			return nil, errs.New(errs.InvalidArgument, "seccomp argument index %d: system calls have at most %d arguments", a.Index, maxArgs)
		}
		twice = twice || seen[a.Index]
		seen[a.Index] = true
		c := condition{arg: a.Index, op: a.Op, value: a.Value}
		switch a.Op {
		case specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan:
		case specs.OpMaskedEqual:
			c.mask, c.value = a.Value, a.ValueTwo&a.Value
		default:
			return nil, errs.New(errs.InvalidArgument, "string %s is not a valid operator for seccomp", a.Op)
		}
		conds = append(conds, c)
	}
	if !twice {
		return [][]condition{conds}, nil
	}
	each := make([][]condition, 0, len(conds))
	for i := range conds {
		each = append(each, conds[i:i+1])
	}
	return each, nil
}

// narrow gives the condition as a 32-bit architecture sees it.
func (c condition) narrow() condition {
	c.value &= math.MaxUint32
	c.mask &= math.MaxUint32
	return c
}

// span is an inclusive range of argument values.
type span struct{ from, to uint64 }

// spans gives the values for which an unmasked condition holds, in order; top
// is the greatest value of the argument.
func (c condition) spans(top uint64) []span {
	v := c.value
	switch c.op {
	case specs.OpEqualTo:
		return []span{{v, v}}
	case specs.OpNotEqual:
		var s []span
		if v > 0 {
			s = append(s, span{0, v - 1})
		}
		if v < top {
			s = append(s, span{v + 1, top})
		}
		return s
	case specs.OpLessThan:
		if v == 0 {
			return nil
		}
		return []span{{0, v - 1}}
	case specs.OpLessEqual:
		return []span{{0, v}}
	case specs.OpGreaterEqual:
		return []span{{v, top}}
	default: // OpGreaterThan
		if v == top {
			return nil
		}
		return []span{{v + 1, top}}
	}
}
