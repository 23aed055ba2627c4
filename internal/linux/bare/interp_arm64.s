#include "textflag.h"

// The interpreter for arm64; see interp_amd64.s.
//
//	R19  the current call
//	R20  the slots
//	R21  the descriptor for reports
//	R22  the kinds of arguments

#define ARG(offset, reg) \
	MOVD offset(R19), reg; \
	ANDS $3, R22, R9; \
	CSEL NE, reg, ZR, R9; \
	ADD R9<<3, R20, R9; \
	MOVD (R9), R10; \
	TST $2, R22; \
	CSEL NE, R9, reg, reg; \
	TST $1, R22; \
	CSEL NE, R10, reg, reg; \
	AND R22>>1, R22, R9; \
	AND $1, R9, R9; \
	NEG R9, R9; \
	EOR R9, reg, reg; \
	SUB R9, reg, reg; \
	LSR $2, R22, R22

TEXT ·interpreter(SB), NOSPLIT|NOFRAME, $0
	MOVD RSP, R9
	SUB $512, RSP, RSP
	MOVD RSP, R20
	MOVD $0x1000000000, R19
	// Without arguments, the image is mapped already, see Placed.
	MOVD 0(R9), R10
	CBZ R10, loaded
	MOVD 16(R9), R9
	MOVD $0, R4
	MOVD $10, R11
digit:
	MOVBU (R9), R10
	CBZ R10, map
	MUL R11, R4, R4
	SUB $48, R10, R10
	ADD R10, R4, R4
	ADD $1, R9, R9
	B digit
map:
	MOVD $222, R8 // mmap
	MOVD R19, R0
	MOVD $0x1000000, R1
	MOVD $1, R2
	MOVD $0x100002, R3
	MOVD $0, R5
	SVC
	CMP R19, R0
	BNE die
loaded:
	MOVD 0(R19), R21
	MOVD 8(R19), R19
next:
	MOVD 8(R19), R22
	ARG(40, R0)
	ARG(48, R1)
	ARG(56, R2)
	ARG(64, R3)
	ARG(72, R4)
	ARG(80, R5)
	MOVD 0(R19), R8
	SVC
	CMN $4095, R0
	BCS failed
	MOVD 16(R19), R9
	MOVD R0, (R20)(R9<<3)
	MOVD 88(R19), R9
	CMN $1, R9
	BEQ done
	CMP R9, R0
	BNE die
done:
	CBNZ R0, advance
	MOVD 112(R19), R9
	ADD R9, R19, R19
advance:
	ADD $120, R19, R19
	B next
failed:
	NEG R0, R0
	MOVD 24(R19), R9
	CMN $1, R9
	BEQ tolerated
	CMP R9, R0
	BNE report
tolerated:
	MOVD 32(R19), R9
	ADD R9, R19, R19
	B advance
report:
	MOVD R0, 504(R20)
	MOVD $64, R8 // write
	MOVD R21, R0
	MOVD 96(R19), R1
	MOVD 104(R19), R2
	SVC
	MOVD $64, R8
	MOVD R21, R0
	ADD $504, R20, R1
	MOVD $4, R2
	SVC
die:
	MOVD $94, R8 // exit_group
	MOVD $1, R0
	SVC
	BRK

TEXT ·interpreterEnd(SB), NOSPLIT|NOFRAME, $0
	RET

// func bounds() (from, to unsafe.Pointer)
TEXT ·bounds(SB), NOSPLIT, $0-16
	MOVD $·interpreter(SB), R0
	MOVD R0, from+0(FP)
	MOVD $·interpreterEnd(SB), R0
	MOVD R0, to+8(FP)
	RET
