#include "textflag.h"

// The handler writes the signal's number to the pipe, see handler_amd64.s. It returns
// to the kernel's own code (the vDSO's).
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	SUB $16, RSP
	MOVB R0, (RSP)
	MOVW ·writeEnd(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD $16, RSP
	RET

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB), NOSPLIT, $0-16
	MOVD $·onSignal(SB), R0
	MOVD R0, handler+0(FP)
	MOVD ZR, restorer+8(FP)
	RET
