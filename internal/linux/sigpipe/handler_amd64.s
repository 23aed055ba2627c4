#include "textflag.h"

// The handler writes the signal's number to the pipe. It runs in the middle of anything,
// Go code or not, and uses nothing but its own stack; what it changes in registers the
// kernel restores.
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	SUBQ $16, SP
	MOVB DI, (SP)
	MOVL ·writeEnd(SB), DI
	MOVQ SP, SI
	MOVL $1, DX
	MOVL $1, AX // write
	SYSCALL
	ADDQ $16, SP
	RET

TEXT ·afterSignal(SB), NOSPLIT|NOFRAME, $0
	MOVL $15, AX // rt_sigreturn
	SYSCALL
	INT $3

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB), NOSPLIT, $0-16
	LEAQ ·onSignal(SB), AX
	MOVQ AX, handler+0(FP)
	LEAQ ·afterSignal(SB), AX
	MOVQ AX, restorer+8(FP)
	RET
