#include "textflag.h"

// func clone3(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// The return address is in a register all the time; see clone_amd64.s.
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-32
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD $435, R8
	SVC
	CMN $4095, R0
	BCS failed
	MOVD R0, pid+16(FP)
	MOVD ZR, errno+24(FP)
	RET
failed:
	NEG R0, R0
	MOVD $-1, R9
	MOVD R9, pid+16(FP)
	MOVD R0, errno+24(FP)
	RET

// func cloneCode(args *cloneArgs, size, code uintptr) (pid, errno uintptr)
//
// The child has a stack of its own, with nothing on it, and never returns here.
TEXT ·cloneCode(SB), NOSPLIT|NOFRAME, $0-40
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD code+16(FP), R12
	MOVD $435, R8
	SVC
	CBZ R0, child
	CMN $4095, R0
	BCS failed
	MOVD R0, pid+24(FP)
	MOVD ZR, errno+32(FP)
	RET
failed:
	NEG R0, R0
	MOVD $-1, R9
	MOVD R9, pid+24(FP)
	MOVD R0, errno+32(FP)
	RET
child:
	B (R12)
