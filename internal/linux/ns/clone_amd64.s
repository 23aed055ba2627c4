#include "textflag.h"

// func clone3(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// A child that shares the parent's memory (CLONE_VFORK) runs on the parent's
// stack while the parent waits, and overwrites this function's return address
// there: the parent keeps it in a register.
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVL $435, AX
	POPQ R12
	SYSCALL
	PUSHQ R12
	CMPQ AX, $-4095
	JCC failed
	MOVQ AX, pid+16(FP)
	MOVQ $0, errno+24(FP)
	RET
failed:
	NEGQ AX
	MOVQ $-1, pid+16(FP)
	MOVQ AX, errno+24(FP)
	RET

// func cloneCode(args *cloneArgs, size, code uintptr) (pid, errno uintptr)
//
// The child has a stack of its own, with nothing on it, and never returns here.
TEXT ·cloneCode(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ code+16(FP), R12
	MOVL $435, AX
	SYSCALL
	TESTQ AX, AX
	JEQ child
	CMPQ AX, $-4095
	JCC failed
	MOVQ AX, pid+24(FP)
	MOVQ $0, errno+32(FP)
	RET
failed:
	NEGQ AX
	MOVQ $-1, pid+24(FP)
	MOVQ AX, errno+32(FP)
	RET
child:
	JMP R12
