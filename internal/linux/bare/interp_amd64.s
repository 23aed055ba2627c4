#include "textflag.h"

// The interpreter: the program of a process that package bare starts. It runs at
// whatever address the kernel maps it to, so it refers to no symbol. See bare.go
// for the layout of a call; the numbers here are offsets into it.
//
//	BX   the current call
//	R13  the slots
//	R15  the descriptor for reports

// One argument: a value, the content of a slot, the address of one, or the
// content's negative. R12 holds the kinds, two bits each; the lowest are this
// argument's. A value that is no slot must not be used as an index, so that the
// load reads slot 0 then. Both bits together make R11 all ones, which negates by
// exclusive or and subtraction.
#define ARG(offset, reg) \
	MOVQ offset(BX), reg; \
	XORL R11, R11; \
	TESTQ $3, R12; \
	CMOVQNE reg, R11; \
	LEAQ (R13)(R11*8), R11; \
	TESTQ $2, R12; \
	CMOVQNE R11, reg; \
	MOVQ (R11), R11; \
	TESTQ $1, R12; \
	CMOVQNE R11, reg; \
	MOVQ R12, R11; \
	SHRQ $1, R11; \
	ANDQ R12, R11; \
	ANDL $1, R11; \
	NEGQ R11; \
	XORQ R11, reg; \
	SUBQ R11, reg; \
	SHRQ $2, R12

TEXT ·interpreter(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, SI
	SUBQ $512, SP
	MOVQ SP, R13
	MOVQ $0x1000000000, BX
	// Without arguments, the image is mapped already, see Placed.
	MOVQ 0(SI), AX
	TESTQ AX, AX
	JEQ loaded
	// The second argument is the image's descriptor, in decimal.
	MOVQ 16(SI), SI
	XORL R8, R8
digit:
	MOVBLZX (SI), AX
	TESTL AX, AX
	JEQ map
	IMULQ $10, R8
	SUBL $48, AX
	ADDQ AX, R8
	INCQ SI
	JMP digit
map:
	MOVL $9, AX // mmap
	MOVQ BX, DI
	MOVL $0x1000000, SI
	MOVL $1, DX        // PROT_READ
	MOVL $0x100002, R10 // MAP_PRIVATE, MAP_FIXED_NOREPLACE
	XORL R9, R9
	SYSCALL
	CMPQ AX, BX
	JNE die
loaded:
	MOVQ 0(BX), R15
	MOVQ 8(BX), BX
next:
	MOVQ 8(BX), R12
	ARG(40, DI)
	ARG(48, SI)
	ARG(56, DX)
	ARG(64, R10)
	ARG(72, R8)
	ARG(80, R9)
	MOVQ 0(BX), AX
	SYSCALL
	CMPQ AX, $-4095
	JCC failed
	MOVQ 16(BX), CX
	MOVQ AX, (R13)(CX*8)
	MOVQ 88(BX), CX
	CMPQ CX, $-1
	JEQ done
	CMPQ AX, CX
	JNE die
done:
	TESTQ AX, AX
	JNE advance
	ADDQ 112(BX), BX
advance:
	ADDQ $120, BX
	JMP next
failed:
	NEGQ AX
	MOVQ 24(BX), CX
	CMPQ CX, $-1
	JEQ tolerated
	CMPQ AX, CX
	JNE report
tolerated:
	ADDQ 32(BX), BX
	JMP advance
report:
	MOVQ AX, 504(R13)
	MOVL $1, AX // write
	MOVQ R15, DI
	MOVQ 96(BX), SI
	MOVQ 104(BX), DX
	SYSCALL
	MOVL $1, AX
	MOVQ R15, DI
	LEAQ 504(R13), SI
	MOVL $4, DX
	SYSCALL
die:
	MOVL $231, AX // exit_group
	MOVL $1, DI
	SYSCALL
	INT $3

TEXT ·interpreterEnd(SB), NOSPLIT|NOFRAME, $0
	RET

// func bounds() (from, to unsafe.Pointer)
TEXT ·bounds(SB), NOSPLIT, $0-16
	LEAQ ·interpreter(SB), AX
	MOVQ AX, from+0(FP)
	LEAQ ·interpreterEnd(SB), AX
	MOVQ AX, to+8(FP)
	RET
